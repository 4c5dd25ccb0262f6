"""Models of sources: profiles on pixels."""

from skymere.profiles.render import render_sersic

__all__ = ["render_sersic"]
