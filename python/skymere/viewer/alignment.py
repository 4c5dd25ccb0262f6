"""Plots of an alignment that must look random: offsets, residuals, vectors. No display is needed."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.align import Alignment
from skymere.errors import NoDataError
from skymere.viewer.pictures import new_figure, save_figure

__all__ = ["plot_alignment", "plot_offsets"]


def plot_alignment(
    alignment: Alignment, path: str | Path, *, limit_arcsec: float | None = None, label_size: float = 8.0
) -> Path:
    """Write a picture of what an alignment leaves, against position and as vectors on the field; returns its path.

    Parameters
    ----------
    alignment : Alignment
        The alignment of an exposure.
    path : path-like
        PNG to write.
    limit_arcsec : float, optional
        Largest residual on the axes; all when not given [arcsec].
    label_size : float, optional
        Size of the labels [points].

    Raises
    ------
    NoDataError
        When the alignment has no pairs.
    """
    if alignment.fit is None:
        msg = f"{alignment.exposure_id}: no pairs to draw, it is {alignment.status} {alignment.reason}".rstrip()
        raise NoDataError(msg)
    fit = alignment.fit
    place, limit = _places(alignment), limit_arcsec or 1.1 * float(np.abs(fit.residuals).max(initial=1e-6))
    figure = new_figure(13.0, 6.0)
    left, right = figure.subfigures(1, 2, width_ratios=[1.2, 1.0])
    panels = left.subplots(2, 2, sharex="col", sharey=True)
    for i, residual in enumerate("xy"):
        for j, axis in enumerate("xy"):
            panel = panels[i, j]
            for used, colour in ((~fit.used, "0.7"), (fit.used, "tab:blue")):
                panel.plot(place[used, j], fit.residuals[used, i], ".", color=colour, markersize=4)
            panel.axhline(0.0, color="0.3", linewidth=0.8)
            panel.set_ylim(-limit, limit)
            panel.tick_params(labelsize=label_size)
            panel.set_xlabel(f"{axis} [arcsec]", size=label_size)
            panel.set_ylabel(f"residual in {residual} [arcsec]", size=label_size)
    _vectors(right, place, fit.residuals, fit.used, label_size)
    rms = " ".join(f"{value * 1000:.1f}" for value in fit.rms)
    figure.suptitle(f"{alignment.exposure_id}: {fit.n_used} pairs, rms {rms} mas", size=label_size + 2)
    return save_figure(figure, path)


def _places(alignment: Alignment) -> NDArray[np.float64]:
    """Positions of the pairs of the exposure itself in the plane [arcsec]; of a group by its own numbers."""
    fit, table = alignment.fit, alignment.sources
    if fit is None:
        return np.empty((0, 2))
    places = alignment.plane.of_pixels(alignment.wcs, table["x"].to_numpy(), table["y"].to_numpy())
    index = fit.pairs[:, 0]
    out = np.full((len(index), 2), np.nan)
    known = index < len(places)
    out[known] = places[index[known]]
    return out


def _vectors(
    figure: Any, place: NDArray[np.float64], residuals: NDArray[np.float64], used: NDArray[np.bool_], label_size: float
) -> None:
    panel = figure.subplots()
    arrows = panel.quiver(*place[used].T, *residuals[used].T, angles="xy", width=0.003, color="tab:blue")
    length = max(float(np.median(np.hypot(*residuals[used].T))) if used.any() else 0.0, 1e-4)
    label = f"{length * 1000:.1f} mas"
    panel.quiverkey(arrows, 0.85, 1.03, length, label, labelpos="E", fontproperties={"size": label_size})
    panel.set_aspect("equal", adjustable="datalim")
    panel.invert_xaxis()
    panel.set_xlabel("east [arcsec]", size=label_size)
    panel.set_ylabel("north [arcsec]", size=label_size)
    panel.tick_params(labelsize=label_size)


def plot_offsets(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    path: str | Path,
    *,
    radius_arcsec: float = 1.0,
    bin_arcsec: float = 0.1,
    label_size: float = 8.0,
) -> Path:
    """Write a picture of the histogram of all offsets of two lists, whose peak is the first guess; returns its path.

    Parameters
    ----------
    first, second : ndarray, float64, shape (n, 2) [arcsec]
        Positions in one plane, such as ``alignment.plane.of_pixels`` gives them.
    path : path-like
        PNG to write.
    radius_arcsec, bin_arcsec : float, optional
        Half side of the histogram, which it covers exactly, and side of its bins [arcsec].
    label_size : float, optional
        Size of the labels [points].

    Raises
    ------
    NoDataError
        When one of the lists is empty.
    """
    if not len(first) or not len(second):
        msg = f"positions: {len(first)} and {len(second)} of them have no offsets"
        raise NoDataError(msg)
    n = max(1, int(np.ceil(2 * radius_arcsec / bin_arcsec)))
    edges = np.linspace(-radius_arcsec, radius_arcsec, n + 1)
    counts = np.zeros((n, n))
    # One row at a time: the product of two long lists is never in memory.
    order = np.argsort(second[:, 0], kind="stable")
    ordered = second[order]
    low, high = (np.searchsorted(ordered[:, 0], first[:, 0] + sign * radius_arcsec) for sign in (-1.0, 1.0))
    for place, start, stop in zip(first, low, high, strict=True):
        away = ordered[start:stop] - place
        counts += np.histogram2d(away[:, 0], away[:, 1], bins=(edges, edges))[0]
    figure = new_figure(5.5, 5.0)
    panel = figure.subplots()
    image = panel.imshow(counts.T, origin="lower", extent=(edges[0], edges[-1], edges[0], edges[-1]), cmap="viridis")
    figure.colorbar(image, ax=panel, label="pairs")
    panel.set_xlabel("offset in x [arcsec]", size=label_size)
    panel.set_ylabel("offset in y [arcsec]", size=label_size)
    panel.tick_params(labelsize=label_size)
    panel.set_title(f"{int(counts.sum())} pairs, {int(counts.max())} in the best bin", size=label_size + 2)
    return save_figure(figure, path)
