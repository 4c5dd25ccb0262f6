"""The scale between a spectrum and photometry."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array, as_floats
from skymere._rust import spectra as _rust
from skymere.errors import InvalidInputError
from skymere.spectra.filters import UJY_PER_FLAMBDA, Filter

__all__ = ["PhotometryScale", "SmoothSpectrum", "scale_photometry", "scale_smooth_spectrum"]

_Array = NDArray[np.float64]
Status = Literal["ok", "not_covered", "too_few_filters", "no_flux", "no_photometry"]

# The polynomial is one of (wave - 1 um) / 0.1 um, as grizli's of (wave - 10000 A) / 1000 A.
_CENTRE, _UNIT = 1.0, 0.1
# Gauss-Newton steps; the polynomial is nearly linear in its coefficients, three are enough for 1e-12.
_N_STEPS = 20
_SMALL = 1e-10


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotometryScale:
    """By which factor a spectrum is brighter than photometry.

    Parameters
    ----------
    status : str
        ``ok``; ``not_covered``: no filter is covered, there is no scaling; ``too_few_filters``: fewer covered filters
        than coefficients; ``no_flux``: the spectrum has no flux in the covered filters; ``no_photometry``: none was
        given. The scale is 1 unless ``ok``.
    coefficients : ndarray, float64, shape (order + 1,)
        Of ``((wave - 1 um) / 0.1 um)^k``.
    covariance : ndarray, float64, shape (order + 1, order + 1)
        Theirs; NaN unless ``ok``.
    chi2 : float
        Of the scaled fluxes; NaN unless ``ok``.
    table : polars.DataFrame
        Each filter: ``filter``, ``coverage``, ``is_used``, ``flux``, ``flux_err`` of the photometry, ``spectrum``,
        ``spectrum_err`` of the unscaled spectrum [uJy], ``is_synthetic``.
    """

    status: Status
    coefficients: _Array
    covariance: _Array
    chi2: float
    table: pl.DataFrame

    @property
    def is_scaled(self) -> bool:
        """Whether there is a scale."""
        return self.status == "ok"

    @property
    def grizli_pscale(self) -> _Array:
        """The coefficients as grizli has them: times 10, 100, 1000."""
        return self.coefficients * 10.0 ** (np.arange(self.coefficients.size) + 1)

    def scale(self, wave: ArrayLike) -> _Array:
        """Return spectrum over photometry; divide a spectrum and its errors by it.

        Parameters
        ----------
        wave : array_like, float64, shape (n,) [um]
            Wavelengths.
        """
        x = (np.asarray(wave, np.float64) - _CENTRE) / _UNIT
        return np.asarray(np.polynomial.polynomial.polyval(x, self.coefficients), np.float64)


def scale_photometry(
    wave: ArrayLike,
    flux: ArrayLike,
    err: ArrayLike,
    *,
    filters: Sequence[Filter],
    phot_flux: ArrayLike,
    phot_err: ArrayLike,
    mask: ArrayLike | None = None,
    is_synthetic: Sequence[bool] | None = None,
    order: int = 0,
    min_coverage: float = 0.98,
    resolution: float = 50.0,
) -> PhotometryScale:
    """Find the polynomial by which a spectrum is brighter than the photometry of the same source.

    Parameters
    ----------
    wave : array_like, float64, shape (n,) [um]
        Wavelengths of the spectrum, rising; spectra of several gratings or grisms go one after the other, sorted.
    flux, err : array_like, float64, shape (n,) [uJy]
        Flux density and its error, 1 sigma, independent from pixel to pixel.
    filters : sequence of Filter
        The filters.
    phot_flux, phot_err : array_like, float64, shape (n_filters,) [uJy]
        Photometry and its errors; fluxes that are not finite, or whose error is not positive, do not count.
    mask : array_like, bool, shape (n,), optional
        True = do not use.
    is_synthetic : sequence of bool, optional
        Which fluxes were not measured but are those of a fit, as of `PhotozFit.synthetic_fluxes`; the table says so.
    order : int, optional
        Of the polynomial: 0, 1 or 2. grizli's ``scale_photometry`` is ``order + 1``.
    min_coverage : float, optional
        Filters count of which more than this part is inside of the spectrum.
    resolution : float, optional
        Of the spline that is fitted to the spectrum.

    Returns
    -------
    PhotometryScale
        Without a scale when no filter is covered; then the status says so.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed.

    Notes
    -----
    The spectrum is first fitted with cubic B-splines whose knots are even in ln(wave), ``1 / resolution`` apart. With
    the splines' covariance ``C``, the polynomial ``p`` minimises ``d^T (V + S C S^T)^-1 d`` where ``d`` is the
    photometry less the fluxes ``S`` of ``spline / p`` in the filters, and ``V`` the variance of the photometry. The
    covariance of ``p`` is that of this fit.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.spectra import Filter, scale_photometry
    >>> wave = np.linspace(1.0, 1.7, 400)
    >>> one = Filter(name="j", wave=np.array([1.1, 1.15, 1.35, 1.4]), throughput=np.array([0.0, 1, 1, 0]))
    >>> found = scale_photometry(
    ...     wave, np.full(400, 1.3), np.full(400, 0.05), filters=[one], phot_flux=[1.0], phot_err=[0.001]
    ... )
    >>> found.status, round(float(found.scale([1.2])[0]), 2)
    ('ok', 1.3)
    """
    waves = as_floats(wave, "wave", shape=(None,))
    fluxes, errors = (as_floats(value, name, shape=waves.shape) for value, name in ((flux, "flux"), (err, "err")))
    n = len(filters)
    phot_error = as_floats(phot_err, "phot_err", shape=(n,))
    _check(waves, order, min_coverage, resolution)
    is_good = np.isfinite(fluxes) & np.isfinite(errors) & (errors > 0)
    if mask is not None:
        is_good &= ~np.asarray(as_array(mask, "mask", np.bool_, shape=waves.shape), bool)
    used = waves[is_good]
    low, high = (float(used[0]), float(used[-1])) if used.size >= 2 else (np.inf, -np.inf)
    spectrum = None
    if low < high:
        spectrum = SmoothSpectrum.fit(used, fluxes[is_good], errors[is_good], resolution)
    return scale_smooth_spectrum(
        spectrum,
        filters=filters,
        phot_flux=phot_flux,
        phot_err=phot_error,
        coverage=[one.coverage(low, high) if low < high else 0.0 for one in filters],
        is_synthetic=is_synthetic,
        order=order,
        min_coverage=min_coverage,
    )


def scale_smooth_spectrum(
    spectrum: "SmoothSpectrum | None",
    *,
    filters: Sequence[Filter],
    phot_flux: ArrayLike,
    phot_err: ArrayLike,
    coverage: ArrayLike,
    is_synthetic: Sequence[bool] | None = None,
    order: int = 0,
    min_coverage: float = 0.98,
) -> PhotometryScale:
    """Find the polynomial by which a smooth spectrum, fitted before, is brighter than photometry.

    Parameters
    ----------
    spectrum : SmoothSpectrum or None
        The spectrum; None where there is none, so that no filter is covered.
    filters : sequence of Filter
        The filters.
    phot_flux, phot_err : array_like, float64, shape (n_filters,) [uJy]
        As in `scale_photometry`.
    coverage : array_like, float64, shape (n_filters,)
        Part of each filter that is inside of the spectrum.
    is_synthetic : sequence of bool, optional
        As in `scale_photometry`.
    order : int, optional
        Of the polynomial: 0, 1 or 2.
    min_coverage : float, optional
        Filters count of which more than this part is inside of the spectrum.

    Returns
    -------
    PhotometryScale
        With its status.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed.

    Notes
    -----
    See `scale_photometry`.
    """
    n = len(filters)
    phot, phot_error, covered = (
        as_floats(value, name, shape=(n,))
        for value, name in ((phot_flux, "phot_flux"), (phot_err, "phot_err"), (coverage, "coverage"))
    )
    synthetic = np.zeros(n, bool) if is_synthetic is None else np.asarray(is_synthetic, bool)
    _check_order(order, min_coverage)
    if synthetic.shape != (n,):
        msg = f"is_synthetic: {synthetic.size} values are not allowed, it must have one for each of {n} filters"
        raise InvalidInputError(msg)
    is_used = (covered > min_coverage) & np.isfinite(phot) & np.isfinite(phot_error) & (phot_error > 0)
    where = np.flatnonzero(is_used).tolist() if spectrum is not None else []
    is_used[:] = False
    is_used[where] = True
    seen, covariance = np.full(n, np.nan), np.full((n, n), np.nan)
    if spectrum is not None and where:
        matrix = spectrum.integrals([filters[i] for i in where], np.ones_like(spectrum.wave))
        seen[where] = matrix @ spectrum.coefficients
        covariance[np.ix_(where, where)] = matrix @ spectrum.covariance @ matrix.T
    table = pl.DataFrame(
        {
            "filter": [one.name for one in filters],
            "coverage": covered,
            "is_used": is_used,
            "flux": phot,
            "flux_err": phot_error,
            "spectrum": seen,
            "spectrum_err": np.sqrt(np.diagonal(covariance)),
            "is_synthetic": synthetic,
        },
        schema_overrides={"filter": pl.String},
    )
    size = order + 1
    status: Status = "not_covered" if not where else "too_few_filters" if len(where) < size else "ok"
    if status == "ok" and not np.any(seen[where] * phot[where] > 0):
        status = "no_flux"
    if status == "ok" and spectrum is not None:
        found = _fit(spectrum, [filters[i] for i in where], phot[where], phot_error[where], size)
        if found is not None:
            return PhotometryScale(status="ok", coefficients=found[0], covariance=found[1], chi2=found[2], table=table)
        status = "no_flux"
    return PhotometryScale(
        status=status,
        coefficients=np.eye(size)[0],
        covariance=np.full((size, size), np.nan),
        chi2=np.nan,
        table=table,
    )


def _check(wave: _Array, order: int, min_coverage: float, resolution: float) -> None:
    if not np.all(np.isfinite(wave)) or not np.all(np.diff(wave) >= 0) or (wave.size and wave[0] <= 0):
        msg = f"wave: {wave.size} values are not allowed, they must be positive and rise"
        raise InvalidInputError(msg)
    _check_order(order, min_coverage)
    if not 0 < resolution < np.inf:
        msg = f"resolution: {resolution} is not allowed, it must be positive"
        raise InvalidInputError(msg)


def _check_order(order: int, min_coverage: float) -> None:
    if order not in (0, 1, 2):
        msg = f"order: {order} is not allowed, it must be 0, 1 or 2"
        raise InvalidInputError(msg)
    if not 0 <= min_coverage < 1:
        msg = f"min_coverage: {min_coverage} is not allowed, it must be at least 0 and below 1"
        raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class SmoothSpectrum:
    """A sum of smooth spectra, with the covariance of their factors.

    Parameters
    ----------
    wave : ndarray, float64, shape (n,) [um]
        Wavelengths.
    basis : ndarray, float64, shape (n_functions, n) [uJy]
        Flux density of each for a factor of 1.
    coefficients : ndarray, float64, shape (n_functions,)
        Factors.
    covariance : ndarray, float64, shape (n_functions, n_functions)
        Theirs.
    """

    wave: _Array
    basis: _Array
    coefficients: _Array
    covariance: _Array

    @classmethod
    def fit(cls, wave: _Array, flux: _Array, err: _Array, resolution: float) -> "SmoothSpectrum":
        """Return the cubic splines that fit a spectrum best.

        Parameters
        ----------
        wave : ndarray, float64, shape (n,) [um]
            Wavelengths, rising.
        flux, err : ndarray, float64, shape (n,) [uJy]
            Flux density and its error, independent from pixel to pixel.
        resolution : float
            Knots are even in ln(wave), ``1 / resolution`` apart.
        """
        places = np.log(wave)
        n = int(np.clip(np.ceil((places[-1] - places[0]) * resolution) + 3, 4, max(wave.size // 2, 4)))
        basis = _rust.bsplines(np.ascontiguousarray(places), n, 3, (float(places[0]), float(places[-1])))
        # Splines without a pixel are not determined, and a pseudo-inverse leaves them out.
        inverse = np.linalg.pinv((basis / err**2) @ basis.T, rcond=1e-12, hermitian=True)
        return cls(
            wave=wave,
            basis=basis,
            coefficients=inverse @ ((basis / err**2) @ flux),
            covariance=np.asarray(inverse, np.float64),
        )

    def integrals(self, filters: Sequence[Filter], factor: _Array) -> _Array:
        """Return the flux of each function times a factor in filters, float64, shape (n_filters, n_functions) [uJy].

        Parameters
        ----------
        filters : sequence of Filter
            The filters.
        factor : ndarray, float64, shape (n,)
            What the functions are multiplied with at each wavelength.
        """
        points, first = np.unique(self.wave, return_index=True)
        f_lambda = (self.basis * factor)[:, first] / (UJY_PER_FLAMBDA * points**2)
        found = _rust.band_fluxes(
            points,
            np.ascontiguousarray(f_lambda),
            transmission=np.zeros((1, 0)),
            filters=[(one.wave, one.counted, one.norm) for one in filters],
            redshifts=np.zeros(1),
        )
        return np.asarray(found[0].T * UJY_PER_FLAMBDA, np.float64)


def _fit(
    spline: SmoothSpectrum, filters: Sequence[Filter], phot: _Array, phot_err: _Array, size: int
) -> tuple[_Array, _Array, float] | None:
    """Coefficients, covariance and chi square; None where the polynomial does not stay positive."""
    powers = ((spline.wave - _CENTRE) / _UNIT) ** np.arange(size)[:, None]
    plain = spline.integrals(filters, np.ones_like(spline.wave)) @ spline.coefficients
    coefficients = np.zeros(size)
    coefficients[0] = np.sum(plain * phot / phot_err**2) / np.sum((phot / phot_err) ** 2)
    for _ in range(_N_STEPS):
        p = coefficients @ powers
        if not np.all(p > 0):
            return None
        matrix = spline.integrals(filters, 1 / p)
        weight = np.linalg.inv(np.diag(phot_err**2) + matrix @ spline.covariance @ matrix.T)
        rest = phot - matrix @ spline.coefficients
        slopes = np.stack([-spline.integrals(filters, power / p**2) @ spline.coefficients for power in powers], axis=1)
        normal = slopes.T @ weight @ slopes
        try:
            covariance = np.linalg.inv(normal)
        except np.linalg.LinAlgError:
            return None
        step = covariance @ (slopes.T @ weight @ rest)
        # A long first step must not make the polynomial negative.
        shorter = 1.0
        while shorter > _SMALL and not np.all((coefficients + shorter * step) @ powers > 0):
            shorter /= 2
        coefficients = coefficients + shorter * step
        if np.all(np.abs(step) <= _SMALL * np.abs(coefficients[0])):
            break
    return coefficients, np.asarray(covariance, np.float64), float(rest @ weight @ rest)
