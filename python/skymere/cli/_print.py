"""Tables and progress bars."""

from types import TracebackType
from typing import Any, Self

import polars as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from skymere.pipeline import Event, RunReport

__all__ = ["StageProgress", "console", "print_frame", "print_run"]

console = Console()


def print_frame(frame: pl.DataFrame, title: str = "") -> None:
    """Print a data frame as a table."""
    table = Table(title=title or None, title_justify="left")
    for name, dtype in frame.schema.items():
        table.add_column(name, justify="right" if dtype.is_numeric() else "left", overflow="fold")
    for row in frame.iter_rows():
        table.add_row(*[_text(value) for value in row])
    console.print(table)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def print_run(report: RunReport) -> None:
    """Print what each stage did, what could not be used, and where the pictures are."""
    rows = [{"stage": s.name, "done": s.n_done, "already": s.n_already, "seconds": s.seconds} for s in report.stages]
    print_frame(pl.DataFrame(rows), "Stages")
    if not report.problems.is_empty():
        print_frame(report.problems, "Not used")
    for path in report.pictures:
        console.print(f"  {path}", soft_wrap=True)


class StageProgress:
    """A progress bar for each stage; its instances observe the events of a run."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:>10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[tile]}"),
            console=console,
        )
        self._task: Any = None

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
            self._task = self._progress.add_task(event.stage, total=max(event.total, 1), tile="")
        elif event.name == "task_started":
            self._progress.update(self._task, tile=event.tile)
        elif event.name in ("task_done", "task_already"):
            self._progress.update(self._task, completed=event.done)
        elif event.name == "stage_done":
            self._progress.update(self._task, completed=max(event.total, 1), tile="")
