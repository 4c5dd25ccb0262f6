"""Many simulated sources from exposures to spectra: throughput, scaling with workers, memory.

``SKYMERE_BENCH_N_SOURCES`` is their number, 1,000 when not given. Sources per second of two workers mean something on
two idle cores alone; CPU time for each source, and the part of it that is the parent's, do on any machine.
"""

import cProfile
import multiprocessing
import os
import platform
import pstats
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from tests.benchmarks.slit_sources import WORDS, simulate

from skymere import get_num_threads, set_num_threads
from skymere._workers import worker_pool
from skymere.slit import extract_sources, extract_spectra

N_SOURCES = int(os.environ.get("SKYMERE_BENCH_N_SOURCES", "1000"))
N_WARM = 20


def resident_mb(pid: int | str = "self") -> float:
    """Memory of a process [MB]."""
    with Path(f"/proc/{pid}/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_seconds(pid: int | str = "self") -> float:
    """CPU time of all threads of a process [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Run:
    """What some number of workers took for the sources after the first ones."""

    seconds: float = 0.0
    parent_cpu: float = 0.0
    workers_cpu: float = 0.0
    parent_mb: list[float] = field(default_factory=list)
    workers_mb: list[float] = field(default_factory=list)
    total: float = 0.0


def run(n_workers: int) -> Run:
    sources = ((f"s{seed}", seed) for seed in range(N_SOURCES + N_WARM))
    out = Run()

    def spent() -> tuple[float, float, float]:
        workers = sum(cpu_seconds(child.pid) for child in multiprocessing.active_children())
        return time.perf_counter(), cpu_seconds(), workers

    marks = {N_WARM + N_SOURCES // part for part in (10, 2, 1)}
    begin = end = spent()
    for n, found in enumerate(extract_sources(sources, read=simulate, n_workers=n_workers, **WORDS), start=1):
        assert found.status["status"].to_list() == ["ok"], found.status
        out.total += float(np.nansum(found.spectra["prism-clear"].flux))
        if n == N_WARM:
            begin = spent()
        if n in marks:
            out.parent_mb.append(resident_mb())
            out.workers_mb.append(sum(resident_mb(child.pid) for child in multiprocessing.active_children()))
            end = spent()
    out.seconds, out.parent_cpu, out.workers_cpu = (b - a for a, b in zip(begin, end, strict=True))
    return out


@pytest.mark.benchmark
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_sources_per_second_and_memory() -> None:
    print(f"\n{platform.machine()}, Python {platform.python_version()}, {N_SOURCES} sources of three exposures")
    runs = {}
    for n_workers in (1, 2):
        # In a process whose libraries have one thread each, as those of the workers.
        with worker_pool(1) as pool:
            runs[n_workers] = one = pool.submit(run, n_workers).result()
        cpu = one.parent_cpu + one.workers_cpu
        own, its = (", ".join(f"{mb:.0f}" for mb in memory) for memory in (one.parent_mb, one.workers_mb))
        print(
            f"{n_workers} workers: {N_SOURCES / one.seconds:.2f} sources / s, {1e3 * cpu / N_SOURCES:.1f} ms CPU each, "
            f"{cpu / one.seconds:.2f} cores; after a tenth, a half, all of them {own} MB here, {its} MB in the workers"
        )
        # An array that was kept for each source would be 4 MB each, a table of pixels 1 MB; allocators grow at first.
        for memory in (one.parent_mb, one.workers_mb):
            assert memory[-1] - memory[1] < 20
    alone, both = runs[1], runs[2]
    assert alone.total == both.total
    parent = both.parent_cpu / (both.parent_cpu + both.workers_cpu)
    print(
        f"efficiency of two workers {alone.seconds / (2 * both.seconds):.2f}, the parent's part of the CPU {parent:.0%}"
    )
    assert parent < 0.1


@pytest.mark.benchmark
def test_where_the_time_of_a_source_goes() -> None:
    before = get_num_threads()
    set_num_threads(1)
    slitlets = simulate(1)
    extract_spectra(slitlets, **WORDS)
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(10):
        extract_spectra(slitlets, **WORDS)
    profile.disable()
    set_num_threads(before)
    table = pstats.Stats(profile).stats
    whole = sum(row[2] for row in table.values())
    kernels = ("slit.", "outliers.")
    rust = sum(row[2] for key, row in table.items() if key[2].partition("method ")[2].startswith(kernels))
    start = time.perf_counter()
    for seed in range(10):
        simulate(seed)
    simulating = (time.perf_counter() - start) / 10
    print(
        f"\na source: {100 * whole:.0f} ms with the profiler, {rust / whole:.0%} of it in Rust without the interpreter"
    )
    print(f"simulating one: {1e3 * simulating:.0f} ms")
    assert rust > 0
