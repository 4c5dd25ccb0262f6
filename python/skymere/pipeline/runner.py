"""Runs the stages of a plan in order; what is done already is left alone, so a killed run goes on where it was."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from skymere.errors import NoDataError, SkymereError
from skymere.io import read_exposures, read_mosaic
from skymere.lake import Lake, NamedTile
from skymere.pipeline.events import Event, EventLog
from skymere.pipeline.executors import in_processes, run_task
from skymere.pipeline.pictures import draw_pictures
from skymere.pipeline.plan import Plan
from skymere.pipeline.plan_check import refuse_faults
from skymere.pipeline.stages import STAGES
from skymere.pipeline.task import Stage, Task
from skymere.wcs import Grid

__all__ = ["RunReport", "StageReport", "run_plan"]


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """What one stage did.

    Parameters
    ----------
    name : str
        The stage.
    n_done, n_already : int
        Tasks that were done, and that had been done before.
    seconds : float
        Time [s].
    """

    name: str
    n_done: int
    n_already: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a run did.

    Parameters
    ----------
    stages : list of StageReport
        The stages in order.
    problems : polars.DataFrame
        ``product, item, status, message`` of everything that could not be used.
    pictures : list of Path
        Pictures that were drawn.
    """

    stages: list[StageReport] = field(default_factory=list)
    problems: pl.DataFrame = field(default_factory=pl.DataFrame)
    pictures: list[Path] = field(default_factory=list)


def run_plan(plan: Plan, *, observer: Callable[[Event], None] | None = None) -> RunReport:
    """Run a plan from its first exposure to the release.

    Parameters
    ----------
    plan : Plan
        What to do.
    observer : callable, optional
        Called with every `Event`; they are also appended to ``events.jsonl`` beside the plan.

    Raises
    ------
    InvalidInputError
        When `check_plan` finds faults; nothing was written then.
    SkymereError
        When the run cannot go on. What was published before stays, and the next run starts from there.
    """
    refuse_faults(plan)
    log = EventLog(plan.folder / "events.jsonl", *([observer] if observer else []))
    try:
        log(Event(name="run_started"))
        lake = open_or_create_lake(plan)
        stages = [_run_stage(stage, plan, lake, log) for stage in STAGES]
        changed = any(stage.n_done for stage in stages)
        pictures = draw_pictures(plan, lake, redraw=changed)
        log(Event(name="run_done"))
    finally:
        log.close()
    return RunReport(stages=stages, problems=_problems(lake), pictures=pictures)


def open_or_create_lake(plan: Plan) -> Lake:
    """Open the lake of a plan, or make it with the tiles that the plan describes.

    Raises
    ------
    NoDataError
        When a tile is to cover the exposures and none of them can be read.
    SkymereError
        When the folder is not a lake, or cannot be written.
    """
    path = plan.path(plan.survey.lake)
    if (path / "lake.json").exists():
        return Lake.open(path)
    if plan.tile.kind == "healpix":
        return Lake.create(path, tiles="healpix", scale_arcsec=plan.tile.scale_arcsec, width_pix=plan.tile.width_pix)
    return Lake.create(path, tiles=[NamedTile(plan.tile.name, _tile_grid(plan))])


def _tile_grid(plan: Plan) -> Grid:
    if plan.tile.reference_image:
        return read_mosaic(plan.path(plan.tile.reference_image)).grid
    footprints, errors, params = [], [], plan.read_params()
    for path in plan.exposure_files():
        try:
            footprints += [(exposure.wcs, exposure.shape) for exposure in read_exposures(path, params=params)]
        except SkymereError as error:
            errors.append(str(error))
    if not footprints:
        msg = f"survey.exposures: none can be read: {'; '.join(errors)}"
        raise NoDataError(msg)
    return Grid.covering(footprints, scale_arcsec=plan.tile.scale_arcsec, rotation_deg=plan.tile.rotation_deg)


def _run_stage(stage: Stage, plan: Plan, lake: Lake, log: EventLog) -> StageReport:
    start = time.monotonic()
    n_done = n_already = 0
    tasks = stage.tasks(plan, lake) if stage.tasks else []
    total = len(tasks)
    log(Event(name="stage_started", stage=stage.name, total=total))
    n_workers = min(stage.n_workers(plan) if stage.n_workers else 1, total)
    done = _one_by_one(stage, tasks, lake, log) if n_workers < 2 else in_processes(stage.name, tasks, lake, n_workers)
    for i, (tile, is_new, seconds) in enumerate(done):
        n_done, n_already = n_done + is_new, n_already + (not is_new)
        name = "task_done" if is_new else "task_already"
        log(Event(name=name, stage=stage.name, tile=tile, done=i + 1, total=total, seconds=seconds))
    if stage.finish is not None:
        is_new = stage.finish(plan, lake)
        n_done, n_already = n_done + is_new, n_already + (not is_new)
    seconds = time.monotonic() - start
    log(Event(name="stage_done", stage=stage.name, done=total, total=total, seconds=seconds))
    return StageReport(name=stage.name, n_done=n_done, n_already=n_already, seconds=seconds)


def _one_by_one(
    stage: Stage, tasks: Sequence[Task], lake: Lake, log: Callable[[Event], None]
) -> Iterator[tuple[str, bool, float]]:
    for task in tasks:
        began = time.monotonic()
        is_new = run_task(stage, task, lake, log)
        yield task.tile, is_new, time.monotonic() - began


_ITEMS = {
    "exposure": "exposure_id",
    "mask": "exposure_id",
    "mosaic": "band",
    "slit_spectrum": "group_id",
    "grism_frame": "exposure_id",
}
# Stages whose products have no row of an object that failed.
_BY_ITEM = {"beams": "beam", "maps": "line_map"}


def _problems(lake: Lake) -> pl.DataFrame:
    """Everything with a status other than ok."""
    frames = []
    for product, item in _ITEMS.items():
        rows = lake.table(product).filter(pl.col("status") != "ok")
        frames.append(
            rows.select(pl.lit(product).alias("product"), pl.col(item).alias("item"), "status", "message").collect()
        )
    for stage, product in _BY_ITEM.items():
        runs = sorted(lake.live_runs(product).values())
        failed = pl.col("stage") == stage, pl.col("status") == "failed", pl.col("run_id").is_in(runs)
        rows = lake.table("run_item").filter(*failed)
        frames.append(rows.select(pl.lit(product).alias("product"), "item", "status", "message").collect())
    return pl.concat(frames).sort("product", "item")
