"""Figures of injection and recovery: completeness, bias and pulls."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from skymere.errors import InvalidInputError
from skymere.viewer.palette import style
from skymere.viewer.pictures import new_figure, save_figure

__all__ = ["plot_completeness", "plot_pulls"]

_LABELS = {"true_mag": "true magnitude [AB]", "true_line_flux": "true line flux [1e-17 erg / s / cm2]"}
_ALL, _ALONE = "all", "alone"


def plot_completeness(summary: pl.DataFrame, axis: str, path: str | Path) -> Path:
    """Write the part of injected sources that was found; returns the path.

    Parameters
    ----------
    summary : polars.DataFrame
        That of `skymere.pipeline.InjectionResult`.
    axis : str
        Column along which the bins lie, such as ``true_mag``.
    path : path-like
        PNG to write.
    """
    return save_figure(completeness_figure(summary, axis), path)


def completeness_figure(summary: pl.DataFrame, axis: str) -> Any:
    """Return the figure of `plot_completeness`."""
    figure = new_figure(7.0, 4.5)
    axes = figure.add_subplot(1, 1, 1)
    rows = summary.filter(pl.col("quantity") == "completeness", pl.col("n") > 0)
    for i, (name, of_curve) in enumerate(_curves(rows, axis, populations=(_ALL, _ALONE))):
        part = of_curve["completeness"].to_numpy()
        limits = (part - of_curve["completeness_low"].to_numpy(), of_curve["completeness_high"].to_numpy() - part)
        _points(axes, _middles(of_curve, axis, i), part, np.maximum(limits, 0.0), name, i)
    axes.axhline(1.0, color="0.6", linewidth=0.8)
    axes.set(xlabel=_LABELS.get(axis, axis), ylabel="found / injected", ylim=(-0.03, 1.08))
    _finish(axes, axis)
    return figure


def plot_pulls(summary: pl.DataFrame, axis: str, quantity: str, path: str | Path) -> Path:
    """Write bias, pull median and pull sigma of a quantity, or the bias alone where it has no pulls; returns the path.

    Parameters
    ----------
    summary : polars.DataFrame
        That of `skymere.pipeline.InjectionResult`.
    axis : str
        Column along which the bins lie, such as ``true_mag``.
    quantity : str
        One of its quantities.
    path : path-like
        PNG to write.

    Raises
    ------
    InvalidInputError
        When nothing is known of the quantity.
    """
    rows = summary.filter(pl.col("quantity") == quantity, pl.col("n_used") > 1)
    if rows.is_empty():
        have = summary["quantity"].unique(maintain_order=True).to_list()
        msg = f"quantity: {quantity!r} has no bin with two sources or more, the summary has {have}"
        raise InvalidInputError(msg)
    every = (("bias", 0.0), ("pull_median", 0.0), ("pull_sigma", 1.0))
    drawn = [one for one in every if rows[one[0]].is_not_null().any()]
    figure = new_figure(7.0, 3.0 * max(len(drawn), 1.5))
    figure.suptitle(quantity)
    for panel, (column, ideal) in enumerate(drawn, start=1):
        axes = figure.add_subplot(len(drawn), 1, panel)
        for i, (name, of_curve) in enumerate(_curves(rows, axis, populations=(_ALONE,))):
            values, errors = (of_curve[c].to_numpy() for c in (column, f"{column}_err"))
            _points(axes, _middles(of_curve, axis, i), values, errors, name, i)
        axes.axhline(ideal, color="0.6", linewidth=0.8)
        if column == "pull_sigma":
            axes.axhspan(0.9, 1.1, color="0.9", zorder=0)
            axes.set_ylim(bottom=0.0)
        axes.set(ylabel=column.replace("_", " "), xlabel=_LABELS.get(axis, axis) if panel == len(drawn) else "")
        _finish(axes, axis, has_legend=panel == 1)
    return save_figure(figure, path)


def _curves(rows: pl.DataFrame, axis: str, *, populations: tuple[str, ...]) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield what a figure draws: all sizes for each population, then the sizes of the first one."""
    others = [
        name for name in rows.columns if name.endswith("_low") and name not in (f"{axis}_low", "completeness_low")
    ]
    for population in populations:
        chosen = rows.filter(pl.col("population") == population)
        if others:
            chosen = chosen.filter(pl.col(others[0]).is_null())
        if chosen.height:
            yield population, chosen
    if not others:
        return
    other = others[0].removesuffix("_low")
    mine = rows.filter(pl.col("population") == populations[0], pl.col(others[0]).is_not_null())
    for (low, high), chosen in mine.group_by(f"{other}_low", f"{other}_high", maintain_order=True):
        yield f"{populations[0]}, {other.removeprefix('true_')} {low:.2g} to {high:.2g}", chosen


def _middles(rows: pl.DataFrame, axis: str, i: int) -> Any:
    low, high = (rows[f"{axis}_{end}"].to_numpy() for end in ("low", "high"))
    # Points of several curves stand side by side.
    return np.sqrt(low * high) * 1.015**i if _is_log(axis) else (low + high) / 2 + 0.02 * i * (high - low)


def _is_log(axis: str) -> bool:
    return axis != "true_mag"


def _points(axes: Any, x: Any, y: Any, error: Any, name: str, i: int) -> None:
    axes.errorbar(
        x,
        y,
        yerr=error,
        label=name,
        **style(i),
        markersize=5,
        linewidth=1.2,
        linestyle="-" if i == 0 else "--",
        capsize=2,
    )


def _finish(axes: Any, axis: str, *, has_legend: bool = True) -> None:
    if _is_log(axis):
        axes.set_xscale("log")
    if has_legend:
        axes.legend(fontsize=8, frameon=False)
    axes.grid(color="0.92")
