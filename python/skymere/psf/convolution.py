"""Images convolved with a PSF or a kernel."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array, as_mask
from skymere._rust import threads
from skymere.errors import InvalidInputError
from skymere.psf.resampling import centred, resampled
from skymere.psf.sampled import Psf

__all__ = ["Kernel", "convolve", "convolve_error", "fast_length"]

# Side of the blocks of large images [pix]; fixed, so that results do not depend on threads.
_BLOCK = 1024
# Transforms round to 1e-16 of the largest value: pixels above the others by more than this are summed one by one.
_RANGE = 1e8
# Products of outliers and pixels of the kernel; more of them take minutes, and a transform of their own instead.
_MOST = 1_000_000_000
# What the others are: this part of the values of an image that are not 0 is no larger, of variances no smaller.
_OTHERS = 0.99
_LEAST = 0.01
# Sums of a kernel below this part of the sum of its absolute values cancel.
_CANCELLED = 1e-6
# Transforms of kernels round to less than this part of that sum.
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Kernel:
    """An image with odd sides, its origin in the middle pixel, that images are convolved with.

    Parameters
    ----------
    data : ndarray, float64, shape (ny, nx)
        Values, on the pixels of the images.

    Raises
    ------
    InvalidInputError
        When a side is even or a value is not finite.
    """

    data: NDArray[np.float64]

    def __post_init__(self) -> None:
        data = as_array(self.data, "data", np.float64, shape=(None, None))
        if 0 in (data.shape[0] % 2, data.shape[1] % 2):
            msg = f"data: shape {data.shape} is not allowed, both sides of a kernel must be odd"
            raise InvalidInputError(msg)
        if not np.isfinite(data).all():
            msg = f"data: {np.count_nonzero(~np.isfinite(data))} of {data.size} values are not finite"
            raise InvalidInputError(msg)
        object.__setattr__(self, "data", data)


def convolve(
    image: ArrayLike,
    kernel: Psf | Kernel | ArrayLike,
    *,
    mask: ArrayLike | None = None,
    oversampling: float = 1.0,
    min_weight: float = 0.5,
) -> NDArray[np.floating]:
    """Convolve an image with a PSF or a kernel.

    Parameters
    ----------
    image : array_like, float, shape (ny, nx)
        Values. Outside of it there is nothing: it is 0 there, and nothing wraps around.
    kernel : Psf, Kernel or array_like, float, shape (ky, kx)
        What it is convolved with; an array has its origin in the middle, with an even side between two pixels.
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use.
    oversampling : float, optional
        Pixels of ``image`` per pixel of the band, for a `Psf`, which is resampled to them.
    min_weight : float, optional
        A value with less than this part of the kernel's sum on good pixels is NaN; from 0 to 1.

    Returns
    -------
    ndarray, float32 or float64, shape (ny, nx) [unit of the image]
        float32 where the image is.

    Raises
    ------
    InvalidInputError
        When shapes or values are not allowed.

    Notes
    -----
    ``C(x) = sum_j w K_j I(x - j) / p`` with ``p = sum_j w K_j / sum_j K_j``, sums over the pixels x - j of the image
    and w = 0 on masked pixels and NaN: they count as the mean, under the kernel, of the good ones. Without any of them
    p is 1, and the flux of what does not reach over the border is kept. The part of the kernel that ``min_weight`` asks
    for is that of ``|K|``. Where the sum of a kernel is 0 there is no such mean: values with a bad pixel under it are
    NaN.

    A PSF between pixels (even sides) is put on a pixel as `resampled` does, so that no centroid moves (F27).
    Blocks of 1024 pixels are transformed at a time; results are the same for every number of threads. Transforms are
    good to 1e-16 of the largest value, which would be all that is left beside a pixel of 1e30: values more than 1e8
    times above 99 % of the others are summed one by one instead.

    An image that was integrated over pixels must not be convolved with a PSF that holds the pixel's response (F52).

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.psf import GaussianPsf, convolve, sample_psf
    >>> star = np.zeros((41, 41))
    >>> star[20, 20] = 5.0
    >>> seen = convolve(star, sample_psf(GaussianPsf(fwhm_arcsec=0.2), scale_arcsec=0.05, shape=(24, 24)))
    >>> round(float(seen.sum()), 4)
    5.0
    """
    values, good, k = _inputs(image, "image", kernel, mask, oversampling, min_weight)
    part = _part_on_good(good, k, min_weight)
    out = _linear(values, k, _outliers(values, _OTHERS)) / part
    return out.astype(np.float32) if np.asarray(image).dtype == np.float32 else out


def convolve_error(
    error: ArrayLike,
    kernel: Psf | Kernel | ArrayLike,
    *,
    mask: ArrayLike | None = None,
    oversampling: float = 1.0,
    min_weight: float = 0.5,
) -> NDArray[np.floating]:
    """Return the errors of an image that was convolved.

    Parameters
    ----------
    error : array_like, float, shape (ny, nx)
        1 sigma of each pixel before, of noise that is not correlated [unit of the image].
    kernel, mask, oversampling, min_weight
        As for `convolve`; pixels whose error is not finite are masked.

    Returns
    -------
    ndarray, float32 or float64, shape (ny, nx) [unit of the image]
        1 sigma of each pixel after; neighbours are correlated now.

    Raises
    ------
    InvalidInputError
        When shapes or values are not allowed.

    Notes
    -----
    ``sigma_C^2(x) = sum_j w(x - j) K_j^2 sigma^2(x - j)``, over the square of the same weights as in `convolve`.
    Variances more than 1e8 times above the lowest 1 % are summed one by one, and where there are more than 1e9 products
    of them and pixels of the kernel by a transform of their own, which counts only where the kernel, as a rectangle,
    reaches from them: what does not see them is right, however large or many they are. An error whose square overflows
    is not a number, and masked.
    """
    values, good, k = _inputs(error, "error", kernel, mask, oversampling, min_weight)
    if (values < 0).any():
        msg = f"error: {values.min()} is not allowed, it must be at least 0"
        raise InvalidInputError(msg)
    with np.errstate(over="ignore"):
        variance = values**2
    good &= np.isfinite(variance)
    variance = np.where(good, variance, 0.0)
    out = np.sqrt(np.maximum(_linear(variance, k**2, _outliers(variance, _LEAST)), 0.0))
    out /= _part_on_good(good, k, min_weight)
    return out.astype(np.float32) if np.asarray(error).dtype == np.float32 else out


def _inputs(
    image: ArrayLike,
    name: str,
    kernel: Psf | Kernel | ArrayLike,
    mask: ArrayLike | None,
    oversampling: float,
    min_weight: float,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Return the values with 0 where they are not good, which are good, and the kernel with odd sides."""
    values = as_array(image, name, np.float64, shape=(None, None))
    if not values.size:
        msg = f"{name}: shape {values.shape} is empty"
        raise InvalidInputError(msg)
    if not 0 <= min_weight <= 1:
        msg = f"min_weight: {min_weight} is not allowed, it must be from 0 to 1"
        raise InvalidInputError(msg)
    good = np.isfinite(values)
    if mask is not None:
        good &= ~as_mask(mask, "mask", shape=(values.shape[0], values.shape[1]))
    return np.where(good, values, 0.0), good, _kernel_values(kernel, oversampling)


def _kernel_values(kernel: Psf | Kernel | ArrayLike, oversampling: float) -> NDArray[np.float64]:
    if isinstance(kernel, Kernel):
        return kernel.data
    if not isinstance(kernel, Psf):
        values = np.asarray(as_array(kernel, "kernel", np.float64, shape=(None, None)), np.float64)
        if not values.size or not np.isfinite(values).all():
            msg = (
                f"kernel: shape {values.shape} with {np.count_nonzero(~np.isfinite(values))} values that are not finite"
            )
            raise InvalidInputError(msg)
        return centred(values)
    if not np.isfinite(kernel.data).all():
        msg = f"kernel: {np.count_nonzero(~np.isfinite(kernel.data))} of {kernel.data.size} pixels are not finite"
        raise InvalidInputError(msg)
    same = oversampling == kernel.oversampling
    if same and (kernel.y, kernel.x) == tuple((n - 1) / 2 for n in kernel.shape):
        return centred(kernel.data.astype(np.float64))
    return resampled(kernel, oversampling).data.astype(np.float64)


def _part_on_good(good: NDArray[np.bool_], k: NDArray[np.float64], min_weight: float) -> NDArray[np.float64] | float:
    """Return the part of the kernel's sum that is on good pixels, NaN where it is too small."""
    if good.all():
        return 1.0
    # The border is nothing, not a hole: only masked pixels are made up for.
    ones, seen = np.ones(good.shape), good.astype(np.float64)
    size = np.abs(k)
    of_all, of_good = _linear(ones, size), _linear(seen, size)
    total = size.sum()
    complete = of_good >= of_all - _ROUNDING * total
    whole = _linear(ones, k)
    has_mean = np.abs(whole) > _CANCELLED * total
    part = np.where(has_mean, _linear(seen, k) / np.where(has_mean, whole, 1.0), np.nan)
    part[(of_good < min_weight * of_all) | ~(part > 0)] = np.nan
    return np.where(complete, 1.0, part)


def _outliers(values: NDArray[np.float64], part: float) -> NDArray[np.bool_] | None:
    """Return which values are far above the smaller ones, of which there are a part; None when there are none."""
    size = np.abs(values)
    largest = size.max()
    # Most images need no sorting.
    if not largest > _RANGE * size[size > 0].min(initial=largest):
        return None
    others = size[size > 0]
    level = np.partition(others, int(part * (others.size - 1)))[int(part * (others.size - 1))]
    far = size > _RANGE * level
    return far if far.any() else None


def _linear(
    image: NDArray[np.float64], k: NDArray[np.float64], outliers: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Convolve block by block, with a margin of zeros as wide as the kernel; outliers are summed one by one."""
    if outliers is not None:
        out = _linear(np.where(outliers, 0.0, image), k)
        if np.count_nonzero(outliers) * k.size <= _MOST:
            _add_one_by_one(out, image, outliers, k)
        else:
            alone = np.where(outliers, image, 0.0)
            reached = _linear(outliers.astype(np.float64), np.ones(k.shape)) > 0.5
            out[reached] += _linear(alone, k, _outliers(alone, _LEAST))[reached]
        return out
    (ny, nx), (ky, kx) = image.shape, k.shape
    block = min(max(ny, nx), max(_BLOCK, 2 * max(ky, kx)))
    size = fast_length(min(block, ny) + ky - 1), fast_length(min(block, nx) + kx - 1)
    spectrum = np.fft.rfft2(k, size)
    out = np.empty_like(image)

    def one(corner: tuple[int, int]) -> None:
        y0, x0 = corner
        y1, x1 = min(y0 + block, ny), min(x0 + block, nx)
        # A pixel needs those within half a kernel of it.
        above, left = max(y0 - ky // 2, 0), max(x0 - kx // 2, 0)
        part = image[above : y1 + ky // 2, left : x1 + kx // 2]
        full = np.fft.irfft2(np.fft.rfft2(part, size) * spectrum, size)
        top, first = y0 - above + ky // 2, x0 - left + kx // 2
        out[y0:y1, x0:x1] = full[top : top + y1 - y0, first : first + x1 - x0]

    corners = [(y, x) for y in range(0, ny, block) for x in range(0, nx, block)]
    if len(corners) == 1:
        one(corners[0])
    else:
        with ThreadPoolExecutor(threads.get_num_threads()) as pool:
            list(pool.map(one, corners))
    return out


def _add_one_by_one(
    out: NDArray[np.float64], image: NDArray[np.float64], outliers: NDArray[np.bool_], k: NDArray[np.float64]
) -> None:
    """Add what some pixels of an image give when it is convolved, without transforms."""
    (ny, nx), (ky, kx) = image.shape, k.shape
    rows, columns = np.nonzero(outliers)
    values = image[outliers]
    for i, j in np.ndindex(ky, kx):
        y, x = rows + i - ky // 2, columns + j - kx // 2
        inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
        # No two outliers reach the same pixel in one step.
        out[y[inside], x[inside]] += k[i, j] * values[inside]


def fast_length(n: int) -> int:
    """Return the least number from n on that has no prime factors but 2, 3 and 5, and is even."""
    m = max(n, 2) + n % 2
    while not _is_fast(m):
        m += 2
    return m


def _is_fast(m: int) -> bool:
    for p in (2, 3, 5):
        while m % p == 0:
            m //= p
    return m == 1
