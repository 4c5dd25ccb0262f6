"""``skymere run``."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from skymere._params import build_params
from skymere.cli._errors import write_error
from skymere.cli._print import print_run
from skymere.cli._progress import JsonLines, StageProgress
from skymere.errors import SkymereError

__all__ = ["run"]


def run(
    plan: Annotated[Path, typer.Argument(help="TOML file that says what to run; `skymere demo` writes one.")],
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

    The exit code is 0 when all is done, 1 when something failed, and 2 when the run could not begin.
    """
    from skymere.pipeline import read_plan, run_plan

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


def _with(plan: Any, given: dict[str, Any]) -> Any:
    """Return a plan with options in place of keys of its section ``run``."""
    from skymere.pipeline import RunPlan

    said = {name: value for name, value in given.items() if value is not None}
    there = dataclasses.asdict(plan.run)
    if said.get("executor", plan.run.executor) != plan.run.executor:
        # These belong to the executor of the plan.
        del there["n_workers"], there["scheduler"]
    return dataclasses.replace(plan, run=build_params(RunPlan, there | said, where="run."))
