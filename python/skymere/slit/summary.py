"""A page of a source: its differences, its spectrum in two dimensions and in one. matplotlib is imported when drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skymere.errors import InvalidInputError
from skymere.slit.group_plots import new_figure
from skymere.slit.spectrum import CombinedSpectrum

__all__ = ["plot_summary"]


def plot_summary(
    spectrum: CombinedSpectrum,
    *,
    lines: Mapping[str, float] | None = None,
    redshift: float = 0.0,
    y_range: tuple[float, float] = (-9.0, 9.0),
    title: str | None = None,
) -> Any:
    """Draw a page of a source: two dimensions and profile, flux with errors, signal over noise, and the settings.

    Parameters
    ----------
    spectrum : CombinedSpectrum
        The spectrum.
    lines : mapping of str to float, optional [um]
        Wavelengths at rest that are marked.
    redshift : float
        Redshift of these.
    y_range : tuple of float [pix]
        Rows of the picture.
    title : str, optional
        Text above; the source, grating and exposure time when not given.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    InvalidInputError
        When no flux is known.
    """
    known = np.isfinite(spectrum.flux) & (spectrum.err > 0)
    if not known.any():
        msg = "spectrum: no flux is known, there is nothing to draw"
        raise InvalidInputError(msg)
    figure = new_figure(11, 8)
    grid = figure.add_gridspec(3, 2, height_ratios=(1.3, 2, 1), width_ratios=(5, 1))
    top, side = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    flux, signal = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[2, 0])
    words = figure.add_subplot(grid[1:, 1])
    wave = spectrum.wave
    limits = float(wave[known][0]), float(wave[known][-1])
    _draw_image(top, spectrum, limits, y_range)
    section = spectrum.section
    side.plot(section["profile"], section["pix"], color="0.2", drawstyle="steps-mid")
    side.plot(section["pfit"], section["pix"], color="tomato", lw=1)
    side.set(ylim=y_range, xlabel="mean flux [uJy]", yticklabels=[])
    flux.plot(wave, spectrum.flux, color="0.1", lw=0.8, drawstyle="steps-mid")
    flux.fill_between(wave, -spectrum.err, spectrum.err, step="mid", color="0.8")
    high = float(np.max((spectrum.flux - spectrum.err)[known]))
    noise = float(np.median(spectrum.err[known]))
    flux.set(xlim=limits, ylim=(-5 * noise, max(1.15 * high, 5 * noise)), ylabel="flux [uJy]", xticklabels=[])
    signal.plot(wave, spectrum.flux / spectrum.err, color="0.1", lw=0.8, drawstyle="steps-mid")
    signal.axhline(0, color="0.7", lw=0.5)
    signal.set(xlim=limits, xlabel="wavelength [um]", ylabel="signal / noise")
    for name, rest in (lines or {}).items():
        at = rest * (1 + redshift)
        if limits[0] < at < limits[1]:
            for axis in (flux, signal):
                axis.axvline(at, color="tomato", lw=0.6, ls=":")
            flux.text(at, 0.98, f" {name}", transform=flux.get_xaxis_transform(), fontsize=8, va="top", rotation=90)
    words.set_axis_off()
    words.text(0.0, 1.0, "\n".join(_settings(spectrum)), fontsize=7, va="top", family="monospace")
    figure.suptitle(_title(spectrum) if title is None else title, fontsize=11)
    return figure


def _draw_image(axis: Any, spectrum: CombinedSpectrum, limits: Sequence[float], y_range: tuple[float, float]) -> None:
    image = spectrum.image
    middle = 0.5 * (image.y_edges[1:] + image.y_edges[:-1])
    rows = (middle > y_range[0]) & (middle < y_range[1])
    with np.errstate(invalid="ignore"):
        sn = image.sci * np.sqrt(image.wht)
    # Wavelengths of a grid need not be even, so every column has its own edges.
    steps = np.gradient(image.wave)
    edges = np.append(image.wave - steps / 2, image.wave[-1] + steps[-1] / 2)
    axis.pcolormesh(
        edges, np.append(middle[rows] - 0.5, middle[rows][-1] + 0.5), sn[rows], cmap="bone_r", vmin=-3, vmax=8
    )
    axis.set(xlim=limits, ylim=y_range, ylabel="from the trace [pix]", xticklabels=[])
    axis.set_title("signal / noise", fontsize=8, loc="left")


def _title(spectrum: CombinedSpectrum) -> str:
    has = {key: value for key, (value, _) in spectrum.meta.items()}
    parts = [str(has[key]) for key in ("SRCNAME", "GRATING", "FILTER") if has.get(key)]
    if "EXPTIME" in has:
        parts.append(f"{float(has['EXPTIME']):.0f} s in {has.get('NCOMBINE', '?')} exposures")
    return "  ".join(parts)


def _settings(spectrum: CombinedSpectrum) -> list[str]:
    shown = (
        *("SIGMA", "OFFC0_0", "METHOD", "WEIGHT_TYPE", "WITHPATH", "DIFFS", "SKY_FILE", "MIN_BAR", "BAR_CORR_MODE"),
        *("UNDO_BARSHADOW", "UNDO_PATHLOSS", "FIX_PRISM_NORM", "NBADSHUT", "PACK"),
    )
    known = np.isfinite(spectrum.flux)
    out = [f"points   {int(known.sum())} of {known.size}"]
    out.append(f"median S/N {np.nanmedian(spectrum.flux / spectrum.err):.2f}")
    for key in shown:
        if key in spectrum.meta:
            value = spectrum.meta[key][0]
            out.append(f"{key.lower()} {value:.4g}" if isinstance(value, float) else f"{key.lower()} {value}")
    out += [str(value)[:44] for key, (value, _) in spectrum.meta.items() if key.startswith("STATUS")]
    return out
