"""Edits as rows of the lake: who, when, why, what they did, undo, and what a detection is made from."""

import json
import shutil
import threading

import numpy as np
import polars as pl
import pytest

from skymere.errors import InvalidInputError, NoDataError, NotFoundError
from skymere.lake import (
    Lake,
    add_regions,
    load_schema,
    outcome_rows,
    region_rows,
    regions_from_rows,
    replay_outcomes,
    retract_edits,
    stored_edits,
)
from skymere.regions import Box, Circle, parse_regions, to_sky
from skymere.segmentation import Edit, EditOutcome

WHO = {"author": "Ada", "reason": "one galaxy"}


def on_sky(lake, x, y, r, tile="east", text=""):
    """A circle of r pixels at x, y of a tile."""
    return to_sky(Circle(centre=(x, y), radius=r, frame="image", text=text), lake.tiles[tile].grid)


@pytest.fixture
def published(full, tmp_path):
    """A copy of the lake with every product, to be changed."""
    shutil.copytree(full.path, tmp_path / "full")
    return Lake.open(tmp_path / "full")


def test_an_edit_is_a_row_with_who_when_why_where_before_and_after(published):
    # Squares 1 and 2 of the survey, 40 pixels apart.
    shape = to_sky(Box(centre=(35.0, 13.0), size=(50.0, 4.0), frame="image"), published.tiles["east"].grid)
    (row,) = add_regions(published, "merge", [[shape]], **WHO).to_dicts()
    assert (row["tile"], row["role"], row["author"], row["reason"]) == ("east", "merge", "Ada", "one galaxy")
    assert (json.loads(row["before"]), json.loads(row["after"]), row["status"]) == ([1, 2], [1], "applied")
    ids = dict(
        published.table("source").filter(pl.col("tile") == "east").select("label", "source_id").collect().iter_rows()
    )
    assert json.loads(row["source_ids"]) == [ids[1], ids[2]]
    assert row["labels_run"] == published.live_run("segmentation", "east")
    (stored,) = region_rows(published).to_dicts()
    assert stored == row
    assert regions_from_rows(region_rows(published)) == [shape]
    assert load_schema("region").version_text == "1.1.0"


def test_edits_replay_in_their_order_and_undone_ones_stay_as_rows(published):
    names = []
    for x in (12.0, 14.0, 16.0):
        rows = add_regions(published, "manual", [[on_sky(published, x, 50.0, 3.0)]], **WHO)
        names.append(rows["edit_id"].item())
    edits, inputs = stored_edits(published, "east")
    assert [stored.edit.edit_id for stored in edits] == names
    gone = retract_edits(published, [names[1]], author="Bo", reason="no source")
    assert gone.select("is_retracted", "retracted_by", "retracted_why").row(0) == (True, "Bo", "no source")
    edits, later = stored_edits(published, "east")
    assert [stored.edit.edit_id for stored in edits] == [names[0], names[2]]
    assert later != inputs
    assert region_rows(published).height == 3
    with pytest.raises(NotFoundError, match="was taken back before"):
        retract_edits(published, [names[1]], author="Bo", reason="again")
    with pytest.raises(NotFoundError, match="is not in the lake"):
        retract_edits(published, ["none"], author="Bo", reason="again")


def test_masks_that_no_detection_replays_do_not_change_what_it_is_made_from(published):
    add_regions(published, "delete", [[on_sky(published, 12.0, 13.0, 1.0)]], **WHO)
    before = stored_edits(published, "east")
    add_regions(published, "sim", [[on_sky(published, 60.0, 90.0, 3.0)]], **WHO)
    assert stored_edits(published, "east") == before
    run = before[1][0]["run"]
    assert published.table("run").filter(pl.col("run_id") == run).collect().height == 1


def test_an_edit_belongs_to_the_tile_that_owns_its_place_and_reaches_into_the_next(published):
    at_border = on_sky(published, 127.0, 50.0, 12.0, tile="east")
    (home,) = add_regions(published, "bad", [[at_border]], **WHO)["tile"]
    other = {"east": "west", "west": "east"}[home]
    for tile in (home, other):
        edits, inputs = stored_edits(published, tile)
        assert len(edits) == 1
        assert [entry["uri"] for entry in inputs] == [f"region/{home}"]
    far = on_sky(published, 64.0, 50.0, 5.0, tile="west")
    add_regions(published, "bad", [[far]], **WHO)
    edits, _ = stored_edits(published, "east")
    assert len(edits) == 1


def test_what_is_wrong_is_refused_and_nothing_is_written(published):
    near = [[on_sky(published, 12.0, 13.0, 1.0)]]
    with pytest.raises(InvalidInputError, match="role: 'ghost'"):
        add_regions(published, "ghost", near, **WHO)
    with pytest.raises(InvalidInputError, match="author: is empty"):
        add_regions(published, "merge", near, author=" ", reason="x")
    with pytest.raises(InvalidInputError, match="name the tile whose pixels they are"):
        add_regions(published, "merge", [[Circle(centre=(1.0, 1.0), radius=3.0, frame="image")]], **WHO)
    with pytest.raises(NotFoundError, match="no tile of the lake owns"):
        add_regions(published, "merge", [[Circle(centre=(10.0, 1.0), radius=3.0)]], **WHO)
    with pytest.raises(NoDataError, match="only segment 1 lies in the region"):
        add_regions(published, "merge", near, is_strict=True, **WHO)
    assert region_rows(published).is_empty()
    (kept,) = add_regions(published, "merge", near, **WHO).to_dicts()
    assert (kept["status"], kept["message"]) == ("nothing_to_act_on", "only segment 1 lies in the region")


def test_edits_before_any_segmentation_are_kept_for_the_first(lake):
    (row,) = add_regions(lake, "manual", [[on_sky(lake, 12.0, 13.0, 3.0)]], **WHO).to_dicts()
    assert (row["status"], row["before"], row["labels_run"]) == ("", "[]", "")
    assert len(stored_edits(lake, "east")[0]) == 1


def test_two_people_at_once_both_have_their_edits(published):
    def work(k):
        for i in range(3):
            add_regions(Lake.open(published.path), "manual", [[on_sky(published, 20.0 * k + 3 * i, 50.0, 2.0)]], **WHO)

    people = [threading.Thread(target=work, args=(k,)) for k in (1, 2)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    rows = region_rows(published)
    assert rows.height == 6
    assert rows["sequence"].n_unique() == 6


def test_a_region_file_goes_in_and_out_without_loss(published):
    text = 'icrs\ncircle(150.0015,0.0001,0.4") # text={007}\n-box(150.0015,0.0001,0.2",0.1",30.0)\nellipse(150.002,0.0,0.3",0.2",10.0)\n'
    drawn = parse_regions(text)
    add_regions(published, "manual", [drawn[:2], drawn[2:]], **WHO)
    assert regions_from_rows(region_rows(published)) == drawn


def test_outcomes_are_kept_with_the_detection(survey, lake):
    outcomes = [
        EditOutcome(edit_id="a", kind="merge", status="applied", before=(1, 2), after=(1,), n_pixels=7),
        EditOutcome(edit_id="b", kind="split", status="nothing_to_act_on", reason="no segment lies in the region"),
    ]
    with pytest.raises(NotFoundError):
        replay_outcomes(lake, "east")
    with lake.run(stage="detect", tile="east", product="segmentation", inputs=[], params={}) as run:
        run.annotate("", {"wcs": lake.tiles["east"].grid.cards()})
        run.write("label", np.zeros(survey.SHAPE, np.int32))
        row = survey.empty_row("segmentation", status="ok")
        run.publish(survey.frame("segmentation", [row]), items=outcome_rows(outcomes))
    assert replay_outcomes(lake, "east") == outcomes
    items = lake.table("run_item").sort("item").collect()
    assert items["status"].to_list() == ["ok", "rejected"]
    assert items["error_class"].to_list() == ["", "nothing_to_act_on"]


def test_rows_of_before_are_edits_of_their_own(survey, lake):
    circle = on_sky(lake, 12.0, 13.0, 3.0)
    old = survey.empty_row(
        "region", region_id="r1", role="manual", shape="circle", frame="icrs", is_include=True,
        params=json.dumps(circle.numbers), author="Ada", reason="old",
    )  # fmt: skip
    with lake.run(stage="edit", tile="east", product="region", inputs=[], params={}) as run:
        run.publish(survey.frame("region", [old]))
    edits, inputs = stored_edits(lake, "east")
    assert [stored.edit for stored in edits] == [Edit(kind="draw", regions=(circle,), edit_id="r1")]
    assert inputs == [lake.reference("region", "east")]
    add_regions(lake, "manual", [[circle]], **WHO)
    assert len(stored_edits(lake, "east")[0]) == 2
