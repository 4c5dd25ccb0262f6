"""What people decide about profiles, as rows."""

import json
from pathlib import Path

import polars as pl
import pytest

from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake import (
    Lake,
    add_profile_edit,
    profile_edit_rows,
    retract_profile_edits,
    stored_profile_edits,
)
from skymere.regions import Circle

WHO = {"author": "Ada", "reason": "two cores"}


@pytest.fixture
def lake(survey, tmp_path: Path) -> Lake:
    made = survey.create(tmp_path / "lake")
    survey.publish_all(made)
    return made


def a_source(lake: Lake) -> tuple[int, str]:
    row = lake.table("source").select("source_id", "tile").sort("source_id").collect().row(0)
    return int(row[0]), str(row[1])


def test_an_edit_says_who_when_why_and_what(lake: Lake) -> None:
    source_id, tile = a_source(lake)
    before = profile_edit_rows(lake, tile).height
    added = add_profile_edit(
        lake,
        source_id,
        start={"sersic_index": 1.0},
        bounds={"r_eff": (0.1, 2.0)},
        fixed=["sersic_index"],
        mask=[Circle(centre=(10.0, 2.0), radius=1.0)],
        **WHO,
    ).row(0, named=True)
    assert (added["author"], added["reason"], added["tile"]) == ("Ada", "two cores", tile)
    assert json.loads(added["start"]) == {"sersic_index": 1.0}
    assert json.loads(added["bounds"]) == {"r_eff": [0.1, 2.0]}
    assert added["created"].endswith("+00:00")
    assert "circle(10" in added["mask_regions"]
    rows = profile_edit_rows(lake, tile)
    assert rows.height == before + 1
    assert rows["sequence"].is_sorted()
    assert rows["edit_id"][-1] == added["edit_id"]


def test_edits_are_replayed_in_their_order_until_they_are_taken_back(lake: Lake) -> None:
    source_id, tile = a_source(lake)
    names = [add_profile_edit(lake, source_id, kind="point", **WHO)["edit_id"][0] for _ in range(2)]
    other = add_profile_edit(lake, source_id, kind="point", band="k", **WHO)["edit_id"][0]
    known = [name for name in stored_profile_edits(lake, tile, "f160w")["edit_id"] if name in {*names, other}]
    assert known == names
    retract_profile_edits(lake, [names[0]], author="Eve", reason="no")
    rows = profile_edit_rows(lake, tile).filter(pl.col("edit_id") == names[0]).row(0, named=True)
    assert (rows["is_retracted"], rows["retracted_by"], rows["retracted_why"]) == (True, "Eve", "no")
    assert names[0] not in stored_profile_edits(lake, tile, "f160w")["edit_id"].to_list()
    with pytest.raises(NotFoundError, match="was taken back before"):
        retract_profile_edits(lake, [names[0]], author="Eve", reason="no")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action": "fit"}, "action: 'fit' is not allowed, it must be one of"),
        ({"action": "choose"}, "from_attempt: is missing"),
        ({"neighbours": [3], "is_alone": True}, r"neighbours: \[3\] are not allowed for a source that is fitted alone"),
        ({"mask": [Circle(centre=(5.0, 5.0), radius=1.0, frame="image")]}, "mask: pixels alone do not say where"),
    ],
)
def test_what_is_not_allowed_is_named(lake: Lake, changes: dict, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        add_profile_edit(lake, a_source(lake)[0], **WHO, **changes)


def test_an_unknown_source_is_named(lake: Lake) -> None:
    with pytest.raises(NotFoundError, match="source_id: 1 is not a source of the lake"):
        add_profile_edit(lake, 1, kind="point", **WHO)


def test_editors_at_the_same_time_lose_nothing(lake: Lake) -> None:
    from concurrent.futures import ThreadPoolExecutor

    source_id, tile = a_source(lake)
    before = profile_edit_rows(lake, tile).height
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(add_profile_edit, Lake.open(lake.path), source_id, kind="point", **WHO) for _ in range(6)]
        names = {job.result()["edit_id"][0] for job in jobs}
    rows = profile_edit_rows(lake, tile)
    assert rows.height == before + 6
    assert names <= set(rows["edit_id"])
    assert rows["sequence"].n_unique() == rows.height
