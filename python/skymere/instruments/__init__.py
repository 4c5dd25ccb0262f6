"""What is particular to an instrument: the only place with an instrument's name."""

from skymere.instruments.detectors import DETECTORS, Detector, find_detector, read_detectors
from skymere.instruments.dq_bits import SATURATED_BITS
from skymere.instruments.gratings import NIRSPEC_GRIDS

__all__ = ["DETECTORS", "NIRSPEC_GRIDS", "SATURATED_BITS", "Detector", "find_detector", "read_detectors"]
