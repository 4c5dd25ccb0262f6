"""Sky levels that make overlapping exposures equal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from skymere.background import PedestalParams, estimate_pedestal
from skymere.datamodels import Exposure
from skymere.resample import DrizzleParams, Drizzler, pixel_scale_ratio
from skymere.wcs import Grid, pixel_map

__all__ = ["Cells", "MatchedLevels", "SkyPair", "cell_means", "match_levels"]


@dataclass(frozen=True, kw_only=True)
class SkyPair:
    """An overlap of two exposures, or groups of chips.

    Parameters
    ----------
    first, second : str
        Their names.
    n_cells : int
        Common cells that were kept.
    difference : float
        Statistic of first minus second [unit / arcsec^2, or unit / pixel where a pixel's size is unknown].
    residual : float
        What is left of it after matching.
    """

    first: str
    second: str
    n_cells: int
    difference: float
    residual: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class MatchedLevels:
    """Levels of exposures relative to the lowest of their group.

    Parameters
    ----------
    levels : tuple of float
        One for each exposure, 0 for the lowest of a group.
    members : tuple of tuple of int
        Exposures of each group that hangs together through overlaps.
    pairs : tuple of SkyPair
        The overlaps.
    """

    levels: tuple[float, ...]
    members: tuple[tuple[int, ...], ...]
    pairs: tuple[SkyPair, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Means of an exposure in cells of the common grid.

    Parameters
    ----------
    y0, x0 : int
        First cell on the common grid.
    mean : ndarray, float32, shape (ny, nx) [unit / arcsec^2, or unit / pixel]
        NaN where too few pixels are good.
    """

    y0: int
    x0: int
    mean: NDArray[np.float32]


def cell_means(
    exposure: Exposure,
    area: float,
    bad: NDArray[np.bool_],
    grid: Grid,
    limits: tuple[float, float],
) -> Cells:
    """Return the mean of the good pixels of an exposure in every cell that lies under it.

    Parameters
    ----------
    exposure : Exposure
        What is looked at.
    area : float
        Area of one of its pixels [arcsec^2].
    bad : ndarray, bool, shape (ny, nx)
        Pixels that do not count.
    grid : Grid
        The cells.
    limits : tuple of float
        Lowest and highest value that counts [unit].

    Notes
    -----
    Half of the pixels that a cell holds must be good.
    """
    pixmap = pixel_map(exposure.wcs, grid.wcs, exposure.shape)
    finite = np.isfinite(pixmap).all(axis=-1)
    corner = np.floor(pixmap[finite].min(axis=0) + 0.5).astype(int)
    extent = np.floor(pixmap[finite].max(axis=0) + 0.5).astype(int) - corner + 1
    good = ~bad & (exposure.data >= limits[0]) & (exposure.data <= limits[1])
    # A point drizzle puts every pixel whole into the cell in which its centre lies.
    drizzler = Drizzler((int(extent[1]), int(extent[0])), params=DrizzleParams(kernel="point"), context=False)
    drizzler.add(exposure.data, pixmap - corner, weight=good.astype(np.float32), value_scale=1.0 / area)
    means = drizzler.finish()
    enough = means.weight >= 0.5 * pixel_scale_ratio(pixmap) ** 2
    return Cells(y0=int(corner[1]), x0=int(corner[0]), mean=np.where(enough, means.data, np.float32(np.nan)))


def match_levels(
    cells: Sequence[Cells], owner: Sequence[str], *, params: PedestalParams, min_cells: int
) -> MatchedLevels:
    """Return the levels that make overlaps equal, per area.

    Parameters
    ----------
    cells : sequence of Cells
        One for each exposure.
    owner : sequence of str
        Exposure or group of chips to which each belongs; those of one owner get one level.
    params : PedestalParams
        Statistic and clipping of the differences.
    min_cells : int
        Common cells that make an overlap.
    """
    owners = list(dict.fromkeys(owner))
    number = [owners.index(one) for one in owner]
    pairs = _overlaps(cells, number, owners, params, min_cells)
    levels, groups = _least_squares(owners, pairs)
    final = dict(zip(owners, levels.tolist(), strict=True))
    return MatchedLevels(
        levels=tuple(final[one] for one in owner),
        members=tuple(tuple(i for i, k in enumerate(number) if k in group) for group in groups),
        pairs=tuple(replace(p, residual=p.difference - final[p.first] + final[p.second]) for p in pairs),
    )


def _difference(a: Cells, b: Cells) -> NDArray[np.float32]:
    """Return a minus b in the cells that both have."""
    y0, x0 = max(a.y0, b.y0), max(a.x0, b.x0)
    y1 = min(a.y0 + a.mean.shape[0], b.y0 + b.mean.shape[0])
    x1 = min(a.x0 + a.mean.shape[1], b.x0 + b.mean.shape[1])
    if y0 >= y1 or x0 >= x1:
        return np.empty(0, np.float32)
    parts = (c.mean[y0 - c.y0 : y1 - c.y0, x0 - c.x0 : x1 - c.x0] for c in (a, b))
    one, other = parts
    difference = one - other
    return np.asarray(difference[np.isfinite(difference)], np.float32)


def _overlaps(
    cells: Sequence[Cells], number: Sequence[int], owners: Sequence[str], params: PedestalParams, min_cells: int
) -> list[SkyPair]:
    """Compare all pairs of owners that have common cells."""
    differences: dict[tuple[int, int], list[NDArray[np.float32]]] = {}
    for i, j in combinations(range(len(cells)), 2):
        if number[i] == number[j]:
            continue
        difference = _difference(cells[i], cells[j])
        first, second = sorted((number[i], number[j]))
        differences.setdefault((first, second), []).append(difference if number[i] == first else -difference)
    unlimited = replace(params, lower=None, upper=None)
    pairs = []
    for (i, j), parts in differences.items():
        together = np.concatenate(parts)
        if len(together) >= min_cells:
            found = estimate_pedestal(together[np.newaxis], params=unlimited)
            pairs.append(SkyPair(first=owners[i], second=owners[j], n_cells=found.n_pixels, difference=found.level))
    return pairs


def _least_squares(owners: Sequence[str], pairs: Sequence[SkyPair]) -> tuple[NDArray[np.float64], list[list[int]]]:
    """Minimise sum n (d - s_i + s_j)^2; returns s, 0 for the lowest of a group, and the groups."""
    n = len(owners)
    index = {one: k for k, one in enumerate(owners)}
    normal, right = np.zeros((n, n)), np.zeros(n)
    for pair in pairs:
        i, j, w = index[pair.first], index[pair.second], float(pair.n_cells)
        normal[[i, j], [i, j]] += w
        normal[[i, j], [j, i]] -= w
        right[i] += w * pair.difference
        right[j] -= w * pair.difference
    groups = _connected(normal)
    levels = np.linalg.pinv(normal, hermitian=True) @ right
    for group in groups:
        levels[group] -= levels[group].min()
    return levels, groups


def _connected(links: NDArray[np.float64]) -> list[list[int]]:
    """Return the groups of rows that hang together through entries that are not 0."""
    left, groups = set(range(len(links))), []
    while left:
        group, edge = set(), {min(left)}
        while edge:
            group |= edge
            edge = {int(k) for i in edge for k in np.flatnonzero(links[i])} - group
        left -= group
        groups.append(sorted(group))
    return groups
