"""Parameters of an alignment."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from skymere.align.finding import FindParams
from skymere.errors import InvalidInputError

__all__ = ["AlignParams", "FitGeometry"]

FitGeometry = Literal["shift", "rshift", "rscale", "general"]
Method = Literal["reference", "global", "pixels"]


@dataclass(frozen=True, kw_only=True)
class AlignParams:
    """How exposures are aligned.

    Parameters
    ----------
    find : FindParams
        How sources are found.
    method : str
        ``reference``: each exposure to the reference, one after the other; ``global``: afterwards all exposures
        together to the means of their common sources; ``pixels``: afterwards each on its pixels against a stack of the
        others.
    expand_reference : bool
        Sources of an aligned exposure that the reference lacks become part of it.
    keep_order : bool
        The exposures come in the given order; otherwise the next is the one with most sources on the reference.
    search_radius_arcsec : float
        Largest offset along each axis that is looked for [arcsec].
    use_histogram : bool
        Look for the offset in the histogram of all differences; otherwise ``offset_arcsec`` is taken.
    offset_arcsec : tuple of float
        Offset to the east and north, used without the histogram [arcsec].
    bin_arcsec : float
        Side of a bin of the histogram [arcsec].
    min_significance : float
        The peak of the histogram must exceed what chance puts there by so many times the square root of that.
    max_second_peak : float
        No other place of the histogram may have more than this part of the peak.
    tolerance_arcsec : float
        Largest distance of a pair after the offset [arcsec].
    min_matches : int
        An exposure with fewer pairs is not aligned.
    fitgeom : str
        ``shift``, ``rshift``, ``rscale`` or ``general``.
    n_clip, clip_sigma : int, float
        Rounds of clipping at most, and the largest residual along an axis in units of that axis' rms.
    huber : float, optional
        Pairs that fit worse than so many times the typical residual, in units of their own errors, weigh less; None
        weighs all by their errors alone.
    error_floor_arcsec : float
        Added in quadrature to the errors of centroids when they are weighted: what undersampling and the choice of
        the window leave [arcsec]. None takes 0.03 pixel.
    max_iterations : int
        Rounds of matching and fitting at most.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    find: FindParams = field(default_factory=FindParams)
    method: Method = "reference"
    expand_reference: bool = False
    keep_order: bool = True
    search_radius_arcsec: float = 1.0
    use_histogram: bool = True
    offset_arcsec: tuple[float, float] = (0.0, 0.0)
    bin_arcsec: float = 0.1
    min_significance: float = 5.0
    max_second_peak: float = 0.7
    tolerance_arcsec: float = 0.1
    min_matches: int = 15
    fitgeom: FitGeometry = "rscale"
    n_clip: int = 3
    clip_sigma: float = 5.0
    huber: float | None = 1.5
    error_floor_arcsec: float | None = None
    max_iterations: int = 5

    def __post_init__(self) -> None:
        for name, allowed in (("method", get_args(Method)), ("fitgeom", get_args(FitGeometry))):
            if getattr(self, name) not in allowed:
                msg = f"{name}: {getattr(self, name)!r} is not allowed, it must be one of {', '.join(allowed)}"
                raise InvalidInputError(msg)
        for name in ("search_radius_arcsec", "bin_arcsec", "tolerance_arcsec", "clip_sigma", "max_second_peak"):
            if not 0 < getattr(self, name) < np.inf:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        for name, least in (("min_matches", 1), ("max_iterations", 1), ("n_clip", 0), ("min_significance", 0)):
            if getattr(self, name) < least:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be at least {least}"
                raise InvalidInputError(msg)
        if self.huber is not None and not 0 < self.huber < np.inf:
            msg = f"huber: {self.huber} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if self.error_floor_arcsec is not None and not 0 <= self.error_floor_arcsec < np.inf:
            msg = f"error_floor_arcsec: {self.error_floor_arcsec} is not allowed, it must be 0 or positive"
            raise InvalidInputError(msg)
        if not np.isfinite(self.offset_arcsec).all():
            msg = f"offset_arcsec: {self.offset_arcsec} is not allowed, it must be two finite numbers"
            raise InvalidInputError(msg)
