"""Lake target D1: many small tiles, a worker killed among them, each published once."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import trivial_tiles as tt

from skymere.pipeline import Event, Plan, RunPlan
from skymere.pipeline.plan import SurveyPlan
from skymere.pipeline.runner import run_stage

N_TILES = 200


def kill_one(pids: Path, killed: list[int]) -> None:
    """Kill a process that is at work, once a quarter of the tiles has begun."""
    deadline = time.monotonic() + 500.0
    while time.monotonic() < deadline:
        there = sorted(pids.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        texts = [path.read_text() for path in there[-1:]]
        if len(there) >= N_TILES // 4 and texts[0]:
            killed.append(int(texts[0]))
            os.kill(killed[0], signal.SIGKILL)
            return
        time.sleep(0.001)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_two_hundred_tiles_are_published_once_each_though_a_worker_is_killed(tmp_path: Path, executor: str) -> None:
    (tmp_path / "pids").mkdir()
    lake = tt.new_lake(tmp_path / "lake")
    plan = Plan(survey=SurveyPlan(exposures=()), folder=tmp_path, run=RunPlan(executor=executor, n_workers=2))
    events: list[Event] = []
    killed: list[int] = []
    killer = threading.Thread(target=kill_one, args=(tmp_path / "pids", killed))
    killer.start()
    report = run_stage(tt.many(N_TILES, tmp_path / "pids", 0.05), plan, lake, observer=events.append)
    killer.join()
    assert killed
    assert [event.name for event in events].count("worker_died") == 1
    assert (report.n_done + report.n_already, report.n_failed) == (N_TILES, 0)
    tiles = sorted(f"t{i:03d}" for i in range(N_TILES))
    assert lake.table("mask").collect()["exposure_id"].sort().to_list() == tiles
    assert lake.table("run").collect()["tile"].sort().to_list() == tiles
    published = [entry for entry in lake.history("mask") if entry["run"]]
    assert len(published) == N_TILES
    print(f"{executor}: {report.seconds:.1f} s for {N_TILES} tiles of 50 ms on 2 workers, one killed")
