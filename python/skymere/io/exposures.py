"""Calibrated exposures (FLT-like FITS files) to `skymere.datamodels.Exposure`."""

import hashlib
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from skymere.datamodels import Exposure
from skymere.errors import FormatError, InvalidInputError, NotFoundError, StorageError
from skymere.instruments import Detector, find_detector
from skymere.io._open import open_fits

__all__ = ["exposure_id", "file_digest", "read_exposure"]

_RATE_UNITS = frozenset({"ELECTRONS/S", "ELECTRON/S", "E-/S", "ELECTRON / S"})
_COUNT_UNITS = frozenset({"ELECTRONS", "ELECTRON", "E-"})


def exposure_id(path: str | Path) -> str:
    """Return the name of the exposure in a file: the file's own name up to ``_flt``, ``_flc`` or ``.fits``.

    Names of files survive what happens to their content, so a file that was damaged and then mended is one exposure.

    Parameters
    ----------
    path : path-like
        The file; it need not exist.
    """
    name = Path(path).name
    for ending in (".gz", ".fits", ".fit", "_flt", "_flc"):
        name = name.removesuffix(ending)
    return name


def file_digest(path: str | Path) -> str:
    """Return the sha256 of a file, hexadecimal.

    Parameters
    ----------
    path : path-like
        The file.

    Raises
    ------
    NotFoundError
        When there is no such file.
    StorageError
        When it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        msg = f"{path}: no such file"
        raise NotFoundError(msg) from error
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise StorageError(msg) from error


def read_exposure(path: str | Path) -> Exposure:
    """Read one calibrated exposure: SCI, ERR and DQ, in a plain, gzipped or tile-compressed FITS file.

    Parameters
    ----------
    path : path-like
        The file, which is not changed.

    Returns
    -------
    Exposure
        In electron / s; images in electrons are divided by their exposure time.

    Raises
    ------
    NotFoundError, StorageError
        When there is no such file or it may not be read.
    FormatError
        When it is truncated, or has no SCI, ERR or DQ extension, or these differ in shape.
    InvalidInputError
        When it has no celestial WCS, no positive exposure time, or an unknown detector or unit.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        primary = hdus[0].header
        planes = {name: _plane(hdus, name, path) for name in ("SCI", "ERR", "DQ")}
        header = hdus["SCI"].header
        detector = _detector(primary, path)
        exptime = float(primary.get("EXPTIME", header.get("EXPTIME", float("nan"))))
        if not (np.isfinite(exptime) and exptime > 0):
            msg = f"{path}: EXPTIME {exptime} is not allowed, it must be a positive number of seconds"
            raise InvalidInputError(msg)
        scale = to_rate(header, exptime, path)
        return Exposure(
            exposure_id=exposure_id(path),
            data=np.asarray(planes["SCI"], np.float32) * scale,
            error=np.asarray(planes["ERR"], np.float32) * scale,
            dq=planes["DQ"].astype(np.int64).astype(np.uint32),
            dq_bits=detector.dq_bits,
            wcs=_celestial_wcs(header, hdus, path),
            exptime=exptime,
            band=_band(primary, detector, path),
            instrument=detector.instrument,
            detector=detector.name,
            read_noise=_read_noise(primary, detector),
            zero_point_ab=_zero_point_ab(primary, header),
            native_scale_arcsec=float(header.get(detector.scale_keyword, detector.scale_arcsec)),
            path=str(path),
            sha256=file_digest(path),
        )


def _plane(hdus: fits.HDUList, name: str, path: Path) -> NDArray[np.generic]:
    present = [hdu.name for hdu in hdus]
    if name not in present:
        msg = f"{path}: no {name} extension; it has {present}, and SCI, ERR and DQ are needed"
        raise FormatError(msg)
    data = hdus[name].data
    if data is None or data.ndim != 2:
        msg = f"{path}: extension {name} holds no two-dimensional image"
        raise FormatError(msg)
    if data.shape != hdus["SCI"].shape:
        msg = f"{path}: extension {name} has shape {data.shape}, SCI has {hdus['SCI'].shape}"
        raise FormatError(msg)
    return np.asarray(data)


def _detector(primary: fits.Header, path: Path) -> Detector:
    words = (str(primary.get(key, "")) for key in ("TELESCOP", "INSTRUME", "DETECTOR"))
    try:
        return find_detector(*words)
    except InvalidInputError as error:
        msg = f"{path}: {error}"
        raise InvalidInputError(msg) from None


def to_rate(header: fits.Header, exptime: float, path: Path) -> np.float32:
    """Return the factor that makes electrons per second of the unit of a header."""
    unit = str(header.get("BUNIT", "")).strip().upper()
    if unit in _RATE_UNITS:
        return np.float32(1.0)
    if unit in _COUNT_UNITS:
        return np.float32(1.0 / exptime)
    msg = f"{path}: BUNIT {unit!r} is not allowed, it must be one of {sorted(_RATE_UNITS | _COUNT_UNITS)}"
    raise InvalidInputError(msg)


def is_singular(wcs: WCS) -> bool:
    """Return whether the linear part of a WCS maps the image to a line or a point, but for rounding."""
    matrix = wcs.pixel_scale_matrix
    return not abs(np.linalg.det(matrix)) > 1e-9 * np.sum(matrix**2)


def _celestial_wcs(header: fits.Header, hdus: fits.HDUList, path: Path) -> WCS:
    try:
        wcs = WCS(header, hdus)
    except (ValueError, KeyError) as error:
        msg = f"{path}: the WCS of SCI cannot be read: {error}"
        raise InvalidInputError(msg) from error
    if not wcs.has_celestial:
        msg = f"{path}: SCI has no celestial WCS (CTYPE {list(wcs.wcs.ctype)})"
        raise InvalidInputError(msg)
    if is_singular(wcs):
        msg = f"{path}: the WCS of SCI is singular (CD matrix {wcs.pixel_scale_matrix.tolist()})"
        raise InvalidInputError(msg)
    return wcs


def _band(primary: fits.Header, detector: Detector, path: Path) -> str:
    values = [str(primary.get(key, "")).strip() for key in detector.band_keywords]
    filters = [value for value in values if value and value.upper() not in detector.clear_filters]
    if len(filters) != 1:
        msg = f"{path}: {dict(zip(detector.band_keywords, values, strict=True))} name no single filter"
        raise InvalidInputError(msg)
    return filters[0].lower()


def _read_noise(primary: fits.Header, detector: Detector) -> float:
    values = [float(primary[key]) for key in detector.read_noise_keywords if key in primary]
    return float(np.mean(values)) if values else 0.0


def _zero_point_ab(primary: fits.Header, header: fits.Header) -> float:
    """AB zero point from PHOTFLAM and PHOTPLAM (Sirianni et al. 2005, eq. 10 with the AB constant), or PHOTFNU."""
    flam, plam, fnu = (
        float(header.get(key, primary.get(key, 0.0)) or 0.0) for key in ("PHOTFLAM", "PHOTPLAM", "PHOTFNU")
    )
    if flam > 0 and plam > 0:
        return float(-2.5 * np.log10(flam) - 5.0 * np.log10(plam) - 2.408)
    if fnu > 0:
        return float(8.9 - 2.5 * np.log10(fnu))
    return float("nan")
