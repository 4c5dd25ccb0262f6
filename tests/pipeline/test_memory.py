"""Memory of a run: what is predicted is not exceeded, and a budget holds for a tile that is far larger."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from large_tile import LargeTile

from skymere.lake import Lake
from skymere.pipeline import Plan, RunPlan, read_plan
from skymere.pipeline.block_sides import WORKER_BASELINE, block_side, is_in_blocks, task_share
from skymere.pipeline.memory import predicted_cost
from skymere.pipeline.plan import SurveyPlan
from skymere.pipeline.process_memory import tree_memory
from skymere.pipeline.stages import STAGES

MIB = 2**20
PLAN = """
[survey]
exposures = ["exposures/*_flt.fits"]

[tile]
name = "field"
scale_arcsec = {scale}

[background]
method = "localmin"

[psf]
source = "moffat"
fwhm_arcsec = 0.2
size_pix = 41

[run]
executor = "processes"
n_workers = 2
memory = "{memory}"

[release]
name = "DR1"
"""
needs_proc = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from /proc")


def run_and_watch(folder: Path, *, seconds: float) -> tuple[int, str]:
    """Run the plan of a folder in a process of its own; returns the largest sum over its process tree, and output."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    log = folder / "output.txt"
    with log.open("w") as output:
        command = [sys.executable, "-m", "skymere", "run", str(folder / "plan.toml"), "--json"]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env)
        largest, deadline = 0, time.monotonic() + seconds
        try:
            while process.poll() is None and time.monotonic() < deadline:
                largest = max(largest, tree_memory(process.pid))
                time.sleep(0.2)
        finally:
            process.kill()
            process.wait()
    return largest, log.read_text()


@needs_proc
def test_no_task_needs_more_than_was_predicted(tmp_path: Path) -> None:
    """On a tile of several windows, in blocks, with one worker that does the tasks one after the other."""
    LargeTile(1500, detector_pix=420, n_dithers=2, step_arcsec=4.0).write(tmp_path)
    text = PLAN.format(scale=0.03, memory="100GiB").replace("n_workers = 2", "n_workers = 1")
    (tmp_path / "plan.toml").write_text(text.replace("[tile]", "block_pix = 512\n\n[tile]", 1))
    _, output = run_and_watch(tmp_path, seconds=900.0)
    plan, lake = read_plan(tmp_path / "plan.toml"), Lake.open(tmp_path / "lake")
    ny, nx = lake.tiles["field"].grid.shape
    assert is_in_blocks((ny, nx), plan.survey.block_pix)
    assert max(ny / 1024, nx / 2048) > 1
    rows = lake.table("run").collect()
    peaks = dict(rows.group_by("stage").agg(pl.col("peak_memory").max()).iter_rows())
    done = [stage for stage in STAGES if stage.name in peaks]
    assert {"ingest", "background", "outliers", "mosaic", "psf", "detect", "measure", "cutouts"} <= set(peaks), output
    for stage in done:
        cost = max(map(predicted_cost(stage.name, plan, lake), stage.tasks(plan, lake)))
        print(f"{stage.name}: {peaks[stage.name] - WORKER_BASELINE / MIB:.0f} of {cost / MIB:.0f} MiB")
        assert peaks[stage.name] * MIB < WORKER_BASELINE + cost, stage.name


def test_a_budget_makes_blocks_smaller_until_a_task_fits(tmp_path: Path) -> None:
    plan = Plan(survey=SurveyPlan(exposures=()), folder=tmp_path)
    shape = (16384, 16384)
    assert block_side("detect", plan, shape, 4) == plan.survey.block_pix
    sides = []
    for memory, executor, n_workers in (("64GiB", "serial", 0), ("4GiB", "processes", 2), ("1GiB", "processes", 2)):
        run = RunPlan(executor=executor, n_workers=n_workers, memory=memory)
        sides.append(block_side("detect", replace(plan, run=run), shape, 4))
        assert task_share(replace(plan, run=run)) > 2**28
    assert sides[0] > sides[1] > sides[2] >= 512
    few = replace(plan, run=RunPlan(executor="processes", n_workers=2, memory="1GiB"))
    many = replace(plan, run=RunPlan(executor="processes", n_workers=64, memory="1GiB"))
    assert task_share(many) == task_share(few)


@pytest.mark.validate
@pytest.mark.timeout(0)
@needs_proc
def test_a_mosaic_of_four_times_the_budget_is_made_within_it(tmp_path: Path) -> None:
    """Background, cosmic rays, mosaic, PSF, detection, measurement and cutouts of one tile in 1 GiB."""
    tile = LargeTile(15700)
    n = tile.write(tmp_path)
    (tmp_path / "plan.toml").write_text(PLAN.format(scale=tile.scale_arcsec, memory="1GiB"))
    began = time.monotonic()
    largest, output = run_and_watch(tmp_path, seconds=6 * 3600.0)
    lake = Lake.open(tmp_path / "lake")
    ny, nx = lake.tiles["field"].grid.shape
    arrays = lake.arrays("mosaic", "field")
    n_bytes = sum(
        array.dtype.itemsize * ny * nx
        for path, array in arrays.items()
        if path.split("/")[1] in ("sci", "wht", "var", "ctx")
    )
    print(
        f"{n} exposures, {ny} x {nx} pixels, planes of {n_bytes / 2**30:.2f} GiB: at most {largest / MIB:.0f} MiB, "
        f"{time.monotonic() - began:.0f} s"
    )
    assert (tmp_path / "lake" / "releases" / "DR1.json").exists(), output
    assert n_bytes >= 4 * 2**30
    sources = lake.table("source").collect()
    assert sources.height > 0.8 * (tile.side_arcsec / tile.step_arcsec) ** 2, output
    assert lake.table("cutout").collect().height == sources.height
    assert largest < 2**30
