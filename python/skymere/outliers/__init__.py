"""Bad pixels and cosmic rays: static mask, masked combination, comparison with a blotted model of the sky."""

from skymere.outliers.combine import MinmedParams, masked_median, masked_minmed
from skymere.outliers.cosmic_rays import CosmicRayParams, compare_with_model, flag_cosmic_rays, grow_mask
from skymere.outliers.lacosmic import LacosmicParams, lacosmic
from skymere.outliers.static_mask import StaticMaskParams, low_pixels, static_masks

__all__ = [
    "CosmicRayParams",
    "LacosmicParams",
    "MinmedParams",
    "StaticMaskParams",
    "compare_with_model",
    "flag_cosmic_rays",
    "grow_mask",
    "lacosmic",
    "low_pixels",
    "masked_median",
    "masked_minmed",
    "static_masks",
]
