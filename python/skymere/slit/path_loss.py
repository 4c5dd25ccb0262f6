"""Light that the slit cuts off: what the pipeline put back, taken away again, and the step to fluxes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError

__all__ = ["PathLoss", "flux_factor", "path_loss_factor"]

_UJY_PER_MJY = 1e12
POINT, UNIFORM = "PATHLOSS_PS", "PATHLOSS_UN"


@dataclass(frozen=True, kw_only=True, eq=False)
class PathLoss:
    """A factor, and what it stands for.

    Parameters
    ----------
    factor : ndarray, float32, shape (ny, nx)
        What the data are to be multiplied by; NaN where the transmission is unknown.
    removed : str
        ``PATHLOSS_PS`` or ``PATHLOSS_UN``, the correction that it undoes; empty when it undoes none.
    applied : str
        ``PATHLOSS_PS`` when it then corrects for a point source; else empty.
    """

    factor: NDArray[np.float32]
    removed: str
    applied: str


def path_loss_factor(
    shape: tuple[int, int],
    *,
    point: ArrayLike | None,
    uniform: ArrayLike | None,
    kind: str,
    then_point: bool = False,
    every_kind_is_point: bool = False,
) -> PathLoss:
    """Return the factor that takes the pipeline's correction for path loss back.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the cutout.
    point, uniform : array_like, float32, shape (ny, nx), optional
        Transmission for a point and for a uniform source; None where the file has none, so that nothing was done.
    kind : str
        ``POINT``, ``EXTENDED`` or the like as the file has it, or empty.
    then_point : bool, optional
        Correct for a point source afterwards.
    every_kind_is_point : bool, optional
        A source of any kind that is given, also ``EXTENDED``, was corrected as a point, as msaexp has it. The pipeline
        does so with ``POINT`` alone.

    Raises
    ------
    InvalidInputError
        When an array has another shape.

    Notes
    -----
    The pipeline divides by the transmission; data times it are as they were before.
    """
    planes = {}
    for name, plane in ((POINT, point), (UNIFORM, uniform)):
        if plane is not None:
            if np.shape(plane) != shape:
                msg = f"{name}: shape {np.shape(plane)} is not allowed, it must be {shape}"
                raise InvalidInputError(msg)
            planes[name] = np.asarray(plane, np.float32)
    word = kind.strip().upper()
    is_point = bool(word) if every_kind_is_point else word == "POINT"
    removed, applied = POINT if is_point else UNIFORM, ""
    factor = planes.get(removed)
    if factor is None:
        factor, removed = np.ones(shape, np.float32), ""
    if then_point and POINT in planes:
        with np.errstate(divide="ignore", invalid="ignore"):
            factor, applied = factor / planes[POINT], POINT
    return PathLoss(factor=np.where(np.isfinite(factor), factor, np.float32(np.nan)), removed=removed, applied=applied)


def flux_factor(pixel_area_sr: float) -> float:
    """Return what surface brightness is multiplied by to be the flux of a pixel [uJy / (MJy / sr)].

    Parameters
    ----------
    pixel_area_sr : float
        Solid angle of a pixel [sr].

    Raises
    ------
    InvalidInputError
        When it is not positive.
    """
    if not 0 < pixel_area_sr < np.inf:
        msg = f"pixel_area_sr: {pixel_area_sr} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    return float(pixel_area_sr) * _UJY_PER_MJY
