"""Profiles of the sources of a run, and their fluxes in other images."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from numpy.testing import assert_array_equal

from skymere.errors import InvalidInputError
from skymere.lake import Lake, add_regions
from skymere.pipeline import RunReport, read_plan, run_plan
from skymere.pipeline.band_images import image_to_measure, read_band_image
from skymere.pipeline.products import falls_on, load_mosaics
from skymere.pipeline.searched import searched_on_grid, searched_pixels
from skymere.regions import Circle
from skymere.testing import LowResolutionParams, low_resolution_fluxes, match_sources
from skymere.wcs import Grid


def run_again(folder: Path, old: str = "", new: str = "", *, release: str) -> tuple[dict[str, int], RunReport]:
    """Run a plan after a change of its text; returns the work done by each stage."""
    plan = folder / "plan.toml"
    text = plan.read_text().replace('name = "DR2"', f'name = "{release}"')
    assert old in text
    plan.write_text(text.replace(old, new))
    report = run_plan(read_plan(plan))
    return {stage.name: stage.n_done for stage in report.stages}, report


def test_every_source_has_a_profile_with_errors_or_a_reason(measured: Path) -> None:
    lake = Lake.open(measured / "lake")
    profile, source = lake.table("profile").collect(), lake.table("source").collect()
    assert set(profile["source_id"]) == set(source["source_id"])
    assert set(profile["status"]) <= {"ok", "failed"}
    assert profile.filter(pl.col("status") == "failed")["message"].str.len_chars().min() != 0
    good = profile.filter(pl.col("status") == "ok")
    assert good.height > 0.9 * profile.height
    # The covariances are those of the errors.
    arrays = lake.arrays("profile", "field")
    names = arrays.attributes()["parameters"]
    covariance = arrays["covariance"].rows(good["covariance_row"].to_numpy())
    for name in ("flux", "sersic_index"):
        at = names.index(name)
        error = good[f"{name}_err"].fill_null(0.0).to_numpy()
        assert np.sqrt(covariance[:, at, at]) == pytest.approx(error, rel=1e-5)


def test_profiles_agree_with_the_true_ones(measured: Path) -> None:
    lake = Lake.open(measured / "lake")
    truth = pl.read_parquet(measured / "truth" / "sources.parquet").filter(pl.col("kind") == "galaxy")
    profile = lake.table("profile").filter(pl.col("status") == "ok", pl.col("n_group") == 1).collect()
    i, j = match_sources(truth, profile)
    true, found = truth[i], profile[j]
    good = (found["flux"] / found["flux_err"] > 15).to_numpy()
    assert good.sum() >= 8
    # Their noise, and PSFs that change with the phase of the pixels, which one drizzled PSF does not hold.
    ratio = (found["flux"] / true["flux_f160w"]).to_numpy()[good]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.03)
    size = (found["r_eff"] / (true["r_half_arcsec"] / true["axis_ratio"].sqrt())).to_numpy()[good]
    assert np.median(size) == pytest.approx(1.0, abs=0.08)
    turn = ((found["pa_sky"] - true["pa_deg"]).to_numpy()[good] + 90.0) % 180.0 - 90.0
    assert np.abs(turn[true["axis_ratio"].to_numpy()[good] < 0.6]).max(initial=0.0) < 15.0


def test_model_and_residual_are_the_mosaic_without_its_background(measured: Path) -> None:
    lake = Lake.open(measured / "lake")
    arrays = lake.arrays("profile", "field")
    both = arrays["f160w/model"][...] + arrays["f160w/residual"][...]
    (mosaic,) = load_mosaics(lake, "field", ["f160w"])
    assert arrays["f160w/residual"].unit == mosaic.unit
    difference = mosaic.data - both
    # A background is smooth, and there is little of it.
    steps = np.abs(np.diff(difference, axis=1))
    assert np.nanmax(steps) < 1e-3 * np.nanmax(both)
    assert np.nanmax(np.abs(difference)) < 0.02


def test_fluxes_of_a_blurred_rotated_and_shifted_image_are_right(measured: Path, low: LowResolutionParams) -> None:
    lake = Lake.open(measured / "lake")
    rows = lake.table("flux").filter(pl.col("band") == "irac1", pl.col("status") == "ok").collect()
    assert rows["image_unit"].unique().to_list() == ["uJy"]
    for axis, true in (("east", low.shift_arcsec[0]), ("north", low.shift_arcsec[1])):
        assert abs(rows[f"shift_{axis}"][0] - true) < 5 * rows[f"shift_{axis}_err"][0]
        assert rows[f"shift_{axis}_err"][0] < 0.01
    truth = pl.read_parquet(measured / "truth" / "sources.parquet")
    source = lake.table("source").select("source_id", "ra", "dec").collect()
    placed = rows.drop("ra", "dec").join(source, on="source_id")
    i, j = match_sources(truth, placed)
    true, found = low_resolution_fluxes(truth, low)[i], placed[j]
    pull = (found["flux"].to_numpy() - true) / found["flux_err"].to_numpy()
    assert len(pull) > 25
    assert abs(np.median(pull)) < 0.6
    assert 1.4826 * np.median(np.abs(pull - np.median(pull))) < 1.5
    bright = true > 20 * low.rms
    assert np.median(found["flux"].to_numpy()[bright] / true[bright]) == pytest.approx(1.0, abs=0.03)


def test_light_beyond_the_searched_pixels_does_not_lift_the_sky(copied: Path, low: LowResolutionParams) -> None:
    lake = Lake.open(copied / "lake")
    truth = pl.read_parquet(copied / "truth" / "sources.parquet")
    searched = searched_pixels(lake, "field")
    outside = ~falls_on(searched, lake.tiles["field"].grid, truth).to_numpy()
    lost = low_resolution_fluxes(truth, low)[outside].sum()
    # Stars and galaxies that only the image of low resolution shows.
    assert lost > 10.0

    def level() -> float:
        rows = lake.table("flux").filter(pl.col("band") == "irac1").collect()
        return float(rows["background"].drop_nulls()[0])

    # 1 sigma of the level is 3e-4.
    assert level() == pytest.approx(low.sky, abs=1e-3)
    with_all = 'band = "irac1"\nhas_unsearched_pixels = true'
    done, _ = run_again(copied, 'band = "irac1"', with_all, release="DR3")
    assert done["photometry"] == 1
    lifted = lost / low.size_pix**2
    assert level() - low.sky == pytest.approx(lifted, rel=0.3)


def test_errors_of_a_crowded_image_are_those_of_its_noise(measured: Path, low: LowResolutionParams) -> None:
    lake = Lake.open(measured / "lake")
    (image,) = [one for one in read_plan(measured / "plan.toml").band_images() if one.band == "irac1"]
    mosaic, _, regions = read_band_image(image)
    # Wings of sources are all over the sky: its scatter is a fifth more than the noise.
    assert np.median(image_to_measure(mosaic, image, regions)[0].error) > 1.15 * low.rms
    rows = lake.table("flux").filter(pl.col("band") == "irac1", pl.col("status") == "ok").collect()
    faint = rows.filter(pl.col("flux") < 20 * pl.col("flux_err"))
    # About 700 pixels, and what models of faint sources do not fit.
    assert (faint["chi2"] / faint["n_pix"]).median() == pytest.approx(1.0, abs=0.12)


def test_what_was_searched_lies_on_a_band_where_it_is_on_the_sky(measured: Path) -> None:
    lake = Lake.open(measured / "lake")
    own = lake.tiles["field"].grid
    searched = searched_pixels(lake, "field")
    assert searched.shape == own.shape
    assert 0.2 < searched.mean() < 0.8
    # Sources are where somebody looked.
    sources = lake.table("source").collect()
    assert falls_on(searched, own, sources).all()
    assert_array_equal(searched_on_grid(lake, ["field"], own), searched)
    ra, dec = (float(v[0]) for v in own.sky(np.array([300.0]), np.array([300.0])))
    coarse = Grid.tangent(ra, dec, shape=(40, 40), scale_arcsec=0.5)
    there = searched_on_grid(lake, ["field"], coarse)
    assert there.sum() * 0.5**2 == pytest.approx(_within(searched, own, coarse) * own.scale_arcsec**2, rel=0.05)
    assert not searched_on_grid(lake, [], coarse).any()


def _within(searched: np.ndarray, own: Grid, coarse: Grid) -> int:
    """Searched pixels that lie on another image."""
    y, x = np.nonzero(searched)
    u, v = coarse.pixels(*own.sky(x.astype(float), y.astype(float)))
    return int(((np.abs(u - 19.5) < 20) & (np.abs(v - 19.5) < 20)).sum())


def test_the_lake_holds_residuals_covariances_and_places_of_the_noise(measured: Path, low: LowResolutionParams) -> None:
    lake = Lake.open(measured / "lake")
    arrays = lake.arrays("flux", "field")
    rows = lake.table("flux").filter(pl.col("band") == "irac1").sort("cov_row").collect()
    assert arrays["irac1/source_id"][...].tolist() == rows["source_id"].to_list()
    offset = arrays["irac1/covariance_offset"][...]
    pairs = {}
    for i, source_id in enumerate(rows["source_id"].to_list()):
        part = slice(offset[i], offset[i + 1])
        for other, value in zip(arrays["irac1/neighbour"][part], arrays["irac1/covariance"][part], strict=True):
            pairs[source_id, int(other)] = value
    assert pairs
    assert all(pairs.get((b, a), value) == value for (a, b), value in pairs.items())
    assert arrays["irac1/noise_position"].ndim == 2
    assert rows["n_sim"].max() == len(arrays["irac1/noise_position"])
    assert rows["err_sim_accuracy"].drop_nulls()[0] == pytest.approx((2 * rows["n_sim"].max()) ** -0.5)
    grid = arrays.grid("irac1/residual")
    with fits.open(measured / "images" / "irac1.fits") as hdus:
        image = hdus[1].data
    assert grid.scale_arcsec == pytest.approx(low.scale_arcsec, rel=1e-6)
    # What is left has no sky and no sources: its scatter is the noise.
    residual = arrays["irac1/residual"][...]
    assert residual.shape[0] <= image.shape[0]
    assert 1.4826 * np.median(np.abs(residual)) == pytest.approx(low.rms, rel=0.1)


def test_a_second_run_does_nothing(copied: Path) -> None:
    done, _ = run_again(copied, release="DR2")
    assert (done["profiles"], done["photometry"]) == (0, 0)


def test_a_band_that_cannot_be_measured_says_so_in_its_rows(copied: Path) -> None:
    (copied / "images" / "irac1_psf.fits").write_bytes(b"no FITS file")
    done, _ = run_again(copied, release="DR3")
    assert done["photometry"] == 1
    rows = Lake.open(copied / "lake").table("flux").collect()
    failed = rows.filter(pl.col("band") == "irac1")
    assert failed["status"].unique().to_list() == ["failed"]
    assert "irac1_psf.fits" in failed["message"][0]
    assert (rows.filter(pl.col("band") == "f125w")["status"] == "ok").sum() > 25


def test_regions_of_the_lake_mask_sources_that_no_model_has(copied: Path) -> None:
    lake = Lake.open(copied / "lake")
    before = lake.table("flux").filter(pl.col("band") == "irac1", pl.col("status") == "ok").collect()
    source = lake.table("source").select("source_id", "ra", "dec").collect()
    target = before.drop("ra", "dec").join(source, on="source_id").sort("flux", descending=True).row(3, named=True)
    circle = Circle(centre=(target["ra"], target["dec"]), radius=4.0)
    add_regions(lake, "mask_border", [[circle]], author="Ada", reason="not in the detection image", band="irac1")
    done, _ = run_again(copied, release="DR3")
    assert done["photometry"] == 1
    assert done["profiles"] == 0
    rows = Lake.open(copied / "lake").table("flux").filter(pl.col("source_id") == target["source_id"])
    by_band = {row["band"]: row for row in rows.collect().iter_rows(named=True)}
    assert by_band["f125w"]["status"] == "ok"
    masked = by_band["irac1"]
    assert masked["status"] != "ok" or masked["flux_err"] > 3 * target["flux_err"]


def test_a_plan_with_photometry_needs_profiles(copied: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"photometry\.bands: .* needs models, but profiles\.band is ''"):
        run_again(copied, 'band = "f160w"', 'band = ""', release="DR3")


def test_a_band_without_a_mosaic_is_named(copied: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"profiles\.band: 'f090w' is in no exposure.*f125w"):
        run_again(copied, 'band = "f160w"', 'band = "f090w"', release="DR3")


def test_a_tile_that_cannot_be_fitted_has_rows_that_say_so_and_fluxes_of_points(copied: Path) -> None:
    for band in ("f125w", "f160w"):
        (copied / f"none_{band}.fits").write_bytes(b"no image")
    done, _ = run_again(copied, 'source = "moffat"', 'source = "image"\npath = "none_{band}.fits"', release="DR3")
    assert (done["psf"], done["profiles"], done["models"]) == (1, 1, 0)
    lake = Lake.open(copied / "lake")
    rows = lake.table("profile").collect()
    assert rows["status"].unique().to_list() == ["failed"]
    assert "has no PSF" in rows["message"][0]
    assert rows.height == lake.table("source").collect().height
    irac = lake.table("flux").filter(pl.col("band") == "irac1").collect()
    assert (irac["status"] == "ok").sum() > 25
    assert irac["flags"].unique().to_list() == [1]


def test_parameters_of_fits_are_stored_with_the_run(measured: Path) -> None:
    lake = Lake.open(measured / "lake")
    run = lake.live_run("profile", "field")
    params = json.loads(lake.table("run").filter(pl.col("run_id") == run).collect()["params"][0])
    assert params["profiles"]["scene"]["fits"]["sersic_index"] == [0.1, 8.0]


def test_tiles_that_are_not_on_an_image_are_not_read(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake.open(measured / "lake")
    monkeypatch.setattr("skymere.pipeline.searched.searched_pixels", lambda *_: pytest.fail("read"))
    far = Grid.tangent(
        lake.tiles["field"].grid.sky(np.array([0.0]), np.array([0.0]))[0][0], 5.0, shape=(50, 50), scale_arcsec=0.1
    )
    assert not searched_on_grid(lake, ["field"], far).any()
