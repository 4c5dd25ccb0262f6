"""Simulated surveys with known truth, and how well they were recovered. Needs the extra ``skymere[demo]`` (GalSim)."""

from skymere.testing.exposures import CameraParams, Pointing, dithers, render_exposure
from skymere.testing.scene import BANDS, SceneParams, draw_scene
from skymere.testing.scoring import score_cosmic_rays, score_sources
from skymere.testing.survey import SurveyParams, simulate_survey

__all__ = [
    "BANDS",
    "CameraParams",
    "Pointing",
    "SceneParams",
    "SurveyParams",
    "dithers",
    "draw_scene",
    "render_exposure",
    "score_cosmic_rays",
    "score_sources",
    "simulate_survey",
]
