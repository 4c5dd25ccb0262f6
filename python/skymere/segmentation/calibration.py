"""Statistics of several bands as significances of a single one: as many false peaks per area at every level."""

from functools import cache
from math import comb, erfc, lgamma, log, pi, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["Calibration", "apply_calibration", "chi_calibration", "max_calibration"]

Calibration = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Values of a statistic, increasing, and the significance of a single band that each stands for."""

# Values of the statistics: fine where noise is, then ever wider.
_VALUES = np.concatenate([np.arange(0.02, 12.0, 0.02), np.geomspace(12.0, 1e3, 200)])
# From here on peaks are counted; below, pixels.
_JOIN_SIGMA = 2.5
_LOG_SQRT_2PI = 0.5 * log(2.0 * pi)
# From here on chances are too small for numbers.
_TAIL = 12.0


def _normal(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray([0.5 * erfc(-v / sqrt(2.0)) for v in t])


@cache
def chi_calibration(n_bands: int, gradient: float, *, both_signs: bool) -> Calibration:
    """Return the calibration of the root of ``sum z^2``.

    Parameters
    ----------
    n_bands : int
        Number of bands.
    gradient : float
        Variance of the slope of z along an axis [1/pix^2].
    both_signs : bool
        Count the squares of negative z as well.

    Notes
    -----
    The sum is a chi-square of ``n_bands`` degrees of freedom; without the negative ones it is one of k degrees with
    probability ``C(n, k) / 2^n`` (chi-bar-square).
    """
    log_t, half = np.log(_VALUES), 0.5 * _VALUES**2
    survival, slope = np.zeros_like(_VALUES), np.zeros_like(_VALUES)
    # Logarithms of terms that become tiny are kept relative to that of the normal density.
    upper = [np.zeros_like(_VALUES), np.asarray([erfc(v / sqrt(2.0)) for v in _VALUES]), np.exp(-half)]
    for k in range(1, n_bands + 1):
        if k > 2:
            upper.append(upper[k - 2] + np.exp((k / 2 - 1) * np.log(half) - half - lgamma(k / 2)))
        part = float(k == n_bands) if both_signs else comb(n_bands, k) / 2.0**n_bands
        survival += part * upper[k]
        log_density = (1 - k / 2) * log(2.0) - lgamma(k / 2) + (k - 1) * log_t
        slope += part * np.exp(log_density - log_t) * (_VALUES**2 - (k - 1))
    return _calibrated(survival, slope, gradient)


@cache
def max_calibration(n_bands: int, gradient: float, weights: tuple[float, ...] = ()) -> Calibration:
    """Return the calibration of the largest of ``n_bands`` z, and of their stack when it has weights.

    Parameters
    ----------
    n_bands : int
        Number of bands.
    gradient : float
        Variance of the slope of z along an axis [1/pix^2].
    weights : tuple of float, optional
        The stack is ``sum a z`` with these a, whose squares sum to 1.
    """
    below = _normal(_VALUES)
    log_survival = np.log([n_bands * 0.5 * erfc(v / sqrt(2.0)) or 1e-320 for v in _VALUES])
    survival = np.where(below**n_bands < 1 - 1e-6, 1 - below**n_bands, np.exp(log_survival))
    density = np.exp(-0.5 * _VALUES**2 - _LOG_SQRT_2PI)
    slope = n_bands * below ** (n_bands - 2.0) * (_VALUES * below - (n_bands - 1) * density) / sqrt(2.0 * pi)
    if len(weights) > 1:
        return _with_stack(weights, survival, gradient)
    return _calibrated(survival, slope, gradient)


def _with_stack(weights: tuple[float, ...], survival: NDArray[np.float64], gradient: float) -> Calibration:
    """Add the chance that the stack alone is above a level."""
    levels = np.arange(1.0, 7.01, 0.1)
    alone = np.array([_stack_alone(float(t), weights) for t in levels])
    base = np.interp(levels, _VALUES, survival)
    fit = np.polynomial.Polynomial.fit(levels, np.log(base + alone), 7)
    first, second = fit.deriv(1), fit.deriv(2)
    # f' of the density f = -P' is -P'', with P = exp(fit).
    inner = np.clip(_VALUES, levels[0], levels[-1])
    log_slope = fit(inner) + np.log(np.maximum(second(inner) + first(inner) ** 2, 1e-6)) + 0.5 * inner**2
    # Beyond the levels it goes on as the normal one, t exp(-t^2 / 2).
    slope = np.exp(log_slope) * _VALUES / inner
    total = survival + np.interp(_VALUES, levels, alone, right=0.0)
    return _calibrated(np.minimum(total, 1.0), slope, gradient)


def _stack_alone(level: float, weights: tuple[float, ...]) -> float:
    """Return the chance that ``sum a z`` is above a level and no z is: a convolution of cut normal densities."""
    step = 0.01
    n_bins = 1 << int(np.ceil(np.log2((8.0 + level) * sum(weights) / step + 16)))
    product = np.ones(n_bins // 2 + 1, np.complex128)
    for a in weights:
        # Bins of a z, counted down from its largest value a * level.
        edges = level - np.arange(int((8.0 + level) * a / step) + 2, dtype=np.float64) * (step / a)
        mass = -np.diff(_normal(np.asarray(edges, np.float64)))
        product *= np.fft.rfft(mass, n_bins)
    mass = np.fft.irfft(product, n_bins)
    # Half a bin for each band: the mass of a bin is in its middle.
    at = level * sum(weights) - (np.arange(n_bins) + 0.5 * len(weights)) * step
    return float(np.interp(0.0, level - at, np.cumsum(np.maximum(mass, 0.0)))) if at[0] > level else 0.0


def _calibrated(survival: NDArray[np.float64], slope: NDArray[np.float64], gradient: float) -> Calibration:
    """Return a calibration from the chance P to exceed each value, and ``-f' exp(t^2 / 2)`` of the density f there.

    The number of peaks above t per area is ``-f'(t)`` times the variance of the slope over 2 pi, for every statistic
    whose value grows by one when all z move by one towards larger values of it (the Euler characteristic density of
    Worsley 1994, Adv. Appl. Probab. 26, 13, by the tube formula of Taylor 2006, Ann. Probab. 34, 122);
    ``u phi(u)`` instead of ``-f'`` for a single band.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        peaks = 0.5 * _VALUES**2 - np.log(slope) - _LOG_SQRT_2PI
        area = survival * np.exp(0.5 * np.minimum(_VALUES, _TAIL) ** 2) / slope * (2.0 * pi / gradient)
    peaks = np.where(np.isfinite(peaks), peaks, 0.0)
    excess = peaks - np.log(_seen(_tail(area)))
    # u^2 / 2 - ln u - ln(seen) = excess, for u above 1.
    counted = np.sqrt(np.maximum(2.0 * peaks, 0.0) + 2.0)
    log_seen = np.log(_seen(_tail(np.array([_mills(v) / v for v in _VALUES]) * (2.0 * pi / gradient))))
    for _ in range(60):
        change = 0.5 * counted**2 - np.log(counted) - np.interp(counted, _VALUES, log_seen) - excess
        counted = np.maximum(counted - change / (counted - 1.0 / counted), 1.0 + 1e-6)
    joins = int(np.flatnonzero(counted < _JOIN_SIGMA)[-1]) + 1
    normal = NormalDist()
    pixels = np.array([normal.inv_cdf(min(max(1.0 - p, 1e-12), 1 - 1e-12)) for p in survival[: joins + 1]])
    offset = pixels[joins] - counted[joins]
    lower = pixels - offset * np.clip(pixels / pixels[joins], 0.0, 1.0)
    significance = np.concatenate([lower[:joins], counted[joins:]])
    return _VALUES, np.maximum.accumulate(significance)


def _seen(area: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of the peaks that have a pixel above the level, for the mean area above it of a peak [pix].

    Areas are exponentially distributed, and a peak of a small one falls between the pixels:
    ``int min(A, 1) exp(-A / a) dA / a``. Counts of simulated noise agree within their 2 %.
    """
    return -area * np.expm1(-1.0 / area)


def _mills(t: float) -> float:
    """Return the chance to exceed t over the density there, of a normal number."""
    return 0.5 * erfc(t / sqrt(2.0)) * sqrt(2.0 * pi) * np.exp(0.5 * t * t) if t < _TAIL else 1.0 / t


def _tail(area: NDArray[np.float64]) -> NDArray[np.float64]:
    """Continue the areas of high levels, where chances vanish: they fall as 1 / t^2."""
    last = int(np.flatnonzero(_VALUES < _TAIL)[-1])
    kept = np.where(np.isfinite(area) & (area > 0), area, 1e3)
    return np.where(_VALUES < _TAIL, kept, kept[last] * (_VALUES[last] / _VALUES) ** 2)


def apply_calibration(values: NDArray[np.float32], calibration: Calibration) -> NDArray[np.float32]:
    """Return the significances of values of a statistic."""
    known, significance = calibration
    # Beyond the table the two differ by a constant.
    beyond = np.maximum(values - known[-1], 0.0)
    return np.asarray(np.interp(values, known, significance) + beyond, np.float32)
