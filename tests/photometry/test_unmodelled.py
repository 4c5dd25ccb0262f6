"""Sources that no model has are found on the residual, and their neighbours measured without their light."""

import numpy as np
import polars as pl
import pytest

from skymere.photometry import PhotometryParams, ShiftParams, forced_photometry
from skymere.segmentation import MeasureImage

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
