"""Parameters of fits to beams."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from skymere.errors import InvalidInputError

__all__ = ["GRIZLI_LINES", "GRIZLI_REDSHIFT", "FitParams"]

Fitter = Literal["nnls", "bounded", "lstsq"]
Profiles = Literal["exact", "grizli"]
Errors = Literal["sandwich", "weights"]
Scale = Literal["none", "per_grism"]


_LIMITS = (
    ("poly_order", 0, math.inf),
    ("n_peaks", 1, math.inf),
    ("scale_photometry", 0, 3),
    ("huber_delta", -math.inf, math.inf),
)


@dataclass(frozen=True, kw_only=True)
class FitParams:
    """Parameters of `skymere.grism.fit_redshift` and `skymere.grism.fit_lines`.

    Parameters
    ----------
    fitter : str, optional
        ``nnls``: nothing is negative; ``bounded``: continua are not negative, lines are within ``line_bounds``;
        ``lstsq``: no bounds. When not given, redshifts are found with ``nnls`` and lines with ``bounded``.
    line_bounds : tuple of float [erg/s/cm2]
        Least and largest flux of a line.
    profiles : str
        ``exact``: Gaussians integrated over pixels; ``grizli``: straight lines between points a tenth of the sigma
        apart, as grizli adds the lines of complexes, with its sigma of FWHM / 2.35.
    fit_background : bool
        Whether each beam has a constant of its own.
    background_sigma : float
        The constant is within plus and minus this many times the median error of the beam's fitted pixels.
    background_bounds : tuple of float, optional [e/s]
        Least and largest constant instead, the same for all beams.
    huber_delta : float
        Residuals of more sigmas count linearly; 0 or negative: chi square.
    poly_order : int
        Order of the polynomial that the templates are compared with.
    spline_resolution : float
        Resolution of the spline that they are compared with.
    n_peaks : int
        Peaks of the first grid that are looked at more finely.
    risk_gamma : float
        Width of the loss function, relative to 1 + z.
    errors : str
        ``sandwich``: errors of the weighted estimator; ``weights``: the inverse of the normal equations, as if weights
        were inverse variances, which they are not beside contamination. They are the same where ``fcontam`` is 0.
    has_covariance : bool
        Whether covariances of all trial redshifts are kept.
    scale : str
        ``none``, or ``per_grism``: each grism but the one with the most signal has a factor of its own, see
        `skymere.grism.fit_grism_scales`; for a redshift that of the best one.
    scale_photometry : int
        0: photometry is fitted as it is; 1, 2 or 3: beams are first scaled to it, by a constant, a linear or a
        quadratic polynomial of wavelength, see `skymere.grism.fit_photometry_scale`. Without a covered filter nothing
        is scaled, and the status of the scale says so.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.

    Notes
    -----
    grizli's non-negative fits let a background be negative by a pedestal of 0.04 e/s on the data, which is a lower
    bound of -0.04; `GRIZLI_REDSHIFT` and `GRIZLI_LINES` have its bounds.
    """

    fitter: Fitter | None = None
    line_bounds: tuple[float, float] = (-1e-16, 1e-13)
    profiles: Profiles = "exact"
    fit_background: bool = True
    background_sigma: float = 3.0
    background_bounds: tuple[float, float] | None = None
    huber_delta: float = 4.0
    poly_order: int = 3
    spline_resolution: float = 30.0
    n_peaks: int = 3
    risk_gamma: float = 0.15
    errors: Errors = "sandwich"
    has_covariance: bool = True
    scale: Scale = "none"
    scale_photometry: int = 0

    def __post_init__(self) -> None:
        words: tuple[tuple[str, Any], ...] = (("profiles", Profiles), ("errors", Errors), ("scale", Scale))
        if self.fitter is not None:
            words += (("fitter", Fitter),)
        for name, kind in words:
            if getattr(self, name) not in get_args(kind):
                msg = f"{name}: {getattr(self, name)!r} is not allowed, it must be one of {', '.join(get_args(kind))}"
                raise InvalidInputError(msg)
        for name in ("background_sigma", "spline_resolution", "risk_gamma"):
            if not 0 < getattr(self, name) < math.inf:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        for name, least, most in _LIMITS:
            if not least <= getattr(self, name) <= most:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be from {least} to {most}"
                raise InvalidInputError(msg)
        for name in ("line_bounds", "background_bounds"):
            bounds = getattr(self, name)
            if bounds is not None and not (len(bounds) == 2 and bounds[0] <= 0 < bounds[1]):
                msg = f"{name}: {bounds} is not allowed, the first must not be positive and the second must be"
                raise InvalidInputError(msg)


#: As grizli 1.14.3 searches redshifts.
GRIZLI_REDSHIFT = FitParams(profiles="grizli", errors="weights", background_bounds=(-0.04, math.inf))
#: As it fits lines with bounds.
GRIZLI_LINES = FitParams(profiles="grizli", errors="weights", background_bounds=(-0.05, 0.05))
