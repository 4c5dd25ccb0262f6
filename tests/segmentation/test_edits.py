"""Edits as data: what each kind does, what finds nothing to act on, and that labels are never used again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skymere.datamodels import SegmentationMap
from skymere.errors import FormatError, InvalidInputError
from skymere.regions import Annulus, Box, Circle, Ellipse, Point, Polygon, mask_from_region
from skymere.segmentation import (
    Edit,
    EditOutcome,
    MeasureImage,
    apply_edits,
    bad_pixels,
    detect,
    edits_from_regions,
    measure,
    read_edits,
)
from skymere.wcs import Grid

GRID = Grid.tangent(150.0, 2.0, shape=(100, 120), scale_arcsec=0.1, rotation_deg=20.0)


def squares() -> SegmentationMap:
    """Twelve squares of 12 x 12 pixels, labels 1 to 12 in rows of four, 8 pixels apart."""
    labels = np.zeros((100, 120), np.int32)
    for k in range(12):
        y, x = 10 + 20 * (k // 4), 10 + 20 * (k % 4)
        labels[y : y + 12, x : x + 12] = k + 1
    return SegmentationMap(labels=labels, grid=GRID)


def circle(x: float, y: float, r: float, text: str = "") -> Circle:
    return Circle(centre=(x, y), radius=r, frame="image", text=text)


def edit_one(kind: str, *regions) -> tuple[SegmentationMap, EditOutcome]:
    edited, (outcome,) = apply_edits(squares(), [Edit(kind=kind, regions=regions, edit_id="e1")])
    assert outcome.edit_id == "e1"
    return edited, outcome


def test_a_circle_merges_every_segment_that_it_touches_into_the_smallest_label() -> None:
    before = squares()
    edited, outcome = edit_one("merge", circle(25.5, 25.5, 7.0))
    assert (outcome.status, outcome.before, outcome.after) == ("applied", (1, 2, 5, 6), (1,))
    assert np.array_equal(edited.labels == 1, np.isin(before.labels, (1, 2, 5, 6)))
    assert np.array_equal(edited.labels[:, 50:], before.labels[:, 50:])
    assert np.array_equal(before.labels, squares().labels)


def test_a_merge_of_three_segments_is_one_row_that_keeps_the_flux_and_the_area() -> None:
    y, x = np.indices((60, 90))
    places = ((25, 30), (37, 30), (49, 31), (75, 30))
    image = np.random.default_rng(1).normal(0, 1, (60, 90))
    image += sum(60.0 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 2.0**2)) for cx, cy in places)
    found = detect(image, error=1.0)
    band = {"r": MeasureImage(data=image, error=1.0)}
    apart = measure(found, band).table.filter(pl.col("x") < 60)
    assert apart.height == 3
    edited, (outcome,) = apply_edits(found, [Edit(kind="merge", regions=(circle(37, 30, 14.0),))])
    assert set(outcome.before) == set(apart["label"])
    table = measure(edited, band).table
    assert table.height == 2
    one = table.filter(pl.col("label") == outcome.after[0]).row(0, named=True)
    assert one["flux_iso_r"] == pytest.approx(apart["flux_iso_r"].sum(), rel=1e-9)
    assert one["flux_iso_err_r"] == pytest.approx(np.sqrt((apart["flux_iso_err_r"] ** 2).sum()), rel=1e-9)
    assert one["area"] == apart["area"].sum()
    weighted = (apart["x"] * apart["flux_iso_r"]).sum() / apart["flux_iso_r"].sum()
    assert one["x"] == pytest.approx(weighted, abs=0.3)


def test_a_merge_of_less_than_two_segments_says_why_and_changes_nothing() -> None:
    for place, status, reason in (
        (circle(16, 16, 3), "nothing_to_act_on", "only segment 1 lies in the region"),
        (circle(26, 26, 1.0), "nothing_to_act_on", "no segment lies in the region"),
        (circle(26.5, 26.5, 0.2), "nothing_to_act_on", "holds no pixel"),
        (circle(-30, 26, 5), "outside", "lies outside the image"),
    ):
        edited, outcome = edit_one("merge", place)
        assert (outcome.status, outcome.after) == (status, ())
        assert reason in outcome.reason
        assert np.array_equal(edited.labels, squares().labels)


def test_unlabelled_circles_are_sources_of_their_own_and_those_of_one_label_are_one() -> None:
    circles = [
        circle(16, 16, 3),
        circle(96, 16, 4),
        circle(96, 40, 4, "007"),
        circle(100, 40, 4, "007"),
        circle(96, 70, 4, "7"),
    ]
    edits = edits_from_regions("draw", circles)
    edited, outcomes = apply_edits(squares(), edits)
    assert [outcome.after[-1] for outcome in outcomes] == [13, 14, 15, 16]
    assert [len(edit.regions) for edit in edits] == [1, 1, 2, 1]
    # Drawn over segment 1, which keeps the rest.
    assert outcomes[0].before == (1,)
    assert outcomes[0].after == (1, 13)
    drawn = mask_from_region(circles[0], GRID)
    assert np.array_equal(edited.labels == 13, drawn)
    assert np.count_nonzero(edited.labels == 1) == 144 - drawn.sum()
    union = mask_from_region(circles[2], GRID) | mask_from_region(circles[3], GRID)
    assert np.array_equal(edited.labels == 15, union)


def test_what_is_taken_away_belongs_to_the_edit_before_it_also_when_that_is_an_older_one() -> None:
    a, b, c = circle(10, 10, 4, "a"), circle(40, 10, 4, "b"), circle(14, 10, 4, "a")
    cut, more = (replace(circle(x, 10, 1), is_include=False) for x in (14, 15))
    first, second = edits_from_regions("draw", [a, b, c, cut, more])
    assert first.regions == (a, c, cut, more)
    assert second.regions == (b,)


def test_a_source_drawn_over_a_whole_segment_takes_its_place() -> None:
    edited, outcome = edit_one("draw", circle(15.5, 15.5, 10.0))
    assert (outcome.before, outcome.after) == ((1,), (13,))
    assert 1 not in edited.ids


def test_every_shape_can_be_drawn_and_what_is_taken_away_is_left_out() -> None:
    hole = Circle(centre=(60, 85), radius=3.0, frame="image", is_include=False)
    corners = ((50.0, 78.0), (70.0, 78.0), (60.0, 95.0))
    for shape in (
        Box(centre=(60, 85), size=(20, 12), angle_deg=30, frame="image"),
        Ellipse(centre=(60, 85), semi_axes=(12, 6), angle_deg=30, frame="image"),
        Annulus(centre=(60, 85), radii=(4, 10), frame="image"),
        Polygon(vertices=corners, frame="image"),
    ):
        edited, outcome = edit_one("draw", shape, hole)
        expected = mask_from_region(shape, GRID) & mask_from_region(hole, GRID)
        assert outcome.n_pixels == expected.sum() > 100
        assert np.array_equal(edited.labels == 13, expected)


def test_points_part_a_segment_and_the_largest_part_keeps_the_label() -> None:
    points = [Point(centre=(x, 16.0), frame="image") for x in (12.0, 14.0, 19.0)]
    edited, outcome = edit_one("split", *points)
    assert (outcome.status, outcome.before, outcome.after) == ("applied", (1,), (1, 13, 14))
    areas = [np.count_nonzero(edited.labels == label) for label in (1, 13, 14)]
    assert sum(areas) == 144
    assert areas[0] == max(areas)
    assert edited.labels[16, 19] == 1
    assert sorted({int(edited.labels[16, x]) for x in (12, 14, 19)}) == [1, 13, 14]


def test_a_split_needs_two_points_in_one_segment() -> None:
    for xs, reason in (
        ((12.0, 32.0), "they lie in 1, 2"),
        ((26.0, 28.0), "they lie in the sky, the sky"),
        ((12.0, 12.2), "one pixel"),
    ):
        _, outcome = edit_one("split", *(Point(centre=(x, 16.0), frame="image") for x in xs))
        assert outcome.status == "nothing_to_act_on"
        assert reason in outcome.reason
    with pytest.raises(InvalidInputError, match="two points or more"):
        Edit(kind="split", regions=(Point(centre=(1.0, 1.0), frame="image"),))


def test_a_shape_cuts_the_segment_that_fills_most_of_it() -> None:
    box = Box(centre=(20.0, 15.5), size=(25.0, 4.0), frame="image")
    edited, outcome = edit_one("split", box)
    assert (outcome.before, outcome.after) == ((1,), (1, 13))
    inside = mask_from_region(box, GRID) & (squares().labels == 1)
    assert np.array_equal(edited.labels == 13, inside)
    assert np.array_equal(edited.labels == 2, squares().labels == 2)
    _, outcome = edit_one("split", circle(15.5, 15.5, 10.0))
    assert outcome.reason == "all of segment 1 lies in the region"


def test_deleted_segments_and_masked_pixels_are_sky() -> None:
    edited, outcome = edit_one("delete", circle(25.5, 15.5, 5.0))
    assert (outcome.before, outcome.after) == ((1, 2), ())
    assert np.array_equal(edited.labels == 0, np.isin(squares().labels, (0, 1, 2)))
    edited, outcome = edit_one("mask", circle(10.0, 10.0, 5.0))
    assert (outcome.before, outcome.after) == ((1,), (1,))
    assert np.array_equal(edited.labels, np.where(mask_from_region(circle(10.0, 10.0, 5.0), GRID), 0, squares().labels))
    edited, outcome = edit_one("delete", Point(centre=(16.0, 16.0), frame="image"))
    assert outcome.before == (1,)


def test_a_mask_of_one_band_is_that_band_s_and_leaves_the_labels() -> None:
    places = {"r": circle(16, 16, 5.0), "": circle(76, 16, 4.0), "k": circle(36, 36, 3.0)}
    edits = [Edit(kind="mask", regions=(where,), band=band, edit_id=f"m{band}") for band, where in places.items()]
    edits.append(Edit(kind="delete", regions=(circle(16, 16, 5.0),), band="r"))
    edited, outcomes = apply_edits(squares(), edits[:3])
    inside = {band: mask_from_region(where, GRID) for band, where in places.items()}
    expected = np.where(inside[""], 0, squares().labels)
    assert np.array_equal(edited.labels, expected)
    assert [(o.status, o.n_pixels) for o in outcomes] == [("applied", inside[band].sum()) for band in places]
    assert [o.before for o in outcomes] == [(), (4,), ()]
    found = bad_pixels(edits, GRID, ["g", "r"])
    assert set(found) == {"g", "r"}
    assert np.array_equal(found["g"], inside[""])
    assert np.array_equal(found["r"], inside[""] | inside["r"])
    assert bad_pixels(edits[3:], GRID, ["g", "r"]) == {}


def test_edits_see_what_the_edits_before_them_have_left() -> None:
    edits = [
        Edit(kind="merge", regions=(circle(25.5, 15.5, 5.0),), edit_id="a"),
        Edit(kind="draw", regions=(circle(35.5, 15.5, 3.0),), edit_id="b"),
        Edit(kind="merge", regions=(circle(35.5, 15.5, 1.0), circle(75.5, 15.5, 3.0)), edit_id="c"),
        Edit(kind="delete", regions=(circle(15.5, 15.5, 1.0),), edit_id="d"),
        Edit(kind="delete", regions=(circle(15.5, 15.5, 1.0),), edit_id="e"),
    ]
    edited, outcomes = apply_edits(squares(), edits)
    assert [o.before for o in outcomes] == [(1, 2), (1,), (4, 13), (1,), ()]
    assert [o.after for o in outcomes] == [(1,), (1, 13), (4,), (), ()]
    assert [o.status for o in outcomes] == ["applied"] * 4 + ["nothing_to_act_on"]
    assert np.count_nonzero(edited.labels == 4) == 144 + outcomes[1].n_pixels


def test_labels_are_never_used_again() -> None:
    drawn, _ = edit_one("draw", circle(96.0, 40.0, 4.0))
    deleted, _ = apply_edits(drawn, [Edit(kind="delete", regions=(circle(96.0, 40.0, 1.0),))])
    assert deleted.ids.max() == 12
    again, (outcome,) = apply_edits(deleted, [Edit(kind="draw", regions=(circle(96.0, 40.0, 4.0),))])
    assert outcome.after == (14,)
    assert again.params["next_label"] == 15


def test_a_group_that_is_partly_outside_is_applied_and_says_so() -> None:
    _, outcome = edit_one("draw", circle(96.0, 40.0, 4.0), circle(500.0, 40.0, 4.0))
    assert (outcome.status, outcome.reason) == ("applied", "1 of 2 regions lie outside the image")


def test_edits_of_the_sky_land_on_the_same_sky_on_another_grid(tmp_path: Path) -> None:
    finer = Grid.tangent(150.0, 2.0, shape=(240, 240), scale_arcsec=0.05, rotation_deg=-70.0)
    path = tmp_path / "det_manual.reg"
    path.write_text("image\ncircle(97.3,41.2,6.4)\nellipse(60,86,12,6,30) # text={007}\n")
    edits = read_edits(path, "draw", grid=GRID)
    assert {region.frame for edit in edits for region in edit.regions} == {"icrs"}
    here, _ = apply_edits(squares(), edits)
    there, outcomes = apply_edits(SegmentationMap(labels=np.zeros((240, 240), np.int32), grid=finer), edits)
    assert [outcome.status for outcome in outcomes] == ["applied", "applied"]
    for label_here, label_there in ((13, 1), (14, 2)):
        y, x = np.nonzero(here.labels == label_here)
        v, u = np.nonzero(there.labels == label_there)
        sky_here, sky_there = (
            np.array(g.sky(a.astype(float), b.astype(float))).mean(axis=1) for g, a, b in ((GRID, x, y), (finer, u, v))
        )
        assert np.abs((sky_here - sky_there) * 3600).max() < 0.03
        assert v.size / y.size == pytest.approx(4.0, rel=0.04)


def test_bad_input_is_refused_in_words() -> None:
    with pytest.raises(InvalidInputError, match="kind: 'join'"):
        Edit(kind="join", regions=(circle(1, 1, 1),))  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="only such as are taken away"):
        Edit(kind="merge", regions=(Circle(centre=(1, 1), radius=1.0, is_include=False),))
    with pytest.raises(InvalidInputError, match="a point cannot be drawn"):
        Edit(kind="draw", regions=(Point(centre=(1.0, 1.0)),))
    bare = SegmentationMap(labels=np.zeros((10, 10), np.int32))
    with pytest.raises(InvalidInputError, match="must be a Grid"):
        apply_edits(bare, [Edit(kind="merge", regions=(Circle(centre=(1.0, 1.0), radius=1.0),))])
    with pytest.raises(InvalidInputError, match="labels: -1"):
        apply_edits(SegmentationMap(labels=np.full((3, 3), -1, np.int32)), [])
    full = SegmentationMap(labels=np.full((3, 3), 2**31 - 1, np.int32))
    with pytest.raises(InvalidInputError, match="leave no room"):
        apply_edits(full, [Edit(kind="draw", regions=(circle(1, 1, 1),))])


def test_a_file_with_an_unknown_shape_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "merged_segments.reg"
    path.write_text("image\ncircle(97,41,4)\nline(1,2,3,4)\n")
    with pytest.raises(FormatError, match=r"merged_segments\.reg: line 3: 'line'"):
        read_edits(path, "merge")


KINDS = st.sampled_from(["merge", "draw", "delete", "mask", "split"])
PLACES = st.tuples(KINDS, st.floats(-10, 130), st.floats(-10, 110), st.floats(0.5, 15))


@settings(max_examples=60, deadline=None)
@given(st.lists(PLACES, max_size=8))
def test_one_call_with_all_edits_is_the_same_as_one_call_for_each(
    places: list[tuple[str, float, float, float]],
) -> None:
    edits = [Edit(kind=kind, regions=(circle(x, y, r),)) for kind, x, y, r in places]
    together, outcomes = apply_edits(squares(), edits)
    alone, seen = squares(), []
    for edit in edits:
        alone, (outcome,) = apply_edits(alone, [edit])
        seen.append(outcome)
    assert np.array_equal(together.labels, alone.labels)
    assert outcomes == seen
    sky = np.count_nonzero(together.labels == 0)
    assert sky + sum(np.count_nonzero(together.labels == label) for label in together.ids) == together.labels.size
    # What an edit says was there before and after is so.
    assert all(set(o.before) >= set(o.after) - {label for label in o.after if label > 12} for o in outcomes)
