"""The steps one by one, streamed, cleaned, and on grids of one's own."""

from dataclasses import replace

import numpy as np
import pytest

from skymere.errors import InvalidInputError, NoDataError
from skymere.mosaic import (
    ExposureFiles,
    FlagParams,
    GridParams,
    OverrideParams,
    drizzle_exposures,
    drizzle_stream,
    flag_exposures,
    iter_flagged,
    make_grid,
)
from skymere.outliers import (
    CosmicRayParams,
    build_mean_model,
    build_sky_model,
    combine_images,
    compare_exposure,
    single_drizzle,
    static_masks,
)
from skymere.resample import DrizzleParams, drizzle
from skymere.testing import CameraParams, Pointing, SceneParams, draw_scene, render_exposure
from skymere.testing.exposures import write_exposure
from skymere.wcs import Grid

STARS = [(x, y, 60.0, 0.15) for x in (-2.5, 0.1, 2.4) for y in (-2.0, 1.3)]


@pytest.fixture(scope="module")
def exposures(make_exposure):
    made = []
    for i, (x, y) in enumerate([(0.0, 0.0), (0.33, 0.12), (-0.27, 0.41), (0.14, -0.38)]):
        one = make_exposure(f"e{i}", x=x, y=y, stars=STARS, noise=0.08)
        data = one.data.copy()
        data[20 + 7 * i, 30 + 5 * i : 33 + 5 * i] += 5.0
        made.append(replace(one, data=data))
    return made


def test_each_step_runs_alone_on_what_the_one_before_left(exposures) -> None:
    whole = flag_exposures(exposures)
    masks = static_masks(exposures)
    stored = [e.flagged("static", masks[e.exposure_id]) for e in exposures]
    stored = [replace(e, sky=one.sky) for e, one in zip(stored, whole, strict=True)]
    grid = Grid.covering(((e.wcs, e.shape) for e in stored), scale_arcsec=0.1)
    single, unused = single_drizzle(stored[0], grid)
    assert single.shape == unused.shape == grid.shape
    model, params = build_sky_model(stored, grid=grid), CosmicRayParams()
    assert model.data.shape == grid.shape
    first = [compare_exposure(one, model, params=params).mask for one in stored]
    model = build_mean_model(stored, [one.mask() | hit for one, hit in zip(stored, first, strict=True)], instead=model)
    assert model.grid.scale_arcsec == pytest.approx(0.07)
    for one, expected in zip(stored, whole, strict=True):
        hits = compare_exposure(one, model, params=params.last)
        np.testing.assert_array_equal(one.flagged("cosmic_ray", hits.mask).flags, expected.flags)


def test_streamed_mosaics_have_the_same_bits(exposures) -> None:
    grid = make_grid(exposures, params=GridParams(scale_arcsec=0.06))
    mosaic, _ = drizzle_exposures(exposures, grid)
    streamed = drizzle_stream(exposures, grid)
    for plane in ("data", "weight", "variance", "context"):
        np.testing.assert_array_equal(getattr(streamed, plane), getattr(mosaic, plane))
    assert streamed.params == mosaic.params


@pytest.mark.parametrize("combine", ["minmed", "median"])
def test_blocks_in_a_file_give_the_same_bits_as_one_block_in_memory(exposures, combine) -> None:
    ready = [replace(e, sky=0.5) for e in exposures]
    whole = build_sky_model(ready, params=CosmicRayParams(combine=combine))
    for memory_mb in (0.5, 0.01, 0.0001):
        blocks = build_sky_model(ready, params=CosmicRayParams(combine=combine, memory_mb=memory_mb))
        np.testing.assert_array_equal(blocks.data, whole.data)


def test_where_few_exposures_lie_they_are_combined_as_a_part_of_all(make_exposure) -> None:
    """Two exposures are averaged by minmed when there are no more, and not when others lie elsewhere."""
    far = [make_exposure(f"e{i}", y=y, stars=STARS, noise=0.08) for i, y in enumerate([0.0, 0.12, 25.0, 25.12])]
    grid = make_grid(far, params=GridParams(scale_arcsec=0.1))
    assert grid.shape[0] > 256
    singles = [single_drizzle(one, grid) for one in far]
    values, unused = (np.array(planes) for planes in zip(*singles, strict=True))
    told = {key: [getattr(one, key) for one in far] for key in ("exptime", "sky", "read_noise")}
    whole = np.nan_to_num(combine_images(values, unused, **told), nan=0.0)
    np.testing.assert_array_equal(build_sky_model(far, grid=grid).data, whole)


def test_cleaned_copies_hold_the_model_where_cosmic_rays_were(exposures) -> None:
    for before, one in zip(exposures, iter_flagged(exposures), strict=True):
        hits, cleaned = one.cosmic_rays.mask, one.cleaned()
        assert 3 <= hits.sum() < 30
        np.testing.assert_array_equal(cleaned.data[~hits], before.data[~hits])
        np.testing.assert_array_equal(cleaned.data[hits], one.cosmic_rays.model[hits])
        assert before.data[hits].max() > 4.0
        assert np.abs(cleaned.data[hits] - 0.5).max() < 1.0
        np.testing.assert_array_equal(one.exposure.data, before.data)


def test_single_drizzles_take_a_grid_and_kernel_of_their_own(exposures) -> None:
    own = make_grid(exposures, params=GridParams(scale_arcsec=0.2, rotation_deg=25.0))
    params = CosmicRayParams(drizzle=DrizzleParams(kernel="square", pixfrac=0.9))
    model = build_sky_model(exposures, grid=own, params=params)
    assert model.grid.shape == own.shape
    same = build_sky_model(exposures, params=replace(params, scale_arcsec=0.2, rotation_deg=25.0))
    np.testing.assert_array_equal(same.data, model.data)
    flagged = flag_exposures(exposures, separate_grid=own)
    assert all((e.flags & 2).any() for e in flagged)


def test_a_second_filter_is_drizzled_on_the_grid_of_the_first(exposures) -> None:
    first, _ = drizzle_exposures(exposures, make_grid(exposures, params=GridParams(scale_arcsec=0.07)))
    second, _ = drizzle_exposures([replace(e, band="f814w") for e in exposures[:3]], first.grid)
    assert second.grid.cards() == first.grid.cards()
    assert second.shape == first.shape
    assert (second.band, first.band) == ("f814w", "f606w")


def test_grids_have_the_place_size_and_reference_pixel_that_was_asked_for(exposures, tmp_path) -> None:
    from skymere.io import write_mosaic

    placed = make_grid(
        exposures,
        params=GridParams(scale_arcsec=0.05, nx=150, ny=120, ra=30.0001, dec=-0.0001, crpix1=20.0, crpix2=30.0),
    )
    assert placed.shape == (120, 150)
    assert placed.scale_arcsec == pytest.approx(0.05, abs=1e-12)
    ra, dec = placed.sky(np.array([19.0]), np.array([29.0]))
    assert (ra[0], dec[0]) == pytest.approx((30.0001, -0.0001), abs=1e-10)
    centred = make_grid(exposures, params=GridParams(ra=30.0001, dec=0.0))
    assert centred.pixels(np.array([30.0001]), np.array([0.0]))[0][0] == pytest.approx((centred.shape[1] - 1) / 2)
    mosaic = drizzle(exposures, placed)
    write_mosaic(mosaic, tmp_path / "ref.fits")
    copied = make_grid([], params=GridParams(reference_image=str(tmp_path / "ref.fits")))
    same = [v for v in placed.cards().values() if isinstance(v, float)]
    # A FITS card has room for 16 digits of a number, not always for 17.
    assert [v for v in copied.cards().values() if isinstance(v, float)] == pytest.approx(same, rel=1e-13)
    assert copied.shape == placed.shape


def test_values_given_replace_those_of_the_headers(tmp_path) -> None:
    camera = CameraParams(shape=(60, 60), n_bad_pixels=0, n_dead_pixels=0, n_cosmic_rays=1)
    pointing, path = Pointing(name="a", band="f125w", ra=10.0, dec=-5.0, pa_deg=0.0), tmp_path / "a_flt.fits"
    scene = draw_scene(10.0, -5.0, params=SceneParams(n_galaxies=0, n_stars=2, radius_arcsec=3.0))
    write_exposure(render_exposure(scene, pointing, params=camera), pointing, path, params=camera)
    one, changed = (
        ExposureFiles([path], override=override)[0]
        for override in (None, OverrideParams(read_noise=7.0, exptime=50.0, gain=2.0))
    )
    assert (changed.read_noise, changed.exptime) == (7.0, 50.0) != (one.read_noise, one.exptime)
    # The gain is that of data numbers; these are electrons / s.
    np.testing.assert_array_equal(changed.data, one.data)
    with pytest.raises(InvalidInputError, match="exptime: 0 is not allowed"):
        OverrideParams(exptime=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GridParams(reference_image="a.fits", scale_arcsec=0.1), "scale_arcsec: 0.1 is not allowed beside"),
        (lambda: GridParams(nx=10), "nx, ny: both"),
        (lambda: GridParams(scale_arcsec=0.0), "scale_arcsec: 0.0"),
        (lambda: OverrideParams(gain=0.0), "gain: 0.0"),
        (lambda: OverrideParams(exptime=-1.0), "exptime: -1.0"),
        (lambda: OverrideParams(read_noise=-1.0), "read_noise: -1.0"),
    ],
)
def test_wrong_parameters_are_named(make, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()


def test_a_blank_exposure_does_not_mask_the_detector(exposures) -> None:
    blank = replace(exposures[0], exposure_id="blank", data=np.full(exposures[0].shape, np.nan))
    masks = static_masks([*exposures, blank])
    assert not masks["blank"].any()
    with pytest.raises(NoDataError, match="blank has no good pixel"):
        flag_exposures([*exposures, blank])


def test_exposures_without_a_native_scale_are_flagged_too(exposures) -> None:
    unknown = [replace(e, native_scale_arcsec=float("nan")) for e in exposures]
    expected = flag_exposures(exposures, params=FlagParams(static=None))
    for a, b in zip(flag_exposures(unknown, params=FlagParams(static=None)), expected, strict=True):
        assert np.count_nonzero(a.flags != b.flags) <= 2
