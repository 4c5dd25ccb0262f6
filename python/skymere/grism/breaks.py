"""The strength of the break at 4000 Angstrom."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError, NoDataError
from skymere.grism.fit_params import FitParams
from skymere.grism.multibeam import MultiBeam
from skymere.grism.problem import BeamProblem
from skymere.grism.template_bank import TemplateBank

__all__ = ["BreakStrength", "fit_break"]

# The two bins at rest, and the width of those around [Angstrom].
_BINS = {"D4000": ((3750.0, 3950.0), (4050.0, 4250.0), 200.0), "Dn4000": ((3850.0, 3950.0), (4000.0, 4100.0), 100.0)}
# Steps are ramps of this width.
_RAMP = 0.01


@dataclass(frozen=True, kw_only=True)
class BreakStrength:
    """The mean f_nu redward of 4000 Angstrom over that blueward.

    Parameters
    ----------
    status : str
        ``ok``; ``not_covered`` when beams do not have both bins; ``no_data``; ``no_flux`` when there is none blueward.
    kind : str
        ``D4000`` or ``Dn4000``.
    value, err : float
        The ratio and its error; NaN unless ``ok``.
    """

    status: str
    kind: str
    value: float
    err: float


def fit_break(
    multibeam: MultiBeam, z: float, *, kind: Literal["D4000", "Dn4000"] = "D4000", params: FitParams | None = None
) -> BreakStrength:
    """Fit steps to the beams of a source and compare those beside 4000 Angstrom.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    z : float
        The redshift.
    kind : str, optional
        ``D4000``: 3750 to 3950 and 4050 to 4250 Angstrom; ``Dn4000``: 3850 to 3950 and 4000 to 4100 Angstrom.
    params : FitParams, optional
        How to fit; there are no bounds.

    Returns
    -------
    BreakStrength
        With its status.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed.

    Notes
    -----
    With f_lambda ``r`` and ``b`` of the red and the blue bin, ``r / b`` times the ratio of their squared wavelengths;
    the error follows from their covariance.

    References
    ----------
    Bruzual 1983, ApJ 273, 105 (D4000). Balogh et al. 1999, ApJ 527, 54 (Dn4000).
    """
    if kind not in _BINS:
        msg = f"kind: {kind!r} is not allowed, it must be one of {', '.join(_BINS)}"
        raise InvalidInputError(msg)
    if not -1 < z < np.inf:
        msg = f"z: {z} is not allowed, it must be above -1"
        raise InvalidInputError(msg)
    nan, p = float("nan"), params or FitParams()
    try:
        problem = BeamProblem(multibeam, errors=p.errors)
    except NoDataError:
        return BreakStrength(status="no_data", kind=kind, value=nan, err=nan)
    blue, red, width = _BINS[kind]
    waves = np.concatenate([one.wave[one.fit_mask.any(axis=0)] for one in multibeam.beams]) * 1e4 / (1 + z)
    low, high = float(waves.min()), float(waves.max())
    if low > blue[0] or high < red[1]:
        return BreakStrength(status="not_covered", kind=kind, value=nan, err=nan)
    edges = _edges(blue, red, width, low, high)
    names = [f"{a:.0f}-{b:.0f}" for a, b in pairwise(edges)]
    bank = TemplateBank.rest(*_steps(edges), names)
    found = problem.scan(bank, z, params=p, fitter="lstsq", has_covariance=True)
    n = multibeam.N
    i, j = int(np.searchsorted(edges, blue[0])), int(np.searchsorted(edges, red[0]))
    b, r = found.coefficients[0, n + i], found.coefficients[0, n + j]
    if not (found.is_free[0, n + i] and found.is_free[0, n + j]):
        return BreakStrength(status="not_covered", kind=kind, value=nan, err=nan)
    if not b > 0:
        return BreakStrength(status="no_flux", kind=kind, value=nan, err=nan)
    to_fnu = (sum(red) / sum(blue)) ** 2
    covariance = found.covariance[0][np.ix_([i, j], [i, j])]
    slope = np.array([-r / b**2, 1 / b]) * to_fnu
    return BreakStrength(
        status="ok", kind=kind, value=float(to_fnu * r / b), err=float(np.sqrt(slope @ covariance @ slope))
    )


def _edges(
    blue: tuple[float, float], red: tuple[float, float], width: float, low: float, high: float
) -> NDArray[np.float64]:
    """Borders of both bins, of the gap between and of bins around, as far as beams go."""
    before = np.arange(blue[0], low - width, -width)[::-1]
    after = np.arange(red[1], high + width, width)
    return np.unique(np.concatenate([before, [*blue, *red], after]))


def _steps(edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    wave = np.sort(np.concatenate([edges - 0.5 * _RAMP, edges + 0.5 * _RAMP]))
    flux = np.zeros((edges.size - 1, wave.size))
    for i in range(edges.size - 1):
        flux[i, 2 * i + 1 : 2 * i + 3] = 1.0
    return wave, flux
