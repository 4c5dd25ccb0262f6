"""Doing tasks: one here, or many in processes of their own."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from pathlib import Path

from skymere._rust import threads
from skymere._workers import worker_pool
from skymere.errors import ConflictError, StorageError
from skymere.lake import Lake
from skymere.pipeline.events import Event
from skymere.pipeline.task import Stage, Task

__all__ = ["in_processes", "run_task"]

_ATTEMPTS = 3


def run_task(stage: Stage, task: Task, lake: Lake, log: Callable[[Event], None] | None = None) -> bool:
    """Do a task unless it is done; returns whether it was new. A conflict with another run starts it again.

    Parameters
    ----------
    stage : Stage
        The stage.
    task : Task
        One of its tasks.
    lake : Lake
        The lake.
    log : callable, optional
        Called with every `Event`.
    """

    def tell(step: str) -> None:
        if log is not None:
            log(Event(name=step, stage=stage.name, tile=task.tile))

    open_run = partial(
        lake.run,
        stage=stage.name,
        tile=task.tile,
        product=stage.writes[0],
        inputs=task.inputs,
        params=task.params,
        on_event=tell,
    )

    def once() -> bool:
        with open_run() as run:
            if run.already:
                return False
            tell("task_started")
            task.work(run)
            return True

    for _ in range(_ATTEMPTS - 1):
        with suppress(ConflictError):
            return once()
    return once()


def in_processes(stage: str, tasks: Sequence[Task], lake: Lake, n_workers: int) -> Iterator[tuple[str, bool, float]]:
    """Do tasks in several processes; yields tile, whether it was new, and the time [s] of each as it ends.

    Parameters
    ----------
    stage : str
        Name of the stage.
    tasks : sequence of Task
        Tasks whose work can be pickled.
    lake : Lake
        The lake, in a folder; every process opens it.
    n_workers : int
        Number of processes; they share the threads that are set here.

    Raises
    ------
    StorageError
        When a process was killed. What the others have published stays, and the next run starts from there.
    SkymereError
        What a task raises; tasks that have not begun are dropped.
    """
    # All together have the threads that one by itself would have.
    with worker_pool(n_workers, n_threads=max(1, threads.get_num_threads() // n_workers)) as pool:
        try:
            jobs = [pool.submit(_apart, stage, task, Path(str(lake.path))) for task in tasks]
            for job in as_completed(jobs):
                yield job.result()
        except BrokenProcessPool as error:
            msg = f"stage {stage}: a process was killed, maybe for lack of memory; run it again, it goes on from there"
            raise StorageError(msg) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _apart(stage: str, task: Task, lake: Path) -> tuple[str, bool, float]:
    from skymere.pipeline.stages import STAGES

    began = time.monotonic()
    (one,) = (known for known in STAGES if known.name == stage)
    return task.tile, run_task(one, task, Lake.open(lake)), time.monotonic() - began
