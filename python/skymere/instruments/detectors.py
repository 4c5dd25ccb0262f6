"""Detectors by name: data-quality bits with their meaning, header keywords, units, gains, nominal pixel scales."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from skymere.errors import InvalidInputError, NotFoundError
from skymere.instruments import dq_bits as bits

__all__ = ["DETECTORS", "Detector", "find_detector", "read_detectors"]


@dataclass(frozen=True, kw_only=True)
class Detector:
    """What the pixels and headers of one detector mean.

    Parameters
    ----------
    telescope, instrument, name : str
        TELESCOP, INSTRUME and DETECTOR of its headers, upper case.
    dq_bits : mapping of str to int
        Name of each data-quality bit.
    harmless_dq : tuple of str
        Bits that tell something about a pixel without making it bad.
    band_keywords : tuple of str
        Primary-header keywords that may hold the filter.
    clear_filters : frozenset of str
        Values of those keywords that mean no filter; also every value that begins with one of them.
    first_filter_wins : bool
        Of two filters the one of the first keyword is the band, because the other only blocks what it leaks.
    read_noise_keywords : tuple of str
        Keywords with the read noise of each amplifier [electron]; zeros are amplifiers that were not used.
    read_noise : float
        Nominal read noise of an exposure, where the headers have none [electron].
    chip_keyword : str
        Keyword with the number of the chip, where there are several.
    chip_amplifiers : mapping of int to str
        Last letters of the read-noise keywords of each chip.
    gain : float
        Electrons in one unit of a file in data numbers [electron / DN].
    gain_keyword : str
        Keyword with that number; the nominal one where it is empty or missing.
    exptime_keywords : tuple of str
        Keywords with the exposure time [s]; the first that is there counts.
    scale_keyword : str
        Extension keyword with the nominal pixel scale [arcsec].
    scale_arcsec : float
        Nominal pixel scale where that keyword is missing [arcsec].
    planes : mapping of str to str
        Names of the extensions with ``data``, ``error`` and ``dq``, of which the last two may be missing of a generic
        file, and of ``read_variance``, the part of the read noise in the square of the error, where there is one.
    unit : str
        Unit where the header has no BUNIT.
    zero_point_keyword : str
        Keyword with the AB magnitude of one unit of the file, where it has no PHOTFLAM, PHOTFNU or PHOTMJSR.

    Raises
    ------
    InvalidInputError
        When a number is not allowed.
    """

    telescope: str
    instrument: str
    name: str
    dq_bits: Mapping[str, int] = field(default_factory=dict)
    harmless_dq: tuple[str, ...] = ()
    band_keywords: tuple[str, ...] = ("FILTER",)
    clear_filters: frozenset[str] = frozenset()
    first_filter_wins: bool = False
    read_noise_keywords: tuple[str, ...] = ()
    read_noise: float = 0.0
    chip_keyword: str = ""
    chip_amplifiers: Mapping[int, str] = field(default_factory=dict)
    gain: float = 1.0
    gain_keyword: str = ""
    exptime_keywords: tuple[str, ...] = ("EXPTIME",)
    scale_keyword: str = "IDCSCALE"
    scale_arcsec: float = float("nan")
    planes: Mapping[str, str] = field(default_factory=lambda: {"data": "SCI", "error": "ERR", "dq": "DQ"})
    unit: str = ""
    zero_point_keyword: str = ""

    def __post_init__(self) -> None:
        for name in ("dq_bits", "chip_amplifiers", "planes"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        if not 0 < self.gain < np.inf:
            msg = f"gain: {self.gain} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if not 0 <= self.read_noise < np.inf:
            msg = f"read_noise: {self.read_noise} is not allowed, it must be 0 or more"
            raise InvalidInputError(msg)
        if unknown := set(self.harmless_dq) - set(self.dq_bits):
            msg = f"harmless_dq: {sorted(unknown)} are no bits, they must be some of {sorted(self.dq_bits)}"
            raise InvalidInputError(msg)
        if "data" not in self.planes:
            msg = f"planes: {dict(self.planes)} is not allowed, it must name the extension of 'data'"
            raise InvalidInputError(msg)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Return a detector that skymere does not know, from a small table such as a TOML file holds.

        Parameters
        ----------
        table : mapping
            Names and values of the parameters of `Detector`; lists stand for tuples.

        Raises
        ------
        InvalidInputError
            When a name is not one of the parameters, or a needed one is missing.

        Examples
        --------
        >>> from skymere.instruments import Detector
        >>> table = {"telescope": "CTIO 4M", "instrument": "DECAM", "name": "N12", "gain": 4.0, "scale_arcsec": 0.262}
        >>> Detector.from_table(table | {"planes": {"data": "N12"}, "unit": "DN"}).gain
        4.0
        """
        if missing := set(_NAMES) - set(table):
            msg = f"table: {sorted(missing)} are missing"
            raise InvalidInputError(msg)
        return cls(**_values(table))

    def is_clear(self, value: str) -> bool:
        """Return whether a value of a filter keyword means no filter."""
        word = value.strip().upper()
        return not word or any(word.startswith(clear) for clear in self.clear_filters)


_NAMES = ("telescope", "instrument", "name")


def _values(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of a detector out of a table as TOML has it."""
    known = {f.name for f in fields(Detector)}
    if unknown := set(table) - known:
        msg = f"table: {sorted(unknown)} are not allowed, the names must be some of {sorted(known)}"
        raise InvalidInputError(msg)
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    if "clear_filters" in values:
        values["clear_filters"] = frozenset(values["clear_filters"])
    if "chip_amplifiers" in values:
        values["chip_amplifiers"] = {int(chip): letters for chip, letters in values["chip_amplifiers"].items()}
    return values


_AMPLIFIERS = tuple(f"READNSE{amplifier}" for amplifier in "ABCD")
_CCD: dict[str, Any] = {
    "telescope": "HST",
    "read_noise_keywords": _AMPLIFIERS,
    "clear_filters": frozenset({"CLEAR", "N/A"}),
}
_TWO_CHIPS: dict[str, Any] = {"chip_keyword": "CCDCHIP", "chip_amplifiers": {1: "AB", 2: "CD"}}
_JWST: dict[str, Any] = {
    "telescope": "JWST",
    "dq_bits": bits.JWST,
    "harmless_dq": bits.JWST_HARMLESS,
    "clear_filters": frozenset({"CLEAR", "N/A"}),
    "exptime_keywords": ("XPOSURE", "EFFEXPTM", "EXPTIME"),
    "planes": {"data": "SCI", "error": "ERR", "dq": "DQ", "read_variance": "VAR_RNOISE"},
}


def _nircam(name: str) -> Detector:
    # Scales: JDox, "NIRCam Detector Overview". No source was seen for the mean gains and read noises.
    is_long = name.endswith("LONG")
    return Detector(
        instrument="NIRCAM",
        name=name,
        band_keywords=("PUPIL", "FILTER"),
        first_filter_wins=True,
        gain=1.82 if is_long else 2.05,
        read_noise=13.3 if is_long else 15.8,
        scale_arcsec=0.063 if is_long else 0.031,
        **_JWST,
    )


DETECTORS: tuple[Detector, ...] = (
    Detector(
        telescope="HST",
        instrument="WFC3",
        name="IR",
        dq_bits=bits.WFC3_IR,
        read_noise_keywords=_AMPLIFIERS,
        scale_arcsec=0.1282500028610229,
    ),
    Detector(
        instrument="WFC3", name="UVIS", dq_bits=bits.WFC3_UVIS, scale_arcsec=0.03962000086903572, **_CCD, **_TWO_CHIPS
    ),
    Detector(
        instrument="ACS",
        name="WFC",
        dq_bits=bits.ACS,
        band_keywords=("FILTER1", "FILTER2"),
        scale_arcsec=0.05,
        **_CCD,
        **_TWO_CHIPS,
    ),
    Detector(
        instrument="ACS",
        name="HRC",
        dq_bits=bits.ACS,
        band_keywords=("FILTER1", "FILTER2"),
        scale_arcsec=0.025,
        **_CCD,
    ),
    *(_nircam(f"NRC{module}{part}") for module in "AB" for part in ("1", "2", "3", "4", "LONG")),
    # No source was seen for gain, read noise and scale of NIRISS.
    Detector(
        instrument="NIRISS",
        name="NIS",
        band_keywords=("PUPIL", "FILTER"),
        first_filter_wins=True,
        gain=1.61,
        read_noise=10.0,
        scale_arcsec=0.0656,
        **_JWST,
    ),
    # JDox, "MIRI Detector Performance", table 1: about 4 electron / DN and 6 DN.
    Detector(instrument="MIRI", name="MIRIMAGE", gain=4.0, read_noise=24.0, scale_arcsec=0.11, **_JWST),
)


def read_detectors(path: str | Path) -> tuple[Detector, ...]:
    """Return the detectors of a TOML file, a table ``[[detector]]`` for each, as `Detector.from_table` takes it.

    Of a detector that skymere knows, a table changes what it names and leaves the rest.

    Parameters
    ----------
    path : path-like
        The file.

    Raises
    ------
    NotFoundError
        When there is no such file.
    InvalidInputError
        When it is not TOML, or has an unknown key or a value that is not allowed.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise NotFoundError(msg)
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
        tables = tree.pop("detector", [])
        if tree or not isinstance(tables, list) or not tables:
            msg = f"{sorted(tree)} is not allowed, there must be tables [[detector]] and nothing else"
            raise InvalidInputError(msg)
        return tuple(_changed(table) for table in tables)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path}: not TOML: {error}"
        raise InvalidInputError(msg) from error
    except (TypeError, ValueError) as error:
        msg = f"{path}: {error}"
        raise InvalidInputError(msg) from error


def _changed(table: Mapping[str, Any]) -> Detector:
    names = tuple(str(table.get(key, "")).strip().upper() for key in _NAMES)
    for known in DETECTORS:
        if (known.telescope, known.instrument, known.name) == names:
            return replace(known, **_values({key: value for key, value in table.items() if key not in _NAMES}))
    return Detector.from_table(table)


def find_detector(telescope: str, instrument: str, name: str, *, more: Iterable[Detector] = ()) -> Detector:
    """Return the detector of a header.

    Parameters
    ----------
    telescope, instrument, name : str
        TELESCOP, INSTRUME and DETECTOR; case and padding do not matter.
    more : iterable of Detector, optional
        Detectors that are asked before those that skymere knows.

    Raises
    ------
    InvalidInputError
        When skymere does not know it.
    """
    wanted = tuple(word.strip().upper() for word in (telescope, instrument, name))
    detectors = (*more, *DETECTORS)
    for detector in detectors:
        if (detector.telescope.upper(), detector.instrument.upper(), detector.name.upper()) == wanted:
            return detector
    known = ", ".join(f"{d.telescope} {d.instrument} {d.name}" for d in detectors)
    msg = f"detector: {' '.join(wanted).strip() or 'none'} is not known, it must be one of: {known}"
    raise InvalidInputError(msg)
