"""``[[gates]]`` of a plan."""

from pathlib import Path

import pytest

from skymere.errors import InvalidInputError
from skymere.lake import Gate
from skymere.pipeline import check_gates, gates_of, read_plan
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
        (
            ("reason", "why"),
            r"unknown key gates\[0\]\.why; allowed are gates\[0\]\.product, gates\[0\]\.hold, gates\[0\]\.reason",
        ),
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
