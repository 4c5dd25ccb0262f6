"""Where exposures look: sources, pairs, and corrections of their coordinates."""

from skymere.align.alignment import Alignment, align
from skymere.align.finding import FindParams, find_sources
from skymere.align.matching import Fit
from skymere.align.params import AlignParams
from skymere.align.plane import LinearMap, TangentPlane, corrected_wcs

__all__ = [
    "AlignParams",
    "Alignment",
    "FindParams",
    "Fit",
    "LinearMap",
    "TangentPlane",
    "align",
    "corrected_wcs",
    "find_sources",
]
