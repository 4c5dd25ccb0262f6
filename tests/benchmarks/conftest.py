"""Timing of skymere and a peer in one run."""

import gc
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from skymere import get_num_threads, set_num_threads


@dataclass(frozen=True)
class Race:
    """Best times of both [s]; the ratio is the peer's over skymere's."""

    ours: float
    peer: float

    @property
    def ratio(self) -> float:
        return self.peer / self.ours


def best_of(calls: list[Callable[[], object]], clock: Callable[[], float], repeat: int) -> list[float]:
    """Best time of each call, interleaved so that all see the same machine."""
    for call in calls:
        call()
    best = [float("inf")] * len(calls)
    for _ in range(repeat):
        for k, call in enumerate(calls):
            gc.collect()
            start = clock()
            call()
            best[k] = min(best[k], clock() - start)
    return best


@pytest.fixture
def race():
    """Return ``race(name, ours, peer, repeat=7)``: CPU time with one thread, wall time with two."""
    before = get_num_threads()

    def run(name: str, ours: Callable[[], object], peer: Callable[[], object], *, repeat: int = 7) -> dict[int, Race]:
        found = {}
        for n_threads, clock in ((1, time.process_time), (2, time.perf_counter)):
            set_num_threads(n_threads)
            found[n_threads] = Race(*best_of([ours, peer], clock, repeat))
            print(
                f"{name}, {n_threads} thread{'s' * (n_threads > 1)}: {1e3 * found[n_threads].ours:.1f} ms, peer"
                f" {1e3 * found[n_threads].peer:.1f} ms, ratio {found[n_threads].ratio:.2f}"
            )
        return found

    print(f"\n{platform.machine()}, Python {platform.python_version()}")
    yield run
    set_num_threads(before)


@pytest.fixture(scope="session")
def spectra_folder(shared_data: Path) -> Path:
    """The folder of real beams and slitlets."""
    folder = shared_data / "spectra"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """All tests of a module with one thread."""
    before = get_num_threads()
    set_num_threads(1)
    yield
    set_num_threads(before)
