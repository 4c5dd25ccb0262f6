"""Which tasks are done when: as many as there are workers and memory for, and again when a worker died."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from skymere.errors import InvalidInputError, SkymereError, WorkerDied
from skymere.pipeline.attempts import Job, Record
from skymere.pipeline.events import Event
from skymere.pipeline.executors import Executor, failed_record
from skymere.pipeline.memory import WORKER_BASELINE, in_words
from skymere.pipeline.task_logs import append_to_log, log_path

__all__ = ["Budget", "do_jobs"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What tasks may use.

    Parameters
    ----------
    memory : int
        Memory of all processes together [bytes]; 0 = no limit.
    own : int
        What this process holds of it already [bytes].
    retries : int
        How often a task is tried again whose worker died.
    """

    memory: int = 0
    own: int = 0
    retries: int = 2

    def least(self, cost: int, *, n_workers: int) -> int:
        """Return the memory that tasks of a cost need with so many workers beside this process [bytes]."""
        return self.own + n_workers * WORKER_BASELINE + cost


def do_jobs(
    jobs: Sequence[Job], executor: Executor, *, budget: Budget, tell: Callable[[Event], None]
) -> Iterator[Record]:
    """Do tasks; yields how each of them went, as it ends.

    Parameters
    ----------
    jobs : sequence of Job
        The tasks; their costs count when the budget has a limit.
    executor : Executor
        Where they are done.
    budget : Budget
        What they may use.
    tell : callable
        Called with events.

    Notes
    -----
    When a worker died, its task is tried again beside the others, after a second death, and when it is the last try,
    by itself: then no other task can be the reason.
    """
    waiting = deque(range(len(jobs)))
    alone: deque[int] = deque()
    running: dict[int, int] = {}
    deaths: Counter[int] = Counter()
    has_workers = executor.started > 0 or executor.most > 1

    def fits(cost: int) -> bool:
        if not budget.memory:
            return True
        n_workers = max(executor.started, len(running) + 1) if has_workers else 0
        return budget.least(sum(running.values()) + cost, n_workers=n_workers) <= budget.memory

    def begin(number: int) -> Record | None:
        job = jobs[number]
        tell(Event(name="task_submitted", stage=job.stage, tile=job.task.tile, total=len(jobs)))
        try:
            executor.submit(number, job)
        except SkymereError as error:
            return failed_record(job, error)
        running[number] = job.task.cost
        return None

    while waiting or alone or running:
        while waiting and len(running) < executor.most:
            cost = jobs[waiting[0]].task.cost
            if budget.memory and budget.least(cost, n_workers=int(has_workers)) > budget.memory:
                yield _too_large(jobs[waiting.popleft()], budget, has_workers=has_workers)
                continue
            if not fits(cost):
                if running:
                    break
                executor.shrink(1)
            failed = begin(waiting.popleft())
            if failed is not None:
                yield failed
        if alone and not running and not waiting:
            failed = begin(alone.popleft())
            if failed is not None:
                yield failed
        if not running:
            continue
        for number, record in executor.wait():
            del running[number]
            if record is not None:
                yield record
                continue
            deaths[number] += 1
            job = jobs[number]
            gave_up = deaths[number] > budget.retries
            record = _died(job, deaths[number])
            tell(
                Event(
                    name="worker_died",
                    stage=job.stage,
                    tile=job.task.tile,
                    message="" if gave_up else "the task is tried again",
                    log=record.log,
                )
            )
            if gave_up:
                yield record
            elif deaths[number] >= min(2, budget.retries):
                alone.append(number)
            else:
                waiting.appendleft(number)


def _died(job: Job, times: int) -> Record:
    text = "once" if times == 1 else f"{times} times"
    msg = f"the process that did it was killed {text}, maybe for lack of memory"
    log = ""
    if job.logs is not None:
        path = log_path(job.logs, job.stage, job.task.tile)
        append_to_log(path, msg)
        log = str(path) if path.exists() else ""
    record = failed_record(job, WorkerDied(msg))
    return Record(**{**vars(record), "log": log})


def _too_large(job: Job, budget: Budget, *, has_workers: bool) -> Record:
    held = budget.own + (WORKER_BASELINE if has_workers else 0)
    msg = (
        f"tile {job.task.tile} of stage {job.stage} needs about {in_words(job.task.cost)} and the processes "
        f"themselves {in_words(held)}, memory allows {in_words(budget.memory)}: allow more"
    )
    return failed_record(job, InvalidInputError(msg))
