"""Medians of more numbers than fit into memory."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["median_of_parts"]

_HALF = 1 << 16
_SIGN = np.uint32(1 << 31)


def median_of_parts(parts: Callable[[], Iterable[NDArray[np.float32]]]) -> tuple[np.float32, int]:
    """Return the median of all finite values, as `numpy.median` gives it, and their number.

    Parameters
    ----------
    parts : callable
        Called twice; returns the values part by part, the same each time.

    Returns
    -------
    float32
        NaN when there is no value.
    int
        Number of values.

    Notes
    -----
    The bits of a float, those of negative ones turned over, are integers in the same order. The first pass counts their
    upper halves, the second one the lower halves of those in the middle.
    """
    upper = np.zeros(_HALF, np.int64)
    for part in parts():
        upper += np.bincount(_ordered(part) >> 16, minlength=_HALF)
    n = int(upper.sum())
    if n == 0:
        return np.float32(np.nan), 0
    total = np.cumsum(upper)
    ranks = [(n - 1) // 2, n // 2]
    bins = [int(np.searchsorted(total, rank, side="right")) for rank in ranks]
    lower = {k: np.zeros(_HALF, np.int64) for k in bins}
    for part in parts():
        keys = _ordered(part)
        for k in lower:
            lower[k] += np.bincount(keys[keys >> 16 == k] & (_HALF - 1), minlength=_HALF)
    middle = []
    for rank, k in zip(ranks, bins, strict=True):
        within = int(np.searchsorted(np.cumsum(lower[k]), rank - (total[k] - upper[k]), side="right"))
        middle.append(_float(k * _HALF + within))
    return np.float32(np.median(np.array(middle, np.float32))), n


def _ordered(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    flat = np.ascontiguousarray(values[np.isfinite(values)], np.float32)
    bits = flat.view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _float(key: int) -> np.float32:
    bits = np.array([key], np.uint32)
    return np.float32(np.where(bits & _SIGN, bits & ~_SIGN, ~bits).view(np.float32)[0])
