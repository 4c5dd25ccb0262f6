"""Blocks of an image, and windows around them."""

from collections.abc import Iterable, Iterator

import numpy as np

from skymere.errors import InvalidInputError

__all__ = ["Window", "partition", "widened"]

Window = tuple[tuple[int, int], tuple[int, int]]
"""First and last + 1 row, first and last + 1 column."""


def partition(shape: tuple[int, int], blocks: int | Iterable[tuple[slice, slice]]) -> list[Window]:
    """Return the blocks of an image, given as their side or one by one.

    Raises
    ------
    InvalidInputError
        When they overlap or leave out a pixel.
    """
    if isinstance(blocks, int | np.integer):
        windows = list(_squares(shape, int(blocks)))
    else:
        windows = [_window(block, shape) for block in blocks]
    _check_partition(windows, shape)
    return windows


def widened(window: Window, margin: tuple[int, int], shape: tuple[int, int]) -> Window:
    """Return a window with a margin of so many rows and columns where the image goes on."""
    (y0, y1), (x0, x1) = window
    rows = max(y0 - margin[0], 0), min(y1 + margin[0], shape[0])
    return rows, (max(x0 - margin[1], 0), min(x1 + margin[1], shape[1]))


def _squares(shape: tuple[int, int], side: int) -> Iterator[Window]:
    if side < 1:
        msg = f"blocks: {side} is not allowed, it must be at least 1 pixel"
        raise InvalidInputError(msg)
    ny, nx = shape
    for y in range(0, ny, side):
        for x in range(0, nx, side):
            yield (y, min(y + side, ny)), (x, min(x + side, nx))


def _window(block: tuple[slice, slice], shape: tuple[int, int]) -> Window:
    (y0, y1, ystep), (x0, x1, xstep) = (part.indices(n) for part, n in zip(block, shape, strict=True))
    if ystep != 1 or xstep != 1:
        msg = f"blocks: {block} is not allowed, slices must have a step of 1"
        raise InvalidInputError(msg)
    return (y0, y1), (x0, x1)


def _check_partition(windows: list[Window], shape: tuple[int, int]) -> None:
    """Raise unless each pixel lies in one window."""
    covered = sum((y1 - y0) * (x1 - x0) for (y0, y1), (x0, x1) in windows)
    by_row = sorted(windows)
    overlapping = 0
    for i, ((y0, y1), (x0, x1)) in enumerate(by_row):
        for (v0, _), (u0, u1) in by_row[i + 1 :]:
            if v0 >= y1:
                break
            overlapping += u0 < x1 and x0 < u1 and y0 < y1 and x0 < x1 and u0 < u1
    if overlapping or covered != shape[0] * shape[1]:
        msg = (
            f"blocks: {len(windows)} blocks with {covered} pixels, {overlapping} pairs of which overlap, are not "
            f"allowed, each of the {shape[0]} x {shape[1]} pixels must lie in one"
        )
        raise InvalidInputError(msg)
