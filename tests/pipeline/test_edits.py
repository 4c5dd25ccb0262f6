"""Edits of people in a survey: replayed on a new detection of the same field, with sources measured anew."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from skymere.lake import Lake, add_regions, region_rows, replay_outcomes, retract_edits
from skymere.pipeline import read_plan, run_plan
from skymere.pipeline.products import load_segmentation
from skymere.regions import Circle, Point, Region, stamp_region
from skymere.testing import CameraParams, SceneParams, SurveyParams, simulate_survey

SURVEY = SurveyParams(
    bands=("f160w",),
    n_dithers=5,
    scene=SceneParams(n_galaxies=260, n_stars=10, radius_arcsec=17.0, bright_mag=20.0, faint_mag=27.0),
    camera=CameraParams(shape=(300, 320), n_cosmic_rays=25, n_bad_pixels=200, n_dead_pixels=10),
)
PLAN = """[survey]
exposures = ["exposures/*_flt.fits"]

[tile]
name = "field"

[detect.sources]
threshold = {threshold}

[release]
name = "{release}"
"""
WHO = {"author": "Ada", "reason": "seen by eye"}
ROLES = {"merge": 16, "manual": 14, "delete": 8, "split": 6, "bad": 3}


def run(folder: Path, threshold: float, release: str):
    (folder / "plan.toml").write_text(PLAN.format(threshold=threshold, release=release))
    with pytest.MonkeyPatch.context() as patch:
        # Nobody looks at pictures here, and they take as long as all stages together.
        patch.setattr("skymere.pipeline.runner.draw_pictures", lambda *_, **__: [])
        return run_plan(read_plan(folder / "plan.toml"))


def stages_done(report) -> set[str]:
    return {stage.name for stage in report.stages if stage.n_done}


class Field:
    """The sources of a detection, and places that no other edit has taken."""

    def __init__(self, lake: Lake) -> None:
        self.grid = lake.tiles["field"].grid
        self.labels = load_segmentation(lake, "field").labels
        self.sources = lake.table("source").sort("flux_auto_f160w", descending=True, nulls_last=True).collect()
        self.taken: list[tuple[float, float]] = []

    def take(self, x: float, y: float, apart_pix: float = 18.0) -> bool:
        """Whether nobody edits nearby; then nobody else may."""
        ny, nx = self.grid.shape
        is_free = 60 < x < nx - 60 and 60 < y < ny - 60
        is_free = is_free and all(np.hypot(x - u, y - v) > apart_pix for u, v in self.taken)
        if is_free:
            self.taken.append((x, y))
        return is_free

    def sky(self, x: float, y: float) -> tuple[float, float]:
        ra, dec = self.grid.sky(np.array([x]), np.array([y]))
        return float(ra[0]), float(dec[0])

    def circle(self, x: float, y: float, radius_pix: float) -> Circle:
        return Circle(centre=self.sky(x, y), radius=radius_pix * self.grid.scale_arcsec)

    def is_blank(self, x: float, y: float, reach: int) -> bool:
        i, j = round(y), round(x)
        return not self.labels[i - reach : i + reach + 1, j - reach : j + reach + 1].any()


def draw_edits(field: Field) -> dict[str, list[list[Region]]]:
    """47 edits of all kinds where they make sense, none near another."""
    found: dict[str, list[list[Region]]] = {role: [] for role in ROLES}
    bright = field.sources.filter(pl.col("flux_auto_f160w") > 12 * pl.col("flux_auto_err_f160w"))
    xy = bright.select("x", "y").to_numpy()
    for x, y, area in bright.filter(pl.col("area") > 40).select("x", "y", "area").iter_rows():
        if len(found["split"]) < ROLES["split"] and area > 60 and field.take(x, y):
            found["split"].append([Point(centre=field.sky(x - 2, y)), Point(centre=field.sky(x + 2, y))])
        elif len(found["delete"]) < ROLES["delete"] and field.take(x, y):
            found["delete"].append([Point(centre=field.sky(x, y))])
    for x, y in xy:
        gaps = np.hypot(*(xy - (x, y)).T)
        order = np.argsort(gaps)[1]
        (u, v), gap = xy[order], gaps[order]
        if len(found["merge"]) < ROLES["merge"] and gap < 30 and field.take((x + u) / 2, (y + v) / 2):
            found["merge"].append([field.circle((x + u) / 2, (y + v) / 2, gap / 2 + 1.5)])
    rng = np.random.default_rng(1)
    for x, y in rng.uniform(60, np.array(field.grid.shape[::-1]) - 60, (4000, 2)):
        if len(found["manual"]) < ROLES["manual"] and field.is_blank(x, y, 7) and field.take(x, y):
            found["manual"].append([field.circle(x, y, 5.0)])
        elif len(found["bad"]) < ROLES["bad"] and field.take(x, y):
            found["bad"].append([field.circle(x, y, 6.0)])
    return found


def blank_places(field: Field) -> list[tuple[float, float]]:
    rng = np.random.default_rng(2)
    places = rng.uniform(60, np.array(field.grid.shape[::-1]) - 60, (4000, 2))
    return [(x, y) for x, y in places if field.is_blank(x, y, 7) and field.take(x, y)]


def check_on_the_sky(role: str, regions: list[Region], field: Field) -> None:
    """What an applied edit must have left on the sky of its regions."""
    stamps = [stamp_region(region, field.grid) for region in regions]
    under = [field.labels[stamp.window][stamp.inside] for stamp in stamps]
    if role == "merge":
        assert len(set(under[0]) - {0}) == 1
    elif role == "manual":
        (label,) = set(under[0])
        y, x = np.nonzero(field.labels == label)
        ra, dec = field.sky(x.mean(), y.mean())
        centre = regions[0].middle
        apart = np.hypot((ra - centre[0]) * np.cos(np.deg2rad(dec)), dec - centre[1]) * 3600
        assert apart < 0.05
        assert y.size == under[0].size
    elif role == "split":
        first, second = (int(labels[0]) for labels in under)
        assert 0 not in (first, second)
        assert first != second
    else:
        assert not under[0].any()


@pytest.fixture(scope="module")
def edited(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, tuple[str, list[Region]]], dict[str, set[str]]]:
    """A survey of four exposures with 50 edits, detected again with a fifth exposure and a lower threshold."""
    folder = tmp_path_factory.mktemp("edited") / "survey"
    exposures = simulate_survey(folder, params=SURVEY, n_workers=1)
    held_back = folder / "held_back.fits"
    exposures[-1].rename(held_back)
    done = {"first": stages_done(run(folder, 5.0, "A"))}
    lake = Lake.open(folder / "lake")
    field = Field(lake)
    edits: dict[str, tuple[str, list[Region]]] = {}
    for role, groups in draw_edits(field).items():
        assert len(groups) == ROLES[role], (role, len(groups))
        rows = add_regions(lake, role, groups, is_strict=True, **WHO)
        for group, name in zip(groups, rows["edit_id"].unique(maintain_order=True), strict=True):
            edits[name] = (role, group)
    places = blank_places(field)[:3]
    for role, (x, y) in zip(("merge", "delete", "split"), places, strict=True):
        group = [Point(centre=field.sky(x, y)), Point(centre=field.sky(x + 3, y))][: 2 if role == "split" else 1]
        rows = add_regions(lake, role, [group], **WHO)
        edits[rows["edit_id"][0]] = (role, group)
    done["edited"] = stages_done(run(folder, 5.0, "B"))
    done["again"] = stages_done(run(folder, 5.0, "B"))
    held_back.rename(exposures[-1])
    done["deeper"] = stages_done(run(folder, 4.2, "C"))
    return folder, edits, done


def test_50_edits_land_on_the_same_sky_of_a_deeper_detection_or_say_why_not(edited) -> None:
    folder, edits, _ = edited
    lake = Lake.open(folder / "lake")
    assert len(edits) == 50
    outcomes = {outcome.edit_id: outcome for outcome in replay_outcomes(lake, "field")}
    assert set(outcomes) == set(edits)
    field = Field(lake)
    applied = [name for name in edits if outcomes[name].status == "applied"]
    n_checked = 0
    for i, name in enumerate(applied):
        acted_on_later = {label for other in applied[i + 1 :] for label in outcomes[other].before}
        if acted_on_later.isdisjoint(outcomes[name].after):
            check_on_the_sky(*edits[name], field)
            n_checked += 1
    assert n_checked >= 42
    assert len(applied) >= 44
    for name in set(edits) - set(applied):
        assert outcomes[name].status == "nothing_to_act_on"
        assert outcomes[name].reason
    row = lake.table("segmentation").collect().row(0, named=True)
    assert row["threshold"] == 4.2
    mosaic = lake.table("mosaic").collect().row(0, named=True)
    assert len(json.loads(mosaic["exposure_ids"])) == 5


def test_an_edit_makes_the_detection_stale_and_nothing_before_it(edited) -> None:
    _, _, done = edited
    assert {"detect", "measure", "cutouts"} <= done["edited"]
    assert not {"ingest", "outliers", "mosaic"} & done["edited"]
    assert not done["again"]
    assert {"ingest", "mosaic", "detect", "measure"} <= done["deeper"]


def test_the_catalogue_is_that_of_the_edited_segments_and_keeps_its_identifiers(edited) -> None:
    folder, _, _ = edited
    lake = Lake.open(folder / "lake")
    labels = load_segmentation(lake, "field").labels
    sources = lake.table("source").collect()
    assert set(sources["label"]) <= set(np.unique(labels).tolist())
    areas = np.bincount(labels.ravel())
    assert sources["area"].to_list() == [areas[label] for label in sources["label"]]
    # Every merge left one identifier, and the table of aliases says which the others became.
    (first,) = region_rows(lake)["labels_run"].unique()
    detections = lake.table("run").filter(pl.col("product") == "source").sort("finished").collect()
    parent = next(row["run_id"] for row in detections.iter_rows(named=True) if first in row["inputs"])
    alias = lake.table("alias").filter(pl.col("kind") == "merge", pl.col("parent_run") == parent).collect()
    gone = dict(alias.select("old_id", "source_id").iter_rows())
    rows = region_rows(lake).filter(pl.col("role") == "merge", pl.col("status") == "applied")
    assert rows.height == ROLES["merge"]
    for ids in map(json.loads, rows["source_ids"]):
        assert any(name in gone for name in ids)
        assert len({gone.get(name, name) for name in ids}) == 1
    tree = lake.provenance("source", int(sources["source_id"][0]))
    assert {row["author"] for node in tree.edits for row in node.decisions} == {"Ada"}


def test_an_undone_edit_stays_as_a_row_and_the_next_detection_goes_without_it(edited) -> None:
    folder, edits, _ = edited
    lake = Lake.open(folder / "lake")
    applied = {outcome.edit_id for outcome in replay_outcomes(lake, "field") if outcome.status == "applied"}
    name, (_, regions) = next((n, e) for n, e in edits.items() if e[0] == "merge" and n in applied)
    retract_edits(lake, [name], author="Bo", reason="two after all")
    assert {"detect", "measure"} <= stages_done(run(folder, 4.2, "D"))
    assert name not in {outcome.edit_id for outcome in replay_outcomes(lake, "field")}
    stamp = stamp_region(regions[0], lake.tiles["field"].grid)
    under = load_segmentation(lake, "field").labels[stamp.window][stamp.inside]
    assert len(set(under) - {0}) > 1
    rows = region_rows(lake).filter(pl.col("edit_id") == name)
    assert rows.select("is_retracted", "retracted_by", "author").rows() == [(True, "Bo", "Ada")]
