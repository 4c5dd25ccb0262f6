"""Which exposures are compared with each other: those of one band that touch one tile.

So a new exposure is the business of its tiles alone, and a task has the size of a tile, however large the survey.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import NoDataError
from skymere.lake import Lake, Run, polygons_overlap
from skymere.pipeline.exposures import exposure_inputs, group_name, outline_of
from skymere.pipeline.task import Task

__all__ = ["TileGroup", "grown_outline", "retirements", "tile_groups"]


@dataclass(frozen=True, kw_only=True)
class TileGroup:
    """The exposures of a band that touch a tile.

    Parameters
    ----------
    tile, band : str
        The tile, and the band.
    names : tuple of str
        Exposures, ordered.
    inputs : tuple of dict
        Their entries among the inputs of a run.
    """

    tile: str
    band: str
    names: tuple[str, ...]
    inputs: tuple[dict[str, str], ...]

    @property
    def name(self) -> str:
        """Under which its products are published."""
        return group_name(self.tile, self.band)


def tile_groups(lake: Lake, rows: pl.DataFrame) -> list[TileGroup]:
    """Return the groups of all tiles that own sky which exposures see, ordered by tile and band.

    Parameters
    ----------
    lake : Lake
        The lake.
    rows : polars.DataFrame
        Of `usable_exposures`.

    Raises
    ------
    NoDataError
        When the exposures touch no tile.
    """
    outlines = {name: outline_of(text) for name, text in rows.select("exposure_id", "footprint").iter_rows()}
    seen = {name: lake.tiles.touching(outline) for name, outline in outlines.items()}
    touched = {tile for tiles in seen.values() for tile in tiles}
    if outlines and not touched:
        msg = f"none of {list(outlines)} touches a tile of the lake: {lake.tiles}"
        raise NoDataError(msg)
    around = {tile: {tile, *lake.tiles.neighbours(tile)} & touched for tile in touched}
    images = {tile: lake.tiles[tile].grid.corners() for tile in touched}
    members: dict[str, list[str]] = {tile: [] for tile in sorted(touched, key=lambda name: (len(name), name))}
    for name, outline in outlines.items():
        # The image of a tile is larger than what it owns; so it sees exposures that only its neighbours own.
        for tile in set().union(*(around[one] for one in seen[name])):
            if polygons_overlap(images[tile], outline):
                members[tile].append(name)
    groups = []
    for tile, names in members.items():
        mine = rows.filter(pl.col("exposure_id").is_in(names))
        for (band,), part in sorted(mine.group_by("band")):
            ordered = tuple(part["exposure_id"].sort().to_list())
            groups.append(TileGroup(tile=tile, band=band, names=ordered, inputs=tuple(exposure_inputs(part))))
    return groups


def retirements(lake: Lake, product: str, names: Iterable[str]) -> list[Task]:
    """Return tasks that publish nothing for what shows rows of a product and is no longer made.

    Parameters
    ----------
    lake : Lake
        The lake.
    product : str
        The product.
    names : iterable of str
        What is made, by the name that stands for its tile.

    Notes
    -----
    Lakes of before have one group for each band; tiles may lose their exposures when those are aligned. Rows that
    stayed would count twice.
    """
    there = lake.table(product).select(pl.col("tile").unique()).collect()["tile"].to_list()
    gone = sorted(set(there) - set(names))
    return [Task(tile=name, inputs=[], params={"is_retired": True}, work=_publish_nothing) for name in gone]


def _publish_nothing(run: Run) -> None:
    run.publish(run.frame([]))


def grown_outline(lake: Lake, tile: str, margin_arcsec: float) -> NDArray[np.float64]:
    """Return the corners ``(4, 2)`` ``ra, dec`` [deg] of the image of a tile with a margin on every side."""
    grid = lake.tiles[tile].grid
    margin = int(np.ceil(margin_arcsec / grid.scale_arcsec))
    ny, nx = grid.shape
    return grid.cutout(-margin, -margin, (ny + 2 * margin, nx + 2 * margin)).corners()
