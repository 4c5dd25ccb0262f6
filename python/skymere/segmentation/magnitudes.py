"""AB magnitudes of fluxes."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["AB_OF_MICROJANSKY", "magnitudes"]

AB_OF_MICROJANSKY = 23.9
_MAG_PER_RELATIVE_ERROR = 2.5 / np.log(10.0)


def magnitudes(fluxes: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Return ``mag_auto, mag_auto_err`` and ``mag_total, mag_total_err`` of the fluxes that there are [AB].

    Notes
    -----
    ``m = 23.9 - 2.5 log10(f / uJy)`` and ``1.0857 f_err / f``, NaN for fluxes that are not positive. The error of
    ``mag_auto`` has the noise of the aperture's shape where that is known.
    """
    columns: dict[str, NDArray[np.float64]] = {}
    for name, error in (("auto", "flux_auto_err_total"), ("total", "flux_total_err")):
        if f"flux_{name}" in fluxes:
            flux = np.where(fluxes[f"flux_{name}"] > 0, fluxes[f"flux_{name}"], np.nan)
            sigma = fluxes.get(error, fluxes[f"flux_{name}_err"])
            columns[f"mag_{name}"] = AB_OF_MICROJANSKY - 2.5 * np.log10(flux)
            columns[f"mag_{name}_err"] = _MAG_PER_RELATIVE_ERROR * sigma / flux
    return columns
