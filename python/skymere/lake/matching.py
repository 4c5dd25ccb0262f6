"""Pairs of rows of two tables that are close on the sky."""

from itertools import product
from typing import Literal

import numpy as np
import polars as pl
from cdshealpix.nested import neighbours
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.lake.sky import CELL_ARCSEC, DEEP, healpix29, in_ranges, merge_ranges, separation, unit_vectors

__all__ = ["crossmatch"]

# Cubes of this side or more have indices of 21 bits along each axis, so that three fit into an int64.
_LEAST_SIDE = 2.0**-19
_BITS = 21
_DEEPEST = 12


def crossmatch(
    left: pl.LazyFrame,
    key: tuple[str, ...],
    right: pl.LazyFrame,
    *,
    radius_arcsec: float,
    keep: Literal["all", "nearest"],
) -> pl.LazyFrame:
    """Return all pairs within a radius; see `Lake.crossmatch`.

    ``left`` is a table with ``_healpix_29`` and unique ``key``.
    """
    if keep not in ("all", "nearest"):
        msg = f"keep: {keep!r} is not allowed, it must be 'all' or 'nearest'"
        raise InvalidInputError(msg)
    there = _with_places(right)
    near = left.filter(in_ranges(_ranges(there, radius_arcsec)))
    here = near.select(*key, "ra", "dec").collect()
    pairs = here.select(key)[(found := _pairs(here, there, radius_arcsec))["left"]].with_columns(
        found["right"].alias("_right"), found["separation_arcsec"].alias("_separation")
    )
    if keep == "nearest":
        pairs = pairs.sort(*key, "_separation", "_right").unique(key, keep="first", maintain_order=True)
    partners = there.drop("_ra", "_dec").with_row_index("_right").with_columns(pl.col("_right").cast(pl.Int64))
    return (
        near.join(pairs.lazy(), on=list(key), how="inner")
        .join(partners.lazy(), on="_right", how="inner", suffix="_other")
        .sort(*key, "_separation", "_right")
        .with_columns(pl.col("_separation").alias("separation_arcsec"))
        .drop("_right", "_separation")
    )


def _with_places(right: pl.LazyFrame) -> pl.DataFrame:
    """Return the rows of the other table that have a position, checked, as ``_ra, _dec`` float64."""
    names = right.collect_schema().names()
    for name in ("ra", "dec"):
        if name not in names:
            msg = f"other: column {name!r} is missing, it needs 'ra' and 'dec' in degrees and has {names}"
            raise InvalidInputError(msg)
    frame = right.with_columns(_ra=pl.col("ra").cast(pl.Float64), _dec=pl.col("dec").cast(pl.Float64)).collect()
    frame = frame.filter(pl.col("_ra").is_finite() & pl.col("_dec").is_finite())
    wrong = frame.filter(pl.col("_dec").abs() > 90.0)
    if wrong.height:
        msg = f"other: dec {wrong['_dec'][0]} is not allowed, it must be between -90 and 90 degrees"
        raise InvalidInputError(msg)
    return frame.with_columns(_ra=pl.col("_ra") % 360.0)


def _ranges(there: pl.DataFrame, radius_arcsec: float) -> list[tuple[int, int]]:
    """Return ranges of `healpix29` outside which nothing is within the radius of a position."""
    # Cells of four times the radius or more: what is within the radius is in the same cell or in one around it.
    order = int(np.floor(np.log2(CELL_ARCSEC / max(4.0 * radius_arcsec, 1e-6))))
    if order < 0:
        return [(0, 12 * 4**DEEP - 1)]
    order = min(order, _DEEPEST)
    shift = 2 * (DEEP - order)
    cells = np.unique(healpix29(there["_ra"].to_numpy(), there["_dec"].to_numpy()) >> shift)
    if cells.size == 0:
        return []
    around = np.unique(neighbours(cells.astype(np.uint64), order))
    first = around[around >= 0].astype(np.int64) << shift
    return merge_ranges(first, first + (np.int64(1) << shift) - 1)


def _pairs(here: pl.DataFrame, there: pl.DataFrame, radius_arcsec: float) -> pl.DataFrame:
    """Return row numbers ``left, right`` and the separation of all pairs within the radius.

    Unit vectors fall into cubes as wide as the chord of the radius: partners are in the same cube or in one of the 26
    around it, at the poles as anywhere.
    """
    chord = 2.0 * np.sin(np.deg2rad(min(radius_arcsec, 648000.0) / 3600.0) / 2.0)
    side = max(chord * (1 + 1e-9), _LEAST_SIDE)
    a = _cubes(here["ra"].to_numpy(), here["dec"].to_numpy(), side)
    b = _cubes(there["_ra"].to_numpy(), there["_dec"].to_numpy(), side)
    steps = np.array(list(product((-1, 0, 1), repeat=3)), np.int64)
    spread = _packed((b[:, None, :] + steps).reshape(-1, 3))
    right = pl.DataFrame({"cube": spread, "right": np.repeat(np.arange(len(b)), len(steps))})
    left = pl.DataFrame({"cube": _packed(a), "left": np.arange(len(a))})
    near = left.join(right, on="cube", how="inner").select("left", "right")
    places = near.with_columns(
        here["ra"][near["left"]].alias("ra"),
        here["dec"][near["left"]].alias("dec"),
        there["_ra"][near["right"]].alias("ra0"),
        there["_dec"][near["right"]].alias("dec0"),
    )
    apart = separation("ra", "dec", "ra0", "dec0").alias("separation_arcsec")
    return places.select("left", "right", apart).filter(pl.col("separation_arcsec") <= radius_arcsec)


def _cubes(ra: NDArray[np.float64], dec: NDArray[np.float64], side: float) -> NDArray[np.int64]:
    # One cube of border, so that a step down never becomes negative.
    return np.floor((unit_vectors(ra, dec) + 1.0) / side).astype(np.int64) + 1


def _packed(cubes: NDArray[np.int64]) -> NDArray[np.int64]:
    packed: NDArray[np.int64] = (cubes[:, 0] << 2 * _BITS) | (cubes[:, 1] << _BITS) | cubes[:, 2]
    return packed
