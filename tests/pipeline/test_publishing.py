"""One place commits: what gates hold, what conflicts or fails, what a crash leaves, and two runs at once."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
import trivial_tiles as tt

from skymere.cli import app
from skymere.errors import StorageError
from skymere.lake import Gate, Lake, Run
from skymere.pipeline import Event, Plan, RunPlan, run_status, unfinished
from skymere.pipeline.plan import SurveyPlan
from skymere.pipeline.runner import run_stage
from skymere.pipeline.task import Stage

RED = Gate(product="mask", hold="band = 'f160w'", reason="too red")


def plan_in(folder: Path, executor: str = "serial", gates: tuple[Gate, ...] = ()) -> Plan:
    n_workers = 0 if executor == "serial" else 1
    run = RunPlan(executor=executor, n_workers=n_workers)
    return Plan(survey=SurveyPlan(exposures=()), folder=folder, run=run, gates=gates)


class Trial:
    """A stage run in a folder, with its events; `on_event` may disturb it."""

    def __init__(self, folder: Path, stage: Stage, *, on_event=lambda _: None, **more) -> None:
        self.lake = Lake.open(folder / "lake") if (folder / "lake").exists() else tt.new_lake(folder / "lake")
        self.events: list[Event] = []

        def hear(event: Event) -> None:
            self.events.append(event)
            on_event(event)

        self.report = run_stage(stage, plan_in(folder, **more), self.lake, observer=hear)

    def named(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]

    @property
    def published(self) -> list[str]:
        return self.lake.table("mask").collect()["exposure_id"].sort().to_list()

    @property
    def n_runs(self) -> int:
        return self.lake.table("run").collect().height


def test_tiles_that_wait_are_committed_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skymere.pipeline.publishing._SECONDS", 1e6)
    monkeypatch.setattr("skymere.pipeline.publishing._TASKS", 4)
    done = Trial(tmp_path, tt.many(7))
    # The first at once, four when so many wait, and the last two since nothing else is to be done.
    assert len(done.named("committed")) == len(done.named("recorded")) == 3
    order = [event.name for event in done.events if event.name in ("rows_written", "committed", "task_done")]
    some, all_of_it = ["rows_written"] * 4, ["committed", *["task_done"] * 4]
    last = ["rows_written"] * 2 + ["committed"] + ["task_done"] * 2
    assert order == ["rows_written", "committed", "task_done", *some, *all_of_it, *last]
    assert done.report.n_done == done.n_runs == 7
    assert done.lake.fsck(hashes=True) == []


def test_what_a_gate_holds_waits_for_somebody_who_accepts_it(tmp_path: Path) -> None:
    stage = tt.many(2)
    held = Trial(tmp_path, stage, gates=(RED,))
    assert (held.report.n_done, held.report.n_held, held.published) == (0, 2, [])
    (first, _) = held.named("task_held")
    assert (first.tile, first.message.startswith("too red: band = 'f160w': 1 of 1 rows")) == ("t000", True)
    again = Trial(tmp_path, stage, gates=(RED,))
    assert (again.report.n_held, again.named("task_started")) == (2, [])
    assert again.named("task_held")[0].message == first.message
    rows = unfinished(again.lake, status="held")
    assert rows["tile"].to_list() == ["t000", "t001"]
    (summary,) = run_status(again.lake).iter_rows(named=True)
    assert (summary["published"], summary["held"]) == (0, 2)

    run = rows["run_id"][0]
    accepted = CliRunner().invoke(app, ["run", str(tmp_path / "lake"), "--accept", run[:10], "--json"])
    assert accepted.exit_code == 0, accepted.output
    told = json.loads(accepted.stdout)
    assert (told["name"], told["tile"], told["run_id"]) == ("accepted", "t000", run)
    after = Trial(tmp_path, stage, gates=(RED,))
    assert (after.report.n_already, after.report.n_held, after.published) == (1, 1, ["t000"])
    (summary,) = run_status(after.lake).iter_rows(named=True)
    assert (summary["published"], summary["held"], summary["rows"]) == (1, 1, 1)
    wrong = CliRunner().invoke(app, ["run", str(tmp_path / "lake"), "--accept", run])
    assert wrong.exit_code == 1
    assert "there must be one task that is held" in wrong.stderr


def test_another_gate_asks_again_and_publishes_what_it_does_not_hold(tmp_path: Path) -> None:
    Trial(tmp_path, tt.many(1), gates=(RED,))
    other = replace(RED, hold="band = 'f606w'")
    assert Trial(tmp_path, tt.many(1), gates=(other,)).report.n_done == 1
    assert Lake.open(tmp_path / "lake").held().is_empty()


def test_a_failure_that_has_succeeded_since_is_history(tmp_path: Path) -> None:
    failed = Trial(tmp_path, tt.stage_of({"a": tt.fail, "b": tt.work}))
    (row,) = failed.lake.failures().iter_rows(named=True)
    assert (row["tile"], row["error_class"], row["message"]) == ("a", "NoDataError", "a: nothing is left")
    assert row["seconds"] > 0.0
    assert row["peak_memory"] > 1.0
    assert unfinished(failed.lake, status="failed")["tile"].to_list() == ["a"]
    mended = Trial(tmp_path, tt.stage_of({"a": tt.work, "b": tt.work}))
    assert unfinished(mended.lake).is_empty()
    (summary,) = run_status(mended.lake).iter_rows(named=True)
    assert (summary["published"], summary["failed"]) == (2, 0)
    kept = mended.lake.table("run_item").filter(pl.col("status") == "failed").collect()
    assert kept["message"].to_list() == ["a: nothing is left"]


def test_a_process_that_died_is_a_failure_in_the_lake(tmp_path: Path) -> None:
    (tmp_path / "deaths").mkdir()
    stage = tt.stage_of({"a": partial(tt.die, tmp_path / "deaths", 99)})
    plan = replace(plan_in(tmp_path), run=RunPlan(executor="processes", n_workers=1, retries=0))
    lake = tt.new_lake(tmp_path / "lake")
    run_stage(stage, plan, lake)
    (row,) = lake.failures().iter_rows(named=True)
    assert (row["tile"], row["error_class"]) == ("a", "WorkerDied")
    assert "was killed once" in row["message"]


def test_a_tile_that_somebody_else_published_meanwhile_is_done_again(tmp_path: Path) -> None:
    lake = tt.new_lake(tmp_path / "lake")
    others = iter([1])

    def publish_another(event: Event) -> None:
        if (event.name, event.tile) == ("rows_written", "a") and next(others, None):
            with lake.run(stage="other", tile="a", product="mask", inputs=["x"], params={}) as run:
                tt.publish(run)

    done = Trial(tmp_path, tt.stage_of({"a": tt.work, "b": tt.work}), on_event=publish_another)
    assert (done.report.n_done, done.report.n_failed) == (2, 0)
    assert [event.tile for event in done.named("task_started")].count("a") == 2
    live = done.lake.table("run").filter(pl.col("run_id") == done.lake.live_run("mask", "a")).collect()
    assert live["stage"].to_list() == ["trivial"]


def test_a_tile_that_conflicts_again_and_again_has_failed(tmp_path: Path) -> None:
    lake = tt.new_lake(tmp_path / "lake")
    others = iter(range(99))

    def publish_another(event: Event) -> None:
        if (event.name, event.tile, event.stage) == ("rows_written", "a", "trivial"):
            with lake.run(stage="other", tile="a", product="mask", inputs=[next(others)], params={}) as run:
                tt.publish(run)

    done = Trial(tmp_path, tt.stage_of({"a": tt.work, "b": tt.work}), on_event=publish_another)
    assert (done.report.n_done, done.report.n_failed) == (1, 1)
    (failed,) = done.named("task_failed")
    assert (failed.tile, failed.error_class) == ("a", "ConflictError")
    assert "not committed: ConflictError" in Path(failed.log).read_text()
    assert next(others) == 3


def test_a_commit_that_fails_is_the_failure_of_its_tile_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Lake.commit

    def full(self, pendings, **more):
        answers = whole(self, [one for one in pendings if one.tile != "b"], **more)
        if len(answers) < len(pendings):
            msg = "lake: the commit failed: No space left on device"
            raise StorageError(msg)
        return answers

    stage = tt.stage_of(dict.fromkeys("abc", tt.work))
    with monkeypatch.context() as patched:
        patched.setattr(Lake, "commit", full)
        # All in one batch after the first.
        patched.setattr("skymere.pipeline.publishing._SECONDS", 1e6)
        done = Trial(tmp_path, stage)
    assert (done.report.n_done, done.report.n_failed, done.published) == (2, 1, ["a", "c"])
    assert done.lake.failures()["tile"].to_list() == ["b"]
    mended = Trial(tmp_path, stage)
    assert (mended.report.n_done, mended.report.n_already, mended.n_runs) == (1, 2, 3)
    assert mended.lake.failures().is_empty()


def test_what_was_done_is_committed_when_a_run_stops_at_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skymere.pipeline.publishing._SECONDS", 1e6)
    stage = tt.stage_of({"a": tt.work, "b": tt.work, "c": tt.fail, "d": tt.work})
    lake = tt.new_lake(tmp_path / "lake")
    plan = replace(plan_in(tmp_path), run=RunPlan(keep_going=False))
    with pytest.raises(Exception, match="nothing is left"):
        run_stage(stage, plan, lake)
    assert lake.table("mask").collect()["exposure_id"].sort().to_list() == ["a", "b"]
    assert lake.failures()["tile"].to_list() == ["c"]


RUNS = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import trivial_tiles as tt
from skymere.lake import Lake
from skymere.pipeline import Plan, RunPlan
from skymere.pipeline.plan import SurveyPlan
from skymere.pipeline.runner import run_stage

if __name__ == "__main__":
    folder, lake, what = Path(sys.argv[2]), Lake.open(sys.argv[3]), sys.argv[4]
    if what == "die":
        Lake.commit = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    plan = Plan(survey=SurveyPlan(exposures=()), folder=folder, run=RunPlan())
    report = run_stage(tt.many(8), plan, lake)
    print(report.n_done, report.n_already, report.n_failed)
"""


def start(folder: Path, lake: Path, what: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    script = folder / "runs.py"
    script.write_text(RUNS)
    command = [sys.executable, str(script), str(Path(__file__).parent), str(folder), str(lake), what]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_run_killed_between_writing_and_commit_is_done_again_and_nothing_twice(tmp_path: Path) -> None:
    lake = tt.new_lake(tmp_path / "lake")
    killed = start(tmp_path / "first", lake.path, "die")
    killed.communicate(timeout=200)
    assert killed.returncode == -signal.SIGKILL
    events = [json.loads(line) for line in (tmp_path / "first" / "events.jsonl").read_text().splitlines()]
    assert [(event["name"], event["tile"]) for event in events][-1] == ("rows_written", "t000")
    assert lake.table("mask").collect().is_empty()
    (sealed,) = (lake.path / "arrays" / "mask" / "t000").iterdir()
    assert (sealed / "manifest.json").exists()
    done = Trial(tmp_path, tt.many(8))
    assert (done.report.n_done, done.report.n_failed, done.n_runs) == (8, 0, 8)
    assert done.published == [f"t{i:03d}" for i in range(8)]
    assert done.lake.fsck(hashes=True) == []


def test_two_runs_of_one_plan_at_once_publish_every_tile_once(tmp_path: Path) -> None:
    lake = tt.new_lake(tmp_path / "lake")
    both = [start(tmp_path / name, lake.path, "run") for name in ("first", "second")]
    counts = [[int(n) for n in one.communicate(timeout=300)[0].split()] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert [sum(one) for one in counts] == [8, 8]
    assert sum(n_failed for _, _, n_failed in counts) == 0
    assert sum(n_done for n_done, _, _ in counts) == 8
    assert lake.table("mask").collect()["exposure_id"].sort().to_list() == [f"t{i:03d}" for i in range(8)]
    assert lake.table("run").collect().height == 8
    assert lake.fsck(hashes=True) == []


def test_the_row_of_a_run_says_what_was_worked_on_and_the_memory_of_its_task_alone(tmp_path: Path) -> None:
    done = Trial(tmp_path, tt.stage_of({"a": partial(counted, 256), "b": partial(counted, 1)}))
    rows = done.lake.table("run").sort("tile").collect()
    assert rows["n_items"].to_list() == [3, 3]
    assert rows["n_pixels"].to_list() == [256 * 2**20, 2**20]
    large, small = rows["peak_memory"]
    # The second task is done in the same process, which had more before.
    assert large - small > 128.0
    assert small > 16.0


def counted(mebibytes: int, run: Run) -> None:
    held = b"\1" * (mebibytes * 2**20)
    run.count(n_items=3, n_pixels=len(held))
    tt.publish(run)
