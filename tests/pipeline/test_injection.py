"""Fake sources through the pipeline: what went in is what the tables say, and the lake is left alone."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from skymere.datamodels import NoiseCovariance
from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake import Lake
from skymere.pipeline import InjectParams, inject, read_plan
from skymere.pipeline.injection import plan_of
from skymere.pipeline.injection.fakes import usable_place
from skymere.pipeline.injection.light import fake_light, own_noise, poisson_factor
from skymere.pipeline.injection.matching import match_fakes
from skymere.pipeline.injection.randoms import draw_uniform, random_stream
from skymere.pipeline.injection.summary import Quantity, binned_edges, summarise
from skymere.pipeline.searched import searched_pixels
from skymere.psf import Psf
from skymere.viewer import plot_pulls
from skymere.wcs import Grid

BRIGHT = InjectParams(n=8, n_per_tile=8, mag=(21.5, 22.5), size_arcsec=(0.15, 0.4), n_mag_bins=1, n_size_bins=1)


def digests(folder: Path) -> dict[str, str]:
    """The bytes of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def injected(measured: Path):
    return inject(read_plan(measured / "plan.toml"), replace(BRIGHT, through="photometry"))


def test_bright_sources_are_found_where_they_were_put_with_the_light_that_they_have(injected) -> None:
    alone = injected.injected.filter(~pl.col("is_on_source"), pl.col("status") == "found")
    assert alone.height >= 4
    assert alone.select(pl.col("offset_ra", "offset_dec").abs().max()).to_numpy().max() < 0.05
    for column in ("flux_aper2_f160w", "flux_aper2_f125w"):
        ratio = (alone[column] / alone[f"true_{column}"]).to_numpy()
        assert np.median(ratio) == pytest.approx(1.0, abs=0.03)
    for column, truth in (("profile_flux", "true_flux_f160w"), ("profile_r_eff", "true_r_eff")):
        assert np.median((alone[column] / alone[truth]).to_numpy()) == pytest.approx(1.0, abs=0.08)
    for band in ("f125w", "irac1"):
        ratio = (alone[f"forced_flux_{band}"] / alone[f"true_flux_{band}"]).to_numpy()
        assert np.median(ratio) == pytest.approx(1.0, abs=0.1)


def test_the_lake_and_the_images_are_left_as_they_were(measured: Path) -> None:
    before = digests(measured)
    inject(read_plan(measured / "plan.toml"), replace(BRIGHT, n=2, n_per_tile=2, through="photometry"))
    assert digests(measured) == before


def test_a_lake_without_a_psf_cannot_be_injected_into(finished: Path) -> None:
    with pytest.raises(NotFoundError, match="has no PSF"):
        inject(read_plan(finished / "plan.toml"), replace(BRIGHT, n=1))


def test_a_lake_alone_and_two_processes_give_what_its_plan_and_one_give(measured: Path, injected) -> None:
    params = replace(BRIGHT, n=8, through="detect", n_workers=2)
    one, other = (inject(plan_of(measured / name), params) for name in ("plan.toml", "lake"))
    assert_frame_equal(one.injected, other.injected)
    assert_frame_equal(one.summary, other.summary)
    # And what the longer way, in one process, has measured before.
    same = [name for name in one.injected.columns if name in injected.injected.columns and name != "source_id"]
    assert_frame_equal(one.injected.select(same), injected.injected.select(same), check_dtypes=False)


def test_files_of_a_result_are_its_tables_and_figures(injected, tmp_path: Path) -> None:
    files = {path.name for path in injected.write(tmp_path)}
    assert {"injected.parquet", "summary.parquet", "spurious.parquet", "completeness.png"} <= files
    assert {"flux_auto_f160w.png", "profile_r_eff.png", "forced_flux_irac1.png", "ra.png"} <= files
    assert_frame_equal(pl.read_parquet(tmp_path / "injected.parquet"), injected.injected)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"band": "f090w"}, "band: 'f090w' has no mosaic"),
        ({"tiles": ("elsewhere",)}, "tiles: .*elsewhere"),
        ({"colours": {"f090w": 1.0}}, "bands: .*f090w"),
        ({"through": "beams"}, "has no templates"),
    ],
)
def test_what_the_lake_does_not_have_is_named(measured: Path, params, message: str) -> None:
    with pytest.raises((InvalidInputError, NotFoundError), match=message):
        inject(read_plan(measured / "plan.toml"), InjectParams(n=1, **params))


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"through": "everything"}, "through"),
        ({"mag": (27.0, 20.0)}, "mag"),
        ({"size_arcsec": (0.0, 1.0)}, "size_arcsec"),
        ({"n": 0}, "n"),
        ({"seed": -1}, "seed"),
        ({"spacing_arcsec": float("nan")}, "spacing_arcsec"),
    ],
)
def test_a_wrong_parameter_is_named(params, name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name}: "):
        InjectParams(**params)


def test_random_numbers_are_those_of_their_object_and_draw() -> None:
    there = [draw_uniform("run", i, "mag") for i in range(50)]
    back = [draw_uniform("run", i, "mag") for i in reversed(range(50))][::-1]
    assert there == back
    assert len(set(there)) == 50
    assert draw_uniform("run", 3, "size") != there[3]
    assert draw_uniform("other", 3, "mag") != there[3]
    many = random_stream("run", 2**40, "noise").standard_normal(20_000)
    assert np.mean(many) == pytest.approx(0.0, abs=0.03)
    assert np.corrcoef(many, random_stream("run", 2**40 + 1, "noise").standard_normal(20_000))[0, 1] < 0.03


def test_own_noise_has_the_correlation_of_the_mosaic() -> None:
    triangle = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 3
    kernel = np.outer(triangle, triangle) / np.outer(triangle, triangle).max()
    noise = NoiseCovariance(kernels=kernel[None], class_map=np.zeros((200, 200), np.uint8), classes=("all",))
    field = own_noise((200, 200), noise, run="test", i_object=1, draw="noise")
    assert field.var() == pytest.approx(1.0, abs=0.05)
    assert np.mean(field[:, 1:] * field[:, :-1]) == pytest.approx(kernel[2, 3], abs=0.05)
    assert np.mean(field[3:, :] * field[:-3, :]) == pytest.approx(0.0, abs=0.05)


def test_the_poisson_noise_of_a_mosaic_is_read_off_its_bright_pixels() -> None:
    rng = np.random.default_rng(3)
    data = np.where(rng.random((200, 200)) < 0.1, rng.uniform(5, 50, (200, 200)), 0.0)
    weight = rng.uniform(500, 1000, data.shape)
    variance = (20.0 + 0.3 * data) / weight
    assert poisson_factor(data, variance, weight) == pytest.approx(0.3, rel=1e-3)
    assert poisson_factor(np.zeros_like(data), variance, weight) == 0.0


def test_angles_of_fake_sources_are_on_the_sky() -> None:
    turned = Grid.tangent(150.0, 2.0, shape=(121, 121), scale_arcsec=0.1, rotation_deg=30.0)
    y, x = np.mgrid[-7:8, -7:8]
    psf = Psf(data=(np.exp(-(x**2 + y**2) / 4.5) / (4.5 * np.pi)).astype(np.float32))
    fakes = pl.DataFrame(
        {
            "ra": [150.0],
            "dec": [2.0],
            "true_r_eff": [0.8],
            "true_sersic_index": [1.0],
            "true_axis_ratio": [0.3],
            "true_pa": [50.0],
        }
    )
    light = fake_light(fakes, turned, psf, fluxes=np.array([2.0]))
    image = light.stamps[0]
    assert image.sum() == pytest.approx(2.0, rel=0.01)
    rows, columns = np.indices(image.shape)
    weight = image / image.sum()
    dx, dy = columns - (weight * columns).sum(), rows - (weight * rows).sum()
    xx, yy, xy = ((weight * a).sum() for a in (dx * dx, dy * dy, dx * dy))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    x0, y0 = turned.pixels(np.array([150.0]), np.array([2.0]))
    ra, dec = turned.sky(x0 + 10 * np.cos(angle), y0 + 10 * np.sin(angle))
    east, north = (ra[0] - 150.0) * np.cos(np.deg2rad(2.0)), dec[0] - 2.0
    assert np.rad2deg(np.arctan2(east, north)) % 180.0 == pytest.approx(50.0, abs=0.5)


def test_a_source_that_was_there_before_is_no_fake_one() -> None:
    step = 0.1 / 3600
    fakes = pl.DataFrame({"ra": [10.0, 10.0, 10.0], "dec": [0.0, 0.01, 0.02]})
    known = pl.DataFrame({"ra": [10.0], "dec": [0.01 + step]})
    sources = pl.DataFrame({"ra": [10.0, 10.0], "dec": [step, 0.01 + 0.9 * step]})
    found = match_fakes(fakes, known, sources, label=np.array([1, 2, 0], np.int32), radius_arcsec=0.3)
    assert found["status"].to_list() == ["found", "blended", "missed"]
    assert found["row"].to_list() == [0, None, None]


def test_a_summary_counts_and_measures_what_was_put_in() -> None:
    rng = np.random.default_rng(8)
    n = 4000
    mag = rng.uniform(20, 26, n)
    error = rng.uniform(0.5, 2.0, n)
    found = rng.random(n) < np.where(mag < 24, 0.9, 0.3)
    table = pl.DataFrame(
        {
            "true_mag": mag,
            "status": np.where(found, "found", "missed"),
            "is_on_source": np.zeros(n, bool),
            "flux": 100.0 * 1.05 + 2.0 * error * rng.normal(size=n),
            "flux_err": error,
            "true_flux": np.full(n, 100.0),
        }
    )
    quantity = Quantity(name="flux", measured="flux", error="flux_err", truth="true_flux")
    summary = summarise(table, [quantity], first=("true_mag", binned_edges((20.0, 26.0), 3)))
    part = summary.filter(pl.col("quantity") == "completeness", pl.col("population") == "all")
    assert part["n"].sum() == n
    assert part["completeness"].to_list() == pytest.approx([0.9, 0.9, 0.3], abs=0.03)
    assert (part["completeness_low"] < part["completeness"]).all()
    pulls = summary.filter(pl.col("quantity") == "flux", pl.col("population") == "all")
    assert pulls["bias"].to_list() == pytest.approx([0.05] * 3, abs=0.005)
    assert pulls["pull_sigma"][0] == pytest.approx(np.std((table["flux"].to_numpy() - 100) / error), rel=0.1)
    assert (pulls["bias_err"] < 0.002).all()


def test_fake_sources_are_put_where_sources_are_looked_for(measured: Path, injected) -> None:
    lake = Lake.open(measured / "lake")
    searched = searched_pixels(lake, "field")
    places = usable_place(lake, "field", ["f125w", "f160w"])
    # The rim that only one exposure looks at has pixels, and nothing is detected there.
    assert searched.sum() > places.sum() > 0
    assert not (places & ~searched).any()
    x, y = (np.rint(injected.injected[name].to_numpy()).astype(int) for name in ("x", "y"))
    assert places[y, x].all()


def test_kron_fluxes_are_the_light_in_their_apertures(injected) -> None:
    alone = injected.injected.filter(~pl.col("is_on_source"), pl.col("status") == "found")
    for band in ("f125w", "f160w"):
        inside = (alone[f"true_flux_auto_inside_{band}"] / alone[f"true_flux_{band}"]).to_numpy()
        # An aperture of 2.5 Kron radii holds most of the light of a galaxy, and never more than all of it.
        assert (inside > 0.85).all()
        assert (inside < 1.0 + 1e-3).all()
        ratio = (alone[f"flux_auto_{band}"] / alone[f"true_flux_auto_inside_{band}"]).to_numpy()
        assert np.median(ratio) == pytest.approx(1.0, abs=0.02)
    assert {"flux_auto_f160w", "flux_auto_inside_f160w"} <= set(injected.summary["quantity"])


def test_a_quantity_without_an_error_has_a_bias_and_no_pulls(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    n = 500
    table = pl.DataFrame(
        {
            "true_mag": rng.uniform(20, 24, n),
            "status": ["found"] * n,
            "is_on_source": np.zeros(n, bool),
            "size": 1.03 + 0.01 * rng.normal(size=n),
            "true_size": np.ones(n),
        }
    )
    quantity = Quantity(name="size", measured="size", truth="true_size")
    summary = summarise(table, [quantity], first=("true_mag", binned_edges((20.0, 24.0), 2)))
    rows = summary.filter(pl.col("quantity") == "size", pl.col("population") == "all")
    assert rows["bias"].to_list() == pytest.approx([0.03, 0.03], abs=0.003)
    assert rows["pull_sigma"].is_null().all()
    assert plot_pulls(summary, "true_mag", "size", tmp_path / "size.png").stat().st_size > 0


@pytest.mark.validate
def test_pulls_of_many_fake_sources_are_one(measured: Path) -> None:
    params = InjectParams(through="photometry", n=240, mag=(21.0, 25.0), n_mag_bins=1, n_size_bins=1, n_workers=2)
    summary = inject(read_plan(measured / "plan.toml"), params).summary
    rows = summary.filter(pl.col("population") == "alone", pl.col("n_used") > 60, pl.col("true_r_eff_low").is_null())
    for row in rows.iter_rows(named=True):
        print(f"{row['quantity']}: bias {row['bias']:.4f}, pull {row['pull_median']:.2f} +- {row['pull_sigma']:.2f}")
    found = {row["quantity"]: row for row in rows.iter_rows(named=True)}
    # Not those of Kron fluxes: light of neighbours is in no error (docs/packages/pipeline.md).
    wanted = ("flux_aper1_f125w", "flux_aper2_f160w", "profile_flux", "profile_r_eff")
    # The tile is crowded: some light of neighbours is in all of them.
    for name in (*wanted, "forced_flux_f125w", "forced_flux_irac1"):
        assert abs(found[name]["pull_sigma"] - 1.0) < 0.1 + 2 * found[name]["pull_sigma_err"], name
    # Whatever lifts the sky of an image makes all fluxes low.
    for name in ("forced_flux_f125w", "forced_flux_irac1", "flux_auto_inside_f125w", "flux_auto_inside_f160w"):
        row = found[name]
        assert abs(row["bias"]) < 0.005 + 3 * row["bias_err"], name
        assert abs(row["pull_median"]) < 0.1 + 3 * row["pull_median_err"], name
