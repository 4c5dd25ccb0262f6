"""A figure of one object: spectra in two and one dimension, p(z) and line maps."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import GrismSpectrum, GrismStack, LineMaps, Thumbnail
from skymere.grism.extract import oned_spectrum
from skymere.grism.full import RedshiftCurve
from skymere.grism.model_spectra import ModelSpectra, TemplateFactors, as_model
from skymere.grism.multibeam import MultiBeam
from skymere.grism.stacks import StackParams, drizzle_stacks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_summary"]

# Rows of stacks that are shown, to either side of the source.
_ROWS = 14
_MOST_MAPS = 6
_FLAM = 1e-19


def plot_summary(
    multibeam: MultiBeam,
    *,
    fit: ModelSpectra | TemplateFactors,
    maps: LineMaps | None = None,
    redshift: RedshiftCurve | None = None,
    thumbnails: Thumbnail | None = None,
    lines: Sequence[str] | None = None,
) -> "Figure":
    """Draw an object: its spectra in two and one dimension with the model, p(z), direct image and line maps.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    fit : ModelSpectra or TemplateFactors
        The model that is drawn.
    maps : LineMaps, optional
        Line maps.
    redshift : RedshiftCurve, optional
        p(z).
    thumbnails : Thumbnail, optional
        Direct images, of which the last band is shown.
    lines : sequence of str, optional
        Lines that are marked and whose maps are shown; those above 2 sigma when not given.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, of pyplot; the caller saves and closes it.

    Raises
    ------
    InvalidInputError
        When the fit has backgrounds of other beams.
    """
    import matplotlib.pyplot as plt

    model = as_model(fit)
    spectra = oned_spectrum(multibeam, fit=model)
    stacks = [one for one in drizzle_stacks(multibeam, fit=model, params=StackParams()) if one.angle is None]
    shown = _chosen(model) if lines is None else list(lines)
    n = len(stacks)
    figure: Figure = plt.figure(figsize=(11.0, 1.5 * 2 * n + 6.0), layout="constrained")
    try:
        heights = [1.0] * (2 * n) + [2.4, 2.0]
        rows: Any = figure.subfigures(2 * n + 2, 1, height_ratios=heights)
        for i, stack in enumerate(stacks):
            _draw_stack(rows[2 * i].subplots(), stack, model, shown, residual=False)
            _draw_stack(rows[2 * i + 1].subplots(), stack, model, shown, residual=True)
        left, right = rows[2 * n].subplots(1, 2, width_ratios=(2.6, 1.0))
        _draw_spectra(left, spectra, model, shown)
        _draw_pdf(right, redshift, model.z)
        _draw_maps(rows[2 * n + 1], maps, thumbnails, shown)
        figure.suptitle(f"{multibeam.source_id}   z = {model.z:.4f}")
    except BaseException:
        # Nobody else has it: pyplot would keep it for ever.
        plt.close(figure)
        raise
    return figure


def _chosen(model: ModelSpectra) -> list[str]:
    """Return lines above 2 sigma, the most significant first."""
    snr = {name: flux / err for name, (flux, err) in model.line_fluxes.items() if err > 0 and np.isfinite(err)}
    return sorted((name for name, value in snr.items() if value > 2), key=lambda name: -snr[name])


def _mark(axes: Any, model: ModelSpectra, lines: Sequence[str], limits: tuple[float, float], *, named: bool) -> None:
    for name in lines:
        wave = model.line(name).main * (1 + model.z)
        if limits[0] < wave < limits[1]:
            axes.axvline(wave, color="tab:red", lw=0.7, ls=":")
            if named:
                axes.text(
                    wave, 0.97, name, color="tab:red", fontsize=7, rotation=90, va="top", ha="right",
                    transform=axes.get_xaxis_transform(), bbox={"fc": "w", "ec": "none", "alpha": 0.7, "pad": 0.5},
                )  # fmt: skip


def _draw_stack(axes: Any, stack: GrismStack, model: ModelSpectra, lines: Sequence[str], *, residual: bool) -> None:
    from matplotlib.colors import CenteredNorm

    middle = round(stack.middle)
    rows = slice(max(middle - _ROWS, 0), middle + _ROWS + 1)
    values = stack.sci - stack.model if residual else stack.sci
    has_data = stack.weight > 0
    image = np.where(has_data, values, np.nan)[rows]
    noise = float(np.median(1 / np.sqrt(stack.weight[has_data]))) if has_data.any() else 1.0
    low, high = float(stack.wave[0]), float(stack.wave[-1])
    axes.imshow(
        _smoothed(image),
        origin="lower",
        aspect="auto",
        extent=(low, high, rows.start - middle - 0.5, rows.start - middle + image.shape[0] - 0.5),
        cmap="RdGy_r" if residual else "viridis",
        norm=CenteredNorm(0, 3 * noise) if residual else None,
        **({} if residual else {"vmin": -noise, "vmax": 4 * noise}),
    )
    _mark(axes, model, lines, (low, high), named=not residual)
    axes.set_ylabel(f"{stack.grism}\n{'residual' if residual else 'data'}", fontsize=8)
    axes.tick_params(labelsize=7)


def _smoothed(image: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the mean over 3 x 3 pixels, of those that have data."""
    padded = np.pad(np.nan_to_num(image), 1)
    known = np.pad(np.isfinite(image).astype(float), 1)
    ny, nx = image.shape
    parts = [(slice(j, j + ny), slice(i, i + nx)) for j in range(3) for i in range(3)]
    total, count = (np.sum([plane[part] for part in parts], axis=0) for plane in (padded, known))
    return np.asarray(np.divide(total, count, out=np.full(image.shape, np.nan), where=count > 0), np.float64)


def _draw_spectra(axes: Any, spectra: Mapping[str, GrismSpectrum], model: ModelSpectra, lines: Sequence[str]) -> None:
    low, high, top = np.inf, -np.inf, 0.0
    for i, (grism, one) in enumerate(spectra.items()):
        names = ("wave", "flux", "err", "flat", "line", "cont")
        wave, flux, err, flat, whole, below = (one.table[name].to_numpy().astype(float) for name in names)
        # Where the sensitivity is low, flux densities are noise.
        good = np.isfinite(flux) & (flat > 0.1 * np.nanmax(flat, initial=0.0))
        if not good.any():
            continue
        scale = _FLAM * flat[good]
        colour = f"C{i}"
        axes.errorbar(
            wave[good], flux[good] / scale, err[good] / scale,
            fmt=".", ms=3, lw=0.6, color=colour, alpha=0.6, label=grism,
        )  # fmt: skip
        axes.plot(wave[good], whole[good] / scale, color="k", lw=1.0)
        axes.plot(wave[good], below[good] / scale, color="0.6", lw=0.8)
        low, high = min(low, wave[good].min()), max(high, wave[good].max())
        top = max(top, 1.3 * float((whole[good] / scale).max()), float(np.nanpercentile(flux[good] / scale, 97)))
    if np.isfinite(low):
        _mark(axes, model, lines, (low, high), named=True)
        axes.set_xlim(low - 0.01, high + 0.01)
        axes.set_ylim(-0.25 * top, 1.2 * top)
        axes.legend(fontsize=7, loc="lower left")
    axes.set_xlabel("wavelength [um]", fontsize=8)
    axes.set_ylabel(r"$f_\lambda$ [$10^{-19}$ erg/s/cm$^2$/A]", fontsize=8)
    axes.tick_params(labelsize=7)


def _draw_pdf(axes: Any, redshift: RedshiftCurve | None, z: float) -> None:
    axes.set_xlabel("z", fontsize=8)
    axes.tick_params(labelsize=7)
    if redshift is None or not np.size(redshift.zgrid):
        axes.text(0.5, 0.5, "no p(z)", ha="center", transform=axes.transAxes, fontsize=8, color="0.5")
        return
    with np.errstate(divide="ignore"):
        axes.plot(redshift.zgrid, np.log10(np.asarray(redshift.pdf)), lw=0.9)
    top = np.log10(np.max(redshift.pdf))
    axes.set_ylim(top - 8, top + 0.5)
    axes.axvline(z, color="tab:red", lw=0.7, ls=":")
    axes.set_ylabel("log p(z)", fontsize=8)


def _draw_maps(figure: Any, maps: LineMaps | None, thumbnails: Thumbnail | None, lines: Sequence[str]) -> None:
    chosen = [name for name in lines if maps is not None and name in maps.names][:_MOST_MAPS]
    band = thumbnails.bands[-1] if thumbnails is not None and thumbnails.bands else None
    panels = ([("direct", band)] if band is not None else []) + [(name, None) for name in chosen]
    if not panels:
        return
    half = 0.5 * (maps.grid if maps is not None else thumbnails.grid).scale_arcsec  # type: ignore[union-attr]
    for axes, (name, one) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        if one is not None:
            image = np.where(one.weight > 0, one.data, np.nan)
            top = float(np.nanpercentile(image, 99.7))
            title, low = one.band.upper(), -0.1 * top
        else:
            assert maps is not None
            found = maps[name]
            image = np.where(found.weight > 0, found.data, np.nan)
            noise = float(np.nanmedian(1 / np.sqrt(found.weight[found.weight > 0])))
            low, top = -0.5 * noise, 2.0 * noise
            title = f"{name} {found.flux / 1e-17:.1f} $\\pm$ {found.flux_err / 1e-17:.1f}"
        ny, nx = image.shape
        axes.imshow(
            _smoothed(image), origin="lower", vmin=low, vmax=top, cmap="cubehelix_r",
            extent=(-nx * half, nx * half, -ny * half, ny * half),
        )  # fmt: skip
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=6)
    figure.supxlabel("arcsec (maps: 1e-17 erg/s/cm2, mean over 3 x 3 pixels)", fontsize=7)
