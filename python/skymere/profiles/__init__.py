"""Models of sources: profiles on pixels."""

from skymere.profiles.fit import FitParams, fit_sersic
from skymere.profiles.render import render_sersic
from skymere.profiles.scene import SceneFit, SceneParams, fit_scene
from skymere.profiles.sky import profiles_on_sky

__all__ = ["FitParams", "SceneFit", "SceneParams", "fit_scene", "fit_sersic", "profiles_on_sky", "render_sersic"]
