"""Models of sources: profiles on pixels."""

from skymere.profiles.fit import FitParams, fit_sersic
from skymere.profiles.render import render_sersic

__all__ = ["FitParams", "fit_sersic", "render_sersic"]
