"""Zero points of bands, checked against fluxes that somebody else measured."""

from dataclasses import dataclass
from math import erfc

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError, NoDataError

__all__ = ["CalibrationFactor", "calibration_factor"]

_LEAST_SOURCES = 3
_ROUNDS = 20
_SIGMA_OF_MAD = 1.482602218505602
# Relative error of a sigma from the median of absolute values, of one value.
_ERROR_OF_MAD = 1.1664
_HALVINGS = 40


@dataclass(frozen=True, kw_only=True)
class CalibrationFactor:
    """A factor that fluxes of a band should be multiplied with.

    Parameters
    ----------
    factor : float
        Reference over measured flux.
    error : float
        Its 1 sigma.
    n_sources : int
        Sources that it is made of.
    scatter : float
        1 sigma of single ratios beyond what the errors of the fluxes say, as a part of the ratio.
    """

    factor: float
    error: float
    n_sources: int
    scatter: float


def calibration_factor(
    reference_flux: ArrayLike,
    reference_err: ArrayLike,
    flux: ArrayLike,
    flux_err: ArrayLike,
    *,
    is_isolated: ArrayLike | None = None,
    min_snr: float = 10.0,
) -> CalibrationFactor:
    """Return the median of reference over measured flux of isolated sources, with its error.

    Parameters
    ----------
    reference_flux, reference_err : array_like, float64, shape (n,)
        Fluxes that are right, and their 1 sigma [unit].
    flux, flux_err : array_like, float64, shape (n,)
        Those of the same sources that were measured, and their 1 sigma [unit].
    is_isolated : array_like, bool, shape (n,), optional
        Sources that count; all when not given. Blends measure the neighbours.
    min_snr : float, optional
        Sources that are fainter in units of either error do not count.

    Returns
    -------
    CalibrationFactor
        To be applied by `wide_catalogue` on request, never by itself.

    Raises
    ------
    InvalidInputError
        When lengths differ, an error of a source is not positive, or ``min_snr`` is not.
    NoDataError
        When fewer than 3 sources are left.

    Notes
    -----
    The factor f is the median of ``R_i / F_i``. Its error E is that of the median of n values with Gaussian errors
    ``s_i``, which are those of the ratios together with a scatter c: as many of them are above ``f + E`` as to make a
    median there one sigma unlikely [1]_::

        n / 2 - sum_i p_i = sqrt(sum_i p_i (1 - p_i)),    p_i = Phi(-E / s_i)
        s_i^2 = (r_i^2 + f^2 e_i^2) / T_i^2 + c^2 f^2

    with c such that the median of ``|R_i - f F_i| / (T_i s_i)`` is that of a Gaussian; 0 where it is above that by no
    more than its own error, or below.

    Sources count whose best flux of both,

        T_i = (F_i / e_i^2 + f R_i / r_i^2) / (1 / e_i^2 + f^2 / r_i^2),

    is above ``min_snr`` times e and r / f: T is not correlated with ``R - f F``, so that the limit does not move the
    median, as one on either flux would where faint sources are many. Here e and r are the errors of F and R with half
    of the scatter (as variance) of the ratios that errors do not explain added to each, as it is not known whose it is:
    if it is of one only, counts ``N(> F) ~ F^-a`` and a scatter c move the factor by up to ``a c^2 / 2``. Of a part p
    of outliers to one side the median moves by about ``1.25 p`` times the scatter of ratios.

    References
    ----------
    .. [1] David & Nagaraja 2003, Order Statistics, chapter 5 (orders of values that are not distributed alike).

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.photometry import calibration_factor
    >>> rng = np.random.default_rng(1)
    >>> truth = rng.uniform(20, 100, 400)
    >>> found = calibration_factor(truth + rng.normal(size=400), 1.0, truth / 1.03 + rng.normal(size=400), 1.0)
    >>> abs(found.factor - 1.03) < 3 * found.error, found.n_sources
    (True, 400)
    """
    if not min_snr > 0:
        msg = f"min_snr: {min_snr} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    measured = _column(flux, "flux", None)
    n = measured.size
    reference = _column(reference_flux, "reference_flux", n)
    r, e = _column(reference_err, "reference_err", n), _column(flux_err, "flux_err", n)
    known = np.isfinite(measured) & np.isfinite(reference) & np.isfinite(r) & np.isfinite(e)
    if is_isolated is not None:
        known &= np.asarray(as_array(is_isolated, "is_isolated", np.bool_, shape=(n,)), bool)
    for name, error in (("reference_err", r), ("flux_err", e)):
        if (error[known] <= 0).any():
            msg = f"{name}: {error[known].min()} is not allowed, errors must be positive"
            raise InvalidInputError(msg)
    kept = known & (measured > min_snr * e) & (reference > min_snr * r)
    _require(int(kept.sum()), n, min_snr)
    # About right, whatever the selection does to it.
    factor, scatter = float(np.median(reference[kept] / measured[kept])), 0.0
    light = np.where(kept, measured, 0.0)
    for _ in range(_ROUNDS):
        with np.errstate(divide="ignore", invalid="ignore"):
            r2, e2 = (one**2 + (scatter * part * light) ** 2 / 2 for one, part in ((r, factor), (e, 1.0)))
            light = (measured / e2 + factor * reference / r2) / (1 / e2 + factor**2 / r2)
            now = known & (measured > 0) & (light > min_snr * np.maximum(e, r / factor))
        _require(int(now.sum()), n, min_snr)
        is_same, kept = bool((now == kept).all()), now
        before, factor = factor, float(np.median(reference[kept] / measured[kept]))
        scatter = _scatter(
            (reference - factor * measured)[kept], (r**2 + (factor * e) ** 2)[kept], factor * light[kept]
        )
        if is_same and abs(factor - before) < 1e-12 * abs(before):
            break
    return CalibrationFactor(
        factor=factor,
        error=_error_of_median(np.sqrt((r**2 + (factor * e) ** 2)[kept] / light[kept] ** 2 + (scatter * factor) ** 2)),
        n_sources=int(kept.sum()),
        scatter=scatter,
    )


def _error_of_median(sigma: NDArray[np.float64]) -> float:
    """Return the error of the median of values with Gaussian errors."""
    low, high = 0.0, 5.0 * float(sigma.max())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = np.array([erfc(x) / 2 for x in middle / (np.sqrt(2) * sigma)])
        is_far = sigma.size / 2 - above.sum() > np.sqrt(np.sum(above * (1 - above)))
        low, high = (low, middle) if is_far else (middle, high)
    return high


def _column(values: ArrayLike, name: str, n: int | None) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.ndim == 0 and n is not None:
        array = np.broadcast_to(array, (n,))
    return np.asarray(as_array(array, name, np.float64, shape=(n,)), np.float64)


def _require(n_left: int, n: int, min_snr: float) -> None:
    if n_left < _LEAST_SOURCES:
        msg = (
            f"flux: {n_left} of {n} sources are isolated and brighter than {min_snr:g} sigma in both, at least "
            f"{_LEAST_SOURCES} are needed"
        )
        raise NoDataError(msg)


def _scatter(differences: NDArray[np.float64], noise2: NDArray[np.float64], light: NDArray[np.float64]) -> float:
    """Return the least relative scatter with which the median of ``|d| / s`` is that of a Gaussian."""

    def size(scatter: float) -> float:
        return float(_SIGMA_OF_MAD * np.median(np.abs(differences) / np.sqrt(noise2 + (scatter * light) ** 2)))

    if size(0.0) <= 1.0 + _ERROR_OF_MAD / np.sqrt(differences.size):
        return 0.0
    low, high = 0.0, float(_SIGMA_OF_MAD * np.median(np.abs(differences) / light)) * 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) > 1.0 else (low, middle)
    return high
