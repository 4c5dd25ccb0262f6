"""The one place that commits: what tasks have written becomes visible here, many tiles at once, and failures rows."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from skymere.errors import SkymereError
from skymere.lake import Failure, Lake
from skymere.pipeline.attempts import Job, Record
from skymere.pipeline.events import Event
from skymere.pipeline.task_logs import append_to_log

__all__ = ["Publisher"]

_SECONDS = 0.5
_TASKS = 64
# Of the time of this process, commits take no more than one part in so many.
_SHARE = 5


class Publisher:
    """Takes what tasks have written, and failures, and commits them in batches.

    Parameters
    ----------
    lake : Lake
        The lake.
    tell : callable
        Called with events.

    Notes
    -----
    Workers commit nothing, however many there are: a log has one writer then, and an entry of it costs the same for
    one tile as for many. What is written is committed at once when nothing was for half a second, else then, or when
    64 tasks wait.
    """

    def __init__(self, lake: Lake, tell: Callable[[Event], None]) -> None:
        self._lake, self._tell = lake, tell
        self._taken: list[tuple[int, Job, Record]] = []
        self._failures: list[Failure] = []
        self._next = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits for its commit."""
        return not self._taken

    @property
    def seconds_left(self) -> float | None:
        """Time until the next commit [s]; None when nothing waits for it."""
        if not self._taken:
            return None
        return 0.0 if len(self._taken) >= _TASKS else max(0.0, self._next - time.monotonic())

    def take(self, number: int, job: Job, record: Record) -> None:
        """Take what a task has written; `number` is what `publish` calls it."""
        self._taken.append((number, job, record))

    def fail(self, job: Job, record: Record) -> None:
        """Take a task that has failed for good; its row is written with the next commit."""
        self._failures.append(
            Failure(
                stage=job.stage,
                tile=job.task.tile,
                product=job.product,
                inputs=job.task.inputs,
                params=job.task.params,
                error_class=record.error_class,
                message=record.message,
                seconds=record.seconds or None,
                peak_memory=record.peak_memory / 2**20 or None,
            )
        )

    def publish(self) -> list[tuple[int, Record]]:
        """Commit everything that was taken; returns how each task ended, and never raises an error.

        A task whose products conflict with another run has failed with ConflictError: it can be done again.
        """
        began = time.monotonic()
        taken, self._taken = self._taken, []
        ended = self._committed(taken)
        failures, self._failures = self._failures, []
        self._record(failures)
        spent = time.monotonic() - began
        self._next = began + max(_SECONDS, _SHARE * spent)
        return [(number, record) for (number, _, _), record in zip(taken, ended, strict=True)]

    def _committed(self, taken: Sequence[tuple[int, Job, Record]], *, is_again: bool = False) -> list[Record]:
        if not taken:
            return []
        stage = taken[0][1].stage
        pendings = [one for _, _, record in taken for one in record.pendings]
        try:
            answers = iter(self._lake.commit(pendings, on_event=lambda step: self._tell(Event(name=step, stage=stage))))
        except Exception as error:
            if len(taken) == 1:
                return [_failed(taken[0][2], error)]
            # One of them may be the reason; what was committed before the error answers that it is there.
            return [record for one in taken for record in self._committed([one], is_again=True)]
        return [
            _answered(record, [next(answers) for _ in record.pendings], is_again=is_again) for _, _, record in taken
        ]

    def _record(self, failures: Sequence[Failure]) -> None:
        if not failures:
            return
        try:
            self._lake.record_failures(failures)
        except SkymereError as error:
            if len(failures) > 1:
                for one in failures:
                    self._record([one])
                return
            (one,) = failures
            what = f"the failure is not in the lake: {error}"
            kind = type(error).__name__
            self._tell(Event(name="ledger_failed", stage=one.stage, tile=one.tile, error_class=kind, message=what))


def _answered(record: Record, answers: Sequence[str | Exception], *, is_again: bool) -> Record:
    for answer in answers:
        if isinstance(answer, Exception):
            return _failed(record, answer)
    if "held" in answers:
        why = "; ".join(one.hold for one in record.pendings if one.hold)
        return replace(record, outcome="held", message=why, pendings=())
    is_there = not is_again and set(answers) == {"already"}
    return replace(record, outcome="already" if is_there else "done", pendings=())


def _failed(record: Record, error: Exception) -> Record:
    message = str(error) or type(error).__name__
    if record.log:
        append_to_log(Path(record.log), f"not committed: {type(error).__name__}: {message}")
    return replace(record, outcome="failed", error_class=type(error).__name__, message=message, pendings=())
