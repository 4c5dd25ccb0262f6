"""Traces of all nods, and how much a source's light allows to fit."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError
from skymere.slit.frames import SlitFrames
from skymere.slit.nods import NodDifference, NodParams, make_diff_image
from skymere.slit.profile import Profile
from skymere.slit.trace import TraceFit, TraceParams, fit_frames, fit_single_trace

__all__ = [
    "AllTracesParams",
    "FitChoice",
    "SlitTraces",
    "fit_all_traces",
    "fit_params_by_sn",
    "get_trace_sn",
    "reference_position",
]

Likelihood = Literal["frames", "reference", "each"]
DegreeRule = Literal["threshold", "interpolate"]


@dataclass(frozen=True, kw_only=True)
class AllTracesParams:
    """How the traces of all nods are fitted.

    Parameters
    ----------
    likelihood : str
        ``frames``: one solution from all frames, with free skies and amplitudes; ``reference``: the difference of one
        position is fitted and its solution copied to all; ``each``: every position by itself. The last two are
        msaexp's.
    reference : int, optional
        Position that is fitted for ``reference``; that of `reference_position` when not given.
    sky : str
        Free levels of the sky for ``frames``; see `fit_frames`.
    n_rounds : int
        How often differences are fitted, each time with the subtracted traces of the last.
    min_gain : float
        Gain in chi2 / 2 without which ``each`` keeps the trace as it was.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    likelihood: Likelihood = "frames"
    reference: int | None = None
    sky: Literal["column", "pixel", "exposure"] = "column"
    n_rounds: int = 3
    min_gain: float = 25.0

    def __post_init__(self) -> None:
        if self.likelihood not in get_args(Likelihood):
            allowed = ", ".join(get_args(Likelihood))
            msg = f"likelihood: {self.likelihood!r} is not allowed, it must be one of {allowed}"
            raise InvalidInputError(msg)
        if self.n_rounds < 1 or not self.min_gain >= 0:
            msg = (
                f"n_rounds, min_gain: {self.n_rounds}, {self.min_gain} are not allowed, "
                "they must be at least 1 and not negative"
            )
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class SlitTraces:
    """Fitted traces of all nods.

    Parameters
    ----------
    frames : SlitFrames
        The frames with their new traces.
    fits : dict of int to TraceFit
        The fit of every position's difference, evaluated at the common solution where there is one.
    differences : dict of int to NodDifference
        These differences.
    joint : TraceFit or None
        The fit to all frames, whose covariance is that of the solution; None for fits of differences.
    params : TraceParams
        Parameters of the fits.
    """

    frames: SlitFrames
    fits: dict[int, TraceFit] = field(repr=False)
    differences: dict[int, NodDifference] = field(repr=False)
    joint: TraceFit | None
    params: TraceParams


def reference_position(frames: SlitFrames) -> int:
    """Return the position of the exposure whose trace is nearest the median; that of the first of fewer than 3.

    Parameters
    ----------
    frames : SlitFrames
        All exposures.
    """
    if frames.shape[0] < 3:
        return int(frames.position[0])
    row = frames.base_coeffs[:, -1]
    return int(frames.position[int(np.argmin(np.abs(row - np.median(row))))])


def fit_all_traces(
    frames: SlitFrames,
    *,
    profile: Profile,
    params: TraceParams | None = None,
    traces: AllTracesParams | None = None,
    nods: NodParams | None = None,
    start: ArrayLike | None = None,
) -> SlitTraces:
    """Fit width and trace of a source in all its nods.

    Parameters
    ----------
    frames : SlitFrames
        All exposures.
    profile : GaussianProfile or TableProfile
        The profile.
    params : TraceParams, optional
        Degree, priors, bounds.
    traces : AllTracesParams, optional
        Which data are fitted.
    nods : NodParams, optional
        How nods are subtracted.
    start : array_like, float64, shape (degree + 2,) [pix], optional
        Size and coefficients.

    Returns
    -------
    SlitTraces
        Frames with the new traces, and a fit for each position.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed.
    NoDataError
        When no pixel is left.
    """
    asked, how = params or TraceParams(), traces or AllTracesParams()
    # The data stay as they are while traces move.
    differences = {p: make_diff_image(frames, position=p, params=nods) for p in frames.positions}
    if how.likelihood == "frames":
        joint = fit_frames(frames, profile=profile, params=asked, sky=how.sky, start=start)
        theta = np.concatenate([[joint.size], joint.trace_coeffs])
        moved = frames.with_trace(joint.trace_coeffs)
        # The size may be outside of the priors' reach only by the fit itself, so it is taken as it is.
        fits = {
            p: fit_single_trace(
                moved, position=p, profile=profile, params=_free(asked), nods=made, start=theta, evaluate=True
            )
            for p, made in differences.items()
        }
        return SlitTraces(frames=moved, fits=fits, differences=differences, joint=joint, params=asked)
    if how.likelihood == "each":
        return _fit_each(frames, profile, asked, how, differences, start)
    reference = how.reference if how.reference is not None else reference_position(frames)
    frames.is_at(reference)
    before, moved, fits = frames, frames, {}
    for _ in range(how.n_rounds):
        fit = fit_single_trace(
            moved, position=reference, profile=profile, params=asked, nods=differences[reference], start=start
        )
        start = np.concatenate([[fit.size], fit.trace_coeffs])
        # Later rounds follow a solution; no other start is tried.
        asked = replace(asked, n_offsets=0)
        before, moved, fits = moved, moved.with_trace(fit.trace_coeffs), {reference: fit}
    # Only the last round's are kept, with the traces that it began with.
    for p, made in differences.items():
        if p != reference:
            fits[p] = fit_single_trace(
                before, position=p, profile=profile, params=_free(asked), nods=made, start=start, evaluate=True
            )
    return SlitTraces(frames=moved, fits=fits, differences=differences, joint=None, params=params or TraceParams())


def _free(params: TraceParams) -> TraceParams:
    """Parameters for evaluating at any size."""
    return replace(params, fix_size=None)


def _fit_each(
    frames: SlitFrames,
    profile: Profile,
    params: TraceParams,
    how: AllTracesParams,
    differences: dict[int, NodDifference],
    start: ArrayLike | None,
) -> SlitTraces:
    starts: dict[int, ArrayLike | None] = dict.fromkeys(frames.positions, start)
    fits: dict[int, TraceFit] = {}
    for _ in range(how.n_rounds):
        moved = frames
        for p, made in differences.items():
            fit = fit_single_trace(frames, position=p, profile=profile, params=params, nods=made, start=starts[p])
            fits[p] = fit
            starts[p] = np.concatenate([[fit.size], fit.trace_coeffs])
            if fit.chi2 - fit.chi2_start < -how.min_gain:
                moved = moved.with_trace(fit.trace_coeffs, position=p)
        frames = moved
    return SlitTraces(frames=frames, fits=fits, differences=differences, joint=None, params=params)


def get_trace_sn(
    frames: SlitFrames,
    *,
    profile: Profile,
    position: int | None = None,
    size: float = 0.4,
    offset: float = 0.0,
    params: TraceParams | None = None,
    nods: NodParams | NodDifference | None = None,
) -> TraceFit:
    """Return the amplitudes of a fixed profile; ``sn`` of the result is the signal-to-noise ratio of every column.

    Parameters
    ----------
    frames : SlitFrames
        All exposures.
    profile : GaussianProfile or TableProfile
        The profile.
    position : int, optional
        The positive position; that of `reference_position` when not given.
    size : float [pix]
        Size of the source.
    offset : float [pix]
        Constant that is added to the trace.
    params : TraceParams, optional
        ``force_positive`` and the objective.
    nods : NodParams or NodDifference, optional
        How nods are subtracted, or what `make_diff_image` gave.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed.
    """
    chosen = reference_position(frames) if position is None else position
    asked = replace(params or TraceParams(), degree=0, fix_size=None)
    start = [size, offset]
    return fit_single_trace(
        frames, position=chosen, profile=profile, params=asked, nods=nods, start=start, evaluate=True
    )


@dataclass(frozen=True, kw_only=True)
class FitChoice:
    """What the signal of a source allows to fit.

    Parameters
    ----------
    sn_value : float
        Percentile of the signal-to-noise ratio; NaN without a column.
    fix_sigma : bool
        Whether the width is not to be fitted.
    degree : int
        Degree of the trace's polynomial.
    """

    sn_value: float
    fix_sigma: bool
    degree: int


def fit_params_by_sn(
    sn: ArrayLike,
    *,
    sn_percentile: float = 80.0,
    sigma_threshold: float = 5.0,
    degree_sn: Sequence[Sequence[float]] = ((-1000.0,), (0,)),
    degree_rule: DegreeRule = "threshold",
) -> FitChoice:
    """Return whether the width of a source is to be fitted, and the degree of its trace.

    Parameters
    ----------
    sn : array_like, float64, shape (nx,)
        Signal-to-noise ratio of every column, as `get_trace_sn` gives it.
    sn_percentile : float
        Percentile of ``sn`` that counts.
    sigma_threshold : float
        Value below which the width is not to be fitted.
    degree_sn : pair of sequences
        Thresholds, growing, and for each the degree that holds below it; from the last one on, the last degree.
    degree_rule : str
        ``threshold``, as described; ``interpolate``, as msaexp 0.9.19: the truncated linear interpolation.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """
    values: NDArray[np.float64] = np.asarray(sn, dtype=float)
    limits, degrees = (np.asarray(one, dtype=float) for one in degree_sn)
    if limits.size == 0 or limits.shape != degrees.shape or (np.diff(limits) <= 0).any() or degrees.min() < 0:
        msg = f"degree_sn: {degree_sn} is not allowed, it must be growing thresholds and as many degrees"
        raise InvalidInputError(msg)
    if degree_rule not in get_args(DegreeRule):
        msg = f"degree_rule: {degree_rule!r} is not allowed, it must be one of {', '.join(get_args(DegreeRule))}"
        raise InvalidInputError(msg)
    if not 0 <= sn_percentile <= 100:
        msg = f"sn_percentile: {sn_percentile} is not allowed, it must be from 0 to 100"
        raise InvalidInputError(msg)
    known = values[~np.isnan(values)]
    value = float(np.percentile(known, sn_percentile)) if known.size else np.nan
    if not np.isfinite(value):
        return FitChoice(sn_value=value, fix_sigma=True, degree=int(degrees[0]))
    if degree_rule == "interpolate":
        degree = int(np.interp(value, limits, degrees))
    else:
        degree = int(degrees[min(int(np.searchsorted(limits, value, side="right")), degrees.size - 1)])
    return FitChoice(sn_value=value, fix_sigma=value < sigma_threshold, degree=degree)
