"""Pixel grids and the maps between them."""

from skymere.wcs.cards import fits_cards, wcs_cards, wcs_from_cards
from skymere.wcs.distortion import build_distortion
from skymere.wcs.grid import Grid, mean_rotation
from skymere.wcs.gwcs_text import gwcs_from_asdf
from skymere.wcs.maps import SampledMap, pixel_map, sample_pixel_map, stepped_pixel_map
from skymere.wcs.tan import Transform, pixel_transform, pixels_to_sky

__all__ = [
    "Grid",
    "SampledMap",
    "Transform",
    "build_distortion",
    "fits_cards",
    "gwcs_from_asdf",
    "mean_rotation",
    "pixel_map",
    "pixel_transform",
    "pixels_to_sky",
    "sample_pixel_map",
    "stepped_pixel_map",
    "wcs_cards",
    "wcs_from_cards",
]
