"""The smooth background of an image and its noise."""

from skymere.background.mesh import Background, BackgroundParams, estimate_background

__all__ = ["Background", "BackgroundParams", "estimate_background"]
