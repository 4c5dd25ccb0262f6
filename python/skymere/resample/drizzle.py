"""Drizzle: exposures are added one at a time to an output grid."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array, as_image
from skymere._rust import resample as _resample
from skymere.errors import InvalidInputError

__all__ = ["DrizzleParams", "DrizzledImage", "Drizzler", "Kernel", "pixel_scale_ratio"]

Kernel = Literal["square", "turbo", "point"]


@dataclass(frozen=True, kw_only=True)
class DrizzleParams:
    """How the pixels of an exposure are laid on the output.

    Parameters
    ----------
    kernel : str, optional
        ``square`` (the shrunken pixel, mapped corner by corner, exact overlap), ``turbo`` (a box along the output's
        axes) or ``point`` (the whole pixel to the output pixel in which its centre lies).
    pixfrac : float, optional
        Side of the drop [input pix]; below 0.001 the kernel is ``point``.
    fillval : float, optional
        Value of output pixels to which nothing contributed.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    kernel: Kernel = "square"
    pixfrac: float = 1.0
    fillval: float = float("nan")

    def __post_init__(self) -> None:
        if self.kernel not in get_args(Kernel):
            msg = f"kernel: {self.kernel!r} is not allowed, it must be one of {', '.join(get_args(Kernel))}"
            raise InvalidInputError(msg)
        if not 0 <= self.pixfrac < np.inf:
            msg = f"pixfrac: {self.pixfrac} is not allowed, it must be 0 or positive"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class DrizzledImage:
    """What was drizzled.

    Parameters
    ----------
    data : ndarray, float32, shape (ny, nx)
        Weighted mean of the values; the fill value where the weight is 0.
    weight : ndarray, float32, shape (ny, nx)
        Sum of the weights.
    variance : ndarray, float32, shape (ny, nx) or None
        Variance of each pixel of ``data`` alone; neighbours are correlated. None when no variance was added.
    context : ndarray, int32, shape (n_planes, ny, nx)
        Bit ``k % 32`` of plane ``k // 32`` is set where exposure ``k`` contributed.
    dq : ndarray, uint32, shape (ny, nx) or None
        Union of the contributors' bits. None when no bits were added.
    """

    data: NDArray[np.float32]
    weight: NDArray[np.float32]
    variance: NDArray[np.float32] | None
    context: NDArray[np.int32]
    dq: NDArray[np.uint32] | None


class Drizzler:
    """An output grid to which exposures are added one at a time.

    Memory does not grow with the number of exposures, but for one bit of context each. Results have the same bits
    for any number of threads.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the output.
    params : DrizzleParams, optional
        Kernel, pixfrac and fill value.

    Raises
    ------
    InvalidInputError
        When the shape is not two positive numbers.

    Notes
    -----
    The share of an input pixel in an output pixel is ``a / J``, with their common area a and the area J of the drop,
    both on the output; its weight there ``w a / J``. The output is the weighted mean of the values [1]_, and its
    variance ``sum (w a / J)^2 v / (sum w a / J)^2``. Sums are kept in float64.

    The corners of a drop are bilinear in the pixel map. Input pixels whose centre lies outside of the output count
    where their drops reach it. Pixels do not count whose weight is not positive, whose value, weight or variance is
    not finite, or whose corners are not (next to a NaN of the map), or whose drop is folded over.

    References
    ----------
    .. [1] Fruchter & Hook 2002, PASP 114, 144, equations 4 and 5.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.resample import Drizzler
    >>> y, x = np.indices((8, 8), dtype=float)
    >>> drizzler = Drizzler((16, 16))
    >>> drizzler.add(np.ones((8, 8), np.float32), np.stack([2 * x + 0.5, 2 * y + 0.5], axis=-1))
    >>> image = drizzler.finish()
    >>> float(image.data[5, 5]), float(image.weight.sum())
    (1.0, 64.0)
    """

    def __init__(self, shape: tuple[int, int], *, params: DrizzleParams | None = None) -> None:
        self.params = DrizzleParams() if params is None else params
        if len(shape) != 2 or min(shape) < 1:
            msg = f"shape: {shape} is not allowed, it must be two positive numbers (ny, nx)"
            raise InvalidInputError(msg)
        self.shape = (int(shape[0]), int(shape[1]))
        self._drizzler = _resample.Drizzler(self.shape, self.params.kernel, self.params.pixfrac, self.params.fillval)

    @property
    def n_exposures(self) -> int:
        """Number of exposures that were added."""
        return self._drizzler.n_exposures

    def add(
        self,
        data: ArrayLike,
        pixmap: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        variance: ArrayLike | None = None,
        dq: ArrayLike | None = None,
        value_scale: float = 1.0,
        pixel_scale_ratio: float | None = 1.0,
    ) -> None:
        """Add an exposure. The arrays must not change during the call.

        Parameters
        ----------
        data : array_like, float32, shape (my, mx)
            Pixel values.
        pixmap : array_like, float64, shape (my, mx, 2) [pix]
            Output ``(x, y)`` of every pixel, 0-based; see `skymere.wcs.pixel_map`.
        weight : array_like, float32, shape (my, mx), optional
            Weights; 1 everywhere when not given.
        variance : array_like, float32, shape (my, mx), optional
            Variance of ``data``. Either all exposures have one or none.
        dq : array_like, uint32, shape (my, mx), optional
            Data-quality bits. Either all exposures have them or none. They do not mask: use ``weight``.
        value_scale : float, optional
            Factor of the values; of the variance its square. For data per pixel the squared ratio of the output's to
            the input's scale, for surface brightness 1.
        pixel_scale_ratio : float or None, optional
            Side of an output pixel over the side of an input pixel, for the kernel ``turbo``; None measures it.

        Raises
        ------
        InvalidInputError
            When arrays do not fit together, a number is not allowed, or the drizzler was finished.
        NoDataError
            When the ratio is to be measured and the map has no finite pixels.
        """
        image = as_image(data, "data")
        shape = image.shape
        self._drizzler.add(
            image,
            as_array(pixmap, "pixmap", np.float64, shape=(*shape, 2)),  # type: ignore[arg-type]
            None if weight is None else as_image(weight, "weight", shape=shape),
            None if variance is None else as_image(variance, "variance", shape=shape),
            None if dq is None else as_array(dq, "dq", np.uint32, shape=shape),  # type: ignore[arg-type]
            value_scale,
            pixel_scale_ratio,
        )

    def read(self) -> DrizzledImage:
        """Return what has been drizzled so far; more exposures can be added afterwards.

        Raises
        ------
        InvalidInputError
            When the drizzler was finished.
        """
        return _image(self._drizzler.read())

    def finish(self) -> DrizzledImage:
        """Return what has been drizzled and give the memory of the sums back.

        Raises
        ------
        InvalidInputError
            When the drizzler was finished before.
        """
        return _image(self._drizzler.finish())


def _image(
    arrays: tuple[
        NDArray[np.float32],
        NDArray[np.float32],
        NDArray[np.float32] | None,
        NDArray[np.int32],
        NDArray[np.uint32] | None,
    ],
) -> DrizzledImage:
    data, weight, variance, context, dq = arrays
    return DrizzledImage(data=data, weight=weight, variance=variance, context=context, dq=dq)


def pixel_scale_ratio(pixmap: ArrayLike) -> float:
    """Return the side of an output pixel over the side of an input pixel.

    Parameters
    ----------
    pixmap : array_like, float64, shape (ny, nx, 2) [pix]
        Output ``(x, y)`` of every input pixel.

    Returns
    -------
    float
        ``1 / sqrt(J)`` with the median area J of mapped pixels.

    Raises
    ------
    NoDataError
        When no 2 x 2 pixels are finite.
    """
    return _resample.pixel_scale_ratio(as_array(pixmap, "pixmap", np.float64, shape=(None, None, 2)))  # type: ignore[arg-type]
