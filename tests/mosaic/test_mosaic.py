"""Steps of the mosaic on small simulated exposures."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from skymere.background import BackgroundParams
from skymere.datamodels import FLAG_BITS, Exposure, Mosaic
from skymere.errors import InvalidInputError, NoDataError, NoOverlapError
from skymere.mosaic import (
    FindParams,
    FlagParams,
    MosaicParams,
    SkyParams,
    cut_window,
    drizzle_exposures,
    enough_exposures,
    find_sources,
    flag_exposures,
    n_exposures,
    subtractable_sky,
)
from skymere.outliers import CosmicRayParams
from skymere.testing import CameraParams, SceneParams, dithers, draw_scene, render_exposure
from skymere.wcs import Grid

CAMERA = CameraParams(shape=(160, 170), n_cosmic_rays=60, n_bad_pixels=100, n_dead_pixels=10)
SCENE = draw_scene(20.0, 1.0, params=SceneParams(n_galaxies=0, n_stars=9, radius_arcsec=7.0, bright_mag=20.0), seed=4)
# Nine stars on a raster of 5 arcsec, so that apertures hold one each.
SCENE = SCENE.with_columns(
    ra=20.0 + (pl.int_range(9) % 3 - 1) * 5.0 / 3600.0,
    dec=1.0 + (pl.int_range(9) // 3 - 1) * 5.0 / 3600.0,
    mag_f160w=pl.Series(np.linspace(20.5, 22.5, 9)),
)


@pytest.fixture(scope="module")
def rendered():
    pointings = dithers(20.0, 1.0, bands=["f160w"], n_dithers=4, step_arcsec=1.0)
    return [(p, render_exposure(SCENE, p, params=CAMERA)) for p in pointings]


@pytest.fixture(scope="module")
def exposures(rendered) -> list[Exposure]:
    return [
        Exposure(
            exposure_id=p.name,
            data=r["sci"],
            error=r["err"],
            dq=r["dq"],
            wcs=r["wcs"],
            exptime=CAMERA.exptime,
            band="f160w",
            read_noise=CAMERA.read_noise,
            zero_point_ab=25.946,
            native_scale_arcsec=0.1282500028610229,
        )
        for p, r in rendered
    ]


def test_the_sky_is_that_of_the_camera(exposures) -> None:
    skies = subtractable_sky(exposures)
    assert skies == pytest.approx([CAMERA.sky] * 4, abs=0.006)
    lowest = subtractable_sky(exposures, params=SkyParams(method="globalmin"))
    assert lowest == [min(skies)] * 4
    assert subtractable_sky(exposures, params=SkyParams(method="none")) == [0.0] * 4


def test_dead_pixels_and_cosmic_rays_get_their_flags(rendered, exposures) -> None:
    flagged = flag_exposures(exposures)
    found = hit = 0
    inner = np.zeros(CAMERA.shape, bool)
    inner[25:-25, 25:-25] = True  # what every exposure covers
    for (_, r), e in zip(rendered, flagged, strict=True):
        assert e.flags is not None
        cosmic = e.flags & FLAG_BITS["cosmic_ray"] > 0
        strong = inner & (r["sci"] - r["truth"] - CAMERA.sky > 10 * r["err"]) & (r["crtrue"] > 0) & (r["dq"] == 0)
        found, hit = found + int((cosmic & strong).sum()), hit + int(strong.sum())
        dead = (r["sci"] < 0.2) & (r["dq"] == 0)
        assert (e.flags & FLAG_BITS["static"] > 0)[dead].all()
    assert hit > 50
    assert found / hit > 0.97


def test_stars_are_not_eaten(rendered, exposures) -> None:
    for (_, r), e in zip(rendered, flag_exposures(exposures), strict=True):
        bright = (r["truth"] > 10 * r["err"]) & (r["crtrue"] == 0) & (r["dq"] == 0)
        assert bright.sum() > 20
        assert (e.flags[bright] & FLAG_BITS["cosmic_ray"] > 0).mean() < 0.05


def test_the_mosaic_has_the_fluxes_of_the_scene(exposures) -> None:
    grid = Grid.covering([(e.wcs, e.shape) for e in exposures], scale_arcsec=0.08)
    mosaic, flagged = drizzle_exposures(exposures, grid)
    assert [e.exposure_id for e in flagged] == list(mosaic.exposure_ids)
    stars = SCENE.filter(SCENE["kind"] == "star")
    n_covered = n_exposures(mosaic)
    x, y = grid.pixels(stars["ra"].to_numpy(), stars["dec"].to_numpy())
    yy, xx = np.indices(grid.shape)
    ratios = []
    for i, mag in enumerate(stars["mag_f160w"]):
        others = np.hypot(np.delete(x, i) - x[i], np.delete(y, i) - y[i])
        near = np.hypot(xx - x[i], yy - y[i]) < 12
        around = (np.hypot(xx - x[i], yy - y[i]) < 25) & ~near
        if mag < 22 and others.min() > 30 and n_covered[around].min() >= 2:
            flux, sky = mosaic.data[near].sum(dtype=float), np.median(mosaic.data[around])
            ratios.append((flux - sky * near.sum()) * 10 ** (0.4 * (mag - 25.946)))
    assert len(ratios) >= 3
    assert np.median(ratios) == pytest.approx(1.0, abs=0.01)
    assert np.array(ratios) == pytest.approx(1.0, abs=0.05)  # a core on a bad pixel in one of four exposures


def test_inputs_stay_unchanged(exposures) -> None:
    before = [(e.data.copy(), e.dq.copy(), e.sky, e.flags) for e in exposures]
    flag_exposures(exposures)
    for e, (data, dq, sky, flags) in zip(exposures, before, strict=True):
        np.testing.assert_array_equal(e.data, data)
        np.testing.assert_array_equal(e.dq, dq)
        assert (e.sky, e.flags) == (sky, flags)


def test_steps_can_be_left_out(exposures) -> None:
    only_sky = flag_exposures(exposures, params=FlagParams(static=None, cosmic_rays=None))
    assert all(e.flags is None and e.sky > 0 for e in only_sky)
    median = FlagParams(cosmic_rays=CosmicRayParams(combine="median"))
    assert all(e.flags is not None for e in flag_exposures(exposures, params=median))


def test_one_exposure_has_no_cosmic_rays(exposures) -> None:
    (one,) = flag_exposures(exposures[:1])
    assert one.flags is not None
    assert not (one.flags & FLAG_BITS["cosmic_ray"]).any()


def test_mixed_bands_no_exposures_and_blind_ones_are_refused(exposures) -> None:
    grid = Grid.covering([(exposures[0].wcs, exposures[0].shape)], scale_arcsec=0.1)
    with pytest.raises(InvalidInputError, match=r"bands \['f125w', 'f160w'\] are not allowed"):
        flag_exposures([exposures[0], replace(exposures[1], band="f125w")])
    with pytest.raises(InvalidInputError, match="exposures"):
        drizzle_exposures([], grid)
    blind = [replace(e, dq=np.full(e.shape, 4)) for e in exposures]
    with pytest.raises(NoDataError):
        drizzle_exposures(blind, grid)
    far = Grid.tangent(200.0, 1.0, shape=(50, 50), scale_arcsec=0.1)
    with pytest.raises(NoOverlapError, match="lies on the grid"):
        drizzle_exposures(exposures, far, params=MosaicParams())


def test_the_detection_image_weights_bands_by_their_noise(exposures) -> None:
    grid = Grid.covering([(e.wcs, e.shape) for e in exposures], scale_arcsec=0.1)
    mosaic, _ = drizzle_exposures(exposures, grid)
    noisier = replace(
        mosaic, band="f125w", data=mosaic.data * 2, zero_point_ab=mosaic.zero_point_ab + 2.5 * np.log10(2.0)
    )
    params = FindParams(min_exposures=1, background=BackgroundParams(box_size=32))
    one = find_sources([mosaic], params=params).stack
    both = find_sources([mosaic, noisier], params=params).stack
    covered = np.isfinite(one.data)
    # The second band is the first in other units: the same data, so the same mean and 1 / sqrt(2) of the error.
    np.testing.assert_allclose(both.data[covered], one.data[covered], rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(both.error[covered], one.error[covered] / np.sqrt(2.0), rtol=1e-3)
    blank = find_sources([mosaic], params=replace(params, min_exposures=3)).stack
    assert np.isfinite(blank.data).sum() < covered.sum()


def test_one_exposure_is_enough_in_holes_that_others_left_but_not_alone() -> None:
    shape = (120, 150)
    context = np.full((1, *shape), 0b11, np.int32)
    context[:, :, 100:] = 0b10  # only one looks
    context[:, 20:32, 20:36] = 0b01  # a hole of rejected pixels
    context[:, 60:100, 30:70] = 0b01  # a blob of the other's detector
    context[:, 24, 24] = 0
    plane = np.ones(shape, np.float32)
    mosaic = Mosaic(
        band="f160w",
        grid=Grid.tangent(10.0, 5.0, shape=shape, scale_arcsec=0.06),
        data=plane,
        weight=plane,
        variance=plane,
        context=context,
        exposure_ids=("a", "b"),
    )
    expected = np.ones(shape, bool)
    expected[:, 100:] = False
    expected[60:100, 30:70] = False
    expected[24, 24] = False
    enough = enough_exposures(mosaic, 2)
    np.testing.assert_array_equal(enough, expected)
    assert np.count_nonzero(enough_exposures(mosaic, 1)) == expected.size - 1
    assert np.count_nonzero(enough_exposures(replace(mosaic, exposure_ids=("a",)), 2)) == expected.size - 1
    # Two chips of one exposure, each with a side of its own.
    chips = replace(
        mosaic, exposure_ids=("a_chip1", "a_chip2"), context=np.repeat([[[1] * 75 + [2] * 75]], 120, axis=1)
    )
    assert enough_exposures(chips, 2).all()
    for rows in (slice(0, 30), slice(30, 90), slice(90, 120)):
        for columns in (slice(0, 25), slice(25, 101), slice(101, 150)):
            np.testing.assert_array_equal(enough_exposures(mosaic, 2, rows, columns), expected[rows, columns])


def test_windows_are_padded_and_say_where_they_begin() -> None:
    image = np.arange(30.0).reshape(5, 6)
    cut = cut_window(image, 0.4, 1.6, size_pix=4)
    assert cut.origin == (0, -2)
    assert np.isnan(cut.data[:, :2]).all()
    np.testing.assert_array_equal(cut.data[:, 2:], image[0:4, 0:2])
    assert cut.coverage == 0.5
    outside = cut_window(image.astype(np.int32), 100.0, 100.0, size_pix=3)
    assert outside.coverage == 0.0
    assert not outside.data.any()
    with pytest.raises(InvalidInputError, match="size_pix"):
        cut_window(image, np.nan, 0.0, size_pix=3)
