"""``skymere plan estimate``: what a run will cost."""

import json
import sys
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from skymere.cli._print import console, print_frame

__all__ = ["estimate"]

_UNITS = {
    "n_tasks": "tasks",
    "n_sources": "sources expected",
    "seconds": "s, one task after the other",
    "cpu_seconds": "s of processor time",
    "wall_seconds": "s by the clock with the workers",
    "bytes_written": "bytes written",
    "n_files": "files or objects",
    "n_commits": "entries of logs",
    "memory_mib": "MiB, peak of all workers",
    "n_workers": "workers",
}


def estimate(
    plan: Annotated[Path, typer.Argument(help="TOML file that says what to run.", metavar="PLAN")],
    lakes: Annotated[
        list[str] | None, typer.Option("--from", help="Lake in which such work was done; may be given several times.")
    ] = None,
    costs: Annotated[Path | None, typer.Option("--costs", help="Costs that were saved, instead of lakes.")] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Write what the lakes tell to this file.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; those of the plan.")] = None,
    density: Annotated[
        float | None,
        typer.Option("--sources-per-arcmin2", min=0, help="Sources that will be found; as many as in the lakes."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON with `stages`, `products` and `totals`.")] = False,
) -> None:
    """Say what `skymere run` would cost: tasks, time, memory, bytes and files by stage and product.

    Costs of exposures, pixels, sources, beams and slits are learnt from the ledgers of lakes in which plans were run,
    on the computer that will do the work. The plan's own lake need not exist; nothing is changed, and only headers of
    files are read.

    Example: `skymere plan estimate survey/plan.toml --from pilot/lake --save costs.json --workers 16`
    """
    from skymere.pipeline import estimate_plan, fit_costs, read_costs, read_plan

    if bool(lakes) == (costs is not None):
        msg = "give either lakes to learn from (--from) or costs that were saved (--costs)"
        raise typer.BadParameter(msg, param_hint="--from")
    model = read_costs(costs) if costs is not None else fit_costs(lakes or [])
    if save is not None:
        model.save(save)
    told = estimate_plan(read_plan(plan), model, n_workers=workers, sources_per_arcmin2=density)
    if as_json:
        tree = {
            "stages": told.stages.to_dicts(),
            "products": told.products.to_dicts(),
            "totals": dict(told.totals),
            "about": dict(model.about),
        }
        sys.stdout.write(json.dumps(tree, indent=1) + "\n")
        return
    print_frame(_readable(told.stages, told.totals["n_workers"] > 1), "Stages")
    print_frame(told.products.with_columns(pl.col("bytes_written").map_elements(_bytes, pl.String)), "Products")
    rows = [{"total": told.totals[name], "of": text} for name, text in _UNITS.items() if name in told.totals]
    print_frame(pl.DataFrame(rows), "In all")
    for stage, note in told.stages.filter(pl.col("note") != "").select("stage", "note").iter_rows():
        console.print(f"{stage}: {note}", soft_wrap=True)
    console.print(f"learnt from {', '.join(f'{key} {value}' for key, value in model.about.items())}", soft_wrap=True)


def _readable(stages: pl.DataFrame, is_parallel: bool) -> pl.DataFrame:
    """Return what fits in the width of a terminal."""
    work = "cpu_seconds" if is_parallel else "seconds"
    return stages.select(
        "stage",
        pl.col("n_tasks").alias("tasks"),
        pl.col("n_fresh").alias("fresh"),
        pl.col(work).alias("cpu [s]" if is_parallel else "time [s]"),
        *([pl.col("wall_seconds").alias("wall [s]")] if is_parallel else []),
        pl.col("bytes_written").map_elements(_bytes, pl.String).alias("written"),
        pl.col("n_files").alias("files"),
        pl.col("worker_mib").round(0).alias("MiB"),
    )


def _bytes(number: float) -> str:
    """Return bytes as people write them."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.4g} TB"
