"""Slits of NIRSpec: which bits make a pixel bad, where the bars are, sizes of shutters and pixels."""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = [
    "DETECTOR_EDGES",
    "EXTENDED_REFERENCE_ENDING",
    "FIRST_SHUTTER",
    "FIXED_SLIT_MODES",
    "NIRSPEC_BAD_BITS",
    "NOD_ARCSEC",
    "PIXELS_PER_SHUTTER",
    "PIXEL_SCALE_ARCSEC",
    "SHUTTERS_PER_ROW",
    "SLIT_WIDTH_ARCSEC",
    "shutter_place",
]

# Bits that make a pixel of a slit spectrum useless; msaexp's list. The others tell what was found or repaired.
NIRSPEC_BAD_BITS: tuple[str, ...] = (
    "do_not_use",
    "msa_failed_open",
    "hot",
    "dead",
    "open",
    "adj_open",
    "saturated",
)
# Exposure types of the header whose slits have no shutters and so no bars.
FIXED_SLIT_MODES: frozenset[str] = frozenset({"NRS_FIXEDSLIT", "NRS_BRIGHTOBJ"})
# The pitch of the shutters across the dispersion is 0.529 arcsec; tables of bar shadows count in fifths of 5 pixels.
PIXELS_PER_SHUTTER = 5.0
NOD_ARCSEC = 0.529
PIXEL_SCALE_ARCSEC = 0.10544
SLIT_WIDTH_ARCSEC = 0.2
# Columns of one quadrant of the micro-shutter array; shutters are numbered along them, from 1.
SHUTTERS_PER_ROW = 365
# Place of the first open shutter in the tables of bar shadows, by the number of open shutters.
FIRST_SHUTTER: Mapping[int, int] = MappingProxyType({1: 0, 2: 0, 3: -1})
# First and last good row and column of a detector, 0-based: columns beyond 2038 see no sky.
DETECTOR_EDGES: tuple[tuple[int, int], tuple[int, int]] = ((0, 2048), (0, 2038))
# Names of flats that leave the sensitivity to the tables of the extended calibration end so.
EXTENDED_REFERENCE_ENDING = "_ext.fits"


def shutter_place(shutter_id: int) -> tuple[int, int]:
    """Return column and row of a shutter in its quadrant, both from 1.

    Parameters
    ----------
    shutter_id : int
        ``column + (row - 1) * 365``.

    Notes
    -----
    The last column of a row is 365, not 0 of the next one.

    Examples
    --------
    >>> from skymere.instruments import shutter_place
    >>> shutter_place(11975), shutter_place(365)
    ((295, 33), (365, 1))
    """
    return (shutter_id - 1) % SHUTTERS_PER_ROW + 1, (shutter_id - 1) // SHUTTERS_PER_ROW + 1
