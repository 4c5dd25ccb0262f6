"""Thumbnails from the exposures of a lake."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere.datamodels import Exposure, Thumbnail
from skymere.errors import NoDataError
from skymere.lake import Lake
from skymere.mosaic import ExposureList, source_sizes, thumbnails
from skymere.pipeline.exposures import exposure_rows, load_flagged
from skymere.pipeline.products import load_segmentation

__all__ = ["lake_exposures", "lake_sizes", "lake_thumbnails"]


def lake_exposures(lake: Lake) -> ExposureList:
    """Return the exposures of a lake, of which each is read with its sky and flags where the lake has them.

    Parameters
    ----------
    lake : Lake
        With ingested exposures.

    Raises
    ------
    NoDataError
        When it has none.
    """
    table = exposure_rows(lake)
    if table.is_empty():
        msg = "lake: it has no exposures"
        raise NoDataError(msg)
    # Rows that could not be read have no coordinates.
    known = pl.col("wcs").fill_null(""), pl.col("ny").fill_null(0), pl.col("nx").fill_null(0)
    return ExposureList(table.with_columns(*known), partial(_loaded, lake))


def _loaded(lake: Lake, row: Mapping[str, Any]) -> Exposure:
    return load_flagged(lake, row["exposure_id"])


def lake_sizes(lake: Lake, sources: pl.DataFrame, *, limits: tuple[float, float] = (4.0, 15.0)) -> NDArray[np.float64]:
    """Return sides of thumbnails that hold the segments of sources of a lake; see `skymere.mosaic.source_sizes`.

    Parameters
    ----------
    lake : Lake
        The lake.
    sources : polars.DataFrame
        Rows of its table ``source``: ``tile, label, ra, dec``.
    limits : tuple of float, optional
        Least and largest side [arcsec].

    Returns
    -------
    ndarray, float64, shape (n,) [arcsec]
        Sides.
    """
    sides = np.full(sources.height, limits[0])
    numbered = sources.with_row_index("_row")
    for (tile,), part in numbered.group_by("tile", maintain_order=True):
        labels = load_segmentation(lake, str(tile))
        places = part.select("ra", "dec", "label")
        sides[part["_row"].to_numpy()] = source_sizes(places, segmentation=labels, limits=limits)
    return sides


def lake_thumbnails(
    lake: Lake,
    sources: pl.DataFrame,
    *,
    exposures: ExposureList,
    segmentation: bool = True,
    sizes: ArrayLike | None = None,
    **options: Any,
) -> Iterator[Thumbnail]:
    """Yield the thumbnails of sources of a lake, with the labels of their tiles.

    Parameters
    ----------
    lake : Lake
        The lake.
    sources : polars.DataFrame
        Rows of its table ``source``: ``source_id, tile, label, ra, dec``.
    exposures : ExposureList
        From `lake_exposures`.
    segmentation : bool, optional
        Give each its labels; ``Thumbnail.label`` is the source's own.
    sizes : array_like, float64, shape (n,) [arcsec], optional
        Sides of the thumbnails, such as of `lake_sizes`; that of the geometry when not given.
    **options
        As in `skymere.mosaic.thumbnails`.

    Yields
    ------
    Thumbnail
        ``row`` is that of ``sources``, ``source_id`` that of the lake.
    """
    numbered = sources.with_row_index("_row")
    sides = None if sizes is None else np.asarray(sizes, np.float64)
    for (tile,), part in numbered.group_by("tile", maintain_order=True):
        labels = load_segmentation(lake, str(tile)) if segmentation else None
        ids, rows = part["source_id"].to_list(), part["_row"].to_list()
        positions = part.select("ra", "dec", "label")
        mine = None if sides is None else sides[rows]
        for one in thumbnails(exposures, positions, segmentation=labels, sizes=mine, **options):
            yield replace(one, row=rows[one.row], source_id=ids[one.row])
