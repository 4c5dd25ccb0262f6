"""Pictures that show how good models and the fluxes measured with them are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere.viewer.pictures import new_figure, save_figure
from skymere.viewer.stretch import sky_noise

__all__ = ["plot_gallery", "plot_models", "plot_photometry"]

# Dipoles of this significance are drawn, the strongest of them by name.
_DIPOLE, _NAMED = 5.0, 12
# From black to white, in units of the noise.
_RANGE = (-4.0, 12.0)


def plot_models(
    image: NDArray[np.float32], residual: NDArray[np.float32], path: str | Path, *, title: str = ""
) -> Path:
    """Write an image, the models of its sources and what they leave side by side; returns the path.

    Parameters
    ----------
    image, residual : ndarray, float32, shape (ny, nx)
        Before and after the models; NaN is left white.
    path : path-like
        PNG to write.
    title : str, optional
        Text above them.
    """
    noise = sky_noise(residual)
    ny, nx = image.shape
    figure = new_figure(18.0, 6.0 * ny / nx + 0.6)
    for i, (pixels, name) in enumerate(((image, "image"), (image - residual, "models"), (residual, "image - models"))):
        axes = figure.add_subplot(1, 3, i + 1)
        _show(axes, pixels, noise)
        axes.set(title=f"{title} {name}".strip(), xticks=[], yticks=[])
    return save_figure(figure, path)


def plot_gallery(
    stamps: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]],
    path: str | Path,
    *,
    title: str = "",
) -> Path:
    """Write what the bands show of a source: the image, the image without all others, and what is left.

    Parameters
    ----------
    stamps : mapping of str to (ndarray, ndarray, ndarray), float32, shape (ny, nx)
        The three stamps of each band; NaN is left white.
    path : path-like
        PNG to write.
    title : str, optional
        Text above.
    """
    figure = new_figure(9.0, 3.0 * len(stamps) + 0.6)
    figure.suptitle(title)
    for row, (band, three) in enumerate(stamps.items()):
        noise = sky_noise(three[2])
        for column, (pixels, name) in enumerate(zip(three, ("image", "without others", "residual"), strict=True)):
            axes = figure.add_subplot(len(stamps), 3, 3 * row + column + 1)
            _show(axes, pixels, noise)
            axes.set(title=f"{band} {name}", xticks=[], yticks=[])
    return save_figure(figure, path)


def plot_photometry(
    image: NDArray[np.float32],
    residual: NDArray[np.float32],
    table: pl.DataFrame,
    path: str | Path,
    *,
    error: NDArray[np.float32] | None = None,
    noise_places: ArrayLike | None = None,
    noise_radius_pix: float = 0.0,
    title: str = "",
) -> Path:
    """Write a page about the fluxes of a band: image, what is left, dipoles, places of the noise; returns the path.

    Parameters
    ----------
    image, residual : ndarray, float32, shape (ny, nx)
        Before and after all models; NaN is left white.
    table : polars.DataFrame
        ``source_id, status, x, y, flux, flux_err, err_formal, err_sim, chi2, n_pix, dipole`` as
        `skymere.photometry.forced_photometry` gives them.
    path : path-like
        PNG to write.
    error : ndarray, float32, shape (ny, nx), optional
        1 sigma of each pixel; their scatter where it is not given.
    noise_places : array_like, float64, shape (n, 2), optional
        ``x, y`` of the blank places [pix].
    noise_radius_pix : float, optional
        Their radius [pix].
    title : str, optional
        Text above.
    """
    noise = sky_noise(residual)
    ny, nx = image.shape
    figure = new_figure(16.0, 16.0 * ny / (2 * nx) + 5.0)
    layout = figure.add_gridspec(2, 4, height_ratios=[16.0 * ny / (2 * nx), 4.4])
    left, right = figure.add_subplot(layout[0, :2]), figure.add_subplot(layout[0, 2:])
    for axes, pixels, name in ((left, image, "image"), (right, residual, "image - models")):
        _show(axes, pixels, noise)
        axes.set(title=f"{title} {name}".strip(), xlabel="x [pix]", ylabel="y [pix]")
    good = table.filter(pl.col("status") == "ok")
    bad = table.filter(pl.col("status") != "ok").drop_nulls(["x", "y"])
    left.plot(bad["x"], bad["y"], "x", color="C3", ms=5, label=f"{bad.height} without a flux")
    strong = good.filter(pl.col("dipole") > _DIPOLE).sort("dipole", descending=True)
    right.scatter(strong["x"], strong["y"], s=60, facecolors="none", edgecolors="C1", label=f"{strong.height} dipoles")
    for x, y, name in strong.head(_NAMED).select("x", "y", "source_id").iter_rows():
        right.annotate(str(name), (x, y), xytext=(4, 4), textcoords="offset points", color="C1", fontsize=7)
    places = np.zeros((0, 2)) if noise_places is None else np.asarray(noise_places, np.float64).reshape(-1, 2)
    _circles(right, places, noise_radius_pix)
    for axes in (left, right):
        axes.set(xlim=(-0.5, nx - 0.5), ylim=(-0.5, ny - 0.5))
    for axes, count in ((left, bad.height), (right, strong.height + len(places))):
        if count:
            axes.legend(loc="upper right", fontsize=8)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = residual / (noise if error is None else error)
    _draw_histograms(figure, layout, good, scaled[np.isfinite(scaled) & (scaled != 0)])
    return save_figure(figure, path)


def _show(axes: Any, pixels: NDArray[np.float32], noise: float) -> None:
    """Draw an image, its sky dark grey wherever that lies."""
    known = pixels[np.isfinite(pixels)]
    pixels = pixels - (np.median(known) if known.size else 0.0)
    low, high = (value * noise for value in _RANGE)
    axes.imshow(pixels, origin="lower", cmap="gray", vmin=low, vmax=high, interpolation="nearest")


def _circles(axes: Any, places: NDArray[np.float64], radius: float) -> None:
    """Draw the places of the noise."""
    from matplotlib.patches import Circle

    for i, (x, y) in enumerate(places):
        label = f"{len(places)} places of the noise" if i == 0 else None
        axes.add_patch(Circle((x, y), max(radius, 1.0), fill=False, color="C0", lw=0.8, label=label))


def _draw_histograms(figure: Any, layout: Any, good: pl.DataFrame, pixels: NDArray[np.float32]) -> None:
    """Draw residuals, chi-square, dipoles and the ratio of errors."""
    x = np.linspace(-6.0, 6.0, 61)
    panels = [figure.add_subplot(layout[1, i]) for i in range(4)]
    if pixels.size:
        panels[0].hist(pixels, bins=x.tolist(), density=True, color="0.7")
    panels[0].plot(x, np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi), "C3", lw=1)
    panels[0].set(yscale="log", ylim=(1e-6, 1.0), xlabel="pixels of the residual / noise")
    seen = good.filter(pl.col("n_pix") > 0)
    reduced = (seen["chi2"] / seen["n_pix"]).drop_nulls().to_numpy()
    panels[1].hist(np.clip(reduced, 0, 5), bins=50, color="0.7")
    panels[1].set(xlabel="chi-square / pixels of each source", title=f"median {_median(reduced):.2f}")
    dipole = good["dipole"].drop_nulls().to_numpy()
    panels[2].hist(np.clip(dipole, 0, 20), bins=50, color="0.7")
    panels[2].set(xlabel="significance of the dipole", yscale="log" if dipole.size else "linear")
    ratio = (good["err_sim"] / good["err_formal"]).drop_nulls().to_numpy()
    if ratio.size:
        panels[3].hist(np.clip(ratio, 0, 3), bins=40, color="0.7")
        panels[3].set(xlabel="error of blank places / formal error", title=f"median {_median(ratio):.2f}")
    else:
        snr = (good["flux"] / good["flux_err"]).drop_nulls().to_numpy()
        panels[3].hist(np.log10(np.clip(snr, 0.1, 1e5)), bins=40, color="0.7")
        panels[3].set(xlabel="log S/N of each source")


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if values.size else float("nan")
