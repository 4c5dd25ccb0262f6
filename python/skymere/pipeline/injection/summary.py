"""What injected sources say: completeness, bias and pulls, by magnitude and size."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["Quantity", "binned_edges", "imaging_quantities", "summarise"]

# Pulls beyond this are counted, and are no part of the mean.
_OUTLIER = 5.0
# Half of the range between the 16th and the 84th percentile: the standard deviation of a normal distribution. Its
# error in units of sigma / sqrt(n), and that of the median.
_WIDTH_ERROR, _MEDIAN_ERROR = 1.06, 1.2533


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number that is measured of every source.

    Parameters
    ----------
    name : str
        What it is.
    measured, error, truth : str
        Columns of the injected sources; a ``truth`` that is empty is 0, and without an ``error`` there are no pulls.
    is_relative : bool
        Whether its bias is a part of the truth.
    where : polars.Expr, optional
        Rows that count.
    """

    name: str
    measured: str
    error: str = ""
    truth: str = ""
    is_relative: bool = True
    where: Any = None


def imaging_quantities(
    through: str, bands: Sequence[str], forced: Sequence[str], *, n_apertures: int, profile_band: str
) -> list[Quantity]:
    """Return what is compared after a stretch of the imaging stages.

    Parameters
    ----------
    through : str
        ``detect``, ``profiles`` or ``photometry``.
    bands, forced : sequence of str
        Bands of mosaics, and of forced fluxes.
    n_apertures : int
        Number of circular apertures.
    profile_band : str
        Band of the profiles.
    """
    found = [
        Quantity(name="ra", measured="offset_ra", error="ra_err", is_relative=False),
        Quantity(name="dec", measured="offset_dec", error="dec_err", is_relative=False),
    ]
    for band in bands:
        for kind in ("auto", "total"):
            names: dict[str, Any] = {"measured": f"flux_{kind}_{band}", "error": f"flux_{kind}_err_{band}"}
            found.append(Quantity(name=f"flux_{kind}_{band}", truth=f"true_flux_{band}", **names))
        found.append(
            Quantity(
                name=f"flux_auto_inside_{band}",
                measured=f"flux_auto_{band}",
                error=f"flux_auto_err_{band}",
                truth=f"true_flux_auto_inside_{band}",
            )
        )
        found += [
            Quantity(
                name=f"flux_aper{k}_{band}",
                measured=f"flux_aper{k}_{band}",
                error=f"flux_aper{k}_err_{band}",
                truth=f"true_flux_aper{k}_{band}",
            )
            for k in range(1, n_apertures + 1)
        ]
    if through != "detect":
        is_ok = pl.col("profile_status") == "ok"
        truths = {"flux": f"true_flux_{profile_band}", "r_eff": "true_r_eff"}
        for name in ("flux", "r_eff"):
            columns: dict[str, Any] = {"measured": f"profile_{name}", "error": f"profile_{name}_err"}
            found.append(Quantity(name=f"profile_{name}", truth=truths[name], where=is_ok, **columns))
        for name in ("sersic_index", "axis_ratio", "pa"):
            columns = {"measured": f"profile_{name}", "error": f"profile_{name}_err", "truth": f"true_{name}"}
            # A circle has no angle.
            where = is_ok & (pl.col("true_axis_ratio") < 0.7) if name == "pa" else is_ok
            found.append(Quantity(name=f"profile_{name}", is_relative=False, where=where, **columns))
    if through == "photometry":
        found += [
            Quantity(
                name=f"forced_flux_{band}",
                measured=f"forced_flux_{band}",
                error=f"forced_flux_err_{band}",
                truth=f"true_flux_{band}",
                where=pl.col(f"forced_status_{band}") == "ok",
            )
            for band in forced
        ]
    return found


def binned_edges(limits: tuple[float, float], n: int, *, is_log: bool = False) -> NDArray[np.float64]:
    """Return the ``n + 1`` edges of equal bins between two limits; one bin when these are equal."""
    low, high = limits
    if low == high:
        return np.array([low, np.nextafter(high, np.inf)])
    edges = np.geomspace(low, high, n + 1) if is_log else np.linspace(low, high, n + 1)
    edges[-1] = np.nextafter(high, np.inf)
    return edges


def summarise(
    table: pl.DataFrame,
    quantities: Sequence[Quantity],
    *,
    first: tuple[str, NDArray[np.float64]],
    second: tuple[str, NDArray[np.float64]] | None = None,
) -> pl.DataFrame:
    """Return completeness, bias and pulls in bins of two columns, and of the first alone.

    Parameters
    ----------
    table : polars.DataFrame
        Injected sources, with ``status`` and ``is_on_source``.
    quantities : sequence of Quantity
        What is compared.
    first, second : (str, ndarray)
        Columns and edges of the bins.

    Returns
    -------
    polars.DataFrame
        ``quantity``, ``population`` (``all``, or ``alone``: those whose place no source covered before), the limits of
        the bin, ``n``, ``n_found``, ``completeness`` with the 68 % Wilson interval (``completeness_low``, ``_high``);
        ``n_used``, ``bias`` (median of measured over true - 1, or of their difference) and ``pull_mean``,
        ``pull_median``, ``pull_sigma`` of (measured - true) / error, each with its standard error, ``n_outlier`` (pulls
        beyond 5). Completeness has the quantity ``completeness``.
    """
    rows = []
    whole = np.array([-np.inf, np.inf])
    splits = [(first[0], first[1], "", whole)]
    if second is not None and len(second[1]) > 2:
        splits.append((first[0], first[1], *second))
    for population in ("all", "alone"):
        chosen = table if population == "all" else table.filter(~pl.col("is_on_source"))
        for name, edges, other, other_edges in splits:
            for low, high in pairwise(edges):
                inside = chosen.filter(pl.col(name) >= low, pl.col(name) < high)
                for low2, high2 in pairwise(other_edges):
                    here = inside.filter(pl.col(other) >= low2, pl.col(other) < high2) if other else inside
                    limits: dict[str, Any] = {"population": population, "low": float(low), "high": float(high)}
                    limits |= {"low2": float(low2), "high2": float(high2)} if other else {"low2": None, "high2": None}
                    counted = _counts(here)
                    rows.append({"quantity": "completeness"} | limits | counted | _NOTHING)
                    rows += [{"quantity": q.name} | limits | counted | _pulls(here, q) for q in quantities]
    renamed = {"low": f"{first[0]}_low", "high": f"{first[0]}_high"}
    if second is not None:
        renamed |= {"low2": f"{second[0]}_low", "high2": f"{second[0]}_high"}
    frame = pl.DataFrame(rows, schema_overrides=_FLOATS).rename(renamed)
    return frame if second is not None else frame.drop("low2", "high2")


_STATISTICS: tuple[str, ...] = ("bias", "bias_err", "pull_mean", "pull_mean_err", "pull_median", "pull_median_err")
_STATISTICS += ("pull_sigma", "pull_sigma_err")
_NOTHING: dict[str, Any] = {"n_used": 0, "n_outlier": 0} | dict.fromkeys(_STATISTICS)
_FLOATS = dict.fromkeys((*_STATISTICS, "low2", "high2"), pl.Float64)


def _counts(rows: pl.DataFrame) -> dict[str, Any]:
    n, k = rows.height, int((rows["status"] == "found").sum())
    if n == 0:
        empty = dict.fromkeys(("completeness", "completeness_low", "completeness_high"))
        return {"n": 0, "n_found": 0, **empty}
    # Wilson 1927 with z = 1.
    part, middle = k / n, (k + 0.5) / (n + 1)
    half = np.sqrt(n) / (n + 1) * np.sqrt(part * (1 - part) + 0.25 / n)
    limits = {"completeness_low": float(middle - half), "completeness_high": float(middle + half)}
    return {"n": n, "n_found": k, "completeness": part, **limits}


def _pulls(rows: pl.DataFrame, quantity: Quantity) -> dict[str, Any]:
    if quantity.where is not None:
        rows = rows.filter(quantity.where)
    rows = rows.filter(pl.col("status") == "found")
    measured = rows[quantity.measured].cast(pl.Float64).to_numpy()
    error = rows[quantity.error].cast(pl.Float64).to_numpy() if quantity.error else np.ones(len(measured))
    truth = rows[quantity.truth].to_numpy() if quantity.truth else np.zeros(len(measured))
    usable = np.isfinite(measured) & np.isfinite(error) & (error > 0) & np.isfinite(truth)
    n = int(usable.sum())
    if n < 2:
        return _NOTHING | {"n_used": n}
    difference = (measured - truth)[usable]
    bias = difference / truth[usable] if quantity.is_relative else difference
    of_bias = {"bias": float(np.median(bias)), "bias_err": _MEDIAN_ERROR * _width(bias) / np.sqrt(n)}
    if not quantity.error:
        return _NOTHING | {"n_used": n} | of_bias
    pull = difference / error[usable]
    core = pull[np.abs(pull) < _OUTLIER]
    width = _width(pull)
    mean = float(core.mean()) if core.size else float("nan")
    mean_err = float(core.std(ddof=1) / np.sqrt(core.size)) if core.size > 1 else float("nan")
    return {
        "n_used": n,
        "n_outlier": n - core.size,
        **of_bias,
        "pull_mean": mean,
        "pull_mean_err": mean_err,
        "pull_median": float(np.median(pull)),
        "pull_median_err": _MEDIAN_ERROR * width / np.sqrt(n),
        "pull_sigma": width,
        "pull_sigma_err": _WIDTH_ERROR * width / np.sqrt(n),
    }


def _width(values: NDArray[np.float64]) -> float:
    low, high = np.percentile(values, [15.865, 84.135])
    return float(high - low) / 2
