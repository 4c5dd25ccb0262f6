"""How well the exposures of a lake are aligned."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from skymere.errors import NoDataError, NotFoundError
from skymere.lake import Lake
from skymere.viewer.palette import COLOURS, style
from skymere.viewer.pictures import new_figure

__all__ = ["draw_alignment"]

_SMALL = 8
_NAMED = 40


def draw_alignment(lake: Lake, exposure_ids: Sequence[str] = ()) -> Any:
    """Draw the alignment of exposures: shifts with their errors, what is left, and pairs.

    Parameters
    ----------
    lake : Lake
        The lake.
    exposure_ids : sequence of str, optional
        Only these exposures; all that have a solution when not given.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    NotFoundError
        When an exposure has no solution.
    NoDataError
        When the lake has none at all.

    Notes
    -----
    Shifts are those of the parent in its tangent plane, x and y; residuals are root mean squares of the pairs that the
    fit used. An exposure that could not be aligned is a cross at the bottom of the residuals.
    """
    rows = lake.table("wcs_solution").sort("exposure_id", "is_active", "solution_id", descending=[False, True, False])
    table = rows.collect().unique("exposure_id", keep="first", maintain_order=True)
    if table.is_empty():
        msg = f"{lake.path}: no exposure has a solution, the stage align was not run"
        raise NoDataError(msg)
    missing = [name for name in exposure_ids if name not in set(table["exposure_id"])]
    if missing:
        some = ", ".join(table["exposure_id"].head(5))
        msg = f"exposure_ids: {', '.join(missing)} has no solution in {lake.path}, such are {some}"
        raise NotFoundError(msg)
    if exposure_ids:
        table = table.filter(pl.col("exposure_id").is_in(list(exposure_ids)))
    figure = new_figure(13.0, 5.2)
    left, right = figure.subfigures(1, 2, width_ratios=[1.0, 1.7])
    _draw_shifts(left.subplots(), table)
    _draw_residuals(right.subplots(2, 1, sharex=True, height_ratios=[2.0, 1.0]), table)
    bad = table.filter(pl.col("status") != "ok").height
    rms = table["rmse"].drop_nulls()
    middle = "" if rms.is_empty() else f", median residual {1000 * float(np.median(rms.to_numpy())):.1f} mas"
    figure.suptitle(f"{table.height} exposures, {bad} not aligned{middle}", fontsize=_SMALL + 2)
    return figure


def _draw_shifts(axes: Any, table: pl.DataFrame) -> None:
    fitted = table.drop_nulls(["shift_x", "shift_y"])
    for i, (method,) in enumerate(fitted.select("method").unique(maintain_order=True).iter_rows()):
        mine = fitted.filter(pl.col("method") == method)
        x, y = (mine[name].to_numpy() for name in ("shift_x", "shift_y"))
        errors = [mine[f"{name}_err"].fill_null(0.0).to_numpy() for name in ("shift_x", "shift_y")]
        axes.errorbar(x, y, errors[1], errors[0], ls="none", ms=5, lw=0.8, capsize=2, label=str(method), **style(i))
    axes.axhline(0.0, color="0.7", lw=0.8)
    axes.axvline(0.0, color="0.7", lw=0.8)
    axes.set_xlabel("shift in x [arcsec]", size=_SMALL)
    axes.set_ylabel("shift in y [arcsec]", size=_SMALL)
    axes.set_aspect("equal", adjustable="datalim")
    axes.tick_params(labelsize=_SMALL)
    if fitted.height:
        axes.legend(fontsize=_SMALL, frameon=False)


def _draw_residuals(panels: Any, table: pl.DataFrame) -> None:
    top, below = panels
    at = np.arange(table.height)
    for i, axis in enumerate("xy"):
        rms = 1000.0 * table[f"rms_{axis}"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        top.plot(at + 0.15 * (2 * i - 1), rms, ls="none", ms=5, label=f"rms in {axis}", **style(i))
    bad = (table["status"] != "ok").to_numpy()
    if bad.any():
        top.plot(at[bad], np.zeros(int(bad.sum())), "x", color=COLOURS[-1], ms=7, label="not aligned")
    top.set_ylim(bottom=0.0)
    top.set_ylabel("residual [mas]", size=_SMALL)
    top.legend(fontsize=_SMALL, frameon=False)
    below.bar(at, table["n_matches"].fill_null(0).to_numpy(), color="0.6")
    below.set_ylabel("pairs", size=_SMALL)
    for axes in panels:
        axes.tick_params(labelsize=_SMALL)
        axes.set_axisbelow(True)
        axes.grid(axis="y", color="0.93")
    if table.height <= _NAMED:
        below.set_xticks(at, table["exposure_id"].to_list(), rotation=90, fontsize=_SMALL - 1)
    else:
        below.set_xlabel("exposures by name", size=_SMALL)
