"""Images of one band with weights or errors in files of their own."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import Mosaic
from skymere.errors import InvalidInputError, NoDataError
from skymere.io._open import open_fits
from skymere.io.images import read_image
from skymere.io.mosaics import read_mosaic

__all__ = ["read_band", "weight_of", "zero_point_of"]


def read_band(
    path: str | Path,
    *,
    weight: str | Path | None = None,
    rms: str | Path | None = None,
    band: str = "",
    zero_point_ab: float | None = None,
) -> Mosaic:
    """Read an image of one band: a drizzled file with SCI and WHT, or an image with a file of weights or errors.

    Parameters
    ----------
    path : path-like
        The image, with a celestial WCS.
    weight : path-like, optional
        File of inverse variances, up to a factor.
    rms : path-like, optional
        File of errors [unit of the image], instead of weights.
    band : str, optional
        Name of the band; else that of the keyword FILTER, else of the file.
    zero_point_ab : float, optional
        AB magnitude of one unit; else ZPAB, else what PHOTFLAM and PHOTPLAM say, else unknown.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When a file is missing, unreadable or holds no image.
    InvalidInputError
        When there is no WCS, a shape differs, an error is negative, or weights and errors are given.
    NoDataError
        When no pixel is finite, or none has a positive weight.
    """
    path = Path(path)
    if weight is not None and rms is not None:
        msg = f"{path}: weight and rms are not allowed together"
        raise InvalidInputError(msg)
    with open_fits(path) as hdus:
        names = [hdu.name for hdu in hdus]
        keywords = {
            key: value
            for hdu in reversed(hdus)
            for key in ("FILTER", "ZPAB", "PHOTFLAM", "PHOTPLAM")
            if (value := hdu.header.get(key)) not in (None, "")
        }
    if weight is None and rms is None and {"SCI", "WHT"} <= set(names):
        mosaic = read_mosaic(path)
        data, grid, found = mosaic.data, mosaic.grid, mosaic.weight
    else:
        data, grid = read_image(path)
        found = _weight(data, weight, rms)
        mosaic = None
    usable = np.isfinite(data) & (found > 0)
    if not np.isfinite(data).any():
        msg = f"{path}: none of its {data.size} pixels is finite"
        raise NoDataError(msg)
    if not usable.any():
        msg = f"{weight or rms or path}: no pixel has a positive weight"
        raise NoDataError(msg)
    name = band or str(keywords.get("FILTER", "")).strip().lower() or path.name.split(".")[0].lower()
    zero_point = float("nan") if mosaic is None else mosaic.zero_point_ab
    if zero_point_ab is not None:
        zero_point = zero_point_ab
    elif not np.isfinite(zero_point):
        zero_point = zero_point_of(keywords)
    if mosaic is None:
        return Mosaic(
            band=name,
            grid=grid,
            data=data,
            weight=found,
            variance=np.full(data.shape, np.nan, np.float32),
            context=usable[np.newaxis].astype(np.int32),
            exposure_ids=(),
            zero_point_ab=zero_point,
            weight_kind="inverse_variance",
        )
    return replace(mosaic, band=name, zero_point_ab=zero_point)


def _weight(data: NDArray[np.float32], weight: str | Path | None, rms: str | Path | None) -> NDArray[np.float32]:
    """Return weights; without a file all finite pixels but exact zeros count alike."""
    given = weight if weight is not None else rms
    if given is None:
        return weight_of(data, None, Path())
    values = _pixels(Path(given))
    if values.shape != data.shape:
        msg = f"{given}: shape {values.shape} is not allowed, the image has {data.shape}"
        raise InvalidInputError(msg)
    return weight_of(values, "weight" if rms is None else "rms", Path(given))


def weight_of(values: NDArray[np.float32], kind: Literal["weight", "rms"] | None, path: Path) -> NDArray[np.float32]:
    """Return the weights that an image of weights or errors says, or the image itself, of which all but zeros count.

    Raises
    ------
    InvalidInputError
        When one is negative.
    """
    if kind is None:
        return np.asarray(np.isfinite(values) & (values != 0), np.float32)
    if bool((values < 0).any()):
        msg = f"{path}: negative values are not allowed, the smallest is {float(np.nanmin(values)):.4g}"
        raise InvalidInputError(msg)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = values if kind == "weight" else np.where(values > 0, values.astype(np.float64) ** -2.0, 0.0)
    return np.nan_to_num(inverse, nan=0.0, posinf=0.0).astype(np.float32)


def _pixels(path: Path) -> NDArray[np.float32]:
    """Return the first two-dimensional image of a file, which need not have a WCS."""
    with open_fits(path) as hdus:
        for hdu in hdus:
            if hdu.is_image and len(hdu.shape) == 2:
                return np.asarray(hdu.data, np.float32)
        msg = f"{path}: none of its extensions {[hdu.name for hdu in hdus]} is a two-dimensional image"
        raise InvalidInputError(msg)


def zero_point_of(keywords: dict[str, object]) -> float:
    """Return the AB magnitude of one electron per second, NaN when the keywords do not say it."""
    if "ZPAB" in keywords:
        return float(keywords["ZPAB"])  # type: ignore[arg-type]
    flam, plam = (float(keywords.get(key, 0.0)) for key in ("PHOTFLAM", "PHOTPLAM"))  # type: ignore[arg-type]
    if flam > 0 and plam > 0:
        return float(-2.5 * np.log10(flam) - 5.0 * np.log10(plam) - 2.408)
    return float("nan")
