"""Slitless spectra: configurations of grisms, beams and their models, contamination of whole frames."""

from skymere.datamodels import Beam, GrismConfig, GrismOrder
from skymere.grism.beam import BeamModel, ColumnOperator
from skymere.grism.contamination import contamination_model
from skymere.grism.extraction import (
    ExtractParams,
    cut_beam,
    cut_beams,
    extract_beams,
    replace_direct_cutouts,
    replace_segmentation_cutouts,
)
from skymere.grism.extraction_flags import DrizzledFlagParams, flag_with_drizzled
from skymere.grism.extraction_shift import TraceShift, apply_trace_shift, fit_trace_shift
from skymere.grism.frames import GrismFrame, direct_partner, make_frame, make_frames, read_frame, write_frame
from skymere.grism.frames_geometry import FrameGeometry, wcs_from_partner
from skymere.grism.frames_params import FrameParams, GrismSkyParams
from skymere.grism.multibeam import MultiBeam
from skymere.grism.params import GRIZLI_CONTAMINATION, BeamParams, ContaminationParams
from skymere.grism.reading import find_config, read_beams
from skymere.grism.refine import Refinement, RefineParams, refine_contamination
from skymere.grism.scores import ScoreParams, score_beams, suggest_masks
from skymere.grism.scores_actions import (
    BEAM_ACTION_BIT,
    BeamAction,
    actions_table,
    apply_beam_actions,
    read_beam_actions,
)
from skymere.grism.sky import GrismSky, fit_grism_sky
from skymere.io import read_beam_file, read_config, write_beam_file

__all__ = [
    "BEAM_ACTION_BIT",
    "GRIZLI_CONTAMINATION",
    "Beam",
    "BeamAction",
    "BeamModel",
    "BeamParams",
    "ColumnOperator",
    "ContaminationParams",
    "DrizzledFlagParams",
    "ExtractParams",
    "FrameGeometry",
    "FrameParams",
    "GrismConfig",
    "GrismFrame",
    "GrismOrder",
    "GrismSky",
    "GrismSkyParams",
    "MultiBeam",
    "RefineParams",
    "Refinement",
    "ScoreParams",
    "TraceShift",
    "actions_table",
    "apply_beam_actions",
    "apply_trace_shift",
    "contamination_model",
    "cut_beam",
    "cut_beams",
    "direct_partner",
    "extract_beams",
    "find_config",
    "fit_grism_sky",
    "fit_trace_shift",
    "flag_with_drizzled",
    "make_frame",
    "make_frames",
    "read_beam_actions",
    "read_beam_file",
    "read_beams",
    "read_config",
    "read_frame",
    "refine_contamination",
    "replace_direct_cutouts",
    "replace_segmentation_cutouts",
    "score_beams",
    "suggest_masks",
    "wcs_from_partner",
    "write_beam_file",
    "write_frame",
]
