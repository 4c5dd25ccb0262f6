"""Classes of positions on a mosaic: interior, edge, hole, and the rims of both."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import NO_CLASS, Sliceable, Window, windows_of
from skymere.resample.ranks import percentiles_of_parts

__all__ = ["CLASSES", "PhaseSteps", "box_mean", "cells_with", "highest", "position_classes", "position_reach"]

CLASSES = ("interior", "edge", "hole", "edge_rim", "hole_rim")
_ROUNDING = 1e-6
# Weight of rims over that around, at most.
_RIM = 0.5
_INTERIOR, _EDGE, _HOLE, _EDGE_RIM, _HOLE_RIM = range(len(CLASSES))
# Concentrations are averaged over this box, and their extremes [per cent] are left out of the steps.
_PHASE_BOX_PIX = 3
_PHASE_PERCENT = (1.0, 99.0)


def position_reach(*, smooth_pix: int, hole_pix: int, reach_pix: int) -> int:
    """Return how far from a pixel the weights are that decide about its class [pix]; see `position_classes`."""
    return smooth_pix // 2 + 2 * ((hole_pix + smooth_pix) // 2) + reach_pix + 1


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


@dataclass(frozen=True, kw_only=True)
class PhaseSteps:
    """Where the interior is divided by the phases of the grids.

    Parameters
    ----------
    concentration : array, float32, shape (ny, nx)
        ``sum_p a_p^2 w_p / sum_p a_p w_p`` of every pixel: 1 where it coincides with one pixel of each exposure, low
        where each shares out its drops among neighbours. Anything that gives a window when sliced.
    shape : tuple of int
        ``(ny, nx)``.
    steps : tuple of float
        Averaged concentrations at which a part ends and the next one begins.
    """

    concentration: Sliceable
    shape: tuple[int, int]
    steps: tuple[float, ...]

    @classmethod
    def find(
        cls,
        classes: Callable[[Window], NDArray[np.uint8]],
        concentration: Sliceable,
        shape: tuple[int, int],
        *,
        step: float,
    ) -> "PhaseSteps | None":
        """Return the steps of a mosaic; None where there is nothing to divide.

        Parameters
        ----------
        classes : callable
            Returns the classes of a window, from `position_classes`.
        concentration : array, float32, shape (ny, nx)
            As above.
        shape : tuple of int
            ``(ny, nx)``.
        step : float
            Relative step of the averaged concentration between classes.
        """
        blank = cls(concentration=concentration, shape=shape, steps=())

        def inside() -> Iterator[NDArray[np.float32]]:
            for window in windows_of(shape):
                yield blank._smooth(window)[classes(window) == _INTERIOR]

        extremes, n = percentiles_of_parts(inside, _PHASE_PERCENT)
        if n == 0:
            return None
        low, high = np.log(np.maximum(extremes, _ROUNDING))
        n_parts = min(round((high - low) / np.log1p(step)), NO_CLASS - len(CLASSES))
        if n_parts < 2:
            return None
        return replace(blank, steps=tuple(np.exp(np.linspace(low, high, n_parts + 1)[1:-1]).tolist()))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes; ``interior_1`` has the lowest concentration."""
        return ("interior_1", *CLASSES[1:], *(f"interior_{k + 2}" for k in range(len(self.steps))))

    def divided(self, classes: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
        """Return the classes of a window; the parts that follow the first one come after all other classes."""
        part = np.searchsorted(np.array(self.steps), self._smooth(window))
        later = len(CLASSES) - 1 + part
        return np.where((classes == _INTERIOR) & (part > 0), later, classes).astype(np.uint8)

    def _smooth(self, window: Window) -> NDArray[np.float32]:
        wide = window.widened(_PHASE_BOX_PIX // 2, self.shape)
        return box_mean(np.asarray(self.concentration[wide.slices]), _PHASE_BOX_PIX)[window.within(wide)]


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
        width[axis] = (side // 2, side // 2)
        padded, n = np.pad(out, width, mode="edge"), out.shape[axis]
        # Running sums would be faster, but have other bits in another window.
        out = np.zeros(out.shape)
        for k in range(side):
            out += padded[(slice(None),) * axis + (slice(k, k + n),)]
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
