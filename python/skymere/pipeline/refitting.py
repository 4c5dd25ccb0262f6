"""One source fitted again, at once: the edit is kept, and the stage profiles does what it says."""

from typing import Any

import polars as pl

from skymere.errors import InvalidInputError
from skymere.lake import Lake, add_profile_edit, retract_profile_edits
from skymere.pipeline.attempts import run_task
from skymere.pipeline.plan import Plan
from skymere.pipeline.stages.profiles import STAGE, task_of

__all__ = ["attempts_of", "refit_source", "undo_refits"]


def refit_source(plan: Plan, source_id: int, *, author: str, reason: str, **changes: Any) -> pl.DataFrame:
    """Fit the profile of a source again, with other start values, bounds, components, masks or neighbours.

    Parameters
    ----------
    plan : Plan
        Of the lake; its profiles have a band.
    source_id : int
        Which source. Those that are fitted with it get a new attempt in the same transaction.
    author, reason : str
        Who, and why.
    **changes
        As `skymere.lake.add_profile_edit` takes them; what is not given stays as it was.

    Returns
    -------
    polars.DataFrame
        Rows of ``profile``: all attempts of the source and of those that were fitted with it.

    Raises
    ------
    InvalidInputError
        When the plan has no profiles, or something is not allowed; nothing has changed then.
    NotFoundError
        When there is no such source.
    """
    lake = _lake(plan)
    edit = add_profile_edit(lake, source_id, author=author, reason=reason, band=plan.profiles.band, **changes).row(
        0, named=True
    )
    run_task(STAGE, task_of(plan, lake, edit["tile"]), lake)
    run = lake.live_run("profile", edit["tile"])
    items = lake.table("run_item").filter(pl.col("run_id") == run, pl.col("item") == edit["edit_id"]).collect()
    if items["status"].to_list() != ["ok"]:
        why = "; ".join(items["message"].to_list())
        retract_profile_edits(lake, [edit["edit_id"]], author=author, reason=f"could not be done: {why}")
        run_task(STAGE, task_of(plan, lake, edit["tile"]), lake)
        raise InvalidInputError(why)
    return attempts_of(plan, source_id)


def undo_refits(plan: Plan, edit_ids: list[str], *, author: str, reason: str) -> None:
    """Take edits of profiles back, and fit their tiles without them.

    Parameters
    ----------
    plan : Plan
        Of the lake.
    edit_ids : list of str
        Names of edits.
    author, reason : str
        Who, and why.

    Raises
    ------
    NotFoundError
        When there is no such edit, or it was taken back before.
    """
    lake = _lake(plan)
    rows = retract_profile_edits(lake, edit_ids, author=author, reason=reason)
    for tile in rows["tile"].unique(maintain_order=True):
        run_task(STAGE, task_of(plan, lake, tile), lake)


def attempts_of(plan: Plan, source_id: int) -> pl.DataFrame:
    """Return all attempts of a source and of those of its group, the best ones marked.

    Parameters
    ----------
    plan : Plan
        Of the lake.
    source_id : int
        Which source.

    Raises
    ------
    InvalidInputError
        When it has no profile.
    """
    table = _lake(plan).table("profile").filter(pl.col("band") == plan.profiles.band)
    own = table.filter(pl.col("source_id") == source_id).select("group_id").unique().collect()
    if own.is_empty():
        msg = f"source_id: {source_id} has no profile in band {plan.profiles.band!r}"
        raise InvalidInputError(msg)
    return table.filter(pl.col("group_id").is_in(own["group_id"].implode())).sort("source_id", "attempt").collect()


def _lake(plan: Plan) -> Lake:
    if not plan.profiles.band:
        msg = "profiles.band: names no band whose sources are fitted"
        raise InvalidInputError(msg)
    return Lake.open(plan.path(plan.survey.lake))
