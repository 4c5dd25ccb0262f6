"""Pictures that show how good a detection is."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.viewer.pictures import new_figure, save_figure

__all__ = ["label_colours", "plot_background", "plot_labels", "plot_purity"]


def label_colours(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return a colour for every label: always the same one for a number, black for 0.

    Parameters
    ----------
    labels : ndarray, int32, shape (...)
        Labels.

    Returns
    -------
    ndarray, float32, shape (..., 3)
        Red, green and blue in [0, 1]; never dark.

    Notes
    -----
    The bits of the number are mixed as in splitmix64 (Steele et al. 2014, OOPSLA 453), so neighbours differ.
    """
    mixed = labels.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    parts = np.stack([(mixed >> np.uint64(bits)) & np.uint64(0xFF) for bits in (0, 8, 16)], axis=-1)
    colour = 0.25 + 0.75 * parts / 255.0
    return np.where(labels[..., np.newaxis] == 0, 0.0, colour).astype(np.float32)


def plot_labels(labels: NDArray[np.int32], path: str | Path, *, title: str = "") -> Path:
    """Write a segmentation, every label in its own colour; returns the path.

    Parameters
    ----------
    labels : ndarray, int32, shape (ny, nx)
        0 is sky.
    path : path-like
        PNG to write.
    title : str, optional
        Text above it.
    """
    ny, nx = labels.shape
    figure = new_figure(12.0, 12.0 * ny / nx + 0.4)
    axes = figure.add_subplot()
    axes.imshow(label_colours(labels), origin="lower", interpolation="nearest")
    axes.set(title=title, xlabel="x [pix]", ylabel="y [pix]")
    return save_figure(figure, path)


def plot_background(
    level: NDArray[np.float32], rms: NDArray[np.float32], path: str | Path, *, unit: str = "", title: str = ""
) -> Path:
    """Write the background of an image and its noise side by side; returns the path.

    Parameters
    ----------
    level, rms : ndarray, float32, shape (ny, nx) [unit]
        As `skymere.background.estimate_background` gives them; NaN is left white.
    path : path-like
        PNG to write.
    unit : str, optional
        Unit of both.
    title : str, optional
        Text above them.
    """
    figure = new_figure(13.0, 6.0)
    for i, (image, name) in enumerate(((level, "background"), (rms, "rms"))):
        axes = figure.add_subplot(1, 2, i + 1)
        known = image[np.isfinite(image)]
        low, high = np.percentile(known, [0.5, 99.5]) if known.size else (0.0, 1.0)
        shown = axes.imshow(image, origin="lower", cmap="viridis", vmin=low, vmax=high)
        axes.set(title=f"{title} {name} [{unit}]" if unit else f"{title} {name}", xticks=[], yticks=[])
        figure.colorbar(shown, ax=axes, shrink=0.8)
    return save_figure(figure, path)


def plot_purity(found: ArrayLike, negative: ArrayLike, path: str | Path, *, threshold: float, title: str = "") -> Path:
    """Write how many sources are found above each S/N, in the image and in its negative; returns the path.

    Parameters
    ----------
    found, negative : array_like, float64, shape (n,)
        Largest S/N of every source of the image, and of its negative, where all are noise.
    path : path-like
        PNG to write.
    threshold : float
        S/N of the detection.
    title : str, optional
        Text above.

    Notes
    -----
    The purity above a S/N is ``1 - N_negative / N_positive``.
    """
    positive, false = (np.sort(np.asarray(v, np.float64)) for v in (found, negative))
    top = max(10.0 * threshold, 1.2 * float(false[-1]) if false.size else 0.0)
    edges = np.geomspace(threshold, top, 60)
    above, wrong = (len(v) - np.searchsorted(v, edges) for v in (positive, false))
    figure = new_figure(7.0, 5.5)
    axes = figure.add_subplot()
    axes.step(edges, np.where(above > 0, above, np.nan), where="post", color="C0", label="image")
    axes.step(edges, np.where(wrong > 0, wrong, np.nan), where="post", color="C3", label="negative image")
    most = max(len(positive), len(false), 1)
    axes.set(xscale="log", yscale="log", ylim=(0.7, 2.0 * most))
    axes.set(xlabel="largest S/N of the source", ylabel="sources above")
    axes.legend(loc="center right")
    right = axes.twinx()
    purity = np.where(above > 0, 1.0 - wrong / np.maximum(above, 1), np.nan)
    right.plot(edges, purity, "--", color="0.3")
    right.set(ylim=(-0.02, 1.02), ylabel="purity (dashed)")
    whole = f"{len(positive)} sources, {len(false)} in the negative"
    axes.set_title(f"{title}: {whole}" if title else whole)
    return save_figure(figure, path)
