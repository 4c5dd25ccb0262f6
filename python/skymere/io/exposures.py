"""Calibrated exposures (FLT-, FLC-, cal- and rate-like FITS files) to `skymere.datamodels.Exposure`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skymere.datamodels import Exposure
from skymere.errors import FormatError, InvalidInputError, NotFoundError, StorageError
from skymere.instruments import Detector, find_detector
from skymere.io._open import open_fits
from skymere.io.coordinates import DistortionFiles, celestial_wcs, embedded_gwcs, read_gwcs, with_distortion

__all__ = [
    "ReadParams",
    "chips_of",
    "exposure_id",
    "file_digest",
    "rate_factors",
    "read_exposure",
    "read_exposures",
]

_RATE_UNITS = frozenset({"ELECTRONS/S", "ELECTRON/S", "E-/S", "ELECTRON / S"})
_COUNT_UNITS = frozenset({"ELECTRONS", "ELECTRON", "E-"})
_NUMBER_RATE_UNITS = frozenset({"DN/S", "DN / S", "COUNTS/S", "COUNT/S"})
_NUMBER_UNITS = frozenset({"DN", "ADU", "COUNTS", "COUNT"})
_BRIGHTNESS_UNITS = frozenset({"MJY/SR", "MJY / SR"})
_ENDINGS = (".gz", ".fz", ".fits", ".fit", "_flt", "_flc", "_cal", "_rate")

ErrorOrigin = Literal["file", "model"]


def exposure_id(path: str | Path) -> str:
    """Return the name of the exposure in a file: the file's own up to ``_flt``, ``_flc``, ``_cal`` or ``_rate``.

    Names of files survive what happens to their content, so a file that was damaged and then mended is one exposure.

    Parameters
    ----------
    path : path-like
        The file; it need not exist.
    """
    name = Path(path).name
    for ending in _ENDINGS:
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


@dataclass(frozen=True, kw_only=True)
class ReadParams:
    """What a file does not say, or says wrongly.

    Parameters
    ----------
    detector : Detector, optional
        Meaning of headers and pixels; found by TELESCOP, INSTRUME and DETECTOR when not given.
    distortion : DistortionFiles, optional
        Reference files from which the WCS of an HST exposure is built anew, as ``updatewcs`` does.
    wcs : path-like or APE-14 object, optional
        Coordinates given beside the file: a gwcs or the ASDF file that holds it.
    error : {"file", "model"}
        The error extension, or Poisson noise of the data and read noise.
    gain : float, optional
        Electrons in one data number, instead of that of the header or detector [electron / DN].
    read_noise : float, optional
        Read noise instead of that of the header or detector [electron].
    exptime : float, optional
        Exposure time instead of that of the header [s].

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    detector: Detector | None = None
    distortion: DistortionFiles | None = None
    wcs: Any = None
    error: ErrorOrigin = "file"
    gain: float | None = None
    read_noise: float | None = None
    exptime: float | None = None

    def __post_init__(self) -> None:
        if self.error not in ("file", "model"):
            msg = f"error: {self.error!r} is not allowed, it must be 'file' or 'model'"
            raise InvalidInputError(msg)
        for name in ("gain", "exptime"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                msg = f"{name}: {value} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        if self.read_noise is not None and not 0 <= self.read_noise < np.inf:
            msg = f"read_noise: {self.read_noise} is not allowed, it must be 0 or more"
            raise InvalidInputError(msg)


def read_exposure(path: str | Path, *, chip: int | None = None, params: ReadParams | None = None) -> Exposure:
    """Read one calibrated exposure of one chip: data, error and DQ, in a plain, gzipped or tile-compressed FITS file.

    Parameters
    ----------
    path : path-like
        The file, which is not changed.
    chip : int, optional
        Number of the chip; needed where the file holds several.
    params : ReadParams, optional
        What the file does not say.

    Returns
    -------
    Exposure
        In electron / s; see `read_exposures`.

    Raises
    ------
    NotFoundError, StorageError, FormatError, InvalidInputError
        As `read_exposures`; also when the file holds several chips and none is named, or not the named one.
    """
    found = read_exposures(path, params=params)
    if chip is None and len(found) == 1:
        return found[0]
    names = {_chip_of(exposure): exposure for exposure in found}
    if chip is None:
        msg = f"{path}: holds chips {sorted(names)}; read_exposures gives all of them, chip= names one"
        raise InvalidInputError(msg)
    if chip not in names:
        msg = f"{path}: chip {chip} is not there, only {sorted(names)}"
        raise InvalidInputError(msg)
    return names[chip]


def read_exposures(path: str | Path, *, params: ReadParams | None = None) -> list[Exposure]:
    """Read the exposures of all chips of a file; the chips have one group.

    Parameters
    ----------
    path : path-like
        The file, which is not changed.
    params : ReadParams, optional
        What the file does not say.

    Returns
    -------
    list of Exposure
        In the order of the file. Data are in electron / s: electrons are divided by the exposure time, data numbers
        multiplied by the gain, and MJy / sr divided by PHOTMJSR before.

    Raises
    ------
    NotFoundError, StorageError
        When there is no such file or it may not be read.
    FormatError
        When it is truncated, or lacks an extension, or these differ in shape.
    InvalidInputError
        When it has no celestial WCS, no positive exposure time, or an unknown detector or unit.

    Notes
    -----
    Coordinates are, in this order, those given beside the file, those built from reference files, the gwcs of its ASDF
    extension, and those of its headers.

    Examples
    --------
    >>> from skymere.io import read_exposures
    >>> [e.exposure_id for e in read_exposures("jbtm01alq_flc.fits")]  # doctest: +SKIP
    ['jbtm01alq_chip2', 'jbtm01alq_chip1']
    """
    path, params = Path(path), params or ReadParams()
    with open_fits(path) as hdus:
        primary = hdus[0].header
        detector = params.detector or _detector(primary, path)
        versions = _versions(hdus, detector, path)
        headers = [hdus[detector.planes["data"], version].header for version in versions]
        coordinates = _coordinates(hdus, headers, params, path)
        digest = file_digest(path)
        return [
            _exposure(hdus, version, detector, wcs, params, path, digest, alone=len(versions) == 1)
            for version, wcs in zip(versions, coordinates, strict=True)
        ]


def chips_of(path: str | Path, *, params: ReadParams | None = None) -> tuple[int | None, ...]:
    """Return the numbers of the chips in a file, in its order; ``(None,)`` when there is only one.

    Parameters
    ----------
    path : path-like
        The file.
    params : ReadParams, optional
        ``detector`` is used.

    Raises
    ------
    NotFoundError, StorageError, FormatError, InvalidInputError
        As `read_exposures`.
    """
    path, params = Path(path), params or ReadParams()
    with open_fits(path) as hdus:
        detector = params.detector or _detector(hdus[0].header, path)
        versions = _versions(hdus, detector, path)
        name = detector.planes["data"]
        numbers = [int(hdus[name, version].header.get(detector.chip_keyword, version)) for version in versions]
    return tuple(numbers) if len(numbers) > 1 else (None,)


def rate_factors(hdus: fits.HDUList, path: Path) -> list[np.float32]:
    """Return the factor that makes electron / s of the values of every chip of a file."""
    primary = hdus[0].header
    detector = _detector(primary, path)
    factors = []
    for version in _versions(hdus, detector, path):
        header = hdus[detector.planes["data"], version].header
        exptime = _exptime(primary, header, detector, path)
        gain = _gain(primary, header, detector, ReadParams())
        factors.append(_calibration(primary, header, detector, exptime, gain, path)[0])
    return factors


def _chip_of(exposure: Exposure) -> int:
    return int(exposure.exposure_id.rpartition("_chip")[2]) if exposure.group else 1


def _versions(hdus: fits.HDUList, detector: Detector, path: Path) -> list[int]:
    """Return the numbers of the extensions with data."""
    name = detector.planes["data"].upper()
    versions = [hdu.ver for hdu in hdus[1:] if hdu.name == name]
    if not versions:
        raise FormatError(_no_extension(hdus, name, detector, path))
    return versions if detector.chip_keyword else versions[:1]


def _no_extension(hdus: fits.HDUList, name: str, detector: Detector, path: Path) -> str:
    present, needed = [hdu.name for hdu in hdus], list(detector.planes.values())
    return f"{path}: no {name} extension; it has {present}, and {', '.join(needed)} are needed"


def _coordinates(hdus: fits.HDUList, headers: list[fits.Header], params: ReadParams, path: Path) -> list[Any]:
    if params.wcs is not None:
        if len(headers) > 1:
            msg = f"wcs: one coordinate system is not allowed for the {len(headers)} chips of {path}"
            raise InvalidInputError(msg)
        return [read_gwcs(params.wcs) if isinstance(params.wcs, str | Path) else params.wcs]
    if params.distortion is not None:
        return list(with_distortion(hdus[0].header, headers, params.distortion))
    embedded = embedded_gwcs(hdus, path)
    return [celestial_wcs(header, hdus, path) if embedded is None else embedded for header in headers]


def _exposure(
    hdus: fits.HDUList,
    version: int,
    detector: Detector,
    wcs: Any,
    params: ReadParams,
    path: Path,
    digest: str,
    *,
    alone: bool,
) -> Exposure:
    primary, header = hdus[0].header, hdus[detector.planes["data"], version].header
    exptime = params.exptime or _exptime(primary, header, detector, path)
    chip = int(header.get(detector.chip_keyword, version)) if detector.chip_keyword else version
    read_noise = _read_noise(primary, detector, chip) if params.read_noise is None else params.read_noise
    gain = _gain(primary, header, detector, params)
    factor, zero_point = _calibration(primary, header, detector, exptime, gain, path)
    data = np.asarray(_plane(hdus, "data", version, detector, path), np.float32) * factor
    if params.error == "model":
        error = np.sqrt(np.maximum(data, 0.0) * exptime + read_noise**2) / exptime
    else:
        error = np.asarray(_plane(hdus, "error", version, detector, path), np.float32) * factor
    name = exposure_id(path)
    return Exposure(
        exposure_id=name if alone else f"{name}_chip{chip}",
        group="" if alone else name,
        data=data,
        error=error,
        dq=_dq(hdus, version, detector, path),
        dq_bits=detector.dq_bits,
        harmless_dq=detector.harmless_dq,
        wcs=wcs,
        exptime=exptime,
        band=_band(primary, detector, path),
        instrument=detector.instrument,
        detector=f"{detector.name}{chip}" if detector.chip_keyword else detector.name,
        read_noise=read_noise,
        zero_point_ab=zero_point,
        native_scale_arcsec=_scale(header, detector),
        path=str(path),
        sha256=digest,
    )


def _plane(hdus: fits.HDUList, kind: str, version: int, detector: Detector, path: Path) -> NDArray[np.generic]:
    name = detector.planes.get(kind, "").upper()
    if not name:
        msg = f"{path}: the table of the detector names no extension for the {kind}; error='model' does without"
        raise FormatError(msg)
    if (name, version) not in hdus:
        raise FormatError(_no_extension(hdus, name, detector, path))
    data = hdus[name, version].data
    if data is None or data.ndim != 2:
        msg = f"{path}: extension {name} holds no two-dimensional image"
        raise FormatError(msg)
    first = hdus[detector.planes["data"], version].shape
    if data.shape != first:
        msg = f"{path}: extension {name} has shape {data.shape}, {detector.planes['data']} has {first}"
        raise FormatError(msg)
    return np.asarray(data)


def _dq(hdus: fits.HDUList, version: int, detector: Detector, path: Path) -> NDArray[np.uint32]:
    if "dq" not in detector.planes:
        return np.zeros(hdus[detector.planes["data"], version].shape, np.uint32)
    return _plane(hdus, "dq", version, detector, path).astype(np.int64).astype(np.uint32)


def _detector(primary: fits.Header, path: Path) -> Detector:
    words = (str(primary.get(key, "")) for key in ("TELESCOP", "INSTRUME", "DETECTOR"))
    try:
        return find_detector(*words)
    except InvalidInputError as error:
        msg = f"{path}: {error}"
        raise InvalidInputError(msg) from None


def _exptime(primary: fits.Header, header: fits.Header, detector: Detector, path: Path) -> float:
    for key in detector.exptime_keywords:
        if key in primary or key in header:
            exptime = float(primary.get(key, header.get(key)))
            if np.isfinite(exptime) and exptime > 0:
                return exptime
            msg = f"{path}: {key} {exptime} is not allowed, it must be a positive number of seconds"
            raise InvalidInputError(msg)
    msg = f"{path}: no exposure time, none of {list(detector.exptime_keywords)} is in its headers"
    raise InvalidInputError(msg)


def _gain(primary: fits.Header, header: fits.Header, detector: Detector, params: ReadParams) -> float:
    if params.gain is not None:
        return params.gain
    key = detector.gain_keyword
    return float(header.get(key, primary.get(key, detector.gain))) if key else detector.gain


def _calibration(
    primary: fits.Header, header: fits.Header, detector: Detector, exptime: float, gain: float, path: Path
) -> tuple[np.float32, float]:
    """Return what makes electron / s of a value, and the AB magnitude of one electron / s."""
    unit = str(header.get("BUNIT", detector.unit)).strip().upper()
    zero_point = _zero_point_ab(primary, header, detector)
    if unit in _RATE_UNITS:
        return np.float32(1.0), zero_point
    if unit in _COUNT_UNITS:
        return np.float32(1.0 / exptime), zero_point
    if unit in _NUMBER_RATE_UNITS:
        return np.float32(gain), _brightness_zero_point(header, gain, zero_point)
    if unit in _NUMBER_UNITS:
        return np.float32(gain / exptime), zero_point + 2.5 * np.log10(gain)
    if unit in _BRIGHTNESS_UNITS and header.get("PHOTMJSR", 0.0) > 0:
        return np.float32(gain / float(header["PHOTMJSR"])), _brightness_zero_point(header, gain, zero_point)
    known = _RATE_UNITS | _COUNT_UNITS | _NUMBER_RATE_UNITS | _NUMBER_UNITS
    msg = f"{path}: BUNIT {unit!r} is not allowed, it must be one of {sorted(known)}, or MJY/SR with a PHOTMJSR"
    raise InvalidInputError(msg)


def _brightness_zero_point(header: fits.Header, gain: float, zero_point: float) -> float:
    """AB magnitude of one electron / s from PHOTMJSR [MJy / sr for DN / s] and the area of a pixel [sr]."""
    brightness, area = (float(header.get(key, 0.0) or 0.0) for key in ("PHOTMJSR", "PIXAR_SR"))
    if brightness > 0 and area > 0:
        return float(8.9 - 2.5 * np.log10(brightness * 1e6 * area / gain))
    return zero_point + 2.5 * float(np.log10(gain))


def _scale(header: fits.Header, detector: Detector) -> float:
    """Nominal side of a pixel [arcsec]; that of the area to which a surface brightness refers, where there is one."""
    if detector.scale_keyword in header:
        return float(header[detector.scale_keyword])
    area = float(header.get("PIXAR_A2", 0.0) or 0.0)
    return float(np.sqrt(area)) if area > 0 else detector.scale_arcsec


def _band(primary: fits.Header, detector: Detector, path: Path) -> str:
    values = [str(primary.get(key, "")).strip() for key in detector.band_keywords]
    filters = [value for value in values if not detector.is_clear(value)]
    if not filters or (len(filters) > 1 and not detector.first_filter_wins):
        msg = f"{path}: {dict(zip(detector.band_keywords, values, strict=True))} name no single filter"
        raise InvalidInputError(msg)
    return filters[0].lower()


def _read_noise(primary: fits.Header, detector: Detector, chip: int) -> float:
    """Mean of the amplifiers that read the chip [electron]."""
    amplifiers = detector.chip_amplifiers.get(chip)
    keys = [key for key in detector.read_noise_keywords if amplifiers is None or key[-1] in amplifiers]
    values = [float(primary[key]) for key in keys if primary.get(key)]
    return float(np.mean(values)) if values else detector.read_noise


def _zero_point_ab(primary: fits.Header, header: fits.Header, detector: Detector) -> float:
    """AB zero point from PHOTFLAM and PHOTPLAM (Sirianni et al. 2005, eq. 10 with the AB constant), or PHOTFNU."""
    flam, plam, fnu = (
        float(header.get(key, primary.get(key, 0.0)) or 0.0) for key in ("PHOTFLAM", "PHOTPLAM", "PHOTFNU")
    )
    if flam > 0 and plam > 0:
        return float(-2.5 * np.log10(flam) - 5.0 * np.log10(plam) - 2.408)
    if fnu > 0:
        return float(8.9 - 2.5 * np.log10(fnu))
    key = detector.zero_point_keyword
    return float(header.get(key, primary.get(key, "nan"))) if key else float("nan")
