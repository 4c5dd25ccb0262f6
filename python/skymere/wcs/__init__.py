"""Pixel grids and the maps between them."""

from skymere.wcs.cards import fits_cards, wcs_cards, wcs_from_cards
from skymere.wcs.distortion import build_distortion
from skymere.wcs.grid import Grid, mean_rotation
from skymere.wcs.gwcs_correction import corrected_gwcs
from skymere.wcs.gwcs_text import asdf_with_gwcs, gwcs_from_asdf, is_gwcs, open_asdf_tree
from skymere.wcs.local import map_ellipses, pixel_jacobian
from skymere.wcs.maps import SampledMap, pixel_map, sample_pixel_map, stepped_pixel_map
from skymere.wcs.tan import Transform, pixel_transform, pixels_to_sky

__all__ = [
    "Grid",
    "SampledMap",
    "Transform",
    "asdf_with_gwcs",
    "build_distortion",
    "corrected_gwcs",
    "fits_cards",
    "gwcs_from_asdf",
    "is_gwcs",
    "map_ellipses",
    "mean_rotation",
    "open_asdf_tree",
    "pixel_jacobian",
    "pixel_map",
    "pixel_transform",
    "pixels_to_sky",
    "sample_pixel_map",
    "stepped_pixel_map",
    "wcs_cards",
    "wcs_from_cards",
]
