"""Bad pixels and cosmic rays: static mask, masked combination, comparison with a blotted model; exposures of slits."""

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
from skymere.outliers.slit_outliers import SLIT_OUTLIER_BITS, SlitOutliers
from skymere.outliers.slit_percentile import PercentileOutlierParams, flag_percentile_outliers
from skymere.outliers.slit_stack import HotColdParams, StackOutlierParams, flag_2d_outliers, flag_hot_cold_pixels
from skymere.outliers.slit_trace import (
    ProfileOutlierParams,
    TraceOutlierParams,
    flag_from_profile,
    flag_trace_outliers,
)
from skymere.outliers.static_mask import StaticMaskParams, low_pixels, static_masks

__all__ = [
    "SLIT_OUTLIER_BITS",
    "CombineParams",
    "CosmicRayParams",
    "CosmicRays",
    "HotColdParams",
    "LacosmicParams",
    "MinmedParams",
    "PercentileOutlierParams",
    "ProfileOutlierParams",
    "SecondPassParams",
    "SkyModel",
    "SlitOutliers",
    "StackOutlierParams",
    "StaticMaskParams",
    "TraceOutlierParams",
    "build_mean_model",
    "build_sky_model",
    "combine_images",
    "compare_exposure",
    "compare_with_model",
    "flag_2d_outliers",
    "flag_cosmic_rays",
    "flag_from_profile",
    "flag_hot_cold_pixels",
    "flag_percentile_outliers",
    "flag_trace_outliers",
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
