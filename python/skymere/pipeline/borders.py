"""Sources on the border of two tiles: each is seen in both, measured twice, and must appear exactly once.

The two tiles have pixels of their own, so their positions of one source differ by a fraction of a pixel, and the border
may run between them. Near a border, therefore, the position that decides is the one that was detected in the first of
the tiles (by number) that see the source: all tiles know it and agree on the owner.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import SegmentationMap
from skymere.lake import Lake, Tile, around, separation
from skymere.mosaic import DetectionImage
from skymere.segmentation import MeasureImage, MeasureParams, measure_blocks

__all__ = ["border_of", "neighbours", "owned_sources"]

# Detections of one source in two tiles are closer than _MATCH_PIX, and all that are closer to the border are listed.
_MATCH_PIX = 2.0
_ZONE_PIX = 4.0
_SCHEMA = {"label": pl.Int32(), "ra": pl.Float64(), "dec": pl.Float64()}


def border_of(
    lake: Lake, tile: str, segmentation: SegmentationMap, stack: Callable[[slice, slice], DetectionImage], *, side: int
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
    zone = _ZONE_PIX * here.grid.scale_arcsec
    near = _crosses(here, found["ra"].to_numpy(), found["dec"].to_numpy(), zone)
    return {"border": found.filter(pl.Series(near, dtype=pl.Boolean)).select("label", "ra", "dec").rows()}


def neighbours(lake: Lake, tile: str) -> list[str]:
    """Return the tiles beside a tile that have a segmentation."""
    there = lake.live_runs("segmentation")
    return [name for name in lake.tiles.neighbours(tile) if name in there]


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
    Where the position of the row lies beyond the border, and the one that decides does not, the latter is published.
    """
    here = lake.tiles[tile]
    anchors = _border(lake, tile)
    first = anchors.with_columns(pl.lit(_rank(tile)).alias("rank"))
    for name in neighbours(lake, tile):
        partners = _partners(anchors, _border(lake, name), _MATCH_PIX * here.grid.scale_arcsec)
        first = pl.concat([first, partners.with_columns(pl.lit(_rank(name)).alias("rank"))])
    first = first.sort("rank").unique("label", keep="first").select("label", ra_first="ra", dec_first="dec")
    table = table.join(first, on="label", how="left", maintain_order="left")
    own = pl.Series(here.owns(table["ra"].to_numpy(), table["dec"].to_numpy()), dtype=pl.Boolean)
    place = table.select(pl.coalesce("ra_first", "ra"), pl.coalesce("dec_first", "dec"))
    decided = pl.Series(here.owns(*(place[name].to_numpy() for name in place.columns)), dtype=pl.Boolean)
    return (
        table.with_columns(
            pl.when(own).then(pl.col(name)).otherwise(pl.col(f"{name}_first")).alias(name) for name in ("ra", "dec")
        )
        .filter(decided)
        .drop("ra_first", "dec_first")
    )


def _border(lake: Lake, tile: str) -> pl.DataFrame:
    rows = lake.arrays("segmentation", tile).attributes().get("border", [])
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _rank(tile: str) -> str:
    return f"{len(tile):03d}{tile}"


def _crosses(tile: Tile, ra: NDArray[np.float64], dec: NDArray[np.float64], radius_arcsec: float) -> NDArray[np.bool_]:
    """Whether the border runs through a circle around positions [deg]."""
    inside = tile.owns(ra, dec)
    differs = np.zeros(len(inside), bool)
    for a, d in zip(*around(ra, dec, radius_arcsec), strict=True):
        differs |= tile.owns(a, d) != inside
    return differs


def _partners(mine: pl.DataFrame, theirs: pl.DataFrame, radius_arcsec: float) -> pl.DataFrame:
    """Return ``label`` of mine and ``ra, dec`` of theirs for all pairs, each of which is nearest to the other."""
    pairs = mine.join(theirs, how="cross", suffix="_there").with_columns(
        separation("ra", "dec", "ra_there", "dec_there").alias("apart")
    )
    mutual = pairs.filter(
        pl.col("apart") <= radius_arcsec,
        pl.col("apart") == pl.col("apart").min().over("label"),
        pl.col("apart") == pl.col("apart").min().over("label_there"),
    )
    return mutual.select("label", ra="ra_there", dec="dec_there")
