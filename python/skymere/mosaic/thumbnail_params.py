"""How thumbnails are made."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from skymere.errors import InvalidInputError

__all__ = ["ThumbnailParams"]

_MOST_OVERSAMPLED = 16


@dataclass(frozen=True, kw_only=True)
class ThumbnailParams:
    """How thumbnails are made.

    Parameters
    ----------
    ignore_dq : tuple of str
        Names of DQ bits that count as good.
    sky : str
        What is subtracted from an exposure: ``given``, its ``sky``; ``auto``, that where it is not 0, and else the
        clipped mode of its good pixels; ``none``.
    subtract_median : bool
        Subtract the median of the thumbnail, too, which is recorded and can be added again.
    weight : str
        What `BandThumbnail.weight` is: ``inverse_variance_with_sources`` or ``inverse_variance`` of the background
        alone. Exposures are always combined with that of the background.
    memory_mb : float
        What the sums of the thumbnails that are being made may take, in all processes together [MB].
    psf_oversample : int
        Pixels per pixel of the thumbnail, along an axis, of a second image of the PSF (`BandThumbnail.fine_psf`); 1 for
        none.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    ignore_dq: tuple[str, ...] = ()
    sky: Literal["auto", "given", "none"] = "auto"
    subtract_median: bool = False
    weight: Literal["inverse_variance_with_sources", "inverse_variance"] = "inverse_variance_with_sources"
    memory_mb: float = 256.0
    psf_oversample: int = 1

    def __post_init__(self) -> None:
        for name, allowed in (
            ("sky", ("auto", "given", "none")),
            ("weight", ("inverse_variance_with_sources", "inverse_variance")),
        ):
            if getattr(self, name) not in allowed:
                msg = f"{name}: {getattr(self, name)!r} is not allowed, it must be one of {', '.join(allowed)}"
                raise InvalidInputError(msg)
        if not 0 < self.memory_mb < np.inf:
            msg = f"memory_mb: {self.memory_mb} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if not (isinstance(self.psf_oversample, int) and 1 <= self.psf_oversample <= _MOST_OVERSAMPLED):
            msg = (
                f"psf_oversample: {self.psf_oversample} is not allowed, it must be a whole number from 1 to "
                f"{_MOST_OVERSAMPLED}"
            )
            raise InvalidInputError(msg)
