"""Outlines on the sky that hang together through overlaps, for any number of them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError

__all__ = ["overlap_groups"]

# Cells are this part of the middle radius of the outlines: nearly all that overlap have the middle of a cell in common.
_CELL_PER_RADIUS = 0.8
# The largest outline has at most so many cells along a side.
_MOST_CELLS = 64
_PAIRS_AT_ONCE = 1 << 20
# More columns than any row has.
_ROW = 1 << 40
# Outlines that only touch share no area [rad].
_ROUNDING = 1e-12


def overlap_groups(corners: ArrayLike) -> NDArray[np.int64]:
    """Return which outlines hang together: a number for each, that of the first outline of its group.

    Parameters
    ----------
    corners : array_like, float64, shape (n, 4, 2) [deg]
        ``ra, dec`` of the corners of convex quadrangles no larger than a few degrees; their sides are great circles.

    Returns
    -------
    ndarray, int64, shape (n,)
        Two outlines have one number when a chain of outlines, each sharing area with the next, leads from one to the
        other.

    Raises
    ------
    InvalidInputError
        When the shape is another one, or a number is not finite.

    Notes
    -----
    Outlines that hold the middle of the same cell of a grid on the sky overlap, so most are joined without looking at
    pairs. Pairs are looked at only where their groups still differ and their circumscribed circles meet.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.mosaic import overlap_groups
    >>> box = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> overlap_groups([box, box + 5.0, box + 0.5])
    array([0, 1, 0])
    """
    outlines = np.asarray(as_array(corners, "corners", np.float64, shape=(None, 4, 2)))
    if not np.isfinite(outlines).all():
        k = int(np.flatnonzero(~np.isfinite(outlines).all(axis=(1, 2)))[0])
        msg = f"corners: outline {k}, {outlines[k].tolist()}, is not allowed, all numbers must be finite"
        raise InvalidInputError(msg)
    if not len(outlines):
        return np.zeros(0, np.int64)
    sky, forest = _Sky(outlines), _Forest(len(outlines))
    member, cell, has_middle = sky.touched()
    first, at = member[has_middle], cell[has_middle]
    same = at[1:] == at[:-1]
    forest.join(first[:-1][same], first[1:][same])
    for one, other in _pairs(member, cell, forest):
        hit = sky.overlap(one, other)
        forest.join(one[hit], other[hit])
    return forest.roots(np.arange(len(outlines)))


def _pairs(
    member: NDArray[np.int64], cell: NDArray[np.int64], forest: "_Forest"
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield pairs of one cell and of different groups, some at a time, until all have been seen."""
    step = 0
    while True:
        if step & (step - 1) == 0:
            # Where all members of a cell are of one group there is nothing left to look for.
            root = forest.roots(member)
            begin = np.flatnonzero(np.concatenate([[True], cell[1:] != cell[:-1]]))
            length = np.diff(np.concatenate([begin, [len(cell)]]))
            mixed = np.minimum.reduceat(root, begin) != np.maximum.reduceat(root, begin)
            keep = np.repeat(mixed, length)
            if not keep.any():
                return
            member, cell = member[keep], cell[keep]
            last = np.repeat(np.cumsum(length[mixed]), length[mixed])
        step += 1
        at = np.flatnonzero(np.arange(len(member)) + step < last)
        if not len(at):
            return
        for part in np.array_split(at, len(at) // _PAIRS_AT_ONCE + 1):
            one, other = member[part], member[part + step]
            apart = forest.roots(one) != forest.roots(other)
            yield one[apart], other[apart]


class _Forest:
    """Groups as trees whose root is their first member."""

    def __init__(self, n: int) -> None:
        self.parent = np.arange(n)

    def roots(self, members: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the roots of members."""
        found = self.parent[members]
        while not np.array_equal(above := self.parent[found], found):
            found = above
        self.parent[members] = found
        return found

    def join(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        """Join pairs, all at once: in each round every root goes below the smallest that it meets."""
        while len(first):
            a, b = self.roots(first), self.roots(second)
            differ = a != b
            first, second = first[differ], second[differ]
            np.minimum.at(self.parent, np.maximum(a, b)[differ], np.minimum(a, b)[differ])


class _Sky:
    """Outlines as unit vectors, and the cells of a grid on the sky."""

    def __init__(self, outlines: NDArray[np.float64]) -> None:
        a, d = np.deg2rad(outlines[..., 0]), np.deg2rad(outlines[..., 1])
        self.vectors = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)
        self.inward = _inward(self.vectors)
        middle = self.vectors.sum(axis=1)
        self.middle = middle / np.linalg.norm(middle, axis=1, keepdims=True)
        chord = np.linalg.norm(self.vectors - self.middle[:, None], axis=2).max(axis=1)
        self.radius = np.rad2deg(2 * np.arcsin(np.clip(chord / 2, 0, 1))) + 1e-9
        self.ra = np.rad2deg(np.arctan2(self.middle[:, 1], self.middle[:, 0])) % 360.0
        self.dec = np.rad2deg(np.arcsin(np.clip(self.middle[:, 2], -1, 1)))

    def touched(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return outlines with the cells that they may touch, ordered by cell, and whether they hold its middle."""
        side = max(float(np.median(self.radius)) * _CELL_PER_RADIUS, 2 * float(self.radius.max()) / _MOST_CELLS)
        parts = []
        for member, row, column, n_columns in self._cells(self.radius, side):
            dec = np.asarray((row + 0.5) * side - 90.0, np.float64)
            width = 360.0 / n_columns
            # No corner of a cell is farther from its middle.
            reach = side / 2 + width / 2 * np.cos(np.deg2rad(np.maximum(np.abs(dec) - side / 2, 0.0)))
            depth = _depth(self.inward[member], (column + 0.5) * width, dec)
            near = depth >= -np.sin(np.deg2rad(np.minimum(reach, 90.0))) - 1e-12
            parts.append((member[near], (row * _ROW + column)[near], (depth > 0)[near]))
        member, cell, has_middle = (np.concatenate([part[k] for part in parts]) for k in range(3))
        order = np.lexsort((member, cell))
        return member[order], cell[order], has_middle[order].astype(bool)

    def overlap(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which pairs of outlines share area: no side of either has all of the other behind it."""
        hit = np.ones(len(one), bool)
        for a, b in ((one, other), (other, one)):
            behind = np.einsum("nij,nkj->nik", self.inward[a], self.vectors[b]) <= _ROUNDING
            hit &= ~behind.all(axis=2).any(axis=1)
        return hit

    def _cells(
        self, radius: NDArray[np.float64], side: float
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
        """Yield members with row, column and columns of the row of all cells that their circles may touch."""
        low = np.floor((self.dec - radius + 90.0) / side).astype(np.int64)
        high = np.floor((self.dec + radius + 90.0) / side).astype(np.int64)
        for offset in range(int((high - low).max()) + 1):
            some = np.flatnonzero(low + offset <= high)
            row = low[some] + offset
            n_columns = _columns(row, side)
            half = _half_width(self.dec[some], radius[some])
            left = np.floor((self.ra[some] - half) / 360.0 * n_columns).astype(np.int64)
            right = np.floor((self.ra[some] + half) / 360.0 * n_columns).astype(np.int64)
            count = np.minimum(right - left + 1, n_columns.astype(np.int64))
            member = np.repeat(some, count)
            inside = np.arange(len(member)) - np.repeat(np.cumsum(count) - count, count)
            wide = np.repeat(n_columns, count)
            yield member, np.repeat(row, count), (np.repeat(left, count) + inside) % wide.astype(np.int64), wide


def _columns(row: NDArray[np.int64], side: float) -> NDArray[np.float64]:
    """Return how many cells of about a side a row has."""
    dec = np.deg2rad(np.clip((row + 0.5) * side - 90.0, -90.0, 90.0))
    return np.asarray(np.maximum(np.floor(360.0 * np.cos(dec) / side), 1.0))


def _half_width(dec: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far circles reach in right ascension [deg]; all around where they hold a pole."""
    sine = np.sin(np.deg2rad(np.minimum(radius, 90.0))) / np.maximum(np.cos(np.deg2rad(dec)), 1e-12)
    width = np.rad2deg(np.arcsin(np.clip(sine, 0.0, 1.0)))
    return np.asarray(np.where(np.abs(dec) + radius >= 90.0, 180.0, width))


def _depth(inward: NDArray[np.float64], ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how deep places, one for each outline, lie inside of the nearest side [sine]; below 0 outside."""
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    place = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)
    return np.asarray(np.einsum("nij,nj->ni", inward, place).min(axis=1))


def _inward(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normals of the sides of outlines, of length 1 and towards their middles."""
    normals = np.cross(vectors, np.roll(vectors, -1, axis=1))
    normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-300)
    return np.asarray(normals * np.sign(np.einsum("nij,nj->ni", normals, vectors.sum(axis=1)))[..., None])
