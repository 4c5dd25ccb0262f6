"""Values at ranks among more numbers than fit into memory."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["median_of_parts", "percentiles_of_parts", "values_at_ranks"]

_HALF = 1 << 16
_SIGN = np.uint32(1 << 31)

Parts = Callable[[], Iterable[NDArray[np.float32]]]


def values_at_ranks(parts: Parts, ranks: Callable[[int], Sequence[int]]) -> tuple[list[np.float32], int]:
    """Return values by their ranks among all finite ones, and how many these are.

    Parameters
    ----------
    parts : callable
        Called twice; returns the values, float32, part by part, the same each time.
    ranks : callable
        Takes the number of values and returns ranks below it, 0 for the lowest value; not called when there is none.

    Returns
    -------
    list of float32
        One for each rank; empty when there is no value.
    int
        Number of values.

    Notes
    -----
    The bits of a float, those of negative ones turned over, are integers in the same order. The first pass counts their
    upper halves, the second one the lower halves of those at the ranks.
    """
    upper = np.zeros(_HALF, np.int64)
    for part in parts():
        upper += np.bincount(_ordered(part) >> 16, minlength=_HALF)
    n = int(upper.sum())
    if n == 0:
        return [], 0
    total = np.cumsum(upper)
    wanted = ranks(n)
    bins = [int(np.searchsorted(total, rank, side="right")) for rank in wanted]
    lower = {k: np.zeros(_HALF, np.int64) for k in bins}
    for part in parts():
        keys = _ordered(part)
        for k in lower:
            lower[k] += np.bincount(keys[keys >> 16 == k] & (_HALF - 1), minlength=_HALF)
    found = []
    for rank, k in zip(wanted, bins, strict=True):
        within = int(np.searchsorted(np.cumsum(lower[k]), rank - (total[k] - upper[k]), side="right"))
        found.append(_float(k * _HALF + within))
    return found, n


def median_of_parts(parts: Parts) -> tuple[np.float32, int]:
    """Return the median of all finite values, as `numpy.median` gives it, and their number.

    Parameters
    ----------
    parts : callable
        As in `values_at_ranks`.

    Returns
    -------
    float32
        NaN when there is no value.
    int
        Number of values.
    """
    middle, n = values_at_ranks(parts, lambda n: [(n - 1) // 2, n // 2])
    return np.float32(np.median(np.array(middle, np.float32))) if n else np.float32(np.nan), n


def percentiles_of_parts(parts: Parts, percent: Sequence[float]) -> tuple[list[float], int]:
    """Return percentiles, linear between ranks as those of `numpy.percentile`, and the number of values.

    Parameters
    ----------
    parts : callable
        As in `values_at_ranks`.
    percent : sequence of float
        From 0 to 100.

    Returns
    -------
    list of float
        NaN when there is no value.
    int
        Number of values.
    """

    def around(n: int) -> list[int]:
        at = [(n - 1) * p / 100.0 for p in percent]
        return [rank for place in at for rank in (int(place), min(int(place) + 1, n - 1))]

    found, n = values_at_ranks(parts, around)
    if n == 0:
        return [float("nan")] * len(percent), 0
    result = []
    for p, low, high in zip(percent, found[::2], found[1::2], strict=True):
        place = (n - 1) * p / 100.0
        result.append(float(low) + (float(high) - float(low)) * (place - int(place)))
    return result, n


def _ordered(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    flat = np.ascontiguousarray(values[np.isfinite(values)], np.float32)
    bits = flat.view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _float(key: int) -> np.float32:
    bits = np.array([key], np.uint32)
    return np.float32(np.where(bits & _SIGN, bits & ~_SIGN, ~bits).view(np.float32)[0])
