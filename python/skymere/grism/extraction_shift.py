"""Where the traces of a source really are: shifts across the dispersion from the data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skymere.errors import FitError, InvalidInputError
from skymere.grism.beam import BeamModel
from skymere.grism.multibeam import MultiBeam

__all__ = ["TraceShift", "apply_trace_shift", "fit_trace_shift"]

_STEPS = 17
_GROWTH = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class TraceShift:
    """Shifts of traces.

    Parameters
    ----------
    shifts, errors : ndarray, float64, shape (n_beams,) [pix]
        Added to the row of the trace of each beam, and 1 sigma; NaN for a beam with too few pixels.
    chi2, chi2_before : float
        Of the best shifts, and of none.
    """

    shifts: NDArray[np.float64]
    errors: NDArray[np.float64]
    chi2: float
    chi2_before: float


def fit_trace_shift(
    multibeam: MultiBeam, *, max_shift: float = 1.5, degree: int = 5, together: bool = False
) -> TraceShift:
    """Return by how much the traces of a source are off, from its continuum.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    max_shift : float, optional
        Largest shift that is looked at [pix].
    degree : int, optional
        Degree of the polynomial that stands for the spectrum of each beam.
    together : bool, optional
        Whether all beams have the same shift.

    Raises
    ------
    InvalidInputError
        When ``max_shift`` is not positive, or ``degree`` is negative.
    FitError
        When no shift is better than those beside it, as for a source that is too faint, or no beam has enough pixels.

    Notes
    -----
    For each of 17 shifts a polynomial of the wavelength and a background are fitted to the pixels on which the source
    may fall for any of them; the minimum is that of the parabola through the best shift and its neighbours, and 1 sigma
    is where it has risen by 1.
    """
    if not max_shift > 0 or degree < 0:
        msg = f"max_shift, degree: {max_shift}, {degree} are not allowed, they must be positive"
        raise InvalidInputError(msg)
    trials = np.linspace(-max_shift, max_shift, _STEPS)
    chi2 = np.array([[_chi2(one, float(shift), max_shift, degree) for shift in trials] for one in multibeam.beams])
    if np.isnan(chi2).all():
        msg = f"multibeam: no beam of source {multibeam.source_id} has more than {degree + 2} pixels around its trace"
        raise FitError(msg)
    if together:
        chi2 = np.repeat(np.nansum(chi2, axis=0, keepdims=True), multibeam.N, axis=0)
    found = [_minimum(trials, row, one) for row, one in zip(chi2, multibeam.beams, strict=True)]
    middle = chi2[:, _STEPS // 2]
    lowest = np.array([one[2] for one in found])
    n = multibeam.N if together else 1
    return TraceShift(
        shifts=np.array([one[0] for one in found]),
        errors=np.array([one[1] for one in found]),
        chi2=float(np.nansum(lowest)) / n,
        chi2_before=float(np.nansum(middle)) / n,
    )


def _chi2(one: BeamModel, shift: float, most: float, degree: int) -> float:
    """Return chi2 of the best polynomial for a shift; NaN where too few pixels are left for it, at any shift."""
    grown = np.zeros(one.shape, bool)
    base = one.flat > one.params.min_mask * one.flat.max()
    reach = int(np.ceil(most)) + _GROWTH
    for step in range(-reach, reach + 1):
        rows = np.roll(base, step, axis=0)
        rows[: max(step, 0)] = False
        if step < 0:
            rows[step:] = False
        grown |= rows
    mask = grown & (one.ivar > 0)
    if mask.sum() <= degree + 2:
        return float("nan")
    moved = one.with_beam(replace(one.beam, y_shift=one.beam.y_shift + shift))
    wave = np.linspace(one.wave.min(), one.wave.max(), 300)
    basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, wave.size), degree).T
    lights = np.stack([moved.light(wave, row) for row in basis], axis=1)
    columns = np.hstack([moved.column_operator(mask).toarray() @ lights, np.ones((int(mask.sum()), 1))])
    scale = np.abs(columns).max(axis=0)
    root = np.sqrt((one.ivar * one.weight)[mask])
    matrix = columns / np.where(scale > 0, scale, 1.0) * root[:, None]
    data = one.cleaned[mask] * root
    found, *_ = np.linalg.lstsq(matrix, data, rcond=None)
    return float(np.sum((data - matrix @ found) ** 2))


def _minimum(trials: NDArray[np.float64], chi2: NDArray[np.float64], one: BeamModel) -> tuple[float, float, float]:
    if np.isnan(chi2).any():
        return float("nan"), float("nan"), float("nan")
    k = int(chi2.argmin())
    if k in (0, trials.size - 1):
        msg = f"multibeam: {one.beam.label} has no best shift of its trace between {trials[0]} and {trials[-1]} pixels"
        raise FitError(msg)
    step = trials[1] - trials[0]
    a, b, c = chi2[k - 1 : k + 2]
    bend = (a - 2 * b + c) / step**2
    if not bend > 0:
        msg = f"multibeam: chi2 of {one.beam.label} does not depend on the shift of its trace"
        raise FitError(msg)
    off = (a - c) / (2 * step) / bend
    return float(trials[k] + off), float(np.sqrt(2 / bend)), float(b - 0.5 * bend * off**2)


def apply_trace_shift(multibeam: MultiBeam, shifts: TraceShift | Sequence[float]) -> MultiBeam:
    """Return beams with other traces.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    shifts : TraceShift or sequence of float, shape (n_beams,) [pix]
        What is added to the rows of the traces; a beam whose shift is NaN stays as it is.

    Raises
    ------
    InvalidInputError
        When there are not as many as beams.
    """
    given = np.asarray(shifts.shifts if isinstance(shifts, TraceShift) else shifts, np.float64)
    if given.shape != (multibeam.N,):
        msg = f"shifts: shape {given.shape} is not allowed, it must be ({multibeam.N},)"
        raise InvalidInputError(msg)
    models = []
    for one, shift in zip(multibeam.beams, given, strict=True):
        if not np.isfinite(shift):
            models.append(one)
            continue
        trace = one.beam.trace
        if trace is not None:
            trace = trace + np.array([0.0, float(shift), 0.0])
        beam = replace(one.beam, y_shift=one.beam.y_shift + float(shift), model=None, trace=trace)
        models.append(one.with_beam(beam))
    text = ", ".join(f"{shift:+.3f}" for shift in given)
    return MultiBeam(models, records=[*multibeam.records, f"traces moved by {text} pixels"])
