"""What people decide in the pages is rows of the lake, and can be taken back."""

import polars as pl
import pytest

from skymere.lake import beam_action_rows, note_rows, region_rows


def change(page, what, **words):
    return page.json(f"/api/change/{what}", data=words)


def place(lake, small, label):
    source = small.where_label(lake, label)
    return [source["ra"], source["dec"]]


def test_a_merge_is_saved_listed_and_undone(own, open_page, small):
    shapes = [{"at": place(own, small, label)} for label in (1, 2)]
    (edit,) = change(open_page, "edit", kind="merge", shapes=shapes, reason="one galaxy")["edits"][:1]
    assert (edit["role"], edit["status"], edit["before"]) == ("merge", "applied", "[1, 2]")
    stored = region_rows(own)
    assert stored["author"].unique().to_list() == ["Ada"]
    listed = open_page.json("/api/edits")["edits"]
    assert [(one["edit_id"], one["n_regions"], one["is_retracted"]) for one in listed] == [(edit["edit_id"], 2, False)]
    change(open_page, "edit/undo", edit_ids=[edit["edit_id"]], author="Bob")
    (undone,) = open_page.json("/api/edits")["edits"]
    assert undone["is_retracted"]
    assert region_rows(own)["retracted_by"].unique().to_list() == ["Bob"]
    again = open_page.refusal("/api/change/edit/undo", data={"edit_ids": [edit["edit_id"]]})
    assert again[0] == 404
    assert "was taken back before" in again[1]


@pytest.mark.parametrize(
    ("kind", "role", "shape"),
    [
        ("draw", "manual", {"radius_arcsec": 2.0}),
        ("mask", "bad", {"radius_arcsec": 3.0}),
        ("delete", "delete", {}),
    ],
)
def test_every_tool_makes_its_edit(own, open_page, small, kind, role, shape):
    told = change(open_page, "edit", kind=kind, shapes=[{"at": place(own, small, 3), **shape}], reason="seen")
    assert [one["role"] for one in told["edits"]] == [role]
    assert region_rows(own)["shape"].to_list() == ["circle" if shape else "point"]


def test_polygons_are_drawn_as_they_were_clicked(own, open_page):
    corners = [[150.1, 2.2], [150.101, 2.2], [150.1, 2.201]]
    change(open_page, "edit", kind="mask", shapes=[{"vertices": corners}], reason="ghost", band="f160w")
    row = region_rows(own).row(0, named=True)
    assert (row["shape"], row["band"]) == ("polygon", "f160w")


def test_wavelengths_of_beams_are_left_out_and_come_back(own, open_page, small):
    source = str(small.where_label(own, 1)["source_id"])
    words = {
        "source_id": source,
        "grating": "g141",
        "wavelength_min": 1.2,
        "wavelength_max": 1.25,
        "reason": "zeroth order",
    }
    (name,) = change(open_page, "beam", **words)["action_ids"]
    row = beam_action_rows(own).row(0, named=True)
    assert (row["source_id"], row["wavelength_max"], row["author"]) == (int(source), 1.25, "Ada")
    assert open_page.json(f"/api/source/{source}")["beam_actions"][0]["action_id"] == name
    change(open_page, "beam/undo", action_ids=[name])
    assert beam_action_rows(own)["is_retracted"].to_list() == [True]


def test_flags_and_comments_are_written_and_withdrawn(own, open_page, small):
    source = str(small.where_label(own, 1)["source_id"])
    (flag,) = change(open_page, "note", source_id=source, kind="flag", name="star")["note_ids"]
    change(open_page, "note", source_id=source, kind="comment", comment=small.HOSTILE, author="Eve")
    assert note_rows(own).select("kind", "author").rows() == [("flag", "Ada"), ("comment", "Eve")]
    change(open_page, "note/undo", note_ids=[flag])
    assert note_rows(own).filter(pl.col("is_withdrawn"))["note_id"].to_list() == [flag]


@pytest.mark.parametrize(
    ("what", "words", "message"),
    [
        ("edit", {"kind": "melt", "shapes": [{"at": [1, 2]}], "reason": "x"}, "kind: 'melt' is not allowed"),
        ("edit", {"kind": "merge", "shapes": [], "reason": "x"}, "shapes: must be a list of 1 to 200"),
        ("edit", {"kind": "merge", "shapes": [{"at": [1]}], "reason": "x"}, "shapes: {'at': \\[1\\]}"),
        ("edit", {"kind": "merge", "shapes": ["here"], "reason": "x"}, "shapes: 'here' is not allowed"),
        ("edit", {"kind": "merge", "shapes": [{"at": ["nan", 2]}], "reason": "x"}, "shapes: "),
        (
            "edit",
            {"kind": "draw", "shapes": [{"at": [150.1, 2.2], "radius_arcsec": -1}], "reason": "x"},
            "shapes: .*radius",
        ),
        ("edit", {"kind": "draw", "shapes": [{"at": [150.1, 2.2], "radius_arcsec": 1}], "reason": " "}, "reason: ' '"),
        ("edit", {"kind": "draw", "shapes": [{"at": [150.1, 2.2], "radius_arcsec": 1}]}, "reason: None"),
        (
            "edit",
            {"kind": "mask", "shapes": [{"at": [10.0, 70.0], "radius_arcsec": 1}], "reason": "x"},
            "no tile of the lake owns",
        ),
        ("edit/undo", {"edit_ids": "all"}, "edit_ids: 'all' is not allowed"),
        (
            "note",
            {"source_id": 2528750943421221368, "kind": "flag", "name": "star"},
            "source_id: 2528750943421221368 is not allowed",
        ),
        ("note", {"source_id": "one", "kind": "flag", "name": "star"}, "source_id: 'one' is not allowed"),
        (
            "beam",
            {"source_id": "1", "wavelength_min": None, "wavelength_max": 2.0, "reason": "x"},
            "wavelength_min: None",
        ),
        ("wish", {}, "change: 'wish' is not known"),
    ],
)
def test_what_is_no_change_is_refused_and_nothing_is_written(own, open_page, what, words, message):
    status, text = open_page.refusal(f"/api/change/{what}", data=words)
    assert status in (400, 404)
    assert __import__("re").search(message, text), text
    assert region_rows(own).is_empty()
    assert note_rows(own).is_empty()


def test_an_edit_without_an_author_is_refused(own, serve):
    with serve(own) as page:
        status, text = page.refusal(
            "/api/change/edit",
            data={"kind": "mask", "shapes": [{"at": [150.1, 2.2], "radius_arcsec": 1}], "reason": "x"},
        )
    assert status == 400
    assert text == "author: is empty; an edit says who made it and why"
