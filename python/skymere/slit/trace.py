"""Width and trace of a source, from differences of nods or from all frames together."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_floats
from skymere._rust import slit as _rust
from skymere.errors import InvalidInputError
from skymere.slit.frames import SlitFrames
from skymere.slit.nods import NodDifference, NodParams, make_diff_image
from skymere.slit.profile import Profile

__all__ = ["TraceFit", "TraceParams", "TracePriors", "fit_frames", "fit_single_trace"]

SkyLevel = Literal["column", "pixel", "exposure"]


@dataclass(frozen=True, kw_only=True)
class TracePriors:
    """What is known of the width and the trace before the fit; the defaults are msaexp's.

    Parameters
    ----------
    size, size_width : float [pix]
        Mean and width of the Gaussian prior of the size.
    centre, centre_width : float [pix]
        Mean and width of that of every coefficient of the trace.
    wall : float
        Height of the logistic walls of the size, in units of chi2 / 2; 0 = none.
    wall_at : tuple of float [pix]
        Places of the lower and the upper wall.
    wall_steepness : tuple of float [1/pix]
        Their steepness.

    Raises
    ------
    InvalidInputError
        When a width is not positive.
    """

    size: float = 0.6
    size_width: float = 0.10544
    centre: float = 0.0
    centre_width: float = 0.1
    wall: float = 10000.0
    wall_at: tuple[float, float] = (0.0, 1.8)
    wall_steepness: tuple[float, float] = (30.0, 10.0)

    def __post_init__(self) -> None:
        for name in ("size_width", "centre_width"):
            if not getattr(self, name) > 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive (inf = no prior)"
                raise InvalidInputError(msg)
        if not self.wall >= 0 or min(self.wall_steepness) <= 0 or self.wall_at[0] >= self.wall_at[1]:
            msg = (
                f"wall, wall_at, wall_steepness: {self.wall}, {self.wall_at}, {self.wall_steepness} are not allowed, "
                "the height must not be negative, the places must grow and the steepness be positive"
            )
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class TraceParams:
    """How a trace is fitted.

    Parameters
    ----------
    degree : int
        Degree of the polynomial that is added to the trace.
    initial_size : float [pix]
        Where the size starts.
    fix_size : float, optional [pix]
        The size, when it is not fitted.
    force_positive : bool
        Only the positive part of a difference's profile counts.
    size_bounds, trace_bounds : tuple of float [pix]
        Bounds of the size and of every coefficient.
    huber : float
        Residual from which on the loss grows linearly [sigma].
    priors : TracePriors
        Priors.
    n_offsets : int
        Constant offsets of the trace that are tried as starts, beside the given one.
    max_evaluations : int
        Most evaluations of the objective for each start.
    tolerance : float
        Gain in chi2 of the next step that ends the fit.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    degree: int = 2
    initial_size: float = 0.3
    fix_size: float | None = None
    force_positive: bool = True
    size_bounds: tuple[float, float] = (0.1, 2.0)
    trace_bounds: tuple[float, float] = (-1.0, 1.0)
    huber: float = 7.0
    priors: TracePriors = field(default_factory=TracePriors)
    n_offsets: int = 4
    max_evaluations: int = 200
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        for name, least in (("degree", 0), ("n_offsets", 0), ("max_evaluations", 1)):
            if getattr(self, name) < least:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be at least {least}"
                raise InvalidInputError(msg)
        for name in ("size_bounds", "trace_bounds"):
            low, high = getattr(self, name)
            if not low < high:
                msg = f"{name}: {(low, high)} is not allowed, the first must be the smaller one"
                raise InvalidInputError(msg)
        if not self.huber > 0 or not self.tolerance > 0:
            msg = f"huber, tolerance: {self.huber}, {self.tolerance} are not allowed, they must be positive"
            raise InvalidInputError(msg)
        if self.fix_size is not None and not self.fix_size >= 0:
            msg = f"fix_size: {self.fix_size} is not allowed, it must not be negative"
            raise InvalidInputError(msg)

    @property
    def start(self) -> NDArray[np.float64]:
        """Size and coefficients of 0, float64, shape (degree + 2,) [pix]."""
        size = self.initial_size if self.fix_size is None else self.fix_size
        return np.concatenate([[size], np.zeros(self.degree + 1)])


@dataclass(frozen=True, kw_only=True, eq=False)
class TraceFit:
    """A fitted trace.

    Parameters
    ----------
    size : float [pix]
        Size of the source.
    trace_coeffs : ndarray, float64, shape (degree + 1,) [pix]
        Polynomial that is added to the trace, highest power first.
    covariance : ndarray, float64, shape (degree + 2, degree + 2) [pix2]
        Of size and coefficients; 0 where fixed, NaN when the data do not tell it.
    chi2_start, chi2 : float
        The objective, in units of chi2 / 2, with priors, at the start and at the end.
    has_converged : bool
        Whether the end is a minimum.
    n_evaluations : int
        How often the objective was evaluated.
    n_pixels : int
        Pixels in the fit.
    snum, svnum, sden : ndarray, float64, shape (nx,)
        Numerator of the amplitude, its variance, and the denominator.
    profile : ndarray, float64, shape (ny, nx)
        The difference's profile, NaN where no pixel was fitted; zeros for a fit to frames.
    position : int or None
        Position of the difference; None for all frames.
    force_positive : bool
        Whether only the positive part of the profile counts.
    """

    size: float
    trace_coeffs: NDArray[np.float64]
    covariance: NDArray[np.float64]
    chi2_start: float
    chi2: float
    has_converged: bool
    n_evaluations: int
    n_pixels: int
    snum: NDArray[np.float64]
    svnum: NDArray[np.float64]
    sden: NDArray[np.float64]
    profile: NDArray[np.float64]
    position: int | None
    force_positive: bool

    @property
    def size_err(self) -> float:
        """1 sigma of ``size`` [pix]."""
        return float(np.sqrt(self.covariance[0, 0]))

    @property
    def trace_coeffs_err(self) -> NDArray[np.float64]:
        """1 sigma of ``trace_coeffs``, float64, shape (degree + 1,) [pix]."""
        return np.sqrt(np.diag(self.covariance)[1:])

    @property
    def flux(self) -> NDArray[np.float64]:
        """Amplitude of every column, float64, shape (nx,) [uJy]; NaN without a pixel."""
        return np.divide(self.snum, self.sden, out=np.full_like(self.snum, np.nan), where=self.sden > 0)

    @property
    def flux_err(self) -> NDArray[np.float64]:
        """1 sigma of the amplitude for fixed profile, float64, shape (nx,) [uJy]."""
        sigma = np.sqrt(self.svnum)
        return np.divide(sigma, self.sden, out=np.full_like(sigma, np.nan), where=self.sden > 0)

    @property
    def sn(self) -> NDArray[np.float64]:
        """Amplitude over its error, float64, shape (nx,); NaN without a pixel."""
        sigma = np.sqrt(self.svnum)
        return np.divide(self.snum, sigma, out=np.full_like(sigma, np.nan), where=sigma > 0)


def _params_words(params: TraceParams, *, evaluate: bool) -> dict[str, Any]:
    priors = params.priors
    return {
        "degree": params.degree,
        "fits_size": params.fix_size is None,
        "positive_only": params.force_positive,
        "huber": params.huber,
        "size": (priors.size, priors.size_width),
        "centre": (priors.centre, priors.centre_width),
        "wall": priors.wall,
        "wall_at": priors.wall_at,
        "wall_steepness": priors.wall_steepness,
        "size_bounds": params.size_bounds,
        "centre_bounds": params.trace_bounds,
        "max_evaluations": 0 if evaluate else params.max_evaluations,
        "tolerance": params.tolerance,
    }


def _starts(params: TraceParams, start: ArrayLike | None, *, evaluate: bool) -> list[list[float]]:
    shape = (params.degree + 2,)
    first = params.start if start is None else as_floats(start, "start", shape=shape)
    if params.fix_size is not None and first[0] != params.fix_size:
        msg = f"start: a size of {float(first[0])} is not allowed, it is fixed to {params.fix_size}"
        raise InvalidInputError(msg)
    starts = [[float(v) for v in first]]
    if evaluate:
        return starts
    low, high = params.trace_bounds
    if np.isfinite(low) and np.isfinite(high):
        # Middles of equal parts of the interval.
        offsets = low + (high - low) * (np.arange(params.n_offsets) + 0.5) / max(params.n_offsets, 1)
    else:
        width = params.priors.centre_width
        offsets = params.priors.centre + 6 * width * (
            2 * np.arange(params.n_offsets) / max(params.n_offsets - 1, 1) - 1
        )
    starts += [[*starts[0][:-1], float(offset)] for offset in offsets]
    return starts


def _as_fit(made: dict[str, Any], params: TraceParams, position: int | None) -> TraceFit:
    theta = made["theta"]
    covariance = made["covariance"].reshape(theta.size, theta.size)
    if params.fix_size is not None:
        covariance[0, :] = covariance[:, 0] = 0.0
    return TraceFit(
        size=float(theta[0]),
        trace_coeffs=theta[1:],
        covariance=covariance,
        chi2_start=made["chi2_start"],
        chi2=made["chi2"],
        has_converged=made["has_converged"],
        n_evaluations=made["n_evaluations"],
        n_pixels=made["n_pixels"],
        snum=made["numerator"],
        svnum=made["numerator_variance"],
        sden=made["denominator"],
        profile=made["profile"],
        position=position,
        force_positive=params.force_positive,
    )


def fit_single_trace(
    frames: SlitFrames,
    *,
    position: int,
    profile: Profile,
    params: TraceParams | None = None,
    nods: NodParams | NodDifference | None = None,
    start: ArrayLike | None = None,
    evaluate: bool = False,
) -> TraceFit:
    """Fit the width of a source and the offset of its trace to one difference of nods.

    Parameters
    ----------
    frames : SlitFrames
        All exposures; those at other positions keep the trace that they have.
    position : int
        The positive position.
    profile : GaussianProfile or TableProfile
        The profile.
    params : TraceParams, optional
        Degree, priors, bounds.
    nods : NodParams or NodDifference, optional
        How nods are subtracted, or what `make_diff_image` gave.
    start : array_like, float64, shape (degree + 2,) [pix], optional
        Size and coefficients.
    evaluate : bool
        Do not fit: the objective and the amplitudes at the start, whatever the bounds.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed.
    NoDataError
        When no pixel is left.

    Notes
    -----
    With the difference d, its variance v and that of its read noise w, the profile p is the mean of those at the
    position less the mean at the others, the amplitude of a column ``a = sum(d p / w) / sum(p^2 / w)``, and the
    objective the sum of Huber's loss of ``(d - a p) / sqrt(v)`` and of the priors. Its derivatives are exact, those of
    the amplitude included; steps are Levenberg and Marquardt's. The covariance is the inverse of the curvature, priors
    included.
    """
    asked = params or TraceParams()
    made = nods if isinstance(nods, NodDifference) else make_diff_image(frames, position=position, params=nods)
    # Only the trace of the positive exposures moves.
    trace = np.where(made.is_positive[:, None], frames.base_trace, frames.trace)
    difference = np.where(made.mask, np.nan, made.difference)
    exposures = {
        "wavelength": frames.wavelength,
        "mask": frames.mask,
        "trace": np.ascontiguousarray(trace),
        "moves": made.is_positive.tolist(),
    }
    fit = _rust.fit_difference(
        difference,
        made.variance,
        made.read_variance,
        exposures,
        made.is_positive.tolist(),
        made.is_negative.tolist(),
        profile.words(),
        _starts(asked, start, evaluate=evaluate),
        _params_words(asked, evaluate=evaluate),
    )
    return _as_fit(fit, asked, position)


def fit_frames(
    frames: SlitFrames,
    *,
    profile: Profile,
    params: TraceParams | None = None,
    sky: SkyLevel = "column",
    start: ArrayLike | None = None,
    evaluate: bool = False,
) -> TraceFit:
    """Fit one width and one offset of the trace to all exposures together.

    Parameters
    ----------
    frames : SlitFrames
        All exposures; the offset is added to ``base_coeffs`` of each.
    profile : GaussianProfile or TableProfile
        The profile.
    params : TraceParams, optional
        Degree, priors, bounds; ``force_positive`` has no meaning here.
    sky : str
        Levels of the sky that are free: one for every ``column`` (in all exposures), for every ``pixel`` of the cutout
        (in all exposures: what differences of nods leave over, with their full covariance), or for every column of
        every ``exposure``.
    start : array_like, float64, shape (degree + 2,) [pix], optional
        Size and coefficients.
    evaluate : bool
        Do not fit: the objective and the amplitudes at the start.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed.
    NoDataError
        When no pixel is left.

    Notes
    -----
    The data are the frames themselves, so that no pixel counts twice: a chi2 summed over A-B, B-C and C-A, which sum to
    0, gives errors of 0.7 of the scatter. Weights are inverse variances; amplitudes and skies are the linear ones that
    fit best. ``sky="pixel"`` is free of everything that does not move with the nods, at the price of 1.22 times the
    scatter for three nods.
    """
    asked = params or TraceParams()
    if sky not in get_args(SkyLevel):
        msg = f"sky: {sky!r} is not allowed, it must be one of {', '.join(get_args(SkyLevel))}"
        raise InvalidInputError(msg)
    exposures = {
        "wavelength": frames.wavelength,
        "mask": frames.mask,
        "trace": frames.base_trace,
        "moves": [True] * frames.shape[0],
    }
    words = _params_words(asked, evaluate=evaluate) | {"positive_only": False}
    made = _rust.fit_frames(
        frames.data,
        frames.variance,
        exposures,
        sky,
        profile.words(),
        _starts(asked, start, evaluate=evaluate),
        words,
    )
    made["profile"] = np.zeros(frames.shape[1:])
    return _as_fit(made, asked, None)
