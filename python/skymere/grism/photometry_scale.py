"""The scale between beams and photometry of the same source."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skymere._rust import spectra as _spectra
from skymere.datamodels import ANGSTROM
from skymere.errors import InvalidInputError, NoDataError
from skymere.grism.fit_params import FitParams
from skymere.grism.multibeam import MultiBeam
from skymere.grism.photometry import PhotometryInput
from skymere.grism.problem import BeamProblem
from skymere.grism.scales import brighter_beams
from skymere.grism.template_bank import TemplateBank
from skymere.spectra import (
    Filter,
    PhotometryScale,
    SmoothSpectrum,
    milky_way_extinction,
    scale_smooth_spectrum,
)
from skymere.spectra.filters import UJY_PER_FLAMBDA

__all__ = ["fit_photometry_scale", "scale_beams_to_photometry", "scale_covariance"]

_Array = NDArray[np.float64]

# Points between two knots of the splines, and splines that share a list of wavelengths.
_POINTS, _PIECE = 16, 5


def fit_photometry_scale(
    multibeam: MultiBeam,
    photometry: PhotometryInput | None,
    *,
    order: int = 0,
    min_coverage: float = 0.98,
    resolution: float = 100.0,
    params: FitParams | None = None,
) -> PhotometryScale:
    """Find the polynomial by which beams are brighter than photometry, without templates.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    photometry : PhotometryInput or None
        The photometry; None gives the status ``no_photometry``.
    order : int, optional
        Of the polynomial: 0, 1 or 2. `FitParams.scale_photometry`, as grizli's, is ``order + 1``.
    min_coverage : float, optional
        Filters count of which more than this part is inside of the fitted wavelengths of the beams.
    resolution : float, optional
        Of the spline that is fitted to the beams. grizli has 50, with which bright lines move fluxes in filters by
        0.4 per cent.
    params : FitParams, optional
        Loss, backgrounds and kind of errors.

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
    Cubic B-splines in f_lambda, whose knots are even in ln(wave) and ``1 / resolution`` apart, are fitted to the pixels
    of all beams, with a constant of each. With their covariance they are compared with the photometry as in
    `skymere.spectra.scale_photometry`; `PhotometryInput.sys_err` is in the errors of the photometry. Gaps between
    grisms that are wider than two knots are not covered.

    Examples
    --------
    >>> from skymere.grism import fit_photometry_scale, read_beams
    >>> mb = read_beams("j033216m2743_00152.beams.fits", conf_path="CONF")  # doctest: +SKIP
    >>> fit_photometry_scale(mb, photometry).scale([1.4])  # doctest: +SKIP
    array([1.02])
    """
    if not 0 < resolution < np.inf:
        msg = f"resolution: {resolution} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    if photometry is None:
        return _no_photometry(order)
    pieces = _covered(multibeam, 1.0 / resolution)
    spectrum = _spline(multibeam, pieces, resolution, params or FitParams())
    if spectrum is not None and photometry.mw_ebv > 0:
        # Beams are fitted behind their dust; this photometry is as it arrives.
        passed = 10 ** (-0.4 * photometry.mw_ebv * milky_way_extinction(spectrum.wave))
        spectrum = replace(spectrum, basis=spectrum.basis * passed)
    flux = np.asarray(photometry.flux)
    return scale_smooth_spectrum(
        spectrum,
        filters=photometry.filters,
        phot_flux=flux,
        phot_err=np.hypot(photometry.err, photometry.sys_err * flux),
        coverage=[_coverage(one, pieces) for one in photometry.filters],
        order=order,
        min_coverage=min_coverage,
    )


def scale_beams_to_photometry(multibeam: MultiBeam, scale: PhotometryScale) -> MultiBeam:
    """Return beams whose models are brighter by the scale, so that their spectra are those of the photometry.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams; data and masks stay.
    scale : PhotometryScale
        Of `fit_photometry_scale`; without a scale the beams are returned as they are.

    Raises
    ------
    InvalidInputError
        When the scale is not positive at all fitted wavelengths.
    """
    if not scale.is_scaled:
        return multibeam
    waves = _fitted_waves(multibeam)
    low, high = (float(waves.min()), float(waves.max())) if waves.size else (0.0, np.inf)
    factor = scale.scale(waves)
    if not np.all(factor > 0):
        msg = f"scale: {factor.min()} is not allowed, it must be positive from {low} to {high} um"
        raise InvalidInputError(msg)
    # A polynomial is kept as it is at the ends of what it was found for.
    return brighter_beams(multibeam, lambda _, wave: scale.scale(np.clip(wave, low, high)))


def _no_photometry(order: int) -> PhotometryScale:
    empty = scale_smooth_spectrum(None, filters=[], phot_flux=[], phot_err=[], coverage=[], order=order)
    return replace(empty, status="no_photometry")


def _fitted_waves(multibeam: MultiBeam) -> _Array:
    """Wavelengths of all columns with a pixel that is fitted, rising [um]."""
    waves = [one.wave[(one.fit_mask & (one.ivar > 0) & (one.weight > 0)).any(axis=0)] for one in multibeam.beams]
    return np.sort(np.concatenate(waves)) if waves else np.zeros(0)


def _covered(multibeam: MultiBeam, knot: float) -> Sequence[tuple[float, float]]:
    """Ranges of wavelengths without gaps of two knots [um]."""
    waves = _fitted_waves(multibeam)
    if waves.size < 2:
        return []
    ends = np.flatnonzero(np.diff(np.log(waves)) > 2 * knot)
    first = np.concatenate([[0], ends + 1])
    last = np.concatenate([ends, [waves.size - 1]])
    return [(float(waves[a]), float(waves[b])) for a, b in zip(first, last, strict=True) if b > a]


def _coverage(one: Filter, pieces: Sequence[tuple[float, float]]) -> float:
    return float(sum(one.coverage(low, high) for low, high in pieces))


def _spline(
    multibeam: MultiBeam, pieces: Sequence[tuple[float, float]], resolution: float, params: FitParams
) -> SmoothSpectrum | None:
    if not pieces:
        return None
    low, high = np.log(pieces[0][0]), np.log(pieces[-1][1])
    n = int(np.ceil((high - low) * resolution)) + 3
    places = np.linspace(low, high, _POINTS * (n - 3) + 1)
    wave = np.exp(places)
    basis = _spectra.bsplines(places, n, 3, (float(low), float(high)))
    names = [f"spline {i}" for i in range(n)]
    bank = TemplateBank.pieces(wave / ANGSTROM, basis, names, size=_PIECE)
    try:
        problem = BeamProblem(multibeam, errors=params.errors)
    except NoDataError:
        return None
    found = problem.scan(bank, 0.0, params=params, fitter="lstsq", is_loose=True, has_covariance=True)
    return SmoothSpectrum(
        wave=wave,
        basis=basis * UJY_PER_FLAMBDA * wave**2,
        coefficients=found.coefficients[0, multibeam.N :],
        covariance=found.covariance[0],
    )


def scale_covariance(scale: PhotometryScale, factors: Callable[[PhotometryScale], _Array]) -> _Array:
    """Return what the errors of a scale add to the covariance of factors that were fitted with it.

    Parameters
    ----------
    scale : PhotometryScale
        The scale.
    factors : callable
        The factors, float64, shape (n,), fitted with another scale.

    Returns
    -------
    ndarray, float64, shape (n, n)
        ``J V J'`` with the covariance ``V`` of the polynomial and the slopes ``J`` of the factors, over one sigma to
        both sides.
    """
    values, vectors = np.linalg.eigh(scale.covariance)
    rows = []
    for value, vector in zip(values, vectors.T, strict=True):
        step = np.sqrt(max(float(value), 0.0)) * vector
        # The slope of a large scale is that of a small one: steps stay where the polynomial is positive.
        shorter = min(1.0, 0.2 * float(np.abs(scale.coefficients[0])) / max(float(np.abs(step).max()), 1e-300))
        high, low = (
            factors(replace(scale, coefficients=scale.coefficients + sign * shorter * step)) for sign in (1, -1)
        )
        rows.append((high - low) / (2 * shorter))
    slopes = np.stack(rows)
    return np.asarray(slopes.T @ slopes, np.float64)
