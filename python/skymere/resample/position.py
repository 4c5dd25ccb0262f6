"""Classes of positions on a mosaic: interior, edge, hole, and the rims of both."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels.noise import NO_CLASS

__all__ = ["CLASSES", "box_mean", "cells_with", "highest", "phase_classes", "position_classes"]

CLASSES = ("interior", "edge", "hole", "edge_rim", "hole_rim")
_ROUNDING = 1e-6
# Weight of rims over that around, at most.
_RIM = 0.5
_INTERIOR, _EDGE, _HOLE, _EDGE_RIM, _HOLE_RIM = range(len(CLASSES))
# Concentrations are averaged over this box, and their extremes [per cent] are left out of the steps.
_PHASE_BOX_PIX = 3
_PHASE_PERCENT = (1.0, 99.0)


def position_classes(
    weight: NDArray[np.float32], *, smooth_pix: int, hole_pix: int, reach_pix: int, drop: float
) -> NDArray[np.uint8]:
    """Return the class of every pixel from the weights alone.

    Parameters
    ----------
    weight : ndarray, float32, shape (ny, nx)
        Weight of a mosaic.
    smooth_pix : int
        Side of the box in which weights are averaged, so that the pattern of the drops is gone [pix].
    hole_pix : int
        Gaps up to this wide are holes, wider ones have edges [pix].
    reach_pix : int
        How far pixels beside a gap belong to it [pix].
    drop : float
        Relative drop of the averaged weight that counts.

    Returns
    -------
    ndarray, uint8, shape (ny, nx)
        Index into `CLASSES`; `NO_CLASS` where the weight is 0.

    Notes
    -----
    Averaged weights W are closed (the lowest of the highest values in a box), which fills gaps. A hole is where W is
    lower than closed by more than ``drop`` of it, an edge where closed weights within reach differ by that much. Its
    rim is where the weight is lower than half of the closed weights around: few drops contribute there, and pixels
    have much in common with their neighbours.
    """
    covered = weight != 0
    mean = box_mean(np.abs(weight), 2 * (smooth_pix // 2) + 1)
    # Differences of sums leave rounding where all weights are 0.
    mean[mean < _ROUNDING * mean.max(initial=0.0)] = 0.0
    box = 2 * ((hole_pix + smooth_pix) // 2) + 1
    closed, filled = (-highest(-highest(image, box), box) for image in (mean, covered.astype(np.int8)))
    reach = 2 * reach_pix + 1
    high, low = highest(closed, reach), -highest(-closed, reach)
    hollow = (mean < (1.0 - drop) * closed) | (~covered & (filled > 0))
    out = np.full(weight.shape, _INTERIOR, np.uint8)
    out[low < (1.0 - drop) * high] = _EDGE
    out[highest(hollow, reach)] = _HOLE
    rim = box_mean(np.abs(weight), 2 * (smooth_pix // 6) + 1) < _RIM * high
    out[rim & (out == _EDGE)] = _EDGE_RIM
    out[rim & (out == _HOLE)] = _HOLE_RIM
    out[~covered] = NO_CLASS
    return out


def phase_classes(
    classes: NDArray[np.uint8], concentration: NDArray[np.float32], *, step: float
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return classes of which the interior is divided by the phases of the grids, and the names of the classes.

    Parameters
    ----------
    classes : ndarray, uint8, shape (ny, nx)
        From `position_classes`.
    concentration : ndarray, float32, shape (ny, nx)
        ``sum_p a_p^2 w_p / sum_p a_p w_p`` of every pixel: 1 where it coincides with one pixel of each exposure, low
        where each shares out its drops among neighbours.
    step : float
        Relative step of the averaged concentration between classes.

    Returns
    -------
    classes : ndarray, uint8, shape (ny, nx)
        The parts of the interior that follow the first one come after all other classes.
    names : tuple of str
        ``interior_1`` has the lowest concentration; as `CLASSES` where there is nothing to divide.
    """
    inside = classes == _INTERIOR
    if not inside.any():
        return classes, CLASSES
    smooth = box_mean(concentration, _PHASE_BOX_PIX)
    low, high = np.log(np.maximum(np.percentile(smooth[inside], _PHASE_PERCENT), _ROUNDING))
    n = min(round((high - low) / np.log1p(step)), NO_CLASS - len(CLASSES))
    if n < 2:
        return classes, CLASSES
    part = np.searchsorted(np.exp(np.linspace(low, high, n + 1)[1:-1]), smooth)
    later = len(CLASSES) - 1 + part
    names = ("interior_1", *CLASSES[1:], *(f"interior_{k + 1}" for k in range(1, n)))
    return np.where(inside & (part > 0), later, classes).astype(np.uint8), names


def cells_with(wanted: NDArray[np.bool_], side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cells ``y0, x0, h, w`` of a side that have wanted pixels, and how many each has."""
    ny, nx = wanted.shape
    counts = np.add.reduceat(wanted, np.arange(0, ny, side), axis=0, dtype=np.int64)
    counts = np.add.reduceat(counts, np.arange(0, nx, side), axis=1)
    rows, columns = np.nonzero(counts)
    y, x = rows * side, columns * side
    boxes = np.stack([y, x, np.minimum(side, ny - y), np.minimum(side, nx - x)], axis=-1)
    return boxes.astype(np.int64), counts[rows, columns]


def box_mean(image: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return the mean in a box of odd side around each pixel; the border's pixels go on beyond it."""
    out: NDArray[np.float64] = image.astype(np.float64)
    for axis in (0, 1):
        width = [(0, 0), (0, 0)]
        width[axis] = (side // 2 + 1, side // 2)
        sums = np.cumsum(np.pad(out, width, mode="edge"), axis=axis)
        n = sums.shape[axis]
        out = np.take(sums, range(side, n), axis=axis) - np.take(sums, range(n - side), axis=axis)
    return (out / side**2).astype(np.float32)


def highest(image: NDArray[Any], side: int) -> NDArray[Any]:
    """Return the highest value in a box of odd side around each pixel."""
    out = np.pad(image, side // 2, mode="edge")
    for axis in (0, 1):
        width = 1
        while width < side:
            step = min(width, side - width)
            n = out.shape[axis]
            lower, upper = ((slice(None),) * axis + (part,) for part in (slice(0, n - step), slice(step, n)))
            out = np.maximum(out[lower], out[upper])
            width += step
    return out
