"""Large-scale background: the median or the mean of the good pixels in a box around every pixel."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_image, as_mask
from skymere._rust import background as _rust
from skymere.errors import InvalidInputError

__all__ = ["RunningMethod", "RunningParams", "large_scale_background"]

RunningMethod = Literal["running_median", "boxcar_mean"]
"""What is taken of the good pixels of a box."""


@dataclass(frozen=True, kw_only=True)
class RunningParams:
    """Parameters of `large_scale_background`.

    Parameters
    ----------
    method : {"running_median", "boxcar_mean"}
        What is taken of the good pixels of a box.
    min_good_pix : int
        A box with fewer good pixels has no value of its own.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    method: RunningMethod = "running_median"
    min_good_pix: int = 1

    def __post_init__(self) -> None:
        if self.method not in get_args(RunningMethod):
            msg = f"method: {self.method!r} is not allowed, it must be one of {', '.join(get_args(RunningMethod))}"
            raise InvalidInputError(msg)
        if self.min_good_pix < 1:
            msg = f"min_good_pix: {self.min_good_pix} is not allowed, it must be at least 1"
            raise InvalidInputError(msg)


def large_scale_background(
    data: ArrayLike,
    *,
    box_pix: int | None = None,
    box_arcsec: float | None = None,
    scale_arcsec: float | None = None,
    mask: ArrayLike | None = None,
    params: RunningParams | None = None,
) -> NDArray[np.float32]:
    """Return the background of an image that varies on scales larger than a box.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx) [unit]
        The image; pixels that are not finite do not count. It is not changed, and must not change during the call.
    box_pix : int, optional
        Side of the box [pix]; an even one counts as one more, so that the box has a middle.
    box_arcsec : float, optional
        The same on the sky [arcsec], instead of ``box_pix``.
    scale_arcsec : float, optional
        Side of a pixel [arcsec], for ``box_arcsec``.
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use: sources (``mask_all.reg``) and bad pixels.
    params : RunningParams, optional
        Median or mean, and the pixels that a box needs.

    Returns
    -------
    ndarray, float32, shape (ny, nx) [unit]
        The background of every pixel, also of masked ones, to be subtracted from ``data``.

    Raises
    ------
    InvalidInputError
        When shapes differ, not exactly one size of the box is given, or it is not from 1 pixel to the shorter side of
        the image.
    NoDataError
        When no box has enough good pixels.

    Notes
    -----
    With ``h = box // 2`` the box around ``x, y`` reaches from ``x - h`` to ``x + h``, from ``y - h`` to ``y + h``; at
    the border of the image it ends there, so that its middle is not its pixel: a slope of g per pixel is off by up to
    ``g h / 2`` there. The median of an even number of pixels is the mean of the two in the middle. A pixel whose box
    has fewer than ``min_good_pix`` good ones gets the mean of the backgrounds of the pixels nearest to it that have
    one.

    ``running_median`` is what the script of qdeblend does, with a box in arcsec; ``boxcar_mean`` is what its
    description says (B6 argument 9, F25). A mean is moved by what masks miss of sources: use the median unless they are
    complete. Both take about as long for any size of the box; results have the same bits for any number of threads.

    The same call on ``data`` minus its background takes what is left of scales of the box, not the same again: keep the
    original.

    References
    ----------
    van Herk 1992, Pattern Recognition Letters 13, 517 (sums of a window from the borders of blocks).

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.background import large_scale_background
    >>> y, x = np.mgrid[:100, :120]
    >>> tilted = 0.1 * x + 0.05 * y
    >>> found = large_scale_background(tilted, box_pix=11)
    >>> float(np.abs(found - tilted)[5:-5, 5:-5].max().round(5))
    0.0
    """
    params = params or RunningParams()
    image = as_image(data, "data")
    bad = None if mask is None else as_mask(mask, "mask", shape=(image.shape[0], image.shape[1]))
    half = _half(box_pix, box_arcsec, scale_arcsec)
    if image.size and 2 * half + 1 > min(image.shape):
        name, value = ("box_pix", box_pix) if box_arcsec is None else ("box_arcsec", box_arcsec)
        msg = (
            f"{name}: {value} is not allowed, a box of {2 * half + 1} pixels is larger than the image of "
            f"{image.shape[1]} x {image.shape[0]}; one level for all of it is that of estimate_pedestal"
        )
        raise InvalidInputError(msg)
    return _rust.large_scale(image, bad, half=half, method=params.method, min_good=params.min_good_pix)


def _half(box_pix: int | None, box_arcsec: float | None, scale_arcsec: float | None) -> int:
    """Return the pixels of a box on each side of its middle."""
    if (box_pix is None) == (box_arcsec is None):
        msg = f"box_pix, box_arcsec: {box_pix}, {box_arcsec} are not allowed, exactly one must be given"
        raise InvalidInputError(msg)
    if box_arcsec is None:
        if not isinstance(box_pix, int | np.integer) or box_pix < 1:
            msg = f"box_pix: {box_pix} is not allowed, it must be a whole number of at least 1"
            raise InvalidInputError(msg)
        return int(box_pix) // 2
    for name, value in (("box_arcsec", box_arcsec), ("scale_arcsec", scale_arcsec)):
        if value is None or not (np.isfinite(value) and value > 0):
            msg = f"{name}: {value} is not allowed, a box in arcsec needs a positive number"
            raise InvalidInputError(msg)
    pixels = round(box_arcsec / float(scale_arcsec or 1.0))
    if pixels < 1:
        msg = f"box_arcsec: {box_arcsec} is not allowed, it is less than half a pixel of {scale_arcsec} arcsec"
        raise InvalidInputError(msg)
    return pixels // 2
