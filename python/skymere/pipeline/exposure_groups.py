"""Exposures by filter, visit and overlap: one typed table in the place of lists that are kept by hand."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.instruments import parse_file_name
from skymere.io import exposure_id
from skymere.lake import Lake
from skymere.mosaic import ExposureList, overlap_groups

__all__ = ["exposure_groups"]

_SCHEMA: dict[str, Any] = {
    "exposure_id": pl.String,
    "file": pl.String,
    "telescope": pl.String,
    "instrument": pl.String,
    "detector": pl.String,
    "kind": pl.String,
    "program": pl.String,
    "visit": pl.String,
    "band": pl.String,
    "group": pl.String,
    "exptime": pl.Float64,
    "ra": pl.Float64,
    "dec": pl.Float64,
    "footprint": pl.Array(pl.Float64, (4, 2)),
}
_NEEDED = ("exposure_id", "band", "footprint")


def exposure_groups(exposures: ExposureList | Lake | pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Return the exposures that can be used, with their visit and the group of overlapping ones that they belong to.

    Parameters
    ----------
    exposures : ExposureList, Lake, polars.DataFrame or polars.LazyFrame
        A list, a lake, or a table with the columns of the table ``exposure`` of a lake.

    Returns
    -------
    polars.DataFrame
        A row for each exposure, ordered by band and name: ``exposure_id``; ``file`` (its name, the same for all chips);
        ``telescope, instrument, detector, kind, program, visit`` as the name of the file says them, or the header
        (``instrument, detector``) where it does not, and empty where neither does; ``band``; ``group``, such as
        ``f160w-0001``: exposures of a band whose outlines hang together through overlaps, the chips of a file among
        them, numbered by their first name; ``exptime`` [s]; ``ra, dec`` of the middle [deg]; ``footprint``, its four
        corners ``ra, dec`` [deg].

    Raises
    ------
    InvalidInputError
        When a column is missing, or an outline is no quadrangle.

    Examples
    --------
    Which visits look at each group, and which groups another filter covers, too:

    >>> groups = exposure_groups(lake)  # doctest: +SKIP
    >>> groups.group_by("band", "group").agg(pl.col("visit").unique(), pl.len())  # doctest: +SKIP
    """
    table = _usable(exposures)
    if table.is_empty():
        return pl.DataFrame(schema=_SCHEMA)
    names = [parse_file_name(path) for path in table["file"]]
    told = pl.DataFrame(
        [{key: getattr(one, key) for key in _TOLD} for one in names], schema=dict.fromkeys(_TOLD, pl.String)
    )
    outlines = _outlines(table)
    middle = _middles(outlines)
    table = table.with_columns(
        *(told[name] for name in ("telescope", "kind", "program", "visit")),
        *(
            pl.when(pl.col(name) == "").then(told[name]).otherwise(pl.col(name)).alias(name)
            for name in ("instrument", "detector")
        ),
        pl.Series("ra", middle[:, 0]),
        pl.Series("dec", middle[:, 1]),
        pl.Series("footprint", outlines, dtype=_SCHEMA["footprint"]),
        pl.col("file").map_elements(exposure_id, return_dtype=pl.String),
    )
    number = np.zeros(table.height, np.int64)
    for (_,), part in table.with_row_index("row").group_by("band", maintain_order=True):
        rows = part["row"].to_numpy()
        number[rows] = rows[_with_chips(overlap_groups(outlines[rows]), part["file"])]
    first = pl.Series("first", number)
    # The row of its first exposure becomes the rank of a group in its band, counted from 1.
    rank = pl.col("first").rank("dense").over("band").cast(pl.String).str.zfill(4)
    table = table.with_columns(first).with_columns(pl.concat_str("band", pl.lit("-"), rank).alias("group"))
    return table.select(pl.col(name).cast(dtype) for name, dtype in _SCHEMA.items())


_TOLD = ("telescope", "instrument", "detector", "kind", "program", "visit")


def _usable(exposures: ExposureList | Lake | pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Return the rows that can be used, ordered by band and name, with the columns that are needed."""
    if isinstance(exposures, Lake):
        frame = exposures.table("exposure")
    else:
        frame = (exposures.table if isinstance(exposures, ExposureList) else exposures).lazy()
    columns = frame.collect_schema().names()
    if missing := [name for name in _NEEDED if name not in columns]:
        msg = f"exposures: columns {missing} are missing from {columns}"
        raise InvalidInputError(msg)
    if "status" in columns:
        frame = frame.filter(pl.col("status") == "ok")
    texts = [pl.col(name) if name in columns else pl.lit("").alias(name) for name in ("instrument", "detector")]
    path = pl.when(pl.col("path") == "").then("exposure_id").otherwise("path") if "path" in columns else "exposure_id"
    exptime = pl.col("exptime") if "exptime" in columns else pl.lit(None, pl.Float64).alias("exptime")
    wanted = frame.select(
        "exposure_id",
        pl.col("band").str.to_lowercase(),
        "footprint",
        *(text.fill_null("") for text in texts),
        exptime,
        (pl.col(path) if isinstance(path, str) else path).str.split("/").list.last().alias("file"),
    )
    return wanted.sort("band", "exposure_id").collect()


def _outlines(table: pl.DataFrame) -> NDArray[np.float64]:
    """Return the corners of all outlines, ``(n, 4, 2)`` [deg]."""
    numbers = table["footprint"].str.strip_prefix("POLYGON ICRS").str.strip_chars().str.split(" ")
    wrong = table.filter(numbers.list.len() != 8)
    if wrong.height:
        row = wrong.row(0, named=True)
        msg = (
            f"footprint: {row['footprint']!r} of {row['exposure_id']} is not allowed, it must be a polygon of 4 corners"
        )
        raise InvalidInputError(msg)
    flat = numbers.explode().cast(pl.Float64, strict=False).to_numpy()
    return np.asarray(flat, np.float64).reshape(-1, 4, 2)


def _middles(outlines: NDArray[np.float64]) -> NDArray[np.float64]:
    a, d = np.deg2rad(outlines[..., 0]), np.deg2rad(outlines[..., 1])
    x, y, z = (part.sum(axis=1) for part in (np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)))
    return np.column_stack([np.rad2deg(np.arctan2(y, x)) % 360.0, np.rad2deg(np.arctan2(z, np.hypot(x, y)))])


def _with_chips(group: NDArray[np.int64], file: pl.Series) -> NDArray[np.int64]:
    """Join groups that have chips of one file."""
    frame = pl.DataFrame({"group": group, "file": file})
    while True:
        of_file = frame.with_columns(pl.col("group").min().over("file").alias("low"))
        joined = of_file.with_columns(pl.col("low").min().over("group").alias("group")).drop("low")
        if joined["group"].equals(frame["group"]):
            return joined["group"].to_numpy()
        frame = joined
