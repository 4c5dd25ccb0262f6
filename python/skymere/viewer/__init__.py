"""Pictures of what a survey made.

Functions ``plot_...`` take arrays and write a file; ``draw_...`` take a lake and return a matplotlib figure;
``..._figure`` take what was read from a file. `write_report` and `write_comparison` write HTML.
"""

from skymere.viewer.alignment import plot_alignment, plot_offsets
from skymere.viewer.beams import beam_file_figure, draw_beams
from skymere.viewer.detection import label_colours, plot_background, plot_labels, plot_purity
from skymere.viewer.injection import plot_completeness, plot_pulls
from skymere.viewer.mosaics import draw_mosaic, draw_weights, mosaic_figure, weights_figure
from skymere.viewer.palette import COLOURS, MARKERS
from skymere.viewer.photometry import plot_gallery, plot_models, plot_photometry
from skymere.viewer.pictures import plot_mask, plot_number_counts, plot_rgb, plot_sheet, plot_weight
from skymere.viewer.quality import plot_comparison, plot_quality
from skymere.viewer.redshifts import draw_redshift, redshift_file_figure
from skymere.viewer.report import gallery_sources, write_report
from skymere.viewer.report_compare import changed_sources, write_comparison
from skymere.viewer.sed import draw_sed
from skymere.viewer.slits import draw_slit, slit_figure
from skymere.viewer.solutions import draw_alignment
from skymere.viewer.source_page import draw_source
from skymere.viewer.spectra import plot_spectra
from skymere.viewer.stretch import rgb_image
from skymere.viewer.strips import (
    Strip,
    StripPanel,
    compare_strips,
    comparison_figure,
    source_strips,
    strip_assets,
    strip_figure,
)

__all__ = [
    "COLOURS",
    "MARKERS",
    "Strip",
    "StripPanel",
    "beam_file_figure",
    "changed_sources",
    "compare_strips",
    "comparison_figure",
    "draw_alignment",
    "draw_beams",
    "draw_mosaic",
    "draw_redshift",
    "draw_sed",
    "draw_slit",
    "draw_source",
    "draw_weights",
    "gallery_sources",
    "label_colours",
    "mosaic_figure",
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
    "redshift_file_figure",
    "rgb_image",
    "slit_figure",
    "source_strips",
    "strip_assets",
    "strip_figure",
    "weights_figure",
    "write_comparison",
    "write_report",
]
