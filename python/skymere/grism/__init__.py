"""Slitless spectra: configurations, beams, contamination, redshifts, lines and maps."""

from skymere.datamodels import Beam, GrismConfig, GrismOrder
from skymere.grism.beam import BeamModel, ColumnOperator
from skymere.grism.breaks import BreakStrength, fit_break
from skymere.grism.catalogue import catalogue_lines, catalogue_wide, redshift_cdf, write_row
from skymere.grism.contamination import contamination_model
from skymere.grism.extract import GRIZLI_EXTRACTION, ExtractParams, extract_images, oned_spectrum
from skymere.grism.extraction import (
    GRIZLI_EXTRACT,
    BeamCutParams,
    cut_beam,
    cut_beams,
    cut_sources,
    extract_beams,
    replace_direct_cutouts,
    replace_segmentation_cutouts,
)
from skymere.grism.extraction_flags import DrizzledFlagParams, flag_with_drizzled
from skymere.grism.extraction_shift import TraceShift, apply_trace_shift, fit_trace_shift
from skymere.grism.fit_params import GRIZLI_LINES, GRIZLI_REDSHIFT, FitParams
from skymere.grism.forward import Component, ComponentFit, fit_components, forward_images, forward_spectrum
from skymere.grism.frames import GrismFrame, direct_partner, make_frame, make_frames, read_frame, write_frame
from skymere.grism.frames_geometry import FrameGeometry, wcs_from_partner
from skymere.grism.frames_params import FrameParams, GrismSkyParams
from skymere.grism.full import RedshiftCurve, redshift_row, write_full
from skymere.grism.line_maps import GRIZLI_LINE_MAPS, LineMapParams, line_maps
from skymere.grism.line_widths import PERMITTED_LINES, LineWidths, WidthParams, fit_line_widths, with_widths
from skymere.grism.lines import fit_lines, line_deviations, line_table
from skymere.grism.model_spectra import FittedModel, ModelSpectra, TemplateFactors, as_model
from skymere.grism.multibeam import MultiBeam
from skymere.grism.on_sky import drizzle_direct, drizzle_segmentation
from skymere.grism.orientations import GRIZLI_BAD_PA, drop_angles, drop_bad_angles
from skymere.grism.params import GRIZLI_BEAMS, GRIZLI_CONTAMINATION, BeamParams, ContaminationParams
from skymere.grism.photometry import PhotometryInput
from skymere.grism.photometry_scale import fit_photometry_scale, scale_beams_to_photometry
from skymere.grism.plots import plot_summary
from skymere.grism.plots_scores import plot_scores
from skymere.grism.reading import find_config, read_beams
from skymere.grism.redshift import RedshiftFit, fit_redshift
from skymere.grism.redshift_refine import refine_redshift
from skymere.grism.refine import Refinement, RefineParams, refine_contamination
from skymere.grism.scales import GrismScales, fit_grism_scales, scale_beams
from skymere.grism.scores import ScoreParams, score_beams, suggest_masks
from skymere.grism.scores_actions import (
    BEAM_ACTION_BIT,
    BeamAction,
    actions_table,
    apply_beam_actions,
    read_beam_actions,
)
from skymere.grism.sky import GrismSky, fit_grism_sky
from skymere.grism.stacks import GRIZLI_STACKS, StackParams, drizzle_stacks
from skymere.grism.template_fit import TemplateFit, fit_templates
from skymere.io import (
    FullFile,
    read_beam_file,
    read_config,
    read_full_file,
    read_grism_spectra,
    read_grism_stacks,
    write_beam_file,
    write_grism_spectra,
    write_grism_stacks,
)

__all__ = [
    "BEAM_ACTION_BIT",
    "GRIZLI_BAD_PA",
    "GRIZLI_BEAMS",
    "GRIZLI_CONTAMINATION",
    "GRIZLI_EXTRACT",
    "GRIZLI_EXTRACTION",
    "GRIZLI_LINES",
    "GRIZLI_LINE_MAPS",
    "GRIZLI_REDSHIFT",
    "GRIZLI_STACKS",
    "PERMITTED_LINES",
    "Beam",
    "BeamAction",
    "BeamCutParams",
    "BeamModel",
    "BeamParams",
    "BreakStrength",
    "ColumnOperator",
    "Component",
    "ComponentFit",
    "ContaminationParams",
    "DrizzledFlagParams",
    "ExtractParams",
    "FitParams",
    "FittedModel",
    "FrameGeometry",
    "FrameParams",
    "FullFile",
    "GrismConfig",
    "GrismFrame",
    "GrismOrder",
    "GrismScales",
    "GrismSky",
    "GrismSkyParams",
    "LineMapParams",
    "LineWidths",
    "ModelSpectra",
    "MultiBeam",
    "PhotometryInput",
    "RedshiftCurve",
    "RedshiftFit",
    "RefineParams",
    "Refinement",
    "ScoreParams",
    "StackParams",
    "TemplateFactors",
    "TemplateFit",
    "TraceShift",
    "WidthParams",
    "actions_table",
    "apply_beam_actions",
    "apply_trace_shift",
    "as_model",
    "catalogue_lines",
    "catalogue_wide",
    "contamination_model",
    "cut_beam",
    "cut_beams",
    "cut_sources",
    "direct_partner",
    "drizzle_direct",
    "drizzle_segmentation",
    "drizzle_stacks",
    "drop_angles",
    "drop_bad_angles",
    "extract_beams",
    "extract_images",
    "find_config",
    "fit_break",
    "fit_components",
    "fit_grism_scales",
    "fit_grism_sky",
    "fit_line_widths",
    "fit_lines",
    "fit_photometry_scale",
    "fit_redshift",
    "fit_templates",
    "fit_trace_shift",
    "flag_with_drizzled",
    "forward_images",
    "forward_spectrum",
    "line_deviations",
    "line_maps",
    "line_table",
    "make_frame",
    "make_frames",
    "oned_spectrum",
    "plot_scores",
    "plot_summary",
    "read_beam_actions",
    "read_beam_file",
    "read_beams",
    "read_config",
    "read_frame",
    "read_full_file",
    "read_grism_spectra",
    "read_grism_stacks",
    "redshift_cdf",
    "redshift_row",
    "refine_contamination",
    "refine_redshift",
    "replace_direct_cutouts",
    "replace_segmentation_cutouts",
    "scale_beams",
    "scale_beams_to_photometry",
    "score_beams",
    "suggest_masks",
    "wcs_from_partner",
    "with_widths",
    "write_beam_file",
    "write_frame",
    "write_full",
    "write_grism_spectra",
    "write_grism_stacks",
    "write_row",
]
