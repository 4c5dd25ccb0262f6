"""One solution for all exposures over all their overlaps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skymere.align.matching import HUBER_ROUNDS, Fit, Positions, huber_factor, match_positions
from skymere.align.params import AlignParams, FitGeometry
from skymere.align.plane import LinearMap

__all__ = ["BASIS", "after", "fit_together", "rotation"]

_STEPS = 3
_SOURCES_AT_ONCE = 4096

# What a parameter of an exposure does to a position (u, v) in units of the exposure's size: (dx, dy) of (1, u, v).
_MOVE_X, _MOVE_Y = ((1, 0, 0), (0, 0, 0)), ((0, 0, 0), (1, 0, 0))
_TURN, _GROW = ((0, 0, -1), (0, 1, 0)), ((0, 1, 0), (0, 0, 1))
_STRETCH = (((0, 1, 0), (0, 0, 0)), ((0, 0, 1), (0, 0, 0)), ((0, 0, 0), (0, 1, 0)), ((0, 0, 0), (0, 0, 1)))
BASIS: dict[FitGeometry, NDArray[np.float64]] = {
    "shift": np.array([_MOVE_X, _MOVE_Y], float),
    "rshift": np.array([_MOVE_X, _MOVE_Y, _TURN], float),
    "rscale": np.array([_MOVE_X, _MOVE_Y, _TURN, _GROW], float),
    "general": np.array([_MOVE_X, _MOVE_Y, *_STRETCH], float),
}


@dataclass(kw_only=True, eq=False)
class _Observations:
    """All positions of common sources: exposure, place in its list, number of the source, weight and position."""

    exposure: NDArray[np.int64]
    place: NDArray[np.int64]
    number: NDArray[np.int64]
    weight: NDArray[np.float64]
    xy: NDArray[np.float64]

    def mapped(self, maps: Sequence[LinearMap]) -> NDArray[np.float64]:
        out = np.empty_like(self.xy)
        for k, linear in enumerate(maps):
            mine = self.exposure == k
            out[mine] = linear.apply(self.xy[mine])
        return out


def fit_together(
    positions: Sequence[Positions],
    maps: Sequence[LinearMap],
    *,
    catalogue: Positions | None,
    anchor: int | None,
    params: AlignParams,
) -> list[Fit]:
    """Return the map of each exposure that makes the residuals of all common sources smallest together.

    Parameters
    ----------
    positions : sequence of Positions
        The sources of each exposure.
    maps : sequence of LinearMap
        Maps that are good enough to find the common sources.
    catalogue : Positions, optional
        Sources whose positions are known.
    anchor : int, optional
        Exposure whose map stays; without it the catalogue defines the frame.
    params : AlignParams
        Geometry and clipping.

    Notes
    -----
    A source is at the weighted mean of what the exposures (and the catalogue) say, so it drops out of the normal
    equations and leaves those of the exposures' parameters, which are solved at once. Pairs are of an exposure's
    sources and those means.
    """
    known = Positions(xy=np.empty((0, 2)), sigma=np.empty(0)) if catalogue is None else catalogue
    seen, n_sources = _common(positions, maps, known, params)
    maps = list(maps)
    used, factor = np.ones(len(seen.number), bool), np.ones(len(seen.number))
    for _ in range(max(params.n_clip + 1, HUBER_ROUNDS if params.huber is not None else 0)):
        weight = np.where(used, seen.weight * factor, 0.0)
        for _ in range(_STEPS):
            maps, covariance = _step(seen, weight, maps, n_sources, known, anchor, params)
        xy = seen.mapped(maps)
        means, n_seen = _means(xy, weight, seen.number, n_sources, known)
        residuals = means[seen.number] - xy
        kept = _clip(residuals, weight, seen.exposure, params.clip_sigma) & (n_seen[seen.number] > 1)
        if params.huber is None and np.array_equal(kept, used):
            break
        used = kept
        if params.huber is not None:
            factor = np.nan_to_num(huber_factor(residuals, seen.weight, used, params.huber), nan=1.0)
    return [_fit(k, seen, weight, residuals, linear, covariance[k]) for k, linear in enumerate(maps)]


def _common(
    positions: Sequence[Positions], maps: Sequence[LinearMap], known: Positions, params: AlignParams
) -> tuple[_Observations, int]:
    """Return what the exposures saw of sources that are not seen just once, and the number of all sources."""
    master, parts = known, []
    for k, (mine, linear) in enumerate(zip(positions, maps, strict=True)):
        moved = mine.mapped(linear)
        number = np.full(len(mine), -1)
        pairs = match_positions(moved, master, radius_arcsec=params.tolerance_arcsec)
        number[pairs[:, 0]] = pairs[:, 1]
        new = number < 0
        number[new] = len(master) + np.arange(new.sum())
        master = master.join(moved.where(new))
        parts.append((np.full(len(mine), k), np.arange(len(mine)), number, mine.sigma**-2.0, mine.xy))
    exposure, place, number, weight, xy = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    n_seen = np.bincount(number, minlength=len(master))
    n_seen[: len(known)] += 1
    common = n_seen[number] > 1
    columns = {"exposure": exposure, "place": place, "number": number, "weight": weight, "xy": xy}
    return _Observations(**{name: values[common] for name, values in columns.items()}), len(master)


def _sums(index: NDArray[np.int64], values: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return the sum of the values that share an index."""
    return np.asarray(np.bincount(index, values, n), np.float64)


def _means(
    xy: NDArray[np.float64], weight: NDArray[np.float64], number: NDArray[np.int64], n_sources: int, known: Positions
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the weighted mean of each source, NaN where nothing is, and how many positions it is of."""
    total = _sums(number, weight, n_sources)
    sums = np.column_stack([_sums(number, weight * c, n_sources) for c in xy.T])
    n_seen = np.bincount(number, weight > 0, n_sources).astype(np.int64)
    total[: len(known)] += known.sigma**-2.0
    sums[: len(known)] += known.xy * known.sigma[:, None] ** -2.0
    n_seen[: len(known)] += 1
    with np.errstate(invalid="ignore"):
        return sums / total[:, None], n_seen


def _step(
    seen: _Observations,
    weight: NDArray[np.float64],
    maps: list[LinearMap],
    n_sources: int,
    known: Positions,
    anchor: int | None,
    params: AlignParams,
) -> tuple[list[LinearMap], NDArray[np.float64]]:
    """Solve the normal equations once; returns the better maps and the covariance ``(n, 2, 2)`` of their shifts."""
    basis = BASIS[params.fitgeom]
    n_maps, n_params = len(maps), len(basis)
    xy = seen.mapped(maps)
    means, _ = _means(xy, weight, seen.number, n_sources, known)
    residuals = np.where(weight[:, None] > 0, means[seen.number] - xy, 0.0)
    totals = np.maximum(_sums(seen.exposure, weight, n_maps), np.finfo(float).tiny)
    centres = np.column_stack([_sums(seen.exposure, weight * c, n_maps) / totals for c in xy.T])
    size = float(np.abs(xy - centres[seen.exposure]).max(initial=1.0))
    local = np.column_stack([np.ones(len(xy)), (xy - centres[seen.exposure]) / size])
    effect = np.einsum("pak,nk->nap", basis, local)
    column = seen.exposure[:, None] * n_params + np.arange(n_params)

    normal = np.zeros((n_maps * n_params,) * 2)
    right = np.zeros(n_maps * n_params)
    own = np.einsum("n,nap,naq->npq", weight, effect, effect)
    np.add.at(normal, (column[:, :, None], column[:, None, :]), own)
    np.add.at(right, column, np.einsum("n,nap,na->np", weight, effect, residuals))
    total = _sums(seen.number, weight, n_sources)
    total[: len(known)] += known.sigma**-2.0
    for first in range(0, n_sources, _SOURCES_AT_ONCE):
        here = np.flatnonzero((seen.number >= first) & (seen.number < first + _SOURCES_AT_ONCE) & (weight > 0))
        for axis in range(2):
            shared = np.zeros((_SOURCES_AT_ONCE, n_maps * n_params))
            np.add.at(shared, (seen.number[here, None] - first, column[here]), weight[here, None] * effect[here, axis])
            present = total[first : first + _SOURCES_AT_ONCE]
            shared = shared[: len(present)][present > 0]
            normal -= shared.T @ (shared / present[present > 0][:, None])

    free = np.ones(len(right), bool)
    if anchor is not None:
        free[anchor * n_params : (anchor + 1) * n_params] = False
    inverse = np.zeros_like(normal)
    inverse[np.ix_(free, free)] = np.linalg.pinv(normal[np.ix_(free, free)], rcond=1e-12, hermitian=True)
    change = (inverse @ right).reshape(n_maps, n_params)
    better = []
    for linear, centre, values in zip(maps, centres, change, strict=True):
        moved = np.einsum("p,pak->ak", values, basis)
        matrix = moved[:, 1:] / size
        matrix = rotation(matrix[1, 0]) if params.fitgeom == "rshift" else np.eye(2) + matrix
        better.append(after(linear, LinearMap(matrix=matrix, centre=centre, shift=moved[:, 0])))
    covariance = inverse.reshape(n_maps, n_params, n_maps, n_params)[np.arange(n_maps), :2, np.arange(n_maps), :2]
    return better, covariance


def rotation(angle: float) -> NDArray[np.float64]:
    """Return the matrix of a turn from x to y [rad]."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def after(first: LinearMap, second: LinearMap) -> LinearMap:
    """Return the map that does one after the other, about where the second has its centre."""
    back = np.linalg.solve(first.matrix, second.centre - first.centre - first.shift) + first.centre
    moved = second.centre + second.shift
    return LinearMap(matrix=second.matrix @ first.matrix, centre=back, shift=moved - back)


def _clip(
    residuals: NDArray[np.float64], weight: NDArray[np.float64], exposure: NDArray[np.int64], sigma: float
) -> NDArray[np.bool_]:
    """Whether a position counts and its residual is within so many rms of its exposure along both axes."""
    n = int(exposure.max(initial=0)) + 1
    total = np.maximum(_sums(exposure, weight, n), np.finfo(float).tiny)
    squares = np.nan_to_num(residuals) ** 2
    rms = np.sqrt(np.column_stack([_sums(exposure, weight * square, n) / total for square in squares.T]))
    return np.asarray((weight > 0) & (np.abs(residuals) <= sigma * rms[exposure]).all(axis=1))


def _fit(
    k: int,
    seen: _Observations,
    weight: NDArray[np.float64],
    residuals: NDArray[np.float64],
    linear: LinearMap,
    covariance: NDArray[np.float64],
) -> Fit:
    mine = seen.exposure == k
    used, w, left = weight[mine] > 0, weight[mine], residuals[mine]
    total = max(float(w.sum()), np.finfo(float).tiny)
    chi2 = float((weight[:, None] * np.where(weight[:, None] > 0, residuals, 0.0) ** 2).sum())
    dof = max(2 * int((weight > 0).sum()) - 2 * len(np.unique(seen.number[weight > 0])), 1)
    error = np.sqrt(np.diag(covariance) * max(chi2 / dof, 0.0))
    rms = np.sqrt((w[:, None] * np.where(used[:, None], left, 0.0) ** 2).sum(axis=0) / total)
    return Fit(
        map=linear,
        pairs=np.column_stack([seen.place[mine], seen.number[mine]]),
        used=used,
        residuals=left,
        rms=(float(rms[0]), float(rms[1])),
        mae=float(np.hypot(*left[used].T).mean()) if used.any() else float("nan"),
        shift_err=(float(error[0]), float(error[1])),
    )
