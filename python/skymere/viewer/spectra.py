"""Pictures of spectra."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skymere.viewer.pictures import new_figure, save_figure

__all__ = ["plot_spectra"]


def plot_spectra(spectra: Sequence[Any], captions: Sequence[str], path: str | Path, *, title: str = "") -> Path:
    """Write spectra below each other, with their errors as a band; returns the path.

    Parameters
    ----------
    spectra : sequence of astropy.table.Table
        Columns ``wavelength``, ``flux`` and ``flux_err`` with units.
    captions : sequence of str
        Text in each panel.
    path : path-like
        PNG to write.
    title : str, optional
        Text above them.
    """
    figure = new_figure(10.0, 0.6 + 2.6 * len(spectra))
    for i, (spectrum, caption) in enumerate(zip(spectra, captions, strict=True)):
        axes = figure.add_subplot(len(spectra), 1, i + 1)
        wavelength, flux = np.asarray(spectrum["wavelength"]), np.asarray(spectrum["flux"])
        axes.plot(wavelength, flux, lw=0.8, color="black", drawstyle="steps-mid")
        if "flux_err" in spectrum.colnames:
            error = np.asarray(spectrum["flux_err"])
            axes.fill_between(wavelength, flux - error, flux + error, color="0.7", lw=0, step="mid")
        units = {name: spectrum[name].unit for name in ("wavelength", "flux")}
        axes.set(
            title=title if i == 0 else "",
            xlabel=f"wavelength [{units['wavelength']}]",
            ylabel=f"flux [{units['flux']}]",
        )
        axes.text(0.01, 0.95, caption, transform=axes.transAxes, va="top", fontsize=8)
    return save_figure(figure, path)
