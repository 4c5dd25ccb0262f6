"""Sources of several components, and alternative models of a source."""

import numpy as np
import polars as pl
import pytest

from skymere.errors import InvalidInputError
from skymere.photometry import NoiseParams, PhotometryParams, ShiftParams, forced_photometry
from skymere.segmentation import MeasureImage

from . import scenes


@pytest.fixture(scope="module")
def galaxy():
    """A bulge with 0.3 of the light in a disc, and a small neighbour."""
    grid = scenes.make_grid("rotated", 90)
    ra, dec = grid.sky(np.array([40.3, 40.3, 47.0]), np.array([45.8, 45.8, 49.0]))
    models = pl.DataFrame(
        {
            "source_id": [7, 7, 3],
            "component": ["bulge", "disc", "all"],
            "ra": ra,
            "dec": dec,
            "kind": ["sersic", "exponential", "sersic"],
            "flux": [0.6, 1.4, float("nan")],
            "r_eff": [0.5, 2.0, 0.6],
            "sersic_index": [2.5, 1.0, 1.0],
            "ellipticity": [0.1, 0.6, 0.3],
            "pa_sky": [0.0, 40.0, 100.0],
        }
    )
    light = scenes.psf_of("rotated")
    truth = scenes.draw_truth(grid, models, np.array([300.0, 700.0, 400.0]), light, (0.0, 0.0))
    psf = light.drawImage(nx=61, ny=61, scale=1.0, method="no_pixel", dtype=float).array
    return MeasureImage(data=truth, error=1.0, grid=grid), models, psf


def test_components_make_one_template_of_all_their_light(galaxy) -> None:
    image, models, psf = galaxy
    params = PhotometryParams(shift=ShiftParams(method="joint"), light_in_stamp=0.998)
    found = forced_photometry(image, models=models, psf=psf, params=params)
    assert found.table["source_id"].to_list() == [7, 3]
    np.testing.assert_allclose(found.table["flux"], [1000.0, 400.0], rtol=2e-3)
    assert np.abs(found.residual).max() < 2e-3 * image.data.max()
    assert np.abs(found.shift.arcsec).max() < 0.003 * 0.6
    assert found.template(7)[0].sum() == pytest.approx(1.0, abs=3e-3)
    # Rows may come in any order, and only ratios of light count.
    turned = models[[2, 1, 0]].with_columns(flux=10 * pl.col("flux"))
    again = forced_photometry(image, models=turned, psf=psf, params=params).table
    assert again["source_id"].to_list() == [3, 7]
    np.testing.assert_allclose(again["flux"][1], found.table["flux"][0], rtol=1e-6)
    # Without the bulge the model is wrong.
    disc = forced_photometry(image, models=models[1:], psf=psf, params=params)
    assert np.abs(disc.residual).max() > 0.03 * image.data.max()


def test_components_that_mean_nothing_are_refused_or_rows(galaxy) -> None:
    image, models, psf = galaxy
    for wrong, text in [
        (models.drop("component"), "more than once"),
        (models.drop("flux"), "flux"),
        (models.with_columns(component=pl.lit("all")), "component all of source_id 7"),
    ]:
        with pytest.raises(InvalidInputError, match=text):
            forced_photometry(image, models=wrong, psf=psf)
    for wrong, text in [
        (models.with_columns(r_eff=pl.Series([0.5, -2.0, 0.6])), "component disc: r_eff"),
        (models.with_columns(flux=pl.Series([1.0, -1.0, 0.6])), "component bulge: flux"),
        (models.with_columns(flux=pl.Series([None, 1.0, 0.6])), "component bulge: flux"),
        (models.with_columns(kind=pl.Series(["sersic", "external", "sersic"])), "component disc"),
    ]:
        table = forced_photometry(image, models=wrong, psf=psf).table
        assert table["status"].to_list() == ["rejected", "ok"]
        assert text in table["message"][0]


def test_errors_of_components_add_up(galaxy) -> None:
    """The error of a radius is what a change of it by that does, with the shift free."""
    image, models, psf = galaxy
    params = PhotometryParams(shift=ShiftParams(method="joint", max_arcsec=2.0), has_shape_errors=True)
    sigma = 0.02
    moved = []
    for row in range(2):
        change = np.zeros(3)
        change[row] = sigma
        pair = [
            forced_photometry(
                image, models=models.with_columns(r_eff=models["r_eff"] + sign * change), psf=psf, params=params
            )
            .table["flux"]
            .to_numpy()
            for sign in (1, -1)
        ]
        moved.append((pair[0] - pair[1]) / 2)
    with_errors = models.with_columns(r_eff_err=pl.Series([sigma, sigma, 0.0]))
    found = forced_photometry(image, models=with_errors, psf=psf, params=params).table
    # Of sources that do not overlap nothing counts; these do. The derivative of the shift itself is left out.
    np.testing.assert_allclose(found["err_shape"], np.hypot(*moved), rtol=0.05)
    rejected = with_errors.with_columns(r_eff=pl.Series([0.5, 2.0, -1.0]))
    table = forced_photometry(image, models=rejected, psf=psf, params=params).table
    assert table["err_shape"][1] is None
    assert table["err_shape"][0] > 0


def test_alternative_models_scatter_fluxes_as_their_shapes_do(galaxy) -> None:
    image, models, psf = galaxy
    single = models[2:].drop("component", "flux")
    single = pl.concat([single, single.with_columns(source_id=pl.lit(4, pl.Int64), ra=pl.col("ra") + 8e-3)])
    sigma = 0.06
    chain = pl.DataFrame({"r_eff": 0.6 + sigma * np.random.default_rng(1).normal(size=200)})
    params = PhotometryParams(n_alternatives=60)
    found = forced_photometry(image, models=single, psf=psf, alternatives={3: chain}, params=params).table
    linear = forced_photometry(
        image,
        models=single.with_columns(r_eff_err=pl.Series([sigma, 0.0])),
        psf=psf,
        params=PhotometryParams(has_shape_errors=True),
    ).table
    # The scatter of 60 is known to 9 %; r_eff changes by a tenth, which is not quite small.
    assert found["err_shape"][0] == pytest.approx(linear["err_shape"][0], rel=0.3)
    assert found["flux_err"][0] == pytest.approx(np.hypot(found["err_formal"][0], found["err_shape"][0]))
    assert found["err_shape"][0] > 0.5 * found["err_formal"][0]
    # A state of a chain for two sources at once: what one has more, the other one has less.
    both = {3: pl.DataFrame({"r_eff": [0.5, 0.6, 0.7]}), 4: pl.DataFrame({"r_eff": [0.5, 0.6, 0.7], "kind": "sersic"})}
    noise = PhotometryParams(has_shape_errors=True, noise=NoiseParams(n_positions=10))
    table = forced_photometry(image, models=single, psf=psf, alternatives=both, params=noise).table
    assert (table["err_shape"].drop_nulls() > 0).all()
    for wrong, text in [
        ({9: chain}, "source_id 9"),
        ({3: chain.clear()}, "at least one row"),
        ({3: pl.DataFrame({"r_eff": [0.5, -1.0]})}, "r_eff: -1"),
    ]:
        with pytest.raises(InvalidInputError, match=text):
            forced_photometry(image, models=single, psf=psf, alternatives=wrong)
