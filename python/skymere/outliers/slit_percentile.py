"""Outliers of single pixels: above a level of the trace, or different from the same place in the other exposures."""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._rust import outliers as _rust
from skymere.errors import InvalidInputError
from skymere.outliers.slit_outliers import SlitOutliers, Stack, check_range

__all__ = ["PercentileOutlierParams", "flag_percentile_outliers"]

Mode = Literal["local", "global"]
_MIN_TRACE_PIXELS = 100


@dataclass(frozen=True, kw_only=True)
class PercentileOutlierParams:
    """Parameters of `flag_percentile_outliers`.

    Parameters
    ----------
    mode : {"local", "global"}
        Against the same wavelength and distance from the trace in the other exposures; or one level for all
        wavelengths, as msaexp has it.
    plevels : tuple of float
        Global: two levels from which the third is extrapolated; negative ones are ``1 + p / (pixels per exposure)``.
    scale : float
        Global: factor of the extrapolation.
    yslit : tuple of float
        Global: where the trace is [pix].
    dilate : int
        Side of the box by which outliers grow, an odd number; 3 in msaexp.
    threshold : float
        Local: sigmas from what at least half of the other exposures show.
    threshold_single : float
        Local: the same where only one other exposure shows the place.
    relative_error : float
        Local: error of the comparison in units of the flux.
    position_error : float
        Local: error of the place [pix], times the gradient.
    interpolation_error : float
        Local: error in units of what the interpolation between pixels changes.
    sharp_threshold, sharp_ratio : float
        Local: where fewer than two other exposures show the place, sigmas from the median of the eight neighbours, and
        how many times farther from it than the farthest of them. A point source's is 2.2 for a line in the prism.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    mode: Mode = "local"
    plevels: tuple[float, float, float] = (0.95, -4.0, -0.1)
    scale: float = 2.0
    yslit: tuple[float, float] = (-2.0, 2.0)
    dilate: int = 1
    threshold: float = 3.0
    threshold_single: float = 4.5
    relative_error: float = 0.03
    position_error: float = 0.03
    interpolation_error: float = 0.3
    sharp_threshold: float = 4.0
    sharp_ratio: float = 2.5

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            msg = f"mode: {self.mode!r} is not allowed, it must be one of {', '.join(get_args(Mode))}"
            raise InvalidInputError(msg)
        check_range("yslit", self.yslit)
        if self.dilate < 1 or self.dilate % 2 == 0:
            msg = f"dilate: {self.dilate} is not allowed, it must be odd and positive"
            raise InvalidInputError(msg)
        for name in ("scale", "threshold", "threshold_single", "sharp_threshold", "sharp_ratio"):
            if not getattr(self, name) > 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        for name in ("relative_error", "position_error", "interpolation_error"):
            if not getattr(self, name) >= 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be 0 or positive"
                raise InvalidInputError(msg)


def flag_percentile_outliers(
    data: ArrayLike,
    variance: ArrayLike,
    wavelength: ArrayLike,
    yslit: ArrayLike,
    *,
    valid: ArrayLike | None = None,
    shape: tuple[int, int] | None = None,
    params: PercentileOutlierParams | None = None,
) -> SlitOutliers:
    """Flag single pixels that no source explains.

    Parameters
    ----------
    data, variance : array_like, float64, shape (n, ny, nx) or (n, n_pixels) [unit, unit^2]
        Exposures without sky, and their variances.
    wavelength, yslit : array_like, float64, shape of ``data`` [um, pix]
        Wavelength, and distance from the trace.
    valid : array_like, bool, shape of ``data``, optional
        True = good.
    shape : tuple of int, optional
        Shape of a cutout, for data of shape (n, n_pixels).
    params : PercentileOutlierParams, optional
        Limits.

    Returns
    -------
    SlitOutliers
        With the bits ``local_high`` and ``local_low``, or ``percentile``; and ``grown``. The level of the global mode
        is the limit ``high``.

    Raises
    ------
    InvalidInputError
        When the shapes differ.

    Notes
    -----
    Global: ``f1 + scale (f2 - f1) (q3 - q1) / (q2 - q1)`` with the fluxes f of the percentiles of the trace and the
    quantiles q of a normal distribution. An emission line above that level is flagged.

    Local: ``(d - p_k) / sqrt(v + v_k + e_k^2)`` for each other exposure k that shows the wavelength and the distance
    from the trace, with p_k of a parabola in both directions through 3 x 3 pixels; the lower middle one of these must
    be above ``threshold`` (with two, both), or the upper middle one below ``-threshold``. So an outlier does not make
    its counterparts outliers, and a line is no outlier, however bright. Where fewer than two other exposures show the
    place, a pixel must also be sharper among its neighbours than a source can be. Nothing is known of pixels that are
    outliers at the same place of the source in most exposures.
    """
    params = params or PercentileOutlierParams()
    stack = Stack(data, shape)
    noise, wave = stack.array(variance, "variance"), stack.array(wavelength, "wavelength")
    distance = stack.array(yslit, "yslit")
    if params.mode == "local":
        with np.errstate(invalid="ignore"):
            good = stack.mask(valid, noise, wave, distance) & (noise > 0)
        if not good.any():
            return stack.too_few()
        found = _rust.local_outliers(
            np.asarray(stack.images(stack.data), np.float64),
            np.asarray(stack.images(noise), np.float64),
            np.asarray(stack.images(wave), np.float64),
            np.asarray(stack.images(distance), np.float64),
            np.asarray(stack.images(good), np.bool_),
            threshold=params.threshold,
            threshold_single=params.threshold_single,
            relative_error=params.relative_error,
            position_error=params.position_error,
            interpolation_error=params.interpolation_error,
            sharp_threshold=params.sharp_threshold,
            sharp_ratio=params.sharp_ratio,
        ).reshape(stack.data.shape)
        reasons = {"local_high": found > 0, "local_low": found < 0}
        return stack.found(reasons | {"grown": _grown(stack, found != 0, params.dilate)})
    good = stack.mask(valid)
    with np.errstate(invalid="ignore"):
        trace = good & (distance > params.yslit[0]) & (distance < params.yslit[1])
    level = _global_level(stack.data, trace, params)
    if level is None:
        return stack.too_few()
    outlier = good & (stack.data > level)
    grown = _grown(stack, outlier, params.dilate)
    return stack.found({"percentile": outlier, "grown": grown}, limits={"high": level})


def _grown(stack: Stack, mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Return what boxes around outliers add to them."""
    if side == 1:
        return np.zeros_like(mask)
    images = np.asarray(stack.images(mask), np.bool_)
    return np.asarray(np.stack([_rust.grow(image, side) for image in images]).reshape(mask.shape) & ~mask)


def _global_level(data: NDArray[np.float64], trace: NDArray[np.bool_], params: PercentileOutlierParams) -> float | None:
    """Return the level to which percentiles of the trace extrapolate, None without enough pixels."""
    if trace.sum() < _MIN_TRACE_PIXELS:
        return None
    per_exposure = trace.sum() / len(data)
    levels = [1.0 + p / per_exposure if p < 0 else p for p in params.plevels]
    if levels[1] <= levels[0] or not all(0 < level < 1 for level in levels):
        return None
    quantiles = [NormalDist().inv_cdf(level) for level in levels]
    first, second = np.percentile(data[trace], [100 * levels[0], 100 * levels[1]])
    slope = (second - first) / (quantiles[1] - quantiles[0])
    return float(first + slope * (quantiles[2] - quantiles[0]) * params.scale)
