"""Drizzle and blot: images from one pixel grid to another through a pixel map."""

from skymere.resample.blot import BlotParams, blot
from skymere.resample.covering import covering_grid
from skymere.resample.drizzle import DrizzledImage, DrizzleParams, Drizzler, pixel_scale_ratio
from skymere.resample.mosaic import drizzle
from skymere.resample.reading import decode_context, noise_correlation

__all__ = [
    "BlotParams",
    "DrizzleParams",
    "DrizzledImage",
    "Drizzler",
    "blot",
    "covering_grid",
    "decode_context",
    "drizzle",
    "noise_correlation",
    "pixel_scale_ratio",
]
