"""Weights, resampling and extraction on simulations; run with ``-s`` to see the numbers."""

import numpy as np
import polars as pl
import pytest

from skymere.errors import InvalidInputError
from skymere.slit import (
    CombineParams,
    ExtractParams,
    GaussianProfile,
    TraceParams,
    bin_edges,
    combine_pixels,
    extract_spectrum,
    fit_all_traces,
    get_flat_diff_arrays,
    limited_variance,
    model_variance,
    overlap_drizzle,
    pixel_table_to_1d,
    pixel_weights,
    raw_noise,
    slit_edges,
    wavelength_grid,
)

PSF = GaussianProfile(wave=[1.0, 5.0], fwhm_pix=[1.2, 1.8])
#: Bins a little wider than a pixel, so that their phases differ.
GRID = 1.0 + 0.0208 * np.arange(6, 185)


def make_table(one, *, force_positive=True):
    """Pixel table with the traces of a joint fit, as a user has it."""
    params = TraceParams(degree=0, force_positive=force_positive)
    found = fit_all_traces(one.frames, profile=PSF, params=params)
    table = get_flat_diff_arrays(
        found.frames,
        exptime=[100.0, 100.0, 100.0],
        fits=found.fits,
        profile=PSF,
        columns={"dwave_dx": one.dwave_dx, "bar": np.full(one.frames.shape, 0.9)},
    )
    return table, raw_noise(found.frames)


def draw_sums(simulate, flux, n_draws, *, seed=5, force_positive=True, params=None):
    """Sums over 10 bins: their difference from the truth, raw error, and error of independent rows."""
    rng, rows = np.random.default_rng(seed), []
    params = params or ExtractParams()
    for _ in range(n_draws):
        table, noise = make_table(simulate(rng, flux=flux), force_positive=force_positive)
        spectrum = extract_spectrum(table, noise, GRID, params=params)
        weight = pixel_weights(table, weight_type=params.weight_type, poisson=params.poisson, wave_grid=GRID)
        plain = pixel_table_to_1d(table, GRID, weight=weight, y_range=params.y_range)["err"].to_numpy()
        for first in range(0, 170, 10):
            c = np.zeros(GRID.size)
            c[first : first + 10] = 1.0
            value, err = spectrum.sum_flux(c)
            rows.append([value - 10 * flux, err, np.sqrt((plain[first : first + 10] ** 2).sum())])
    return np.array(rows)


@pytest.mark.parametrize(
    ("force_positive", "params"),
    [
        (True, ExtractParams()),
        (True, ExtractParams(weight_type="poisson")),
        (False, ExtractParams(y_range=(-9.0, 9.0))),
        (True, ExtractParams(share="overlap")),
        (True, ExtractParams(method="boxcar")),
    ],
    ids=["ivm", "poisson", "negative traces", "overlap", "boxcar"],
)
def test_sums_of_fluxes_pass_pulls(simulate, force_positive, params):
    rows = draw_sums(simulate, 200.0, 60, force_positive=force_positive, params=params)
    pull = rows[:, 0] / rows[:, 1]
    print(f"\npull {pull.mean():+.3f} +- {pull.std():.3f}, of independent rows {(rows[:, 0] / rows[:, 2]).std():.3f}")
    # 1020 sums: the scatter is known to 2.2 %, the mean to 0.031.
    assert abs(pull.std() - 1) < 0.05
    assert abs(pull.mean()) < 0.1


def test_rows_are_not_independent_where_negative_traces_are_used(simulate):
    rows = draw_sums(simulate, 200.0, 40, force_positive=False, params=ExtractParams(y_range=(-9.0, 9.0)))
    assert (rows[:, 0] / rows[:, 2]).std() > 1.12


@pytest.mark.parametrize("flux", [40.0, 200.0])
def test_poisson_weights_of_a_model_do_not_bias_fluxes_and_those_of_the_data_do(simulate, flux):
    biases = {}
    for poisson in ("model", "data"):
        params = ExtractParams(weight_type="poisson", poisson=poisson)
        rows = draw_sums(simulate, flux, 60, params=params)
        biases[poisson] = rows[:, 0].mean() / (10 * flux)
        if poisson == "model":
            sn = 10 * flux / rows[:, 1].mean() / np.sqrt(10)
            error = rows[:, 0].std() / np.sqrt(len(rows)) / (10 * flux)
    print(f"\nS/N {sn:.1f} per bin: bias {biases}, +- {error:.4f}")
    assert abs(biases["model"]) < 0.01
    assert abs(biases["model"]) < 4 * error
    assert biases["data"] < biases["model"] - 0.005


def test_the_models_variance_is_the_truth_on_average(simulate):
    one = simulate(np.random.default_rng(2), flux=400.0)
    table, _ = make_table(one)
    variance = model_variance(table, GRID)
    index = (table["exposure_index"].to_numpy(), table["pixel_index"].to_numpy())
    truth = one.variance.reshape(3, -1)
    others = np.where(one.frames.mask, 0.0, one.variance).reshape(3, -1)
    count = np.maximum((~one.frames.mask).reshape(3, -1).sum(axis=0)[index[1]] - 1, 1)
    expected = truth[index] + (others.sum(axis=0)[index[1]] - truth[index]) / count**2
    near = (np.abs(table["yslit"].to_numpy()) < 3) & (np.abs(table["wave"].to_numpy() - 3) < 1.5)
    ratio = variance[near] / expected[near]
    print(f"\nmodel variance over truth {ratio.mean():.4f} +- {ratio.std():.4f}")
    assert abs(ratio.mean() - 1) < 0.02
    assert ratio.std() < 0.1
    assert (table["var_total"].to_numpy()[near] / expected[near]).std() > 1.5 * ratio.std()


def test_variances_are_limited_by_the_second_largest_of_their_good_neighbours():
    values = np.array([[[1.0, 2.0, 3.0], [4.0, 50.0, 6.0], [7.0, 8.0, 60.0]]])
    good = np.ones(values.shape, bool)
    assert limited_variance(values, good)[0, 1, 1] == 8.0
    assert limited_variance(values, good)[0, 0, 0] == 1.0
    good[0, 2] = False
    assert limited_variance(values, good)[0, 1, 1] == 4.0
    alone = np.zeros(values.shape, bool)
    alone[0, 1, 1] = True
    assert limited_variance(values, alone)[0, 1, 1] == 50.0
    with pytest.raises(InvalidInputError, match="valid"):
        limited_variance(values, good[:, :2])


@pytest.mark.parametrize("share", ["centre", "overlap"])
def test_the_covariance_is_that_of_the_whole_linear_map(simulate, share):
    one = simulate(np.random.default_rng(4), flux=300.0, nx=40)
    grid = 1.03 + 0.021 * np.arange(34)
    table, noise = make_table(one, force_positive=False)
    params = ExtractParams(share=share, y_range=(-9.0, 9.0))
    spectrum = extract_spectrum(table, noise, grid, params=params)
    n_raw = one.frames.data.size
    frames = one.frames
    size = frames.shape[1] * frames.shape[2]
    rows = np.zeros((table.height, n_raw))
    for k, (i, q) in enumerate(zip(table["exposure_index"], table["pixel_index"], strict=True)):
        rows[k, i * size + q] = 1.0
        good = [j for j in range(3) if j != i and not frames.mask.reshape(3, -1)[j, q]]
        for j in good:
            rows[k, j * size + q] = -1.0 / len(good)
    raw = np.where(frames.mask, 0.0, frames.data).ravel()
    assert np.allclose(rows @ raw, table["sci"].to_numpy(), rtol=1e-12, atol=1e-10)
    edges = bin_edges(grid)
    wave, half = table["wave"].to_numpy(), np.abs(table["dwave_dx"].to_numpy()) / 2
    if share == "overlap":
        part = np.minimum(edges[1:, None], wave + half) - np.maximum(edges[:-1, None], wave - half)
        part = np.maximum(part, 0.0) / (2 * half)
    else:
        part = ((wave >= edges[:-1, None]) & (wave < edges[1:, None])).astype(float)
    p, w = table["profile"].to_numpy(), 1 / table["var_rnoise"].to_numpy()
    part = part * (np.abs(table["yslit"].to_numpy()) <= 9)
    total = (part * w * p) @ rows / ((part * w * p**2).sum(axis=1)[:, None])
    assert np.allclose(total @ raw, spectrum.flux, rtol=1e-10)
    variance = np.where(frames.mask, 0.0, frames.variance).ravel()
    dense = (total * variance) @ total.T
    width = spectrum.covariance.shape[1]
    for k in range(width):
        assert np.allclose(
            np.diag(dense, k), spectrum.covariance[: grid.size - k, k], rtol=1e-9, atol=1e-12 * dense.max()
        )
    assert np.abs(np.triu(dense, width)).max() < 1e-12 * dense.max()
    c = np.random.default_rng(1).normal(size=grid.size)
    value, err = spectrum.sum_flux(c)
    assert np.isclose(value, c @ spectrum.flux, rtol=1e-12)
    assert np.isclose(err, np.sqrt(c @ dense @ c), rtol=1e-9)


def test_drizzle_shares_pixels_by_area_with_squared_weights():
    rng = np.random.default_rng(8)
    n = 300
    x, y = rng.uniform(2, 8, n), rng.uniform(-3, 3, n)
    width, height = rng.uniform(0.3, 1.7, n), rng.uniform(0.4, 1.0, n)
    data, variance, weight = rng.normal(5, 1, n), rng.uniform(1, 2, n), rng.uniform(0.5, 2, n)
    x_edges, y_edges = np.sort(np.r_[0.0, rng.uniform(0, 10, 9), 10.0]), slit_edges(4)
    made = overlap_drizzle(x, y, data, variance, weight, width=width, height=height, x_edges=x_edges, y_edges=y_edges)

    def overlap(edges, centre, side):
        low, high = np.maximum(edges[:-1, None], centre - side / 2), np.minimum(edges[1:, None], centre + side / 2)
        return np.maximum(high - low, 0.0) / side

    part = overlap(y_edges, y, height)[:, None] * overlap(x_edges, x, width)[None]
    assert np.allclose(made.den, (part * weight).sum(axis=2), rtol=1e-12)
    assert np.allclose(made.num[0], (part * weight * data).sum(axis=2), rtol=1e-12)
    assert np.allclose(made.vnum, ((part * weight) ** 2 * variance).sum(axis=2), rtol=1e-12)
    assert np.isclose(made.num.sum(), (weight * data).sum(), rtol=1e-12)


@pytest.mark.parametrize("method", ["pseudo", "drizzle"])
def test_combined_images_keep_the_flux_and_drizzled_ones_have_the_noise_of_their_pixels(simulate, method):
    rng, sums, pulls = np.random.default_rng(6), [], []
    for _ in range(20):
        one = simulate(rng, flux=300.0)
        table, _ = make_table(one, force_positive=False)
        image = combine_pixels(table, GRID, params=CombineParams(method=method))
        # The signal of a column is spread over rows as the profile is.
        inner = slice(20, 160)
        p, f = image.profile[10:17, inner], image.sci[10:17, inner]
        sums.append((f * p).sum() / (p * p).sum())
        pulls.append((f - 300.0 * p)[np.isfinite(f)] * np.sqrt(image.wht[10:17, inner][np.isfinite(f)]))
    spread = np.concatenate(pulls).std()
    print(f"\n{method}: flux {np.mean(sums):.2f} of 300, scatter of pixels over their error {spread:.3f}")
    assert abs(np.mean(sums) / 300 - 1) < 0.005
    if method == "drizzle":
        assert abs(spread - 1) < 0.06
    else:
        assert spread < 0.9  # f v instead of f^2 v


@pytest.mark.parametrize("weight_type", ["ivm", "poisson", "exptime", "exptime_bar", "mask"])
def test_weights_are_what_they_are_called_and_all_give_the_flux(simulate, weight_type):
    one = simulate(np.random.default_rng(9), flux=300.0)
    table, _ = make_table(one)
    weight = pixel_weights(table, weight_type=weight_type, poisson="data")
    expected = {
        "ivm": 1 / table["var_rnoise"],
        "poisson": 1 / table["var_total"],
        "exptime": table["exptime"],
        "exptime_bar": table["exptime"] * 0.81,
        "mask": pl.Series([1.0] * table.height),
    }[weight_type].to_numpy()
    assert np.allclose(weight, expected, rtol=1e-14)
    spectrum = pixel_table_to_1d(table, GRID, weight=weight)
    mean = spectrum["flux"].to_numpy().mean()
    error = np.sqrt((spectrum["err"].to_numpy() ** 2).mean() / GRID.size)
    bias = 0.01 * 300 if weight_type == "poisson" else 0.0
    assert abs(mean - 300.0) < 4 * error + bias


def test_a_polars_query_aggregates_the_table_to_the_same_spectrum(simulate):
    table, _ = make_table(simulate(np.random.default_rng(10), flux=300.0))
    edges = bin_edges(GRID)
    made = (
        table.filter(pl.col("yslit").is_between(-3, 3))
        .with_columns(
            bin=pl.Series(np.searchsorted(edges, table["wave"].to_numpy(), side="right") - 1).filter(
                table["yslit"].is_between(-3, 3)
            ),
            w=1 / pl.col("var_rnoise"),
        )
        .filter(pl.col("bin").is_between(0, GRID.size - 1))
        .group_by("bin")
        .agg(
            flux=(pl.col("sci") * pl.col("w") * pl.col("profile")).sum() / (pl.col("w") * pl.col("profile") ** 2).sum()
        )
        .sort("bin")
    )
    ours = pixel_table_to_1d(table, GRID)
    assert np.allclose(made["flux"], ours["flux"].to_numpy()[made["bin"].to_numpy()], rtol=1e-11)


def test_path_loss_is_divided_out_and_told(simulate):
    one = simulate(np.random.default_rng(12), flux=300.0, bad=0.0)
    found = fit_all_traces(one.frames, profile=PSF, params=TraceParams(degree=0))
    both = [
        pixel_table_to_1d(
            get_flat_diff_arrays(found.frames, exptime=[1, 1, 1], fits=found.fits, profile=PSF, pathloss=path), GRID
        )
        for path in (None, np.full(one.frames.shape, 0.8))
    ]
    assert np.allclose(both[1]["flux"], both[0]["flux"] / 0.8, rtol=1e-12)
    assert np.allclose(both[1]["err"], both[0]["err"] / 0.8, rtol=1e-12)
    assert np.allclose(both[1]["path_corr"], 1.25, rtol=1e-12)


def test_two_groups_of_nods_are_one_spectrum_with_less_noise(simulate):
    rng = np.random.default_rng(13)
    made = [make_table(simulate(rng, flux=300.0)) for _ in range(2)]
    both = extract_spectrum([m[0] for m in made], [m[1] for m in made], GRID)
    singles = [extract_spectrum(*m, GRID) for m in made]
    low = np.minimum(singles[0].flux, singles[1].flux)
    high = np.maximum(singles[0].flux, singles[1].flux)
    assert ((both.flux >= low - 1e-9) & (both.flux <= high + 1e-9)).all()
    expected = 1 / np.sqrt(1 / singles[0].err ** 2 + 1 / singles[1].err ** 2)
    assert np.abs(both.err / expected - 1).max() < 0.05


def test_bad_arguments_are_named(simulate):
    table, noise = make_table(simulate(np.random.default_rng(14), flux=300.0, nx=60))
    grid = GRID[:40]
    calls = [
        (lambda: pixel_table_to_1d(table.drop("profile"), grid), "profile are missing"),
        (lambda: pixel_table_to_1d(table, grid[::-1]), "centres"),
        (lambda: pixel_table_to_1d(table, grid, weight=[1.0]), "weight: shape"),
        (lambda: pixel_weights(table, weight_type="sigma"), "weight_type: 'sigma'"),
        (lambda: pixel_weights(table, weight_type="poisson"), "wave_grid: None"),
        (lambda: pixel_weights(table.drop("bar"), weight_type="exptime_bar"), "bar are missing"),
        (lambda: extract_spectrum(table, [noise, noise], grid), "noise: 2"),
        (
            lambda: extract_spectrum(table.drop("dwave_dx"), noise, grid, params=ExtractParams(share="overlap")),
            "dwave_dx",
        ),
        (lambda: ExtractParams(method="sum"), "method: 'sum'"),
        (lambda: CombineParams(method="square"), "method: 'square'"),
        (lambda: combine_pixels(table.drop("dwave_dx"), grid, params=CombineParams(method="drizzle")), "dwave_dx"),
        (lambda: wavelength_grid((2.0, 1.0, 0.1)), "limits"),
        (lambda: slit_edges(0), "n_y"),
        (lambda: extract_spectrum(table, noise, grid).sum_flux(np.ones(3)), "coefficients: shape"),
    ]
    for call, text in calls:
        with pytest.raises(InvalidInputError, match=text):
            call()
