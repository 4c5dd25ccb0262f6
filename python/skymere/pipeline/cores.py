"""Who may use how many cores, so that all processes together have no more threads than the computer has cores."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

from skymere._rust import threads
from skymere._workers import n_cores

__all__ = ["one_blas_thread", "own_threads", "threads_each"]


def own_threads(asked: int) -> int:
    """Return how many threads of its own a task may start: what was asked for, and no more than its process may use.

    Parameters
    ----------
    asked : int
        0 = one for each core.
    """
    return min(asked or n_cores(), threads.get_num_threads())


def threads_each(n_workers: int) -> int:
    """Return how many threads each of several workers may use.

    Parameters
    ----------
    n_workers : int
        Workers that share the threads of this process.
    """
    return max(1, threads.get_num_threads() // max(1, n_workers))


@cache
def _libraries() -> ThreadpoolController:
    """Return what finds the libraries of this process, which takes a millisecond."""
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let BLAS use one thread, as it does in workers: with two, sums of products differ in their last bit."""
    with _libraries().limit(limits=1, user_api="blas"):
        yield
