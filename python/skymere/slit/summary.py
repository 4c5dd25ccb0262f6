"""A page of a source: its spectrum in two dimensions and in one, its redshift. matplotlib is imported when drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.slit.figures import new_figure
from skymere.slit.spectrum import CombinedSpectrum
from skymere.spectra import RedshiftFit

__all__ = ["plot_summary"]

_MIN_LINE_SN = 5.0
_LABEL_STEP = 0.016  # least distance of two names of lines, of the width of the axis
_RED = "tab:red"


def plot_summary(
    spectrum: CombinedSpectrum,
    *,
    fit: RedshiftFit | None = None,
    lines: Mapping[str, float] | None = None,
    redshift: float | None = None,
    y_range: tuple[float, float] = (-9.0, 9.0),
    title: str | None = None,
) -> Any:
    """Draw a page of a source: two dimensions and profile, flux with errors, signal over noise, and the settings.

    Parameters
    ----------
    spectrum : CombinedSpectrum
        The spectrum.
    fit : RedshiftFit, optional
        Its redshift: the model is drawn, below the flux what it leaves over, and the chi2 of all redshifts.
    lines : mapping of str to float, optional [um]
        Wavelengths at rest that are marked; with a fit its lines of 5 sigma and more when not given.
    redshift : float, optional
        Redshift of these; that of the fit, or 0, when not given.
    y_range : tuple of float [pix]
        Rows of the picture.
    title : str, optional
        Text above; the source, grating, exposure time and redshift when not given.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    InvalidInputError
        When no flux is known, or the fit is of another spectrum.
    """
    known = np.isfinite(spectrum.flux) & (spectrum.err > 0)
    if not known.any():
        msg = "spectrum: no flux is known, there is nothing to draw"
        raise InvalidInputError(msg)
    if fit is not None and fit.model.shape != spectrum.flux.shape:
        msg = f"fit: a model of shape {fit.model.shape} is not allowed, the spectrum has {spectrum.flux.shape}"
        raise InvalidInputError(msg)
    figure = new_figure(12, 8.5)
    grid = figure.add_gridspec(3, 2, height_ratios=(1.3, 2.2, 1), width_ratios=(5, 1.35))
    limits = float(spectrum.wave[known][0]), float(spectrum.wave[known][-1])
    top, side = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    flux, signal = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[2, 0])
    _draw_image(top, spectrum, limits, y_range)
    _draw_section(side, spectrum, y_range)
    _draw_flux(flux, spectrum, known, fit)
    _draw_signal(signal, spectrum, known, fit)
    for axis in (top, flux, signal):
        axis.set_xlim(limits)
    for axis in (top, flux):
        axis.tick_params(labelbottom=False)
    z = redshift if redshift is not None else fit.z if fit is not None else 0.0
    _mark_lines(flux, (top, signal), _lines_of(fit) if lines is None else lines, z, limits)
    words = figure.add_subplot(grid[1, 1] if fit is not None else grid[1:, 1])
    words.set_axis_off()
    words.text(0.0, 1.0, "\n".join(_settings(spectrum)), fontsize=6.5, va="top", family="monospace")
    if fit is not None:
        _draw_redshift(figure.add_subplot(grid[2, 1]), fit)
    figure.suptitle(_title(spectrum, fit) if title is None else title, fontsize=11)
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
    half = 0.5 * np.diff(image.y_edges)[rows]
    heights = np.append(middle[rows] - half, middle[rows][-1] + half[-1])
    drawn = axis.pcolormesh(edges, heights, sn[rows], cmap="bone_r", vmin=-3, vmax=8, rasterized=True)
    bar = axis.figure.colorbar(drawn, ax=axis, pad=0.01, fraction=0.025, extend="both")
    bar.set_label("signal / noise", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    axis.set(xlim=limits, ylim=(heights[0], heights[-1]), ylabel="from the trace [pix]")


def _draw_section(axis: Any, spectrum: CombinedSpectrum, y_range: tuple[float, float]) -> None:
    section = spectrum.section
    axis.plot(1000 * section["profile"], section["pix"], color="0.2", lw=1, marker=".", label="data")
    axis.plot(1000 * section["pfit"], section["pix"], color=_RED, lw=1, label="profile")
    axis.axvline(0, color="0.7", lw=0.5)
    axis.set(ylim=y_range, xlabel="mean flux [nJy]")
    axis.tick_params(labelleft=False)
    axis.legend(fontsize=7, loc="upper right", frameon=False)


def _draw_flux(axis: Any, spectrum: CombinedSpectrum, known: NDArray[np.bool_], fit: RedshiftFit | None) -> None:
    axis.plot(spectrum.wave, spectrum.flux, color="0.1", lw=0.8, drawstyle="steps-mid", label="flux")
    axis.fill_between(spectrum.wave, -spectrum.err, spectrum.err, step="mid", color="0.8", lw=0, label="1 sigma")
    if fit is not None:
        axis.plot(spectrum.wave, fit.model, color=_RED, lw=0.9, alpha=0.8, label="model")
    high = float(np.max((spectrum.flux - spectrum.err)[known]))
    noise = float(np.median(spectrum.err[known]))
    # The names of lines stand above all data.
    axis.set(ylim=(-5 * noise, 1.35 * max(high, 5 * noise)), ylabel="flux [uJy]")
    axis.legend(fontsize=7, loc="center right", frameon=False)


def _draw_signal(axis: Any, spectrum: CombinedSpectrum, known: NDArray[np.bool_], fit: RedshiftFit | None) -> None:
    axis.axhline(0, color="0.7", lw=0.5)
    axis.set(xlabel="wavelength [um]")
    if fit is None:
        axis.plot(spectrum.wave, spectrum.flux / spectrum.err, color="0.1", lw=0.8, drawstyle="steps-mid")
        axis.set(ylabel="signal / noise")
        return
    left = np.where(known, (spectrum.flux - fit.model) / fit.err, np.nan)
    axis.plot(spectrum.wave, left, color="0.1", lw=0.8, drawstyle="steps-mid")
    axis.set(ylabel="residual [sigma]", ylim=(-7, 7))


def _lines_of(fit: RedshiftFit | None) -> dict[str, float]:
    if fit is None or fit.lines.is_empty():
        return {}
    rows = fit.lines.filter(fit.lines["snr"] >= _MIN_LINE_SN)
    return dict(zip(rows["line"].to_list(), rows["wave_rest"].to_list(), strict=True))


def _mark_lines(
    axis: Any, others: Sequence[Any], lines: Mapping[str, float], z: float, limits: tuple[float, float]
) -> None:
    """Mark lines; names that would touch are moved aside."""
    places = sorted((rest * (1 + z), name) for name, rest in lines.items())
    last = -np.inf
    for at, name in places:
        if not limits[0] < at < limits[1]:
            continue
        for one in (axis, *others):
            one.axvline(at, color=_RED, lw=0.6, ls=":", zorder=0)
        last = max((at - limits[0]) / (limits[1] - limits[0]), last + _LABEL_STEP)
        axis.text(
            last, 0.985, name, transform=axis.transAxes, fontsize=8, va="top", ha="center", rotation=90, color=_RED
        )


def _draw_redshift(axis: Any, fit: RedshiftFit) -> None:
    """Draw the chi2 of all redshifts."""
    above = fit.chi2_grid - np.nanmin(fit.chi2_grid) if fit.chi2_grid.size else np.array([])
    axis.plot(fit.z_grid, above, color="0.2", lw=0.7)
    axis.axvline(fit.z, color=_RED, lw=0.8, ls=":")
    axis.set(xlabel="redshift", ylim=(0, None))
    axis.set_title("chi2 above the least", fontsize=8, loc="left")
    axis.tick_params(labelsize=7)


def _title(spectrum: CombinedSpectrum, fit: RedshiftFit | None) -> str:
    has = {key: value for key, (value, _) in spectrum.meta.items()}
    parts = [str(has[key]) for key in ("SRCNAME", "GRATING", "FILTER") if has.get(key)]
    if "EXPTIME" in has:
        parts.append(f"{float(has['EXPTIME']):.0f} s in {has.get('NCOMBINE', '?')} exposures")
    if fit is not None:
        parts.append(f"z = {fit.z:.4f} +- {fit.z_err:.4f}" + ("" if fit.status == "ok" else f" ({fit.status})"))
    return "   ".join(parts)


def _settings(spectrum: CombinedSpectrum) -> list[str]:
    shown = (
        *("SIGMA", "OFFC0_0", "METHOD", "WEIGHT_TYPE", "WITHPATH", "DIFFS", "SKY_FILE", "MIN_BAR", "BAR_CORR_MODE"),
        *("UNDO_BARSHADOW", "UNDO_PATHLOSS", "FIX_PRISM_NORM", "NBADSHUT", "PACK"),
    )
    known = np.isfinite(spectrum.flux)
    rows = [("points", f"{int(known.sum())} of {known.size}")]
    rows.append(("median S/N", f"{np.nanmedian(spectrum.flux / spectrum.err):.2f}"))
    for key in shown:
        if key in spectrum.meta:
            value = spectrum.meta[key][0]
            rows.append((key.lower(), f"{value:.4g}" if isinstance(value, float) else str(value)))
    stages = [str(value).partition(": ") for key, (value, _) in spectrum.meta.items() if key.startswith("STATUS")]
    rows.append(("stages ok", f"{sum(text == 'ok' for _, _, text in stages)} of {len(stages)}"))
    out = [f"{name[:14]:<15}{text[:21]}" for name, text in rows]
    return out + [line for name, _, text in stages if text != "ok" for line in (name, f"  {text[:34]}")]
