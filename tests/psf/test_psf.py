"""PSFs from stars, grids and formulas, and drizzled as the data were."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError, NoDataError
from skymere.psf import (
    BuildParams,
    GaussianPsf,
    MoffatPsf,
    Psf,
    PsfGrid,
    build_psf,
    cropped,
    drizzle_psf,
    measure_shape,
    read_psf_grid,
    render_psf,
    sample_psf,
    select_stars,
)
from skymere.resample import DrizzleParams, drizzle
from skymere.testing import CameraParams, SceneParams, dithers, draw_scene, render_exposure
from skymere.testing.exposures import SCALE_ARCSEC
from skymere.wcs import Grid

CAMERA = CameraParams(shape=(260, 260), n_cosmic_rays=0, n_bad_pixels=60, n_dead_pixels=0)
N = 6


def star_field() -> pl.DataFrame:
    """Stars on a raster of 4.6 arcsec with random sub-pixel places."""
    scene = draw_scene(20.0, 1.0, params=SceneParams(n_galaxies=0, n_stars=N * N, radius_arcsec=15.0), seed=4)
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-0.2, 0.2, (2, N * N))
    return scene.with_columns(
        ra=20.0 + ((np.arange(N * N) % N - (N - 1) / 2) * 4.6 + x) / 3600.0,
        dec=1.0 + ((np.arange(N * N) // N - (N - 1) / 2) * 4.6 + y) / 3600.0,
        mag_f160w=pl.Series(rng.uniform(18.5, 20.5, N * N)),
    )


SCENE = star_field()


@pytest.fixture(scope="module")
def exposures() -> list[Exposure]:
    made = []
    for pointing in dithers(20.0, 1.0, bands=["f160w"], n_dithers=5, step_arcsec=0.8):
        r = render_exposure(SCENE, pointing, params=CAMERA)
        made.append(
            Exposure(
                exposure_id=pointing.name,
                data=r["sci"],
                error=r["err"],
                dq=r["dq"],
                wcs=r["wcs"],
                exptime=CAMERA.exptime,
                band="f160w",
                read_noise=CAMERA.read_noise,
                native_scale_arcsec=SCALE_ARCSEC,
                sky=CAMERA.sky,
            )
        )
    return made


@pytest.fixture(scope="module")
def built(exposures):
    return build_psf(exposures)


def test_the_psf_of_stars_is_that_of_the_camera(exposures, built) -> None:
    psf, fit = built
    assert psf.has_pixel
    assert psf.n_stars == fit.table.height > 100
    assert float(psf.data.sum(dtype=float)) == pytest.approx(1.0, abs=1e-5)
    assert fit.table["chi2"].median() == pytest.approx(1.0, abs=0.05)
    # The truth, integrated over pixels, at the same places.
    yy, xx = np.indices(psf.shape)
    dx, dy = (xx - psf.x) / 4, (yy - psf.y) / 4
    one, (x, y) = exposures[0], (130.0, 130.0)
    fine = np.array(
        [[render_psf(TRUE, one, x - a, y - b, box=(130, 131, 130, 131))[0, 0] for a in dx[0]] for b in dy[:, 0]]
    )
    core = np.hypot(dx, dy) < 4
    fine *= psf.density(dx, dy)[core].sum() / fine[core].sum()
    assert np.abs(psf.density(dx, dy) - fine).max() < 0.03 * fine.max()


TRUE = MoffatPsf(fwhm_arcsec=CAMERA.psf_fwhm_arcsec, beta=3.0)


def test_places_and_fluxes_of_the_stars_are_true(exposures, built) -> None:
    _, fit = built
    one = exposures[0]
    table = fit.table.filter(pl.col("exposure_id") == one.exposure_id)
    x, y = one.wcs.all_world2pix(SCENE["ra"].to_numpy(), SCENE["dec"].to_numpy(), 0)
    off = np.hypot(table["x"].to_numpy()[:, None] - x, table["y"].to_numpy()[:, None] - y)
    assert np.median(off.min(axis=1)) < 0.02
    assert len(set(off.argmin(axis=1))) == table.height


@pytest.mark.parametrize(
    "params",
    [
        DrizzleParams(pixfrac=0.6),
        DrizzleParams(pixfrac=0.8),
        DrizzleParams(kernel="turbo"),
        DrizzleParams(kernel="lanczos3"),
    ],
    ids=["square-0.6", "square-0.8", "turbo", "lanczos3"],
)
def test_the_drizzled_psf_is_as_wide_as_the_stars_of_the_mosaic(exposures, built, params) -> None:
    grid = Grid.tangent(20.0, 1.0, shape=(520, 520), scale_arcsec=0.06)
    mosaic = drizzle(exposures, grid, params=params)
    sources = {"stars": built[0], "formula": TRUE}
    ratios: dict[str, list[float]] = {name: [] for name in sources}
    for ra, dec in SCENE.select("ra", "dec").iter_rows():
        x, y = (float(v[0]) for v in grid.pixels(np.array([ra]), np.array([dec])))
        cx, cy = round(x), round(y)
        stamp = mosaic.data[cy - 25 : cy + 26, cx - 25 : cx + 26]
        if np.hypot(x - 260, y - 260) > 170 or not np.isfinite(stamp).all():
            continue
        star = measure_shape(stamp, x=x - cx + 25, y=y - cy + 25)
        for name, source in sources.items():
            psf = drizzle_psf(exposures, grid, ra, dec, source=source, size_pix=51, params=params)
            shape = psf.measure()
            assert (psf.x, psf.y) == pytest.approx((x - cx + 25, y - cy + 25), abs=1e-6)
            assert (shape.x, shape.y) == pytest.approx((star.x, star.y), abs=0.06)
            ratios[name].append(shape.fwhm / star.fwhm)
    for name, found in ratios.items():
        print(
            f"{params.kernel} {params.pixfrac}: FWHM of the PSF from {name} / of {len(found)} stars", np.median(found)
        )
        assert len(found) > 10
        assert np.median(found) == pytest.approx(1.0, abs=0.02)


def test_drizzled_psfs_enclose_what_their_window_holds(exposures) -> None:
    grid = Grid.tangent(20.0, 1.0, shape=(300, 300), scale_arcsec=0.08)
    small, large = (
        drizzle_psf(exposures, grid, 20.0, 1.0, source=TRUE, size_pix=size, params=DrizzleParams(pixfrac=0.8))
        for size in (15, 61)
    )
    assert 0.7 < small.enclosed < large.enclosed <= 1.0
    assert small.data.sum(dtype=float) == pytest.approx(small.enclosed, rel=1e-5)
    middle = large.data[23:38, 23:38]
    np.testing.assert_allclose(middle / middle.max(), small.data / small.data.max(), atol=2e-6)


def test_masks_decide_about_the_psf_at_their_place(exposures) -> None:
    grid = Grid.tangent(20.0, 1.0, shape=(300, 300), scale_arcsec=0.06)
    blind = []
    for one in exposures:
        x, y = one.wcs.all_world2pix(20.0, 1.0, 0)
        mask = np.zeros(one.shape, bool)
        mask[round(float(y)), round(float(x))] = True
        blind.append(one.flagged("cosmic_ray", mask))
    whole = drizzle_psf(exposures, grid, 20.0, 1.0, source=TRUE)
    holed = drizzle_psf(blind, grid, 20.0, 1.0, source=TRUE)
    ignored = drizzle_psf(blind, grid, 20.0, 1.0, source=TRUE, use_masks=False)
    assert holed.data.max() < 0.95 * whole.data.max()
    np.testing.assert_allclose(ignored.data, drizzle_psf(exposures, grid, 20.0, 1.0, source=TRUE, use_masks=False).data)
    everything = [one.flagged("static", np.ones(one.shape, bool)) for one in exposures]
    with pytest.raises(NoDataError, match="none has a good pixel"):
        drizzle_psf(everything, grid, 20.0, 1.0, source=TRUE)
    with pytest.raises(NoDataError, match="none has a good pixel"):
        drizzle_psf(exposures, grid, 25.0, 1.0, source=TRUE)


def test_pixels_are_integrated_once(exposures) -> None:
    """F52: a PSF without the pixel and one with it give the same pixels."""
    one, box = exposures[0], (115, 146, 115, 146)
    yy, xx = np.mgrid[-60:61, -60:61] / 4.0
    bare = Psf(data=gauss(xx, yy, 1.1).astype(np.float32), oversampling=4, has_pixel=False)
    steps = (np.arange(40) + 0.5) / 40 - 0.5
    effective = np.mean([gauss(xx + a, yy + b, 1.1) for a in steps for b in steps], axis=0)
    held = Psf(data=effective.astype(np.float32), oversampling=4, has_pixel=True)
    a, b = (render_psf(psf, one, 130.3, 129.8, box=box) for psf in (bare, held))
    assert a.sum() == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(a, b, atol=2e-5)
    twice = render_psf(replace(held, has_pixel=False), one, 130.3, 129.8, box=box)
    assert measure_shape(twice).fwhm > 1.02 * measure_shape(b).fwhm


def gauss(x, y, sigma):
    return np.exp(-0.5 * (x**2 + y**2) / sigma**2) / (2 * np.pi * sigma**2) / 16


@pytest.mark.parametrize(
    "model", [GaussianPsf(fwhm_arcsec=0.3, axis_ratio=0.8, pa_deg=30.0), MoffatPsf(fwhm_arcsec=0.3, beta=3.5)]
)
def test_formulas_have_flux_one_and_their_width(model) -> None:
    step = 0.01
    north, east = np.mgrid[-6:6:step, -6:6:step]
    density = model.sky_density(east, north)
    assert density.sum() * step**2 == pytest.approx(1.0, abs=0.002)
    along = np.deg2rad(model.pa_deg)
    half = 0.15 / np.sqrt(model.axis_ratio)
    peak = model.sky_density(0.0, 0.0)
    assert model.sky_density(half * np.sin(along), half * np.cos(along)) == pytest.approx(peak / 2)
    assert model.sky_density(
        0.15 * np.sqrt(model.axis_ratio) * np.cos(along), -0.15 * np.sqrt(model.axis_ratio) * np.sin(along)
    ) == pytest.approx(peak / 2)


def test_shapes_are_measured() -> None:
    yy, xx = np.indices((61, 61), dtype=float)
    image = np.exp(-0.5 * ((xx - 30.3) ** 2 / 3.0**2 + (yy - 28.8) ** 2 / 2.4**2))
    shape = measure_shape(image)
    assert (shape.x, shape.y) == pytest.approx((30.3, 28.8), abs=0.002)
    assert shape.fwhm == pytest.approx(2.3548 * np.sqrt(3.0 * 2.4), rel=0.01)
    assert shape.ellipticity > 0.08
    with pytest.raises(NoDataError, match="no peak"):
        measure_shape(np.zeros((20, 20)), x=10.0, y=10.0)


def test_grids_are_bilinear_between_nodes_and_constant_outside() -> None:
    images = [np.full((3, 3), value, np.float32) for value in (1.0, 2.0, 3.0, 5.0)]
    grid = PsfGrid(x=(0.0, 10.0), y=(0.0, 20.0), psfs=tuple(Psf(data=image) for image in images))
    assert grid.at(0.0, 0.0).data[0, 0] == 1.0
    assert grid.at(5.0, 0.0).data[0, 0] == 1.5
    assert grid.at(5.0, 10.0).data[0, 0] == pytest.approx(2.75)
    assert grid.at(99.0, 99.0).data[0, 0] == 5.0
    assert grid.at(-9.0, 20.0).data[0, 0] == 3.0
    cut = replace(grid, psfs=tuple(replace(psf, lost=0.1 * k) for k, psf in enumerate(grid.psfs)))
    assert cut.at(5.0, 10.0).lost == pytest.approx(0.15)


@pytest.mark.parametrize("place", [(300.0, 100.0), (40.0, 420.0), (790.0, 180.0)])
def test_grids_of_a_field_that_changes_smoothly_are_right_to_second_order_between_nodes(place) -> None:
    """FWHM, ellipticity and beta change over a detector, more along x; three columns of two rows, then twice as many."""

    def truth(x: float, y: float) -> Psf:
        model = MoffatPsf(fwhm_arcsec=0.25 + 1.2e-4 * x - 4e-5 * y, beta=3.0 + y / 500, axis_ratio=0.95 - x / 5000)
        return sample_psf(model, scale_arcsec=0.1, shape=(41, 40), oversampling=2)

    def grid(n_x: int, n_y: int) -> PsfGrid:
        xs, ys = np.linspace(0, 1000, n_x), np.linspace(0, 500, n_y)
        return PsfGrid(x=tuple(xs), y=tuple(ys), psfs=tuple(truth(x, y) for y in ys for x in xs))

    wanted = truth(*place)
    off = []
    for nodes in ((3, 2), (5, 3), (9, 5)):
        found = grid(*nodes).at(*place)
        assert (found.x, found.y, found.oversampling, found.shape) == (19.5, 20.0, 2.0, (41, 40))
        assert found.data.sum(dtype=float) == pytest.approx(1.0, abs=1e-5)
        off.append(np.abs(found.data - wanted.data).max() / wanted.data.max())
    print(place, "differences over the peak", off)
    # The error goes with the square of the step, 16 after halving it twice, times t (1 - t) along both axes, with t the
    # part of a step from the last node, of which 0.16 to 0.25 is 4 times as much as 0.04.
    assert off[0] < 0.03
    assert off[2] < off[0] / 4
    assert off[2] < 2.5e-3
    assert found.lost == pytest.approx(wanted.lost, rel=0.1)


def test_grids_of_cropped_psfs_say_what_they_lost() -> None:
    """B4.12."""
    models = [MoffatPsf(fwhm_arcsec=w, beta=2.5) for w in (0.2, 0.4)]
    small = [cropped(sample_psf(one, scale_arcsec=0.1, shape=(101, 101)), (15, 15)) for one in models]
    grid = PsfGrid(x=(0.0, 10.0), y=(0.0,), psfs=tuple(small))
    whole = PsfGrid(
        x=(0.0, 10.0), y=(0.0,), psfs=tuple(sample_psf(m, scale_arcsec=0.1, shape=(101, 101)) for m in models)
    )
    there = grid.at(4.0, 0.0)
    assert small[0].lost < there.lost < small[1].lost
    assert there.data.sum(dtype=float) == pytest.approx(1.0, abs=1e-5)
    # Cut after the interpolation instead: the same light is lost to first order.
    assert there.lost == pytest.approx(cropped(whole.at(4.0, 0.0), (15, 15)).lost, rel=1e-3)


def test_the_library_of_wfc3_ir_is_read_and_drizzled(shared_data, exposures) -> None:
    path = shared_data / "imaging" / "psf" / "stdpsf_wfc3ir_f125w_f140w.fits"
    grid = read_psf_grid(path, "f140w")
    assert (grid.x, grid.y) == ((-1.0, 506.0, 1013.0),) * 2
    psf = grid.at(300.0, 700.0)
    assert (psf.oversampling, psf.has_pixel) == (4, True)
    shape = psf.measure()
    # The F140W PSF with its pixel is about 1.1 pixels wide, and its centroid up to 0.1 pixel off (README).
    assert 1.0 < shape.fwhm / 4 < 1.4
    assert np.hypot(shape.x - psf.x, shape.y - psf.y) / 4 < 0.15
    mosaic = Grid.tangent(20.0, 1.0, shape=(300, 300), scale_arcsec=0.06)
    drizzled = drizzle_psf(exposures, mosaic, 20.0, 1.0, source=grid, params=DrizzleParams(pixfrac=0.8))
    assert shape.fwhm / 4 * SCALE_ARCSEC < drizzled.measure().fwhm * 0.06 < 1.5 * shape.fwhm / 4 * SCALE_ARCSEC
    with pytest.raises(InvalidInputError, match=r"band: 'f160w' is not in .* \['F125W', 'F140W'\]"):
        read_psf_grid(path, "f160w")


def test_stars_are_chosen_by_brightness_isolation_and_width() -> None:
    table = pl.DataFrame(
        {
            "x": [10.0, 50.0, 54.0, 90.0, 130.0, 170.0, 210.0],
            "y": [10.0] * 7,
            "flux": [100.0, 100.0, 50.0, 5.0, 100.0, 100.0, 100.0],
            "snr": [200.0, 200.0, 150.0, 20.0, 200.0, 200.0, 200.0],
            "window_pix": [1.0, 1.0, 1.0, 1.0, 1.05, 2.0, 0.97],
        }
    )
    assert select_stars(table, radius_pix=12.0, params=BuildParams())["x"].to_list() == [10.0, 130.0, 210.0]
    assert select_stars(table.head(0), radius_pix=12.0, params=BuildParams()).is_empty()


def test_given_stars_are_used_and_too_few_are_an_error(exposures) -> None:
    one = exposures[0]
    x, y = one.wcs.all_world2pix(SCENE["ra"].to_numpy(), SCENE["dec"].to_numpy(), 0)
    inside = (x > 20) & (y > 20) & (x < 240) & (y < 240)
    stars = {one.exposure_id: pl.DataFrame({"x": x[inside] + 0.2, "y": y[inside] - 0.2})}
    psf, fit = build_psf([one], stars=stars, params=BuildParams(radius_pix=8, n_rounds=5))
    assert psf.n_stars == fit.table.height > 15
    with pytest.raises(NoDataError, match="0 are too few"):
        build_psf([one], stars={})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BuildParams(oversampling=0), "oversampling: 0"),
        (lambda: BuildParams(clip_sigma=0.0), "clip_sigma: 0"),
        (lambda: GaussianPsf(fwhm_arcsec=0.0), "fwhm_arcsec: 0"),
        (lambda: GaussianPsf(fwhm_arcsec=1.0, axis_ratio=1.5), "axis_ratio: 1.5"),
        (lambda: MoffatPsf(fwhm_arcsec=1.0, beta=1.0), "beta: 1.0"),
        (lambda: Psf(data=np.ones((3, 3)), oversampling=0.0), "oversampling: 0.0"),
        (lambda: Psf(data=np.ones(3)), "data: shape"),
        (lambda: PsfGrid(x=(1.0, 0.0), y=(0.0,), psfs=()), "they must increase"),
        (lambda: PsfGrid(x=(0.0,), y=(0.0,), psfs=()), "psfs: 0 are not allowed"),
        (
            lambda: PsfGrid(x=(0.0,), y=(0.0,), psfs=(Psf(data=np.ones((3, 3))),)).at(np.nan, 0.0),
            "x, y: nan, 0.0 are not",
        ),
        (
            lambda: drizzle_psf([], Grid.tangent(0, 0, shape=(9, 9), scale_arcsec=1), 0, 0, source=TRUE, size_pix=10),
            "size_pix: 10",
        ),
    ],
)
def test_wrong_arguments_are_named(make, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()
