"""Flags and comments of people on sources: added, read, withdrawn."""

import pytest

from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake import Lake, add_note, note_rows, withdraw_notes


@pytest.fixture
def looked_at(survey, lake):
    """A lake with sources, and one of them."""
    for product in ("mosaic", "segmentation", "source"):
        survey.publish(lake, product)
    return lake, int(lake.table("source").select("source_id").collect()["source_id"][0])


def test_a_note_is_a_row_with_its_author_and_stays_when_it_is_withdrawn(looked_at):
    lake, source = looked_at
    first = add_note(lake, source, author="Ada", kind="flag", name="star")
    add_note(lake, source, author="Bob", comment="<b>no</b> star; it's a galaxy")
    rows = note_rows(lake)
    assert rows.select("source_id", "kind", "name", "comment", "author", "is_withdrawn").rows() == [
        (source, "flag", "star", "", "Ada", False),
        (source, "comment", "", "<b>no</b> star; it's a galaxy", "Bob", False),
    ]
    changed = withdraw_notes(lake, first["note_id"].to_list(), author="Ada")
    assert changed["is_withdrawn"].to_list() == [True]
    assert note_rows(lake)["is_withdrawn"].to_list() == [True, False]
    assert [note["comment"] for note in lake.provenance("source", source).notes] == ["<b>no</b> star; it's a galaxy"]


def test_a_note_can_speak_of_a_product_as_the_tile_shows_it(looked_at):
    lake, source = looked_at
    row = add_note(lake, source, author="Ada", kind="class", name="star", value=0.9, product="source")
    assert row["product_run"].to_list() == [lake.live_run("source", row["tile"][0])]
    with pytest.raises(NotFoundError, match="nothing of 'redshift' was published"):
        add_note(lake, source, author="Ada", comment="good", product="redshift")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"author": " ", "comment": "x"}, "author: is empty"),
        ({"author": "Ada", "kind": "remark", "comment": "x"}, "kind: 'remark' is not allowed"),
        ({"author": "Ada", "kind": "flag"}, "a flag needs 1 to 32 characters"),
        ({"author": "Ada", "kind": "flag", "name": "x" * 33}, "a flag needs 1 to 32 characters"),
        ({"author": "Ada"}, "comment: is empty"),
    ],
)
def test_a_note_without_its_words_is_refused_and_nothing_is_written(looked_at, words, message):
    lake, source = looked_at
    with pytest.raises(InvalidInputError, match=message):
        add_note(lake, source, **words)
    assert note_rows(lake).is_empty()


def test_notes_on_unknown_sources_and_second_withdrawals_are_refused(looked_at):
    lake, source = looked_at
    with pytest.raises(NotFoundError, match="source_id: 5 is not in source"):
        add_note(lake, 5, author="Ada", comment="x")
    row = add_note(lake, source, author="Ada", comment="x")
    withdraw_notes(lake, row["note_id"].to_list(), author="Ada")
    with pytest.raises(NotFoundError, match="was withdrawn before"):
        withdraw_notes(lake, row["note_id"].to_list(), author="Ada")
    with pytest.raises(NotFoundError, match="'nothing' is not in the lake"):
        withdraw_notes(lake, ["nothing"], author="Ada")


def test_a_release_takes_no_notes(looked_at):
    lake, source = looked_at
    lake.release("DR1")
    with pytest.raises(InvalidInputError, match="opened at release 'DR1'"):
        add_note(Lake.open(lake.path, "DR1"), source, author="Ada", comment="x")
