"""Detectors by name: data-quality bits with their meaning, header keywords, nominal pixel scale."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from skymere.errors import InvalidInputError

__all__ = ["DETECTORS", "Detector", "find_detector"]


@dataclass(frozen=True, kw_only=True)
class Detector:
    """What the pixels and headers of one detector mean.

    Parameters
    ----------
    telescope, instrument, name : str
        TELESCOP, INSTRUME and DETECTOR of its headers, upper case.
    dq_bits : mapping of str to int
        Name of each data-quality bit.
    band_keywords : tuple of str
        Primary-header keywords that may hold the filter.
    clear_filters : frozenset of str
        Values of those keywords that mean no filter.
    read_noise_keywords : tuple of str
        Keywords with the read noise of each amplifier [electron].
    scale_keyword : str
        Extension keyword with the nominal pixel scale [arcsec].
    scale_arcsec : float
        Nominal pixel scale where that keyword is missing [arcsec].
    """

    telescope: str
    instrument: str
    name: str
    dq_bits: Mapping[str, int]
    band_keywords: tuple[str, ...]
    clear_filters: frozenset[str] = frozenset()
    read_noise_keywords: tuple[str, ...]
    scale_keyword: str = "IDCSCALE"
    scale_arcsec: float


# WFC3 Data Handbook (version 5), table 3.3.
_WFC3_IR_BITS = {
    "decoding_error": 1,
    "missing_data": 2,
    "dead": 4,
    "bad_zero_read": 8,
    "hot": 16,
    "unstable": 32,
    "warm": 64,
    "bad_reference_pixel": 128,
    "saturated": 256,
    "bad_in_flat": 512,
    "zero_read_signal": 2048,
    "cosmic_ray": 4096,
    "ramp_cosmic_ray": 8192,
    "crosstalk": 16384,
}

DETECTORS: tuple[Detector, ...] = (
    Detector(
        telescope="HST",
        instrument="WFC3",
        name="IR",
        dq_bits=MappingProxyType(_WFC3_IR_BITS),
        band_keywords=("FILTER",),
        read_noise_keywords=("READNSEA", "READNSEB", "READNSEC", "READNSED"),
        scale_arcsec=0.1282500028610229,
    ),
)


def find_detector(telescope: str, instrument: str, name: str) -> Detector:
    """Return the detector of a header.

    Parameters
    ----------
    telescope, instrument, name : str
        TELESCOP, INSTRUME and DETECTOR; case and padding do not matter.

    Raises
    ------
    InvalidInputError
        When skymere does not know it.
    """
    wanted = tuple(word.strip().upper() for word in (telescope, instrument, name))
    for detector in DETECTORS:
        if (detector.telescope, detector.instrument, detector.name) == wanted:
            return detector
    known = ", ".join(f"{d.telescope} {d.instrument} {d.name}" for d in DETECTORS)
    msg = f"detector: {' '.join(wanted) or 'none'!s} is not known, it must be one of: {known}"
    raise InvalidInputError(msg)
