"""Differences of nods."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from skymere._rust import slit as _rust
from skymere.errors import InvalidInputError
from skymere.slit.frames import SlitFrames

__all__ = ["NodDifference", "NodParams", "make_diff_image"]

NegativeMask = Literal["subtracted", "positive"]
NegativeCount = Literal["used", "counted"]


@dataclass(frozen=True, kw_only=True)
class NodParams:
    """How nods are subtracted.

    Parameters
    ----------
    subtract : bool
        Subtract the mean of the other positions.
    negative_mask : str
        What a pixel needs of the other nods: ``subtracted``, at least one pixel that was subtracted; ``positive``, as
        msaexp 0.9.19, a good pixel at its own position (so pixels that are bad in all subtracted nods survive).
    negative_count : str
        What the mean of the others is divided by: ``used``, the number of pixels in the sum; ``counted``, as msaexp
        0.9.19, that of ``SlitFrames.counted_mask``, so that pixels that were flagged later dilute it.
    single_variances : bool
        Add variances in single precision, as msaexp 0.9.19, for the same bits.

    Raises
    ------
    InvalidInputError
        When a name is not known.
    """

    subtract: bool = True
    negative_mask: NegativeMask = "subtracted"
    negative_count: NegativeCount = "used"
    single_variances: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("negative_mask", get_args(NegativeMask)), ("negative_count", get_args(NegativeCount))):
            if getattr(self, name) not in allowed:
                msg = f"{name}: {getattr(self, name)!r} is not allowed, it must be one of {', '.join(allowed)}"
                raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class NodDifference:
    """The mean of one position less the mean of the others.

    Parameters
    ----------
    is_positive, is_negative : ndarray, bool, shape (n,)
        Which exposures were averaged and subtracted.
    positive, negative : ndarray, float64, shape (ny, nx) [uJy]
        The two means; NaN where there is no pixel.
    positive_sky, negative_sky : ndarray, float64, shape (ny, nx) [uJy]
        Means of the sky that had been subtracted before.
    positive_variance, negative_variance : ndarray, float64, shape (ny, nx) [uJy2]
        Their variances.
    positive_read_variance, negative_read_variance : ndarray, float64, shape (ny, nx) [uJy2]
        Their variances of read noise.
    mask : ndarray, bool, shape (ny, nx)
        True = do not use the difference.
    n_negative : ndarray, int64, shape (ny, nx)
        What the mean of the others was divided by.
    """

    is_positive: NDArray[np.bool_]
    is_negative: NDArray[np.bool_]
    positive: NDArray[np.float64]
    negative: NDArray[np.float64]
    positive_sky: NDArray[np.float64]
    negative_sky: NDArray[np.float64]
    positive_variance: NDArray[np.float64]
    negative_variance: NDArray[np.float64]
    positive_read_variance: NDArray[np.float64]
    negative_read_variance: NDArray[np.float64]
    mask: NDArray[np.bool_]
    n_negative: NDArray[np.int64]

    @property
    def difference(self) -> NDArray[np.float64]:
        """The difference, float64, shape (ny, nx) [uJy]."""
        return self.positive - self.negative

    @property
    def sky(self) -> NDArray[np.float64]:
        """The difference of the skies that had been subtracted, float64, shape (ny, nx) [uJy]."""
        return self.positive_sky - self.negative_sky

    @property
    def variance(self) -> NDArray[np.float64]:
        """Variance of the difference, float64, shape (ny, nx) [uJy2]."""
        return self.positive_variance + self.negative_variance

    @property
    def read_variance(self) -> NDArray[np.float64]:
        """Variance of its read noise, float64, shape (ny, nx) [uJy2]."""
        return self.positive_read_variance + self.negative_read_variance


def make_diff_image(frames: SlitFrames, *, position: int, params: NodParams | None = None) -> NodDifference:
    """Return the mean of a nod position less the mean of all others.

    Parameters
    ----------
    frames : SlitFrames
        All exposures.
    position : int
        The positive position.
    params : NodParams, optional
        What is subtracted and masked.

    Raises
    ------
    InvalidInputError
        When no exposure is at that position.

    Notes
    -----
    ``sum_i d_i / n - sum_j d_j / m`` over the n good pixels of the position and the m good ones of the others; the
    variance of each mean is the sum of the variances over the squared number. Differences of three positions sum to 0,
    so they are not independent: fit `fit_frames` to all of them instead.
    """
    asked = params or NodParams()
    is_positive = frames.is_at(position)
    counted = frames.mask
    if asked.negative_count == "counted" and frames.counted_mask is not None:
        counted = frames.counted_mask
    made = _rust.make_difference(
        frames.data,
        frames.sky,
        frames.variance,
        frames.read_variance,
        frames.mask,
        counted,
        is_positive.tolist(),
        asked.single_variances,
    )
    n_negative = made["n_negative"].astype(np.int64)
    has_negative = asked.subtract and not is_positive.all()
    if not has_negative:
        n_negative[:] = 0
    for name in ("negative", "negative_sky", "negative_variance", "negative_read"):
        if not has_negative:
            made[name][:] = 0.0
    is_missing = made["n_positive"] == 0
    if has_negative and asked.negative_mask == "subtracted":
        is_missing = is_missing | frames.mask[~is_positive].all(axis=0)
    return NodDifference(
        is_positive=is_positive,
        is_negative=~is_positive & has_negative,
        positive=made["positive"],
        negative=made["negative"],
        positive_sky=made["positive_sky"],
        negative_sky=made["negative_sky"],
        positive_variance=made["positive_variance"],
        negative_variance=made["negative_variance"],
        positive_read_variance=made["positive_read"],
        negative_read_variance=made["negative_read"],
        mask=is_missing,
        n_negative=n_negative,
    )
