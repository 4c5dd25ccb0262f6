"""Sources on the border of two tiles: each is seen in both, measured twice, and must appear exactly once.

The two tiles have pixels of their own, so their positions of one source differ by a fraction of a pixel, and the border
may run between them. Near a border, therefore, the position that decides is the one that was detected in the first of
the tiles (by number) that see the source: all tiles know it and agree on the owner.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import SegmentationMap
from skymere.lake import Lake, Tile, around
from skymere.mosaic import DetectionImage
from skymere.segmentation import BlockSegmentation, MeasureImage, MeasureParams, measure_blocks

__all__ = ["border_digests", "border_of", "neighbours", "owned_sources"]

# Detections of one source in two tiles are closer than this; all that are twice as close to a border are listed.
_MATCH_ARCSEC = 0.5
_MATCH_PIX = 2.0
# So many digits make two runs equal where a change far away moved a position by less than 0.4 mas.
_DIGITS = 7
_SCHEMA = {"label": pl.Int32(), "ra": pl.Float64(), "dec": pl.Float64()}


def border_of(
    lake: Lake,
    tile: str,
    segmentation: SegmentationMap | BlockSegmentation,
    stack: Callable[[slice, slice], DetectionImage],
    *,
    side: int,
) -> dict[str, Any]:
    """Return the attribute ``border`` of a segmentation: ``label, ra, dec`` of what is close to another tile."""
    if not lake.tiles.neighbours(tile):
        return {}

    def read(rows: slice, columns: slice) -> dict[str, Any]:
        image = stack(rows, columns)
        return {"images": {"detection": MeasureImage(data=image.data, error=image.error)}}

    params = MeasureParams(extended=False, aperture_diameters_pix=())
    found = measure_blocks(segmentation, read, blocks=side, params=params).table
    here = lake.tiles[tile]
    near = _crosses(here, found["ra"].to_numpy(), found["dec"].to_numpy(), 2.0 * _radius(here))
    listed = found.filter(pl.Series(near, dtype=pl.Boolean)).select("label", pl.col("ra", "dec").round(_DIGITS))
    return {"border": listed.rows()}


def neighbours(lake: Lake, tile: str) -> list[str]:
    """Return the tiles beside a tile that have a segmentation."""
    there = lake.live_runs("segmentation")
    return [name for name in lake.tiles.neighbours(tile) if name in there]


def border_digests(lake: Lake) -> dict[str, dict[str, str]]:
    """Return, for each tile with a segmentation, digests of what its neighbours have seen close to it.

    Notes
    -----
    `owned_sources` reads no more of them, so that what changes a neighbour far from a border is not its business.
    """
    there = lake.live_runs("segmentation")
    listed = cache(partial(_border, lake))
    digests: dict[str, dict[str, str]] = {}
    for tile in there:
        beside = {name: _seen(lake.tiles[tile], listed(name)) for name in lake.tiles.neighbours(tile) if name in there}
        digests[tile] = {
            name: hashlib.sha256(json.dumps(places.tolist()).encode()).hexdigest()
            for name, places in beside.items()
            if len(places)
        }
    return digests


def owned_sources(lake: Lake, tile: str, table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that belong to a tile.

    Parameters
    ----------
    lake : Lake
        Its tiles all have their segmentation.
    tile : str
        The tile.
    table : polars.DataFrame
        All its segments, with ``label, ra, dec``.

    Notes
    -----
    Tiles are gone through by number. A detection that is the nearest one of a source that an earlier tile saw, within
    0.5 arcsec or two pixels, is of that source; others are sources of their own. The owner is where the first detection
    is whose place belongs to a tile that sees the source. Where the position of the row lies beyond the border, that
    place is published.
    """
    here = lake.tiles[tile]
    mine = _border(lake, tile)
    places = {tile: mine.select("ra", "dec").to_numpy()}
    places |= {name: _seen(here, _border(lake, name)) for name in neighbours(lake, tile)}
    owner, decided = _owners(lake, places, tile, _radius(here))
    listed = mine.select("label").with_columns(
        is_mine=pl.Series(owner, dtype=pl.Boolean),
        ra_decided=pl.Series(decided[:, 0], dtype=pl.Float64),
        dec_decided=pl.Series(decided[:, 1], dtype=pl.Float64),
    )
    table = table.join(listed, on="label", how="left", maintain_order="left")
    own = pl.Series(here.owns(table["ra"].to_numpy(), table["dec"].to_numpy()), dtype=pl.Boolean)
    return (
        table.with_columns(pl.col("is_mine").fill_null(own))
        .with_columns(
            pl.when(own).then(pl.col(name)).otherwise(pl.col(f"{name}_decided")).alias(name) for name in ("ra", "dec")
        )
        .filter("is_mine")
        .drop("is_mine", "ra_decided", "dec_decided")
    )


def _owners(
    lake: Lake, places: dict[str, NDArray[np.float64]], tile: str, radius_arcsec: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which detections of a tile are sources of its own, and the place ``(n, 2)`` that decided it."""
    first = np.empty((0, 2))
    members: list[list[tuple[str, int]]] = []
    for name in sorted(places, key=_rank):
        found = places[name]
        pairs = dict(_mutual(found, first, radius_arcsec))
        for k in range(len(found)):
            if k in pairs:
                members[pairs[k]].append((name, k))
            else:
                members.append([(name, k)])
                first = np.concatenate([first, found[k : k + 1]])
    is_mine, decided = np.zeros(len(places[tile]), bool), places[tile].copy()
    for seen in members:
        at = dict(seen)
        if tile not in at:
            continue
        for name, k in seen:
            place = places[name][k]
            owner = next((one for one in at if lake.tiles[one].owns(place[:1], place[1:]).all()), None)
            if owner is not None:
                is_mine[at[tile]], decided[at[tile]] = owner == tile, place
                break
    return is_mine, decided


def _border(lake: Lake, tile: str) -> pl.DataFrame:
    rows = lake.arrays("segmentation", tile).attributes().get("border", [])
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _seen(tile: Tile, border: pl.DataFrame) -> NDArray[np.float64]:
    """Return the places ``(n, 2)`` [deg] of another tile's list that may be of sources that this tile lists."""
    ra, dec = border["ra"].to_numpy(), border["dec"].to_numpy()
    near = tile.owns(ra, dec) | _crosses(tile, ra, dec, 4.0 * _radius(tile))
    return np.column_stack([ra, dec])[near]


def _radius(tile: Tile) -> float:
    return max(_MATCH_ARCSEC, _MATCH_PIX * tile.grid.scale_arcsec)


def _rank(tile: str) -> tuple[int, str]:
    return len(tile), tile


def _crosses(tile: Tile, ra: NDArray[np.float64], dec: NDArray[np.float64], radius_arcsec: float) -> NDArray[np.bool_]:
    """Whether the border runs through a circle around positions [deg]."""
    inside = tile.owns(ra, dec)
    differs = np.zeros(len(inside), bool)
    for a, d in zip(*around(ra, dec, radius_arcsec), strict=True):
        differs |= tile.owns(a, d) != inside
    return differs


def _mutual(some: NDArray[np.float64], others: NDArray[np.float64], radius_arcsec: float) -> Sequence[tuple[int, int]]:
    """Return the pairs within a radius, each of which is nearest to the other."""
    if not len(some) or not len(others):
        return []
    east = (some[:, None, 0] - others[None, :, 0] + 180.0) % 360.0 - 180.0
    middle = np.deg2rad((some[:, None, 1] + others[None, :, 1]) / 2)
    apart = 3600.0 * np.hypot(east * np.cos(middle), some[:, None, 1] - others[None, :, 1])
    nearest, back = apart.argmin(axis=1), apart.argmin(axis=0)
    return [(i, int(j)) for i, j in enumerate(nearest) if back[j] == i and apart[i, j] <= radius_arcsec]
