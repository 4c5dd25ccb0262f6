"""From an image to sources: filter, threshold, label, deblend, measure."""

from skymere.segmentation.apertures import ApertureFlux, aperture_flux, kron_radius
from skymere.segmentation.detection import SEXTRACTOR, DeblendParams, DetectParams, deblend, detect, filtered_noise, label
from skymere.segmentation.kernels import PYRAMID, convolve, gaussian_kernel
from skymere.segmentation.measurement import MeasureParams, measure
from skymere.segmentation.planes import MeasureImage, SourceFlag

__all__ = [
    "PYRAMID",
    "SEXTRACTOR",
    "ApertureFlux",
    "DeblendParams",
    "DetectParams",
    "MeasureImage",
    "MeasureParams",
    "SourceFlag",
    "aperture_flux",
    "convolve",
    "deblend",
    "detect",
    "filtered_noise",
    "gaussian_kernel",
    "kron_radius",
    "label",
    "measure",
]
