"""What is particular to an instrument: the only place with an instrument's name."""

from skymere.instruments.detectors import DETECTORS, Detector, find_detector, read_detectors
from skymere.instruments.dq_bits import JWST, SATURATED_BITS
from skymere.instruments.file_names import FileName, parse_file_name
from skymere.instruments.filters import FILTERS, Filter, find_filter, flam_of_zero_point, is_dispersed
from skymere.instruments.gratings import NIRSPEC_GRIDS
from skymere.instruments.grism_limits import GRISM_LIMITS
from skymere.instruments.grisms import (
    ORDER_LETTERS,
    ConfigCorrections,
    GrismTurn,
    config_corrections,
    config_names,
    direct_filters,
    frame_turn,
    grism_turn,
)
from skymere.instruments.nirspec import (
    DETECTOR_EDGES,
    EXTENDED_REFERENCE_ENDING,
    FIRST_SHUTTER,
    FIXED_SLIT_MODES,
    NIRSPEC_BAD_BITS,
    NOD_ARCSEC,
    PIXEL_SCALE_ARCSEC,
    PIXELS_PER_SHUTTER,
    SHUTTERS_PER_ROW,
    SLIT_WIDTH_ARCSEC,
    shutter_place,
)

__all__ = [
    "DETECTORS",
    "DETECTOR_EDGES",
    "EXTENDED_REFERENCE_ENDING",
    "FILTERS",
    "FIRST_SHUTTER",
    "FIXED_SLIT_MODES",
    "GRISM_LIMITS",
    "JWST",
    "NIRSPEC_BAD_BITS",
    "NIRSPEC_GRIDS",
    "NOD_ARCSEC",
    "ORDER_LETTERS",
    "PIXELS_PER_SHUTTER",
    "PIXEL_SCALE_ARCSEC",
    "SATURATED_BITS",
    "SHUTTERS_PER_ROW",
    "SLIT_WIDTH_ARCSEC",
    "ConfigCorrections",
    "Detector",
    "FileName",
    "Filter",
    "GrismTurn",
    "config_corrections",
    "config_names",
    "direct_filters",
    "find_detector",
    "find_filter",
    "flam_of_zero_point",
    "frame_turn",
    "grism_turn",
    "is_dispersed",
    "parse_file_name",
    "read_detectors",
    "shutter_place",
]
