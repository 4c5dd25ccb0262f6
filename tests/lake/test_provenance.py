"""Where a row comes from, on lakes made by hand; see tests/pipeline for one that the pipeline made (row O1)."""

import polars as pl
import pytest

from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake import Lake


def test_a_cutout_leads_to_its_source_and_segmentation(full):
    source = full.table("cutout").collect()["source_id"][0]
    tree = full.provenance("cutout", source)
    tile = tree.row["tile"]
    assert [node.uri for node in tree.walk()] == [f"cutout/{tile}", f"source/{tile}", f"segmentation/{tile}"]
    assert tree.run == full.live_run("cutout", tile)
    assert tree.stage == "make-cutout"
    assert tree.params == {"version": 1}
    assert (full.path / tree.arrays / "manifest.json").is_file()
    assert tree.inputs[0].arrays == ""
    assert tree.notes == tree.edits == tree.exposures == ()


def test_a_row_with_a_key_of_two_columns(full):
    assert full.provenance("mosaic", {"tile": "east", "band": "f140w"}).row["band"] == "f140w"
    with pytest.raises(NotFoundError, match=r"more than one row.*its key is \['tile', 'band'\]"):
        full.provenance("mosaic", "east")


@pytest.mark.parametrize(
    ("name", "key", "error", "words"),
    [
        ("source", 5, NotFoundError, "no row with {'source_id': 5}"),
        ("nothing", 5, NotFoundError, "'nothing'"),
        ("source", {"nothing": 5}, InvalidInputError, "key: {'nothing': 5} is not allowed"),
        ("source", "five", InvalidInputError, "key: 'five' is not allowed"),
    ],
)
def test_rows_that_are_not_there_are_named(full, name, key, error, words):
    with pytest.raises(error, match=words):
        full.provenance(name, key)


def edit(lake, survey, reason):
    row = survey.empty_row("region", region_id="r1", role="manual", shape="circle", author="Ada", reason=reason)
    with lake.run(stage="edit", tile="east", product="region", inputs=[], params={"reason": reason}) as run:
        run.publish(survey.frame("region", [row]))


def publish_sources(lake, survey):
    """Sources of a segmentation that was made with the regions of the tile."""
    inputs = [lake.reference("region", "east")]
    with lake.run(stage="detect", tile="east", product="segmentation", inputs=inputs, params={}) as run:
        survey.publish_segmentation(lake, "east", 1, run)
    inputs = [lake.reference("segmentation", "east")]
    with lake.run(stage="measure", tile="east", product="source", inputs=inputs, params={}) as run:
        survey.publish_source(lake, "east", 1, run)


def test_decisions_of_people_are_in_the_tree_also_after_they_were_replaced(lake, survey):
    edit(lake, survey, "a star")
    publish_sources(lake, survey)
    source = lake.table("source").collect()["source_id"][0]
    for _ in range(2):
        (node,) = lake.provenance("source", source).edits
        assert node.uri == "region/east"
        (decision,) = node.decisions
        assert (decision["author"], decision["reason"], decision["role"]) == ("Ada", "a star", "manual")
        assert "Ada" in str(node)
        assert "a star" in str(node)
        edit(lake, survey, "two stars")
    publish_sources(lake, survey)
    (node,) = lake.provenance("source", source).edits
    assert node.decisions[0]["reason"] == "two stars"


def test_notes_on_a_source_are_with_its_row(lake, survey):
    survey.publish(lake, "segmentation")
    survey.publish(lake, "source")
    a, b = lake.table("source").collect()["source_id"][:2]
    notes = [
        survey.empty_row("note", note_id=f"n{k}", source_id=source, comment=text, author="Ada")
        | {"is_withdrawn": withdrawn, "kind": "comment", "product": product}
        for k, (source, text, product, withdrawn) in enumerate(
            [
                (a, "merging", "", False),
                (a, "wrong", "", True),
                (a, "bad fit", "redshift", False),
                (b, "other", "", False),
            ]
        )
    ]
    with lake.run(stage="look", tile="east", product="note", inputs=[], params={}) as run:
        run.publish(survey.frame("note", notes))
    tree = lake.provenance("source", a)
    assert [note["comment"] for note in tree.notes] == ["merging"]
    assert "merging" in str(tree)


def test_a_release_keeps_its_provenance(lake, survey):
    survey.publish_all(lake)
    lake.release("DR1")
    source = lake.table("source").collect()["source_id"][0]
    before = str(lake.provenance("source", source))
    survey.publish_all(lake, 2)
    old = Lake.open(lake.path, release="DR1")
    assert str(old.provenance("source", source)) == before
    row = lake.table("source").filter(pl.col("source_id") == source).collect()
    assert row.is_empty() or str(lake.provenance("source", source)) != before


def test_what_is_read_twice_is_described_once(full):
    text = str(full.provenance("cutout", full.table("cutout").collect()["source_id"][0]))
    assert text.count("parameters") == 3
