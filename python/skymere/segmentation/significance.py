"""One image to detect on from several bands, as significant as a single band would be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from skymere._rust import segmentation as _rust
from skymere.background import BackgroundParams, estimate_background
from skymere.datamodels import Mosaic
from skymere.errors import InvalidInputError, NoDataError
from skymere.segmentation.calibration import apply_calibration, chi_calibration, max_calibration
from skymere.segmentation.kernels import PYRAMID, KernelValues, as_kernel, freeze_kernel
from skymere.segmentation.planes import MeasureImage, parts_of

__all__ = [
    "BandPlanes",
    "Significance",
    "SignificanceParams",
    "Statistic",
    "Sums",
    "band_planes",
    "check_bands",
    "check_stack",
    "gradient_variance",
    "is_blank",
    "measured_noise",
    "noise_steps",
    "significance",
    "together",
    "usable_bands",
]

Statistic = Literal["chi_square", "stack", "max_snr"]

_BLANK_FRACTION = 0.01
_UPPER_QUARTILE = 0.6744897501960817
_MIN_NEGATIVE = 256
# Of pixels without correlation.
_STEEPEST = 8.0
_MAX_BANDS = 63


@dataclass(frozen=True, kw_only=True)
class SignificanceParams:
    """Parameters of `significance`.

    Parameters
    ----------
    statistic : str
        ``chi_square``: root of the sum of the squares of the S/N of all bands. ``stack``: S/N of their inverse-variance
        mean, for sources of flat spectrum in the unit of flux. ``max_snr``: the largest S/N, as `make_detect`.
    both_signs : bool
        Whether ``chi_square`` counts the squares of negative S/N as well, as Szalay et al.; holes in the sky are then
        sources, too.
    with_stack : bool
        Whether the S/N of the stack is one of those of ``max_snr``, as in `make_detect`.
    calibrate : bool
        Whether values are turned into the significance of a single band with as many false peaks per area.
    kernel : tuple of tuple of float, or None
        Filter of every band, normalised before use; None is no filter.
    min_coverage : float
        A band with a smaller fraction of the pixels that any band has is not used.
    unusable : str
        What is done about a band that is missing, blank or not used: ``record`` leaves it out and says so in
        `Significance.excluded`, ``raise`` is an error.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    statistic: Statistic = "chi_square"
    both_signs: bool = False
    with_stack: bool = True
    calibrate: bool = True
    kernel: KernelValues | None = PYRAMID
    min_coverage: float = 0.6
    unusable: Literal["record", "raise"] = "record"

    def __post_init__(self) -> None:
        if self.statistic not in get_args(Statistic):
            msg = f"statistic: {self.statistic!r} is not allowed, it must be one of {', '.join(get_args(Statistic))}"
            raise InvalidInputError(msg)
        if self.unusable not in {"record", "raise"}:
            msg = f"unusable: {self.unusable!r} is not allowed, it must be 'record' or 'raise'"
            raise InvalidInputError(msg)
        if not 0 <= self.min_coverage <= 1:
            msg = f"min_coverage: {self.min_coverage} is not allowed, it must be between 0 and 1"
            raise InvalidInputError(msg)
        if self.kernel is not None:
            object.__setattr__(self, "kernel", freeze_kernel(self.kernel))

    @property
    def needs_stack(self) -> bool:
        """Whether the bands are added."""
        return self.statistic == "stack" or (self.statistic == "max_snr" and self.with_stack)


@dataclass(frozen=True, kw_only=True, eq=False)
class Significance:
    """What several bands say together.

    Parameters
    ----------
    data : ndarray, float32, shape (ny, nx)
        Significance of every pixel [sigma]; NaN where no band covers. Filtered already.
    bands : tuple of str
        The bands that are in it.
    excluded : mapping of str to str
        The bands that are not, and why.
    coverage : mapping of str to float
        Fraction of the pixels of any band that each band has.
    noise : mapping of str to float
        Noise of each filtered band over what its errors say of independent pixels.
    gradient : float
        Variance of the slope of the S/N of the noise along an axis, the mean of all bands [1/pix^2].
    n_bands : ndarray, uint16, shape (ny, nx)
        Number of bands that cover each pixel.
    """

    data: NDArray[np.float32]
    bands: tuple[str, ...]
    excluded: Mapping[str, str]
    coverage: Mapping[str, float]
    noise: Mapping[str, float]
    gradient: float
    n_bands: NDArray[np.uint16]


@dataclass(eq=False)
class Sums:
    """The statistics of the bands so far."""

    shape: tuple[int, int]
    squares: NDArray[np.float32] = field(init=False)
    largest: NDArray[np.float32] = field(init=False)
    weighted: NDArray[np.float64] = field(init=False)
    weights: NDArray[np.float64] = field(init=False)
    covered: NDArray[np.int64] = field(init=False)
    n: int = 0

    def __post_init__(self) -> None:
        self.squares = np.zeros(self.shape, np.float32)
        self.largest = np.full(self.shape, -np.inf, np.float32)
        self.weighted, self.weights = np.zeros(self.shape), np.zeros(self.shape)
        self.covered = np.zeros(self.shape, np.int64)

    def add(self, z: NDArray[np.float32], sigma: NDArray[np.float32], *, both_signs: bool) -> None:
        """Add a band: its S/N after the filter, and its errors."""
        good = np.isfinite(z)
        value = np.where(good, z, np.float32(0))
        self.squares += np.square(value if both_signs else np.maximum(value, 0))
        self.largest[good] = np.maximum(self.largest[good], z[good])
        inverse = np.where(good, 1.0 / sigma.astype(np.float64), 0.0)
        self.weighted += value * inverse
        self.weights += inverse**2
        self.covered |= np.where(good, np.int64(1) << self.n, 0)
        self.n += 1


def significance(
    images: Mapping[str, MeasureImage | Mosaic | None], *, params: SignificanceParams | None = None
) -> Significance:
    """Combine bands into one image to detect on, whose false detections do not depend on the number of bands.

    Parameters
    ----------
    images : mapping of str to MeasureImage, Mosaic or None
        The bands, background-subtracted, of one shape. Without an error its sky noise counts, measured between the
        sources. None stands for a band that should be there.
    params : SignificanceParams, optional
        The statistic, its filter and limits.

    Returns
    -------
    Significance
        Detect on it with ``detect(found.data, error=1.0, params=DetectParams(kernel=None,
        threshold_noise="filtered"))``.

    Raises
    ------
    InvalidInputError
        When shapes differ, an error is negative, only some of the bands to be stacked have a zero point, or a band
        cannot be used and that is to be an error.
    NoDataError
        When no band can be used.

    Notes
    -----
    Every band is filtered, pixels that cannot be used left out, and divided by its noise after the filter: what the
    errors say of independent pixels, times what the negative pixels of the filtered image show. A value t of the
    statistic of the bands that cover a pixel becomes the significance u of a single band with equally many peaks per
    area in noise, ``u phi(u) = -f'(t)`` with the density f of the statistic, less those that fall between the pixels:
    seen are ``P (1 - exp(-n / P))`` a pixel of n peaks, with the chance P that a pixel is above t. Below 2.5 sigma
    pixels are counted instead of peaks.

    References
    ----------
    Szalay, Connolly & Szokoly 1999, AJ 117, 68 (chi-square); Worsley 1994, Adv. Appl. Probab. 26, 13 (peaks).

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.segmentation import MeasureImage, significance
    >>> rng = np.random.default_rng(1)
    >>> bands = {b: MeasureImage(data=rng.normal(0, 1, (200, 200)), error=1.0) for b in "griz"}
    >>> bool(abs(np.median(significance(bands).data)) < 0.05)
    True
    """
    params = params or SignificanceParams()
    usable, excluded, coverage = usable_bands(images, params)
    if not usable:
        msg = f"images: no band can be used: {excluded}"
        raise NoDataError(msg)
    if params.needs_stack:
        check_stack(images, list(usable))
    kernel = None if params.kernel is None else as_kernel(params.kernel)
    shape = next(iter(usable.values()))[0].shape
    sums = Sums((shape[0], shape[1]))
    noise, gradients, depth = {}, [], []
    for band, (data, sigma, bad) in usable.items():
        z = _rust.filtered_snr(data, sigma, 0.0, bad, kernel)
        below = z[z < 0]
        noise[band] = measured_noise(np.median(below) if below.size else np.nan, below.size)
        steps = noise_steps(z, z.shape)
        gradients.append(gradient_variance(np.median(steps) if steps.size else np.nan, steps.size, noise[band]))
        z /= np.float32(noise[band])
        sums.add(z, sigma, both_signs=params.both_signs)
        depth.append(1.0 / float(np.median(sigma[np.isfinite(z)])))
    gradient = float(np.mean(gradients))
    combined, n_bands = together(sums, depth, gradient, params)
    return Significance(
        data=combined,
        bands=tuple(usable),
        excluded=MappingProxyType(excluded),
        coverage=MappingProxyType(coverage),
        noise=MappingProxyType(noise),
        gradient=gradient,
        n_bands=n_bands,
    )


BandPlanes = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]


def usable_bands(
    images: Mapping[str, MeasureImage | Mosaic | None], params: SignificanceParams
) -> tuple[dict[str, BandPlanes], dict[str, str], dict[str, float]]:
    """Return data [uJy where known], error and mask of the bands that can be used, why others cannot, and coverages."""
    excluded = {band: "missing" for band, image in images.items() if image is None}
    planes: dict[str, BandPlanes] = {}
    shape: tuple[int, int] | None = None
    for band, image in images.items():
        if image is None:
            continue
        found = band_planes(image, f"images[{band!r}]", shape)
        shape = shape or (found[0].shape[0], found[0].shape[1])
        planes[band] = found
    anywhere = np.zeros(shape or (1, 1), bool)
    for _, _, bad in planes.values():
        anywhere |= ~bad
    total = max(int(np.count_nonzero(anywhere)), 1)
    coverage = {band: float(np.count_nonzero(~bad)) / total for band, (_, _, bad) in planes.items()}
    used = check_bands(list(images), coverage, excluded, params)
    return {band: planes[band] for band in used}, excluded, coverage


def check_bands(
    bands: Sequence[str], coverage: Mapping[str, float], excluded: dict[str, str], params: SignificanceParams
) -> list[str]:
    """Return the bands that can be used, and add to ``excluded`` why others cannot.

    Raises
    ------
    InvalidInputError
        When one cannot be used and that is to be an error, or there are too many.
    """
    for band, part in coverage.items():
        if part == 0:
            excluded[band] = "no pixel can be used: all are blank, masked, not finite or without a positive weight"
        elif part < params.min_coverage:
            excluded[band] = f"coverage {part:.3f} is below min_coverage {params.min_coverage}"
    if excluded and params.unusable == "raise":
        msg = "images: " + "; ".join(f"{band}: {why}" for band, why in excluded.items())
        raise InvalidInputError(msg)
    used = [band for band in bands if band not in excluded]
    if len(used) > _MAX_BANDS:
        msg = f"images: {len(used)} bands are not allowed, at most {_MAX_BANDS} can be combined"
        raise InvalidInputError(msg)
    return used


def is_blank(n_zero: int, n_pixels: int) -> bool:
    """Whether so many pixels that are exactly 0 were never observed."""
    return n_zero > _BLANK_FRACTION * n_pixels


def band_planes(
    image: MeasureImage | Mosaic, name: str, shape: tuple[int, int] | None, *, zeros_are_blank: bool | None = None
) -> BandPlanes:
    """Return data [uJy where known], error and mask of a band, or of a window of one of which the zeros are known.

    Raises
    ------
    InvalidInputError
        When an error is negative.
    """
    parts = parts_of(image, name, shape=shape)
    variance = parts.variance
    if isinstance(image, Mosaic) and not np.isfinite(parts.data[image.covered] * image.variance[image.covered]).any():
        # Mosaics of others have weights only.
        with np.errstate(divide="ignore"):
            variance = np.where(image.weight > 0, 1.0 / image.weight, np.float32(np.inf)).astype(np.float32)
    bad = ~np.isfinite(parts.data)
    if parts.mask is not None:
        bad |= parts.mask
    if isinstance(image, MeasureImage) and image.error is not None and bool((np.asarray(image.error) < 0).any()):
        msg = f"{name}: negative errors are not allowed"
        raise InvalidInputError(msg)
    blank = parts.data == 0
    if is_blank(int(np.count_nonzero(blank)), blank.size) if zeros_are_blank is None else zeros_are_blank:
        bad |= blank
    if variance is None:
        if bad.all():
            return parts.data, np.ones_like(parts.data), bad
        sigma = estimate_background(parts.data, mask=bad, params=BackgroundParams()).rms
    else:
        sigma = np.sqrt(variance)
    bad |= ~((sigma > 0) & np.isfinite(sigma))
    scale = np.float32(parts.scale)
    return parts.data * scale, np.where(bad, np.float32(1), sigma * scale), bad


def check_stack(images: Mapping[str, MeasureImage | Mosaic | None], bands: list[str]) -> None:
    """Raise when only some of the bands have a zero point."""
    nameless = [band for band in bands if not np.isfinite(images[band].zero_point_ab)]  # type: ignore[union-attr]
    if nameless and len(nameless) != len(bands):
        msg = f"images: bands {nameless} have no AB zero point and cannot be stacked with others"
        raise InvalidInputError(msg)


def measured_noise(median: np.floating[Any] | float, n: int) -> float:
    """Return the scatter behind the median of n negative pixels, which sources do not reach; 1 for too few of them."""
    return 1.0 if n < _MIN_NEGATIVE else float(-median / _UPPER_QUARTILE)


def noise_steps(z: NDArray[np.float32], core: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the steps from each pixel of the first ``core`` rows and columns to the next in x and in y.

    Only those whose sum is negative, which sources do not reach; steps of noise do not depend on sums.
    """
    parts = []
    for first, second in (
        (z[: core[0], :-1], z[: core[0], 1:]),
        (z[:-1, : core[1]], z[1:, : core[1]]),
    ):
        parts.append(np.abs(second - first)[first + second < 0])
    return np.concatenate(parts)


def gradient_variance(median: np.floating[Any] | float, n: int, noise: float) -> float:
    """Return the variance of the slope of S/N [1/pix^2], from the median of n steps and the noise in the same unit.

    The correlation of neighbours is ``exp(-v / 2)``, as that of Gaussian filters.
    """
    if n < _MIN_NEGATIVE:
        return _STEEPEST
    correlation = 1.0 - 0.5 * (float(median) / (_UPPER_QUARTILE * noise)) ** 2
    # Rounded, so that calibrations are shared.
    return round(min(-2.0 * float(np.log(max(correlation, 1e-9))), _STEEPEST), 2)


def together(
    sums: Sums, depth: Sequence[float], gradient: float, params: SignificanceParams
) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Return the significance and the number of bands of every pixel.

    ``depth`` is 1 / error of the bands, ``gradient`` the variance of the slope of their S/N.
    """
    n_bands = np.bitwise_count(sums.covered.view(np.uint64)).astype(np.uint16)
    data = _combined(sums, n_bands, depth, gradient, params)
    return np.where(n_bands > 0, data, np.float32(np.nan)), n_bands


def _combined(
    sums: Sums, n_bands: NDArray[np.uint16], depths: Sequence[float], gradient: float, params: SignificanceParams
) -> NDArray[np.float32]:
    """Return the statistic, calibrated for the bands of each pixel."""
    with_stack = params.needs_stack
    with np.errstate(divide="ignore", invalid="ignore"):
        stack = (sums.weighted / np.sqrt(sums.weights)).astype(np.float32)
    if params.statistic == "stack":
        return stack
    if params.statistic == "chi_square":
        value, key = np.sqrt(sums.squares), n_bands.astype(np.int64)
    elif with_stack:
        value, key = np.fmax(sums.largest, stack), sums.covered
    else:
        value, key = sums.largest, n_bands.astype(np.int64)
    if not params.calibrate:
        return value
    out = np.full(value.shape, np.nan, np.float32)
    for group in np.unique(key):
        if group == 0:
            continue
        if params.statistic == "chi_square":
            calibration = chi_calibration(int(group), gradient, both_signs=params.both_signs)
        elif with_stack:
            depth = np.array([d for i, d in enumerate(depths) if int(group) >> i & 1])
            # Rounded, so that equal depths share a table.
            weights = tuple(float(w) for w in np.sort(np.round(depth / np.sqrt(np.sum(depth**2)), 3)))
            calibration = max_calibration(len(weights), gradient, weights)
        else:
            calibration = max_calibration(int(group), gradient)
        these = key == group
        out[these] = apply_calibration(value[these], calibration)
    return out
