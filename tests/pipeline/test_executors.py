"""Executors: the same records and the same lake wherever tasks are done, and what becomes of those that fail or die."""

import json
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import trivial_tiles as tt

from skymere.errors import InternalError, InvalidInputError, NoDataError, NotFoundError, StorageError
from skymere.lake import Lake
from skymere.pipeline import Event, Plan, RunPlan, read_plan
from skymere.pipeline.attempts import Job, attempt, packed
from skymere.pipeline.executors import Processes, executor_of
from skymere.pipeline.memory import WORKER_BASELINE, predicted_cost
from skymere.pipeline.plan import SurveyPlan
from skymere.pipeline.process_memory import held_memory
from skymere.pipeline.run_settings import memory_bytes
from skymere.pipeline.runner import run_stage
from skymere.pipeline.stages import STAGES

EXECUTORS = ("serial", "processes", "dask")
GIB = 2**30


def plan_in(folder: Path, executor: str = "serial", **more) -> Plan:
    n_workers = {} if executor == "serial" or "n_workers" in more else {"n_workers": 2}
    run = RunPlan(executor=executor, **n_workers, **more)
    return Plan(survey=SurveyPlan(exposures=()), folder=folder, run=run)


class Trial:
    """A stage run in a folder, with its events."""

    def __init__(self, folder: Path, stage, executor: str = "serial", **more) -> None:
        self.lake = Lake.open(folder / "lake") if (folder / "lake").exists() else tt.new_lake(folder / "lake")
        self.events: list[Event] = []
        self.report = run_stage(stage, plan_in(folder, executor, **more), self.lake, observer=self.events.append)

    def named(self, *names: str) -> list[Event]:
        return [event for event in self.events if event.name in names]

    @property
    def published(self) -> list[str]:
        return self.lake.table("mask").collect()["exposure_id"].sort().to_list()

    @property
    def n_runs(self) -> int:
        return self.lake.table("run").collect().height


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_tile_is_published_once_wherever_it_is_done(tmp_path: Path, executor: str) -> None:
    done = Trial(tmp_path, tt.many(4), executor)
    assert done.published == ["t000", "t001", "t002", "t003"]
    assert done.n_runs == done.report.n_done == 4
    assert [event.done for event in done.named("task_done")] == [1, 2, 3, 4]
    again = Trial(tmp_path, tt.many(4), executor)
    assert (again.report.n_done, again.report.n_already, again.n_runs) == (0, 4, 4)
    assert not again.named("task_submitted")


def test_sums_of_products_are_the_same_here_and_in_a_worker(tmp_path: Path) -> None:
    found = []
    for executor in EXECUTORS:
        folder = tmp_path / executor
        folder.mkdir()
        Trial(folder, tt.stage_of({"a": partial(tt.multiply, folder)}), executor)
        found.append(np.load(folder / "a.npy").tobytes())
    assert found == [found[0]] * len(EXECUTORS)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_task_that_fails_is_told_with_its_log_and_the_others_go_on(tmp_path: Path, executor: str) -> None:
    done = Trial(tmp_path, tt.stage_of({"a": tt.work, "b": tt.fail, "c": tt.work}), executor)
    assert done.published == ["a", "c"]
    assert (done.report.n_done, done.report.n_failed) == (2, 1)
    (failed,) = done.named("task_failed")
    assert (failed.tile, failed.error_class, failed.message) == ("b", "NoDataError", "b: nothing is left")
    assert failed.log == str(tmp_path / "logs" / "trivial" / "b.log")
    log = Path(failed.log).read_text()
    assert "warning: UserWarning: the sky is falling" in log
    assert "raise NoDataError(msg)" in log
    assert "failed after" in log
    assert "warning" not in (tmp_path / "logs" / "trivial" / "a.log").read_text()
    mended = Trial(tmp_path, tt.stage_of({"a": tt.work, "b": tt.work, "c": tt.work}), executor)
    assert (mended.report.n_done, mended.report.n_already) == (1, 2)
    assert "nothing is left" not in Path(failed.log).read_text()


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_run_may_stop_at_the_first_failure(tmp_path: Path, executor: str) -> None:
    others = [f"b{i}" for i in range(20)]
    stage = tt.stage_of({"a": tt.fail, **dict.fromkeys(others, tt.work)})
    with pytest.raises(NoDataError, match=r"stage trivial, tile a: a: nothing is left \(log: .*a\.log\)"):
        Trial(tmp_path, stage, executor, keep_going=False)
    # Another worker may have ended some before the failure was heard of.
    assert Lake.open(tmp_path / "lake").table("mask").collect().height < len(others)


@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_a_killed_worker_is_replaced_and_its_task_tried_again(tmp_path: Path, executor: str) -> None:
    (tmp_path / "deaths").mkdir()
    works = {"a": tt.work, "b": partial(tt.die, tmp_path / "deaths", 1), "c": tt.work, "d": tt.work}
    done = Trial(tmp_path, tt.stage_of(works), executor)
    assert done.published == ["a", "b", "c", "d"]
    assert done.n_runs == 4
    (died,) = done.named("worker_died")
    assert (died.tile, died.message.endswith("the task is tried again")) == ("b", True)
    assert len(list((tmp_path / "deaths").iterdir())) == 2


@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_a_task_that_always_kills_its_worker_fails_and_the_others_are_done(tmp_path: Path, executor: str) -> None:
    (tmp_path / "deaths").mkdir()
    works = {"a": partial(tt.die, tmp_path / "deaths", 99), "b": tt.work, "c": tt.work}
    done = Trial(tmp_path, tt.stage_of(works), executor, retries=2)
    assert done.published == ["b", "c"]
    assert len(list((tmp_path / "deaths").iterdir())) == 3
    (failed,) = done.named("task_failed")
    assert (failed.tile, failed.error_class) == ("a", "WorkerDied")
    assert "killed 3 times" in failed.message
    # Each attempt begins its log anew.
    assert Path(failed.log).read_text().count("was killed") == 1
    tries = [i for i, event in enumerate(done.events) if (event.name, event.tile) == ("task_submitted", "a")]
    assert len(tries) == 3
    # The last try was by itself, so that no other task can be the reason.
    steps = {"task_submitted": 1, "task_done": -1, "worker_died": -1}
    assert sum(steps.get(event.name, 0) for event in done.events[: tries[-1]]) == 0
    after = [event.name for event in done.events[tries[-1] + 1 :]]
    assert after[:2] == ["worker_died", "task_failed"]


def test_every_library_of_a_worker_is_told_its_part_of_the_cores(tmp_path: Path) -> None:
    for executor in ("processes", "dask"):
        folder = tmp_path / executor
        folder.mkdir()
        works = {name: partial(tt.environment, folder) for name in ("a", "b")}
        Trial(folder, tt.stage_of(works), executor, n_workers=64)
        told = {(folder / name).read_text().split()[:5] == ["1"] * 5 for name in works}
        assert told == {True}, executor


def test_events_of_several_processes_are_whole_lines(tmp_path: Path) -> None:
    done = Trial(tmp_path, tt.many(6), "processes")
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    started = [line for line in lines if line["name"] == "task_started"]
    assert sorted(line["tile"] for line in started) == done.published
    assert len({line["pid"] for line in started}) <= 2
    assert {line["pid"] for line in started}.isdisjoint(line["pid"] for line in lines if line["name"] == "task_done")


def test_a_full_disk_fails_tasks_and_leaves_the_lake_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Trial(tmp_path, tt.many(1))

    def full(self, **_):
        msg = "lake: cannot be written: No space left on device"
        raise StorageError(msg)

    with monkeypatch.context() as patched:
        patched.setattr("skymere.lake.tables.Table.write", lambda *_, **__: full(None))
        failed = Trial(tmp_path, tt.many(3))
    assert (failed.report.n_already, failed.report.n_failed) == (1, 2)
    assert {event.error_class for event in failed.named("task_failed")} == {"StorageError"}
    assert failed.published == ["t000"]
    mended = Trial(tmp_path, tt.many(3))
    assert mended.published == ["t000", "t001", "t002"]
    assert mended.n_runs == 3


def test_a_log_of_events_that_cannot_be_written_is_told_and_ends_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("skymere.pipeline.events.os.write", full)
    done = Trial(tmp_path, tt.many(2))
    assert done.published == ["t000", "t001"]
    (told,) = done.named("log_failed")
    assert told.message == f"{tmp_path / 'events.jsonl'}: cannot be written: No space left on device"


def test_a_log_of_a_task_that_cannot_be_written_ends_no_task(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("not a folder")
    done = Trial(tmp_path, tt.stage_of({"a": tt.work, "b": tt.fail}))
    assert done.published == ["a"]
    assert done.named("task_failed")[0].log == ""


def test_a_task_that_cannot_fit_fails_with_the_width_that_would(tmp_path: Path) -> None:
    stage = tt.stage_of({"field": tt.work, "small": tt.work}, costs={"field": 64 * GIB, "small": 1})
    done = Trial(tmp_path, stage, memory="2GiB")
    (failed,) = done.named("task_failed")
    assert done.published == ["small"]
    assert failed.error_class == "InvalidInputError"
    assert failed.message.startswith("tile field of stage trivial needs about 64.0 GiB beside the")
    assert "--memory allows 2.0 GiB: use smaller tiles (tile.width_pix <= 1), or allow more" in failed.message


def test_tasks_begin_only_when_their_memory_fits_together(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    works = {name: partial(tt.write_pid, tmp_path / "pids", 0.3) for name in "abc"}
    stage = tt.stage_of(works, costs=dict.fromkeys(works, GIB))
    done = Trial(tmp_path, stage, "processes", n_workers=3, memory="2500MiB")
    assert done.published == ["a", "b", "c"]
    # One at a time: a second one would not fit, so no second worker was started for it.
    lines = [json.loads(line)["name"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    order = [name for name in lines if name in ("task_submitted", "rows_written")]
    assert order == ["task_submitted", "rows_written"] * 3
    assert len({path.read_text() for path in (tmp_path / "pids").iterdir()}) == 1


def test_idle_workers_end_when_a_large_task_needs_their_memory(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    works = {name: partial(tt.write_pid, tmp_path / "pids", 1.0) for name in "abc"}
    large = 2 * GIB
    stage = tt.stage_of(works, costs={"c": large})
    # Two workers fit with nothing to do, and one with the large task.
    spare = WORKER_BASELINE // 2
    limit = f"{(held_memory() + WORKER_BASELINE + large + spare) // 2**20}MiB"
    done = Trial(tmp_path, stage, "processes", n_workers=2, memory=limit)
    assert done.published == ["a", "b", "c"]
    assert done.report.n_failed == 0


@pytest.mark.parametrize(
    ("text", "expected"), [("", 0), ("4GiB", 4 * GIB), ("1.5 GiB", 3 * GIB // 2), ("200MB", 200_000_000), ("7", 7)]
)
def test_amounts_of_memory_are_read(text: str, expected: int) -> None:
    assert memory_bytes(text) == expected


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('memory = "much"', r"in \[run\]: memory: 'much' is not allowed, it must be a number with a unit"),
        ('memory = "0GiB"', "memory: '0GiB' is not allowed"),
        ('executor = "ray"', r"run\.executor: 'ray' is not allowed, it must be 'serial' or 'processes' or 'dask'"),
        ("n_workers = 4", "n_workers: 4 is not allowed with executor 'serial'"),
        ('executor = "dask"\nn_workers = -1', "n_workers: -1 is not allowed"),
        ("retries = -1", "retries: -1 is not allowed"),
        ('scheduler = "tcp://here:8786"', "scheduler: 'tcp://here:8786' is not allowed with executor 'serial'"),
        ('executor = "dask"\nscheduler = "tcp://here:8786"\nn_workers = 2', "which brings workers of its own"),
        ("cores = 2", r"unknown key run\.cores; allowed are run\.executor, run\.n_workers"),
    ],
)
def test_a_section_run_that_contradicts_itself_is_refused(tmp_path: Path, keys: str, message: str) -> None:
    (tmp_path / "plan.toml").write_text(f"[survey]\nexposures = []\n[run]\n{keys}\n")
    with pytest.raises(InvalidInputError, match=message):
        read_plan(tmp_path / "plan.toml")


def test_dask_that_is_not_installed_is_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(NotFoundError, match=r"pip install 'skymere\[cluster\]'"):
        executor_of(RunPlan(executor="dask"), lambda _: None)


def test_work_that_cannot_be_sent_is_a_failure_of_its_task_alone(tmp_path: Path) -> None:
    def of_no_module(run) -> None:
        tt.publish(run)

    done = Trial(tmp_path, tt.stage_of({"a": of_no_module, "b": tt.work}), "processes")
    assert done.published == ["b"]
    (failed,) = done.named("task_failed")
    assert failed.error_class == "InternalError"
    assert "stage trivial, tile a: the work cannot be sent to another process" in failed.message


def test_where_tasks_are_done_changes_no_key(tmp_path: Path) -> None:
    Trial(tmp_path, tt.many(2))
    assert Trial(tmp_path, tt.many(2), "processes", memory="8GiB").report.n_already == 2


def test_the_tasks_of_every_stage_of_a_survey_can_be_sent(measured: Path) -> None:
    plan, lake = read_plan(measured / "plan.toml"), Lake.open(measured / "lake")
    sent = set()
    for stage in STAGES:
        for task in stage.tasks(plan, lake) if stage.tasks else ():
            job = Job(stage=stage.name, product=stage.writes[0], task=task, lake=lake)
            back = pickle.loads(packed(job))
            assert (back.task.tile, back.task.params) == (task.tile, task.params)
            assert back.lake.path == lake.path
            record = attempt(back)
            assert (record.outcome, record.message) == ("already", "")
            sent.add(stage.name)
    wanted = {
        "ingest",
        "background",
        "outliers",
        "mosaic",
        "psf",
        "detect",
        "measure",
        "profiles",
        "models",
        "photometry",
        "cutouts",
    }
    assert sent == wanted


def test_predicted_memory_is_told_for_all_stages_and_grows_with_blocks(finished: Path) -> None:
    plan, lake = read_plan(finished / "plan.toml"), Lake.open(finished / "lake")
    told = {}
    for stage in STAGES:
        for task in stage.tasks(plan, lake) if stage.tasks else ():
            told[stage.name] = predicted_cost(stage.name, plan, lake)(task)
    assert set(told) == {"ingest", "background", "outliers", "mosaic", "detect", "measure", "cutouts"}
    assert all(20 * 2**20 < cost < 500 * 2**20 for cost in told.values())
    blocks = replace(plan, survey=replace(plan.survey, block_pix=64))
    (task,) = [task for stage in STAGES if stage.name == "detect" for task in stage.tasks(plan, lake)]
    assert predicted_cost("detect", blocks, lake)(task) < told["detect"]


def wait_for_pid(path: Path) -> int:
    deadline = time.monotonic() + 300.0
    while time.monotonic() < deadline and not (path.exists() and path.read_text()):
        time.sleep(0.01)
    return int(path.read_text())


def has_ended(pid: int) -> bool:
    """Whether a process ends within a while; one that nobody has waited for is a zombie."""
    status = Path(f"/proc/{pid}/status")
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        if not status.exists() or "State:\tZ" in status.read_text():
            return True
        time.sleep(0.01)
    return False


GIVES_A_JOB = """
import sys
from functools import partial
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import trivial_tiles as tt
from skymere.pipeline.attempts import Job
from skymere.pipeline.executors import Processes

if __name__ == "__main__":
    folder = Path(sys.argv[2])
    lake = tt.new_lake(folder / "lake")
    (task,) = tt.stage_of({"a": partial(tt.write_pid, folder, 600.0)}).tasks(None, lake)
    executor = Processes(1)
    executor.submit(0, Job(stage="trivial", product="mask", task=task, lake=lake))
    executor.wait()
"""


def test_workers_end_with_the_process_that_gave_them_jobs(tmp_path: Path) -> None:
    script = tmp_path / "gives.py"
    script.write_text(GIVES_A_JOB)
    parent = subprocess.Popen([sys.executable, str(script), str(Path(__file__).parent), str(tmp_path)])
    pid = wait_for_pid(tmp_path / "a")
    parent.kill()
    parent.wait()
    assert has_ended(pid)


def test_a_process_that_was_closed_leaves_nothing_behind(tmp_path: Path) -> None:
    lake = tt.new_lake(tmp_path / "lake")
    (task,) = tt.stage_of({"a": partial(tt.write_pid, tmp_path, 600.0)}).tasks(None, lake)
    executor = Processes(2)
    executor.submit(0, Job(stage="trivial", product="mask", task=task, lake=lake))
    pid = wait_for_pid(tmp_path / "a")
    executor.close()
    assert has_ended(pid)
    assert lake.table("mask").select(pl.len()).collect().item() == 0


def test_an_error_of_another_library_is_an_internal_error_with_its_class() -> None:
    from skymere.pipeline.attempts import Record, error_of

    error = error_of(Record(stage="s", tile="t", outcome="failed", error_class="ZeroDivisionError", message="by zero"))
    assert type(error) is InternalError
    assert str(error) == "stage s, tile t: ZeroDivisionError: by zero"
