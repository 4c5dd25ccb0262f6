"""A factor of each grism: calibrations, apertures and images that differ between grisms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import ANGSTROM
from skymere.errors import InvalidInputError, NoDataError
from skymere.grism.beam import BeamModel
from skymere.grism.fit_params import FitParams
from skymere.grism.multibeam import MultiBeam
from skymere.grism.photometry import PhotometryInput, photometry_of
from skymere.grism.problem import BeamProblem, Scan
from skymere.grism.template_bank import TemplateBank, as_template_set
from skymere.spectra import IgmTransmission, TemplateSet

__all__ = ["GrismScales", "brighter_beams", "fit_grism_scales", "scale_beams"]

_Array = NDArray[np.float64]

# Step of ln(scale) for slopes, when steps are small enough, how many there are, and the longest.
_STEP, _ENOUGH, _N_STEPS, _LONGEST = 0.02, 1e-4, 20, 0.3


@dataclass(frozen=True, kw_only=True, eq=False)
class GrismScales:
    """By which factor each grism is brighter than the one they are compared with.

    Parameters
    ----------
    status : str
        ``ok``; ``one_grism`` when there is nothing to compare; ``no_data`` when no pixel can be fitted;
        ``not_converged``. The scales are 1 unless ``ok`` or ``not_converged``.
    reference : str
        The grism whose scale is 1.
    scales, errors : mapping of str to float
        By grism; the error of the reference is 0.
    covariance : ndarray, float64, shape (n, n)
        Of ln(scale) of the grisms but the reference, in their order.
    chi2, chi2_before : float
        With the scales, and without.
    slopes : ndarray, float64, shape (n, n_templates)
        By how much the factors of the templates change with ln(scale) of each grism but the reference.
    """

    status: str
    reference: str
    scales: Mapping[str, float]
    errors: Mapping[str, float]
    covariance: _Array
    chi2: float
    chi2_before: float
    slopes: _Array


def scale_beams(multibeam: MultiBeam, scales: Mapping[str, float]) -> MultiBeam:
    """Return beams whose models are brighter by the factor of their grism; data and masks stay.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    scales : mapping of str to float
        Factors by grism; 1 for those that are not in it.

    Raises
    ------
    InvalidInputError
        When a factor is not positive, or of a grism that is not there.
    """
    for name, scale in scales.items():
        if name not in multibeam.grisms or not 0 < scale < np.inf:
            msg = f"scales: {scale} of {name!r} is not allowed, it must be positive and of {multibeam.grisms}"
            raise InvalidInputError(msg)
    return brighter_beams(
        multibeam, lambda one, _: scales[one.grism_name] if scales.get(one.grism_name, 1.0) != 1.0 else None
    )


def brighter_beams(multibeam: MultiBeam, factor: Callable[[BeamModel, _Array], _Array | float | None]) -> MultiBeam:
    """Return beams whose models are brighter; data and masks stay.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    factor : callable
        By how much, of a beam and wavelengths [um]; None leaves the beam as it is.
    """
    models = []
    for one in multibeam.beams:
        scale = factor(one, one.order.wavelength * ANGSTROM)
        if scale is None:
            models.append(one)
            continue
        # Dust is in the sensitivity already.
        params = replace(one.params, mw_ebv=0.0)
        order = replace(one.order, sensitivity=one.order.sensitivity * scale)
        made = BeamModel(one.beam, order, params=params, from_trace=one.from_trace)
        # Chi squares of several scales are of the same pixels.
        vars(made)["fit_mask"] = one.fit_mask
        models.append(made)
    return MultiBeam(models, records=multibeam.records)


def fit_grism_scales(
    multibeam: MultiBeam,
    z: float,
    *,
    templates: TemplateSet | str | Path,
    params: FitParams | None = None,
    igm: IgmTransmission | None = None,
    photometry: PhotometryInput | None = None,
    prior: float = 0.3,
    reference: str | None = None,
) -> GrismScales:
    """Fit a factor of each grism together with templates at a redshift.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    z : float
        The redshift.
    templates : TemplateSet or path-like
        What the source may be made of. A folder means `TemplateSet.load` of it with single lines.
    params : FitParams, optional
        How to fit; ``bounded`` unless it says another fitter.
    igm : IgmTransmission, optional
        What absorbs continua blueward of 1216 (1 + z) Angstrom.
    photometry : PhotometryInput, optional
        Photometry that is fitted together with the beams.
    prior : float, optional
        1 sigma of ln(scale) around 0: grisms that share no wavelength are compared through the templates alone.
    reference : str, optional
        The grism whose scale is 1; that with the most signal when not given.

    Returns
    -------
    GrismScales
        With their covariance.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed.

    Notes
    -----
    For given scales ``s`` the factors of the templates are found as in `fit_templates`; chi square with them,
    ``C(ln s) + |ln s|^2 / prior^2``, is minimised by Newton's steps with differences for slopes. The covariance is
    twice the inverse of its curvature: with the weights at face value, so too large where ``fcontam`` lowers them.
    """
    p = params or FitParams()
    if not 0 < prior < np.inf:
        msg = f"prior: {prior} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    if reference is not None and reference not in multibeam.grisms:
        msg = f"reference: {reference!r} is not allowed, it must be one of {multibeam.grisms}"
        raise InvalidInputError(msg)
    chosen = as_template_set(templates, line_complexes=False)
    bank = TemplateBank.of(chosen, p.profiles, igm)
    base = _brightest(multibeam) if reference is None else reference
    others = [name for name in multibeam.grisms if name != base]
    measured = photometry_of(photometry, chosen, np.array([float(z)]), igm)
    n_beams = multibeam.N

    def scan(x: _Array) -> Scan:
        scaled = scale_beams(multibeam, dict(zip(others, np.exp(x).tolist(), strict=True)))
        fitter = p.fitter or "bounded"
        return BeamProblem(scaled, errors=p.errors).scan(bank, z, params=p, fitter=fitter, photometry=measured)

    n = len(others)
    try:
        before = scan(np.zeros(n))
    except NoDataError:
        return _none("no_data", base, multibeam, len(bank.names))
    if not n:
        return _none("one_grism", base, multibeam, len(bank.names), chi2=float(before.chi2[0]))
    x, status, inverse = np.zeros(n), "not_converged", np.eye(n) * prior**2

    def cost(at: _Array) -> float:
        return float(scan(at).chi2[0]) + float(np.sum((at / prior) ** 2))

    for _ in range(_N_STEPS):
        slope, curvature = _derivatives(cost, x)
        values, vectors = np.linalg.eigh(curvature)
        # The prior alone has a curvature of 2 / prior^2; bounds of templates may take from it.
        inverse = (vectors / np.maximum(values, 2 / prior**2)) @ vectors.T
        step = np.clip(-inverse @ slope, -_LONGEST, _LONGEST)
        x = x + step
        if np.all(np.abs(step) < _ENOUGH):
            status = "ok"
            break
    covariance = 2 * inverse
    ends = [[scan(x + sign * _STEP * row).coefficients[0, n_beams:] for sign in (1, -1)] for row in np.eye(n)]
    scales = dict(zip(others, np.exp(x).tolist(), strict=True))
    errors = {name: float(np.exp(x[i]) * np.sqrt(covariance[i, i])) for i, name in enumerate(others)}
    return GrismScales(
        status=status,
        reference=base,
        scales={name: scales.get(name, 1.0) for name in multibeam.grisms},
        errors={name: errors.get(name, 0.0) for name in multibeam.grisms},
        covariance=covariance,
        chi2=float(scan(x).chi2[0]),
        chi2_before=float(before.chi2[0]),
        slopes=np.stack([(high - low) / (2 * _STEP) for high, low in ends]),
    )


def _brightest(multibeam: MultiBeam) -> str:
    """Return the grism with the most signal over noise."""
    signal = dict.fromkeys(multibeam.grisms, 0.0)
    for one in multibeam.beams:
        signal[one.grism_name] += float(np.sum((one.ivar * one.cleaned.astype(np.float64) ** 2)[one.fit_mask]))
    return max(signal, key=lambda name: signal[name])


def _none(status: str, base: str, multibeam: MultiBeam, n_templates: int, chi2: float = float("nan")) -> GrismScales:
    return GrismScales(
        status=status,
        reference=base,
        scales=dict.fromkeys(multibeam.grisms, 1.0),
        errors=dict.fromkeys(multibeam.grisms, 0.0),
        covariance=np.zeros((0, 0)),
        chi2=chi2,
        chi2_before=chi2,
        slopes=np.zeros((0, n_templates)),
    )


def _derivatives(cost: Callable[[_Array], float], x: _Array) -> tuple[_Array, _Array]:
    """Return slope and curvature of a function, by differences."""
    n, h = x.size, _STEP
    middle = cost(x)
    sides = np.array([[cost(x + sign * h * row) for sign in (1, -1)] for row in np.eye(n)])
    slope = (sides[:, 0] - sides[:, 1]) / (2 * h)
    curvature = np.diag((sides[:, 0] + sides[:, 1] - 2 * middle) / h**2)
    for i in range(n):
        for j in range(i):
            both = cost(x + h * (np.eye(n)[i] + np.eye(n)[j]))
            curvature[i, j] = curvature[j, i] = (both - sides[i, 0] - sides[j, 0] + middle) / h**2
    return slope, curvature
