"""Fitted profiles as a table."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = [
    "PARAMETERS",
    "Found",
    "joint_covariance",
    "outer_values",
    "profile_table",
    "source_fluxes",
    "table_of_kinds",
]

# As the columns and the covariance have them; the last two are the slopes of the sky.
PARAMETERS = ("x", "y", "flux", "r_eff_pix", "sersic_index", "ellipticity", "pa", "sky", "sky_slope_x", "sky_slope_y")
# From the units of the kernel, the axis ratio and radians.
_UNITS = np.array([1, 1, 1, 1, 1, -1, 180 / np.pi, 1, 1, 1])
# Which of them are in the unit of the data.
_IS_LIGHT = np.array([False, False, True, False, False, False, False, True, True, True])

Found = tuple[
    NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64], list[str]
]


def _factors(unit: float) -> NDArray[np.float64]:
    return _UNITS * np.where(_IS_LIGHT, unit, 1.0)


def outer_values(values: NDArray[np.float64], unit: float) -> NDArray[np.float64]:
    """Return parameters of the kernel as columns have them.

    Parameters
    ----------
    values : ndarray, float64, shape (n * 10,)
        Those of the kernel.
    unit : float
        Its unit of light.
    """
    rows: NDArray[np.float64] = values.reshape(-1, len(PARAMETERS)) * np.where(_IS_LIGHT, unit, 1.0)
    rows[:, 5] = 1.0 - rows[:, 5]
    rows[:, 6] = (np.rad2deg(rows[:, 6]) - 90.0 + 90.0) % 180.0 - 90.0
    return rows


def joint_covariance(covariance: NDArray[np.float64], n_components: int, unit: float) -> NDArray[np.float64]:
    """Return the covariance of all parameters of some components, and of the sky, in the units of the columns.

    Parameters
    ----------
    covariance : ndarray, float64
        That of the kernel.
    n_components : int
        Number of components.
    unit : float
        Unit of light of the kernel.
    """
    factors = _factors(unit)
    all_factors = np.concatenate([np.tile(factors[:7], n_components), factors[7:]])
    n = len(all_factors)
    return np.asarray(covariance.reshape(n, n) * all_factors * all_factors[:, None])


def source_fluxes(
    flux: NDArray[np.float64], joint: NDArray[np.float64], n_components: Sequence[int], unit: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the light of all components of each source and its error, for every component.

    Parameters
    ----------
    flux : ndarray, float64, shape (n,)
        Of the components.
    joint : ndarray, float64
        Covariances of the kernel of all parameters of each source, one source after another.
    n_components : sequence of int
        Of each source.
    unit : float
        Unit of light of the kernel.
    """
    counts = np.asarray(n_components, int)
    total, variance = np.zeros(len(flux)), np.zeros(len(flux))
    component = element = 0
    for count in counts.tolist():
        side = 7 * count + 3
        covariance = joint[element : element + side * side].reshape(side, side)
        own = slice(component, component + count)
        total[own] = flux[own].sum()
        variance[own] = covariance[2 : 7 * count : 7, 2 : 7 * count : 7].sum()
        component, element = own.stop, element + side * side
    return total, unit * np.sqrt(np.where(variance > 0, variance, np.nan))


def profile_table(found: Found, *, unit: float = 1.0) -> pl.DataFrame:
    """Return what the kernel found as `skymere.profiles.fit_sersic` describes it.

    Parameters
    ----------
    found : tuple
        Of each fit the 10 parameters, their 10 x 10 covariances, then chi-square, pixels, free parameters, evaluations,
        whether it has converged and surface brightness at the half-light radius, which parameters ended on a bound,
        where they started, and what went wrong.
    unit : float, optional
        Unit of light of the kernel.
    """
    flat, covariance, numbers, on_bound, _, messages = found
    n = len(messages)
    values = outer_values(flat, unit)
    factors = _factors(unit)
    covariance = covariance.reshape(n, len(PARAMETERS), len(PARAMETERS)) * factors * factors[:, None]
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
            "intensity": intensity * unit,
            "chi2": chi2,
            "dof": (n_pixels - n_free).astype(np.int32),
            "n_evaluations": n_evaluations.astype(np.int32),
            "is_converged": has_converged > 0,
            "bounds_hit": [[name for name, h in zip(PARAMETERS, row, strict=True) if h] for row in hit],
            "covariance": covariance,
            "status": ["failed" if message else "ok" for message in messages],
            "message": messages,
        },
        schema_overrides={"bounds_hit": pl.List(pl.String), "status": pl.String, "message": pl.String},
    )


def table_of_kinds(found: Found, kinds: Sequence[str], *, unit: float) -> pl.DataFrame:
    """Return what the kernel found of components of several kinds.

    Parameters
    ----------
    found : tuple
        As in `profile_table`.
    kinds : sequence of str
        Kind of each row; points have neither size nor shape, Moffat profiles ``beta`` and no index.
    unit : float
        Unit of light of the kernel.
    """
    table = profile_table(found, unit=unit).with_columns(kind=pl.Series(kinds, dtype=pl.String))
    is_moffat, is_point = pl.col("kind") == "moffat", pl.col("kind") == "point"
    shape = {"sersic_index": ~is_moffat & ~is_point, "beta": is_moffat}
    only = [
        pl.when(has).then(pl.col(f"sersic_index{end}")).otherwise(float("nan")).alias(f"{name}{end}")
        for name, has in shape.items()
        for end in ("", "_err")
    ]
    size = pl.when(is_point).then(0.0).otherwise(pl.col("r_eff_pix")).alias("r_eff_pix")
    round_ = [
        pl.when(is_point).then(float("nan")).otherwise(pl.col(name)).alias(name) for name in ("ellipticity", "pa")
    ]
    hit = (
        pl.when(is_moffat)
        .then(pl.col("bounds_hit").list.eval(pl.element().replace({"sersic_index": "beta"})))
        .otherwise(pl.col("bounds_hit"))
    )
    table = table.with_columns(*only, size, *round_, hit.alias("bounds_hit"))
    order = [name for name in table.columns if name not in ("beta", "beta_err", "kind")]
    after = order.index("sersic_index_err") + 1
    return table.select("kind", *order[:after], "beta", "beta_err", *order[after:])
