"""One task, done once: by itself, or in a worker that tells in a small record how it went."""

import pickle
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from skymere import errors
from skymere._rust import threads
from skymere._workers import Reducers, dumps
from skymere.errors import ConflictError, InternalError, SkymereError
from skymere.lake import Gate, Lake, Pending
from skymere.pipeline.cores import one_blas_thread
from skymere.pipeline.events import Event, EventLog
from skymere.pipeline.process_memory import peak_memory, restart_peak
from skymere.pipeline.task import Stage, Task
from skymere.pipeline.task_logs import TaskLog, log_path

__all__ = ["ATTEMPTS", "Job", "Outcome", "Record", "attempt", "attempt_packed", "error_of", "packed", "run_task"]

# How often a task is done, at most, whose products conflict with another run.
ATTEMPTS = 3

_T = TypeVar("_T")
Tell = Callable[[Event], None]
Outcome = Literal["pending", "done", "already", "held", "failed"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A task with all that a process needs to do it.

    Parameters
    ----------
    stage, product : str
        What is done, and what comes of it.
    task : Task
        The task.
    lake : Lake
        Where it is published.
    gates : tuple of Gate
        Rules that hold its products.
    logs : Path, optional
        Folder for logs.
    events : Path, optional
        File for events of processes of the computer `host`.
    host : str
        This computer.
    n_threads : int
        Threads that kernels may use; 0 leaves them as they are.
    """

    stage: str
    product: str
    task: Task
    lake: Lake
    gates: tuple[Gate, ...] = ()
    logs: Path | None = None
    events: Path | None = None
    host: str = ""
    n_threads: int = 0


@dataclass(frozen=True, kw_only=True)
class Record:
    """How a task went.

    Parameters
    ----------
    stage, tile : str
        The task.
    outcome : str
        ``pending`` (its products are written and wait for their commit), ``done``, ``already`` (it had been done
        before), ``held`` (its products wait for somebody who accepts them), or ``failed``.
    seconds, cpu_seconds : float
        Time, and that of all cores of the process [s].
    peak_memory : int
        Most memory of the process meanwhile [bytes].
    warnings : tuple of str
        What the task was warned of.
    error_class, message : str
        What went wrong, or why it is held; empty when nothing is the matter.
    log : str
        File with more; empty when there is none.
    host : str
        The computer.
    pendings : tuple of Pending
        What waits for its commit, in the order of publication.
    """

    stage: str
    tile: str
    outcome: Outcome
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    warnings: tuple[str, ...] = ()
    error_class: str = ""
    message: str = ""
    log: str = ""
    host: str = ""
    pendings: tuple[Pending, ...] = ()


def error_of(record: Record) -> SkymereError:
    """Return the error of a task that has failed; one that is not of skymere is an `InternalError`."""
    known = getattr(errors, record.error_class, None) if record.error_class in errors.__all__ else None
    text = record.message if known else f"{record.error_class}: {record.message}"
    pointer = f" (log: {record.log})" if record.log else ""
    error: SkymereError = (known or InternalError)(f"stage {record.stage}, tile {record.tile}: {text}{pointer}")
    return error


def run_task(stage: Stage, task: Task, lake: Lake, log: Tell | None = None) -> bool:
    """Do a task unless it is done, and commit it; returns whether it was new.

    A conflict with another run starts it again. Gates are for runs of a plan, and none is asked here.

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

    Raises
    ------
    Exception
        What the work raises.
    """
    job = Job(stage=stage.name, product=stage.writes[0], task=task, lake=lake)

    def once() -> bool:
        outcome, _, pendings = _staged(job, log)
        for answer in lake.commit(pendings, on_event=_steps(job, log)) if pendings else ():
            if isinstance(answer, Exception):
                raise answer
        return outcome != "already"

    return _again_when_in_conflict(once)


def _again_when_in_conflict(once: Callable[[], _T]) -> _T:
    for _ in range(ATTEMPTS - 1):
        with suppress(ConflictError):
            return once()
    return once()


def _steps(job: Job, log: Tell | None) -> Callable[[str], None]:
    def tell(step: str) -> None:
        if log is not None:
            log(Event(name=step, stage=job.stage, tile=job.task.tile))

    return tell


def _staged(job: Job, log: Tell | None) -> tuple[Outcome, str, tuple[Pending, ...]]:
    """Do the work of a job unless it is done or held; returns what waits for its commit, and why it is held."""
    task, tell = job.task, _steps(job, log)
    with job.lake.run(
        stage=job.stage,
        tile=task.tile,
        product=job.product,
        inputs=task.inputs,
        params=task.params,
        on_event=tell,
        defer=True,
        gates=job.gates,
    ) as run:
        if run.already:
            return "already", "", ()
        if run.held:
            return "held", run.held, ()
        tell("task_started")
        with one_blas_thread():
            task.work(run)
        return "pending" if run.pendings else "done", "", tuple(run.pendings)


def attempt(job: Job, tell: Tell | None = None) -> Record:
    """Do a task up to its commit, which is for the process that gave it; whatever it raises becomes a record.

    Parameters
    ----------
    job : Job
        The task.
    tell : callable, optional
        Called with every `Event`.
    """
    task = job.task
    log = TaskLog(log_path(job.logs, job.stage, task.tile) if job.logs else None)
    has_begun = False

    def heard(event: Event) -> None:
        nonlocal has_begun
        if event.name == "task_started":
            has_begun = True
            log.begin(inputs=len(task.inputs), params=task.params)
        if tell is not None:
            tell(event)

    restart_peak()
    began, cpu = time.monotonic(), time.process_time()
    outcome: Outcome
    about: dict[str, Any]
    try:
        with log.catching():
            outcome, why, pendings = _again_when_in_conflict(lambda: _staged(job, heard))
        about = {"message": why, "pendings": pendings}
    except (Exception, SystemExit) as error:
        outcome = "failed"
        about = {"error_class": type(error).__name__, "message": str(error) or type(error).__name__}
        if not has_begun:
            log.begin(inputs=len(task.inputs), params=task.params)
        log.fail(error)
    except BaseException:
        # Ctrl-C is no way for a task to go.
        log.close()
        raise
    record = Record(
        stage=job.stage,
        tile=task.tile,
        outcome=outcome,
        seconds=time.monotonic() - began,
        cpu_seconds=time.process_time() - cpu,
        peak_memory=peak_memory(),
        host=socket.gethostname(),
        warnings=tuple(log.warnings),
        **about,
    )
    how = "all is written" if outcome == "pending" else outcome
    log.write(
        f"{how} after {record.seconds:.1f} s ({record.cpu_seconds:.1f} s of cores), "
        f"at most {record.peak_memory / 2**20:.0f} MiB"
    )
    log.close()
    return replace(record, log=str(log.path)) if log.path is not None and log.path.exists() else record


def packed(job: Job) -> bytes:
    """Return a job as bytes for `attempt_packed`; the lake goes as its place, and is opened there once.

    Raises
    ------
    InternalError
        When the work of the task cannot be sent to another process.
    """
    try:
        return dumps(job, _WAYS)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        msg = f"stage {job.stage}, tile {job.task.tile}: the work cannot be sent to another process: {error}"
        raise InternalError(msg) from error


def attempt_packed(content: bytes) -> Record:
    """Do a task in a worker; see `attempt`.

    Parameters
    ----------
    content : bytes
        From `packed`.
    """
    job: Job = pickle.loads(content)  # noqa: S301  (what the parent process wrote)
    if job.n_threads and job.n_threads != threads.get_num_threads():
        threads.set_num_threads(job.n_threads)
    is_here = job.events is not None and job.host == socket.gethostname()
    return attempt(job, _events(job.events) if is_here and job.events is not None else None)


@cache
def _events(path: Path) -> EventLog:
    return EventLog(path)


@cache
def _lake(place: Any, release: str | None) -> Lake:
    return Lake.open(place, release)


def _as_place(lake: Lake) -> tuple[Any, ...]:
    return _lake, (lake.path, lake.pinned)


_WAYS: Reducers = {Lake: _as_place}
