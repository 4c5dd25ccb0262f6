"""Images in place of profiles: wide, far, absent, and their derivatives."""

import numpy as np
import polars as pl
import pytest

from skymere.errors import InvalidInputError
from skymere.photometry import ExternalModel, PhotometryParams, ShiftParams, forced_photometry
from skymere.segmentation import MeasureImage
from skymere.wcs import Grid

from . import scenes

SHIFT = (-0.07, 0.05)


@pytest.fixture(scope="module")
def field():
    """A round Gaussian galaxy and two others."""
    grid = scenes.make_grid("rotated", 90)
    ra, dec = grid.sky(np.array([41.3, 70.0, 20.0]), np.array([44.8, 20.0, 70.0]))
    models = pl.DataFrame({"source_id": [1, 2, 3], "ra": ra, "dec": dec, "kind": ["gaussian"] * 3}).with_columns(
        r_eff=1.2, sersic_index=0.5, ellipticity=0.0, pa_sky=0.0
    )
    truth = scenes.draw_truth(grid, models, np.array([900.0, 300.0, 200.0]), scenes.psf_of("plain"), SHIFT)
    psf = scenes.psf_of("plain").drawImage(nx=61, ny=61, scale=1.0, method="no_pixel", dtype=float).array
    return MeasureImage(data=truth, error=1.0, grid=grid), models, psf


def picture(models: pl.DataFrame, half_arcsec: float, scale: float = 0.2, floor: float = 0.0) -> ExternalModel:
    side = int(2 * half_arcsec / scale) | 1
    row = models.row(0, named=True)
    own = Grid.tangent(row["ra"], row["dec"], shape=(side, side), scale_arcsec=scale, rotation_deg=15.0)
    y, x = np.indices((side, side)) - (side - 1) / 2
    variance = (1.2 / 1.17741 / scale) ** 2
    data = np.exp(-(x**2 + y**2) / 2 / variance) / (2 * np.pi * variance)
    return ExternalModel(data=data + floor, wcs=own.wcs)


def measure(field, external, **params):
    image, models, psf = field
    return forced_photometry(image, models=models, psf=psf, external=external, params=PhotometryParams(**params))


def test_the_shift_of_a_picture_is_found_by_its_derivatives(field) -> None:
    shift = ShiftParams(method="joint")
    found = measure(field, {1: picture(field[1], 6.0)}, shift=shift)
    assert found.warnings == ()
    assert found.shift.arcsec == pytest.approx(SHIFT, abs=0.003 * 0.6)
    alone = forced_photometry(
        field[0], models=field[1][:1], psf=field[2], external={1: picture(field[1], 6.0)}, params=found.params
    )
    # Other sources are in the image, far from this one.
    assert alone.shift.arcsec == pytest.approx(SHIFT, abs=0.01)
    unmoved = measure(field, {1: picture(field[1], 6.0)})
    assert unmoved.table["move_east"][0] == pytest.approx(SHIFT[0], rel=0.2)
    assert unmoved.table["move_north"][0] == pytest.approx(SHIFT[1], rel=0.2)


def test_a_picture_without_zeros_is_cut_to_what_a_stamp_holds(field) -> None:
    """2 arcmin wide, with a floor everywhere that holds a thousandth of the light."""
    wide = picture(field[1], 60.0, floor=1e-3 / 601**2)
    small = measure(field, {1: picture(field[1], 6.0)})
    found = measure(field, {1: wide}, max_stamp_pix=20)
    assert found.table["status"].to_list() == ["ok"] * 3
    assert found.table["flux"][0] == pytest.approx(small.table["flux"][0], rel=3e-3)
    assert found.template(1)[0].shape[0] < 90
    with_room = measure(field, {1: wide}, max_stamp_pix=200)
    assert with_room.table["flux"][0] == pytest.approx(small.table["flux"][0], rel=3e-3)


def test_pictures_that_are_far_or_absent_are_rows(field) -> None:
    far = Grid.tangent(scenes.RA + 180.0, -60.0, shape=(21, 21), scale_arcsec=0.3)
    near = Grid.tangent(scenes.RA, scenes.DEC + 0.05, shape=(21, 21), scale_arcsec=0.3)
    huge = Grid.tangent(scenes.RA, scenes.DEC, shape=(3, 3), scale_arcsec=2000.0)
    ones = np.ones((21, 21))
    without = measure(field, {})
    for external, text in [
        ({1: ExternalModel(data=ones, wcs=far.wcs)}, "outside of the image"),
        ({1: ExternalModel(data=ones, wcs=near.wcs)}, "outside of the image"),
        ({1: None}, "NoneType"),
        ({1: ones}, "ndarray"),
        ({1: ExternalModel(data=np.ones((3, 3)), wcs=huge.wcs)}, "too large"),
    ]:
        table = measure(field, external).table
        assert table["status"].to_list() == ["rejected", "ok", "ok"]
        assert text in table["message"][0]
        assert table["flux"][0] is None
        # The first one's light raises the sky, by what is 8 in a flux.
        np.testing.assert_allclose(table["flux"][1:], without.table["flux"][1:], atol=10.0)


def test_a_kind_or_name_that_is_absent_is_said(field) -> None:
    image, models, psf = field
    absent = models.with_columns(kind=pl.Series([None, "gaussian", "gaussian"]))
    table = forced_photometry(image, models=absent, psf=psf).table
    assert table["status"].to_list() == ["rejected", "ok", "ok"]
    assert "kind: null" in table["message"][0]
    with pytest.raises(InvalidInputError, match="external: source_id None"):
        measure(field, {None: picture(models, 6.0)})


def test_rejected_models_do_not_hide_what_has_no_model(field) -> None:
    image, models, psf = field
    wrong = models.with_columns(r_eff=pl.Series([-1.0, 1.2, 1.2]))
    data = image.data + np.random.default_rng(2).normal(size=image.data.shape)
    noisy = MeasureImage(data=data, error=1.0, grid=image.grid)
    params = PhotometryParams(unmodelled_sigma=8.0)
    found = forced_photometry(noisy, models=wrong, psf=psf, params=params).table
    assert found["status"][0] == "rejected"
    added = found.filter("is_added")
    assert added.height >= 1
    assert added["flux"].max() > 300


@pytest.mark.parametrize("method", ["none", "joint", "ranked", "grid"])
def test_no_models_give_the_sky_and_what_is_found(field, method: str) -> None:
    image, models, psf = field
    data = image.data + 5.0 + np.random.default_rng(2).normal(size=image.data.shape)
    noisy = MeasureImage(data=data, error=1.0, grid=image.grid)
    params = PhotometryParams(shift=ShiftParams(method=method))
    found = forced_photometry(noisy, models=models.clear(), psf=psf, params=params)
    assert found.table.height == 0
    assert {"source_id", "flux", "flux_err", "status", "is_added"} <= set(found.table.columns)
    assert found.background[0] == pytest.approx(data.mean(), rel=1e-5)
    np.testing.assert_allclose(found.residual, data - data.mean(), atol=1e-4)
    untyped = pl.DataFrame({"source_id": [], "ra": [], "dec": [], "kind": []})
    more = PhotometryParams(unmodelled_sigma=8.0)
    added = forced_photometry(noisy, models=untyped, psf=psf, params=more).table
    assert added.height >= 3
    assert added["source_id"].to_list() == list(range(1, added.height + 1))
