"""Outliers against the source's own light: its profile across the trace, and the brightest of the trace."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from skymere._rust import outliers as _rust
from skymere.errors import InvalidInputError
from skymere.outliers.slit_outliers import SlitOutliers, Stack, check_range

__all__ = ["ProfileOutlierParams", "TraceOutlierParams", "flag_from_profile", "flag_trace_outliers"]

_MIN_TRACE_PIXELS = 100


@dataclass(frozen=True, kw_only=True)
class ProfileOutlierParams:
    """Parameters of `flag_from_profile`; the defaults are msaexp's.

    Parameters
    ----------
    grow : float
        A high outlier is above ``p95 + grow (p95 - p50)``.
    nfilt : int
        Pixels of the running percentiles; negative for the valid pixels divided by that many.
    low_sigma : float
        A low outlier is this many sigmas below ``min(p5, 0)``.
    require_multiple : bool
        With more than two exposures only pixels that are outliers in ``2 floor(n / 3)`` of them, then in all.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    grow: float = 2.0
    nfilt: int = -32
    low_sigma: float = 5.0
    require_multiple: bool = True

    def __post_init__(self) -> None:
        if self.nfilt == 0:
            msg = "nfilt: 0 is not allowed, it must be positive or negative"
            raise InvalidInputError(msg)
        for name in ("grow", "low_sigma"):
            if not getattr(self, name) >= 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be 0 or positive"
                raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class TraceOutlierParams:
    """Parameters of `flag_trace_outliers`; the defaults are msaexp's.

    Parameters
    ----------
    yslit : tuple of float
        Where the trace is [pix].
    filter_size : int
        Pixels of the running maximum; negative for that many times the number of exposures.
    threshold : float
        An outlier is brighter than this many times the maximum of the trace.
    min_sigma : float
        It is above 0 by more than this many sigmas.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    yslit: tuple[float, float] = (-2.0, 2.0)
    filter_size: int = -2
    threshold: float = 1.5
    min_sigma: float = 3.0

    def __post_init__(self) -> None:
        check_range("yslit", self.yslit)
        if self.filter_size == 0:
            msg = "filter_size: 0 is not allowed, it must be positive or negative"
            raise InvalidInputError(msg)
        if not self.threshold > 0:
            msg = f"threshold: {self.threshold} is not allowed, it must be positive"
            raise InvalidInputError(msg)


def flag_from_profile(
    data: ArrayLike,
    variance: ArrayLike,
    yslit: ArrayLike,
    *,
    valid: ArrayLike | None = None,
    params: ProfileOutlierParams | None = None,
) -> SlitOutliers:
    """Flag pixels that are too high or too low for the profile across the trace.

    Parameters
    ----------
    data, variance : array_like, float64, shape (n, ny, nx) or (n, n_pixels) [unit, unit^2]
        Exposures without sky, and their variances.
    yslit : array_like, float64, shape of ``data`` [pix]
        Distance from the trace.
    valid : array_like, bool, shape of ``data``, optional
        True = good.
    params : ProfileOutlierParams, optional
        Limits.

    Returns
    -------
    SlitOutliers
        With the bits ``profile_high`` and ``profile_low``.

    Raises
    ------
    InvalidInputError
        When the shapes differ.

    Notes
    -----
    The percentiles p5, p50 and p95 run along the valid pixels of all exposures, sorted by ``yslit`` whatever their
    wavelength.
    """
    params = params or ProfileOutlierParams()
    stack = Stack(data, None)
    noise, distance = stack.array(variance, "variance"), stack.array(yslit, "yslit")
    good = stack.mask(valid, distance)
    size = params.nfilt if params.nfilt > 0 else int(good.sum()) // -params.nfilt
    if size < 2:
        return stack.too_few()
    order = np.argsort(distance[good], kind="stable")
    places, values = distance[good][order], stack.data[good][order]
    low, middle, high = _rust.running_ranks(values, size, [int(size * level / 100) for level in (5.0, 50.0, 95.0)])
    ceiling, ground = high + (high - middle) * params.grow, np.minimum(low, 0)
    with np.errstate(invalid="ignore"):
        is_high = good & (stack.data > np.interp(distance, places, ceiling))
        floor = np.interp(distance, places, ground) - params.low_sigma * np.sqrt(noise)
        is_low = good & (stack.data < floor)
    n = len(stack.data)
    if params.require_multiple and n > 2:
        often = (is_high | is_low).sum(axis=0) >= 2 * (n // 3)
        # Where it is high in one exposure and low in another both reasons hold.
        is_high, is_low = often & is_high.any(axis=0), often & is_low.any(axis=0)
    curves = {"yslit": places, "high": ceiling, "low": ground, "p95": high, "p50": middle, "p5": low}
    return stack.found({"profile_high": is_high, "profile_low": is_low}, curves=curves)


def flag_trace_outliers(
    data: ArrayLike,
    variance: ArrayLike,
    wavelength: ArrayLike,
    yslit: ArrayLike,
    *,
    valid: ArrayLike | None = None,
    params: TraceOutlierParams | None = None,
) -> SlitOutliers:
    """Flag pixels beside the trace that are brighter than the trace at their wavelength.

    Parameters
    ----------
    data, variance : array_like, float64, shape (n, ny, nx) or (n, n_pixels) [unit, unit^2]
        Exposures without sky, and their variances.
    wavelength, yslit : array_like, float64, shape of ``data`` [um, pix]
        Wavelength, and distance from the trace.
    valid : array_like, bool, shape of ``data``, optional
        True = good.
    params : TraceOutlierParams, optional
        Limits.

    Returns
    -------
    SlitOutliers
        With the bit ``beside_trace``; nothing with fewer than 100 pixels in the trace.

    Raises
    ------
    InvalidInputError
        When the shapes differ.

    Notes
    -----
    The running maximum is that of the trace's pixels of all exposures, sorted by wavelength; between them it is linear.
    Where wavelengths are equal the fainter pixel comes first, so the order of exposures does not matter.
    """
    params = params or TraceOutlierParams()
    stack = Stack(data, None)
    noise, wave = stack.array(variance, "variance"), stack.array(wavelength, "wavelength")
    distance = stack.array(yslit, "yslit")
    good = stack.mask(valid, wave)
    with np.errstate(invalid="ignore"):
        near = (distance > params.yslit[0]) & (distance < params.yslit[1])
    inside = good & near
    if inside.sum() < _MIN_TRACE_PIXELS:
        return stack.too_few()
    order = np.lexsort((stack.data[inside], wave[inside]))
    size = params.filter_size if params.filter_size > 0 else -params.filter_size * len(stack.data)
    highest = _rust.running_ranks(stack.data[inside][order], size, [size - 1])[0]
    with np.errstate(invalid="ignore"):
        level = np.interp(wave, wave[inside][order], highest)
        bright = (stack.data > level * params.threshold) & (stack.data > params.min_sigma * np.sqrt(noise))
    curves = {"wavelength": wave[inside][order], "high": highest * params.threshold}
    return stack.found({"beside_trace": bright & good & ~near}, curves=curves)
