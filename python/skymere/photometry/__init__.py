"""Fluxes of sources of known shape in blurred images, all of an image together."""

from skymere.photometry.calibration import CalibrationFactor, calibration_factor
from skymere.photometry.catalogue import bands_of, wide_catalogue, write_catalogue, write_fast_catalogue
from skymere.photometry.external import ExternalModel
from skymere.photometry.filters import FilterWavelengths, filter_table, filter_wavelengths
from skymere.photometry.forced import forced_photometry
from skymere.photometry.params import NoiseParams, PhotometryParams, ShiftParams
from skymere.photometry.parts import components_as_sources
from skymere.photometry.results import FluxCovariance, ForcedPhotometry, Shift

__all__ = [
    "CalibrationFactor",
    "ExternalModel",
    "FilterWavelengths",
    "FluxCovariance",
    "ForcedPhotometry",
    "NoiseParams",
    "PhotometryParams",
    "Shift",
    "ShiftParams",
    "bands_of",
    "calibration_factor",
    "components_as_sources",
    "filter_table",
    "filter_wavelengths",
    "forced_photometry",
    "wide_catalogue",
    "write_catalogue",
    "write_fast_catalogue",
]
