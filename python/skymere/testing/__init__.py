"""Simulated surveys with known truth, and how well they were recovered. Needs the extra ``skymere[demo]`` (GalSim)."""

from skymere.testing.acs import ACS_BANDS, AcsParams, AcsPointing, acs_distortion, simulate_acs
from skymere.testing.apertures import true_aperture_fluxes
from skymere.testing.deep_field import DeepField, DeepFieldParams, draw_deep_field
from skymere.testing.exposures import CameraParams, Pointing, dithers, render_exposure
from skymere.testing.grism import GrismScene, GrismSceneParams, simulate_grism
from skymere.testing.grism_survey import (
    GrismSurvey,
    GrismSurveyParams,
    simulate_grism_survey,
    write_grism_templates,
)
from skymere.testing.limits import shift_limit
from skymere.testing.low_resolution import LowResolutionParams, low_resolution_fluxes, simulate_low_resolution
from skymere.testing.scene import BANDS, SceneParams, draw_scene
from skymere.testing.scoring import match_sources, score_cosmic_rays, score_detections, score_sources
from skymere.testing.slit_exposures import scene_slitlets, scene_tables
from skymere.testing.slit_files import SlitFilesParams, simulate_slit_files, write_slit_pack
from skymere.testing.slitlets import SlitScene, SlitSceneParams, emission_lines, simulate_slitlets
from skymere.testing.survey import SurveyParams, simulate_survey

__all__ = [
    "ACS_BANDS",
    "BANDS",
    "AcsParams",
    "AcsPointing",
    "CameraParams",
    "DeepField",
    "DeepFieldParams",
    "GrismScene",
    "GrismSceneParams",
    "GrismSurvey",
    "GrismSurveyParams",
    "LowResolutionParams",
    "Pointing",
    "SceneParams",
    "SlitFilesParams",
    "SlitScene",
    "SlitSceneParams",
    "SurveyParams",
    "acs_distortion",
    "dithers",
    "draw_deep_field",
    "draw_scene",
    "emission_lines",
    "low_resolution_fluxes",
    "match_sources",
    "render_exposure",
    "scene_slitlets",
    "scene_tables",
    "score_cosmic_rays",
    "score_detections",
    "score_sources",
    "shift_limit",
    "simulate_acs",
    "simulate_grism",
    "simulate_grism_survey",
    "simulate_low_resolution",
    "simulate_slit_files",
    "simulate_slitlets",
    "simulate_survey",
    "true_aperture_fluxes",
    "write_grism_templates",
    "write_slit_pack",
]
