"""A survey from files to catalogues, cutouts and profiles on tiles: pixels and sources a second, in 1 and 2 processes."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from skymere import get_num_threads, set_num_threads
from skymere.lake import Lake
from skymere.pipeline import RunPlan, read_plan, run_plan
from skymere.testing import CameraParams, SceneParams, SurveyParams, simulate_survey

SURVEY = SurveyParams(
    bands=("f125w", "f160w"),
    n_dithers=4,
    scene=SceneParams(n_galaxies=260, n_stars=40, radius_arcsec=38.0, bright_mag=20.0, faint_mag=26.0),
    camera=CameraParams(shape=(560, 560), n_cosmic_rays=150, n_bad_pixels=900, n_dead_pixels=40),
)
PLAN = """\
[survey]
exposures = ["exposures/*_flt.fits"]

[tile]
kind = "healpix"
scale_arcsec = 0.08
width_pix = 640

[psf]
source = "moffat"
fwhm_arcsec = 0.17
size_pix = 41

[profiles]
band = "f160w"
"""
REPEAT = 3


def seconds_of(folder: Path, n_workers: int) -> float:
    """Run all of a survey anew, with a thread for each process [s]."""
    shutil.rmtree(folder / "lake", ignore_errors=True)
    # Workers share the threads that this process may use.
    set_num_threads(n_workers)
    plan = replace(read_plan(folder / "plan.toml"), run=RunPlan(executor="processes", n_workers=n_workers))
    start = time.perf_counter()
    report = run_plan(plan)
    assert not report.failures
    return time.perf_counter() - start


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = get_num_threads()
    yield
    set_num_threads(before)


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
def test_a_survey_from_exposures_to_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate_survey(tmp_path, params=SURVEY)
    (tmp_path / "plan.toml").write_text(PLAN)
    monkeypatch.setattr("skymere.pipeline.runner.draw_pictures", lambda *_, **__: [])
    best: dict[int, float] = {}
    hashes = set()
    for _ in range(REPEAT):
        for n_workers in (1, 2):
            best[n_workers] = min(best.get(n_workers, float("inf")), seconds_of(tmp_path, n_workers))
            hashes.add(Lake.open(tmp_path / "lake").content_hash())
    assert len(hashes) == 1
    lake = Lake.open(tmp_path / "lake")
    n_pixels = lake.table("exposure").select((pl.col("ny").cast(pl.Int64) * pl.col("nx")).sum()).collect().item()
    n_sources = lake.table("source").select(pl.len()).collect().item()
    print(
        f"\n{n_pixels / 1e6:.2f} million pixels of exposures, {n_sources} sources, {len(lake.live_runs('source'))} tiles"
    )
    print(f"best of {REPEAT} in turns, {os.cpu_count()} cores, a thread for each process")
    for n_workers, seconds in best.items():
        print(
            f"{n_workers} process{'es' * (n_workers > 1)}: {seconds:.1f} s,"
            f" {n_pixels / seconds / 1e3:.0f} thousand pixels/s, {n_sources / seconds:.2f} sources/s"
        )
    print(f"scaling efficiency of 2 processes: {best[1] / (2 * best[2]):.2f}")
