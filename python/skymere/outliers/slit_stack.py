"""Outliers of the detector: what is there in several exposures at the same pixel."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from skymere._rust import outliers as _rust
from skymere.errors import InvalidInputError
from skymere.outliers.slit_outliers import SlitOutliers, Stack, check_range, grow_plus, has_neighbours

__all__ = ["HotColdParams", "StackOutlierParams", "flag_2d_outliers", "flag_hot_cold_pixels"]

CountFrom = Literal["exposures", "positions"]


@dataclass(frozen=True, kw_only=True)
class StackOutlierParams:
    """Parameters of `flag_2d_outliers`.

    Parameters
    ----------
    filter_size : int
        Pixels of the running median.
    threshold : tuple of float
        Least and greatest residual [sigma]; (-10, 10) in msaexp 0.9.19.
    with_mask : bool
        Whether only valid pixels enter the medians over exposures.
    trim_multiples : bool
        Drop groups of more than one pixel (neighbours by an edge); True in msaexp 0.9.19.
    dilate : int
        How many times the outliers grow by their four neighbours.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    filter_size: int = 5
    threshold: tuple[float, float] = (-5.0, 5.0)
    with_mask: bool = False
    trim_multiples: bool = False
    dilate: int = 1

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold)
        for name, least in (("filter_size", 1), ("dilate", 0)):
            if getattr(self, name) < least:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be at least {least}"
                raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class HotColdParams:
    """Parameters of `flag_hot_cold_pixels`.

    Parameters
    ----------
    cold_percentile, hot_percentile : float
        Levels, as fluxes or as percentiles of the valid pixels.
    absolute : bool
        They are fluxes.
    min_nexp : int
        In how many exposures a pixel must be beyond its level, never fewer than 2; 0 or less as ``count_from`` says.
    count_from : {"exposures", "positions"}
        What 0 or less counts from: ``n + min_nexp``, or, in msaexp 0.9.19, ``-min_nexp n // n_positions``, with which
        a source that is bright at one position of many exposures is hot.
    dilate : int
        How many times each kind grows by its four neighbours.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    cold_percentile: float = -0.1
    hot_percentile: float = 1.5
    absolute: bool = True
    min_nexp: int = -1
    count_from: CountFrom = "exposures"
    dilate: int = 0

    def __post_init__(self) -> None:
        check_range("cold_percentile, hot_percentile", (self.cold_percentile, self.hot_percentile))
        if not self.absolute and not (self.cold_percentile >= 0 and self.hot_percentile <= 100):
            msg = f"cold_percentile: {self.cold_percentile} to {self.hot_percentile} must be in [0, 100] as percentiles"
            raise InvalidInputError(msg)
        if self.count_from not in get_args(CountFrom):
            msg = f"count_from: {self.count_from!r} is not allowed, it must be one of {', '.join(get_args(CountFrom))}"
            raise InvalidInputError(msg)
        if self.dilate < 0:
            msg = f"dilate: {self.dilate} is not allowed, it must be at least 0"
            raise InvalidInputError(msg)


def flag_2d_outliers(
    data: ArrayLike,
    variance: ArrayLike,
    wavelength: ArrayLike,
    *,
    valid: ArrayLike | None = None,
    shape: tuple[int, int] | None = None,
    params: StackOutlierParams | None = None,
) -> SlitOutliers:
    """Flag pixels of the detector at which the median of the exposures sticks out.

    Parameters
    ----------
    data, variance : array_like, float64, shape (n, ny, nx) or (n, n_pixels) [unit, unit^2]
        Exposures, or the residuals of a fit to them, which leave no source to stick out; and their variances.
    wavelength : array_like, float64, shape of ``data`` [um]
        Wavelength; that of the first exposure sorts the pixels.
    valid : array_like, bool, shape of ``data``, optional
        True = good.
    shape : tuple of int, optional
        Shape of a cutout, for data of shape (n, n_pixels).
    params : StackOutlierParams, optional
        Limits.

    Returns
    -------
    SlitOutliers
        With the bits ``stack_high``, ``stack_low`` and ``grown``, in all exposures alike.

    Raises
    ------
    InvalidInputError
        When the shapes differ.

    Notes
    -----
    ``(m - running median of m) / sqrt(v)`` with the medians m and v of data and variances over the exposures; the
    running median follows the wavelength through all rows, so a source is an outlier unless it was subtracted before.
    """
    params = params or StackOutlierParams()
    stack = Stack(data, shape)
    noise, wave = stack.array(variance, "variance"), stack.array(wavelength, "wavelength")
    good = stack.mask(valid) if params.with_mask else np.ones(stack.data.shape, np.bool_)
    n_pixels = stack.data.shape[1]
    medians = np.full((2, n_pixels), np.nan)
    for middle, values in zip(medians, (stack.data, noise), strict=True):
        kept = np.where(good, values, np.nan)
        some = np.isfinite(kept).any(axis=0)
        middle[some] = np.nanmedian(kept[:, some], axis=0)
    known = np.isfinite(medians.sum(axis=0) + wave[0]) & (medians[1] > 0)
    if not known.any():
        return stack.too_few()
    order = np.argsort(wave[0][known], kind="stable")
    values, variances = medians[0][known][order], medians[1][known][order]
    size = params.filter_size
    residual = (values - _rust.running_ranks(values, size, [size // 2])[0]) / np.sqrt(variances)
    where = np.flatnonzero(known)[order]
    high, low = np.zeros((2, 1, n_pixels), np.bool_)
    high[0, where[residual > params.threshold[1]]] = True
    low[0, where[residual < params.threshold[0]]] = True
    core = np.asarray(stack.images(high | low), np.bool_)
    if params.trim_multiples:
        core = core & ~has_neighbours(core)
    flat = core.reshape(1, -1)
    grown = grow_plus(core, params.dilate).reshape(1, -1) & ~flat
    return stack.found({"stack_high": high & flat, "stack_low": low & flat, "grown": grown})


def flag_hot_cold_pixels(
    data: ArrayLike,
    *,
    valid: ArrayLike | None = None,
    n_positions: int = 1,
    shape: tuple[int, int] | None = None,
    params: HotColdParams | None = None,
) -> SlitOutliers:
    """Flag pixels of the detector that are low or high in several exposures.

    Parameters
    ----------
    data : array_like, float64, shape (n, ny, nx) or (n, n_pixels) [unit]
        Exposures without sky.
    valid : array_like, bool, shape of ``data``, optional
        True = good.
    n_positions : int, optional
        Positions of the nods, for ``count_from="positions"``.
    shape : tuple of int, optional
        Shape of a cutout, for data of shape (n, n_pixels) that are to grow.
    params : HotColdParams, optional
        Limits.

    Returns
    -------
    SlitOutliers
        With the bits ``cold_pixel`` and ``hot_exposures`` in all exposures alike, and the limits ``cold``, ``hot`` and
        ``n_needed``. The counts of ``n_flagged`` are those of all exposures.

    Raises
    ------
    InvalidInputError
        When the shapes differ, or ``n_positions`` is not positive.
    """
    params = params or HotColdParams()
    if n_positions < 1:
        msg = f"n_positions: {n_positions} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    stack = Stack(data, shape)
    good = stack.mask(valid)
    if not good.any():
        return stack.too_few()
    cold, hot = params.cold_percentile, params.hot_percentile
    if not params.absolute:
        cold, hot = (float(level) for level in np.percentile(stack.data[good], [cold, hot]))
    n = len(stack.data)
    needed = params.min_nexp
    if needed < 1:
        needed = n + needed if params.count_from == "exposures" else -needed * n // n_positions
    needed = max(needed, 2)
    reasons = {}
    with np.errstate(invalid="ignore"):
        beyond = {"cold_pixel": good & (stack.data < cold), "hot_exposures": good & (stack.data > hot)}
    for name, mask in beyond.items():
        found = (mask.sum(axis=0) >= needed)[None]
        if params.dilate:
            found = grow_plus(np.asarray(stack.images(found), np.bool_), params.dilate).reshape(1, -1)
        reasons[name] = found
    return stack.found(reasons, limits={"cold": cold, "hot": hot, "n_needed": float(needed)})
