"""Exposures by filter, visit and overlap."""

import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from skymere.errors import InvalidInputError
from skymere.lake import Lake, polygons_overlap
from skymere.mosaic import ExposureList, overlap_groups
from skymere.pipeline import exposure_groups


def outlines(ra: np.ndarray, dec: np.ndarray, angle: np.ndarray, half_deg: float) -> np.ndarray:
    """Corners of squares around positions, exact on the sphere."""
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    middle = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)
    east = np.stack([-np.sin(a), np.cos(a), np.zeros_like(a)], axis=-1)
    north = np.cross(middle, east)
    corners = []
    for k in range(4):
        turn = angle + np.pi / 4 + k * np.pi / 2
        step = np.sqrt(2) * np.tan(np.deg2rad(half_deg))
        place = middle + step * (np.cos(turn)[:, None] * east + np.sin(turn)[:, None] * north)
        corners.append(place / np.linalg.norm(place, axis=1, keepdims=True))
    x, y, z = np.moveaxis(np.stack(corners, axis=1), -1, 0)
    return np.stack([np.rad2deg(np.arctan2(y, x)) % 360.0, np.rad2deg(np.arcsin(z))], axis=-1)


def by_pairs(corners: np.ndarray) -> list[int]:
    """The group of each outline, from a look at every pair."""
    parent = list(range(len(corners)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i in range(len(corners)):
        for j in range(i):
            if root(i) != root(j) and polygons_overlap(corners[i], corners[j]):
                low, high = sorted((root(i), root(j)))
                parent[high] = low
    return [root(i) for i in range(len(corners))]


@pytest.mark.parametrize(("dec", "spread"), [(0.0, 1.2), (60.0, 1.2), (-89.5, 1.0)])
def test_groups_are_those_of_a_look_at_every_pair(dec: float, spread: float) -> None:
    rng = np.random.default_rng(7)
    n = 90
    # Around RA 0 and a pole as well.
    ra = rng.uniform(-spread, spread, n) / max(np.cos(np.deg2rad(dec)), 0.01) % 360.0
    corners = outlines(ra, np.clip(dec + rng.uniform(-spread, spread, n), -90, 90), rng.uniform(0, 7, n), 0.08)
    found = overlap_groups(corners)
    assert found.tolist() == by_pairs(corners)
    assert 2 < len(set(found.tolist())) < n


def test_outlines_that_touch_or_barely_overlap_are_told_apart() -> None:
    box = np.array([[0.0, 0.0], [0.1, 0.0], [0.1, 0.1], [0.0, 0.1]])
    east, far, slightly = np.array([0.1, 0.0]), np.array([0.3, 0.0]), np.array([0.0999, 0.0])
    assert overlap_groups([box, box + east, box + far]).tolist() == [0, 1, 2]
    assert overlap_groups([box, box + slightly, box + 0.0999]).tolist() == [0, 0, 0]
    assert overlap_groups(np.zeros((0, 4, 2))).tolist() == []
    # A cross: no corner of one lies in the other.
    wide = np.array([[-1.0, 0.04], [1.0, 0.04], [1.0, 0.06], [-1.0, 0.06]])
    assert overlap_groups([wide, box]).tolist() == [0, 0]
    with pytest.raises(InvalidInputError, match="outline 1"):
        overlap_groups([box, box * np.nan])


def made_rows(n_pointings: int, n_dithers: int) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    place = rng.uniform(0.0, 12.0, (n_pointings, 2)).repeat(n_dithers, axis=0) + rng.normal(
        0.0, 0.003, (n_pointings * n_dithers, 2)
    )
    angle = rng.uniform(0.0, 6.0, n_pointings).repeat(n_dithers)
    corners = outlines(150.0 + place[:, 0], place[:, 1], angle, 0.018)
    texts = ["POLYGON ICRS " + " ".join(f"{v:.8f}" for v in one.ravel()) for one in corners]
    visits = [f"i{k // 36**2:03d}{k % 36**2 // 36:02d}" for k in range(n_pointings) for _ in range(n_dithers)]
    names = [f"{visit}{k % 100:02d}q" for k, visit in enumerate(visits)]
    return pl.DataFrame({"exposure_id": names, "band": "f160w", "footprint": texts}).with_row_index("i")


def test_100_000_exposures_take_seconds() -> None:
    rows = made_rows(1000, 100).with_columns(pl.concat_str("exposure_id", pl.lit("_"), "i").alias("exposure_id"))
    # Time of this process alone, because others may be busy.
    began = time.process_time()
    groups = exposure_groups(rows)
    seconds = time.process_time() - began
    print(f"{rows.height} exposures: {seconds:.1f} s")
    assert groups.height == 100_000
    assert 300 < groups["group"].n_unique() < 1000
    assert seconds < 30
    # The dithers of a pointing overlap.
    places = groups.with_columns(pointing=pl.col("exposure_id").str.split("_").list.last().cast(pl.Int64) // 100)
    assert places.group_by("pointing").agg(pl.col("group").n_unique())["group"].max() == 1


def test_rows_have_visits_kinds_and_chips_of_a_file_are_of_one_group() -> None:
    box = np.array([[0.0, 0.0], [0.1, 0.0], [0.1, 0.1], [0.0, 0.1]])

    def row(name: str, path: str, shift: float, band: str = "F606W", status: str = "ok") -> dict[str, str]:
        text = " ".join(str(v) for v in (box + shift).ravel())
        return {
            "exposure_id": name,
            "path": path,
            "band": band,
            "footprint": f"POLYGON ICRS {text}",
            "status": status,
            "instrument": "",
        }

    rows = [
        row("jbtm01alq_chip1", "/a/jbtm01alq_flc.fits", 0.0),
        row("jbtm01alq_chip2", "/a/jbtm01alq_flc.fits", 1.0),
        row("jbtm01amq_chip1", "/a/jbtm01amq_flc.fits", 1.05),
        row("jbtm02aaq_chip1", "/a/jbtm02aaq_flc.fits", 5.0),
        row("jw01345001001_02201_00002_nrcb1", "/b/jw01345001001_02201_00002_nrcb1_cal.fits", 0.0, band="f115w"),
        row("sim0q", "/b/sim0q_flt.fits", 0.0, band="f160w"),
        row("broken", "/b/broken_flt.fits", 0.0, status="failed"),
    ]
    groups = exposure_groups(pl.DataFrame(rows))
    by_name = {one["exposure_id"]: one for one in groups.iter_rows(named=True)}
    assert "broken" not in by_name
    assert [by_name[one["exposure_id"]]["group"] for one in rows[:4]] == ["f606w-0001"] * 3 + ["f606w-0002"]
    assert by_name["jbtm01alq_chip2"]["visit"] == "jbtm01"
    assert by_name["jbtm01alq_chip2"]["instrument"] == "ACS"
    assert by_name["jbtm01alq_chip2"]["kind"] == "flc"
    assert by_name["jbtm02aaq_chip1"]["visit"] == "jbtm02"
    webb = by_name["jw01345001001_02201_00002_nrcb1"]
    assert (webb["visit"], webb["program"], webb["detector"], webb["kind"]) == (
        "jw01345001001",
        "01345",
        "nrcb1",
        "cal",
    )
    assert (by_name["sim0q"]["visit"], by_name["sim0q"]["kind"]) == ("", "flt")
    assert by_name["sim0q"]["footprint"] == box.tolist()
    assert by_name["sim0q"]["ra"] == pytest.approx(0.05, abs=1e-6)
    with pytest.raises(InvalidInputError, match=r"columns \['footprint'\] are missing"):
        exposure_groups(pl.DataFrame(rows).drop("footprint"))
    with pytest.raises(InvalidInputError, match="'CIRCLE 1 2 3' of sim0q is not allowed"):
        exposure_groups(pl.DataFrame([rows[5] | {"footprint": "CIRCLE 1 2 3"}]))
    assert exposure_groups(pl.DataFrame(rows).clear()).columns == groups.columns


def test_a_list_and_a_lake_of_the_same_files_have_the_same_groups(finished: Path) -> None:
    listed = exposure_groups(ExposureList.from_files(finished / "exposures"))
    stored = exposure_groups(Lake.open(finished / "lake"))
    same = ["exposure_id", "file", "band", "visit", "group", "exptime", "footprint"]
    assert listed.select(same).equals(stored.select(same))
    assert listed.group_by("band").agg(pl.col("group").n_unique()).sort("band").rows() == [("f125w", 1), ("f160w", 1)]
