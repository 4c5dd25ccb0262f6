"""Tiles whose work is a row, and tiles that fail, take long or kill their process; workers import this module."""

import os
import signal
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np

from skymere.errors import NoDataError
from skymere.lake import Lake, NamedTile, Run
from skymere.pipeline.task import Stage, Task
from skymere.wcs import Grid


def new_lake(folder: Path) -> Lake:
    """A lake for products that belong to no tile of the sky."""
    return Lake.create(folder, tiles=[NamedTile("field", Grid.tangent(150.0, 2.0, scale_arcsec=0.1, shape=(8, 8)))])


def publish(run: Run) -> None:
    run.publish(run.frame([{"exposure_id": run.tile, "status": "ok", "message": "", "band": "f160w"}]))


def work(run: Run) -> None:
    publish(run)


def fail(run: Run) -> None:
    with warnings.catch_warnings():
        # In tests warnings are errors, and workers know nothing of that.
        warnings.simplefilter("always")
        warnings.warn("the sky is falling", stacklevel=1)
    msg = f"{run.tile}: nothing is left"
    raise NoDataError(msg)


def die(folder: Path, times: int, run: Run) -> None:
    """Kill the own process, as a kernel without memory does, in the first so many attempts."""
    (folder / f"{run.tile}.{time.monotonic_ns()}").touch()
    if len(list(folder.glob(f"{run.tile}.*"))) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    publish(run)


def write_pid(folder: Path, seconds: float, run: Run) -> None:
    """Tell which process is at work, and take some time."""
    (folder / run.tile).write_text(str(os.getpid()))
    time.sleep(seconds)
    publish(run)


def environment(folder: Path, run: Run) -> None:
    """Write down what the libraries of this process were told."""
    from skymere import get_num_threads

    names = ("RAYON_NUM_THREADS", "POLARS_MAX_THREADS", "BLOSC_NTHREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    (folder / run.tile).write_text(" ".join([*(os.environ[name] for name in names), str(get_num_threads())]))
    publish(run)


def multiply(folder: Path, run: Run) -> None:
    """Write down a sum of products whose last bits tell how many threads BLAS has."""
    rng = np.random.default_rng(3)
    matrix, vector = rng.normal(size=(20000, 60)), rng.normal(size=20000)
    np.save(folder / f"{run.tile}.npy", matrix.T @ vector)
    publish(run)


def stage_of(works, *, costs=None) -> Stage:
    """A stage with one task for each of ``{tile: work}``."""

    def tasks(plan, lake):
        costs_of = costs or {}
        return [
            Task(tile=tile, inputs=[], params={}, work=one, cost=costs_of.get(tile, 0)) for tile, one in works.items()
        ]

    return Stage(name="trivial", reads=(), writes=("mask",), tasks=tasks)


def many(n: int, folder: Path | None = None, seconds: float = 0.0) -> Stage:
    """A stage of so many tiles."""
    one = work if folder is None else partial(write_pid, folder, seconds)
    return stage_of({f"t{i:03d}": one for i in range(n)})
