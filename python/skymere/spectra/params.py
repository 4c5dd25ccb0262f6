"""Parameters of redshift fits."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from skymere.errors import InvalidInputError

__all__ = ["MSAEXP_PARAMS", "RedshiftParams"]

Bounds = Literal["none", "lines", "all"]
SysErrOf = Literal["model", "data"]


@dataclass(frozen=True, kw_only=True)
class RedshiftParams:
    """Parameters of `fit_redshift` and `fit_lines`.

    Parameters
    ----------
    scale_disp : float
        By which the resolving power is multiplied. Tables of NIRSpec hold for slits that are lit evenly; 1.3 is for
        compact sources.
    vel_width : float
        Width of lines in velocity, one sigma [km/s].
    sys_err : float
        Error relative to the flux that is added in quadrature to every pixel.
    sys_err_of : str
        ``model``: relative to the best model of a first pass, so that noise does not change weights; ``data``: to
        positive fluxes, as msaexp.
    non_negative : str
        What may not be negative: ``none``, ``lines``, or ``all`` templates.
    line_prior : float
        1 sigma of the fluxes of lines and complexes around 0 [erg/s/cm2], over which p(z) is then integrated; 0 = p(z)
        is the best likelihood at each redshift. Fluxes themselves are not drawn to 0.
    coarse_step : float
        Step of the first grid in ln(1 + z), at most.
    coarse_per_sigma : float
        Steps of the first grid in a sigma of the narrowest line, at least, so that none is stepped over; 0 = no limit.
    fine_step : float
        Step around the lowest minima of the first grid.
    fine_half_width : float
        How far the fine grid reaches to both sides, in ln(1 + z).
    n_peaks : int
        Number of minima that get a fine grid.
    n_per_sigma : int
        Points per sigma of a last grid around the minima of the fine one, with which p(z) is resolved; 0 = none.
    min_peak_probability : float
        The fit is ``ambiguous`` when less of p(z) than this is near the best redshift,
    peak_half_width : float
        within this in ln(1 + z).

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    scale_disp: float = 1.3
    vel_width: float = 100.0
    sys_err: float = 0.02
    sys_err_of: SysErrOf = "model"
    non_negative: Bounds = "none"
    line_prior: float = 0.0
    coarse_step: float = 0.002
    coarse_per_sigma: float = 1.0
    fine_step: float = 0.0001
    fine_half_width: float = 0.004
    n_peaks: int = 5
    n_per_sigma: int = 4
    min_peak_probability: float = 0.9
    peak_half_width: float = 0.01

    def __post_init__(self) -> None:
        for name in ("scale_disp", "coarse_step", "fine_step", "fine_half_width", "peak_half_width"):
            if not 0 < getattr(self, name) < math.inf:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        for name in ("vel_width", "sys_err", "line_prior", "coarse_per_sigma"):
            if not 0 <= getattr(self, name) < math.inf:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be 0 or positive"
                raise InvalidInputError(msg)
        if self.fine_step > self.coarse_step:
            msg = f"fine_step: {self.fine_step} is not allowed, it must not be above coarse_step {self.coarse_step}"
            raise InvalidInputError(msg)
        if self.n_peaks < 1 or self.n_per_sigma < 0:
            msg = f"n_peaks, n_per_sigma: {self.n_peaks}, {self.n_per_sigma} are not allowed, the least are 1 and 0"
            raise InvalidInputError(msg)
        if not 0 <= self.min_peak_probability <= 1:
            msg = f"min_peak_probability: {self.min_peak_probability} is not allowed, it must be in [0, 1]"
            raise InvalidInputError(msg)
        self._check_words()

    def _check_words(self) -> None:
        for name, kind in (("sys_err_of", SysErrOf), ("non_negative", Bounds)):
            if getattr(self, name) not in get_args(kind):
                msg = f"{name}: {getattr(self, name)!r} is not allowed, it must be one of {', '.join(get_args(kind))}"
                raise InvalidInputError(msg)
        if self.line_prior > 0 and self.non_negative != "none":
            msg = f"line_prior: {self.line_prior} is not allowed with non_negative {self.non_negative!r}"
            raise InvalidInputError(msg)


MSAEXP_PARAMS = RedshiftParams(sys_err_of="data", coarse_per_sigma=0.0, fine_half_width=0.005, n_peaks=1, n_per_sigma=0)
"""How msaexp 0.9.19 fits prism spectra."""
