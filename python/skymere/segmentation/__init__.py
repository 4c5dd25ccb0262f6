"""From an image to sources: filter, threshold, label, deblend, measure."""

from skymere.segmentation.apertures import ApertureFlux, aperture_flux, kron_radius
from skymere.segmentation.detection import DeblendParams, DetectParams, deblend, detect, filtered_noise, label
from skymere.segmentation.kernels import PYRAMID, convolve, gaussian_kernel
from skymere.segmentation.measurement import MeasureParams, measure
from skymere.segmentation.peaks import PeakDetection, PeakParams, detect_peaks
from skymere.segmentation.planes import MeasureImage, SourceFlag
from skymere.segmentation.significance import Significance, SignificanceParams, significance
from skymere.segmentation.sky_noise import SkyNoise, measure_sky_noise

__all__ = [
    "PYRAMID",
    "ApertureFlux",
    "DeblendParams",
    "DetectParams",
    "MeasureImage",
    "MeasureParams",
    "PeakDetection",
    "PeakParams",
    "Significance",
    "SignificanceParams",
    "SkyNoise",
    "SourceFlag",
    "aperture_flux",
    "convolve",
    "deblend",
    "detect",
    "detect_peaks",
    "filtered_noise",
    "gaussian_kernel",
    "kron_radius",
    "label",
    "measure",
    "measure_sky_noise",
    "significance",
]
