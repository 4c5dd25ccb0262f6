"""Registration on pixels: each exposure against a stack of the others, around their sources."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere._rust import align as _rust
from skymere.align.joint import BASIS, after, rotation
from skymere.align.matching import Fit, Positions
from skymere.align.params import AlignParams
from skymere.align.plane import LinearMap, TangentPlane, pixel_scale
from skymere.background import estimate_background
from skymere.datamodels import Exposure
from skymere.wcs import Transform, pixel_transform

__all__ = ["register"]

_Floats = NDArray[np.float64]

_ROUNDS = 5
# A round that moves nothing by more is the last one [pix].
_LAST_STEP_PIX = 2e-4
# Radius around a source in units of its window, and its limits [pix].
_REACH, _LEAST_PIX, _MOST_PIX = 3.0, 4.0, 20.0
# Part of the gradient over a pixel by which a pixel of the stack may be wrong, because the images are undersampled.
_FLOOR_PIX = 0.02
_CLIP_SIGMA = 4.0
_CELL_PIX = 16.0
_LEAST_FREE = 0.2
# Variance of a gradient over one pixel in units of that of a pixel, both axes together.
_GRADIENT_NOISE = 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Image:
    """One exposure: pixels without sky, what is bad, and how it lies in the plane."""

    data: NDArray[np.float32]
    bad: NDArray[np.bool_]
    variance: float
    exptime: float
    scale: float
    pixels: NDArray[np.int64]
    plane_of_pixels: _Floats
    to_pixels: Transform
    jacobian: _Floats


def register(
    exposures: Sequence[Exposure],
    tables: Sequence[pl.DataFrame],
    members: Sequence[Sequence[int]],
    fits: Sequence[Fit | None],
    positions: Sequence[Positions],
    *,
    anchor: int | None,
    plane: TangentPlane,
    params: AlignParams,
) -> list[Fit | None]:
    """Return better maps of groups of exposures that were aligned already.

    Parameters
    ----------
    exposures : sequence of Exposure
        All exposures.
    tables : sequence of polars.DataFrame
        Sources of each.
    members : sequence of sequence of int
        Exposures of each group.
    fits : sequence of Fit or None
        Where each group is so far; None for the reference.
    positions : sequence of Positions
        Sources of each group, to which the pairs of its fit refer.
    anchor : int, optional
        Group that stays; without it the mean of all groups does.
    plane : TangentPlane
        The plane of the maps.
    params : AlignParams
        Geometry.

    Notes
    -----
    Around a source the pixels D of an exposure differ from the stack M of the others by the gradient of M times the
    displacement that is looked for [1]_; all pixels around all sources give it by weighted least squares. M is the
    clipped mean of the other exposures, each by cubic convolution at the place of the pixel, so nothing is drizzled and
    the noise of D and of M is independent. Pixels weigh by the noise of both, from the sky and from the model's own
    light, and by a floor of 0.02 pixel times the gradient for what undersampling leaves. All groups move by (n - 1) / n
    of what they find, so that n exposures meet at their mean.

    References
    ----------
    .. [1] Lucas & Kanade 1981, IJCAI 2, 674, equation 5.
    """
    images = [_image(e, table, plane) for e, table in zip(exposures, tables, strict=True)]
    identity = LinearMap.identity()
    maps = [identity if fit is None else fit.map for fit in fits]
    covariances = [np.zeros((2, 2))] * len(maps)
    damping = (len(maps) - 1) / len(maps)
    for _ in range(_ROUNDS):
        of_image = {i: maps[k] for k, group in enumerate(members) for i in group}
        steps = []
        for k, group in enumerate(members):
            others = [i for j, group_j in enumerate(members) if j != k for i in group_j]
            step, covariances[k] = _step(images, list(group), others, of_image, damping, params)
            steps.append(step)
        moved = [after(linear, step) for linear, step in zip(maps, steps, strict=True)]
        back = _gauge(steps, anchor)
        maps = [linear if k == anchor else after(linear, back) for k, linear in enumerate(moved)]
        if anchor is not None:
            maps[anchor] = identity if fits[anchor] is None else fits[anchor].map  # type: ignore[union-attr]
        shifts = np.array([step.shift for step in steps]) + back.shift
        if np.abs(shifts).max() < _LAST_STEP_PIX * min(image.scale for image in images):
            break
    common = np.zeros((2, 2)) if anchor is None else covariances[anchor]
    return [
        fit if fit is None or k == anchor else _finished(fit, maps[k], positions[k], covariances[k] + common)
        for k, fit in enumerate(fits)
    ]


def _image(exposure: Exposure, table: pl.DataFrame, plane: TangentPlane) -> _Image:
    bad = exposure.mask()
    sky = estimate_background(exposure.data, mask=bad)
    data = np.where(bad, 0.0, exposure.data - sky.level).astype(np.float32)
    pixels = _around_sources(table, bad)
    y, x = (axis.astype(np.float64) for axis in pixels.T)
    to_pixels = pixel_transform(plane.wcs, exposure.wcs)
    ny, nx = exposure.shape
    middle = plane.of_pixels(exposure.wcs, np.array([nx / 2]), np.array([ny / 2]))[0]
    steps = np.column_stack(to_pixels(*(middle + np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]])).T))
    return _Image(
        data=data,
        bad=bad,
        variance=float(np.median(np.square(sky.rms))),
        exptime=exposure.exptime if exposure.unit == "electron / s" else 1.0,
        scale=pixel_scale(exposure.wcs, exposure.shape),
        pixels=pixels,
        plane_of_pixels=plane.of_pixels(exposure.wcs, x, y),
        to_pixels=to_pixels,
        jacobian=np.column_stack([steps[0] - steps[1], steps[2] - steps[3]]),
    )


def _around_sources(table: pl.DataFrame, bad: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return ``(n, 2)`` ``y, x`` of the good pixels around all sources."""
    near = np.zeros(bad.shape, bool)
    windows = table["window_pix"].to_numpy() if "window_pix" in table.columns else np.full(table.height, 2.0)
    radii = np.clip(_REACH * windows, _LEAST_PIX, _MOST_PIX)
    for x, y, radius in zip(table["x"], table["y"], radii, strict=True):
        low_y, low_x = (max(0, int(np.floor(c - radius))) for c in (y, x))
        part = near[low_y : int(y + radius) + 2, low_x : int(x + radius) + 2]
        rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
        part |= (rows + low_y - y) ** 2 + (columns + low_x - x) ** 2 < radius**2
    return np.argwhere(near & ~bad)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Equations:
    """The pixels of an exposure, and what each of the others says of them: the first axis is that of the others.

    ``share`` of each other in the stack adds up to 1; ``instrument`` is the gradient of the stack without it.
    """

    place: _Floats
    residual: _Floats
    gradient: _Floats
    instrument: _Floats
    share: _Floats
    variance: _Floats

    @staticmethod
    def joined(parts: Sequence["_Equations"]) -> "_Equations":
        """Return those of several exposures with the same others."""
        first = _Equations.__dataclass_fields__
        along = {name: 0 if name in ("place", "variance") else 1 for name in first}
        return _Equations(**{n: np.concatenate([getattr(p, n) for p in parts], axis=a) for n, a in along.items()})


def _step(
    images: Sequence[_Image],
    group: list[int],
    others: list[int],
    maps: dict[int, LinearMap],
    damping: float,
    params: AlignParams,
) -> tuple[LinearMap, _Floats]:
    """Return how a group must move, and the covariance of that shift without the noise of the others."""
    basis = BASIS[params.fitgeom]
    found = _Equations.joined([_equations(images, i, others, maps) for i in group])
    if len(found.place) <= len(basis):
        return LinearMap.identity(), np.zeros((2, 2))
    steep = (found.share[..., None] * found.gradient).sum(axis=0)
    floor = (_FLOOR_PIX * images[group[0]].scale) ** 2 * (steep**2).sum(axis=1)
    residual = (found.share * found.residual).sum(axis=0)
    noise = found.variance + floor
    weight = np.where(residual**2 < _CLIP_SIGMA**2 * noise, 1 / noise, 0.0)
    centre = found.place.mean(axis=0)
    size = float(np.abs(found.place - centre).max())
    local = np.column_stack([np.ones(len(found.place)), (found.place - centre) / size])
    moves = np.einsum("pak,nk->npa", basis, local)
    instrument = np.einsum("npa,ona->onp", moves, found.instrument)
    effect = np.einsum("npa,ona->onp", moves, found.gradient)
    shares = found.share * weight
    normal = np.einsum("on,onp,onq->pq", shares, instrument, effect, optimize=True)
    scores = np.einsum("on,onp,on->np", shares, instrument, found.residual, optimize=True)
    inverse = np.linalg.pinv(normal, rcond=1e-12)
    values = inverse @ scores.sum(axis=0)
    pull = np.einsum("on,onp,onq,qp->n", shares, instrument, effect, inverse, optimize=True) / len(basis)
    cell = _CELL_PIX * images[group[0]].scale
    covariance = (inverse @ _scatter(scores, pull, found.place, cell) @ inverse.T)[:2, :2]
    moved = np.einsum("p,pak->ak", values * damping, basis)
    matrix = moved[:, 1:] / size
    matrix = rotation(matrix[1, 0]) if params.fitgeom == "rshift" else np.eye(2) + matrix
    return LinearMap(matrix=matrix, centre=centre, shift=moved[:, 0]), covariance * damping


def _scatter(scores: _Floats, pull: _Floats, place: _Floats, cell: float) -> _Floats:
    """Return the covariance of the sum of scores; ``pull`` is how much of the answer is each pixel's own.

    Neighbours in a cell share the noise of the interpolated stack, and a cell that makes up a part h of the answer
    shows only 1 - h of its error in what is left.
    """
    _, index = np.unique(np.floor(place / cell).astype(np.int64), axis=0, return_inverse=True)
    sums = np.column_stack([np.bincount(index.ravel(), column) for column in scores.T])
    free = np.maximum(1.0 - np.bincount(index.ravel(), pull), _LEAST_FREE)
    jackknife = np.asarray(sums / free[:, None], np.float64)
    return np.asarray(jackknife.T @ jackknife)


def _equations(images: Sequence[_Image], i: int, others: list[int], maps: dict[int, LinearMap]) -> _Equations:
    mine = images[i]
    place = maps[i].apply(mine.plane_of_pixels)
    sampled = [_sampled(images[k], maps[k], place, mine.scale) for k in others]
    value, slope = (np.array(arrays) for arrays in zip(*sampled, strict=True))
    own = np.array([images[k].variance for k in others])[:, None]
    times = np.array([images[k].exptime for k in others])[:, None]
    known = _agreeing(value, slope, own, times, mine.scale)
    # Without two others nothing is independent of the noise of one.
    enough = known.sum(axis=0) >= min(2, len(others))
    value, slope, known, place = value[:, enough], slope[:, enough], known[:, enough], place[enough]
    weight = np.where(known, 1 / own, 0.0)
    total = weight.sum(axis=0)
    share = weight / total
    value, slope = np.where(known, value, 0.0), np.where(known[..., None], slope, 0.0)
    mean, sums = (share * value).sum(axis=0), (weight[..., None] * slope).sum(axis=0)
    left = total - weight if len(others) > 1 else weight
    without = sums - weight[..., None] * slope if len(others) > 1 else weight[..., None] * slope
    instrument = without / left[..., None]
    noise = _GRADIENT_NOISE / left / mine.scale**2
    power = (instrument**2).sum(axis=-1)
    data = mine.data[tuple(mine.pixels[enough].T)].astype(np.float64)
    light = np.maximum(mean, 0.0)
    return _Equations(
        place=place,
        residual=np.where(known, data - value, 0.0),
        gradient=slope,
        instrument=instrument * (power / (power + noise))[..., None],
        share=share,
        variance=mine.variance + light / mine.exptime + (share**2 * (own + light / times)).sum(axis=0),
    )


def _sampled(image: _Image, linear: LinearMap, place: _Floats, scale: float) -> tuple[_Floats, _Floats]:
    """Return an image at places in the plane, and its gradient there [1 / arcsec]."""
    step = scale / 2
    there = np.linalg.solve(linear.matrix, (place - linear.centre - linear.shift).T).T + linear.centre
    points = np.column_stack(image.to_pixels(*there.T))
    move = image.jacobian @ np.linalg.inv(linear.matrix) * step
    around = [
        _rust.sample(image.data, image.bad, np.ascontiguousarray(points + sign * move[:, axis]))
        for axis in (0, 1)
        for sign in (1.0, -1.0)
    ]
    value = _rust.sample(image.data, image.bad, np.ascontiguousarray(points))
    return value, np.column_stack([around[0] - around[1], around[2] - around[3]]) / (2 * step)


def _agreeing(value: _Floats, slope: _Floats, own: _Floats, times: _Floats, scale: float) -> NDArray[np.bool_]:
    """Whether a value is known and near the median of all, so that it is no cosmic ray."""
    known = np.isfinite(value) & np.isfinite(slope).all(axis=2)
    seen = known.any(axis=0)
    middle, steep = np.full((2, value.shape[1]), np.nan)
    middle[seen] = np.nanmedian(np.where(known, value, np.nan)[:, seen], axis=0)
    slopes = np.where(known[..., None], slope, np.nan)[:, seen]
    steep[seen] = np.square(np.nanmedian(slopes, axis=0)).sum(axis=-1)
    allowed = own + np.maximum(middle, 0.0) / times + (3 * _FLOOR_PIX * scale) ** 2 * steep
    with np.errstate(invalid="ignore"):
        return np.asarray(known & ((value - middle) ** 2 < _CLIP_SIGMA**2 * allowed))


def _gauge(steps: list[LinearMap], anchor: int | None) -> LinearMap:
    """Return the map that puts the anchor back, or the mean of all."""
    if anchor is None:
        shift = -np.mean([step.shift for step in steps], axis=0)
        return LinearMap(matrix=np.eye(2), centre=np.zeros(2), shift=shift)
    step = steps[anchor]
    return LinearMap(
        matrix=np.asarray(np.linalg.inv(step.matrix), np.float64), centre=step.centre + step.shift, shift=-step.shift
    )


def _finished(fit: Fit, linear: LinearMap, mine: Positions, covariance: _Floats) -> Fit:
    """Return a fit with the map of the pixels and what it leaves of the pairs."""
    i = fit.pairs[:, 0]
    about = LinearMap(
        matrix=linear.matrix, centre=fit.map.centre, shift=linear.apply(fit.map.centre[None])[0] - fit.map.centre
    )
    residuals = fit.residuals + fit.map.apply(mine.xy[i]) - about.apply(mine.xy[i])
    weight = np.where(fit.used, mine.sigma[i] ** -2.0, 0.0)
    rms = np.sqrt((weight[:, None] * residuals**2).sum(axis=0) / weight.sum())
    error = np.sqrt(np.diag(covariance))
    return replace(
        fit,
        map=about,
        residuals=residuals,
        rms=(float(rms[0]), float(rms[1])),
        mae=float(np.hypot(*residuals[fit.used].T).mean()),
        shift_err=(float(error[0]), float(error[1])),
    )
