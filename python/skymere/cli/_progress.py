"""What a run shows while it is under way: bars for people, JSON lines for programs."""

import json
import sys
from types import TracebackType
from typing import Any, Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from skymere.cli._print import console
from skymere.pipeline import Event, tree_memory

__all__ = ["JsonLines", "StageProgress"]

_ENDED = ("task_done", "task_already", "task_held", "task_failed")


class _Rate(ProgressColumn):
    """Tasks per second; of slow ones, seconds per task."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


class _Memory(ProgressColumn):
    """Memory of this process and of all that it has started."""

    max_refresh = 1.0

    def render(self, task: Task) -> Text:
        return Text("" if task.finished else f"{tree_memory() / 2**30:.1f} GiB")


class StageProgress:
    """A progress bar for each stage; its instances observe the events of a run.

    Attributes
    ----------
    has_begun : bool
        Whether any stage has begun.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self._progress = Progress(
            TextColumn("{task.description:>10}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            _Rate(),
            _Memory(),
            TextColumn("[red]{task.fields[failed]}[/red]"),
            TextColumn("{task.fields[tile]}"),
            console=console,
        )
        self._task: Any = None
        self._n_failed = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if event.name == "stage_started":
            self.has_begun = True
            self._n_failed = 0
            self._task = self._progress.add_task(event.stage, total=max(event.total, 1), tile="", failed="")
        elif event.name in ("task_submitted", "task_started") and self._task is not None:
            self._progress.update(self._task, tile=event.tile)
        elif event.name in _ENDED and self._task is not None:
            self._n_failed += event.name == "task_failed"
            failed = f"{self._n_failed} failed" if self._n_failed else ""
            self._progress.update(self._task, completed=event.done, failed=failed)
        elif event.name == "stage_done":
            self._progress.update(self._task, completed=max(event.total, 1), tile="")
        if event.name in ("task_failed", "task_held", "worker_died", "stage_skipped", "log_failed", "ledger_failed"):
            self._progress.console.print(_told(event), soft_wrap=True, markup=False)


def _told(event: Event) -> str:
    where = " ".join(part for part in (event.stage, event.tile) if part)
    what = f"{event.error_class}: {event.message}" if event.error_class else event.message
    pointer = f" (log: {event.log})" if event.log else ""
    return f"{event.name.replace('_', ' ')}: {where}: {what}{pointer}"


class JsonLines:
    """Every event as a line of JSON on standard output.

    Attributes
    ----------
    has_begun : bool
        Whether any stage has begun.
    """

    def __init__(self) -> None:
        self.has_begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.stdout.flush()

    def __call__(self, event: Event) -> None:
        """Print an event; ``memory_sum`` is that of all processes [bytes]."""
        self.has_begun |= event.name == "stage_started"
        line = event.as_json()
        if event.name in _ENDED or event.name == "stage_done":
            line["memory_sum"] = tree_memory()
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
