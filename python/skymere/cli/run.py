"""``skymere run``."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from skymere._params import build_params
from skymere.cli._errors import write_error
from skymere.cli._print import print_frame, print_run
from skymere.cli._progress import JsonLines, StageProgress
from skymere.cli.status import opened
from skymere.errors import SkymereError

__all__ = ["run"]


def run(
    plan: Annotated[
        Path,
        typer.Argument(help="TOML file that says what to run; `skymere demo` writes one. With --accept also a lake."),
    ],
    executor: Annotated[
        str | None, typer.Option(help="Where tasks are done: serial, processes or dask.", show_default=False)
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes at most; 0 = one for each core.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Scheduler of dask that is running, such as tcp://10.0.0.1:8786.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="What all processes may use together, such as 4GiB; '' = no limit.")
    ] = None,
    keep_going: Annotated[
        bool | None,
        typer.Option("--keep-going/--stop-at-first", help="Whether the other tasks go on when one has failed."),
    ] = None,
    accept: Annotated[
        str | None,
        typer.Option(
            help="Publish what a gate holds, and run nothing: the run of one of its products, or how it begins.",
            metavar="RUN",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Every event as a line of JSON on standard output, and nothing else.")
    ] = False,
) -> None:
    """Run a plan, from exposures to a release.

    The stages are ingest, align, background, outliers, mosaic, psf, detect, measure, profiles, models, photometry,
    cutouts, slits, redshifts and release.

    A plan needs no more than this; paths start at its folder:

        [survey]
        exposures = ["exposures/*_flt.fits"]
        lake = "lake"
        pictures = "pictures"

    More sections are `tile`, `align`, `background`, `outliers`, `mosaic`, `psf`, `detect`, `measure`, `profiles`,
    `photometry`, `cutouts`, `slits`, `redshifts`, `release` and `run`. An unknown key is an error that lists those that
    are allowed.

    Slits alone need `exposures = []`, `tile.kind = "healpix"` and `[slits] files = ["spectra/*_phot.*.fits"]`.

    Example: `skymere run plan.toml --executor processes --workers 8 --memory 24GiB`

    What is done already is left alone, so a second run does nothing and a killed one goes on. Files that cannot be
    used are listed at the end with the reason; the others go on without them. A task that fails leaves the others
    alone, too; each has a log, `logs/STAGE/TILE.log` beside the plan. The options win over the section `run`.

    Products that a gate of the plan holds are listed with the reason, wait, and are not in the release. `--accept`
    publishes those of a task as they were looked at; the next run does what depends on them.

    Example: `skymere run plan.toml --accept 3f2a9c`

    The exit code is 0 when all is done or held, 1 when something failed, and 2 when the run could not begin.
    """
    from skymere.pipeline import read_plan, run_plan

    if accept is not None:
        _accept(plan, accept, as_json=as_json)
        return
    given = {
        "executor": executor,
        "n_workers": workers,
        "scheduler": scheduler,
        "memory": memory,
        "keep_going": keep_going,
    }
    progress = JsonLines() if as_json else StageProgress()
    try:
        settings = _with(read_plan(plan), given)
        with progress:
            report = run_plan(settings, observer=progress)
    except SkymereError as error:
        write_error(error)
        raise typer.Exit(1 if progress.has_begun else 2) from error
    if as_json:
        for row in report.problems.iter_rows(named=True):
            sys.stdout.write(json.dumps({"name": "problem", **row}) + "\n")
    else:
        print_run(report)
    if report.failures:
        raise typer.Exit(1)


def _accept(of: Path, run_id: str, *, as_json: bool) -> None:
    _, lake = opened(str(of))
    held = lake.held()
    lake.accept(run_id)
    done = held.join(lake.held(), on=["stage", "tile", "product", "run_id"], how="anti")
    shown = done.select("stage", "tile", "product", "run_id", "message")
    if as_json:
        for row in shown.iter_rows(named=True):
            sys.stdout.write(json.dumps({"name": "accepted", **row}) + "\n")
    else:
        print_frame(shown, "Accepted")


def _with(plan: Any, given: dict[str, Any]) -> Any:
    """Return a plan with options in place of keys of its section ``run``."""
    from skymere.pipeline import RunPlan

    said = {name: value for name, value in given.items() if value is not None}
    there = dataclasses.asdict(plan.run)
    if said.get("executor", plan.run.executor) != plan.run.executor:
        # These belong to the executor of the plan.
        del there["n_workers"], there["scheduler"]
    return dataclasses.replace(plan, run=build_params(RunPlan, there | said, where="run."))
