"""A lake that is being looked at: what never changes is kept open, what does is asked for again."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import polars as pl

from skymere.errors import NotFoundError
from skymere.lake import ArrayGroup, Lake
from skymere.viewer.web.levels import TILE_PIX, LevelledImage, n_levels
from skymere.wcs import Grid

__all__ = ["LakeReader", "OpenTable"]

_N_GROUPS = 128
_SECONDS = 1.0
_LISTED = ("tile", "run_id", "band", "ny", "nx", "scale_arcsec", "unit", "ra", "dec", "n_exposures")


@dataclass(frozen=True)
class OpenTable:
    """A table as it was a moment ago.

    Parameters
    ----------
    runs : mapping of str to str
        Run that each tile shows, never newer than the rows.
    frame : polars.LazyFrame
        Its rows.
    dtypes : mapping
        Name and Polars dtype of each column.
    """

    runs: Mapping[str, str]
    frame: pl.LazyFrame
    dtypes: Mapping[str, Any]


class LakeReader:
    """What the pages read of a lake.

    Parameters
    ----------
    lake : Lake
        The lake, newest state or a release.

    Notes
    -----
    Groups of arrays are immutable and kept open by product, tile and run. Which run a tile shows is asked again when
    the answer is more than a second old.
    """

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.group = lru_cache(maxsize=_N_GROUPS)(self._group)
        self.image = lru_cache(maxsize=_N_GROUPS)(self._image)
        self._runs: dict[str, tuple[float, Mapping[str, str]]] = {}
        self._tables: dict[str, tuple[float, OpenTable]] = {}

    def runs(self, product: str) -> Mapping[str, str]:
        """Return the run that each tile of a product shows."""
        known = self._runs.get(product)
        if known is None or time.monotonic() - known[0] > _SECONDS:
            known = (time.monotonic(), self.lake.live_runs(product))
            self._runs[product] = known
        return known[1]

    def table(self, name: str) -> OpenTable:
        """Return a table; it is opened again when it was opened more than a second ago.

        Raises
        ------
        NotFoundError
            When there is no such table.
        """
        known = self._tables.get(name)
        if known is None or time.monotonic() - known[0] > _SECONDS:
            runs = self.lake.live_runs(name)
            frame = self.lake.table(name)
            known = (time.monotonic(), OpenTable(runs, frame, dict(frame.collect_schema())))
            self._tables[name] = known
        return known[1]

    def forget(self) -> None:
        """Ask again which runs there are: something was published."""
        self._runs.clear()
        self._tables.clear()

    def images(self) -> list[dict[str, Any]]:
        """Return the mosaics of the lake: for each tile its run, shape, pixels and bands, by name."""
        rows = self.lake.table("mosaic").filter(pl.col("status") == "ok").select(_LISTED).collect()
        found = []
        for (tile, run), mine in rows.sort("tile", "band").group_by("tile", "run_id", maintain_order=True):
            first = mine.row(0, named=True)
            same = {name: first[name] for name in ("ny", "nx", "scale_arcsec", "unit", "ra", "dec")}
            bands = mine.select("band", "n_exposures").to_dicts()
            found.append({"tile": tile, "run": run, **same, "bands": bands})
        return found

    def described(self, tile: str) -> dict[str, Any]:
        """Return what the page must know of the image of a tile to draw it.

        Raises
        ------
        NotFoundError
            When the tile has no mosaic.
        """
        for image in self.images():
            if image["tile"] == tile:
                grid = self.image(tile, image["run"], image["bands"][0]["band"]).grid
                levels = n_levels((image["ny"], image["nx"]))
                return {**image, "n_levels": levels, "tile_pix": TILE_PIX, "tangent": _tangent(grid)}
        msg = f"tile: {tile!r} has no mosaic"
        raise NotFoundError(msg)

    def limits(self, tile: str, run: str, band: str) -> dict[str, Any]:
        """Return limits that suit one band of an image; see `skymere.viewer.web.scaling.Limits`."""
        found = self.image(tile, run, band).limits
        choices = {name: list(pair) for name, pair in found.choices.items()}
        return {"sky": found.sky, "noise": found.noise, "softening": found.softening, "choices": choices}

    def _group(self, product: str, tile: str, run: str) -> ArrayGroup:
        return self.lake.arrays(product, tile, run)

    def _image(self, tile: str, run: str, band: str) -> LevelledImage:
        return LevelledImage(self.group("mosaic", tile, run), band)


def _tangent(grid: Grid) -> dict[str, Any] | None:
    """Return reference position, pixel and matrix of an undistorted tangent plane; None for other projections."""
    wcs = grid.wcs
    is_plain = list(wcs.wcs.ctype) == ["RA---TAN", "DEC--TAN"] and wcs.sip is None and not wcs.has_distortion
    if not is_plain:
        return None
    # 0-based, as everywhere in skymere.
    pixel = [float(value) - 1.0 for value in wcs.wcs.crpix]
    return {"sky": [float(value) for value in wcs.wcs.crval], "pixel": pixel, "matrix": wcs.pixel_scale_matrix.tolist()}
