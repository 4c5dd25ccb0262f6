"""How far a lake is, from its tables ``run`` and ``run_item`` alone."""

from typing import Literal

import polars as pl

from skymere.lake import Lake, about_objects
from skymere.pipeline.plan import Plan

__all__ = ["files_to_take_in", "run_status", "summary_of", "unfinished"]

Status = Literal["failed", "held"]

_KEY = ["stage", "tile", "product", "run_id"]


def run_status(lake: Lake, *, stage: str | None = None) -> pl.DataFrame:
    """Return what was done, one row for each stage, in the order in which they last ended.

    Parameters
    ----------
    lake : Lake
        The lake.
    stage : str, optional
        Only this stage.

    Returns
    -------
    polars.DataFrame
        ``stage``; ``published``, ``failed``, ``held``: products of tiles whose newest attempt ended so; ``rows`` of
        those that are published; ``items_failed``: single objects of them that could not be used; ``seconds`` that the
        newest attempts took [s]; ``last``: when the last one ended, UTC.
    """
    n_rows = _of_stage(lake.table("run"), stage).select(*_KEY, "n_rows").unique(_KEY).collect()
    states = _of_stage(lake.tasks().lazy(), stage).collect().join(n_rows, on=_KEY, how="left")
    items = _of_stage(about_objects(lake.table("run_item")), stage)
    return summary_of(states, items.select("stage", "tile", "run_id", "status").collect())


def unfinished(lake: Lake, *, stage: str | None = None, status: Status | None = None) -> pl.DataFrame:
    """Return products of tiles that failed or are held, with the reason; a later success makes a failure history.

    Parameters
    ----------
    lake : Lake
        The lake.
    stage : str, optional
        Only this stage.
    status : {"failed", "held"}, optional
        Only these.

    Returns
    -------
    polars.DataFrame
        ``stage``, ``tile``, ``product``, ``status``, ``run_id``, ``error_class``, ``message``, ``recorded`` (UTC).
    """
    wanted = ["failed", "held"] if status is None else [status]
    told = _of_stage(lake.tasks().lazy(), stage).filter(pl.col("status").is_in(wanted)).collect()
    return told.select("stage", "tile", "product", "status", "run_id", "error_class", "message", "recorded")


def files_to_take_in(plan: Plan, lake: Lake) -> list[str]:
    """Return the files of a plan that the lake has no row of; what they hold is not looked at.

    Parameters
    ----------
    plan : Plan
        The plan.
    lake : Lake
        Its lake.

    Raises
    ------
    NotFoundError
        When a pattern matches nothing.
    """
    there = set(lake.table("exposure").select("path").unique().collect()["path"])
    return [str(path) for path in plan.exposure_files() if str(path) not in there]


def summary_of(states: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Return states of tasks counted by stage; see `run_status`.

    Parameters
    ----------
    states : polars.DataFrame
        From `skymere.lake.Lake.tasks`, with ``n_rows`` of what is published.
    items : polars.DataFrame
        ``stage``, ``tile``, ``run_id`` and ``status`` of single objects, from ``run_item``.
    """
    published = states.filter(pl.col("status") == "published")
    bad = items.filter(pl.col("status") == "failed").join(published, on=["stage", "tile", "run_id"], how="semi")
    counts = [(pl.col("status") == name).sum().cast(pl.Int64).alias(name) for name in ("published", "failed", "held")]
    return (
        states.group_by("stage")
        .agg(
            *counts,
            rows=pl.col("n_rows").filter(pl.col("status") == "published").sum(),
            seconds=pl.col("seconds").sum(),
            last=pl.col("recorded").max(),
        )
        .join(bad.group_by("stage").agg(items_failed=pl.len().cast(pl.Int64)), on="stage", how="left")
        .with_columns(pl.col("items_failed").fill_null(0))
        .select("stage", "published", "failed", "held", "rows", "items_failed", "seconds", "last")
        .sort("last", "stage")
    )


def _of_stage(rows: pl.LazyFrame, stage: str | None) -> pl.LazyFrame:
    return rows if stage is None else rows.filter(pl.col("stage") == stage)
