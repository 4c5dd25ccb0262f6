"""The pictures that `skymere run` writes. matplotlib is imported when one is drawn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.viewer.stretch import rgb_image, to_grey

__all__ = ["plot_mask", "plot_number_counts", "plot_rgb", "plot_sheet", "plot_weight"]

# Room for the text above a picture.
_TITLE_INCH = 0.4


def new_figure(width: float, height: float) -> Any:
    """Return a figure of this size [inch] that needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: str | Path) -> Path:
    """Write a figure; returns its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _outlines(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels of a segment beside a pixel that is not of it."""
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        differs = np.diff(labels, axis=axis) != 0
        pad = [(0, 0), (0, 0)]
        pad[axis] = (0, 1)
        edge |= np.pad(differs, pad)
        pad[axis] = (1, 0)
        edge |= np.pad(differs, pad)
    return edge & (labels > 0)


def plot_rgb(
    images: Sequence[NDArray[np.float32]],
    path: str | Path,
    *,
    labels: NDArray[np.int32] | None = None,
    title: str = "",
    scale: float = 1.0,
    height_pix: int = 1240,
) -> Path:
    """Write a colour picture of one to three bands, with the outlines of segments; returns its path.

    Parameters
    ----------
    images : sequence of ndarray, float32, shape (ny, nx)
        From red to blue; one image is drawn grey, two give the mean of both as green.
    path : path-like
        PNG to write.
    labels : ndarray, int32, shape (ny, nx), optional
        Segmentation whose outlines are drawn.
    title : str, optional
        Text above it.
    scale : float, optional
        Factor of the brightness: the stretch begins and ends at so many times less light.
    height_pix : int, optional
        Height of a picture that is as wide as high, with its axes; others have the same width [pix].

    Raises
    ------
    InvalidInputError
        When a number is not positive.
    """
    if not (0 < scale < np.inf and height_pix > 0):
        msg = f"scale, height_pix: {scale}, {height_pix} are not allowed, they must be positive"
        raise InvalidInputError(msg)
    return save_figure(rgb_figure(images, labels=labels, title=title, scale=scale, height_pix=height_pix), path)


def rgb_figure(
    images: Sequence[NDArray[np.float32]],
    *,
    labels: NDArray[np.int32] | None = None,
    title: str = "",
    scale: float = 1.0,
    height_pix: int = 1240,
    outline: tuple[float, float, float] = (0.2, 0.9, 0.3),
    step: int = 1,
) -> Any:
    """Return the figure of `plot_rgb`; ``outline`` is the colour of the outlines of segments.

    A pixel of the images is ``step`` x ``step`` pixels of the mosaic, which are those along the axes.
    """
    stretch = {"softening": 3.0 / scale, "top": 300.0 / scale}
    if len(images) == 1:
        colour = np.repeat(to_grey(images[0], **stretch)[..., None], 3, axis=-1)
    elif len(images) == 2:
        middle = np.asarray((images[0] + images[1]) / 2, np.float32)
        colour = rgb_image([images[0], middle, images[1]], **stretch)
    else:
        colour = rgb_image(list(images[:3]), **stretch)
    if labels is not None:
        colour[_outlines(labels)] = outline
    ny, nx = colour.shape[:2]
    width = height_pix / 100.0 - _TITLE_INCH
    figure = new_figure(width, width * ny / nx + _TITLE_INCH)
    axes = figure.add_subplot()
    axes.imshow(
        colour, origin="lower", interpolation="nearest" if max(ny, nx) < 1200 else "antialiased",
        extent=(-0.5, nx * step - 0.5, -0.5, ny * step - 0.5),
    )  # fmt: skip
    axes.set(xlabel="x [pix]", ylabel="y [pix]")
    # Letters are some 0.6 of their size wide.
    axes.set_title(title, fontsize=min(12.0, 72.0 * width / (0.6 * max(len(title), 1))))
    return figure


def plot_weight(weights: Mapping[str, NDArray[np.float32]], path: str | Path, *, unit: str = "s") -> Path:
    """Write the weight maps of all bands side by side; returns the path.

    Sources seen in a weight map mean that they were rejected.

    Parameters
    ----------
    weights : mapping of str to ndarray, float32, shape (ny, nx)
        Weight of each band.
    path : path-like
        PNG to write.
    unit : str, optional
        Unit of the weights.
    """
    return save_figure(weight_figure(weights, unit=unit), path)


def weight_figure(weights: Mapping[str, NDArray[np.float32]], *, unit: str = "s") -> Any:
    """Return the figure of `plot_weight`."""
    figure = new_figure(6.5 * len(weights), 6.5)
    for i, (band, weight) in enumerate(weights.items()):
        axes = figure.add_subplot(1, len(weights), i + 1)
        shown = axes.imshow(weight, origin="lower", cmap="viridis", vmin=0.0)
        axes.set(title=f"{band} weight [{unit}]", xticks=[], yticks=[])
        figure.colorbar(shown, ax=axes, shrink=0.8)
    return figure


def plot_mask(data: NDArray[np.float32], flagged: NDArray[np.bool_], path: str | Path, *, title: str = "") -> Path:
    """Write an exposure with its rejected pixels in red; returns its path.

    Parameters
    ----------
    data : ndarray, float32, shape (ny, nx)
        The exposure, sky subtracted.
    flagged : ndarray of bool, shape (ny, nx)
        Rejected pixels.
    path : path-like
        PNG to write.
    title : str, optional
        Text above it.
    """
    grey = np.repeat(to_grey(data)[..., None], 3, axis=-1)
    marked = grey.copy()
    marked[flagged] = (1.0, 0.15, 0.1)
    figure = new_figure(16.0, 8.3)
    for i, (image, text) in enumerate(((grey, title), (marked, "rejected"))):
        axes = figure.add_subplot(1, 2, i + 1)
        axes.imshow(image, origin="lower", interpolation="nearest")
        axes.set(title=text, xticks=[], yticks=[])
    return save_figure(figure, path)


def plot_sheet(
    stamps: Sequence[Sequence[NDArray[np.float32]]], captions: Sequence[str], path: str | Path, *, n_columns: int = 8
) -> Path:
    """Write a sheet of cutouts; returns its path.

    Parameters
    ----------
    stamps : sequence of sequence of ndarray, float32, shape (size, size)
        For each source its bands, from red to blue.
    captions : sequence of str
        Text under each.
    path : path-like
        PNG to write.
    n_columns : int, optional
        Cutouts in a row.
    """
    n_rows = max(1, -(-len(stamps) // n_columns))
    figure = new_figure(1.6 * n_columns, 1.85 * n_rows)
    for i, (bands, caption) in enumerate(zip(stamps, captions, strict=True)):
        axes = figure.add_subplot(n_rows, n_columns, i + 1)
        if len(bands) >= 3:
            axes.imshow(rgb_image(list(bands[:3])), origin="lower", interpolation="nearest")
        else:
            axes.imshow(to_grey(bands[0]), origin="lower", cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel(caption, fontsize=7)
    return save_figure(figure, path)


def plot_number_counts(
    sources: pl.DataFrame,
    bands: Sequence[str],
    path: str | Path,
    *,
    area_arcmin2: float,
    truth: pl.DataFrame | None = None,
    bin_mag: float = 0.5,
) -> Path:
    """Write the counts of sources per magnitude and area in every band; returns its path.

    Parameters
    ----------
    sources : polars.DataFrame
        With ``flux_auto_{band}`` [uJy].
    bands : sequence of str
        Bands to draw.
    path : path-like
        PNG to write.
    area_arcmin2 : float
        Area that was searched [arcmin^2].
    truth : polars.DataFrame, optional
        With ``mag_{band}``: drawn dashed.
    bin_mag : float, optional
        Width of a bin [mag].
    """
    edges = np.arange(16.0, 30.0 + bin_mag, bin_mag)
    centres = edges[:-1] + bin_mag / 2
    figure = new_figure(7.0, 5.0)
    axes = figure.add_subplot()
    for i, band in enumerate(bands):
        flux = sources[f"flux_auto_{band}"].drop_nulls().to_numpy()
        counts, _ = np.histogram(23.9 - 2.5 * np.log10(flux[flux > 0]), edges)
        density = counts / area_arcmin2 / bin_mag
        axes.step(centres[counts > 0], density[counts > 0], where="mid", color=f"C{i}", label=band)
        if truth is not None and f"mag_{band}" in truth.columns:
            expected, _ = np.histogram(truth[f"mag_{band}"].to_numpy(), edges)
            axes.plot(centres, np.where(expected > 0, expected / area_arcmin2 / bin_mag, np.nan), "--", color=f"C{i}")
    axes.set(yscale="log", xlabel="AUTO magnitude [AB]", ylabel=r"N [mag$^{-1}$ arcmin$^{-2}$]")
    axes.legend(title="dashed: truth" if truth is not None else None)
    return save_figure(figure, path)
