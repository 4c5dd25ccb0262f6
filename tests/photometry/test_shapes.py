"""Errors of shapes become errors of fluxes: those of the source and of its neighbours."""

import numpy as np
import polars as pl
import pytest

from skymere.photometry import PhotometryParams, forced_photometry
from skymere.segmentation import MeasureImage

from . import scenes

SIGMA = {"r_eff": 0.05, "sersic_index": 0.10, "ellipticity": 0.03, "pa_sky": 4.0}


def test_wrong_shapes_scatter_fluxes_as_their_errors_say() -> None:
    """No noise at all: what is wrong with a flux comes from shapes that are off by what their errors say."""
    scene = scenes.make_scene("flipped", n=60, side=150, seed=17, faint=100.0)
    image = MeasureImage(data=scene.truth, error=1.0, grid=scene.grid)
    rng, pulls = np.random.default_rng(2), []
    size = scene.models["r_eff"].to_numpy(), scene.models["sersic_index"].to_numpy()
    relative = {"r_eff": size[0], "sersic_index": size[1], "ellipticity": 1.0, "pa_sky": 1.0}
    errors = {name: np.broadcast_to(sigma * relative[name], size[0].shape) for name, sigma in SIGMA.items()}
    for _ in range(12):
        off = {name: scene.models[name].to_numpy() + errors[name] * rng.normal(size=size[0].size) for name in SIGMA}
        off["ellipticity"] = np.clip(off["ellipticity"], 0.0, 0.95)
        models = scene.models.with_columns(**{name: pl.Series(values) for name, values in off.items()}).with_columns(
            **{f"{name}_err": pl.Series(values) for name, values in errors.items()}
        )
        found = forced_photometry(
            image, models=models, psf=scene.psf, params=PhotometryParams(has_shape_errors=True)
        ).table
        galaxies = (found["err_shape"] > 0).to_numpy()
        difference = (found["flux"].to_numpy() - scene.flux)[galaxies]
        pulls.append(difference / found["err_shape"].to_numpy()[galaxies])
        np.testing.assert_allclose(found["flux_err"], np.hypot(found["err_formal"], found["err_shape"]), rtol=1e-12)
    pulls = np.concatenate(pulls)
    pull = float(1.4826 * np.median(np.abs(pulls - np.median(pulls))))
    print(f"pull of {pulls.size} fluxes: {pull:.3f}, median {np.median(pulls):.3f}")
    # Linear propagation: 5 % of the radius and 10 % of the index are not quite small.
    assert pull == pytest.approx(1.0, abs=0.15)


def test_shapes_without_errors_add_nothing() -> None:
    scene = scenes.make_scene("plain", n=8, side=80, seed=18)
    image = MeasureImage(data=scene.truth, error=1.0, grid=scene.grid)
    found = forced_photometry(
        image, models=scene.models, psf=scene.psf, params=PhotometryParams(has_shape_errors=True)
    ).table
    assert (found["err_shape"] == 0).all()
    assert found["flux_err"].to_list() == found["err_formal"].to_list()
