"""Pools of processes whose threads are told before they import anything."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Lock
from typing import Any

__all__ = ["worker_pool"]

# What the libraries read when they are imported: afterwards it is too late.
_VARIABLES = (
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "SKYMERE_NUM_THREADS",
)
_lock = Lock()


@contextmanager
def _environment(n_threads: int) -> Iterator[None]:
    with _lock:
        before = {name: os.environ.get(name) for name in _VARIABLES}
        os.environ.update(dict.fromkeys(_VARIABLES, str(n_threads)))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def worker_pool(
    n_workers: int,
    *,
    n_threads: int = 1,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
) -> ProcessPoolExecutor:
    """Return a pool of new processes (``spawn``), in which every library uses no more threads than told.

    Parameters
    ----------
    n_workers : int
        Number of processes.
    n_threads : int
        Threads of each, for skymere, Polars and BLAS.
    initializer, initargs : callable, tuple
        As in `concurrent.futures.ProcessPoolExecutor`.

    Notes
    -----
    The number is handed over in the environment, which is changed only while a process is started.
    """

    class Process(SpawnProcess):
        def start(self) -> None:
            # The child is an ordinary process of the standard library, as this class is not known there.
            self.__class__ = SpawnProcess  # type: ignore[assignment]
            with _environment(n_threads):
                SpawnProcess.start(self)

    # Forked children would inherit locks of threads that do not exist there.
    context = SpawnContext()
    context.Process = Process  # type: ignore[misc]
    return ProcessPoolExecutor(n_workers, mp_context=context, initializer=initializer, initargs=initargs)
