"""Parameters of beams and of contamination."""

from dataclasses import dataclass
from typing import Literal, get_args

from skymere.errors import InvalidInputError

__all__ = ["GRIZLI_BEAMS", "GRIZLI_CONTAMINATION", "BeamParams", "ContaminationParams", "Operator"]

Operator = Literal["grizli", "spline"]
Wavelengths = Literal["light", "grizli"]
_OPERATORS = ("grizli", "spline")


def _check_operator(operator: str) -> None:
    if operator not in _OPERATORS:
        msg = f"operator: {operator!r} is not allowed, it must be one of {_OPERATORS}"
        raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class BeamParams:
    """Parameters of `read_beams` and `MultiBeam`.

    Parameters
    ----------
    operator : str
        How the direct image is dispersed: ``spline``, by cubic splines along and across the trace, or ``grizli``, by
        whole columns and linearly over two rows.
    fcontam : float
        Pixels count less beside contamination: weights are multiplied with ``exp(-fcontam |contam| sqrt(ivar))``.
    sys_err : float
        Error relative to the data that is added in quadrature, once.
    min_mask : float
        Pixels where the model of a flat spectrum is less than this part of its maximum are not fitted.
    min_sens : float
        Columns where the sensitivity is less than this part of its maximum are not fitted.
    mask_resid : bool
        Whether pixels with little light of the model (below 5 % of its maximum) and a residual of more than 5 sigma
        are not fitted.
    contam_sn_mask : tuple of float
        Pixels with a contamination above the first and a model below the second number of sigmas, and those two
        pixels around, are not fitted.
    mw_ebv : float
        Colour excess of the Milky Way's dust in front of the source [mag]: models are what is left behind it, so that
        spectra and line fluxes are those without it.
    wavelengths : str
        Of columns. ``light``: of the middle of the source's light. ``grizli``: of the middle of the cutout less
        XCENTER, as grizli 1.14.3, whose own files have XCENTER such that it is plus: up to a pixel off. Models and
        fits do not depend on it, except for the columns that ``min_sens`` leaves out.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    operator: Operator = "spline"
    fcontam: float = 0.2
    sys_err: float = 0.03
    min_mask: float = 0.01
    min_sens: float = 0.02
    mask_resid: bool = True
    contam_sn_mask: tuple[float, float] = (10.0, 3.0)
    mw_ebv: float = 0.0
    wavelengths: Wavelengths = "light"

    def __post_init__(self) -> None:
        _check_operator(self.operator)
        if self.wavelengths not in get_args(Wavelengths):
            msg = f"wavelengths: {self.wavelengths!r} is not allowed, it must be one of {get_args(Wavelengths)}"
            raise InvalidInputError(msg)
        for name in ("fcontam", "sys_err", "min_mask", "min_sens", "mw_ebv"):
            if not getattr(self, name) >= 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be 0 or more"
                raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class ContaminationParams:
    """Parameters of `contamination_model`.

    Parameters
    ----------
    operator : str
        As in `BeamParams`.
    min_size : int
        Least half width of the stamp of a source [pix].
    margin : int
        Pixels around the segment that belong to its stamp.
    max_size : int
        Largest half width; 0 = any.
    orders : tuple of str
        Orders that are drawn; all of the configuration when empty.
    is_padded : bool
        Whether image and segmentation already have the pad, with sources beyond the frame.
    fwcpos : float, optional
        Position of the filter wheel of NIRISS [deg].

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    operator: Operator = "spline"
    min_size: int = 26
    margin: int = 4
    max_size: int = 0
    orders: tuple[str, ...] = ()
    is_padded: bool = False
    fwcpos: float | None = None

    def __post_init__(self) -> None:
        _check_operator(self.operator)
        for name, least in (("min_size", 4), ("margin", 0), ("max_size", 0)):
            if getattr(self, name) < least:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be {least} or more"
                raise InvalidInputError(msg)


#: Beams as grizli 1.14.3 has them: its operator and its wavelengths of columns.
GRIZLI_BEAMS = BeamParams(operator="grizli", wavelengths="grizli")
#: As grizli 1.14.3.
GRIZLI_CONTAMINATION = ContaminationParams(operator="grizli")
