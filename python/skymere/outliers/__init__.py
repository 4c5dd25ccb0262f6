"""Bad pixels and cosmic rays: static mask, masked combination, comparison with a blotted model of the sky."""

from skymere.outliers.combine import CombineParams, MinmedParams, combine_images, masked_median, masked_minmed
from skymere.outliers.cosmic_rays import (
    CosmicRays,
    compare_exposure,
    compare_with_model,
    flag_cosmic_rays,
    grow_mask,
    iter_cosmic_rays,
    trail_mask,
)
from skymere.outliers.lacosmic import LacosmicParams, lacosmic
from skymere.outliers.params import CosmicRayParams, SecondPassParams
from skymere.outliers.sky_model import SkyModel, build_mean_model, build_sky_model, single_drizzle
from skymere.outliers.static_mask import StaticMaskParams, low_pixels, static_masks

__all__ = [
    "CombineParams",
    "CosmicRayParams",
    "CosmicRays",
    "LacosmicParams",
    "MinmedParams",
    "SecondPassParams",
    "SkyModel",
    "StaticMaskParams",
    "build_mean_model",
    "build_sky_model",
    "combine_images",
    "compare_exposure",
    "compare_with_model",
    "flag_cosmic_rays",
    "grow_mask",
    "iter_cosmic_rays",
    "lacosmic",
    "low_pixels",
    "masked_median",
    "masked_minmed",
    "single_drizzle",
    "static_masks",
    "trail_mask",
]
