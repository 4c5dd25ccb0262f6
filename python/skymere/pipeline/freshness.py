"""Which tasks are done already, asked of the lake once for a whole stage: opening a run costs more than small tasks."""

from collections.abc import Sequence

import polars as pl

from skymere import __version__
from skymere.lake import Lake, run_id
from skymere.pipeline.task import Task

__all__ = ["done_before"]


def done_before(stage: str, product: str, tasks: Sequence[Task], lake: Lake) -> list[bool]:
    """Return for each task whether the lake shows its very run, with the row of the run.

    Parameters
    ----------
    stage, product : str
        What is done, and what comes of it.
    tasks : sequence of Task
        The tasks.
    lake : Lake
        The lake.

    Notes
    -----
    The row of a run is committed last. One that is missing after a crash is committed when the run is opened again,
    so such a task is not done.
    """
    live = lake.live_runs(product)
    wanted = [
        run_id(stage=stage, tile=task.tile, inputs=task.inputs, params=task.params, code_version=__version__)
        for task in tasks
    ]
    shown = {run for task, run in zip(tasks, wanted, strict=True) if live.get(task.tile) == run}
    if not shown:
        return [False] * len(tasks)
    rows = lake.table("run").filter(pl.col("stage") == stage, pl.col("product") == product)
    recorded = set(rows.select("tile", "run_id").unique().collect().iter_rows())
    return [run in shown and (task.tile, run) in recorded for task, run in zip(tasks, wanted, strict=True)]
