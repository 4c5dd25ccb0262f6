"""The linear system: against dense algebra, blocks, bounds, and what cannot be measured."""

from dataclasses import replace

import astropy.units as u
import galsim
import numpy as np
import polars as pl
import pytest
from astropy.coordinates import SkyCoord
from scipy.optimize import nnls

import skymere
from skymere.datamodels import Mosaic
from skymere.errors import InvalidInputError, NoDataError, NotFoundError
from skymere.photometry import ExternalModel, PhotometryParams, ShiftParams, forced_photometry
from skymere.profiles import render_sersic
from skymere.psf import GaussianPsf, MoffatPsf, Psf, PsfGrid
from skymere.segmentation import MeasureImage
from skymere.wcs import Grid

from . import scenes

SIDE = 72


@pytest.fixture(scope="module")
def scene():
    return scenes.make_scene("rotated", n=25, side=SIDE, seed=4)


@pytest.fixture(scope="module")
def noisy(scene):
    rng = np.random.default_rng(8)
    error = rng.uniform(0.8, 1.5, scene.truth.shape).astype(np.float32)
    data = scene.truth + 0.7 + error * rng.normal(size=scene.truth.shape)
    mask = rng.uniform(size=scene.truth.shape) < 0.03
    data[mask] = np.nan
    return MeasureImage(data=data, error=error, mask=mask, grid=scene.grid)


def dense(found, shape: tuple[int, int], powers: list[tuple[int, int]]) -> np.ndarray:
    """The matrix of all templates and the sky, a column each."""
    columns = []
    for source_id in found.table["source_id"]:
        plane = np.zeros(shape)
        stamp, y0, x0 = found.template(source_id)
        plane[y0 : y0 + stamp.shape[0], x0 : x0 + stamp.shape[1]] = stamp
        columns.append(plane.ravel())
    v, w = (2 * np.indices(shape)[k] / (shape[k] - 1) - 1 for k in (0, 1))
    return np.stack(columns + [(w**i * v**j).ravel() for i, j in powers], axis=1)


def test_fluxes_covariances_and_residual_are_those_of_dense_algebra(scene, noisy) -> None:
    params = PhotometryParams(background_degree=1)
    found = forced_photometry(noisy, models=scene.models, psf=scene.psf, params=params)
    a = dense(found, noisy.data.shape, [(0, 0), (1, 0), (0, 1)])
    weight = np.where(noisy.mask, 0.0, 1 / noisy.error.astype(float) ** 2).ravel()
    data = np.nan_to_num(noisy.data.astype(float)).ravel()
    matrix = a.T @ (weight[:, None] * a)
    inverse = np.linalg.inv(matrix)
    expected = inverse @ (a.T @ (weight * data))
    n = scene.models.height
    # Weights are float32, as the image is.
    np.testing.assert_allclose(found.table["flux"], expected[:n], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.background, expected[n:], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.background_covariance, inverse[n:, n:], rtol=1e-5)
    np.testing.assert_allclose(found.table["err_formal"], np.sqrt(np.diag(inverse)[:n]), rtol=1e-6)
    place = {int(source_id): i for i, source_id in enumerate(found.table["source_id"])}
    n_pairs = 0
    for i, source_id in enumerate(found.table["source_id"]):
        for neighbour, value in found.covariance.of(source_id).items():
            expected_value = inverse[i, place[neighbour]]
            assert value == pytest.approx(expected_value, rel=1e-5, abs=1e-7 * inverse[i, i])
            n_pairs += 1
    assert n_pairs > 100
    residual = np.where(noisy.mask, np.nan, data.reshape(noisy.data.shape)) - (a @ expected).reshape(noisy.data.shape)
    assert np.nanmax(np.abs(found.residual - residual)) < 1e-6 * np.nanmax(noisy.data) + 1e-5
    d = np.random.default_rng(1).normal(size=n)
    assert found.chi2_of(d) == pytest.approx(d @ np.linalg.solve(inverse[:n, :n], d), rel=1e-6)
    source_id = int(found.table["source_id"][3])
    alone, y0, x0 = found.without_others(source_id)
    stamp, *_ = found.template(source_id)
    part = found.residual[y0 : y0 + stamp.shape[0], x0 : x0 + stamp.shape[1]]
    np.testing.assert_allclose(alone, part + found.table["flux"][3] * stamp, rtol=1e-5, atol=1e-5)


def test_blocks_threads_and_order_of_models_change_nothing(scene, noisy) -> None:
    whole = forced_photometry(noisy, models=scene.models, psf=scene.psf)
    for rows, threads in [(7, 0), (None, 1), (31, 2)]:
        skymere.set_num_threads(threads)
        part = forced_photometry(noisy, models=scene.models, psf=scene.psf, params=PhotometryParams(block_rows=rows))
        skymere.set_num_threads(0)
        assert part.table.equals(whole.table)
        assert np.array_equal(part.residual, whole.residual, equal_nan=True)
        assert np.array_equal(part.covariance.covariance, whole.covariance.covariance)
    turned = forced_photometry(noisy, models=scene.models.reverse(), psf=scene.psf).table.reverse()
    assert turned["source_id"].equals(whole.table["source_id"])
    np.testing.assert_allclose(turned["flux"], whole.table["flux"], rtol=1e-9)


def test_fluxes_that_may_not_be_negative_are_those_of_nnls(scene) -> None:
    rng = np.random.default_rng(2)
    data = 0.02 * scene.truth + rng.normal(size=scene.truth.shape)
    image = MeasureImage(data=data, error=1.0, grid=scene.grid)
    params = PhotometryParams(is_non_negative=True, background_degree=-1)
    found = forced_photometry(image, models=scene.models, psf=scene.psf, params=params)
    a = dense(found, data.shape, [])
    expected, _ = nnls(a, data.astype(np.float32).astype(float).ravel())
    assert 3 < int((expected == 0).sum()) < 22
    np.testing.assert_allclose(found.table["flux"], expected, atol=1e-4)
    assert found.table["at_bound"].to_list() == (expected == 0).tolist()


def test_sources_that_cannot_be_measured_are_rows_and_others_are_as_without_them(scene, noisy) -> None:
    first = scene.models.row(0, named=True)
    bad = [
        {**first, "source_id": 1, "ra": first["ra"] + 1.0},
        {**first, "source_id": 2, "r_eff": -1.0, "kind": "sersic"},
        {**first, "source_id": 3, "sersic_index": 20.0, "kind": "sersic"},
        {**first, "source_id": 4, "ellipticity": 1.0, "kind": "sersic"},
        {**first, "source_id": 5, "kind": "spiral"},
        {**first, "source_id": 6, "ra": None},
        {**first, "source_id": 7, "kind": "external"},
    ]
    models = pl.concat([pl.DataFrame(bad, schema=scene.models.schema), scene.models])
    found = forced_photometry(noisy, models=models, psf=scene.psf)
    rows = {row["source_id"]: row for row in found.table.iter_rows(named=True)}
    words = {1: "outside", 2: "r_eff", 3: "sersic_index", 4: "ellipticity", 5: "kind", 6: "ra", 7: "external"}
    for source_id, word in words.items():
        assert rows[source_id]["status"] == "rejected"
        assert word in rows[source_id]["message"]
        assert rows[source_id]["flux"] is None
        assert rows[source_id]["flux_err"] is None
    without = forced_photometry(noisy, models=scene.models, psf=scene.psf).table
    np.testing.assert_allclose(found.table["flux"][len(bad) :], without["flux"], rtol=1e-9)


def test_twins_fail_both_and_others_are_as_without_one(scene, noisy) -> None:
    twin = scene.models[4].with_columns(source_id=pl.lit(9, pl.Int64))
    both = pl.concat([scene.models, twin])
    found = forced_photometry(noisy, models=both, psf=scene.psf).table
    assert found["status"][4] == found["status"][-1] == "failed"
    assert "cannot be told from that of source 9" in found["message"][4]
    assert found["flux"][4] is None
    without = forced_photometry(noisy, models=scene.models, psf=scene.psf).table
    rest = [i for i in range(scene.models.height) if i != 4]
    assert (found["status"].gather(rest) == "ok").all()
    np.testing.assert_allclose(found["flux"].gather(rest), without["flux"].gather(rest), rtol=1e-6)


def test_a_source_on_masked_pixels_is_rejected(scene) -> None:
    mask = np.zeros(scene.truth.shape, bool)
    mask[:, :50] = True
    found = forced_photometry(
        MeasureImage(data=scene.truth, error=1.0, mask=mask, grid=scene.grid), models=scene.models, psf=scene.psf
    )
    far = found.table.filter(pl.col("x") < 20)
    assert far.height > 2
    assert (far["status"] == "rejected").all()
    assert (far["message"] == "no pixel with a weight").all()
    assert (found.table.filter(pl.col("x") > 50)["status"] == "ok").all()


def test_a_source_that_cannot_be_told_from_the_sky_fails(scene) -> None:
    mask = np.ones(scene.truth.shape, bool)
    one = scene.models[:1]
    x, y = (round(float(v[0])) for v in scene.grid.pixels(one["ra"].to_numpy(), one["dec"].to_numpy()))
    mask[y, x] = False
    image = MeasureImage(data=scene.truth + 7.0, error=1.0, mask=mask, grid=scene.grid)
    row = forced_photometry(image, models=one, psf=scene.psf).table.row(0, named=True)
    assert row["status"] == "failed"
    assert "background" in row["message"]
    assert row["flux"] is None


def test_errors_and_dipoles_hold_the_correlation_of_the_noise(scene, noisy) -> None:
    plain = forced_photometry(noisy, models=scene.models, psf=scene.psf).table
    correlated = forced_photometry(replace(noisy, noise_correlation=2.0), models=scene.models, psf=scene.psf).table
    np.testing.assert_allclose(correlated["flux_err"], 2.0 * plain["flux_err"])
    np.testing.assert_allclose(correlated["dipole"], 0.5 * plain["dipole"])
    mosaic = Mosaic(
        band="r",
        grid=scene.grid,
        data=noisy.data.astype(np.float32),
        weight=np.where(noisy.mask, 0, 1).astype(np.float32),
        variance=np.square(noisy.error),
        context=np.ones((1, *scene.truth.shape), np.int32),
        exposure_ids=("a",),
        noise_correlation=2.0,
    )
    found = forced_photometry(mosaic, models=scene.models, psf=scene.psf).table
    np.testing.assert_allclose(found["flux_err"], correlated["flux_err"], rtol=1e-6)


def test_arguments_that_are_not_allowed_are_named(scene, noisy) -> None:
    def run(image=noisy, models=scene.models, psf=scene.psf, **more):
        return forced_photometry(image, models=models, psf=psf, **more)

    plain = {"data": noisy.data, "error": noisy.error}
    for arguments, text in [
        ({"image": np.zeros((3, 3))}, "image: ndarray"),
        ({"image": MeasureImage(**plain)}, "grid None"),
        ({"image": MeasureImage(data=noisy.data, grid=scene.grid)}, "error None"),
        ({"models": scene.models.drop("r_eff")}, "r_eff"),
        ({"models": pl.concat([scene.models, scene.models])}, "more than once"),
        ({"models": scene.models.with_columns(source_id=pl.lit(None, pl.Int64))}, "source_id of type Int64"),
        ({"models": scene.models.cast({"source_id": pl.Float64})}, "source_id of type Float64"),
        ({"psf": scene.psf * 100}, "sum"),
        ({"psf": scene.psf * np.nan}, "not finite"),
        ({"psf": np.zeros((9, 9))}, "sum"),
        ({"psf": np.zeros((0, 0))}, "shape"),
        ({"psf": np.roll(scene.psf, 3, axis=0)}, "centroid"),
        ({"external": {-5: None}}, "source_id -5"),
    ]:
        with pytest.raises(InvalidInputError, match=text):
            run(**arguments)
    for name, value in [("background_degree", 9), ("light_in_stamp", 1.0), ("block_rows", 0), ("max_stamp_pix", 1)]:
        with pytest.raises(InvalidInputError, match=name):
            PhotometryParams(**{name: value})
    with pytest.raises(NoDataError):
        run(image=MeasureImage(**plain, mask=np.ones((SIDE, SIDE), bool), grid=scene.grid))
    with pytest.raises(NotFoundError):
        run().template(-1)


def test_fluxes_are_microjansky_when_the_zero_point_is_known(scene, noisy) -> None:
    known = MeasureImage(data=noisy.data, error=noisy.error, mask=noisy.mask, grid=scene.grid, zero_point_ab=26.4)
    found = forced_photometry(known, models=scene.models, psf=scene.psf)
    plain = forced_photometry(noisy, models=scene.models, psf=scene.psf)
    assert (found.unit, plain.unit) == ("uJy", "image")
    for name in ("flux", "err_formal", "background"):
        np.testing.assert_allclose(found.table[name], plain.table[name] * 0.1, rtol=1e-9)
    np.testing.assert_allclose(found.covariance.covariance, plain.covariance.covariance * 0.01, rtol=1e-9)


@pytest.mark.parametrize("scale", [0.06, 0.25, 0.6])
def test_an_external_model_of_any_pixels_gives_the_flux_of_its_profile(scale: float) -> None:
    """A Gaussian on a rotated grid of its own, whose blur by its own pixels is part of the model."""
    scene = scenes.make_scene("rotated", n=8, side=SIDE, seed=6, faint=200.0)
    row = scene.models.row(0, named=True)
    side = int(10 / scale) | 1
    own = Grid.tangent(row["ra"], row["dec"], shape=(side, side), scale_arcsec=scale, rotation_deg=-20.0)
    sigma = 0.8
    # Light is summed over pixels and then spread over them: twice the variance of a pixel, 1/12 of its side squared.
    inner = np.sqrt(sigma**2 - scale**2 / 6) / scale
    image = render_sersic((side, side), x=(side - 1) / 2, y=(side - 1) / 2, flux=7.0, re=inner * 1.17741, n=0.5)
    models = scene.models.with_columns(
        kind=pl.when(pl.col("source_id") == row["source_id"]).then(pl.lit("gaussian")).otherwise("kind"),
        r_eff=pl.when(pl.col("source_id") == row["source_id"]).then(sigma * 1.17741).otherwise("r_eff"),
        ellipticity=pl.when(pl.col("source_id") == row["source_id"]).then(0.0).otherwise("ellipticity"),
    )
    by_profile = forced_photometry(
        MeasureImage(data=scene.truth, error=1.0, grid=scene.grid), models=models, psf=scene.psf
    )
    stamp, y0, x0 = by_profile.template(row["source_id"])
    given = forced_photometry(
        MeasureImage(data=scene.truth, error=1.0, grid=scene.grid),
        models=models,
        psf=scene.psf,
        external={row["source_id"]: ExternalModel(data=image, wcs=own.wcs)},
    )
    other, oy, ox = given.template(row["source_id"])
    common = np.zeros((2, SIDE, SIDE))
    common[0, y0 : y0 + stamp.shape[0], x0 : x0 + stamp.shape[1]] = stamp
    common[1, oy : oy + other.shape[0], ox : ox + other.shape[1]] = other
    print(f"{scale}: {np.abs(common[1] - common[0]).max() / stamp.max():.1e} of the peak, sum {other.sum():.5f}")
    assert np.abs(common[1] - common[0]).max() < 2e-3 * stamp.max()
    assert other.sum() == pytest.approx(1.0, abs=2e-4)
    assert given.table["flux"][0] == pytest.approx(by_profile.table["flux"][0], rel=5e-3)


def test_a_psf_that_changes_over_the_image_is_used_at_each_place() -> None:
    grid = Grid.tangent(10.0, -5.0, shape=(120, 120), scale_arcsec=0.6)
    widths = {(i, j): 2.8 + 0.8 * i + 0.5 * j for i in range(2) for j in range(2)}

    def light(fwhm: float) -> galsim.GSObject:
        return galsim.Gaussian(fwhm=fwhm)

    def stamp(fwhm: float) -> Psf:
        image = light(fwhm).drawImage(nx=41, ny=41, scale=1.0, method="no_pixel", dtype=float).array
        return Psf(data=image.astype(np.float32), enclosed=float(image.sum()))

    psf = PsfGrid(x=(10.0, 110.0), y=(10.0, 110.0), psfs=tuple(stamp(widths[i, j]) for j in (0, 1) for i in (0, 1)))
    places = [(20.3, 30.7), (60.0, 60.0), (100.2, 15.5), (15.0, 105.1), (95.4, 99.9)]
    image = galsim.ImageD(galsim.BoundsI(0, 119, 0, 119), init_value=0.0)
    for x, y in places:
        u1, v1 = (x - 10) / 100, (y - 10) / 100
        for (i, j), fwhm in widths.items():
            weight = (u1 if i else 1 - u1) * (v1 if j else 1 - v1)
            source = galsim.Convolve(galsim.Exponential(half_light_radius=2.0), light(fwhm)).withFlux(500 * weight)
            image += source.drawImage(image.copy(), scale=1.0, method="no_pixel", center=(x, y))
    ra, dec = grid.sky(*(np.array(p) for p in zip(*places, strict=True)))
    models = pl.DataFrame({"source_id": range(5), "ra": ra, "dec": dec}).with_columns(
        r_eff=1.2, sersic_index=1.0, ellipticity=0.0, pa_sky=0.0
    )
    found = forced_photometry(MeasureImage(data=image.array, error=1.0, grid=grid), models=models, psf=psf)
    np.testing.assert_allclose(found.table["flux"], 500.0, rtol=1e-3)
    one = forced_photometry(MeasureImage(data=image.array, error=1.0, grid=grid), models=models, psf=psf.psfs[0])
    assert np.abs(one.table["flux"].to_numpy() / 500 - 1).max() > 0.02


@pytest.mark.parametrize("kind", ["gaussian", "moffat", "oversampled", "bare"])
def test_psfs_of_every_kind_hold_the_pixel_once(kind: str) -> None:
    """A narrow PSF, given as a formula, oversampled, or without its pixel, against GalSim's pixels."""
    grid = Grid.tangent(10.0, -5.0, shape=(60, 60), scale_arcsec=0.5, rotation_deg=30.0)
    fwhm = 2.8 if kind == "bare" else 1.5
    light = galsim.Moffat(beta=3.0, fwhm=fwhm, trunc=25) if kind == "moffat" else galsim.Gaussian(fwhm=fwhm)
    x, y = np.array([20.3, 41.8]), np.array([29.6, 33.1])
    image = galsim.ImageD(galsim.BoundsI(0, 59, 0, 59), init_value=0.0)
    for i in range(2):
        source = galsim.Convolve(galsim.Exponential(half_light_radius=1.5), light).withFlux(100.0)
        image += source.drawImage(image.copy(), scale=1.0, center=(x[i], y[i]))
    fine = light.drawImage(nx=121, ny=121, scale=0.25, method="no_pixel", dtype=float).array
    psf = {
        "gaussian": GaussianPsf(fwhm_arcsec=0.75),
        "moffat": MoffatPsf(fwhm_arcsec=0.75, beta=3.0),
        "oversampled": Psf(data=fine.astype(np.float32), oversampling=4.0, has_pixel=False),
        "bare": light.drawImage(nx=41, ny=41, scale=1.0, method="no_pixel", dtype=float).array,
    }[kind]
    ra, dec = grid.sky(x, y)
    models = pl.DataFrame({"source_id": [1, 2], "ra": ra, "dec": dec}).with_columns(
        r_eff=0.75, sersic_index=1.0, ellipticity=0.0, pa_sky=0.0
    )
    measured = MeasureImage(data=image.array, error=1.0, grid=grid)
    found = forced_photometry(measured, models=models, psf=psf, psf_has_pixel=kind != "bare")
    assert found.warnings == ()
    print(kind, found.table["flux"].to_numpy(), np.abs(found.residual).max() / image.array.max())
    np.testing.assert_allclose(found.table["flux"], 100.0, rtol=2e-4)
    assert np.abs(found.residual).max() < 1.5e-3 * image.array.max()


def test_places_and_angles_are_those_of_the_sky() -> None:
    """A thin source at a position angle of 30 degrees points from north to east on every grid."""
    centre = SkyCoord(scenes.RA * u.deg, scenes.DEC * u.deg)
    ahead = centre.directional_offset_by(30 * u.deg, 4 * u.arcsec)
    aside = centre.directional_offset_by(-30 * u.deg, 4 * u.arcsec)
    models = pl.DataFrame(
        {"source_id": [1], "ra": [scenes.RA], "dec": [scenes.DEC], "r_eff": [3.0], "sersic_index": [0.5]}
    ).with_columns(ellipticity=0.8, pa_sky=30.0)
    for kind in ("plain", "rotated", "flipped", "ground"):
        grid = scenes.make_grid(kind, 121)
        assert (np.linalg.det(grid.wcs.pixel_scale_matrix) > 0) == (kind == "flipped")
        image = MeasureImage(data=np.zeros(grid.shape), error=1.0, grid=grid)
        psf = scenes.psf_of(kind).drawImage(nx=61, ny=61, scale=1.0, method="no_pixel", dtype=float).array
        stamp, y0, x0 = forced_photometry(image, models=models, psf=psf).template(1)
        values = []
        for place in (ahead, aside):
            px, py = grid.pixels(np.array([place.ra.deg]), np.array([place.dec.deg]))
            values.append(stamp[round(py[0]) - y0, round(px[0]) - x0])
        assert values[0] > 3 * values[1]


def test_external_models_without_light_are_refused() -> None:
    wcs = Grid.tangent(10.0, 2.0, shape=(5, 5), scale_arcsec=0.1).wcs
    for data in (np.zeros((5, 5)), -np.ones((5, 5)), np.full((5, 5), np.nan)):
        with pytest.raises(InvalidInputError, match="sum"):
            ExternalModel(data=data, wcs=wcs)


@pytest.mark.parametrize("side", [61, 62])
def test_light_outside_of_the_image_stays_in_the_flux(side: int) -> None:
    """A source whose middle lies on the edge of the image, behind PSFs of odd and even sides."""
    grid = scenes.make_grid("plain", 60)
    ra, dec = grid.sky(np.array([-0.5, 30.2]), np.array([30.0, 30.7]))
    models = pl.DataFrame({"source_id": [1, 2], "ra": ra, "dec": dec, "kind": ["sersic", "sersic"]}).with_columns(
        r_eff=1.2, sersic_index=1.0, ellipticity=0.3, pa_sky=20.0
    )
    light = scenes.psf_of("plain")
    truth = scenes.draw_truth(grid, models, np.array([400.0, 300.0]), light, (0.0, 0.0))
    psf = light.drawImage(nx=side, ny=side, scale=1.0, method="no_pixel", dtype=float).array
    found = forced_photometry(MeasureImage(data=truth, error=1.0, grid=grid), models=models, psf=psf).table
    np.testing.assert_allclose(found["flux"], [400.0, 300.0], rtol=3e-3)
    assert found["light_inside"][0] == pytest.approx(0.5, abs=0.02)
    assert found["light_inside"][1] > 0.98


@pytest.mark.parametrize("degree", [-1, 0])
def test_a_list_of_sources_elsewhere_gives_rows_and_the_sky(scene, degree: int) -> None:
    models = scene.models.with_columns(ra=pl.col("ra") + 0.5)
    image = MeasureImage(data=np.full((SIDE, SIDE), 3.0), error=1.0, grid=scene.grid)
    params = PhotometryParams(background_degree=degree, shift=ShiftParams(method="joint"), is_non_negative=True)
    found = forced_photometry(image, models=models, psf=scene.psf, params=params)
    assert (found.table["message"] == "outside of the image").all()
    np.testing.assert_allclose(found.residual, 3.0 if degree < 0 else 0.0, atol=1e-5)
