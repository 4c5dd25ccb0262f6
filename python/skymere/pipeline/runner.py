"""Runs the stages of a plan in order; what is done already is left alone, so a killed run goes on where it was."""

import socket
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from skymere.errors import NoDataError, SkymereError, StorageError
from skymere.io import read_exposures, read_mosaic
from skymere.lake import Lake, NamedTile, about_objects
from skymere.pipeline.attempts import Job, Record, error_of
from skymere.pipeline.cores import threads_each
from skymere.pipeline.events import Event, EventLog
from skymere.pipeline.executors import Executor, Processes, executor_of
from skymere.pipeline.freshness import done_before
from skymere.pipeline.gates import gates_of
from skymere.pipeline.memory import predicted_cost
from skymere.pipeline.pictures import draw_pictures
from skymere.pipeline.plan import Plan
from skymere.pipeline.plan_check import refuse_faults
from skymere.pipeline.process_memory import held_memory
from skymere.pipeline.publishing import Publisher
from skymere.pipeline.run_settings import memory_bytes
from skymere.pipeline.scheduling import Budget, do_jobs
from skymere.pipeline.stages import STAGES
from skymere.pipeline.task import Stage, Task
from skymere.wcs import Grid

__all__ = ["RunReport", "StageReport", "run_plan", "run_stage"]


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """What one stage did.

    Parameters
    ----------
    name : str
        The stage.
    n_done, n_already, n_failed : int
        Tasks that were done, that had been done before, and that failed.
    seconds : float
        Time [s].
    n_held : int
        Tasks whose products a gate holds, from this run or one before.
    """

    name: str
    n_done: int
    n_already: int
    seconds: float
    n_failed: int = 0
    n_held: int = 0


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a run did.

    Parameters
    ----------
    stages : list of StageReport
        The stages in order.
    problems : polars.DataFrame
        ``product, item, status, message`` of everything that could not be used, of every task that failed, and of what
        is held.
    pictures : list of Path
        Pictures that were drawn.
    failures : list of Record
        Tasks that failed.
    """

    stages: list[StageReport] = field(default_factory=list)
    problems: pl.DataFrame = field(default_factory=pl.DataFrame)
    pictures: list[Path] = field(default_factory=list)
    failures: list[Record] = field(default_factory=list)


def run_plan(plan: Plan, *, observer: Callable[[Event], None] | None = None) -> RunReport:
    """Run a plan from its first exposure to the release.

    A task that fails is recorded, and the others go on; what depends on its product is not made, and nothing is
    released, so that the next run can mend it and make the release. What a gate holds is not in the release, and does
    not keep it back.

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
        When the run cannot begin or go on, or a task failed and ``run.keep_going`` is off. What was published before
        stays, and the next run starts from there.
    """
    refuse_faults(plan)
    log = EventLog(plan.folder / "events.jsonl", *([observer] if observer else []))
    try:
        log(Event(name="run_started"))
        lake = open_or_create_lake(plan)
        run = _Running(plan, lake, log)
        with _closing(executor_of(plan.run, log)) as executor:
            stages = [run.stage(stage, executor) for stage in STAGES]
        pictures = run.pictures(changed=any(stage.n_done for stage in stages))
        log(Event(name="run_done", n_failed=len(run.failures)))
        if log.problem:
            run.failures.append(_failure("run", "events", StorageError(log.problem)))
    finally:
        log.close()
    problems = pl.concat([_problems(lake), _failed_tasks(run.failures), _held(lake)])
    return RunReport(stages=stages, problems=problems, pictures=pictures, failures=run.failures)


def run_stage(stage: Stage, plan: Plan, lake: Lake, *, observer: Callable[[Event], None] | None = None) -> StageReport:
    """Run one stage of a plan on the lake as it is; failures are in the events.

    Parameters
    ----------
    stage : Stage
        The stage.
    plan : Plan
        What to do, and where.
    lake : Lake
        The lake.
    observer : callable, optional
        Called with every `Event`.

    Raises
    ------
    SkymereError
        When its tasks cannot be told, or one failed and ``run.keep_going`` is off.
    """
    log = EventLog(plan.folder / "events.jsonl", *([observer] if observer else []))
    try:
        with _closing(executor_of(plan.run, log)) as executor:
            return _Running(plan, lake, log).stage(stage, executor)
    finally:
        log.close()


@contextmanager
def _closing(executor: Executor) -> Iterator[Executor]:
    try:
        yield executor
    finally:
        executor.close()


class _Running:
    """A run under way: what has failed so far decides about what follows."""

    def __init__(self, plan: Plan, lake: Lake, log: EventLog) -> None:
        self.failures: list[Record] = []
        self._plan, self._lake, self._log = plan, lake, log

    def stage(self, stage: Stage, executor: Executor) -> StageReport:
        """Do all tasks of a stage, and what comes after them."""
        start = time.monotonic()
        before = len(self.failures)
        tasks = self._tasks(stage)
        total = len(tasks)
        self._log(Event(name="stage_started", stage=stage.name, total=total))
        counts = dict.fromkeys(("done", "already", "held", "failed"), 0)
        with closing(self._records(stage, tasks, executor)) as records:
            for i, record in enumerate(records, start=1):
                counts[record.outcome] += 1
                self._book(record, done=i, total=total)
        if stage.finish is not None:
            counts["done" if self._finish(stage) else "already"] += 1
        seconds, n_failed = time.monotonic() - start, len(self.failures) - before
        self._log(Event(name="stage_done", stage=stage.name, done=total, total=total, seconds=seconds))
        return StageReport(
            name=stage.name,
            n_done=counts["done"],
            n_already=counts["already"],
            seconds=seconds,
            n_failed=n_failed,
            n_held=counts["held"],
        )

    def pictures(self, *, changed: bool) -> list[Path]:
        """Draw pictures of the lake; those of a run with failures may be impossible."""
        try:
            return draw_pictures(self._plan, self._lake, redraw=changed)
        except Exception as error:
            if not self.failures:
                raise
            self._book(_failure("pictures", "all", error), done=0, total=0)
            return []

    def _tasks(self, stage: Stage) -> Sequence[Task]:
        if stage.tasks is None:
            return []
        try:
            return stage.tasks(self._plan, self._lake)
        except SkymereError as error:
            # It may be for want of what has failed before.
            if not self.failures:
                raise
            self._book(_failure(stage.name, "all", error), done=0, total=0)
            return []

    def _records(self, stage: Stage, tasks: Sequence[Task], executor: Executor) -> Generator[Record, None, None]:
        """Yield how each task went; those that were done before need no worker."""
        if not tasks:
            return
        todo = []
        for task, is_done in zip(tasks, done_before(stage.name, stage.writes[0], tasks, self._lake), strict=True):
            if is_done:
                yield Record(stage=stage.name, tile=task.tile, outcome="already")
            else:
                todo.append(task)
        with self._executor(stage, executor, len(todo)) as its:
            publisher = Publisher(self._lake, self._log)
            jobs = self._jobs(stage, todo, its)
            yield from do_jobs(jobs, its, budget=self._budget(), publisher=publisher, tell=self._log)

    def _jobs(self, stage: Stage, tasks: Sequence[Task], executor: Executor) -> list[Job]:
        if self._plan.run.memory:
            cost = predicted_cost(stage.name, self._plan, self._lake)
            tasks = [task if task.cost else replace(task, cost=cost(task)) for task in tasks]
        share = threads_each(min(executor.most, len(tasks))) if executor.n_threads else 0
        logs = self._plan.path(self._plan.survey.logs)
        host, events, gates = socket.gethostname(), self._log.path, gates_of(self._plan, stage)
        return [
            Job(
                stage=stage.name,
                product=stage.writes[0],
                task=task,
                lake=self._lake,
                gates=gates,
                logs=logs,
                events=events,
                host=host,
                n_threads=share,
            )
            for task in tasks
        ]

    def _budget(self) -> Budget:
        run = self._plan.run
        return Budget(memory=memory_bytes(run.memory), own=held_memory() if run.memory else 0, retries=run.retries)

    @contextmanager
    def _executor(self, stage: Stage, executor: Executor, total: int) -> Iterator[Executor]:
        """Give a stage that asks for processes its own where the run has none."""
        own = min(stage.n_workers(self._plan), total) if stage.n_workers and self._plan.run.executor == "serial" else 1
        if own < 2:
            yield executor
            return
        with _closing(Processes(own)) as processes:
            yield processes

    def _book(self, record: Record, *, done: int, total: int) -> None:
        """Tell how a task went: the one place that hears of all of them, whoever did them."""
        if record.outcome == "failed":
            self.failures.append(record)
        self._log(
            Event(
                name=f"task_{record.outcome}",
                stage=record.stage,
                tile=record.tile,
                done=done,
                total=total,
                seconds=record.seconds,
                error_class=record.error_class,
                message=record.message,
                log=record.log if record.outcome == "failed" else "",
                memory=record.peak_memory,
                n_failed=len(self.failures),
            )
        )
        if record.outcome == "failed" and not self._plan.run.keep_going:
            raise error_of(record)

    def _finish(self, stage: Stage) -> bool:
        if stage.finish is None:
            return False
        if stage.needs_all and self.failures:
            msg = f"{len(self.failures)} tasks have failed; the next run does them, and then this"
            self._log(Event(name="stage_skipped", stage=stage.name, message=msg, n_failed=len(self.failures)))
            return False
        return stage.finish(self._plan, self._lake)


def _failure(stage: str, tile: str, error: Exception) -> Record:
    return Record(
        stage=stage, tile=tile, outcome="failed", error_class=type(error).__name__, message=str(error) or "no message"
    )


def _failed_tasks(failures: list[Record]) -> pl.DataFrame:
    rows = [
        {
            "product": record.stage,
            "item": record.tile,
            "status": "failed",
            "message": f"{record.error_class}: {record.message}" + (f" (log: {record.log})" if record.log else ""),
        }
        for record in failures
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(("product", "item", "status", "message"), pl.String))


def _held(lake: Lake) -> pl.DataFrame:
    shown = pl.col("stage").alias("product"), pl.col("tile").alias("item"), "status", "message"
    return lake.held().select(*shown).unique(maintain_order=True)


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


_ITEMS = {
    "exposure": "exposure_id",
    "wcs_solution": "exposure_id",
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
        rows = about_objects(lake.table("run_item")).filter(*failed)
        frames.append(rows.select(pl.lit(product).alias("product"), "item", "status", "message").collect())
    return pl.concat(frames).sort("product", "item")
