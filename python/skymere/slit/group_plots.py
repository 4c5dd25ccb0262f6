"""Pictures of a group of exposures. matplotlib is imported when one is drawn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.slit.figures import new_figure
from skymere.slit.group_fits import Fits, SlitGroupFits

__all__ = ["SlitGroupPlots"]

_Array = NDArray[np.float64]


_MODEL = "tomato"


def _binned(x: _Array, values: _Array, variance: _Array, edges: _Array) -> tuple[_Array, _Array, _Array]:
    """Return middles of bins, means weighted by inverse variances, and their errors, of bins with pixels."""
    weight = np.histogram(x, edges, weights=1 / variance)[0]
    sums = np.histogram(x, edges, weights=values / variance)[0]
    full = weight > 0
    middle = 0.5 * (edges[1:] + edges[:-1])
    return middle[full], sums[full] / weight[full], 1 / np.sqrt(weight[full])


class SlitGroupPlots(SlitGroupFits):
    """What is drawn of a group."""

    def plot_2d_differences(
        self,
        fit: Fits | None = None,
        clip_sigma: float = 5,
        kws: Mapping[str, Any] | None = None,
        figsize: tuple[float, float] = (6, 2),
    ) -> Any:
        """Draw the difference of each position, and with a fit its model and what is left.

        Parameters
        ----------
        fit : mapping, optional
            As ``fit_all_traces`` gives it; the last one when not given.
        clip_sigma : float
            Range of the grey levels, in median errors.
        kws : mapping, optional
            Arguments of ``imshow``.
        figsize : tuple of float [inch]
            Size of one panel.

        Returns
        -------
        matplotlib.figure.Figure
            The figure; nothing is shown or kept.
        """
        has = self.fit if fit is None else fit
        positions = self.unp.values
        n_x = 1 if has is None else 3
        figure = new_figure(figsize[0] * n_x, figsize[1] * len(positions))
        axes = figure.subplots(len(positions), n_x, sharex=True, sharey=True, squeeze=False)
        offsets = self.relative_nod_offset
        traces = self.frames().trace
        for row, exp in zip(axes, positions, strict=True):
            made = self.difference(exp)
            difference = np.where(made.mask, np.nan, made.difference)
            spread = clip_sigma * float(np.nanmedian(np.sqrt(made.variance)))
            looks = {"cmap": "bone_r", "interpolation": "nearest", "vmin": -spread, "vmax": 1.5 * spread, **(kws or {})}
            panels = [difference]
            if has is not None:
                panels += [has[exp]["smod"], difference - has[exp]["smod"]]
            for axis, image in zip(row, panels, strict=True):
                axis.imshow(image, aspect="auto", origin="lower", **looks)
                for k, trace in enumerate(traces):
                    if made.is_positive[k] or made.is_negative[k]:
                        axis.plot(trace, color="tomato" if made.is_positive[k] else "wheat", alpha=0.4, lw=1)
                axis.set(xlim=(-0.5, self.sh[1] - 0.5), ylim=(-0.5, self.sh[0] - 0.5))
            row[0].set_ylabel("row [pix]")
            star = "*" if exp == self.calc_reference_exposure else ""
            words = f"position {exp}{star}, nod {offsets[made.is_positive][0]:.1f} pix, "
            words += f"{made.is_positive.sum()} less {made.is_negative.sum()} exposures"
            row[0].set_title(words, fontsize=8, loc="left")
        for axis in axes[-1]:
            axis.set_xlabel("column [pix]")
        for axis, name in zip(axes[0, 1:], ("model", "left over"), strict=False):
            axis.set_title(name, fontsize=8, loc="left")
        figure.suptitle(self.name, fontsize=10)
        return figure

    def plot_profile(
        self, exp: Any = 1, ax: Any = None, fit_result: Mapping[str, Any] | None = None, ymax: float = 0.2
    ) -> Any:
        """Draw the difference of a position against the distance from the trace.

        Parameters
        ----------
        exp : int or str
            The position, one of ``unp.values``.
        ax : matplotlib.axes.Axes, optional
            Where; a new figure when not given.
        fit_result : mapping, optional
            As ``fit_single_trace`` gives it.
        ymax : float [uJy]
            Upper end of the axis; with a fit twice its brightest pixels.

        Returns
        -------
        matplotlib.figure.Figure
            The figure.
        """
        figure = new_figure(5, 5) if ax is None else ax.figure
        axis = figure.subplots() if ax is None else ax
        made = self.difference(exp)
        distance = self.yslit[int(np.flatnonzero(made.is_positive)[0])].reshape(self.sh)
        is_good = ~made.mask
        axis.plot(distance[is_good], made.difference[is_good], ".", color="0.5", alpha=0.12, ms=4, rasterized=True)
        edges = np.arange(np.floor(distance[is_good].min()) - 0.25, distance[is_good].max() + 0.5, 0.5)
        middle, mean, err = _binned(distance[is_good], made.difference[is_good], made.read_variance[is_good], edges)
        axis.errorbar(middle, mean, err, fmt="o", color="0.1", ms=4, lw=1, label="weighted mean")
        if fit_result is not None:
            model = fit_result["smod"]
            if (model > 0).any():
                ymax = 2.0 * float(np.percentile(model[model > 0], 98))
            axis.plot(distance[is_good], model[is_good], ".", color=_MODEL, alpha=0.1, ms=4, rasterized=True)
            middle, mean, _ = _binned(distance[is_good], model[is_good], made.read_variance[is_good], edges)
            axis.plot(middle, mean, color=_MODEL, label="that of the model")
            for side in (-1, 1):
                axis.axvline(side * fit_result["sigma"], ls=":", color=_MODEL)
        axis.legend(fontsize=8, loc="upper left")
        axis.set(ylim=(-0.5 * ymax, ymax), xlabel="distance from the trace [pix]", ylabel="flux [uJy]")
        axis.set_title(f"{self.name}, position {exp}", fontsize=9)
        axis.grid(alpha=0.3)
        return figure
