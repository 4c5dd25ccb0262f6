"""Sets of pointings that hang together through overlaps on the sky."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skymere.lake import polygon_middle, polygons_overlap

__all__ = ["overlapping_sets"]


def overlapping_sets(pointings: Sequence[Sequence[NDArray[np.float64]]]) -> list[list[int]]:
    """Return the pointings of each set that hangs together, by the order of the first.

    Parameters
    ----------
    pointings : sequence of sequence of ndarray, shape (n, 2) [deg]
        Outlines ``ra, dec`` of the chips of each.
    """
    circles = np.array([polygon_middle(np.concatenate(list(chips))) for chips in pointings]).reshape(-1, 3)
    ra, dec, radius = np.deg2rad(circles).T
    middles = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    root = list(range(len(pointings)))

    def set_of(k: int) -> int:
        while root[k] != k:
            root[k] = root[root[k]]
            k = root[k]
        return k

    for i in range(len(pointings)):
        apart = np.linalg.norm(middles[i + 1 :] - middles[i], axis=1)
        # A chord is shorter than its arc, so that no pair is missed.
        for j in i + 1 + np.flatnonzero(apart <= radius[i] + radius[i + 1 :]):
            a, b = set_of(i), set_of(int(j))
            if a != b and _touch(pointings[i], pointings[int(j)]):
                root[max(a, b)] = min(a, b)
    sets: dict[int, list[int]] = {}
    for k in range(len(pointings)):
        sets.setdefault(set_of(k), []).append(k)
    return list(sets.values())


def _touch(one: Sequence[NDArray[np.float64]], other: Sequence[NDArray[np.float64]]) -> bool:
    return any(polygons_overlap(a, b) for a in one for b in other)
