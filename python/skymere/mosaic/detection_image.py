"""One image to detect on, from mosaics of several bands."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from skymere._arrays import as_mask
from skymere.background import BackgroundParams, estimate_background
from skymere.datamodels import Mosaic, StoredMosaic
from skymere.errors import InvalidInputError, NoDataError
from skymere.outliers import grow_mask
from skymere.segmentation.windows import widened

__all__ = [
    "DetectionImage",
    "covered_pixels",
    "detection_image",
    "enough_exposures",
    "n_exposures",
    "n_pointings",
    "stack_of_parts",
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


def subtract_background(mosaic: Mosaic, *, params: BackgroundParams) -> tuple[NDArray[np.float32], float]:
    """Return a mosaic without its background, and the constant that turns its weight into its background noise.

    Parameters
    ----------
    mosaic : Mosaic
        One band.
    params : BackgroundParams
        Mesh.

    Returns
    -------
    ndarray, float32, shape (ny, nx) [unit of the mosaic]
        NaN where nothing covers.
    float
        k, the square of the median of rms x sqrt(weight): the variance of the background in a pixel is k / weight.

    Raises
    ------
    NoDataError
        When nothing covers the mosaic.

    Notes
    -----
    This is SExtractor's use of a weight map (WEIGHT_TYPE MAP_WEIGHT; Bertin & Arnouts 1996).
    """
    covered = covered_pixels(mosaic)
    if not covered.any():
        msg = f"mosaic: band {mosaic.band} has no covered pixel"
        raise NoDataError(msg)
    background = estimate_background(mosaic.data, mask=~covered, params=params)
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


def detection_image(
    mosaics: Sequence[Mosaic], *, min_exposures: int = 1, params: BackgroundParams | None = None
) -> DetectionImage:
    """Return the inverse-variance stack of mosaics of one grid.

    Parameters
    ----------
    mosaics : sequence of Mosaic
        Bands with AB zero points, all on one grid.
    min_exposures : int, optional
        A band counts only where at least this many exposures (or all of its exposures) look, see `enough_exposures`.
    params : BackgroundParams, optional
        Mesh that is subtracted from each.

    Raises
    ------
    InvalidInputError
        When there is none, shapes differ, or one of several has no zero point.
    NoDataError
        When nothing covers one of them.

    Notes
    -----
    sum(d / v) / sum(1 / v) with v the background variance of each band in uJy^2; a source's own noise is left out, so
    bright sources are not weighted down.
    """
    shapes = [m.shape for m in mosaics]
    if len(set(shapes)) != 1:
        msg = f"mosaics: shapes {shapes} are not allowed, at least one and all of one shape are needed"
        raise InvalidInputError(msg)
    nameless = [m.band for m in mosaics if not np.isfinite(m.zero_point_ab)]
    if nameless and len(mosaics) > 1:
        msg = f"mosaics: bands {nameless} have no AB zero point and cannot be stacked with others"
        raise InvalidInputError(msg)
    background = params or BackgroundParams()
    return stack_of_parts(
        (mosaic, *subtract_background(mosaic, params=background), enough_exposures(mosaic, min_exposures))
        for mosaic in mosaics
    )


def stack_of_parts(
    parts: Iterable[tuple[Mosaic, NDArray[np.float32], float, NDArray[np.bool_]]],
) -> DetectionImage:
    """Return the inverse-variance stack of mosaics, or of a window of them.

    Parameters
    ----------
    parts : iterable of (Mosaic, ndarray, float, ndarray)
        Each with what `subtract_background` and `enough_exposures` return for it.
    """
    total, weights = np.zeros(()), np.zeros(())
    bands = []
    for mosaic, data, k, enough in parts:
        unit = mosaic.microjansky_per_unit if np.isfinite(mosaic.zero_point_ab) else 1.0
        good = np.isfinite(data) & enough
        weight = np.where(good, mosaic.weight / (k * unit**2), 0.0)
        total = total + np.where(good, data, 0.0) * unit * weight
        weights = weights + weight
        bands.append(mosaic.band)
    with np.errstate(divide="ignore", invalid="ignore"):
        stacked = np.where(weights > 0, total / weights, np.nan).astype(np.float32)
        error = (1.0 / np.sqrt(weights)).astype(np.float32)
    return DetectionImage(data=stacked, error=error, bands=tuple(bands))
