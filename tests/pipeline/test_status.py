"""What ``skymere status`` tells, from rows of ``run`` and ``run_item``."""

import json
import shutil
import sys
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
import trivial_tiles as tt

from skymere.cli import app
from skymere.lake import Lake
from skymere.pipeline import Plan, RunPlan, files_to_take_in, read_plan, run_status, unfinished
from skymere.pipeline.plan import SurveyPlan
from skymere.pipeline.runner import run_stage
from skymere.pipeline.status import summary_of


def test_states_are_counted_by_stage() -> None:
    names = ("stage", "tile", "product", "run_id", "status", "seconds", "recorded", "n_rows")
    states = pl.DataFrame(
        [
            ("mosaic", "a", "mosaic", "2", "published", 2.0, "2026-01-02T00:00", 5),
            ("mosaic", "b", "mosaic", "9", "failed", 1.0, "2026-01-03T00:00", None),
            ("mosaic", "c", "mosaic", "4", "published", 2.0, "2026-01-05T00:00", 9),
            ("mosaic", "d", "mosaic", "8", "held", None, "2026-01-04T00:00", None),
        ],
        schema=names,
        orient="row",
    )
    # The second is of a run of before.
    items = pl.DataFrame(
        {"stage": ["mosaic"] * 3, "tile": ["a", "a", "c"], "run_id": ["2", "1", "4"], "status": ["failed"] * 2 + ["ok"]}
    )
    (row,) = summary_of(states, items).iter_rows(named=True)
    assert row == {
        "stage": "mosaic",
        "published": 2,
        "failed": 1,
        "held": 1,
        "rows": 14,
        "items_failed": 1,
        "seconds": 5.0,
        "last": "2026-01-05T00:00",
    }


def test_a_lake_without_runs_has_no_stages(tmp_path: Path) -> None:
    lake = tt.new_lake(tmp_path / "lake")
    assert run_status(lake).is_empty()
    assert unfinished(lake).is_empty()


def test_what_was_published_is_counted_by_stage(tmp_path: Path) -> None:
    lake = tt.new_lake(tmp_path / "lake")
    plan = Plan(survey=SurveyPlan(exposures=()), folder=tmp_path, run=RunPlan())
    run_stage(tt.stage_of({"a": tt.work, "b": tt.work}), plan, lake)
    (row,) = run_status(lake).iter_rows(named=True)
    assert (row["stage"], row["published"], row["failed"], row["held"], row["rows"]) == ("trivial", 2, 0, 0, 2)
    assert row["last"] == lake.table("run").collect()["finished"].max()
    assert run_status(lake, stage="other").is_empty()
    told = CliRunner().invoke(app, ["status", str(tmp_path / "lake"), "--json"])
    assert told.exit_code == 0
    found = json.loads(told.stdout)
    assert found["stages"] == [row]
    assert found["unfinished"] == []
    assert "Nothing failed, nothing is held." in CliRunner().invoke(app, ["status", str(lake.path), "--failed"]).stdout


def test_a_plan_without_a_lake_says_what_makes_it(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("[survey]\nexposures = []\n")
    told = CliRunner().invoke(app, ["status", str(plan)])
    assert told.exit_code == 1
    assert f"`skymere run {plan}` makes it" in told.stderr


def test_files_of_a_plan_that_were_not_taken_in_are_told(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "survey"
    shutil.copytree(finished / "exposures", folder / "exposures")
    plan = folder / "plan.toml"
    plan.write_text((finished / "plan.toml").read_text())
    lake = Lake.open(finished / "lake")
    assert files_to_take_in(read_plan(finished / "plan.toml"), lake) == []
    # The same files in another folder are others, as far as can be told without looking into them.
    assert len(files_to_take_in(read_plan(plan), lake)) == 8


@pytest.mark.parametrize("arguments", [("--watch", "x"), ("--nothing",)])
def test_a_wrong_call_is_exit_code_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["status", str(tmp_path), *arguments]).exit_code == 2
