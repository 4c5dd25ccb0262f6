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
from skymere.pipeline.status import newest_states, summary_of


def runs(*rows: tuple[str, str, str, int, str]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"stage": stage, "tile": tile, "product": "mosaic", "run_id": run, "status": "published"}
            | {"n_rows": n, "seconds": 2.0, "finished": finished}
            for stage, tile, run, n, finished in rows
        ]
    )


def items(*rows: tuple[str, str, str, str, str]) -> pl.DataFrame:
    """Rows of tasks when the time is not empty, else of objects."""
    return pl.DataFrame(
        [
            {
                "stage": "mosaic",
                "tile": tile,
                "run_id": run,
                "item": "x",
                "status": status,
                "error_class": "NoDataError",
            }
            | {
                "message": "why",
                "seconds": 1.0,
                "product": "mosaic" if when else None,
                "recorded": when or None,
                "n": n,
            }
            for tile, run, status, when, n in rows
        ],
        schema_overrides={"product": pl.String, "recorded": pl.String},
    )


def test_the_newest_attempt_of_a_task_is_what_counts() -> None:
    done = runs(
        ("mosaic", "a", "1", 3, "2026-01-01T00:00"),
        ("mosaic", "a", "2", 5, "2026-01-02T00:00"),
        ("mosaic", "b", "3", 7, "2026-01-01T00:00"),
        ("mosaic", "c", "4", 9, "2026-01-05T00:00"),
    )
    lost = items(
        ("a", "0", "failed", "2026-01-01T12:00", ""),
        ("b", "9", "failed", "2026-01-03T00:00", ""),
        ("c", "4", "held", "2026-01-05T00:00", ""),
        ("d", "8", "held", "2026-01-04T00:00", ""),
        ("a", "2", "failed", "", "object"),
        ("a", "1", "failed", "", "object of before"),
    )
    states = newest_states(done, lost)
    assert list(states.select("tile", "status", "run_id").iter_rows()) == [
        ("a", "published", "2"),
        ("b", "failed", "9"),
        ("c", "published", "4"),
        ("d", "held", "8"),
    ]
    (row,) = summary_of(states, lost).iter_rows(named=True)
    assert row == {
        "stage": "mosaic",
        "published": 2,
        "failed": 1,
        "held": 1,
        "rows": 14,
        "items_failed": 1,
        "seconds": 6.0,
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
