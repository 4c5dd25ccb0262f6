"""Simulated slits end to end: memory does not follow the number of sources, and two processes share the work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from skymere.testing import SlitFilesParams, SlitSceneParams, simulate_slit_files, write_slit_pack

PARAMS = SlitFilesParams(scene=SlitSceneParams(shape=(25, 340)))
PROGRAM = """
import json, resource, sys, time
from skymere.pipeline import read_plan, run_plan

if __name__ == "__main__":
    start = time.monotonic()
    report = run_plan(read_plan(sys.argv[1]))
    seconds = {stage.name: stage.seconds for stage in report.stages}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak, "problems": report.problems.height}))
"""


def mask(folder: Path, n: int) -> None:
    sources = pl.DataFrame(
        {
            "name": [f"9998_{k}" for k in range(n)],
            "ra": [150.0 + 0.0005 * k for k in range(n)],
            "dec": [2.0] * n,
            "redshift": [1.0 + 5 * k / n for k in range(n)],
            "continuum": [0.2] * n,
            "line_flux": [2.0] * n,
        }
    )
    simulate_slit_files(sources, folder / "slits", seed=7, params=PARAMS)
    write_slit_pack(folder / "packs", params=PARAMS)
    (folder / "program.py").write_text(PROGRAM)


def run(folder: Path, name: str, slits: str) -> dict:
    plan = folder / f"{name}.toml"
    plan.write_text(
        f'[survey]\nexposures = []\nlake = "{name}"\n[tile]\nkind = "healpix"\n'
        f'[slits]\nfiles = ["slits"]\npack = "packs/nirspec-simulated"\n{slits}\n'
        '[redshifts]\npack = "packs/nirspec-simulated"\nz_range = [0.8, 6.5]\nparams.coarse_step = 0.01\n'
    )
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, str(folder / "program.py"), str(plan)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["problems"] == 0
    return told


@pytest.mark.benchmark
def test_memory_does_not_follow_the_number_of_sources(tmp_path):
    peaks = {}
    for n in (8, 48):
        mask(tmp_path / str(n), n)
        told = run(tmp_path / str(n), "lake", "batch = 4")
        peaks[n] = told["peak"]
        each = (told["seconds"]["slits"] + told["seconds"]["redshifts"]) / n
        print(f"{n} sources: peak {told['peak']:.0f} MiB, {each:.2f} s a source")
    # Six times the sources: what each leaves (a row) is kilobytes; allocators keep some of what was freed.
    assert peaks[48] < 1.1 * peaks[8]


@pytest.mark.benchmark
def test_two_processes_share_the_work(tmp_path):
    mask(tmp_path, 1000)
    one = run(tmp_path, "one", "n_workers = 1")["seconds"]["slits"]
    two = run(tmp_path, "two", "n_workers = 2")["seconds"]["slits"]
    print(f"1000 sources: {one:.0f} s with one process, {two:.0f} s with two, {one / two / 2:.0%} of twice as fast")
    assert one / two > 2 * 0.85
