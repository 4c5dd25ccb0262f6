"""What a task costs beside its work: serial, in two processes, on dask with two workers (lake target D1)."""

import os
import sys
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))
import trivial_tiles as tt

from skymere.pipeline import Event, Plan, RunPlan
from skymere.pipeline.plan import SurveyPlan
from skymere.pipeline.runner import run_stage

N_TILES = 200


def measure(folder: Path, executor: str, *, n_deaths: int = 0) -> dict[str, float]:
    """Milliseconds a tile: from the first end to the last, and of that outside of the tasks themselves."""
    deaths = folder / "deaths"
    deaths.mkdir(parents=True)
    n_workers = 0 if executor == "serial" else 2
    plan = Plan(survey=SurveyPlan(exposures=()), folder=folder, run=RunPlan(executor=executor, n_workers=n_workers))
    ends: list[tuple[float, Event]] = []

    def hear(event: Event) -> None:
        if event.name == "task_done":
            ends.append((event.as_json()["time"], event))

    works = {f"t{i:03d}": tt.work for i in range(N_TILES)}
    if n_deaths:
        works["t100"] = partial(tt.die, deaths, n_deaths)
    lake = tt.new_lake(folder / "lake")
    report = run_stage(tt.stage_of(works), plan, lake, observer=hear)
    assert (report.n_done, report.n_failed, len(list(deaths.iterdir()))) == (N_TILES, 0, n_deaths + (n_deaths > 0))
    assert lake.table("mask").collect()["exposure_id"].sort().to_list() == sorted(works)
    assert lake.table("run").collect().height == N_TILES
    # Workers begin while the first tasks wait, which is no cost of a task. The first that ends is committed by itself.
    span = ends[-1][0] - ends[0][0]
    work = sum(event.seconds for _, event in ends[1:]) / max(1, n_workers)
    n = N_TILES - 1
    return {"ms_a_tile": 1e3 * span / n, "ms_beside": 1e3 * max(0.0, span - work) / n}


@pytest.mark.benchmark
def test_a_task_costs_little_beside_its_work(tmp_path: Path) -> None:
    found = {name: measure(tmp_path / name, name) for name in ("serial", "processes", "dask")}
    found["dask, one worker killed"] = measure(tmp_path / "killed", "dask", n_deaths=1)
    print(f"\n{N_TILES} tiles of one row on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("a tile: all of it is overhead, since the work is one row; beside: outside of what workers do")
    for name, times in found.items():
        print(f"{name:24} {times['ms_a_tile']:7.1f} ms a tile, {times['ms_beside']:6.1f} ms of it beside the task")
    assert found["serial"]["ms_beside"] < 10.0
