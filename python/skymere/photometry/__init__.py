"""Fluxes of sources of known shape in blurred images, all of an image together."""

from skymere.photometry.external import ExternalModel
from skymere.photometry.forced import forced_photometry
from skymere.photometry.params import NoiseParams, PhotometryParams, ShiftParams
from skymere.photometry.results import FluxCovariance, ForcedPhotometry, Shift

__all__ = [
    "ExternalModel",
    "FluxCovariance",
    "ForcedPhotometry",
    "NoiseParams",
    "PhotometryParams",
    "Shift",
    "ShiftParams",
    "forced_photometry",
]
