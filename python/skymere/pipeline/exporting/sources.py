"""Numbers by which other tools call the sources of a lake."""

from collections.abc import Sequence

import polars as pl

from skymere.lake import Lake

__all__ = ["labels_of"]


def labels_of(lake: Lake, ids: Sequence[int]) -> dict[int, int]:
    """Return the label of each source: of the segmentation, else that of its beams, else its identifier.

    Parameters
    ----------
    lake : Lake
        The lake.
    ids : sequence of int
        Sources.
    """
    found = {one: one for one in ids}
    for product in ("beam", "source"):
        rows = lake.table(product).filter(pl.col("source_id").is_in(list(ids))).select("source_id", "label").collect()
        found |= {source_id: label for source_id, label in rows.iter_rows() if label}
    return found
