"""From an image to sources: filter, threshold, label, deblend, measure."""

from skymere.segmentation.apertures import ApertureFlux, aperture_flux, kron_radius
from skymere.segmentation.detection import DeblendParams, DetectParams, deblend, detect, filtered_noise, label
from skymere.segmentation.edit import (
    Edit,
    EditKind,
    EditOutcome,
    EditStatus,
    apply_edits,
    edits_from_regions,
    read_edits,
)
from skymere.segmentation.kernels import PYRAMID, convolve, gaussian_kernel
from skymere.segmentation.measurement import MeasureParams, measure
from skymere.segmentation.planes import MeasureImage, SourceFlag

__all__ = [
    "PYRAMID",
    "ApertureFlux",
    "DeblendParams",
    "DetectParams",
    "Edit",
    "EditKind",
    "EditOutcome",
    "EditStatus",
    "MeasureImage",
    "MeasureParams",
    "SourceFlag",
    "aperture_flux",
    "apply_edits",
    "convolve",
    "deblend",
    "detect",
    "edits_from_regions",
    "filtered_noise",
    "gaussian_kernel",
    "kron_radius",
    "label",
    "measure",
    "read_edits",
]
