"""Thumbnails from the exposures of a lake."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import polars as pl

from skymere.datamodels import Exposure, Thumbnail
from skymere.errors import NoDataError
from skymere.lake import Lake
from skymere.mosaic import ExposureList, thumbnails
from skymere.pipeline.products import flagged_exposures, load_exposure, load_segmentation

__all__ = ["lake_exposures", "lake_thumbnails"]


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
    table = lake.table("exposure").sort("exposure_id").collect()
    if table.is_empty():
        msg = "lake: it has no exposures"
        raise NoDataError(msg)
    masks = lake.table("mask").filter(pl.col("status") == "ok").select("exposure_id").collect()["exposure_id"]
    has_mask = set(masks.to_list())

    def load(row: dict[str, Any]) -> Exposure:
        name = row["exposure_id"]
        if name in has_mask:
            return next(flagged_exposures(lake, row["band"], [name]))
        return load_exposure(lake, name)

    # Rows that could not be read have no coordinates.
    known = pl.col("wcs").fill_null(""), pl.col("ny").fill_null(0), pl.col("nx").fill_null(0)
    return ExposureList(table.with_columns(*known), load)


def lake_thumbnails(
    lake: Lake, sources: pl.DataFrame, *, exposures: ExposureList, segmentation: bool = True, **options: Any
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
    **options
        As in `skymere.mosaic.thumbnails`.

    Yields
    ------
    Thumbnail
        ``row`` is that of ``sources``, ``source_id`` that of the lake.
    """
    numbered = sources.with_row_index("_row")
    for (tile,), part in numbered.group_by("tile", maintain_order=True):
        labels = load_segmentation(lake, str(tile)) if segmentation else None
        ids, rows = part["source_id"].to_list(), part["_row"].to_list()
        positions = part.select("ra", "dec", "label")
        for one in thumbnails(exposures, positions, segmentation=labels, **options):
            yield replace(one, row=rows[one.row], source_id=ids[one.row])
