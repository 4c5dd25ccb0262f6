"""A figure strip of the beams of one object: each against the others, with what should be masked."""

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from skymere.grism.multibeam import MultiBeam
from skymere.grism.scores import ScoreParams, score_beams, suggest_masks
from skymere.grism.scores_actions import BeamAction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_scores"]

_FLAM = 1e-19
# Height of a beam and widths of a grism [inch].
_ROW, _COLUMN = 1.15, 5.2


def plot_scores(
    multibeam: MultiBeam, *, scores: pl.DataFrame | None = None, params: ScoreParams | None = None
) -> "Figure":
    """Draw each beam in one dimension over all others of its grism, with its score and suggested masks.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    scores : polars.DataFrame, optional
        As `score_beams` gives it; made when not given.
    params : ScoreParams, optional
        Bins and limits of scores and masks.

    Returns
    -------
    matplotlib.figure.Figure
        A column for each grism and a row for each of its beams, of pyplot; the caller saves and closes it. Ranges that
        `suggest_masks` names are shaded, and beams that it leaves out as a whole.

    Raises
    ------
    InvalidInputError
        When a parameter is not allowed.
    """
    import matplotlib.pyplot as plt

    params = ScoreParams() if params is None else params
    table = score_beams(multibeam, params=params) if scores is None else scores
    actions = suggest_masks(multibeam, table, params=params)
    groups = {name: [i for angle in sorted(angles) for i in angles[angle]] for name, angles in multibeam.PA.items()}
    most = max(len(some) for some in groups.values())
    size = (_COLUMN * len(groups) + 0.6, _ROW * most + 1.0)
    figure: Figure = plt.figure(figsize=size, layout="constrained")
    columns: Any = figure.subfigures(1, len(groups), squeeze=False)
    for column, (grism, members) in zip(columns[0], groups.items(), strict=True):
        rows = np.atleast_1d(column.subplots(most, 1, sharex=True))
        limits = _limits(table, members)
        for axes, i in zip(rows, members, strict=False):
            mine = [one for one in actions if one.meets(multibeam.beams[i])]
            _draw_beam(axes, multibeam, table, i, mine, limits, params.max_score)
        for axes in rows[len(members) :]:
            axes.axis("off")
        rows[len(members) - 1].set_xlabel("wavelength [um]", fontsize=8)
        rows[len(members) - 1].tick_params(labelbottom=True)
        column.suptitle(grism, fontsize=9)
        column.supylabel(r"$f_\lambda$ [$10^{-19}$ erg/s/cm$^2$/A]", fontsize=8)
    n = len(actions)
    told = "nothing to mask" if not n else f"{n} suggested mask{'s' if n > 1 else ''}"
    figure.suptitle(f"{multibeam.source_id}   {multibeam.N} beams, {told}", fontsize=10)
    return figure


def _limits(table: pl.DataFrame, members: list[int]) -> tuple[float, float]:
    """Return fluxes between which all beams of a grism are drawn, so that they can be compared."""
    if table.is_empty():
        return -1.0, 1.0
    rows = table.filter(pl.col("beam").is_in(members), pl.col("flux").is_not_null())
    # Bins where the sensitivity is low are noise.
    rows = rows.filter(pl.col("flux_err") < 3 * pl.col("flux_err").median())
    if rows.is_empty():
        return -1.0, 1.0
    flux = rows["flux"].to_numpy() / _FLAM
    low, high = np.percentile(flux, [1.0, 99.0])
    margin = 0.35 * max(high - low, 1e-3)
    # The name of the beam stands above its fluxes.
    return float(min(low - margin, -margin)), float(flux.max() + 2 * margin)


def _draw_beam(
    axes: Any,
    multibeam: MultiBeam,
    table: pl.DataFrame,
    i: int,
    actions: list[BeamAction],
    limits: tuple[float, float],
    max_score: float,
) -> None:
    one = multibeam.beams[i]
    rows = pl.DataFrame() if table.is_empty() else table.filter(pl.col("beam") == i).sort("wavelength_min")
    angle = multibeam.angles[i]
    name = f"{one.beam.parent}  PA {angle:.0f}" if np.isfinite(angle) else one.beam.parent
    axes.set_ylim(*limits)
    axes.tick_params(labelsize=7)
    if not rows.is_empty():
        names = ("wavelength_min", "wavelength_max", "flux", "flux_err", "others", "others_err", "score")
        low, high, flux, err, others, others_err, score = (rows[key].cast(pl.Float64).to_numpy() for key in names)
        middle = 0.5 * (low + high)
        axes.axhline(0.0, color="0.8", lw=0.6)
        axes.fill_between(
            middle, (others - others_err) / _FLAM, (others + others_err) / _FLAM, color="0.75", step="mid", lw=0
        )
        axes.step(middle, others / _FLAM, where="mid", color="0.4", lw=0.8, label="others")
        axes.errorbar(middle, flux / _FLAM, err / _FLAM, fmt=".", ms=3, lw=0.6, color="C0")
        off = np.abs(score) > max_score
        axes.plot(middle[off], flux[off] / _FLAM, "o", ms=5, mfc="none", color="tab:red", lw=0.8)
        axes.set_xlim(low[0], high[-1])
        finite = score[np.isfinite(score)]
        if finite.size:
            name += f"  largest score {finite[np.abs(finite).argmax()]:+.1f}"
        else:
            name += "  no other beam"
    for action in actions:
        low_end, high_end = action.span
        is_whole = action.action == "omit"
        left, right = axes.get_xlim()
        axes.axvspan(
            left if is_whole else max(low_end, left), right if is_whole else min(high_end, right),
            color="tab:red", alpha=0.25 if is_whole else 0.2, lw=0,
        )  # fmt: skip
        if is_whole:
            name += "  OMIT"
    axes.text(
        0.01, 0.96, name, transform=axes.transAxes, fontsize=7, va="top",
        bbox={"fc": "w", "ec": "none", "alpha": 0.7, "pad": 0.5},
    )  # fmt: skip
