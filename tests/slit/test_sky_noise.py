"""The errors of a sky that was subtracted, against derivatives taken numerically."""

from dataclasses import replace

import numpy as np
import pytest

from skymere.errors import InvalidInputError
from skymere.io import BackgroundSpectrum
from skymere.slit import (
    BackgroundSkyParams,
    ExtractParams,
    NodParams,
    SkyNoise,
    SkyParams,
    SkySpectrum,
    bin_edges,
    estimate_sky,
    extract_spectrum,
    get_flat_diff_arrays,
    raw_noise,
    set_background_spectra,
    sky_covariance,
)
from skymere.testing import SlitSceneParams, simulate_slitlets

SMALL = SlitSceneParams(shape=(19, 24), trace=(0.0,), sky=0.3, read_noise=0.02, photon_noise=0.01)
GRID = np.linspace(0.5, 5.5, 60)
N_SUMS = 6


@pytest.fixture(scope="module")
def scene():
    return simulate_slitlets(seed=2, continuum=1.0, params=SMALL)


@pytest.fixture(scope="module")
def sums(scene):
    """Six linear sums of all pixels, those that fit the sky among them."""
    return np.random.default_rng(3).uniform(size=(N_SUMS, scene.sci.size)) * scene.valid.ravel()


def found_by_formula(noise, scene, sums, variance):
    flat = (len(scene.sci), -1)
    added = sky_covariance(
        noise.flat(len(scene.sci)),
        scene.wavelength.reshape(flat),
        variance.reshape(flat),
        lambda planes: planes.reshape(len(planes), -1) @ sums.T,
        N_SUMS,
    )
    return (sums * variance.ravel()) @ sums.T + added


def derivative(function, start, steps):
    """Central differences of a function of a flat array, one column for each place that has a step."""
    columns = np.zeros((function(start).size, start.size))
    for k in np.flatnonzero(steps):
        move = np.zeros(start.size)
        move[k] = steps[k]
        columns[:, k] = (function(start + move) - function(start - move)).ravel() / (2 * steps[k])
    return columns


@pytest.mark.parametrize(("df", "known"), [(7, False), (0, False), (5, True)], ids=["spline", "number", "known sky"])
def test_the_covariance_of_a_fitted_sky_is_that_of_the_derivatives_of_the_fit(scene, sums, df, known):
    params = SkyParams(df=df, high_clip=1e9, outlier_threshold=None, absolute_threshold=None, var_percentiles=None)
    # A sky that follows the data where the source is kept out by less than its light is.
    params = replace(params, mask_yslit=((-2.0, 2.0),), min_bar=0.8)
    sky = SkySpectrum(wavelength=GRID, flux=0.2 + 0.05 * GRID) if known else None

    def fit(data):
        arrays = (scene.var_rnoise, scene.variance, scene.wavelength, scene.yslit, scene.bar)
        return estimate_sky(
            data.reshape(scene.sci.shape), *arrays, grid=GRID, valid=scene.valid, known_sky=sky, params=params
        )

    found = fit(scene.sci)
    inside = np.nan_to_num(found.sky2d).ravel() != 0
    chosen = sums * inside
    moved = derivative(lambda d: np.nan_to_num(fit(d).sky2d), scene.sci.ravel(), found.mask.ravel() * 0.1)
    full = chosen - chosen @ moved
    true = (full * scene.variance.ravel()) @ full.T
    np.testing.assert_allclose(found_by_formula(found.noise, scene, chosen, scene.variance), true, rtol=1e-6, atol=1e-9)
    # Taken as a variance of single pixels the sky would hardly count.
    apart = (chosen * (scene.variance + np.nan_to_num(found.var_sky)).ravel()) @ chosen.T
    assert np.abs(np.diag(apart) / np.diag(true) - 1).min() > 0.1


@pytest.mark.parametrize(
    "changes", [{}, {"df": 4}, {"df": 4, "apply_to_background": False}], ids=["as it is", "sky scaled", "data scaled"]
)
def test_the_covariance_of_spectra_of_the_background_is_that_of_the_derivatives(scene, sums, changes):
    rng = np.random.default_rng(5)
    waves = np.linspace(0.4, 5.6, 21)
    fluxes = [0.3 + 0.05 * np.sin(waves + k) for k in range(3)]
    errors = [0.01 * rng.uniform(0.5, 2.0, waves.size) for _ in fluxes]
    params = BackgroundSkyParams(resid_limits=(-1e9, 1e9), mask_yslit=((-2.0, 2.0),), by_wavelength=True, **changes)

    def spectra(values):
        return [
            BackgroundSpectrum(wavelength=waves, flux=flux, error=error, pixel_area_sr=1e-12, file="made")
            for flux, error in zip(values.reshape(3, -1), errors, strict=True)
        ]

    def make(data, values):
        return set_background_spectra(
            spectra(values),
            data.reshape(scene.sci.shape),
            scene.variance,
            scene.wavelength,
            scene.yslit,
            flux_factor=np.ones(scene.sci.shape),
            pixel_area_sr=np.full(3, 1e-12),
            grating="PRISM",
            valid=scene.valid,
            params=params,
        )

    def left(data, values):
        found = make(data, values)
        return np.where(scene.valid, data.reshape(scene.sci.shape) * found.data_factor - found.sky2d, 0.0).ravel()

    start = np.concatenate(fluxes)
    # Data without noise, so that the weights, which follow the background, do not matter to first order.
    plain = np.stack([np.interp(scene.wavelength[k], waves, fluxes[k]) for k in range(3)])
    on_source = np.abs(scene.yslit) < 2
    data = (1.1 * plain + np.where(on_source, scene.source, 0.0)).ravel()
    found = make(data, start)
    by_data = derivative(lambda d: left(d, start), data, scene.valid.ravel() * 1e-3)
    by_spectra = derivative(lambda b: left(data, b), start, np.full(start.size, 1e-4))
    points = np.concatenate(errors) ** 2
    spread = np.diag(points) + 0.03**2 * np.outer(start, start)
    full, share = sums @ by_data, sums @ by_spectra
    true = (full * scene.variance.ravel()) @ full.T + share @ spread @ share.T
    now = scene.variance * found.data_factor**2
    np.testing.assert_allclose(found_by_formula(found.noise, scene, sums, now), true, rtol=2e-4, atol=1e-6 * true.max())


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("share", ["centre", "overlap"])
def test_a_spectrum_has_the_covariance_of_the_whole_linear_map_with_its_sky(simulate, share, subtract):
    one = simulate(np.random.default_rng(4), flux=300.0, nx=40)
    frames, rng = one.frames, np.random.default_rng(6)
    raw = frames.mask.size
    noise = SkyNoise(
        basis=rng.normal(size=(*frames.shape, 3)),
        design=rng.normal(size=(*frames.shape, 3)),
        weight=np.where(frames.mask | (np.abs(frames.yslit) < 1.0), 0.0, rng.uniform(0.5, 2.0, frames.shape)),
        variance=frames.variance,
    )
    nods = NodParams(subtract=subtract)
    table = get_flat_diff_arrays(frames, exptime=[1.0] * 3, columns={"dwave_dx": one.dwave_dx}, nods=nods)
    table = table.with_columns(profile=np.exp(-0.5 * table["yslit"].to_numpy() ** 2))
    grid = 1.03 + 0.021 * np.arange(34)
    params = ExtractParams(share=share)
    spectrum = extract_spectrum(table, raw_noise(frames, nods=nods, sky=noise), grid, params=params)

    rows = np.zeros((table.height, raw))
    for k, (i, q) in enumerate(zip(table["exposure_index"], table["pixel_index"], strict=True)):
        rows[k, i * (raw // 3) + q] = 1.0
        good = [j for j in range(3) if subtract and j != i and not frames.mask.reshape(3, -1)[j, q]]
        rows[k, [j * (raw // 3) + q for j in good]] = -1.0 / max(len(good), 1)
    edges, wave, half = bin_edges(grid), table["wave"].to_numpy(), np.abs(table["dwave_dx"].to_numpy()) / 2
    part = ((wave >= edges[:-1, None]) & (wave < edges[1:, None])).astype(float)
    if share == "overlap":
        part = np.minimum(edges[1:, None], wave + half) - np.maximum(edges[:-1, None], wave - half)
        part = np.maximum(part, 0.0) / (2 * half)
    p, w = table["profile"].to_numpy(), 1 / table["var_rnoise"].to_numpy()
    part = part * (np.abs(table["yslit"].to_numpy()) <= 3)
    linear = (part * w * p) @ rows / ((part * w * p**2).sum(axis=1)[:, None])
    weight, design = noise.weight.ravel(), noise.design.reshape(raw, 3)
    fitted = np.linalg.solve((design * weight[:, None]).T @ design, (design * weight[:, None]).T)
    full = linear - linear @ noise.basis.reshape(raw, 3) @ fitted
    variance = np.where(frames.mask, 0.0, frames.variance).ravel()
    dense = (full * variance) @ full.T
    width = spectrum.covariance.shape[1]
    for k in range(width):
        np.testing.assert_allclose(
            np.diag(dense, k), spectrum.covariance[: grid.size - k, k], rtol=1e-9, atol=1e-12 * dense.max()
        )
    c = rng.normal(size=grid.size)
    # What the band leaves out changes the variance of a sum by a thousandth of the sum of its parts at most.
    assert abs(spectrum.sum_flux(c)[1] ** 2 - c @ dense @ c) < 1e-3 * (c**2 * np.diag(dense)).sum()
    with pytest.raises(InvalidInputError, match="sky: weights"):
        raw_noise(frames, sky=replace(noise, weight=noise.weight[:1]))
