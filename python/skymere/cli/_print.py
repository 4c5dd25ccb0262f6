"""Tables."""

from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from skymere.pipeline import RunReport

__all__ = ["console", "print_frame", "print_run"]

console = Console()


def print_frame(frame: pl.DataFrame, title: str = "") -> None:
    """Print a data frame as a table."""
    table = Table(title=escape(title) or None, title_justify="left")
    for name, dtype in frame.schema.items():
        table.add_column(escape(name), justify="right" if dtype.is_numeric() else "left", overflow="fold")
    for row in frame.iter_rows():
        table.add_row(*[escape(_text(value)) for value in row])
    console.print(table)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def print_run(report: RunReport) -> None:
    """Print what each stage did, what could not be used, and where the pictures are."""
    rows = [
        {"stage": s.name, "done": s.n_done, "already": s.n_already, "failed": s.n_failed, "held": s.n_held}
        | {"seconds": s.seconds}
        for s in report.stages
    ]
    print_frame(pl.DataFrame(rows), "Stages")
    if not report.problems.is_empty():
        print_frame(report.problems, "Not used")
    for path in report.pictures:
        console.print(f"  {path}", soft_wrap=True)
