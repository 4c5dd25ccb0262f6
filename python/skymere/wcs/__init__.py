"""Pixel grids and the maps between them."""

from skymere.wcs.cards import wcs_cards, wcs_from_cards
from skymere.wcs.grid import Grid
from skymere.wcs.maps import SampledMap, pixel_map, sample_pixel_map, stepped_pixel_map
from skymere.wcs.tan import pixel_transform

__all__ = [
    "Grid",
    "SampledMap",
    "pixel_map",
    "pixel_transform",
    "sample_pixel_map",
    "stepped_pixel_map",
    "wcs_cards",
    "wcs_from_cards",
]
