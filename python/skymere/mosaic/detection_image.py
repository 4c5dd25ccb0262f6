"""One image to detect on, from mosaics of several bands."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from skymere._arrays import as_mask
from skymere.background import BackgroundParams, estimate_background
from skymere.datamodels import NO_CLASS, Mosaic, NoiseCovariance, StoredMosaic
from skymere.errors import NoDataError
from skymere.outliers import grow_mask
from skymere.segmentation import MeasureImage
from skymere.segmentation.windows import widened

__all__ = [
    "DetectionImage",
    "band_depth",
    "covered_pixels",
    "enough_exposures",
    "measured_stack",
    "n_exposures",
    "n_pointings",
    "plane_of",
    "stack_of",
    "subtract_background",
    "without_pixels",
]

# Half the side of what is a hole: rejected pixels, and no blob of the detector that was never compared.
_HOLE_PIX = 8
_AnyMosaic = TypeVar("_AnyMosaic", Mosaic, StoredMosaic)


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectionImage:
    """An image to detect on.

    Parameters
    ----------
    data : ndarray, float32, shape (ny, nx) [uJy]
        Background-subtracted; NaN where no band covers.
    error : ndarray, float32, shape (ny, nx) [uJy]
        1 sigma of the background noise in one pixel; infinite where no band covers.
    bands : tuple of str
        The bands that are in it.
    """

    data: NDArray[np.float32]
    error: NDArray[np.float32]
    bands: tuple[str, ...]


def subtract_background(
    mosaic: Mosaic, *, params: BackgroundParams, hidden: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], float]:
    """Return a mosaic without its background, and the constant that turns its weight into its background noise.

    Parameters
    ----------
    mosaic : Mosaic
        One band.
    params : BackgroundParams
        Mesh.
    hidden : ndarray, bool, shape (ny, nx), optional
        Pixels that the mesh does not see, such as those of sources.

    Returns
    -------
    ndarray, float32, shape (ny, nx) [unit of the mosaic]
        NaN where nothing covers.
    float
        k, the square of the median of rms x sqrt(weight): the variance of the background in a pixel is k / weight.

    Raises
    ------
    NoDataError
        When nothing covers the mosaic, or so much is hidden that no cell of the mesh has enough pixels.

    Notes
    -----
    This is SExtractor's use of a weight map (WEIGHT_TYPE MAP_WEIGHT; Bertin & Arnouts 1996).
    """
    covered = covered_pixels(mosaic)
    if not covered.any():
        msg = f"mosaic: band {mosaic.band} has no covered pixel"
        raise NoDataError(msg)
    mask = ~covered if hidden is None else ~covered | hidden
    background = estimate_background(mosaic.data, mask=mask, params=params)
    k = float(np.median(background.rms[covered] * np.sqrt(mosaic.weight[covered]))) ** 2
    return np.where(covered, mosaic.data - background.level, np.float32(np.nan)), k


def without_pixels(mosaic: _AnyMosaic, bad: NDArray[np.bool_] | None) -> _AnyMosaic:
    """Return a mosaic in which pixels count as never seen: not by the background, nor by the noise or a flux.

    Parameters
    ----------
    mosaic : Mosaic or StoredMosaic
        One band.
    bad : ndarray, bool, shape (ny, nx), or None
        True = do not use.

    Raises
    ------
    InvalidInputError
        When the shapes differ.
    """
    if bad is None:
        return mosaic
    mask = as_mask(bad, "bad", shape=mosaic.shape)
    if isinstance(mosaic, Mosaic):
        return replace(mosaic, data=np.where(mask, np.float32(np.nan), mosaic.data))
    return replace(mosaic, bad=mask)


def covered_pixels(mosaic: Mosaic) -> NDArray[np.bool_]:
    """Return the pixels to which something finite contributed."""
    return np.asarray(mosaic.covered & np.isfinite(mosaic.data))


def n_exposures(mosaic: Mosaic) -> NDArray[np.int64]:
    """Return how many exposures contributed to each pixel.

    Parameters
    ----------
    mosaic : Mosaic
        Its context is counted.

    Returns
    -------
    ndarray, int64, shape (ny, nx)
        Number of bits that are set.
    """
    return _n_bits(mosaic.context).astype(np.int64)


def _n_bits(context: NDArray[np.int32]) -> NDArray[np.uint16]:
    return np.asarray(np.bitwise_count(context.view(np.uint32)).sum(axis=0, dtype=np.uint16))


def n_pointings(exposure_ids: Sequence[str]) -> int:
    """Return the number of exposures, whose chips are ``x_chip1, x_chip2`` or ``x.fits[sci,1], x.fits[sci,2]``."""
    return len({re.sub(r"_chip\d+$|\[[^\]]*\]$", "", name) for name in exposure_ids})


def enough_exposures(
    mosaic: Mosaic | StoredMosaic,
    min_exposures: int,
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> NDArray[np.bool_]:
    """Return the pixels of a window that so many exposures look at, or all exposures of a mosaic of fewer.

    Where the others were rejected in a hole of at most 16 pixels, one exposure is enough: it was compared with them.

    Parameters
    ----------
    mosaic : Mosaic or StoredMosaic
        Its context is counted.
    min_exposures : int
        How many.
    rows, columns : slice, optional
        The window; the whole mosaic when absent.

    Returns
    -------
    ndarray, bool, shape of the window
    """
    needed = min(min_exposures, n_pointings(mosaic.exposure_ids))
    ny, nx = mosaic.shape
    core = rows.indices(ny)[:2], columns.indices(nx)[:2]
    (y0, y1), (x0, x1) = wide = widened(core, (2 * _HOLE_PIX, 2 * _HOLE_PIX), mosaic.shape)
    context = np.ascontiguousarray(mosaic.context[:, y0:y1, x0:x1], np.int32)
    count = _n_bits(context)
    enough = count >= needed
    if needed > 1:
        side = 2 * _HOLE_PIX + 1
        enough = ~grow_mask(~grow_mask(enough, side=side), side=side) & (count > 0)
    y, x = (slice(a - low, b - low) for (a, b), (low, _) in zip(core, wide, strict=True))
    return np.asarray(enough[y, x])


def plane_of(
    mosaic: Mosaic, data: NDArray[np.float32], k: float, enough: NDArray[np.bool_], *, negative: bool = False
) -> MeasureImage:
    """Return a band, or a window of it, without its background, where enough exposures look.

    Parameters
    ----------
    mosaic : Mosaic
        Its weight and its zero point are used.
    data : ndarray, float32, shape (ny, nx) [unit of the mosaic]
        Its pixels without the background; NaN where nothing covers.
    k : float
        ``k / weight`` is its variance: see `subtract_background`.
    enough : ndarray, bool, shape (ny, nx)
        See `enough_exposures`; other pixels are NaN.
    negative : bool, optional
        Change the sign.

    Returns
    -------
    MeasureImage [uJy where the zero point is known, else the unit of the mosaic]
    """
    is_known = bool(np.isfinite(mosaic.zero_point_ab))
    unit = _unit(mosaic) * (-1.0 if negative else 1.0)
    good = np.isfinite(data) & enough
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(good, np.sqrt(k / mosaic.weight) * abs(unit), np.inf)
    return MeasureImage(
        data=np.where(good, data * unit, np.nan), error=error, zero_point_ab=23.9 if is_known else float("nan")
    )


def _unit(mosaic: Mosaic) -> float:
    """Return the flux of one unit of a mosaic [uJy], or 1 when its zero point is unknown."""
    return mosaic.microjansky_per_unit if np.isfinite(mosaic.zero_point_ab) else 1.0


def band_depth(mosaic: Mosaic, k: float, weight: float) -> float:
    """Return the inverse variance of the background of a band where it has some weight.

    Parameters
    ----------
    mosaic : Mosaic
        The band, or a window of it.
    k : float
        See `subtract_background`.
    weight : float
        The weight, such as the largest one of the whole mosaic.

    Returns
    -------
    float
        [1 / uJy^2, or 1 / the mosaic's unit^2 when its zero point is unknown].
    """
    return weight / (k * _unit(mosaic) ** 2)


def stack_of(planes: Mapping[str, MeasureImage]) -> DetectionImage:
    """Return the inverse-variance mean of bands, or of a window of them.

    Parameters
    ----------
    planes : mapping of str to MeasureImage
        Each as `plane_of` returns it, all in one unit.

    Returns
    -------
    DetectionImage

    Notes
    -----
    sum(d / v) / sum(1 / v) with v the background variance of each band; a source's own noise is left out, so bright
    sources are not weighted down.
    """
    total, weights = np.zeros(()), np.zeros(())
    for plane in planes.values():
        data, error = np.asarray(plane.data), np.asarray(plane.error, np.float64)
        weight = np.where(np.isfinite(data) & (error > 0), error**-2.0, 0.0)
        total = total + np.where(weight > 0, data, 0.0) * weight
        weights = weights + weight
    with np.errstate(divide="ignore", invalid="ignore"):
        stacked = np.where(weights > 0, total / weights, np.nan).astype(np.float32)
        sigma = (1.0 / np.sqrt(weights)).astype(np.float32)
    return DetectionImage(data=stacked, error=sigma, bands=tuple(planes))


def measured_stack(
    planes: Mapping[str, MeasureImage], mosaics: Mapping[str, Mosaic], *, depths: Mapping[str, float]
) -> MeasureImage:
    """Return the image of `stack_of` with the noise that it has: that of the sources too, and correlated.

    Parameters
    ----------
    planes : mapping of str to MeasureImage
        Each as `plane_of` returns it, all in one unit.
    mosaics : mapping of str to Mosaic
        The bands, or the same windows of them: their variances and correlations are used.
    depths : mapping of str to float
        By band, how much it weighs in the stack, the same for all windows; see `band_depth`.

    Returns
    -------
    MeasureImage
        Positions and shapes are measured on it.

    Notes
    -----
    Pixels are ``sum w d / sum w`` with the inverse variances w of the backgrounds, so that their variance is
    ``sum w^2 s^2 / (sum w)^2`` with the variances s^2 of the mosaics. Their correlation is the mean of those of the
    bands, each by its part of the variance of the background, ``w / sum w``, which is one number for a whole image. The
    class of a pixel is that in the deepest band that has it.
    """
    found = stack_of(planes)
    weights, total = np.zeros(()), np.zeros(())
    for band, plane in planes.items():
        mosaic = mosaics[band]
        error = np.asarray(plane.error, np.float64)
        good = np.isfinite(np.asarray(plane.data)) & (error > 0)
        weight = np.where(good, error**-2.0, 0.0)
        variance = np.where(good, mosaic.variance.astype(np.float64) * _unit(mosaic) ** 2, 0.0)
        total = total + weight**2 * variance
        weights = weights + weight
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(weights > 0, np.sqrt(total) / weights, np.inf).astype(np.float32)
    noise = _joint_noise(mosaics, {band: depths[band] for band in planes})
    parts = sum(depths[band] for band in planes)
    factor = np.sqrt(sum(depths[band] * mosaics[band].noise_correlation ** 2 for band in planes) / parts)
    return MeasureImage(
        data=found.data,
        error=error,
        noise_correlation=float(factor),
        noise=noise,
        weight=weights.astype(np.float32),
        zero_point_ab=23.9,
    )


def _joint_noise(mosaics: Mapping[str, Mosaic], depths: Mapping[str, float]) -> NoiseCovariance | None:
    """Return the correlation of a mean of bands; None when one of them does not know its own."""
    ordered = sorted(depths, key=lambda band: (-depths[band], band))
    noises = [noise for band in ordered if (noise := mosaics[band].noise) is not None]
    if len(noises) < len(ordered) or len({noise.classes for noise in noises}) != 1:
        return None
    reach = max(noise.reach_pix for noise in noises)
    kernels = np.zeros((len(noises[0].classes), 2 * reach + 1, 2 * reach + 1))
    classes = np.full(noises[0].class_map.shape, NO_CLASS, np.uint8)
    for band, noise in zip(ordered, noises, strict=True):
        inner = slice(reach - noise.reach_pix, reach + noise.reach_pix + 1)
        kernels[:, inner, inner] += depths[band] / sum(depths.values()) * noise.kernels
        classes = np.where(classes == NO_CLASS, noise.class_map, classes)
    return NoiseCovariance(kernels=kernels, class_map=classes, classes=noises[0].classes)
