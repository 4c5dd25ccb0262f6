"""What a task costs beside its work: serial, in two processes, on dask with two workers (lake target D1)."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))
import trivial_tiles as tt

from skymere.pipeline import Event, Plan, RunPlan
from skymere.pipeline.plan import SurveyPlan
from skymere.pipeline.runner import run_stage

N_TILES = 200


def measure(folder: Path, executor: str) -> dict[str, float]:
    """Milliseconds a tile: from the first end to the last, and of that outside of the tasks themselves."""
    folder.mkdir()
    n_workers = 0 if executor == "serial" else 2
    plan = Plan(survey=SurveyPlan(exposures=()), folder=folder, run=RunPlan(executor=executor, n_workers=n_workers))
    ends: list[tuple[float, Event]] = []

    def hear(event: Event) -> None:
        if event.name == "task_done":
            ends.append((event.as_json()["time"], event))

    run_stage(tt.many(N_TILES), plan, tt.new_lake(folder / "lake"), observer=hear)
    assert len(ends) == N_TILES
    # Workers begin while the first tasks wait, which is no cost of a task.
    skip = 2 * max(1, n_workers)
    span = ends[-1][0] - ends[skip - 1][0]
    work = sum(event.seconds for _, event in ends[skip:]) / max(1, n_workers)
    n = N_TILES - skip
    return {"ms_a_tile": 1e3 * span / n, "ms_beside": 1e3 * max(0.0, span - work) / n}


@pytest.mark.benchmark
def test_a_task_costs_little_beside_its_work(tmp_path: Path) -> None:
    found = {name: measure(tmp_path / name, name) for name in ("serial", "processes", "dask")}
    print(f"\n{N_TILES} tiles of one row on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, times in found.items():
        print(f"{name:10} {times['ms_a_tile']:7.1f} ms a tile, {times['ms_beside']:6.1f} ms of it beside the task")
    assert found["serial"]["ms_beside"] < 10.0
