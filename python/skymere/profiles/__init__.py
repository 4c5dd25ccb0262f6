"""Models of sources: profiles on pixels."""

from skymere.profiles.component import Component
from skymere.profiles.components import fit_components
from skymere.profiles.fit import FitParams, fit_sersic
from skymere.profiles.plan import SourcePlan
from skymere.profiles.refit import RefitEdit, choose, group_of, refit
from skymere.profiles.render import render, render_sersic
from skymere.profiles.scene import SceneFit, SceneParams, fit_scene
from skymere.profiles.sky import profiles_on_sky
from skymere.profiles.stamps import ModelStamps, model_stamps

__all__ = [
    "Component",
    "FitParams",
    "ModelStamps",
    "RefitEdit",
    "SceneFit",
    "SceneParams",
    "SourcePlan",
    "choose",
    "fit_components",
    "fit_scene",
    "fit_sersic",
    "group_of",
    "model_stamps",
    "profiles_on_sky",
    "refit",
    "render",
    "render_sersic",
]
