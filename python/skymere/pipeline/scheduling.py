"""Which tasks are done when: as many as there are workers and memory for, and again when a worker died."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from skymere.errors import InvalidInputError, SkymereError, WorkerDied
from skymere.pipeline.attempts import ATTEMPTS, Job, Record
from skymere.pipeline.events import Event
from skymere.pipeline.executors import Executor, Serial, failed_record
from skymere.pipeline.memory import BOUNDED, WORKER_BASELINE, in_words
from skymere.pipeline.publishing import Publisher
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

    def needed(self, cost: int, *, n_workers: int) -> int:
        """Return the memory that tasks of a cost need with so many workers beside this process [bytes]."""
        return self.own + n_workers * WORKER_BASELINE + cost


def do_jobs(
    jobs: Sequence[Job], executor: Executor, *, budget: Budget, publisher: Publisher, tell: Callable[[Event], None]
) -> Iterator[Record]:
    """Do tasks and commit what they write; yields how each of them went, as it ends.

    Parameters
    ----------
    jobs : sequence of Job
        The tasks; their costs count when the budget has a limit.
    executor : Executor
        Where they are done.
    budget : Budget
        What they may use.
    publisher : Publisher
        Commits; everything that was written is, before this ends, also when nobody asks for more.
    tell : callable
        Called with events.

    Notes
    -----
    A task whose products conflict with another run is done again.

    When a worker died, its task is tried again beside the others; after a second death, and when it is the last try,
    by itself once they have ended: then no other task can be the reason.
    """
    queue = _Queue(jobs, executor, budget, publisher, tell)
    try:
        while queue.is_open:
            yield from queue.begin()
            yield from queue.end()
            yield from queue.publish()
    finally:
        publisher.publish()


class _Queue:
    """Tasks that wait, those that are done by themselves, and those that are under way."""

    def __init__(
        self,
        jobs: Sequence[Job],
        executor: Executor,
        budget: Budget,
        publisher: Publisher,
        tell: Callable[[Event], None],
    ) -> None:
        self._jobs, self._executor, self._budget, self._tell = jobs, executor, budget, tell
        self._publisher = publisher
        self._waiting = deque(range(len(jobs)))
        self._alone: deque[int] = deque()
        self._running: dict[int, int] = {}
        self._deaths: Counter[int] = Counter()
        self._conflicts: Counter[int] = Counter()
        self._has_workers = executor.started > 0 or not isinstance(executor, Serial)

    @property
    def is_open(self) -> bool:
        return bool(self._waiting or self._alone or self._running or not self._publisher.is_empty)

    def begin(self) -> Iterator[Record]:
        """Begin what there are workers and memory for; yields records of tasks for which there never are."""
        while self._waiting and len(self._running) < self._executor.most:
            number = self._waiting[0]
            if not self._can_ever_fit(number):
                self._waiting.popleft()
                yield self._failed(number, _too_large(self._jobs[number], self._budget, has_workers=self._has_workers))
                continue
            if not self._fits(number):
                if self._running:
                    return
                # Idle workers hold memory that this task needs.
                self._executor.shrink(1)
            self._waiting.popleft()
            yield from self._submit(number)
        if self._alone and not self._running and not self._waiting:
            yield from self._submit(self._alone.popleft())

    def end(self) -> Iterator[Record]:
        """Wait for what is under way; yields records of tasks that have ended for good."""
        for number, record in self._executor.wait(self._publisher.seconds_left) if self._running else ():
            del self._running[number]
            if record is None:
                yield from self._after_death(number)
            elif record.outcome == "pending":
                self._publisher.take(number, self._jobs[number], record)
            else:
                yield self._failed(number, record) if record.outcome == "failed" else record

    def publish(self) -> Iterator[Record]:
        """Commit what was written when it is time, or nothing else is to be done; yields how its tasks ended."""
        if self._publisher.seconds_left != 0.0 and (self._running or self._waiting):
            return
        for number, record in self._publisher.publish():
            if record.error_class == "ConflictError" and self._conflicts[number] < ATTEMPTS - 1:
                self._conflicts[number] += 1
                self._waiting.append(number)
            else:
                yield self._failed(number, record) if record.outcome == "failed" else record

    def _failed(self, number: int, record: Record) -> Record:
        self._publisher.fail(self._jobs[number], record)
        return record

    def _submit(self, number: int) -> Iterator[Record]:
        job = self._jobs[number]
        self._tell(Event(name="task_submitted", stage=job.stage, tile=job.task.tile, total=len(self._jobs)))
        try:
            self._executor.submit(number, job)
        except SkymereError as error:
            yield self._failed(number, failed_record(job, error))
        else:
            self._running[number] = job.task.cost

    def _after_death(self, number: int) -> Iterator[Record]:
        self._deaths[number] += 1
        n_deaths, most = self._deaths[number], self._budget.retries
        record = _died(self._jobs[number], n_deaths)
        what = "" if n_deaths > most else "; the task is tried again"
        self._tell(
            Event(
                name="worker_died", stage=record.stage, tile=record.tile, message=record.message + what, log=record.log
            )
        )
        if n_deaths > most:
            yield self._failed(number, record)
        elif n_deaths >= min(2, most):
            self._alone.append(number)
        else:
            self._waiting.appendleft(number)

    def _can_ever_fit(self, number: int) -> bool:
        cost, memory = self._jobs[number].task.cost, self._budget.memory
        return not memory or self._budget.needed(cost, n_workers=int(self._has_workers)) <= memory

    def _fits(self, number: int) -> bool:
        if not self._budget.memory:
            return True
        n_workers = max(self._executor.started, len(self._running) + 1) if self._has_workers else 0
        costs = sum(self._running.values()) + self._jobs[number].task.cost
        return self._budget.needed(costs, n_workers=n_workers) <= self._budget.memory


def _died(job: Job, times: int) -> Record:
    text = "once" if times == 1 else f"{times} times"
    msg = f"the process that did it was killed {text}, maybe for lack of memory"
    record = failed_record(job, WorkerDied(msg))
    if job.logs is None:
        return record
    path = log_path(job.logs, job.stage, job.task.tile)
    append_to_log(path, msg)
    return replace(record, log=str(path)) if path.exists() else record


def _too_large(job: Job, budget: Budget, *, has_workers: bool) -> Record:
    held = budget.needed(0, n_workers=int(has_workers))
    left = budget.memory - held
    advice = "allow more"
    if left > 0 and job.task.tile in job.lake.tiles and job.stage not in BOUNDED:
        # Most of what such a task needs goes with the area of its tile.
        width = int(max(job.lake.tiles[job.task.tile].grid.shape) * (left / job.task.cost) ** 0.5)
        advice = f"use smaller tiles (tile.width_pix <= {width}), or allow more"
    msg = (
        f"tile {job.task.tile} of stage {job.stage} needs about {in_words(job.task.cost)} beside the "
        f"{in_words(held)} of the processes, --memory allows {in_words(budget.memory)}: {advice}"
    )
    return failed_record(job, InvalidInputError(msg))
