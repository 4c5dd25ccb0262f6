"""Shapes that people draw: region files of DS9, and the pixels of a region."""

from skymere.regions.places import to_sky
from skymere.regions.rasters import (
    Membership,
    RegionMask,
    RegionStamp,
    mask_from_region,
    mask_from_regions,
    stamp_region,
)
from skymere.regions.reading import parse_regions, read_regions
from skymere.regions.shapes import (
    Annulus,
    Box,
    Circle,
    Ellipse,
    Point,
    Polygon,
    Region,
    region_from_numbers,
)
from skymere.regions.writing import format_regions, write_regions

__all__ = [
    "Annulus",
    "Box",
    "Circle",
    "Ellipse",
    "Membership",
    "Point",
    "Polygon",
    "Region",
    "RegionMask",
    "RegionStamp",
    "format_regions",
    "mask_from_region",
    "mask_from_regions",
    "parse_regions",
    "read_regions",
    "region_from_numbers",
    "stamp_region",
    "to_sky",
    "write_regions",
]
