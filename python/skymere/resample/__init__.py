"""Drizzle and blot: images from one pixel grid to another through a pixel map."""

from skymere.resample.blot import BlotParams, blot
from skymere.resample.covariance import NoiseParams, SumVariance, predict_sums
from skymere.resample.covering import covering_grid
from skymere.resample.drizzle import DrizzledImage, DrizzleParams, Drizzler, pixel_scale_ratio
from skymere.resample.geometry import GEOMETRIES, Geometry
from skymere.resample.mosaic import WindowedDrizzle, drizzle
from skymere.resample.noise_kernels import NoiseClasses, NoiseKernels, predict_noise
from skymere.resample.reach import ExposureReader, ExposureRows, HeldExposures, Reach
from skymere.resample.reading import decode_context, noise_correlation
from skymere.resample.sky_noise import measure_noise

__all__ = [
    "GEOMETRIES",
    "BlotParams",
    "DrizzleParams",
    "DrizzledImage",
    "Drizzler",
    "ExposureReader",
    "ExposureRows",
    "Geometry",
    "HeldExposures",
    "NoiseClasses",
    "NoiseKernels",
    "NoiseParams",
    "Reach",
    "SumVariance",
    "WindowedDrizzle",
    "blot",
    "covering_grid",
    "decode_context",
    "drizzle",
    "measure_noise",
    "noise_correlation",
    "pixel_scale_ratio",
    "predict_noise",
    "predict_sums",
]
