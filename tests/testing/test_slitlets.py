"""Simulated slits: what is put in is what is there."""

import numpy as np
import pytest

from skymere.errors import InvalidInputError
from skymere.slit import SlitGroup
from skymere.testing import SlitSceneParams, scene_slitlets, scene_tables, simulate_slitlets


def test_noise_is_that_of_the_variances_and_what_is_bad_is_where_it_says():
    settings = SlitSceneParams(n_hot=6, outlier_fraction=0.01, shape=(25, 300))
    scene = simulate_slitlets(seed=3, continuum=2.0, params=settings)
    residual = (scene.sci - scene.source - scene.sky) / np.sqrt(scene.variance)
    clean = ~scene.hot & ~scene.outliers
    # 22 000 numbers: 1 +- 0.005.
    assert residual[clean].std() == pytest.approx(1, abs=0.02)
    assert abs(residual[clean]).max() < 6
    assert residual[scene.outliers].min() > 4
    assert scene.hot.sum(axis=(1, 2)).tolist() == [6, 6, 6]
    assert (scene.hot == scene.hot[0]).all()
    assert scene.outliers.sum() == pytest.approx(0.01 * scene.valid.sum(), rel=0.3)


def test_a_column_has_the_flux_of_the_spectrum_and_a_line_its_own():
    settings = SlitSceneParams(shape=(41, 300), tilt=0.0, n_shutters=9, nods=(0.0,))
    scene = simulate_slitlets(
        seed=1, continuum=lambda wave: 0.5 * wave, line_centres=(3.0,), line_fluxes=(7.0,), params=settings
    )
    columns = scene.source[0].sum(axis=0)
    spectrum = 0.5 * scene.wavelength[0, 0]
    away = np.abs(scene.wavelength[0, 0] - 3) > 0.2
    np.testing.assert_allclose(columns[away], spectrum[away], rtol=1e-9)
    # A line has its flux in f_lambda.
    line = (columns - spectrum) * (3.0 / scene.wavelength[0, 0]) ** 2
    assert line.sum() == pytest.approx(7.0, rel=1e-9)
    assert scene.lines.any()
    assert not scene.lines[0][:, away].any()


def test_the_source_is_on_its_trace_in_every_nod():
    settings = SlitSceneParams(nods=(0.0, 3.0, -3.0))
    scene = simulate_slitlets(seed=1, params=settings)
    rows = np.arange(25)[:, None]
    centres = (scene.source * rows).sum(axis=1) / scene.source.sum(axis=1)
    x = (np.arange(340) - 170) / 340
    trace = 12 + np.polyval(settings.trace, x)
    for centre, nod in zip(centres, settings.nods, strict=True):
        np.testing.assert_allclose(centre, trace + nod, rtol=0, atol=1e-3)


def test_a_stuck_shutter_is_dark_and_bars_take_light_with_its_noise():
    scene = simulate_slitlets(seed=1, params=SlitSceneParams(stuck=(1,), bar_depth=0.5))
    dark = np.round(scene.shutter_y) == 1
    assert (scene.source[dark] == 0).all()
    assert (scene.sky[dark] == 0).all()
    assert (scene.source[~dark & (np.abs(scene.yslit) < 2)] > 0).all()
    edge = np.abs(np.abs(scene.shutter_y) - 0.5) < 0.02
    np.testing.assert_allclose(scene.bar[edge], 0.5, atol=0.02)
    np.testing.assert_allclose(scene.var_rnoise, (0.01 / scene.bar) ** 2)


def test_equal_seeds_make_equal_numbers():
    one, other = (simulate_slitlets(seed=5, params=SlitSceneParams(n_hot=2)) for _ in range(2))
    np.testing.assert_array_equal(one.sci, other.sci)
    assert (one.sci != simulate_slitlets(seed=6).sci).any()


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"nods": ()}, "nods"), ({"wavelengths": (5.0, 1.0)}, "wavelengths"), ({"bar_depth": 1.0}, "bar_depth")],
)
def test_scenes_that_cannot_be_made_are_named(changes, match):
    with pytest.raises(InvalidInputError, match=match):
        SlitSceneParams(**changes)


def test_lines_without_fluxes_are_an_error():
    with pytest.raises(InvalidInputError, match="line_fluxes"):
        simulate_slitlets(seed=1, line_centres=(3.0,))


def test_slitlets_of_a_scene_have_its_pixels_shadow_and_traces():
    params = SlitSceneParams(bar_depth=0.5)
    scene = simulate_slitlets(seed=4, params=params)
    slitlets = scene_slitlets(scene, params=params, variances="model")
    words = {"flag_trace_kwargs": None, "flag_percentile_kwargs": None, "slit_hotpix_kwargs": None, "sky_file": None}
    group = SlitGroup(slitlets, "made", tables=scene_tables(params), min_bar=None, **words)
    assert group.unp.N == 3
    used = group.mask.reshape(scene.valid.shape)
    assert (used == scene.valid).mean() > 0.9999
    np.testing.assert_allclose(group.sci.reshape(used.shape)[used], scene.sci[used], rtol=1e-5)
    np.testing.assert_allclose(group.bar.reshape(used.shape)[used], scene.bar[used], rtol=1e-5)
    np.testing.assert_allclose(group.yslit.reshape(used.shape), scene.yslit, rtol=0, atol=1e-9)
    noisy = scene_slitlets(scene, params=params)
    photons = np.stack([one.var_poisson for one in noisy])
    seen = scene.valid & (scene.source > 0.1)
    assert np.mean(photons[seen] / scene.var_poisson[seen]) == pytest.approx(1, abs=0.01)
    assert (
        np.corrcoef(photons[seen] - scene.var_poisson[seen], scene.sci[seen] - (scene.source + scene.sky)[seen])[0, 1]
        > 0.9
    )
    with pytest.raises(InvalidInputError, match="variances: 'none'"):
        scene_slitlets(scene, params=params, variances="none")
    with pytest.raises(InvalidInputError, match="params: nods"):
        scene_slitlets(scene, params=SlitSceneParams(nods=(0.0,)))
