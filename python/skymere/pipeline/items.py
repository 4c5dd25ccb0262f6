"""How it went for single objects, as rows of ``run_item``."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from skymere.lake.forms import table_dtypes

__all__ = ["item_row", "items_frame"]


def item_row(item: str, status: str, message: str, *, error: str = "", seconds: float | None = None) -> dict[str, Any]:
    """Return how it went for an object.

    Parameters
    ----------
    item : str
        Its name.
    status : str
        ``ok``, ``rejected`` (there is nothing to do) or ``failed``.
    message : str
        Why.
    error : str, optional
        Class of the error; ``NoDataError`` for what is not ok when not given.
    seconds : float, optional
        Time [s].
    """
    return {
        "item": item,
        "status": status,
        "error_class": error or ("" if status == "ok" else "NoDataError"),
        "message": message,
        "seconds": seconds,
        "peak_memory": None,
    }


def items_frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return rows of `item_row` as a table that a run publishes beside its own.

    Parameters
    ----------
    rows : sequence of mapping
        The rows.
    """
    wanted = table_dtypes("run_item")
    schema = {name: wanted[name] for name in wanted if name not in ("run_id", "stage", "tile")}
    return pl.DataFrame(list(rows), schema=schema)
