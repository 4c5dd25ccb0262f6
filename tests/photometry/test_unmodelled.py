"""Sources that no model has are found on the residual, and their neighbours measured without their light."""

import numpy as np
import polars as pl
import pytest

from skymere.photometry import PhotometryParams, ShiftParams, forced_photometry
from skymere.profiles import render_sersic
from skymere.psf import Psf
from skymere.segmentation import MeasureImage, filtered_noise, gaussian_kernel
from skymere.wcs import Grid

from . import scenes


def test_unmodelled_points_are_added_with_their_flux() -> None:
    scene = scenes.make_scene("rotated", n=40, side=180, seed=14, shift=(0.08, -0.05), faint=10.0)
    points = scene.models.with_columns(flux=scene.flux).filter((pl.col("kind") == "point") & (pl.col("flux") > 50))
    assert points.height >= 3
    models = scene.models.filter(~pl.col("source_id").is_in(points["source_id"].to_list()))
    data = scene.truth + np.random.default_rng(4).normal(size=scene.truth.shape)
    image = MeasureImage(data=data, error=1.0, grid=scene.grid)
    shift = ShiftParams(method="joint")
    plain = forced_photometry(image, models=models, psf=scene.psf, params=PhotometryParams(shift=shift))
    params = PhotometryParams(unmodelled_sigma=7.0, shift=shift)
    found = forced_photometry(image, models=models, psf=scene.psf, params=params)
    added = found.table.filter("is_added")
    assert not plain.table["is_added"].any()
    assert added["source_id"].min() > models["source_id"].max()
    # Where they were put in, moved by the shift of the band.
    ra = points["ra"].to_numpy() + scene.shift[0] / 3600 / np.cos(np.deg2rad(points["dec"].to_numpy()))
    x, y = scene.grid.pixels(ra, points["dec"].to_numpy() + scene.shift[1] / 3600)
    n_found = 0
    for k in range(points.height):
        near = added.filter(((pl.col("x") - x[k]) ** 2 + (pl.col("y") - y[k]) ** 2) < 0.5**2)
        if near.height:
            n_found += 1
            assert near["flux"][0] == pytest.approx(
                points["flux"][k], abs=4 * near["err_formal"][0] + 0.03 * points["flux"][k]
            )
    # One may lie within a full width of a model, where nothing is added.
    assert n_found >= points.height - 1
    rms = [float(one.residual.std()) for one in (plain, found)]
    print(f"{n_found} of {points.height} found; rms of the residual {rms}")
    assert rms[1] < 1.05 < rms[0]


def test_nothing_is_added_to_a_complete_list() -> None:
    scene = scenes.make_scene("plain", n=40, side=180, seed=15)
    data = scene.truth + np.random.default_rng(4).normal(size=scene.truth.shape)
    image = MeasureImage(data=data, error=1.0, grid=scene.grid)
    found = forced_photometry(image, models=scene.models, psf=scene.psf, params=PhotometryParams(unmodelled_sigma=6.0))
    assert not found.table["is_added"].any()


def bad_models() -> tuple[MeasureImage, pl.DataFrame, Psf]:
    """A field full of galaxies a pixel from where they are said to be, and a point in its corner."""
    grid, rng = Grid.tangent(30.0, -5.0, shape=(100, 100), scale_arcsec=0.2), np.random.default_rng(8)
    y, x = np.mgrid[-12:13, -12:13]
    data = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    psf = Psf(data=(data / data.sum()).astype(np.float32))
    image, rows = rng.normal(size=(100, 100)), []
    for i in range(9):
        at_x, at_y = 15.0 + 30 * (i % 3), 15.0 + 30 * (i // 3)
        image += render_sersic((100, 100), x=at_x, y=at_y, flux=20000.0, re=7.0, n=0.5, psf=psf)
        ra, dec = (float(value) for value in grid.sky(at_x + 1, at_y))
        rows.append((i + 1, ra, dec, 7.0 * 0.2, 0.5, 0.0, 0.0))
    image += render_points(psf, 96.0, 96.0, 100.0)
    names = ("source_id", "ra", "dec", "r_eff", "sersic_index", "ellipticity", "pa_sky")
    models = pl.DataFrame(rows, schema=names, orient="row")
    return MeasureImage(data=image.astype(np.float32), error=1.0, grid=grid), models, psf


def render_points(psf: Psf, x: float, y: float, flux: float) -> np.ndarray:
    yy, xx = np.mgrid[:100, :100]
    return flux * psf.density(xx - x, yy - y)


def test_bad_models_do_not_hide_what_is_missing() -> None:
    """What too bright models leave below zero is no noise: it made the threshold several times too high."""
    image, models, psf = bad_models()
    params = PhotometryParams(unmodelled_sigma=5.0)
    found = forced_photometry(image, models=models, psf=psf, params=params)
    table = found.table.filter(pl.col("is_added") & ((pl.col("x") - 96).abs() < 0.5) & ((pl.col("y") - 96).abs() < 0.5))
    factor = filtered_noise(found.residual, error=1.0, kernel=gaussian_kernel(fwhm_pix=3.5))
    print(f"noise of the filtered residual {factor:.2f} times that of pixels; {table.height} found")
    assert factor > 2
    assert table.height == 1
    assert table["flux"][0] == pytest.approx(100, abs=4 * table["err_formal"][0])


def test_another_search_finds_what_the_first_one_hid() -> None:
    grid = Grid.tangent(30.0, -5.0, shape=(100, 100), scale_arcsec=0.2)
    _, models, psf = bad_models()
    image = np.random.default_rng(9).normal(size=(100, 100))
    # On the wing of a brighter one it has no peak of its own.
    for x, flux in ((40.0, 2000.0), (44.5, 60.0)):
        image += render_points(psf, x, 40.0, flux)
    band = MeasureImage(data=image.astype(np.float32), error=1.0, grid=grid)
    n_added = []
    for n in (1, 2, 5):
        params = PhotometryParams(unmodelled_sigma=5.0, max_searches=n)
        table = forced_photometry(band, models=models.clear(), psf=psf, params=params).table
        n_added.append(table["is_added"].sum())
    assert n_added == [1, 2, 2]
    assert table["source_id"].to_list() == [1, 2]
    assert table["flux"].to_list() == pytest.approx([2000, 60], abs=25)
