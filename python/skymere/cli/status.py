"""``skymere status``."""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from skymere.cli._print import console, print_frame
from skymere.errors import NotFoundError

if TYPE_CHECKING:
    from skymere.lake import Lake
    from skymere.pipeline import Plan

__all__ = ["opened", "status"]


def status(
    of: Annotated[str, typer.Argument(help="Folder of a lake, or the TOML file of a plan.", metavar="LAKE|PLAN")],
    stage: Annotated[str | None, typer.Option(help="Only this stage.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed, with the reason.")] = False,
    held: Annotated[bool, typer.Option("--held", help="Only what is held, with the reason.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
    watch: Annotated[float, typer.Option(help="Show it again every so many seconds, until Ctrl-C; 0 = once.")] = 0.0,
) -> None:
    """How far a lake is: what each stage has published, and what failed or is held, with the reason.

    It is read from the tables `run` and `run_item` of the lake, also while a run is under way. With a plan, files
    that were not taken in yet are counted, too; `skymere run` shows what is left of the rest as it goes. What failed
    and succeeded since is history (`run_item` has it). `skymere run PLAN --accept RUN` publishes what is held.

    Example: `skymere status plan.toml --watch 5`

    Example: `skymere status survey/lake --failed --json`
    """
    while True:
        plan, lake = opened(of)
        found = _found(plan, lake, stage, [name for name, on in (("failed", failed), ("held", held)) if on])
        if as_json:
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()
        else:
            if watch:
                console.clear()
            _print(found, is_short=failed or held)
        if not watch:
            return
        time.sleep(watch)


def opened(of: str) -> tuple["Plan | None", "Lake"]:
    """Return the plan, if it is one, and the lake of an argument LAKE|PLAN."""
    from skymere.lake import Lake
    from skymere.pipeline import read_plan

    if not of.endswith(".toml") and not Path(of).is_file():
        return None, Lake.open(of)
    plan = read_plan(of)
    path = plan.path(plan.survey.lake)
    if not (path / "lake.json").exists():
        msg = f"{path}: the plan has no lake yet; `skymere run {of}` makes it"
        raise NotFoundError(msg)
    return plan, Lake.open(path)


def _found(plan: "Plan | None", lake: "Lake", stage: str | None, only: list[str]) -> dict[str, Any]:
    from skymere.pipeline import files_to_take_in, run_status, unfinished

    lost = unfinished(lake, stage=stage)
    if only:
        lost = lost.filter(pl.col("status").is_in(only))
    found: dict[str, Any] = {"stages": run_status(lake, stage=stage).to_dicts(), "unfinished": lost.to_dicts()}
    if plan is not None and plan.survey.exposures:
        found["files_to_take_in"] = files_to_take_in(plan, lake)
    return found


def _print(found: dict[str, Any], *, is_short: bool) -> None:
    if not is_short:
        stages = pl.DataFrame(found["stages"])
        short = stages if stages.is_empty() else stages.with_columns(pl.col("last").str.slice(0, 19))
        print_frame(short.rename({"items_failed": "bad items"}, strict=False), "Stages")
        left = found.get("files_to_take_in", [])
        if left:
            console.print(f"{len(left)} files are not taken in yet, the first is {left[0]}", soft_wrap=True)
    if found["unfinished"]:
        print_frame(pl.DataFrame(found["unfinished"]).drop("product"), "Failed or held")
    else:
        console.print("Nothing failed, nothing is held.")
