"""Exposures that look at the image of a tile and are not in its mosaics."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.lake.sky import polygons_overlap, unit_vectors

if TYPE_CHECKING:
    from skymere.lake.asking import LakeQueries

__all__ = ["unused_exposures"]

_SCHEMA = {"tile": pl.String, "band": pl.String, "exposure_id": pl.String, "reason": pl.String}


def unused_exposures(lake: "LakeQueries", tile: str | None = None) -> pl.DataFrame:
    """Return the exposures that are known to overlap with mosaics but are not in them.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str, optional
        One tile; all that have mosaics when not given.

    Returns
    -------
    polars.DataFrame
        ``tile, band, exposure_id, reason``, sorted: usable exposures whose outline shares area with the image of the
        tile and that are not among ``exposure_ids`` of the mosaic of their band.

    Raises
    ------
    NotFoundError
        When there is no such tile.

    Examples
    --------
    >>> unused_exposures(lake, "field")  # doctest: +SKIP
    """
    made = lake.table("mosaic").select("tile", "band", "exposure_ids")
    rows = made.collect() if tile is None else made.filter(pl.col("tile") == lake.tiles[tile].name).collect()
    usable = lake.table("exposure").filter(pl.col("status") == "ok", pl.col("footprint") != "")
    exposures = usable.select("exposure_id", "band", "footprint").sort("exposure_id").collect()
    if exposures.is_empty() or rows.is_empty():
        return pl.DataFrame(schema=_SCHEMA)
    masks = lake.table("mask").filter(pl.col("status") != "ok").select("exposure_id", "status", "message").collect()
    failed = {name: f"its mask is {status}: {message}" for name, status, message in masks.iter_rows()}
    outlines = _outlines(exposures)
    found = []
    for name in sorted(set(rows["tile"])):
        used = {row["band"]: set(json.loads(row["exposure_ids"])) for row in _of(rows, name)}
        for k in _touching(lake.tiles[name].grid.corners(), outlines):
            one, band = exposures["exposure_id"][k], exposures["band"][k]
            if one not in used.get(band, ()):
                why = "the mosaic was made without it" if band in used else "the tile has no mosaic of its band"
                found.append({"tile": name, "band": band, "exposure_id": one, "reason": failed.get(one, why)})
    return pl.DataFrame(found, schema=_SCHEMA).sort("tile", "band", "exposure_id")


def _of(rows: pl.DataFrame, tile: str) -> list[dict[str, str]]:
    return rows.filter(pl.col("tile") == tile).to_dicts()


def _outlines(exposures: pl.DataFrame) -> NDArray[np.float64]:
    """Return the corners of all exposures, ``(n, 4, 2)`` [deg]."""
    numbers = [text.split()[2:] for text in exposures["footprint"]]
    return np.array(numbers, np.float64).reshape(len(numbers), -1, 2)


def _touching(image: NDArray[np.float64], outlines: NDArray[np.float64]) -> Iterator[int]:
    """Yield the outlines that share area with a polygon; those that are far away are not looked at."""
    corners = unit_vectors(outlines[..., 0].ravel(), outlines[..., 1].ravel()).reshape(*outlines.shape[:2], 3)
    middles, (middle, radius) = corners.mean(axis=1), _circle(unit_vectors(image[:, 0], image[:, 1]))
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    reach = radius + np.linalg.norm(corners - middles[:, None], axis=2).max(axis=1)
    # Chords obey the triangle inequality in space, so nothing that touches is missed; the rest is rounding.
    near = np.linalg.norm(middles - middle, axis=1) <= reach + 1e-9
    yield from (int(k) for k in np.flatnonzero(near) if polygons_overlap(image, outlines[k]))


def _circle(corners: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    middle = corners.mean(axis=0)
    middle /= np.linalg.norm(middle)
    return middle, float(np.linalg.norm(corners - middle, axis=1).max())
