"""How far a lake is: what each stage has published, and what failed or is held, from ``run`` and ``run_item`` alone."""

from typing import Any

import polars as pl

from skymere.lake import Lake
from skymere.viewer.web.answers import plain

__all__ = ["progress_of"]

_MOST = 500
_REASONS = ("stage", "tile", "product", "status", "run_id", "error_class", "message", "recorded")


def progress_of(lake: Lake) -> dict[str, Any]:
    """Return the state of a lake.

    Parameters
    ----------
    lake : Lake
        The lake.

    Returns
    -------
    dict
        ``stages``: for each, in the order in which they last ended, how many products are published, have failed and
        are held, their time [s], largest memory [MiB] and the time of the last; ``unfinished``: products that failed
        or are held, with the reason, the newest first, at most 500 of ``n_unfinished``; ``latest``: the newest 20.
    """
    states = lake.tasks()
    counts = [(pl.col("status") == name).sum().cast(pl.Int64).alias(name) for name in ("published", "failed", "held")]
    stages = (
        states.group_by("stage")
        .agg(
            *counts,
            seconds=pl.col("seconds").sum(),
            peak_memory=pl.col("peak_memory").max(),
            last=pl.col("recorded").max(),
        )
        .sort("last", "stage")
    )
    lost = states.filter(pl.col("status").is_in(["failed", "held"])).sort("recorded", descending=True)
    latest = states.sort("recorded", descending=True, nulls_last=True).head(20)
    told: dict[str, Any] = plain(
        {
            "stages": stages.to_dicts(),
            "unfinished": lost.select(_REASONS).head(_MOST).to_dicts(),
            "n_unfinished": lost.height,
            "latest": latest.select("stage", "tile", "product", "status", "seconds", "recorded").to_dicts(),
        }
    )
    return told
