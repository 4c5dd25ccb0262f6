"""Pools of processes whose threads are told before they import anything, and work that they do in order."""

import copyreg
import io
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from types import MappingProxyType
from typing import Any

from skymere.errors import InternalError, InvalidInputError, StorageError

__all__ = ["Reducers", "dumps", "n_cores", "thread_environment", "work_in_order", "worker_pool"]

# What the libraries read when they are imported: afterwards it is too late.
_VARIABLES = (
    "BLOSC_NTHREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "SKYMERE_NUM_THREADS",
)
_lock = Lock()


def n_cores() -> int:
    """Return the cores that this process may use, which a batch system may have told it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_environment(n_threads: int) -> dict[str, str]:
    """Return the variables that tell all libraries of a new process how many threads they may use."""
    return dict.fromkeys(_VARIABLES, str(n_threads))


@contextmanager
def _environment(n_threads: int) -> Iterator[None]:
    with _lock:
        before = {name: os.environ.get(name) for name in _VARIABLES}
        os.environ.update(thread_environment(n_threads))
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


Reducers = Mapping[type, Callable[[Any], tuple[Any, ...]]]
"""How objects of a type are sent, as `copyreg.pickle` takes it."""


def work_in_order(
    work: Callable[[Any, Any], Any],
    items: Iterable[Any],
    *,
    shared: Any,
    n_workers: int,
    most: int,
    reducers: Reducers | None = None,
) -> Iterator[Any]:
    """Yield ``work(shared, item)`` for each item in their order, done in processes of one thread each.

    Parameters
    ----------
    work : callable
        A function of a module.
    items : iterable
        Taken one by one as results are taken.
    shared : object
        What all items share; it is sent to each process once.
    n_workers : int
        Number of processes.
    most : int
        Items that are worked on, or done and not taken, at a time.
    reducers : mapping of type to callable, optional
        For types that do not pickle, or not to the last bit.

    Yields
    ------
    object
        What `work` returned.

    Raises
    ------
    InvalidInputError
        When what is shared cannot be sent, such as a function that is not of a module.
    InternalError
        When a worker died.
    """
    ways = dict(reducers or {})
    with TemporaryDirectory(prefix="skymere-") as folder:
        try:
            told = dumps((work, shared, Path(folder), ways), ways)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            msg = f"n_workers: {n_workers} is not allowed, what is given cannot be sent to processes: {error}"
            raise InvalidInputError(msg) from error
        pool = worker_pool(n_workers, initializer=_begin, initargs=(told,))
        waiting: deque[Future[Path]] = deque()

        def first() -> Any:
            path = waiting.popleft().result()
            found = pickle.loads(path.read_bytes())  # noqa: S301  (what a worker wrote)
            path.unlink()
            return found

        try:
            for number, item in enumerate(items):
                waiting.append(pool.submit(_work, number, dumps(item, ways)))
                if len(waiting) >= most:
                    yield first()
            while waiting:
                yield first()
        except BrokenProcessPool as error:
            msg = f"a worker of {n_workers} died: {error}"
            raise InternalError(msg) from error
        finally:
            pool.shutdown(cancel_futures=True)


class _Pickler(pickle.Pickler):
    """Sends mappings that nobody may change, which products hold, and what `reducers` name."""

    def __init__(self, file: io.BytesIO, reducers: Reducers) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.dispatch_table = copyreg.dispatch_table | {MappingProxyType: _reduced_view} | dict(reducers)


def _reduced_view(view: Mapping[Any, Any]) -> tuple[Any, ...]:
    return _view, (dict(view),)


def _view(mapping: dict[Any, Any]) -> Mapping[Any, Any]:
    return MappingProxyType(mapping)


def dumps(value: object, reducers: Reducers) -> bytes:
    """Return an object as bytes that `pickle.loads` takes, in this process or another.

    Parameters
    ----------
    value : object
        Anything, also with mappings that nobody may change.
    reducers : mapping of type to callable
        For types that do not pickle, or not as wanted.
    """
    content = io.BytesIO()
    _Pickler(content, reducers).dump(value)
    return content.getvalue()


# In a worker: what it does, what all items share, and where it leaves results.
_told: tuple[Callable[[Any, Any], Any], Any, Path, Reducers] | None = None


def _begin(told: bytes) -> None:
    global _told  # noqa: PLW0603  (a worker has no other place to keep it)
    _told = pickle.loads(told)  # noqa: S301  (what this program wrote)


def _work(number: int, item: bytes) -> Path:
    assert _told is not None
    work, shared, folder, reducers = _told
    # A file is a copy in memory; a pipe would pass megabytes on in pieces of 64 kB.
    path = folder / str(number)
    found = dumps(work(shared, pickle.loads(item)), reducers)  # noqa: S301  (what this program wrote)
    try:
        path.write_bytes(found)
    except OSError as error:
        msg = f"{path}: cannot be written: {error.strerror}"
        raise StorageError(msg) from error
    return path
