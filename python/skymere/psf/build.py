"""Effective PSFs from stars, oversampled and built in rounds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.align import FindParams, find_sources
from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError, NoDataError
from skymere.psf.sampled import Psf

__all__ = ["BuildParams", "StarFit", "build_psf", "select_stars"]


@dataclass(frozen=True, kw_only=True)
class BuildParams:
    """Parameters of `build_psf`.

    Parameters
    ----------
    oversampling : int
        Pixels of the PSF per detector pixel, along an axis.
    radius_pix : int
        The PSF reaches so far from its centre [detector pix].
    n_rounds : int
        Rounds of building and fitting.
    clip_sigma : float
        Values further from the others at their place on the PSF are left out [sigma].
    smooth : bool
        Smooth each round by a quartic through 5 x 5 pixels.
    min_stars : int
        Fewer stars are an error.
    find : FindParams
        How stars are found where none are given.
    min_snr : float
        Found stars have at least this signal to noise.
    size_tolerance : float
        Found stars are those whose width is within this part of that of the narrowest.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    oversampling: int = 4
    radius_pix: int = 12
    n_rounds: int = 8
    clip_sigma: float = 3.0
    smooth: bool = True
    min_stars: int = 5
    find: FindParams = field(default_factory=lambda: FindParams(threshold=20.0))
    min_snr: float = 50.0
    size_tolerance: float = 0.15

    def __post_init__(self) -> None:
        for name, least in (("oversampling", 1), ("radius_pix", 3), ("n_rounds", 1), ("min_stars", 1)):
            if getattr(self, name) < least:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be at least {least}"
                raise InvalidInputError(msg)
        for name in ("clip_sigma", "min_snr", "size_tolerance"):
            if not getattr(self, name) > 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class StarFit:
    """The stars that a PSF was made of, as it fits them.

    Parameters
    ----------
    table : polars.DataFrame
        ``exposure_id, x, y`` [pix], ``flux, sky`` [unit] and ``chi2`` per pixel.
    """

    table: pl.DataFrame


@dataclass(frozen=True, eq=False)
class _Pixels:
    """Good pixels around all stars, one after the other, and what is known of the stars."""

    star: NDArray[np.intp]
    column: NDArray[np.float64]
    row: NDArray[np.float64]
    value: NDArray[np.float64]
    inverse_variance: NDArray[np.float64]


def select_stars(table: pl.DataFrame, *, radius_pix: float, params: BuildParams) -> pl.DataFrame:
    """Return the isolated, bright and narrow ones of the sources of an image.

    Parameters
    ----------
    table : polars.DataFrame
        As `skymere.align.find_sources` gives it.
    radius_pix : float
        No other source of a tenth of its flux may be so near [pix].
    params : BuildParams
        Limits.
    """
    if table.is_empty():
        return table
    x, y, flux = (table[name].to_numpy() for name in ("x", "y", "flux"))
    near = np.hypot(x[:, None] - x, y[:, None] - y) < radius_pix
    np.fill_diagonal(near, val=False)
    alone = ~(near & (flux[None, :] > 0.1 * flux[:, None])).any(axis=1)
    bright = table["snr"].to_numpy() > params.min_snr
    width = table["window_pix"].to_numpy()
    if not (alone & bright).any():
        return table.head(0)
    # Nothing is narrower than a star; the tenth percentile is safe against what is left of cosmic rays.
    narrowest = float(np.quantile(width[alone & bright], 0.1))
    narrow = np.abs(width / narrowest - 1.0) < params.size_tolerance
    return table.filter(pl.Series(alone & bright & narrow))


def build_psf(
    exposures: Iterable[Exposure],
    *,
    stars: Mapping[str, pl.DataFrame] | None = None,
    params: BuildParams | None = None,
) -> tuple[Psf, StarFit]:
    """Build the effective PSF of a detector from the stars in exposures.

    Parameters
    ----------
    exposures : iterable of Exposure
        With masks and errors; taken one at a time.
    stars : mapping of str to polars.DataFrame, optional
        About where the stars of an exposure are, ``x, y`` [pix]; found when not given.
    params : BuildParams, optional
        Sampling, rounds and limits.

    Returns
    -------
    Psf
        Effective PSF (with the pixel's response), its sum 1 and its centroid in the middle of its image.
    StarFit
        Places and fluxes of the stars.

    Raises
    ------
    NoDataError
        When there are too few stars.

    Notes
    -----
    Every pixel of every star is a sample of the PSF at its distance from the star's centre. In a round the samples
    minus the PSF so far are averaged at its pixels with inverse variances and clipping, the PSF is smoothed and
    centred, and then fitted to every star: flux, sky and place. Dithers put samples everywhere between the pixels [1]_.

    References
    ----------
    .. [1] Anderson & King 2000, PASP 112, 1360, sections 2 and 3.
    """
    p = params or BuildParams()
    pixels, places, names = _collect(exposures, stars, p)
    n = len(names)
    if n < p.min_stars:
        msg = f"stars: {n} are too few for a PSF, at least {p.min_stars} are needed"
        raise NoDataError(msg)
    state = _first_guess(pixels, places)
    side = 2 * p.radius_pix * p.oversampling + 1
    psf = Psf(data=np.zeros((side, side), np.float32), oversampling=p.oversampling)
    for _ in range(p.n_rounds):
        psf = _improve(psf, pixels, state, p)
        for _ in range(2):
            state = _refit(psf, pixels, state)
    psf = _improve(psf, pixels, state, p)
    chi2 = _chi2(psf, pixels, state)
    table = pl.DataFrame(
        {
            "exposure_id": names,
            "x": state[:, 0],
            "y": state[:, 1],
            "flux": state[:, 2],
            "sky": state[:, 3],
            "chi2": chi2,
        }
    )
    psf = Psf(data=psf.data, oversampling=p.oversampling, has_pixel=True, n_stars=n, error=_error(psf, pixels, state))
    return psf, StarFit(table=table)


def _collect(
    exposures: Iterable[Exposure], stars: Mapping[str, pl.DataFrame] | None, p: BuildParams
) -> tuple[_Pixels, NDArray[np.float64], list[str]]:
    """Cut the stars out of the exposures."""
    parts: list[tuple[NDArray[Any], ...]] = []
    places: list[tuple[float, float]] = []
    names: list[str] = []
    reach = p.radius_pix
    for exposure in exposures:
        bad = exposure.mask()
        if stars is None:
            found = find_sources(exposure.data, error=exposure.error, mask=bad, params=p.find)
            table = select_stars(found, radius_pix=1.5 * reach, params=p)
        else:
            table = stars.get(exposure.exposure_id, pl.DataFrame({"x": [], "y": []}))
        for x, y in table.select("x", "y").iter_rows():
            cx, cy = round(x), round(y)
            if not (reach <= cx < exposure.shape[1] - reach and reach <= cy < exposure.shape[0] - reach):
                continue
            box = (slice(cy - reach, cy + reach + 1), slice(cx - reach, cx + reach + 1))
            good = ~bad[box] & (exposure.error[box] > 0)
            # A star without its core has no place.
            if good[reach - 1 : reach + 2, reach - 1 : reach + 2].sum() < 7 or good.mean() < 0.8:
                continue
            rows, columns = np.nonzero(good)
            value = (exposure.data[box] - np.float32(exposure.sky))[good].astype(np.float64)
            variance = exposure.error[box][good].astype(np.float64) ** 2
            which = np.full(len(rows), len(places), np.float64)
            parts.append((which, columns + float(cx - reach), rows + float(cy - reach), value, 1.0 / variance))
            places.append((x, y))
            names.append(exposure.exposure_id)
    joined = [np.concatenate(c) for c in zip(*parts, strict=True)] if parts else [np.empty(0)] * 5
    pixels = _Pixels(joined[0].astype(np.intp), joined[1], joined[2], joined[3], joined[4])
    return pixels, np.asarray(places, np.float64).reshape(-1, 2), names


def _first_guess(pixels: _Pixels, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``x, y, flux, sky`` of every star: sky from the rim, flux from the rest."""
    n = len(places)
    dx = pixels.column - places[pixels.star, 0]
    dy = pixels.row - places[pixels.star, 1]
    radius = np.hypot(dx, dy)
    edge = float(np.quantile(radius, 0.8))
    sky = np.array([np.median(pixels.value[(pixels.star == k) & (radius > edge)]) for k in range(n)])
    inside = radius < edge
    flux = np.bincount(pixels.star[inside], (pixels.value - sky[pixels.star])[inside], minlength=n)
    return np.column_stack([places, flux, sky])


def _improve(psf: Psf, pixels: _Pixels, state: NDArray[np.float64], p: BuildParams) -> Psf:
    """Add to the PSF what the samples have more than it, smooth and centre it."""
    x, y, flux, sky = state[pixels.star].T
    dx, dy = pixels.column - x, pixels.row - y
    usable = flux > 0
    sample = np.where(usable, (pixels.value - sky) / np.where(usable, flux, 1.0), 0.0) - psf.density(dx, dy)
    weight = np.where(usable, flux, 0.0) ** 2 * pixels.inverse_variance
    at, inside = _places(psf, dx, dy)
    inside &= weight > 0
    gain = _clipped_means(at[inside], sample[inside], weight[inside], psf.data.size, p.clip_sigma)
    data = psf.data + gain.reshape(psf.shape) / p.oversampling**2
    if p.smooth:
        data = _smoothed(data)
    return _centred(Psf(data=data.astype(np.float32), oversampling=p.oversampling)).normalised()


def _places(psf: Psf, dx: NDArray[np.float64], dy: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the flat index of the PSF's pixel at offsets from its centre [detector pix], and whether there is one."""
    ny, nx = psf.shape
    ix = np.floor(psf.x + dx * psf.oversampling + 0.5).astype(np.int64)
    iy = np.floor(psf.y + dy * psf.oversampling + 0.5).astype(np.int64)
    return iy * nx + ix, (ix >= 0) & (iy >= 0) & (ix < nx) & (iy < ny)


def _clipped_means(
    at: NDArray[np.int64], sample: NDArray[np.float64], weight: NDArray[np.float64], n: int, clip_sigma: float
) -> NDArray[np.float64]:
    """Return the weighted mean of the samples at every pixel, without outliers; 0 where there is none."""
    keep = np.ones(len(at), bool)
    mean = np.zeros(n)
    for _ in range(3):
        total = np.bincount(at[keep], weight[keep], minlength=n)
        known = total > 0
        sums = np.bincount(at[keep], (weight * sample)[keep], minlength=n)
        mean = np.where(known, sums / np.where(known, total, 1.0), 0.0)
        off = (sample - mean[at]) ** 2 * weight
        # Where pulls are larger than noise says, because the PSF is not there yet, they are the scale.
        count = np.bincount(at[keep], minlength=n)
        scatter = np.bincount(at[keep], off[keep], minlength=n) / np.maximum(count - 1, 1)
        keep = (off <= clip_sigma**2 * np.maximum(scatter, 1.0)[at]) | (count < 4)[at]
    return mean


def _smoothed(data: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace every pixel by the value of a quartic through the 5 x 5 around it."""
    grid = np.arange(-2.0, 3.0)
    xx, yy = np.meshgrid(grid, grid)
    terms = [(xx**i * yy**j).ravel() for i in range(5) for j in range(5 - i)]
    kernel = np.linalg.pinv(np.column_stack(terms))[0].reshape(5, 5)
    padded = np.pad(data, 2, mode="edge")
    ny, nx = data.shape
    out = np.zeros_like(data)
    for i in range(5):
        for j in range(5):
            out += kernel[i, j] * padded[i : i + ny, j : j + nx]
    return out


def _centred(psf: Psf) -> Psf:
    """Move the centroid to the middle."""
    shape = psf.measure()
    off_x, off_y = (shape.x - psf.x) / psf.oversampling, (shape.y - psf.y) / psf.oversampling
    yy, xx = np.indices(psf.shape, dtype=np.float64)
    dx, dy = (xx - psf.x) / psf.oversampling + off_x, (yy - psf.y) / psf.oversampling + off_y
    moved = psf.density(dx, dy) / psf.oversampling**2
    return Psf(data=moved.astype(np.float32), oversampling=psf.oversampling)


def _refit(psf: Psf, pixels: _Pixels, state: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``x, y, flux, sky`` of every star after one step of weighted least squares."""
    n = len(state)
    x, y, flux, sky = state[pixels.star].T
    dx, dy = pixels.column - x, pixels.row - y
    value = psf.density(dx, dy)
    h = 0.5 / psf.oversampling
    slope_x = (psf.density(dx - h, dy) - psf.density(dx + h, dy)) / (2 * h)
    slope_y = (psf.density(dx, dy - h) - psf.density(dx, dy + h)) / (2 * h)
    terms = np.stack([flux * slope_x, flux * slope_y, value, np.ones_like(value)])
    rest = pixels.value - flux * value - sky
    weight = pixels.inverse_variance
    normal, right = np.empty((n, 4, 4)), np.empty((n, 4))
    for i in range(4):
        right[:, i] = np.bincount(pixels.star, weight * terms[i] * rest, minlength=n)
        for j in range(4):
            normal[:, i, j] = np.bincount(pixels.star, weight * terms[i] * terms[j], minlength=n)
    scale = np.sqrt(np.einsum("kii->ki", normal)).clip(1e-300)
    normal /= scale[:, :, None] * scale[:, None, :]
    step = np.linalg.solve(normal + 1e-12 * np.eye(4), (right / scale)[..., None])[..., 0] / scale
    step[:, :2] = np.clip(step[:, :2], -0.3, 0.3)
    return np.asarray(state + step)


def _chi2(psf: Psf, pixels: _Pixels, state: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, flux, sky = state[pixels.star].T
    rest = pixels.value - flux * psf.density(pixels.column - x, pixels.row - y) - sky
    n = len(state)
    count = np.bincount(pixels.star, minlength=n)
    total = np.bincount(pixels.star, rest**2 * pixels.inverse_variance, minlength=n)
    return np.asarray(total / np.maximum(count - 4, 1))


def _error(psf: Psf, pixels: _Pixels, state: NDArray[np.float64]) -> NDArray[np.float32]:
    """1 sigma of every pixel from the noise of its samples; infinite where there is none."""
    x, y, flux, _ = state[pixels.star].T
    at, inside = _places(psf, pixels.column - x, pixels.row - y)
    weight = (flux**2 * pixels.inverse_variance)[inside]
    total = np.bincount(at[inside], weight, minlength=psf.data.size).reshape(psf.shape)
    with np.errstate(divide="ignore"):
        return np.asarray(1.0 / np.sqrt(total) / psf.oversampling**2, np.float32)
