"""What the pixels of an exposure count in a mosaic."""

from typing import get_args

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import Exposure, WeightKind
from skymere.errors import InvalidInputError

__all__ = ["check_weight_kind", "exposure_weight"]


def check_weight_kind(kind: WeightKind) -> None:
    """Raise InvalidInputError when there is no such kind of weight."""
    if kind not in get_args(WeightKind):
        msg = f"weight: {kind!r} is not allowed, it must be one of {', '.join(get_args(WeightKind))}"
        raise InvalidInputError(msg)


def exposure_weight(
    exposure: Exposure, kind: WeightKind, *, good: NDArray[np.bool_], value_scale: float, per_second: float
) -> NDArray[np.float32]:
    """Return the weight of each pixel.

    Parameters
    ----------
    exposure : Exposure
        With ``error`` for `inverse_variance_with_sources`; with the absolute ``sky`` and the read noise for
        `inverse_variance`.
    kind : str
        ``exposure_time`` (EXP of AstroDrizzle), ``inverse_variance`` of the background (IVM), or
        ``inverse_variance_with_sources`` (ERR), which gives bright cores little weight and so broadens stars.
    good : ndarray, bool, shape (ny, nx)
        Pixels that count.
    value_scale : float
        Factor of the values on their way to the output.
    per_second : float
        Factor that makes a value a rate.

    Returns
    -------
    ndarray, float32, shape (ny, nx)
        Seconds, or the inverse variance of what is added to the output [(electron / s)^-2]; 0 for bad pixels.

    Raises
    ------
    InvalidInputError
        When the background has no noise that is known.

    Notes
    -----
    The background's variance in electrons is ``sky + RN^2`` with the sky of the whole exposure.
    """
    check_weight_kind(kind)
    if kind == "exposure_time":
        return good * np.float32(exposure.exptime)
    if kind == "inverse_variance_with_sources":
        sigma = np.where(good, exposure.error, np.float32(1)).astype(np.float64) * value_scale
        known = good & (sigma > 0)
        return np.where(known, np.where(known, sigma, 1.0) ** -2, 0.0).astype(np.float32)
    sky = exposure.sky * per_second * exposure.exptime
    variance = sky + exposure.read_noise**2
    if not 0 < variance < np.inf or sky < 0:
        msg = (
            f"weight: 'inverse_variance' needs the absolute sky and the read noise of {exposure.exposure_id}, "
            f"which are {exposure.sky} {exposure.unit} and {exposure.read_noise} electron"
        )
        raise InvalidInputError(msg)
    per_electron = value_scale / per_second / exposure.exptime
    return good * np.float32(1 / (variance * per_electron**2))
