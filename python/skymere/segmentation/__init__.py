"""From an image to sources: filter, threshold, label, deblend, measure."""

from skymere.segmentation.apertures import ApertureFlux, aperture_flux, kron_radius
from skymere.segmentation.bad_pixels import bad_pixels
from skymere.segmentation.blocks import BlockSegmentation, detect_blocks
from skymere.segmentation.detection import (
    SEXTRACTOR,
    DeblendParams,
    DetectParams,
    deblend,
    detect,
    filtered_noise,
    label,
    label_with_extents,
)
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
from skymere.segmentation.measurement_blocks import StoredLabels, measure_blocks
from skymere.segmentation.on_grid import labels_on_grid
from skymere.segmentation.peaks import PeakDetection, PeakParams, detect_peaks
from skymere.segmentation.planes import MeasureImage, SourceFlag
from skymere.segmentation.proposals import (
    BlankParams,
    StarParams,
    blank_apertures,
    border_regions,
    distance_to,
    star_regions,
)
from skymere.segmentation.significance import Significance, SignificanceParams, significance
from skymere.segmentation.significance_blocks import BlockSignificance, significance_blocks
from skymere.segmentation.sky_noise import SkyNoise, SkyScatter, measure_sky_noise, measure_sky_scatter

__all__ = [
    "PYRAMID",
    "SEXTRACTOR",
    "ApertureFlux",
    "BlankParams",
    "BlockSegmentation",
    "BlockSignificance",
    "DeblendParams",
    "DetectParams",
    "Edit",
    "EditKind",
    "EditOutcome",
    "EditStatus",
    "MeasureImage",
    "MeasureParams",
    "PeakDetection",
    "PeakParams",
    "Significance",
    "SignificanceParams",
    "SkyNoise",
    "SkyScatter",
    "SourceFlag",
    "StarParams",
    "StoredLabels",
    "aperture_flux",
    "apply_edits",
    "bad_pixels",
    "blank_apertures",
    "border_regions",
    "convolve",
    "deblend",
    "detect",
    "detect_blocks",
    "detect_peaks",
    "distance_to",
    "edits_from_regions",
    "filtered_noise",
    "gaussian_kernel",
    "kron_radius",
    "label",
    "label_with_extents",
    "labels_on_grid",
    "measure",
    "measure_blocks",
    "measure_sky_noise",
    "measure_sky_scatter",
    "read_edits",
    "significance",
    "significance_blocks",
    "star_regions",
]
