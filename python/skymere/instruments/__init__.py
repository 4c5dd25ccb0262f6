"""What is particular to an instrument: the only place with an instrument's name."""

from skymere.instruments.detectors import DETECTORS, Detector, find_detector, read_detectors

__all__ = ["DETECTORS", "Detector", "find_detector", "read_detectors"]
