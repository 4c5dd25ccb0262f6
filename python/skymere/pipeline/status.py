"""How far a lake is, from its tables ``run`` and ``run_item`` alone."""

from typing import Literal

import polars as pl

from skymere.lake import Lake
from skymere.pipeline.plan import Plan

__all__ = ["files_to_take_in", "newest_states", "run_status", "summary_of", "unfinished"]

Status = Literal["failed", "held"]

_KEY = ("stage", "tile", "product")
_STATE = {
    **dict.fromkeys((*_KEY, "run_id", "status", "error_class", "message", "recorded"), pl.String),
    "seconds": pl.Float64,
    "n_rows": pl.Int64,
}


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
    runs, items = _tables(lake, stage)
    return summary_of(newest_states(runs, items), items)


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
    told = newest_states(*_tables(lake, stage)).filter(pl.col("status").is_in(wanted))
    return told.select(*_KEY, "status", "run_id", "error_class", "message", "recorded")


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


def newest_states(runs: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Return how the newest attempt of every task ended, one row for each stage, tile and product.

    Parameters
    ----------
    runs : polars.DataFrame
        Rows of ``run``.
    items : polars.DataFrame
        Rows of ``run_item``: those with a ``product`` and the time ``recorded`` are of tasks that published nothing.
    """
    done = runs.with_columns(pl.col("finished").alias("recorded"))
    nothing = pl.DataFrame(schema=_STATE)
    lost = items.filter(pl.col("recorded") != "") if "recorded" in items.columns else nothing
    both = pl.concat([_as_states(lost), _as_states(done)])
    # Of one moment, what is published is the newer.
    order = both.sort("recorded", pl.col("status") == "published", maintain_order=True)
    return order.unique(_KEY, keep="last").sort(_KEY)


def summary_of(states: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Return states of tasks counted by stage; see `run_status`.

    Parameters
    ----------
    states : polars.DataFrame
        From `newest_states`.
    items : polars.DataFrame
        Rows of ``run_item``.
    """
    published = states.filter(pl.col("status") == "published")
    of_objects = items.filter(pl.col("recorded").fill_null("") == "") if "recorded" in items.columns else items
    bad = of_objects.filter(pl.col("status") == "failed").join(published, on=["stage", "tile", "run_id"], how="semi")
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


def _as_states(frame: pl.DataFrame) -> pl.DataFrame:
    columns = [
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in _STATE.items()
    ]
    return frame.select(columns).with_columns(pl.col("error_class", "message").fill_null(""))


def _tables(lake: Lake, stage: str | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    def rows(name: str) -> pl.DataFrame:
        table = lake.table(name).drop("inputs", "params", strict=False)
        return (table if stage is None else table.filter(pl.col("stage") == stage)).collect()

    return rows("run"), rows("run_item")
