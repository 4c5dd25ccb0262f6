"""``[[gates]]`` of a plan."""

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from skymere.cli import app
from skymere.errors import InvalidInputError
from skymere.lake import Gate, Lake
from skymere.pipeline import check_gates, check_plan, gates_of, read_plan
from skymere.pipeline.stages import STAGES

HEAD = '[survey]\nexposures = ["x_flt.fits"]\n'
GATE = '[[gates]]\nproduct = "mosaic"\nhold = "n_exposures < 2 or status != \'ok\'"\nreason = "too shallow"\n'


def plan_of(folder: Path, text: str):
    (folder / "plan.toml").write_text(text)
    return read_plan(folder / "plan.toml")


def test_gates_are_read_and_belong_to_the_stage_that_writes_their_product(tmp_path: Path) -> None:
    other = '[[gates]]\nproduct = "pz"\nhold = "source_id is null"\nreason = "nobody"\n'
    plan = plan_of(tmp_path, HEAD + GATE + other)
    mosaic, nobody = plan.gates
    assert mosaic == Gate(product="mosaic", hold="n_exposures < 2 or status != 'ok'", reason="too shallow")
    check_gates(plan)
    found = {stage.name: gates_of(plan, stage) for stage in STAGES}
    assert found.pop("mosaic") == (mosaic,)
    assert found.pop("redshifts") == (nobody,)
    assert set(found.values()) == {()}
    assert plan_of(tmp_path, HEAD).gates == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("n_exposures", "n_exposure"),
            r"plan\.toml: in \[gates\[0\]\]: gate of 'mosaic'.*column 'n_exposure'.*n_exposures",
        ),
        (('"mosaic"', '"mosaics"'), r"product: 'mosaics' is not allowed"),
        (("reason", "why"), r"unknown key gates\[0\]\.why; allowed are gates\[0\]\.product, gates\[0\]\.hold"),
        (('reason = "too shallow"\n', ""), r"key gates\[0\]\.reason is missing"),
        (("< 2", "< 'x'"), "only values of one kind"),
    ],
)
def test_wrong_gates_are_refused_before_anything_runs(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        plan_of(tmp_path, HEAD + GATE.replace(*change))


def test_a_gate_of_what_no_stage_writes_is_refused(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, HEAD + '[[gates]]\nproduct = "note"\nhold = "is_withdrawn"\nreason = "gone"\n')
    with pytest.raises(InvalidInputError, match=r"product 'note' is written by no stage, it must be one of .*mosaic"):
        check_gates(plan)


def test_a_gate_that_no_stage_asks_is_a_fault_of_the_plan(tmp_path: Path) -> None:
    gate = '[[gates]]\nproduct = "note"\nhold = "is_withdrawn"\nreason = "gone"\n'
    (tmp_path / "plan.toml").write_text(
        '[survey]\nexposures = []\n[tile]\nkind = "healpix"\nscale_arcsec = 0.1\n' + gate
    )
    (fault,) = check_plan(tmp_path / "plan.toml")
    assert (fault.key, fault.value) == ("gates[0].product", "note")
    assert "is written by no stage" in fault.message


def test_a_mosaic_that_is_held_waits_and_the_next_run_goes_on_behind_it(fresh: Path) -> None:
    plan = fresh / "plan.toml"
    gate = '\n[[gates]]\nproduct = "mosaic"\nhold = "n_exposures < 99"\nreason = "too shallow"\n'
    plan.write_text(plan.read_text() + gate)

    def call(*words: str) -> list[dict]:
        told = CliRunner().invoke(app, [*words, "--json"])
        assert told.exit_code == 0, told.output
        return [json.loads(line) for line in told.stdout.splitlines()]

    lines = call("run", str(plan))
    (problem,) = [line for line in lines if line["name"] == "problem"]
    assert (problem["product"], problem["item"], problem["status"]) == ("mosaic", "field", "held")
    assert problem["message"].startswith("too shallow: n_exposures < 99: 2 of 2 rows (band f125w")
    assert [line["tile"] for line in lines if line["name"] == "task_held"] == ["field"]
    lake = Lake.open(fresh / "lake")
    assert lake.live_runs("mask")
    # Nothing depends on what nobody sees; the release is made without it.
    assert [name for name in ("mosaic", "segmentation", "source") if lake.live_runs(name)] == []
    assert lake.releases() == ["DR1"]

    (status,) = call("status", str(plan), "--held")
    (held,) = status["unfinished"]
    assert (held["tile"], held["status"], held["message"]) == ("field", "held", problem["message"])
    assert {row["stage"]: row["held"] for row in status["stages"]}["mosaic"] == 1

    (accepted,) = call("run", str(plan), "--accept", held["run_id"])
    assert (accepted["name"], accepted["run_id"]) == ("accepted", held["run_id"])
    assert call("status", str(plan), "--held")[0]["unfinished"] == []

    plan.write_text(plan.read_text() + '\n[release]\nname = "DR2"\n')
    lines = call("run", str(plan))
    done = {line["stage"] for line in lines if line["name"] == "task_done"}
    assert done == {"detect", "measure", "cutouts"}
    assert [line for line in lines if line["name"] in ("problem", "task_held")] == []
    assert Lake.open(fresh / "lake", release="DR2").table("source").collect().height > 20
    row = lake.table("run").filter(pl.col("product") == "mosaic").collect().row(0, named=True)
    ny, nx = lake.tiles["field"].grid.shape
    assert (row["n_items"], row["n_pixels"]) == (8, 2 * ny * nx)
