"""The simulator: its truth is true."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from skymere.errors import InvalidInputError
from skymere.testing import (
    BANDS,
    CameraParams,
    Pointing,
    SceneParams,
    SurveyParams,
    dithers,
    draw_scene,
    render_exposure,
    score_cosmic_rays,
    score_detections,
    score_sources,
    simulate_survey,
    true_aperture_fluxes,
)

CAMERA = CameraParams(shape=(200, 200), n_cosmic_rays=30, n_bad_pixels=100, n_dead_pixels=10)
POINTING = Pointing(name="a", band="f160w", ra=150.0, dec=2.0, pa_deg=35.0)


def test_scenes_are_the_same_for_the_same_seed_and_steep_in_counts() -> None:
    scene = draw_scene(150.0, 2.0, params=SceneParams(n_galaxies=3000), seed=5)
    assert scene.equals(draw_scene(150.0, 2.0, params=SceneParams(n_galaxies=3000), seed=5))
    assert not scene.equals(draw_scene(150.0, 2.0, params=SceneParams(n_galaxies=3000), seed=6))
    mag = scene.filter(pl.col("kind") == "galaxy")["mag_f160w"].to_numpy()
    ratio = ((mag > 25) & (mag < 26)).sum() / ((mag > 24) & (mag < 25)).sum()
    assert ratio == pytest.approx(10**0.3, rel=0.15)


def test_a_rendered_star_has_its_flux_and_place() -> None:
    scene = draw_scene(150.0, 2.0, params=SceneParams(n_galaxies=0, n_stars=1, radius_arcsec=1.0), seed=3)
    rendered = render_exposure(scene, POINTING, params=CAMERA)
    x, y = (float(v) for v in rendered["wcs"].all_world2pix(scene["ra"][0], scene["dec"][0], 0))
    truth = rendered["truth"].astype(float)
    yy, xx = np.indices(truth.shape)
    total = truth.sum()
    assert ((xx * truth).sum() / total, (yy * truth).sum() / total) == pytest.approx((x, y), abs=0.03)
    zero_point = BANDS["f160w"][0]
    expected = 10 ** (-0.4 * (scene["mag_f160w"][0] - zero_point))
    corners = rendered["wcs"].all_pix2world([x - 0.5, x + 0.5, x - 0.5], [y - 0.5, y - 0.5, y + 0.5], 0)
    east = (np.array(corners[0]) - 150.0) * np.cos(np.deg2rad(2.0)) * 3600
    north = np.array(corners[1]) * 3600
    area = abs((east[1] - east[0]) * (north[2] - north[0]) - (east[2] - east[0]) * (north[1] - north[0]))
    assert total == pytest.approx(expected * 0.1282500028610229**2 / area, rel=0.02)


def test_noise_is_what_err_says() -> None:
    empty = draw_scene(150.0, 2.0, params=SceneParams(n_galaxies=0, n_stars=0))
    r = render_exposure(empty, POINTING, params=CAMERA)
    clean = (r["crtrue"] == 0) & (r["dq"] == 0) & (r["sci"] > 0.3)
    pull = (r["sci"] - CAMERA.sky)[clean] / np.sqrt(CAMERA.sky * CAMERA.exptime + CAMERA.read_noise**2) * CAMERA.exptime
    assert np.std(pull[np.abs(pull) < 5]) == pytest.approx(1.0, abs=0.02)
    assert np.median(r["err"][clean]) == pytest.approx(
        np.std(r["sci"][clean & (np.abs(r["sci"] - 0.6) < 0.2)]), rel=0.03
    )


def test_faults_of_the_detector_stay_and_cosmic_rays_do_not() -> None:
    empty = draw_scene(150.0, 2.0, params=SceneParams(n_galaxies=0, n_stars=0))
    pointings = dithers(150.0, 2.0, bands=["f125w", "f160w"], n_dithers=2)
    one, two = (render_exposure(empty, p, params=CAMERA) for p in pointings[:2])
    np.testing.assert_array_equal(one["dq"], two["dq"])
    assert (one["crtrue"] != two["crtrue"]).any()
    again = render_exposure(empty, pointings[0], params=CAMERA)
    np.testing.assert_array_equal(one["sci"], again["sci"])


def test_surveys_are_written_once(tmp_path: Path) -> None:
    params = SurveyParams(bands=("f160w",), n_dithers=2, scene=SceneParams(n_galaxies=2, n_stars=1), camera=CAMERA)
    paths = simulate_survey(tmp_path, params=params, n_workers=1)
    times = [path.stat().st_mtime_ns for path in paths]
    assert [path.stat().st_mtime_ns for path in simulate_survey(tmp_path, params=params, n_workers=1)] == times
    assert pl.read_parquet(tmp_path / "truth" / "sources.parquet").height == 3


def test_scores_of_perfect_and_of_half_blind_catalogues() -> None:
    truth = draw_scene(150.0, 2.0, params=SceneParams(n_galaxies=500), seed=1)
    measured = truth.select(
        "ra", "dec", pl.col("flux_f160w").alias("flux_auto_f160w"), pl.lit(0.1).alias("flux_auto_err_f160w")
    )
    table = score_sources(truth, measured, band="f160w")
    assert (table["completeness"].fill_nan(1.0) > 0.95).all()  # the rest is closer than a match can tell apart
    assert table["bias"].fill_nan(0.0).abs().max() == 0.0
    half = score_sources(truth, measured.filter(pl.int_range(pl.len()) % 2 == 0), band="f160w", edges=(18.0, 27.0))
    assert half["completeness"][0] == pytest.approx(0.5, abs=0.05)


def test_detections_far_from_every_true_source_are_false() -> None:
    truth = draw_scene(150.0, 2.0, params=SceneParams(n_galaxies=50), seed=1)
    nowhere = pl.DataFrame({"ra": [150.1], "dec": [2.0]})
    found = score_detections(truth, pl.concat([truth.select("ra", "dec"), nowhere]))
    assert found == {"n_detected": 76, "n_false": 1, "purity": pytest.approx(75 / 76)}
    assert score_detections(truth.head(0), nowhere)["n_false"] == 1


def test_a_large_aperture_holds_all_light_and_a_small_one_what_a_mosaic_shows_of_a_moffat_star() -> None:
    scene = draw_scene(150.0, 2.0, params=SceneParams(n_galaxies=3, n_stars=1, radius_arcsec=1.0), seed=3)
    whole = true_aperture_fluxes(scene, "f160w", diameter_arcsec=12.0)
    assert whole == pytest.approx(scene["flux_f160w"].to_numpy(), rel=0.03)
    # A Moffat of beta 3 holds 1 - (1 + (r / a)^2)^-2 of its light; boxes of side s widen it like pixels of the image.
    core = 0.17 / 2 / np.sqrt(2 ** (1 / 3) - 1)
    expected = 1 - (1 + (0.6 / core) ** 2) ** -2
    narrow = true_aperture_fluxes(scene[-1:], "f160w", diameter_arcsec=1.2, pixfrac=0.0, scale_arcsec=0.02)
    assert narrow[0] / scene["flux_f160w"][-1] == pytest.approx(expected, abs=0.003)


def test_scores_of_cosmic_rays() -> None:
    true = np.zeros((10, 10), bool)
    true[:2] = True
    flagged = np.zeros((10, 10), bool)
    flagged[1:3] = True
    found = score_cosmic_rays({"a": flagged}, {"a": true}, {"a": np.ones((10, 10), bool)})
    assert found == {"n_true": 20, "completeness": 0.5, "false_per_exposure": 10.0, "false_fraction": 10 / 80}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SceneParams(bright_mag=27.0), "bright_mag: 27.0"),
        (lambda: CameraParams(exptime=0.0), "exptime: 0.0"),
        (lambda: true_aperture_fluxes(draw_scene(0.0, 0.0), "f160w", diameter_arcsec=0.0), "diameter_arcsec: 0.0"),
        (lambda: dithers(0.0, 0.0, bands=["u"]), "bands: 'u'"),
    ],
)
def test_wrong_arguments_are_named(make, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()
