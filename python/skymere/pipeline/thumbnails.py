"""Thumbnails from the exposures of a lake."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere.datamodels import Exposure, Thumbnail
from skymere.errors import NoDataError
from skymere.lake import Lake
from skymere.mosaic import ExposureList, source_sizes, thumbnails
from skymere.pipeline.products import flagged_exposures, load_exposure, load_segmentation

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
    table = lake.table("exposure").sort("exposure_id").collect()
    if table.is_empty():
        msg = "lake: it has no exposures"
        raise NoDataError(msg)
    masks = lake.table("mask").filter(pl.col("status") == "ok").select("exposure_id").collect()["exposure_id"]
    has_mask = set(masks.to_list())

    # Rows that could not be read have no coordinates.
    known = pl.col("wcs").fill_null(""), pl.col("ny").fill_null(0), pl.col("nx").fill_null(0)
    return ExposureList(table.with_columns(*known), _LakeReader(lake, has_mask))


class _LakeReader:
    """Reads the exposure of a row from a lake."""

    def __init__(self, lake: Lake, has_mask: Collection[str]) -> None:
        self.lake, self.has_mask = lake, frozenset(has_mask)

    def __call__(self, row: dict[str, Any]) -> Exposure:
        name = row["exposure_id"]
        if name in self.has_mask:
            return next(flagged_exposures(self.lake, row["band"], [name]))
        return load_exposure(self.lake, name)


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
