"""``skymere plan``: write a plan, look for its faults, and say what it would do."""

import json
import sys
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from skymere.cli._errors import Commands
from skymere.cli._print import console, print_frame
from skymere.cli.plan_estimate import estimate

__all__ = ["plan_app"]

plan_app = typer.Typer(
    name="plan",
    cls=Commands,
    help="Write a plan, look for its faults, and say what `skymere run` would do with it.",
    no_args_is_help=True,
)
plan_app.command()(estimate)
PLAN = Annotated[Path, typer.Argument(help="TOML file that says what to run.", metavar="PLAN")]


@plan_app.command()
def init(
    kind: Annotated[
        str, typer.Argument(help="What it is for: imaging, photometry, grism, slits or all.", metavar="[KIND]")
    ] = "imaging",
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")] = Path("plan.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a plan in which every section and every key stands with its default and a line about it.

    What must be given is not commented out. A file that is there is replaced with `--force` only.

    Example: `skymere plan init grism -o survey/plan.toml`
    """
    from skymere.pipeline import PLAN_KINDS, write_plan_template

    for known in PLAN_KINDS:
        if known == kind:
            path = write_plan_template(output, known, replace=force)
            console.print(f"{path} is written; `skymere plan check {path}` looks for faults", soft_wrap=True)
            return
    msg = f"{kind!r} is not allowed, it must be one of {', '.join(PLAN_KINDS)}"
    raise typer.BadParameter(msg, param_hint="KIND")


@plan_app.command()
def check(plan: PLAN) -> None:
    """Look for everything that is wrong with a plan; exit code 1 when something is.

    Unknown keys, values that are not allowed, keys that contradict each other, files that are missing, patterns that
    match nothing, bands that no exposure has. Nothing is written, and no pixel is read. `skymere run` does the same
    before it begins.

    Example: `skymere plan check survey/plan.toml`
    """
    from skymere.pipeline import check_plan

    faults = check_plan(plan)
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    if faults:
        sys.stderr.write(f"{len(faults)} fault{'s' * (len(faults) > 1)}\n")
        raise typer.Exit(code=1)
    console.print(f"{plan}: no fault", soft_wrap=True)


@plan_app.command()
def explain(
    plan: PLAN,
    stage: Annotated[str | None, typer.Option("--stage", help="Tasks of this stage only.")] = None,
    tile: Annotated[str | None, typer.Option("--tile", help="Tasks of this tile, exposure or group only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON with `stages` and `tasks`.")] = False,
) -> None:
    """Say what `skymere run` would do with a plan, task by task, and why; nothing is changed.

    A task is fresh (the lake shows what it would make), stale (with the input, parameter or version that differs), new,
    or unknown until the stages before have run. Only headers of files are read.

    Example: `skymere plan explain survey/plan.toml --stage mosaic`
    """
    from skymere.pipeline import explain_plan, read_plan

    told = explain_plan(read_plan(plan))
    tasks, stages = told.only(stage=stage, tile=tile), told.stages
    if stage is not None:
        known = stages["stage"].to_list()
        stages = stages.filter(pl.col("stage") == stage)
        if stages.is_empty():
            msg = f"{stage!r} is not allowed, it must be one of {', '.join(known)}"
            raise typer.BadParameter(msg, param_hint="--stage")
    if as_json:
        sys.stdout.write(json.dumps({"stages": stages.to_dicts(), "tasks": tasks.to_dicts()}, indent=1) + "\n")
        return
    joined = stages.with_columns(pl.col("reads", "writes").list.join(", ")).rename({"why": "why not"})
    print_frame(joined.drop("is_asked"), "Stages")
    print_frame(tasks, "Tasks")
