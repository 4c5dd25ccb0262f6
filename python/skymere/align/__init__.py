"""Where exposures look: sources, pairs, and corrections of their coordinates."""

from skymere.align.alignment import Alignment, align
from skymere.align.finding import FindParams, find_sources
from skymere.align.matching import Fit
from skymere.align.params import AlignParams
from skymere.align.plane import CorrectedWcs, LinearMap, TangentPlane, corrected_wcs
from skymere.align.selection import exclude_sources, select_sources

__all__ = [
    "AlignParams",
    "Alignment",
    "CorrectedWcs",
    "FindParams",
    "Fit",
    "LinearMap",
    "TangentPlane",
    "align",
    "corrected_wcs",
    "exclude_sources",
    "find_sources",
    "select_sources",
]
