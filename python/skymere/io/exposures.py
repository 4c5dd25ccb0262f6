"""Calibrated exposures (FLT-, FLC-, cal- and rate-like FITS files) to `skymere.datamodels.Exposure`."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skymere.datamodels import Exposure
from skymere.errors import FormatError, InvalidInputError, NotFoundError, StorageError
from skymere.instruments import Detector, find_detector
from skymere.io._open import open_fits
from skymere.io.coordinates import (
    DistortionFiles,
    celestial_wcs,
    embedded_gwcs,
    named_distortion,
    read_gwcs,
    with_distortion,
)

__all__ = [
    "ExposureHead",
    "ReadParams",
    "chips_of",
    "distortion_files",
    "exposure_id",
    "file_digest",
    "rate_factors",
    "read_exposure",
    "read_exposures",
    "read_heads",
]

RATE_UNITS = frozenset({"ELECTRONS/S", "ELECTRON/S", "E-/S", "ELECTRON / S"})
COUNT_UNITS = frozenset({"ELECTRONS", "ELECTRON", "E-"})
_NUMBER_RATE_UNITS = frozenset({"DN/S", "DN / S", "COUNTS/S", "COUNT/S"})
_NUMBER_UNITS = frozenset({"DN", "ADU", "COUNTS", "COUNT"})
_BRIGHTNESS_UNITS = frozenset({"MJY/SR", "MJY / SR"})
_ENDINGS = (".gz", ".fz", ".fits", ".fit", "_flt", "_flc", "_cal", "_rate")

ErrorOrigin = Literal["file", "model"]


def exposure_id(path: str | Path, chip: int | None = None) -> str:
    """Return the name of the exposure in a file: the file's own up to ``_flt``, ``_flc``, ``_cal`` or ``_rate``.

    Names of files survive what happens to their content, so a file that was damaged and then mended is one exposure.

    Parameters
    ----------
    path : path-like
        The file; it need not exist.
    chip : int, optional
        Number of the chip, where the file holds several; see `chips_of`.
    """
    name = Path(path).name
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name if chip is None else f"{name}_chip{chip}"


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
    detectors : tuple of Detector
        Detectors that are asked before those that skymere knows; see `skymere.instruments.read_detectors`.
    distortion : DistortionFiles or path-like, optional
        Reference files from which the WCS of an HST exposure is built anew, as ``updatewcs`` does; or the folder with
        those that its header names.
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
    detectors: tuple[Detector, ...] = ()
    distortion: DistortionFiles | str | Path | None = None
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
    path, params = Path(path), params or ReadParams()
    with open_fits(path) as hdus:
        file = _File(hdus, path, params)
        return file.exposure(file.index(chip))


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
    path = Path(path)
    with open_fits(path) as hdus:
        file = _File(hdus, path, params or ReadParams())
        return [file.exposure(k) for k in range(len(file.versions))]


@dataclass(frozen=True, kw_only=True, eq=False)
class ExposureHead:
    """What the headers of an exposure say.

    Parameters
    ----------
    exposure_id : str
        Name; see `exposure_id`.
    group : str
        The file's name where it holds several chips, else empty.
    chip : int or None
        Number of the chip where the file holds several.
    band : str
        Filter, lower case.
    instrument, detector : str
        As in the header.
    exptime : float
        Exposure time [s].
    wcs : astropy.wcs.WCS or APE-14 object
        Coordinates.
    shape : tuple of int
        ``(ny, nx)``.
    """

    exposure_id: str
    group: str
    chip: int | None
    band: str
    instrument: str
    detector: str
    exptime: float
    wcs: Any
    shape: tuple[int, int]


def read_heads(path: str | Path, *, params: ReadParams | None = None) -> list[ExposureHead]:
    """Read the headers of all chips of a file, but no pixels.

    Parameters
    ----------
    path : path-like
        The file.
    params : ReadParams, optional
        What the file does not say.

    Raises
    ------
    NotFoundError, StorageError, FormatError, InvalidInputError
        As `read_exposures`, but for what is wrong with pixels alone.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        file = _File(hdus, path, params or ReadParams())
        return [file.head(k) for k in range(len(file.versions))]


def chips_of(path: str | Path, *, params: ReadParams | None = None) -> tuple[int | None, ...]:
    """Return the numbers of the chips in a file, in its order; ``(None,)`` when there is only one.

    Parameters
    ----------
    path : path-like
        The file.
    params : ReadParams, optional
        ``detector`` and ``detectors`` are used.

    Raises
    ------
    NotFoundError, StorageError, FormatError, InvalidInputError
        As `read_exposures`.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        chips = _File(hdus, path, params or ReadParams()).chips
    return tuple(chips) if len(chips) > 1 else (None,)


def distortion_files(path: str | Path, folder: str | Path) -> DistortionFiles:
    """Return the reference files in a folder that an exposure names as its distortion.

    Parameters
    ----------
    path : path-like
        The exposure.
    folder : path-like
        Where they are, gzipped or not.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the exposure, or one of the files, is not there or cannot be read.
    InvalidInputError
        When the exposure names no IDCTAB.
    """
    with open_fits(path) as hdus:
        return _named_distortion(hdus, Path(path), folder)


def rate_factors(hdus: fits.HDUList, path: Path, params: ReadParams | None = None) -> list[np.float32]:
    """Return the factor that makes electron / s of the values of every chip of a file."""
    file = _File(hdus, path, params or ReadParams())
    return [file.calibration(k)[0] for k in range(len(file.versions))]


def described_chip(hdus: fits.HDUList, path: Path, chip: int | None, params: ReadParams) -> dict[str, Any]:
    """Return name, extension, header, exposure time and nominal scale of a chip of an open file."""
    file = _File(hdus, path, params)
    k = file.index(chip)
    return {
        "exposure_id": file.name(k),
        "extension": f"{file.detector.planes['data']},{file.versions[k]}",
        "exptime": file.exptime(k),
        "scale_arcsec": _scale(file.headers[k], file.detector),
        "header": file.headers[k],
    }


class _File:
    """An open file of an exposure: what its headers and extensions mean; chips are counted from 0."""

    def __init__(self, hdus: fits.HDUList, path: Path, params: ReadParams) -> None:
        self.hdus, self.path, self.params = hdus, path, params
        self.primary = hdus[0].header
        self.detector = params.detector or _detector(self.primary, path, params.detectors)
        name = self.detector.planes["data"].upper()
        versions = [hdu.ver for hdu in hdus[1:] if hdu.name == name]
        if not versions:
            raise FormatError(self._no_extension(name))
        self.versions = versions if self.detector.chip_keyword else versions[:1]
        self.headers = [hdus[name, version].header for version in self.versions]

    @property
    def chips(self) -> list[int]:
        key = self.detector.chip_keyword
        pairs = zip(self.headers, self.versions, strict=True)
        return [int(header.get(key, version)) if key else version for header, version in pairs]

    def index(self, chip: int | None) -> int:
        """Return which one the chip of a number is; None stands for the only one."""
        numbers = self.chips
        if chip is None and len(numbers) > 1:
            msg = f"{self.path}: holds chips {sorted(numbers)}; read_exposures gives all of them, chip= names one"
            raise InvalidInputError(msg)
        if chip is not None and chip not in numbers:
            msg = f"{self.path}: chip {chip} is not there, only {sorted(numbers)}"
            raise InvalidInputError(msg)
        return 0 if chip is None else numbers.index(chip)

    def name(self, k: int) -> str:
        return exposure_id(self.path, self.chips[k] if len(self.versions) > 1 else None)

    @cached_property
    def coordinates(self) -> list[Any]:
        given = self.params
        if given.wcs is not None:
            if len(self.headers) > 1:
                msg = f"wcs: one coordinate system is not allowed for the {len(self.headers)} chips of {self.path}"
                raise InvalidInputError(msg)
            return [read_gwcs(given.wcs) if isinstance(given.wcs, str | Path) else given.wcs]
        files = given.distortion
        if files is not None:
            if not isinstance(files, DistortionFiles):
                files = _named_distortion(self.hdus, self.path, files)
            return list(with_distortion(self.primary, self.headers, files))
        embedded = embedded_gwcs(self.hdus, self.path)
        return [celestial_wcs(h, self.hdus, self.path) if embedded is None else embedded for h in self.headers]

    @cached_property
    def digest(self) -> str:
        return file_digest(self.path)

    def exposure(self, k: int) -> Exposure:
        detector = self.detector
        factor, zero_point = self.calibration(k)
        exptime, read_noise = self.exptime(k), self.read_noise(k)
        data = self.plane("data", k).astype(np.float32) * factor
        if self.params.error == "model":
            error = np.sqrt(np.maximum(data, 0.0) * exptime + read_noise**2) / exptime
        else:
            error = self.plane("error", k).astype(np.float32) * factor
        if "dq" in detector.planes:
            dq = self.plane("dq", k).astype(np.int64).astype(np.uint32)
        else:
            dq = np.zeros(data.shape, np.uint32)
        return Exposure(
            exposure_id=self.name(k),
            group=exposure_id(self.path) if len(self.versions) > 1 else "",
            data=data,
            error=error,
            dq=dq,
            dq_bits=detector.dq_bits,
            harmless_dq=detector.harmless_dq,
            wcs=self.coordinates[k],
            exptime=exptime,
            band=_band(self.primary, detector, self.path),
            instrument=detector.instrument,
            detector=self.detector_name(k),
            read_noise=read_noise,
            zero_point_ab=zero_point,
            photplam=_photplam(self.primary, self.headers[k]),
            native_scale_arcsec=_scale(self.headers[k], detector),
            path=str(self.path),
            sha256=self.digest,
        )

    def head(self, k: int) -> ExposureHead:
        # What cannot be calibrated is told now, as it would be with pixels.
        self.calibration(k)
        has_chips = len(self.versions) > 1
        ny, nx = self.hdus[self.detector.planes["data"], self.versions[k]].shape
        return ExposureHead(
            exposure_id=self.name(k),
            group=exposure_id(self.path) if has_chips else "",
            chip=self.chips[k] if has_chips else None,
            band=_band(self.primary, self.detector, self.path),
            instrument=self.detector.instrument,
            detector=self.detector_name(k),
            exptime=self.exptime(k),
            wcs=self.coordinates[k],
            shape=(int(ny), int(nx)),
        )

    def detector_name(self, k: int) -> str:
        name = self.detector.name
        return f"{name}{self.chips[k]}" if self.detector.chip_keyword else name

    def plane(self, kind: str, k: int) -> NDArray[np.generic]:
        name = self.detector.planes.get(kind, "").upper()
        if not name:
            msg = (
                f"{self.path}: the table of the detector names no extension for the {kind}; error='model' does without"
            )
            raise FormatError(msg)
        if (name, self.versions[k]) not in self.hdus:
            raise FormatError(self._no_extension(name))
        data = self.hdus[name, self.versions[k]].data
        if data is None or data.ndim != 2:
            msg = f"{self.path}: extension {name} holds no two-dimensional image"
            raise FormatError(msg)
        first = self.hdus[self.detector.planes["data"], self.versions[k]].shape
        if data.shape != first:
            msg = f"{self.path}: extension {name} has shape {data.shape}, {self.detector.planes['data']} has {first}"
            raise FormatError(msg)
        return np.asarray(data)

    def exptime(self, k: int) -> float:
        return self.params.exptime or _exptime(self.primary, self.headers[k], self.detector, self.path)

    def gain(self, k: int) -> float:
        if self.params.gain is not None:
            return self.params.gain
        key, nominal = self.detector.gain_keyword, self.detector.gain
        return float(self.headers[k].get(key, self.primary.get(key, nominal))) if key else nominal

    def read_noise(self, k: int) -> float:
        """Read noise [electron]: given, of the amplifiers that read the chip, of the file's variances, or nominal."""
        if self.params.read_noise is not None:
            return self.params.read_noise
        amplifiers = self.detector.chip_amplifiers.get(self.chips[k])
        keys = [key for key in self.detector.read_noise_keywords if amplifiers is None or key[-1] in amplifiers]
        values = [float(self.primary[key]) for key in keys if self.primary.get(key)]
        if values:
            return float(np.mean(values))
        extension = self.detector.planes.get("read_variance", ""), self.versions[k]
        if extension[0] and extension in self.hdus:
            variance = self.plane("read_variance", k).astype(np.float64)
            good = variance[np.isfinite(variance) & (variance > 0)]
            if good.size:
                return float(np.sqrt(np.median(good))) * float(self.calibration(k)[0]) * self.exptime(k)
        return self.detector.read_noise

    def calibration(self, k: int) -> tuple[np.float32, float]:
        return _calibration(self.primary, self.headers[k], self.detector, self.exptime(k), self.gain(k), self.path)

    def _no_extension(self, name: str) -> str:
        present = [hdu.name for hdu in self.hdus]
        needed = [plane for kind, plane in self.detector.planes.items() if kind != "read_variance"]
        return f"{self.path}: no {name} extension; it has {present}, and {', '.join(needed)} are needed"


def _named_distortion(hdus: fits.HDUList, path: Path, folder: str | Path) -> DistortionFiles:
    try:
        return named_distortion(hdus[0].header, folder)
    except InvalidInputError as error:
        msg = f"{path}: {error}"
        raise InvalidInputError(msg) from None


def _detector(primary: fits.Header, path: Path, more: tuple[Detector, ...]) -> Detector:
    words = (str(primary.get(key, "")) for key in ("TELESCOP", "INSTRUME", "DETECTOR"))
    try:
        return find_detector(*words, more=more)
    except InvalidInputError as error:
        msg = f"{path}: {error}"
        raise InvalidInputError(msg) from None


def _exptime(primary: fits.Header, header: fits.Header, detector: Detector, path: Path) -> float:
    for key in detector.exptime_keywords:
        if key in primary or key in header:
            exptime = primary.get(key, header.get(key))
            if isinstance(exptime, int | float) and np.isfinite(exptime) and exptime > 0:
                return float(exptime)
            msg = f"{path}: {key} {exptime!r} is not allowed, it must be a positive number of seconds"
            raise InvalidInputError(msg)
    msg = f"{path}: no exposure time, none of {list(detector.exptime_keywords)} is in its headers"
    raise InvalidInputError(msg)


def _calibration(
    primary: fits.Header, header: fits.Header, detector: Detector, exptime: float, gain: float, path: Path
) -> tuple[np.float32, float]:
    """Return what makes electron / s of a value, and the AB magnitude of one electron / s."""
    unit = str(header.get("BUNIT", detector.unit)).strip().upper()
    zero_point = _zero_point_ab(primary, header, detector)
    if unit in RATE_UNITS:
        return np.float32(1.0), zero_point
    if unit in COUNT_UNITS:
        return np.float32(1.0 / exptime), zero_point
    if unit in _NUMBER_RATE_UNITS:
        return np.float32(gain), _brightness_zero_point(header, gain, zero_point)
    if unit in _NUMBER_UNITS:
        return np.float32(gain / exptime), zero_point + 2.5 * np.log10(gain)
    if unit in _BRIGHTNESS_UNITS and header.get("PHOTMJSR", 0.0) > 0:
        return np.float32(gain / float(header["PHOTMJSR"])), _brightness_zero_point(header, gain, zero_point)
    known = RATE_UNITS | COUNT_UNITS | _NUMBER_RATE_UNITS | _NUMBER_UNITS
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


def _photplam(primary: fits.Header, header: fits.Header) -> float:
    """Pivot wavelength that the headers say [Angstrom]; NaN when they do not."""
    value = header.get("PHOTPLAM", primary.get("PHOTPLAM"))
    return float(value) if isinstance(value, int | float) and value > 0 else float("nan")


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
