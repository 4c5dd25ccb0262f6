"""Profiles fitted again by people: attempts, siblings, replays, and images of models."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake import Lake, profile_edit_rows
from skymere.pipeline import attempts_of, read_plan, refit_source, run_plan, undo_refits
from skymere.pipeline.stages import profiles as stage
from skymere.regions import Circle

WORDS = {"author": "Ada", "reason": "the wings are too steep"}


def best_profiles(folder: Path) -> pl.DataFrame:
    return Lake.open(folder / "lake").table("profile").filter(pl.col("is_best")).sort("source_id").collect()


def a_group(folder: Path) -> pl.DataFrame:
    """The members of a group of two or more that were fitted well."""
    good = best_profiles(folder).filter(pl.col("n_group") > 1, pl.col("status") == "ok")
    group = good.sort("flux", descending=True)["group_id"][0]
    return good.filter(pl.col("group_id") == group).sort("flux", descending=True)


def test_a_refit_is_a_new_attempt_of_the_source_and_of_its_siblings(copied: Path) -> None:
    plan, before = read_plan(copied / "plan.toml"), best_profiles(copied)
    group = a_group(copied)
    target = group.row(0, named=True)
    found = refit_source(plan, target["source_id"], start={"sersic_index": 1.5}, fixed=["sersic_index"], **WORDS)
    own = found.filter(pl.col("source_id") == target["source_id"])
    assert own["attempt"].to_list() == [0, 1]
    assert own["parent_attempt"].to_list() == [None, 0]
    assert own["is_best"].to_list() == [False, True]
    assert own["sersic_index"][1] == pytest.approx(1.5)
    assert own["sersic_index_err"][1] is None
    edit = profile_edit_rows(Lake.open(copied / "lake")).row(0, named=True)
    assert own["edit_id"].to_list() == ["", edit["edit_id"]]
    assert (edit["author"], edit["reason"], edit["is_retracted"]) == ("Ada", "the wings are too steep", False)
    siblings = found.filter(pl.col("source_id") != target["source_id"], pl.col("edit_id") == edit["edit_id"])
    assert set(siblings["source_id"]) == set(group["source_id"][1:])
    # Nothing else has moved, and the first attempts are as they were.
    after = Lake.open(copied / "lake").table("profile").filter(pl.col("attempt") == 0).sort("source_id").collect()
    shown = [name for name in before.columns if name not in ("is_best", "run_id", "covariance_row")]
    assert after.select(shown).equals(before.select(shown))


def test_a_refit_that_goes_on_gives_what_a_fit_from_the_beginning_gives(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = a_group(copied).row(1, named=True)
    where = Circle(centre=(target["ra"] + 3e-4, target["dec"]), radius=0.4)
    plan = read_plan(copied / "plan.toml")
    refit_source(plan, target["source_id"], bounds={"r_eff": (0.05, 0.3)}, mask=[where], **WORDS)
    refit_source(plan, target["source_id"], kind="exponential", **WORDS)
    other = tmp_path / "other"
    shutil.copytree(copied, other)
    lake = Lake.open(other / "lake")
    monkeypatch.setattr(stage, "stored_fit", lambda *_, **__: None)
    task = stage.task_of(read_plan(other / "plan.toml"), lake, "field")
    words = {"stage": "profiles", "tile": "field", "product": "profile", "params": task.params}
    with lake.run(**words, inputs=[*task.inputs, "anew"]) as run:
        task.work(run)
    tables, groups = zip(
        *[
            (one.table("profile").collect(), one.arrays("profile", "field"))
            for one in (Lake.open(copied / "lake"), Lake.open(other / "lake"))
        ],
        strict=True,
    )
    assert tables[0]["attempt"].max() == 2
    for one, other in zip(*(table.drop("run_id").iter_columns() for table in tables), strict=True):
        assert one.equals(other), one.name
    for name in ("f160w/model", "f160w/residual", "covariance"):
        assert np.array_equal(groups[0][name][...], groups[1][name][...], equal_nan=True)


def test_an_older_attempt_can_be_chosen_and_edits_taken_back(copied: Path) -> None:
    plan = read_plan(copied / "plan.toml")
    target = a_group(copied).row(0, named=True)["source_id"]
    first = best_profiles(copied)
    refit_source(plan, target, kind="point", **WORDS)
    point = attempts_of(plan, target).filter(pl.col("source_id") == target)
    assert point.filter("is_best")["kind"].to_list() == ["point"]
    chosen = refit_source(plan, target, action="choose", from_attempt=0, **WORDS)
    assert chosen.filter(pl.col("source_id") == target, pl.col("is_best"))["attempt"].to_list() == [0]
    assert chosen.filter(pl.col("source_id") == target).height == 2
    undo_refits(plan, profile_edit_rows(Lake.open(copied / "lake"))["edit_id"].to_list(), author="Eve", reason="no")
    shown = [name for name in first.columns if name != "run_id"]
    assert best_profiles(copied).select(shown).equals(first.select(shown))


def test_the_sum_of_two_profiles_is_one_row_with_both(copied: Path) -> None:
    plan = read_plan(copied / "plan.toml")
    galaxies = best_profiles(copied).filter(pl.col("status") == "ok", pl.col("r_eff") > 0.2, pl.col("n_group") == 1)
    target = galaxies.sort("flux", descending=True)["source_id"][0]
    parts = [{"kind": "de_vaucouleurs", "bounds": {"r_eff": [0.02, 0.3]}}, {"kind": "exponential", "centre_of": 0}]
    rows = refit_source(plan, target, components=parts, **WORDS).filter(pl.col("source_id") == target)
    row = rows.filter(pl.col("attempt") == 1).row(0, named=True)
    assert row["kind"] == "sum"
    assert row["status"] == "ok"
    # A bulge of bounded size and a disc are no worse by much than one profile of free index.
    assert row["chi2"] < 1.05 * rows["chi2"][0]
    assert row["flux"] == pytest.approx(rows["flux"][0], rel=0.1)
    fluxes = Lake.open(copied / "lake").table("flux").filter(pl.col("source_id") == target).sort("band")
    before = fluxes.collect()
    plan_file = copied / "plan.toml"
    plan_file.write_text(plan_file.read_text().replace('name = "DR2"', 'name = "DR3"'))
    run_plan(read_plan(plan_file))
    fluxes = Lake.open(copied / "lake").table("flux").filter(pl.col("source_id") == target).sort("band")
    after = fluxes.collect()
    assert after["status"].to_list() == ["ok"] * before.height
    assert after["flux"].to_numpy() == pytest.approx(before["flux"].to_numpy(), rel=0.1)


def test_places_and_angles_on_the_sky_are_those_of_the_fit(copied: Path) -> None:
    plan = read_plan(copied / "plan.toml")
    good = best_profiles(copied).filter(
        pl.col("status") == "ok", pl.col("ellipticity").is_between(0.3, 0.8), pl.col("n_group") == 1
    )
    row = good.sort("flux", descending=True).row(0, named=True)
    held = ["ra", "dec", "flux", "r_eff", "ellipticity", "pa_sky", "sersic_index"]
    with pytest.raises(InvalidInputError, match="ra and dec are not allowed alone"):
        refit_source(plan, row["source_id"], start={"ra": row["ra"]}, **WORDS)
    start = {name: row[name] for name in held}
    fixed = ["r_eff", "ellipticity", "pa_sky", "sersic_index"]
    rows = refit_source(plan, row["source_id"], start=start, fixed=fixed, **WORDS)
    again = rows.filter(pl.col("attempt") == rows["attempt"].max()).row(0, named=True)
    for name in fixed:
        assert again[name] == pytest.approx(row[name], rel=1e-6)
    assert again["flux"] == pytest.approx(row["flux"], rel=1e-3)
    assert (again["ra"], again["dec"]) == pytest.approx((row["ra"], row["dec"]), abs=0.002 / 3600)


def test_an_edit_that_cannot_be_done_changes_nothing(copied: Path) -> None:
    plan, before = read_plan(copied / "plan.toml"), best_profiles(copied)
    target = before["source_id"][0]
    with pytest.raises(InvalidInputError, match=r"sersic_index = 20\.0 is not allowed"):
        refit_source(plan, target, start={"sersic_index": 20.0}, **WORDS)
    with pytest.raises(NotFoundError, match="source_id: 5 is not a source of the lake"):
        refit_source(plan, 5, kind="point", **WORDS)
    with pytest.raises(InvalidInputError, match="author: is empty"):
        refit_source(plan, target, kind="point", author=" ", reason="x")
    shown = [name for name in before.columns if name != "run_id"]
    assert best_profiles(copied).select(shown).equals(before.select(shown))
    rows = profile_edit_rows(Lake.open(copied / "lake"))
    assert rows["is_retracted"].to_list() == [True]


def test_the_next_run_measures_with_the_new_shape(copied: Path) -> None:
    plan_file = copied / "plan.toml"
    target = best_profiles(copied).filter(pl.col("status") == "ok").sort("flux", descending=True)["source_id"][0]
    refit_source(read_plan(plan_file), target, kind="exponential", **WORDS)
    plan_file.write_text(plan_file.read_text().replace('name = "DR2"', 'name = "DR3"'))
    done = {one.name: one.n_done for one in run_plan(read_plan(plan_file)).stages}
    assert (done["profiles"], done["models"], done["photometry"]) == (0, 1, 1)
    rows = Lake.open(copied / "lake").table("flux").filter(pl.col("source_id") == target).collect()
    assert rows["profile_attempt"].to_list() == [1, 1]


def test_images_of_models_are_of_unit_light_and_make_up_the_model(measured: Path) -> None:
    lake = Lake.open(measured / "lake")
    rows = lake.table("model").filter(pl.col("status") == "ok").sort("source_id", "band").collect()
    models = lake.models(rows)
    for row, image in zip(rows.iter_rows(named=True), models["data"], strict=True):
        assert image.shape == (row["ny"], row["nx"])
        assert image.sum(dtype=float) == pytest.approx(row["sum"], rel=1e-5)
        assert row["sum"] > 0.9
    arrays = lake.arrays("profile", "field")
    whole, residual = arrays["f160w/model"][...], arrays["f160w/residual"][...]
    flux = dict(best_profiles(measured).select("source_id", "flux").iter_rows())
    unit = float(np.nansum(whole)) / sum(flux[i] for i in rows.filter(pl.col("band") == "f160w")["source_id"])
    drawn = np.zeros_like(whole)
    for row, image in zip(rows.iter_rows(named=True), models["data"], strict=True):
        if row["band"] != "f160w":
            continue
        y, x = np.mgrid[row["y0"] : row["y0"] + row["ny"], row["x0"] : row["x0"] + row["nx"]]
        on = (y >= 0) & (x >= 0) & (y < whole.shape[0]) & (x < whole.shape[1])
        drawn[y[on], x[on]] += image[on] * flux[row["source_id"]]
    bright = np.nan_to_num(whole) > 5 * np.nanstd(residual)
    ratio = drawn[bright] / whole[bright]
    # Stamps end where a hundredth of the light is outside, and the unit is known from sums alone.
    assert np.std(ratio) / np.mean(ratio) < 0.02
    assert 1 / np.mean(ratio) == pytest.approx(unit, rel=0.05)


def test_a_file_stands_for_the_model_of_a_source(copied: Path) -> None:
    lake = Lake.open(copied / "lake")
    galaxies = best_profiles(copied).filter(pl.col("status") == "ok", pl.col("r_eff") > 0.2, pl.col("n_group") == 1)
    row = galaxies.sort("flux", descending=True).row(0, named=True)
    plan_file = copied / "plan.toml"
    plan = plan_file.read_text().replace('band = "f160w"', 'band = "f160w"\nwrite_fits = true')
    plan = plan.replace('name = "DR2"', 'name = "DR3"')
    plan_file.write_text(plan)
    run_plan(read_plan(plan_file))
    written = copied / "pictures" / "field" / "models" / f"{row['source_id']}.fits"
    with fits.open(written) as hdus:
        assert hdus[1].data.sum() > 0.9
    assert (copied / "pictures" / "field" / "det_stack-sub.fits").is_file()
    assert (written.parent.with_name("models_conv") / written.name).is_file()
    fluxes = lake.table("flux").filter(pl.col("source_id") == row["source_id"]).select("band", "flux")
    before = dict(fluxes.collect().iter_rows())
    given = f'\n[[photometry.external]]\nsource_id = {row["source_id"]}\npath = "{written}"\n'
    plan_file.write_text(plan.replace('"DR3"', '"DR4"') + given)
    run_plan(read_plan(plan_file))
    lake = Lake.open(copied / "lake")
    external = lake.table("model").filter(pl.col("kind") == "external").collect()
    assert external["source_id"].to_list() == [row["source_id"]]
    assert external["path"].to_list() == [written.name]
    fluxes = lake.table("flux").filter(pl.col("source_id") == row["source_id"]).select("band", "flux")
    after = dict(fluxes.collect().iter_rows())
    for band, flux in before.items():
        assert after[band] == pytest.approx(flux, rel=0.03)
        assert after[band] != flux
