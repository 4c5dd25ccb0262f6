"""Orientations whose beams do not fit."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from skymere.errors import InvalidInputError, NoDataError
from skymere.grism.fit_params import FitParams
from skymere.grism.multibeam import MultiBeam
from skymere.grism.problem import BeamProblem
from skymere.grism.template_bank import polynomials

__all__ = ["GRIZLI_BAD_PA", "drop_angles", "drop_bad_angles"]

#: Largest ratio of reduced chi squares that grizli's ``run_all`` allows an orientation.
GRIZLI_BAD_PA = 1.6

# Degrees of freedom that tell a reduced chi square to 0.2, a third of what the usual threshold allows.
_LEAST_DOF = 50
_SCHEMA = {
    "grism": pl.String,
    "angle": pl.Float64,
    "n_beams": pl.Int64,
    "chi2": pl.Float64,
    "dof": pl.Int64,
    "ratio": pl.Float64,
    "is_kept": pl.Boolean,
}


def drop_bad_angles(
    multibeam: MultiBeam, *, threshold: float = 1.6, poly_order: int = 1, params: FitParams | None = None
) -> tuple[MultiBeam, pl.DataFrame]:
    """Fit a polynomial to each orientation and drop those that it fits much worse than the best of the same grism.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    threshold : float, optional
        Largest reduced chi square over the least one of the grism.
    poly_order : int, optional
        Order of the polynomial.
    params : FitParams, optional
        Loss and backgrounds.

    Returns
    -------
    MultiBeam
        Beams of the orientations that are kept.
    polars.DataFrame
        ``grism``, ``angle`` [deg], ``n_beams``, ``chi2``, ``dof``, ``ratio``, ``is_kept``; orientations without a pixel
        to fit have no chi square and are dropped, those with fewer than 50 degrees of freedom no ratio and are kept.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed.
    NoDataError
        When no orientation has a pixel to fit.
    """
    if not 1 <= threshold < np.inf or poly_order < 0:
        msg = f"threshold, poly_order: {threshold}, {poly_order} are not allowed, the least are 1 and 0"
        raise InvalidInputError(msg)
    p = params or FitParams()
    rows, kept = [], []
    for grism, angles in multibeam.PA.items():
        found = []
        for angle, members in angles.items():
            part = MultiBeam([multibeam.beams[i] for i in members])
            try:
                scan = BeamProblem(part, errors=p.errors).scan(polynomials(poly_order), 0.0, params=p, fitter="lstsq")
                chi2, dof = float(scan.loss[0]), part.DoF - part.N - poly_order - 1
            except NoDataError:
                chi2, dof = np.inf, 0
            found.append((angle, members, chi2, dof))
        best = min((chi2 / dof for _, _, chi2, dof in found if dof >= _LEAST_DOF), default=np.inf)
        for angle, members, chi2, dof in found:
            has_data = bool(np.isfinite(chi2))
            ratio = chi2 / dof / best if dof >= _LEAST_DOF else None
            is_kept = has_data and (ratio is None or ratio <= threshold)
            kept += members if is_kept else []
            rows.append(
                {
                    "grism": grism,
                    "angle": angle,
                    "n_beams": len(members),
                    "chi2": chi2 if has_data else None,
                    "dof": max(dof, 0),
                    "ratio": ratio,
                    "is_kept": is_kept,
                }
            )
    if not kept:
        msg = f"multibeam: source {multibeam.source_id} has no orientation with a pixel that can be fitted"
        raise NoDataError(msg)
    beams = MultiBeam([multibeam.beams[i] for i in sorted(kept)], records=multibeam.records)
    return beams, pl.DataFrame(rows, schema=_SCHEMA)


def drop_angles(multibeam: MultiBeam, angles: Iterable[tuple[str, float]]) -> MultiBeam:
    """Return the beams without those of some orientations.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    angles : iterable of (str, float)
        Grism and angle [deg], as in `MultiBeam.PA`; others are left alone.

    Raises
    ------
    NoDataError
        When no beam is left.
    """
    named = set(angles)
    left = {
        i for grism, some in multibeam.PA.items() for a, members in some.items() if (grism, a) in named for i in members
    }
    if not left:
        return multibeam
    kept = [one for i, one in enumerate(multibeam.beams) if i not in left]
    if not kept:
        msg = f"angles: {sorted(named)} are all orientations of source {multibeam.source_id}"
        raise NoDataError(msg)
    return MultiBeam(kept, records=multibeam.records)
