"""Where tasks are done: here, in processes of this computer, or in the workers of dask; all behind one interface."""

import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import wait as wait_for
from threading import Thread
from typing import Protocol

from skymere._workers import n_cores, worker_pool
from skymere.pipeline.attempts import Job, Record, attempt, attempt_packed, packed
from skymere.pipeline.cores import threads_each
from skymere.pipeline.events import Event
from skymere.pipeline.run_settings import RunPlan

__all__ = ["Executor", "Processes", "Serial", "executor_of", "failed_record"]

Ended = tuple[int, Record | None]
"""Number of a job, and how it went: None when its worker died."""


class Executor(Protocol):
    """Takes jobs and tells which have ended; how many at a time is for `skymere.pipeline.scheduling` to decide.

    Attributes
    ----------
    n_threads : int
        Threads that each job may use when all workers are busy; 0 when the workers decide.
    """

    n_threads: int

    @property
    def most(self) -> int:
        """How many jobs can be done at the same time, at most."""

    @property
    def started(self) -> int:
        """Workers that hold memory beside this process."""

    def submit(self, number: int, job: Job) -> None:
        """Begin a job, if need be in a new worker.

        Raises
        ------
        SkymereError
            When it cannot be sent to a worker.
        """

    def wait(self, seconds: float | None = None) -> Sequence[Ended]:
        """Wait until a job has ended, or for so long [s]; returns those that have."""

    def shrink(self, n_workers: int) -> None:
        """Let idle workers go until no more than so many are left."""

    def close(self) -> None:
        """Let all workers go; jobs that have not ended are dropped, and their next attempt begins anew."""


def executor_of(plan: RunPlan, tell: Callable[[Event], None]) -> Executor:
    """Return what a plan asks for.

    Parameters
    ----------
    plan : RunPlan
        The section ``run``.
    tell : callable
        Called with events of tasks that are done in this process.

    Raises
    ------
    NotFoundError
        When dask is asked for and not installed.
    StorageError
        When its scheduler cannot be reached.
    """
    if plan.executor == "serial":
        return Serial(tell)
    n_workers = plan.n_workers or n_cores()
    if plan.executor == "processes":
        return Processes(n_workers)
    from skymere.pipeline.dask_workers import DaskWorkers

    return DaskWorkers(scheduler=plan.scheduler, n_workers=n_workers)


def failed_record(job: Job, error: BaseException) -> Record:
    """Return the record of a job that was not done, for a reason that no worker has told."""
    return Record(
        stage=job.stage,
        tile=job.task.tile,
        outcome="failed",
        error_class=type(error).__name__,
        message=str(error) or type(error).__name__,
    )


class Serial:
    """One job after the other in this process."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self.n_threads = 0
        self._tell = tell
        self._given: list[tuple[int, Job]] = []

    @property
    def most(self) -> int:
        """One."""
        return 1

    @property
    def started(self) -> int:
        """None beside this process."""
        return 0

    def submit(self, number: int, job: Job) -> None:
        """Take a job; it is done when somebody waits for it."""
        self._given.append((number, job))

    def wait(self, seconds: float | None = None) -> Sequence[Ended]:  # noqa: ARG002
        """Do the job that was given, however long it takes."""
        number, job = self._given.pop(0)
        return [(number, attempt(job, self._tell))]

    def shrink(self, n_workers: int) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class _Place:
    """A process for one job at a time: when it dies, no other job is lost with it."""

    pool: ProcessPoolExecutor
    pid: Future[int]
    job: tuple[int, Job] | None = None
    future: Future[Record] | None = None


class Processes:
    """New processes of this computer (``spawn``), each with its part of the threads.

    Parameters
    ----------
    n_workers : int
        Processes at most; each begins with the first job that finds no other idle.
    """

    def __init__(self, n_workers: int) -> None:
        self.n_threads = threads_each(n_workers)
        self._most = n_workers
        self._places: list[_Place] = []

    @property
    def most(self) -> int:
        """How many jobs can be done at the same time."""
        return self._most

    @property
    def started(self) -> int:
        """Processes that are there."""
        return len(self._places)

    def submit(self, number: int, job: Job) -> None:
        """Give a job to an idle process, or to a new one."""
        content = packed(job)
        place = next((one for one in self._places if one.job is None), None)
        if place is None:
            pool = worker_pool(1, n_threads=self.n_threads, initializer=_begin_worker)
            place = _Place(pool, pool.submit(os.getpid))
            self._places.append(place)
        place.job = (number, job)
        try:
            place.future = place.pool.submit(attempt_packed, content)
        except BrokenProcessPool as error:
            place.future = Future()
            place.future.set_exception(error)

    def wait(self, seconds: float | None = None) -> Sequence[Ended]:
        """Wait until a job has ended; a process that died is replaced when the next job needs one."""
        futures = [one.future for one in self._places if one.future is not None]
        done = wait(futures, seconds, return_when=FIRST_COMPLETED).done
        return [self._ended(place) for place in tuple(self._places) if place.future in done]

    def _ended(self, place: _Place) -> Ended:
        assert place.future is not None
        assert place.job is not None
        (number, job), future = place.job, place.future
        place.job = place.future = None
        try:
            return number, future.result()
        except BrokenProcessPool:
            self._places.remove(place)
            place.pool.shutdown(wait=False)
            return number, None
        except Exception as error:
            return number, failed_record(job, error)

    def shrink(self, n_workers: int) -> None:
        """End idle processes until no more than so many are left."""
        for place in [one for one in self._places if one.job is None]:
            if len(self._places) > n_workers:
                self._places.remove(place)
                place.pool.shutdown()

    def close(self) -> None:
        """End all processes; those at work are terminated, which leaves the lake whole."""
        for place in self._places:
            if place.job is not None and place.pid.done():
                with suppress(ProcessLookupError, BrokenProcessPool):
                    os.kill(place.pid.result(), signal.SIGKILL)
            place.pool.shutdown(wait=place.job is None, cancel_futures=True)
        self._places.clear()


def _begin_worker() -> None:
    # Ctrl-C reaches the whole group; the process that gave the jobs decides what becomes of them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when that which gave the jobs was killed; nobody would ever give it another, or end it."""
    wait_for([parent])
    os._exit(1)
