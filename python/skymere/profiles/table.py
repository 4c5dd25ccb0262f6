"""Fitted profiles as a table."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["PARAMETERS", "profile_table"]

# As the columns and the covariance have them; the last two are the slopes of the sky.
PARAMETERS = ("x", "y", "flux", "r_eff_pix", "sersic_index", "ellipticity", "pa", "sky", "sky_slope_x", "sky_slope_y")
# From the units of the kernel, the axis ratio and radians.
_UNITS = np.array([1, 1, 1, 1, 1, -1, 180 / np.pi, 1, 1, 1])


def profile_table(
    values: NDArray[np.float64],
    covariance: NDArray[np.float64],
    numbers: NDArray[np.float64],
    on_bound: NDArray[np.bool_],
    messages: list[str],
) -> pl.DataFrame:
    """Return what the kernel found as `skymere.profiles.fit_sersic` describes it.

    Parameters
    ----------
    values : ndarray, float64, shape (n * 10,)
        Parameters of each fit.
    covariance : ndarray, float64, shape (n * 100,)
        Their covariances.
    numbers : ndarray, float64, shape (n * 6,)
        Chi-square, pixels, free parameters, evaluations, whether it has converged, and surface brightness at the
        half-light radius.
    on_bound : ndarray, bool, shape (n * 10,)
        Which of them ended on a bound.
    messages : list of str
        What went wrong.
    """
    n = len(messages)
    values = values.reshape(n, len(PARAMETERS)).copy()
    values[:, 5] = 1.0 - values[:, 5]
    values[:, 6] = (np.rad2deg(values[:, 6]) - 90.0 + 90.0) % 180.0 - 90.0
    covariance = covariance.reshape(n, len(PARAMETERS), len(PARAMETERS)) * _UNITS * _UNITS[:, None]
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    error = np.sqrt(np.where(variance > 0, variance, np.nan))
    columns: dict[str, pl.Series | NDArray[np.float64]] = {}
    for i, name in enumerate(PARAMETERS):
        columns[name] = values[:, i]
        if i < 8:
            columns[f"{name}_err"] = error[:, i]
    chi2, n_pixels, n_free, n_evaluations, has_converged, intensity = numbers.reshape(n, 6).T
    hit = on_bound.reshape(n, len(PARAMETERS))
    return pl.DataFrame(
        columns
        | {
            "intensity": intensity,
            "chi2": chi2,
            "dof": (n_pixels - n_free).astype(np.int32),
            "n_evaluations": n_evaluations.astype(np.int32),
            "is_converged": has_converged > 0,
            "bounds_hit": [[name for name, h in zip(PARAMETERS, row, strict=True) if h] for row in hit],
            "covariance": covariance,
            "status": ["failed" if message else "ok" for message in messages],
            "message": messages,
        },
        schema_overrides={"bounds_hit": pl.List(pl.String)},
    )
