"""Pictures that show how good a mosaic is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.viewer.pictures import new_figure, save_figure
from skymere.viewer.stretch import to_grey

__all__ = ["plot_comparison", "plot_quality"]


def plot_quality(
    weight: NDArray[np.float32],
    rejected: NDArray[np.float32],
    quality: Mapping[str, Any],
    path: str | Path,
    *,
    title: str = "",
) -> Path:
    """Write the weight of a mosaic, what was rejected, and the verdict; returns the path.

    Parameters
    ----------
    weight : ndarray, float32, shape (ny, nx)
        Weight of the mosaic.
    rejected : ndarray, float32, shape (ny, nx)
        Part of the weight that cosmic-ray flags took, as `skymere.mosaic.RejectionMap.fraction` gives it.
    quality : mapping
        The numbers, as `skymere.mosaic.MosaicQuality.as_json` gives them.
    path : path-like
        PNG to write.
    title : str, optional
        Text above it.
    """
    figure = new_figure(17.0, 6.0)
    axes = figure.add_subplot(1, 3, 1)
    shown = axes.imshow(weight, origin="lower", cmap="viridis", vmin=0.0)
    axes.set(title=f"{title} weight".strip(), xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes, shrink=0.8)
    axes = figure.add_subplot(1, 3, 2)
    shown = axes.imshow(rejected, origin="lower", cmap="magma", vmin=0.0, vmax=1.0)
    axes.set(title="rejected part of the weight", xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes, shrink=0.8)
    axes = figure.add_subplot(1, 3, 3)
    covered = weight[weight > 0]
    if covered.size:
        axes.hist(covered / np.median(covered), bins=np.linspace(0.0, 2.0, 81), color="0.4")
        # The words stand above the bars.
        axes.set_ylim(top=1.6 * axes.get_ylim()[1])
    axes.set(xlabel="weight / median", ylabel="pixels", title=f"over-rejection: {quality['verdict']}")
    reasons = [f"{name}: {100 * part:.2f} %" for name, part in list(quality["reasons"].items())[:6]]
    lines = [
        f"std / median {quality['weight_scatter']:.3f}",
        f"holes {quality['n_holes']}, black {quality['n_black']} of {quality['n_enclosed']}",
        f"rejected of the sky's weight {quality['rejected_fraction']:.4f}",
    ]
    if quality["excess"] is not None:
        lines.append(f"more at {quality['n_sources']} sources {quality['excess']:.4f} +- {quality['excess_err']:.4f}")
    if quality["coincidence"] is not None:
        lines.append(f"rejected in several exposures beyond chance {quality['coincidence']:.3f}")
    axes.text(
        0.02,
        0.98,
        "\n".join(lines + reasons),
        transform=axes.transAxes,
        va="top",
        fontsize=8,
    )
    return save_figure(figure, path)


def plot_comparison(
    images: Sequence[NDArray[np.float32]], captions: Sequence[str], path: str | Path, *, same_stretch: bool = True
) -> Path:
    """Write images of one field side by side, to be blinked by eye; returns the path.

    Parameters
    ----------
    images : sequence of ndarray, float32, shape (ny, nx)
        Such as the default and the optimised mosaic on one grid.
    captions : sequence of str
        Text above each.
    path : path-like
        PNG to write.
    same_stretch : bool, optional
        Show equal values equally grey.

    Raises
    ------
    InvalidInputError
        When images are to have one stretch and differ in shape.
    """
    if same_stretch and len({image.shape for image in images}) != 1:
        msg = f"images: shapes {[image.shape for image in images]} are not allowed, they must be equal"
        raise InvalidInputError(msg)
    if same_stretch:
        grey = np.split(to_grey(np.concatenate(list(images), axis=1)), len(images), axis=1)
    else:
        grey = [to_grey(image) for image in images]
    figure = new_figure(6.5 * len(images), 6.8)
    for i, (image, caption) in enumerate(zip(grey, captions, strict=True)):
        axes = figure.add_subplot(1, len(images), i + 1)
        axes.imshow(image, origin="lower", cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
        axes.set(title=caption, xticks=[], yticks=[])
    return save_figure(figure, path)
