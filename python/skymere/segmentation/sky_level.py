"""What the error of the sky level adds to the errors of fluxes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError

__all__ = ["add_sky_error", "checked_sky_errors"]


def checked_sky_errors(sky_errors: Mapping[str, float] | None, bands: Sequence[str]) -> dict[str, float]:
    """Return the errors of the sky level by band.

    Raises
    ------
    InvalidInputError
        When a band is not among those on the pixels of the segmentation, or a value is not allowed.
    """
    given = dict(sky_errors or {})
    if unknown := sorted(given.keys() - set(bands)):
        msg = f"sky_errors: {unknown} are no bands on the pixels of the segmentation, it must be some of {list(bands)}"
        raise InvalidInputError(msg)
    for band, value in given.items():
        if not (value >= 0 and np.isfinite(value)):
            msg = f"sky_errors: {value} of {band!r} is not allowed, it must be 0 or positive"
            raise InvalidInputError(msg)
    return given


def add_sky_error(
    fluxes: dict[str, Any],
    found: Mapping[str, NDArray[Any]],
    level: float,
    weight: ArrayLike | None,
    diameters_pix: Sequence[float],
) -> None:
    """Add the error of the sky level to those of the fluxes of a band, in place.

    Parameters
    ----------
    fluxes : dict
        Columns of the band.
    found : mapping
        Columns of all bands: centres, areas of segments [pix], ellipses [pix] and Kron radii.
    level : float [unit of the fluxes]
        One sigma of the level, for a weight of 1 where there are weights.
    weight : array_like, float32, shape (ny, nx), or None
        The variance of the sky is a multiple of its inverse.
    diameters_pix : sequence of float
        Of the circles.
    """
    sigma = (
        np.full(len(found["x"]), level) if weight is None else level * _root_of_inverse(weight, found["x"], found["y"])
    )
    kron = np.pi * found["a"] * found["b"] * found["kron_radius"] ** 2
    areas = {"flux_iso_err": found["area"], "flux_auto_err": kron, "flux_auto_err_total": kron}
    if "flux_total_err" in fluxes:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = fluxes["flux_total"] / fluxes["flux_auto"]
        areas["flux_total_err"] = kron * np.where(np.isfinite(ratio), np.maximum(ratio, 1.0), 1.0)
    areas |= {f"flux_aper{i + 1}_err": 0.25 * np.pi * d * d for i, d in enumerate(diameters_pix)}
    for name, area in areas.items():
        if len(fluxes.get(name, ())):
            fluxes[name] = np.hypot(fluxes[name], area * sigma)


def _root_of_inverse(weight: ArrayLike, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``1 / sqrt(weight)`` of the pixels in which the centres lie, 0 where there is no weight."""
    image = np.asarray(weight)
    columns, rows = (
        np.clip(np.rint(np.nan_to_num(c)).astype(np.intp), 0, n - 1)
        for c, n in ((x, image.shape[1]), (y, image.shape[0]))
    )
    at = image[rows, columns].astype(np.float64)
    return np.where(at > 0, 1.0 / np.sqrt(np.where(at > 0, at, 1.0)), 0.0)
