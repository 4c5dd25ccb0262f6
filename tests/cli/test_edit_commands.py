"""`skymere edit merge | split | draw | delete | undo | list | import | export`."""

import json
import shutil

import polars as pl
import pytest

from skymere.lake import Lake, region_rows, regions_from_rows, stored_edits
from skymere.regions import Circle, Point, read_regions, write_regions

WHO = ("--author", "Ada", "--why", "by eye")
# Squares 1 and 2 of the survey, and a place where nothing is, on the sky of tile east.
ONE, TWO, BLANK = (16, 12), (58, 12), (95, 90)


@pytest.fixture(scope="module")
def made(survey, tmp_path_factory):
    lake = survey.create(tmp_path_factory.mktemp("made") / "lake")
    survey.publish_all(lake)
    return lake


@pytest.fixture
def lake(made, tmp_path):
    """A copy of a lake with every product, to be changed."""
    shutil.copytree(made.path, tmp_path / "lake")
    return Lake.open(tmp_path / "lake")


def at(lake, place):
    ra, dec = (float(v) for v in lake.tiles["east"].grid.sky(*(float(p) for p in place)))
    return f"{ra:.8f} {dec:.8f}"


@pytest.mark.parametrize(
    "command", ["merge", "split", "draw", "delete", "mask", "undo", "list", "import", "export", "propose"]
)
def test_help_teaches_with_an_example_and_the_lake_comes_first(call, command):
    done = call("edit", command, "--help")
    assert done.exit_code == 0
    words = " ".join(done.stdout.translate(dict.fromkeys(map(ord, "{}`"))).split())
    assert f"Example: skymere edit {command} survey" in words
    assert f"skymere edit {command} [OPTIONS] LAKE" in words


def test_each_kind_of_edit_is_made_at_positions(call, lake):
    path = lake.path
    assert call("edit", "merge", path, "--at", at(lake, ONE), "--at", at(lake, TWO), *WHO).exit_code == 0
    assert call("edit", "split", path, "--at", at(lake, (12, 12)), "--at", at(lake, (16, 12)), *WHO).exit_code == 0
    assert call("edit", "draw", path, "--at", at(lake, BLANK), "--radius", "0.4", *WHO).exit_code == 0
    # Segment 2 has been merged into 1 by now, though no detection has replayed that yet.
    assert call("edit", "delete", path, "--at", at(lake, TWO), *WHO).exit_code == 0
    rows = region_rows(lake)
    assert rows["role"].to_list() == ["merge", "merge", "split", "split", "manual", "delete"]
    assert rows["status"].unique().to_list() == ["applied"]
    assert [json.loads(text) for text in rows["before"]] == [[1, 2], [1, 2], [1], [1], [], [1]]
    assert rows["author"].unique().to_list() == ["Ada"]
    listed = call("edit", "list", path)
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in rows["edit_id"])


def test_sexagesimal_positions_are_the_same_place(call, lake):
    ra, dec = (float(word) for word in at(lake, ONE).split())
    hours = f"{int(ra / 15)}:{int(ra / 15 % 1 * 60):02d}:{ra / 15 * 3600 % 60:.6f} {'-' if dec < 0 else '+'}0:00:{abs(dec) * 3600:.5f}"
    done = call("edit", "delete", lake.path, "--at", hours, *WHO)
    assert done.exit_code == 0, done.output
    (region,) = regions_from_rows(region_rows(lake))
    assert isinstance(region, Point)
    assert region.centre == pytest.approx((ra, dec), abs=1e-7)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("merge", "--at", "ONE"), "NoDataError: merge at .* only segment 1 lies in the region"),
        (("delete", "--at", "BLANK"), "NoDataError: delete at .* no segment lies in the region"),
        (("draw", "--at", "ONE"), "--radius: is missing"),
        (("mask", "--at", "ONE"), "--radius: is missing"),
        (("merge",), "--at: is missing"),
        (("delete", "--at", "12 north"), "--at: '12 north' is not allowed"),
        (("delete", "--at", "12"), "--at: '12' is not allowed"),
        (("delete", "--at", "12 -34"), "NotFoundError: region: no tile of the lake owns"),
        (("split", "--at", "ONE"), "two points or more"),
        (("undo", "nothing"), "'nothing' is not in the lake"),
        (("list", "--role", "ghost"), "--role: 'ghost'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_writes_nothing(call, lake, arguments, reason):
    import re

    places = {"ONE": at(lake, ONE), "BLANK": at(lake, BLANK)}
    command, *rest = (places.get(word, word) for word in arguments)
    who = () if command == "list" else WHO
    done = call("edit", command, lake.path, *rest, *who)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert re.search(reason, done.stderr), done.stderr
    assert region_rows(lake).is_empty()


def test_undo_takes_an_edit_back_and_list_says_so(call, lake):
    call("edit", "delete", lake.path, "--at", at(lake, ONE), *WHO)
    (name,) = region_rows(lake)["edit_id"]
    done = call("edit", "undo", lake.path, name, "--author", "Bo", "--why", "a galaxy after all")
    assert done.exit_code == 0, done.output
    assert region_rows(lake)["is_retracted"].to_list() == [True]
    listed = call("edit", "list", lake.path).stdout
    assert "taken back" in listed
    assert "Bo: a galaxy after all" in listed


def test_a_mask_is_a_bad_region_of_all_bands_or_of_one_and_can_be_undone(call, lake, tmp_path):
    done = call("edit", "mask", lake.path, "--at", at(lake, BLANK), "--radius", "0.4", "--band", "f140w", *WHO)
    assert done.exit_code == 0, done.output
    path = write_regions([Circle(centre=tuple(map(float, at(lake, ONE).split())), radius=0.5)], tmp_path / "spike.reg")
    assert call("edit", "mask", lake.path, "--regions", path, *WHO).exit_code == 0
    rows = region_rows(lake)
    assert rows.select("role", "band", "status", "author", "reason").rows() == [
        ("bad", "f140w", "applied", "Ada", "by eye"),
        ("bad", "", "applied", "Ada", "by eye"),
    ]
    # Only the mask of all bands takes pixels from a segment.
    assert [json.loads(text) for text in rows["before"]] == [[], [1]]
    assert call("edit", "undo", lake.path, rows["edit_id"][0], *WHO).exit_code == 0
    assert [edit.edit.band for edit in stored_edits(lake, "east")[0]] == [""]


def test_region_files_go_in_by_their_name_and_out_again(call, lake, tmp_path):
    grid = lake.tiles["east"].grid
    drawn = [
        Circle(centre=tuple(float(v) for v in grid.sky(float(x), 60.0)), radius=0.3, text=text)
        for x, text in ((20, "007"), (26, "007"), (50, ""), (70, ""))
    ]
    path = write_regions(drawn, tmp_path / "det_manual.reg")
    done = call("edit", "import", lake.path, path, *WHO)
    assert done.exit_code == 0, done.output
    rows = region_rows(lake)
    assert rows["role"].unique().to_list() == ["manual"]
    assert rows["edit_id"].n_unique() == 3
    assert rows["text"].to_list() == ["007", "007", "", ""]
    assert call("edit", "export", lake.path, tmp_path / "out.reg", "--role", "manual").exit_code == 0
    assert read_regions(tmp_path / "out.reg") == drawn
    assert (tmp_path / "out.reg").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("merged_segments.reg", "merge"),
        ("wfc3-f160w-bad.reg", "bad"),
        ("_bad.reg", "bad"),
        ("det_stack-bad.reg", "bad"),
        ("mask_border.reg", "mask_border"),
        ("wfc3-f160w-mask-border.reg", "mask_border"),
        ("mask_border_more.reg", "mask_border_more"),
        ("mask_all.reg", "mask_all"),
        ("irac1-sim.reg", "sim"),
    ],
)
def test_every_file_of_the_pipeline_has_its_role_by_name(call, lake, tmp_path, name, role):
    # Drawn on an image: anchored to the sky with its grid, physical pixels through its LTV cards.
    from astropy.io import fits

    grid = lake.tiles["east"].grid
    header = fits.Header(grid.cards())
    header["LTV1"], header["LTV2"] = -10.0, -20.0
    fits.PrimaryHDU(pl.DataFrame({"a": [0.0] * 96}).to_numpy().repeat(128, axis=1), header).writeto(
        tmp_path / "image.fits"
    )
    (tmp_path / name).write_text("physical\ncircle(49,53,25)\n")
    done = call(
        "edit", "import", lake.path, tmp_path / name, "--image", tmp_path / "image.fits", "--band", "f140w", *WHO
    )
    assert done.exit_code == 0, done.output
    (row,) = region_rows(lake).to_dicts()
    assert (row["role"], row["band"], row["frame"]) == (role, "f140w", "icrs")
    (region,) = regions_from_rows(region_rows(lake))
    assert region.centre == pytest.approx(tuple(float(v) for v in grid.sky(38.0, 32.0)), abs=1e-9)
    assert region.radius == pytest.approx(2.5, rel=1e-6)


def test_a_file_whose_name_says_nothing_needs_a_role_and_bad_lines_are_named(call, lake, tmp_path):
    path = tmp_path / "mine.reg"
    path.write_text("icrs\nvector(1,2,3,4)\n")
    done = call("edit", "import", lake.path, path, *WHO)
    assert "--role: is missing, the name 'mine.reg'" in done.stderr
    done = call("edit", "import", lake.path, path, "--role", "merge", *WHO)
    assert "mine.reg: line 2: 'vector' is not a shape" in done.stderr
    assert region_rows(Lake.open(lake.path)).is_empty()
