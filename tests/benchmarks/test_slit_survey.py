"""Many simulated sources from exposures to spectra: throughput, scaling with workers, memory.

``SKYMERE_BENCH_N_SOURCES`` is their number, 1,000 when not given. The figures for two workers mean something on two idle
cores alone.
"""

import cProfile
import os
import platform
import pstats
import time
from pathlib import Path

import numpy as np
import pytest
from tests.benchmarks.slit_sources import WORDS, simulate

from skymere import get_num_threads, set_num_threads
from skymere.slit import extract_sources, extract_spectra

N_SOURCES = int(os.environ.get("SKYMERE_BENCH_N_SOURCES", "1000"))
N_WARM = 20


def resident_mb() -> float:
    """Memory of this process [MB]."""
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def run(n_workers: int) -> tuple[float, list[float], float]:
    """Return sources per second after the first ones, memory on the way, and the sum of all fluxes."""
    sources = ((f"s{seed}", seed) for seed in range(N_SOURCES + N_WARM))
    begin, memory, total = 0.0, [], 0.0
    marks = {N_WARM + N_SOURCES // part for part in (10, 2, 1)}
    for n, found in enumerate(extract_sources(sources, read=simulate, n_workers=n_workers, **WORDS), start=1):
        assert found.status["status"].to_list() == ["ok"], found.status
        total += float(np.nansum(found.spectra["prism-clear"].flux))
        if n == N_WARM:
            begin = time.perf_counter()
        if n in marks:
            memory.append(resident_mb())
    return N_SOURCES / (time.perf_counter() - begin), memory, total


@pytest.mark.benchmark
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_sources_per_second_and_memory() -> None:
    before = get_num_threads()
    set_num_threads(1)
    print(f"\n{platform.machine()}, Python {platform.python_version()}, {N_SOURCES} sources of three exposures")
    rates, totals = {}, []
    for n_workers in (1, 2):
        rates[n_workers], memory, total = run(n_workers)
        totals.append(total)
        words = ", ".join(f"{one:.0f}" for one in memory)
        print(f"{n_workers} workers: {rates[n_workers]:.2f} sources / s, {words} MB after a tenth, a half, all of them")
        # An array that was kept for each source would be 4 MB each.
        assert memory[-1] - memory[0] < 0.05 * N_SOURCES + 20
    set_num_threads(before)
    assert totals[0] == totals[1]
    print(f"efficiency of two workers {rates[2] / (2 * rates[1]):.2f}")


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
