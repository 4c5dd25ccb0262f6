"""What the tables of a lake say of some sources, each table asked once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake import ArrayGroup, Lake, Ragged
from skymere.lake.ragged import read_ragged

__all__ = ["SourcePlace", "SourceRows"]

# Tables with a position, the one that says most of a source first.
_POSITIONAL = ("source", "cutout", "redshift", "beam", "slit_spectrum", "spectrum", "flux")


@dataclass(frozen=True, kw_only=True)
class SourcePlace:
    """Where a source is.

    Parameters
    ----------
    source_id : int
        The source.
    ra, dec : float or None
        ICRS [deg]; None when no table knows it.
    tile : str
        Tile or group of its rows.
    product : str
        Table that says so.
    """

    source_id: int
    ra: float | None
    dec: float | None
    tile: str
    product: str


class SourceRows:
    """Rows of some sources in every table of a lake; a table is read when it is first asked for.

    Parameters
    ----------
    lake : Lake
        The lake.
    source_ids : sequence of int
        The sources.

    Raises
    ------
    InvalidInputError
        When none is given, or an identifier is no whole number.
    """

    def __init__(self, lake: Lake, source_ids: Sequence[int]) -> None:
        wrong = [one for one in source_ids if isinstance(one, bool) or not hasattr(one, "__index__")]
        if wrong or not len(source_ids):
            msg = f"source_ids: {wrong or 'an empty list'} is not allowed, it must be one or more whole numbers"
            raise InvalidInputError(msg)
        self.lake = lake
        self.source_ids = [int(one) for one in source_ids]
        self._frames: dict[str, pl.DataFrame] = {}
        self._live: dict[str, Mapping[str, str]] = {}
        self._arrays: dict[tuple[str, str, str], ArrayGroup] = {}

    def of(self, product: str, source_id: int) -> pl.DataFrame:
        """Return the rows of a source in a table."""
        if product not in self._frames:
            mine = pl.col("source_id").is_in(self.source_ids)
            self._frames[product] = self.lake.table(product).filter(mine).collect()
        return self._frames[product].filter(pl.col("source_id") == source_id)

    def good(self, product: str, source_id: int) -> pl.DataFrame:
        """Return those rows of them that have a result."""
        rows = self.of(product, source_id)
        return rows.filter(pl.col("status") == "ok") if "status" in rows.columns else rows

    def place(self, source_id: int) -> SourcePlace:
        """Return where a source is.

        Raises
        ------
        NotFoundError
            When no table has it.
        """
        for product in _POSITIONAL:
            rows = self.of(product, source_id)
            if rows.height:
                row = rows.row(0, named=True)
                where = {name: row[name] for name in ("ra", "dec", "tile")}
                return SourcePlace(source_id=source_id, product=product, **where)
        when = "" if self.lake.pinned is None else f" at {self.lake.pinned}"
        msg = f"source_id: {source_id} is in none of the tables {', '.join(_POSITIONAL)} of {self.lake.path}{when}"
        raise NotFoundError(msg)

    def arrays(self, product: str, tile: str) -> ArrayGroup | None:
        """Return the arrays that a tile shows of a product; None when it has none."""
        if product not in self._live:
            self._live[product] = self.lake.live_runs(product)
        run = self._live[product].get(tile)
        if run is None or not self.lake.array_folder(product, tile, run):
            return None
        key = (product, tile, run)
        if key not in self._arrays:
            self._arrays[key] = self.lake.arrays(*key)
        return self._arrays[key]

    def planes(self, product: str, rows: pl.DataFrame, *, row: str, planes: Sequence[str], group: str = "") -> Ragged:
        """Return planes of rows, without those that are not stored for every one of them."""
        shown = rows.filter(pl.col(row).is_not_null())
        stored = [self.lake.arrays(product, *one) for one in shown.select("tile", "run_id").unique().iter_rows()]
        there = [name for name in planes if all(f"{group}{name}" in arrays for arrays in stored)]
        return read_ragged(self.lake, product, shown, row=row, group=group, planes=there)

    def redshift(self, source_id: int) -> dict[str, Any] | None:
        """Return the row of the redshift to show, that with the smaller error; None when there is none."""
        rows = self.good("redshift", source_id).filter(pl.col("redshift").is_not_null())
        return None if rows.is_empty() else rows.sort("redshift_err", "method", nulls_last=True).row(0, named=True)
