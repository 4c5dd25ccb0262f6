"""Images of one band with weights or errors in files of their own."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skymere.datamodels import Mosaic
from skymere.errors import FormatError, InvalidInputError, NoDataError
from skymere.io._open import open_fits
from skymere.io.images import grid_of, images_of
from skymere.io.mosaics import read_mosaic, unit_of

__all__ = ["name_and_zero_point", "read_band", "weight_of"]


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
        When a file is missing, unreadable or holds no two-dimensional image, or a keyword is no number.
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
        name, zero_point = name_and_zero_point(hdus, path, band=band, zero_point_ab=zero_point_ab)
        is_drizzled = weight is None and rms is None and {"SCI", "WHT"} <= {hdu.name for hdu in hdus}
    mosaic = read_mosaic(path) if is_drizzled else _plain(path, weight, rms)
    usable = np.isfinite(mosaic.data) & (mosaic.weight > 0)
    if not np.isfinite(mosaic.data).any():
        msg = f"{path}: none of its {mosaic.data.size} pixels is finite"
        raise NoDataError(msg)
    if not usable.any():
        msg = f"{weight or rms or path}: no pixel has a positive weight"
        raise NoDataError(msg)
    return replace(mosaic, band=name, zero_point_ab=zero_point)


def _plain(path: Path, weight: str | Path | None, rms: str | Path | None) -> Mosaic:
    """Return an image with its weights; nothing else is known of it."""
    with open_fits(path) as hdus:
        hdu, grid = grid_of(hdus, path)
        data, unit = np.asarray(hdu.data, np.float32), unit_of(hdu.header)
    found = _weight(data, weight, rms)
    return Mosaic(
        band="",
        grid=grid,
        data=data,
        weight=found,
        variance=np.full(data.shape, np.nan, np.float32),
        context=(np.isfinite(data) & (found > 0))[np.newaxis].astype(np.int32),
        exposure_ids=(),
        unit=unit,
        weight_kind="inverse_variance",
    )


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
        return np.asarray(images_of(hdus, path)[0].data, np.float32)


def name_and_zero_point(hdus: fits.HDUList, path: Path, *, band: str, zero_point_ab: float | None) -> tuple[str, float]:
    """Return the name of a band and the AB magnitude of one unit of its image: what is given, else what headers say.

    Raises
    ------
    FormatError
        When a keyword that is needed is no number.
    """
    keywords = {
        key: value
        for hdu in reversed(hdus)
        for key in ("FILTER", "ZPAB", "PHOTFLAM", "PHOTPLAM")
        if (value := hdu.header.get(key)) not in (None, "") and not isinstance(value, fits.card.Undefined)
    }
    name = band or str(keywords.get("FILTER", "")).strip().lower() or path.name.split(".")[0].lower()
    return name, _zero_point(keywords, path) if zero_point_ab is None else zero_point_ab


def _zero_point(keywords: Mapping[str, Any], path: Path) -> float:
    """Return the AB magnitude of one unit of the image, NaN when the keywords do not say it."""

    def number(key: str) -> float:
        try:
            return float(keywords.get(key, "nan"))
        except ValueError:
            msg = f"{path}: {key} {keywords[key]!r} is not allowed, it must be a number"
            raise FormatError(msg) from None

    if "ZPAB" in keywords:
        return number("ZPAB")
    flam, plam = number("PHOTFLAM"), number("PHOTPLAM")
    if flam > 0 and plam > 0:
        return float(-2.5 * np.log10(flam) - 5.0 * np.log10(plam) - 2.408)
    return float("nan")
