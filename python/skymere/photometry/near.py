"""Places that are near others, without the distances of all pairs."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cells"]


class Cells:
    """Places in cells of a plane.

    Parameters
    ----------
    x, y : ndarray, float64, shape (n,)
        Places; those that are not finite are near nothing.
    radius : float
        Places within this distance are looked for.
    """

    def __init__(self, x: NDArray[np.float64], y: NDArray[np.float64], radius: float) -> None:
        self._places = np.stack([x, y], axis=-1)
        self._radius = radius
        rows = np.flatnonzero(np.isfinite(self._places).all(axis=1))
        cells = np.floor(self._places[rows] / radius).astype(np.int64)
        order = np.lexsort((cells[:, 1], cells[:, 0]))
        self._rows, ordered = rows[order], cells[order]
        is_first = np.ones(rows.size, bool)
        is_first[1:] = (np.diff(ordered, axis=0) != 0).any(axis=1)
        starts = np.flatnonzero(is_first)
        ends = np.append(starts[1:], rows.size)[: starts.size]
        self._at = {
            (int(cx), int(cy)): (int(first), int(end))
            for (cx, cy), first, end in zip(ordered[starts], starts, ends, strict=True)
        }

    def within(self, x: float, y: float) -> NDArray[np.int64]:
        """Return the rows of places within the radius of a place."""
        if not (np.isfinite(x) and np.isfinite(y)):
            return np.zeros(0, np.int64)
        cx, cy = int(np.floor(x / self._radius)), int(np.floor(y / self._radius))
        spans = [self._at.get((cx + i, cy + j)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        near = np.concatenate([self._rows[span[0] : span[1]] for span in spans if span] or [np.zeros(0, np.int64)])
        off = self._places[near] - (x, y)
        return np.asarray(np.sort(near[np.hypot(*off.T) < self._radius]), np.int64)
