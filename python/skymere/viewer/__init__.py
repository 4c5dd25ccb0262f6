"""Pictures of what a survey made."""

from skymere.viewer.alignment import plot_alignment, plot_offsets
from skymere.viewer.detection import label_colours, plot_background, plot_labels, plot_purity
from skymere.viewer.injection import plot_completeness, plot_pulls
from skymere.viewer.photometry import plot_gallery, plot_models, plot_photometry
from skymere.viewer.pictures import plot_mask, plot_number_counts, plot_rgb, plot_sheet, plot_weight
from skymere.viewer.quality import plot_comparison, plot_quality
from skymere.viewer.spectra import plot_spectra
from skymere.viewer.stretch import rgb_image

__all__ = [
    "label_colours",
    "plot_alignment",
    "plot_background",
    "plot_comparison",
    "plot_completeness",
    "plot_gallery",
    "plot_labels",
    "plot_mask",
    "plot_models",
    "plot_number_counts",
    "plot_offsets",
    "plot_photometry",
    "plot_pulls",
    "plot_purity",
    "plot_quality",
    "plot_rgb",
    "plot_sheet",
    "plot_spectra",
    "plot_weight",
    "rgb_image",
]
