"""Drizzle: exposures are added one at a time to an output grid."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array, as_image
from skymere._rust import resample as _resample
from skymere.errors import InvalidInputError, NoDataError

__all__ = ["DrizzleParams", "DrizzledImage", "Drizzler", "Kernel", "kernel_name", "pixel_scale_ratio"]

Kernel = Literal["square", "turbo", "point", "gaussian", "lanczos2", "lanczos3"]

_BITS_PER_PLANE = 32


@dataclass(frozen=True, kw_only=True)
class DrizzleParams:
    """How the pixels of an exposure are laid on the output.

    Parameters
    ----------
    kernel : str, optional
        ``square`` (the shrunken pixel, mapped corner by corner, exact overlap), ``turbo`` (a box along the output's
        axes), ``point`` (the whole pixel to the output pixel in which its centre lies), ``gaussian`` (around the mapped
        centre, cut at 2.5 sigma but not below 1.2 input pixels), ``lanczos2`` or ``lanczos3`` (windowed sinc of that
        radius in input pixels, with negative weights; it ignores ``pixfrac``). The last three do not conserve flux
        where pixels are missing.
    pixfrac : float, optional
        Side of the drop, of ``gaussian`` the FWHM [input pix]; below 0.001 the kernel is ``point``.
    fillval : float, optional
        Value of output pixels to which nothing contributed.
    lanczos : str, optional
        ``exact``, or ``table``: as drizzle 3.0, read at the nearest entry of a table in steps of 0.003 input pixels.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    kernel: Kernel = "square"
    pixfrac: float = 1.0
    fillval: float = float("nan")
    lanczos: Literal["exact", "table"] = "exact"

    def __post_init__(self) -> None:
        if self.kernel not in get_args(Kernel):
            msg = f"kernel: {self.kernel!r} is not allowed, it must be one of {', '.join(get_args(Kernel))}"
            raise InvalidInputError(msg)
        if self.lanczos not in ("exact", "table"):
            msg = f"lanczos: {self.lanczos!r} is not allowed, it must be 'exact' or 'table'"
            raise InvalidInputError(msg)
        if not 0 <= self.pixfrac < np.inf:
            msg = f"pixfrac: {self.pixfrac} is not allowed, it must be 0 or positive"
            raise InvalidInputError(msg)


def kernel_name(params: DrizzleParams) -> str:
    """Return the kernel's name below."""
    is_table = params.kernel.startswith("lanczos") and params.lanczos == "table"
    return params.kernel + "_table" * is_table


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
    context : bool, optional
        Keep which exposures contributed to each pixel; otherwise the image has no context plane.
    window : tuple of slice, optional
        Rows and columns of the output that are kept, without steps; all when not given. Pixel maps are those of the
        whole output, and the window has the bits that the whole output has there.
    sums : ndarray, float64, shape (ny, nx, 2), optional
        Sums of w and w d of the window to go on from, of an image without variance and bits; they are changed.

    Raises
    ------
    InvalidInputError
        When the shape is not two positive numbers, or the window has no pixel.

    Notes
    -----
    With the kernel ``square`` the share of an input pixel in an output pixel is ``a / J``, with their common area a
    and the area J of the drop, both on the output; its weight there ``w a / J``. The output is the weighted mean of
    the values [1]_, and its variance ``sum (w a / J)^2 v / (sum w a / J)^2``. Sums are kept in float64.

    Shares of the other kernels add up to 1 on an infinite output too; drizzle 3.0 leaves Lanczos weights larger by the
    squared scale ratio, which no mean shows.

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

    def __init__(
        self,
        shape: tuple[int, int],
        *,
        params: DrizzleParams | None = None,
        context: bool = True,
        window: tuple[slice, slice] | None = None,
        sums: NDArray[np.float64] | None = None,
    ) -> None:
        self.params = DrizzleParams() if params is None else params
        if len(shape) != 2 or min(shape) < 1:
            msg = f"shape: {shape} is not allowed, it must be two positive numbers (ny, nx)"
            raise InvalidInputError(msg)
        rows, columns = (slice(None), slice(None)) if window is None else window
        (y0, y1), (x0, x1) = rows.indices(shape[0])[:2], columns.indices(shape[1])[:2]
        if y1 <= y0 or x1 <= x0:
            msg = f"window: {window} is not allowed, it must hold pixels of an output of {tuple(shape)}"
            raise InvalidInputError(msg)
        self.shape = (y1 - y0, x1 - x0)
        self._first, self._n_columns = (y0, x0), int(shape[1])
        self._kernel = kernel_name(self.params)
        self._n_exposures = self._n_added = 0
        self._closed = ""
        # Sums of w and w d; numpy's zeros, because it asks the system for large pages.
        self._mean = np.zeros((*self.shape, 2)) if sums is None else sums
        if self._mean.shape != (*self.shape, 2):
            msg = f"sums: shape {self._mean.shape} is not allowed, it must be {(*self.shape, 2)}"
            raise InvalidInputError(msg)
        self._context: list[NDArray[np.int32]] = []
        self._has_context = context
        self._variance: NDArray[np.float64] | None = None
        self._dq: NDArray[np.uint32] | None = None

    @property
    def n_exposures(self) -> int:
        """Number of exposures that were added, or passed over."""
        return self._n_exposures

    def skip(self) -> None:
        """Pass over an exposure of which no drop touches the window: its bit of context stays 0 everywhere.

        Raises
        ------
        InvalidInputError
            When the drizzler was finished.
        """
        self._check_open()
        self._grow_context()
        self._n_exposures += 1

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
            Side of an output pixel over the side of an input pixel, which ``square`` and ``point`` do not
            need; None measures it.

        Raises
        ------
        InvalidInputError
            When arrays do not fit together, a number is not allowed, or the drizzler was finished.
        NoDataError
            When the ratio is to be measured and the map has no finite pixels.
        """
        self._check_open()
        image = as_image(data, "data")
        shape = image.shape
        if self._n_added == 0:
            self._variance = None if variance is None else np.zeros(self.shape)
            self._dq = None if dq is None else np.zeros(self.shape, np.uint32)
        bit = self._grow_context()
        try:
            _resample.add(
                self._mean,
                self._context[-1],
                self._variance,
                self._dq,
                image,
                as_array(pixmap, "pixmap", np.float64, shape=(*shape, 2)),  # type: ignore[arg-type]
                None if weight is None else as_image(weight, "weight", shape=shape),
                None if variance is None else as_image(variance, "variance", shape=shape),
                None if dq is None else as_array(dq, "dq", np.uint32, shape=shape),  # type: ignore[arg-type]
                value_scale,
                pixel_scale_ratio,
                self._kernel,
                self.params.pixfrac,
                bit,
                self._first,
                self._n_columns,
            )
        except (InvalidInputError, NoDataError):
            raise
        except BaseException:
            self._closed = "adding an exposure was interrupted half-way"
            raise
        self._n_exposures += 1
        self._n_added += 1

    def _grow_context(self) -> int:
        """Return the bit of the next exposure, for which there is a plane then."""
        # Without context all exposures write the first bit of one plane, which nobody sees.
        bit = self._n_exposures if self._has_context else 0
        if len(self._context) * _BITS_PER_PLANE <= bit:
            self._context.append(np.zeros(self.shape, np.int32))
        return bit

    def read(self) -> DrizzledImage:
        """Return what has been drizzled so far; more exposures can be added afterwards.

        Raises
        ------
        InvalidInputError
            When the drizzler was finished.
        """
        return self._image(copy=True)

    def finish(self) -> DrizzledImage:
        """Return what has been drizzled and give the memory of the sums back.

        Raises
        ------
        InvalidInputError
            When the drizzler was finished before.
        """
        image = self._image(copy=False)
        self._closed = "it was finished"
        del self._mean, self._context, self._variance, self._dq
        return image

    def _image(self, *, copy: bool) -> DrizzledImage:
        """Return the weighted means; context and dq as copies or as they are."""
        self._check_open()
        data, weight = (np.empty(self.shape, np.float32) for _ in range(2))
        _resample.weighted_mean(self._mean, self.params.fillval, data, weight)
        variance = None
        if self._variance is not None:
            variance = np.empty(self.shape, np.float32)
            _resample.mean_variance(self._mean, self._variance, self.params.fillval, variance)
        dq = self._dq.copy() if copy and self._dq is not None else self._dq
        return DrizzledImage(data=data, weight=weight, variance=variance, context=self._planes(copy=copy), dq=dq)

    def _planes(self, *, copy: bool) -> NDArray[np.int32]:
        """Return the context planes in one array; they are given back one by one unless they are copied."""
        if not self._has_context:
            return np.zeros((0, *self.shape), np.int32)
        if not copy and len(self._context) == 1:
            return self._context[0][np.newaxis]
        planes = np.zeros((max(len(self._context), 1), *self.shape), np.int32)
        for i in range(len(self._context)):
            planes[i] = self._context[i]
            if not copy:
                self._context[i] = planes[i]
        return planes

    def _check_open(self) -> None:
        if self._closed:
            msg = f"the drizzler cannot be used any more: {self._closed}"
            raise InvalidInputError(msg)


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

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.resample import pixel_scale_ratio
    >>> y, x = np.indices((8, 8), dtype=float)
    >>> pixel_scale_ratio(np.stack([2 * x, 2 * y], axis=-1))
    0.5
    """
    return _resample.pixel_scale_ratio(as_array(pixmap, "pixmap", np.float64, shape=(None, None, 2)))  # type: ignore[arg-type]
