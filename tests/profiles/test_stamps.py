"""Models of fits as stamps, before and behind the PSF."""

import galsim
import numpy as np
import polars as pl
import pytest
from tests.profiles.test_refit import DATA, LABELS, NOISE, SHAPE
from tests.profiles.test_scene import PSF

from skymere.errors import InvalidInputError
from skymere.profiles import (
    Component,
    RefitEdit,
    SceneFit,
    fit_components,
    fit_scene,
    fit_sersic,
    model_stamps,
    refit,
    render,
    render_sersic,
)
from skymere.psf import Psf, PsfGrid


@pytest.fixture(scope="module")
def fit() -> SceneFit:
    first = fit_scene(DATA, NOISE, labels=LABELS, psf=PSF)
    parts = [Component(kind="exponential"), Component(kind="point", centre_of=0)]
    return refit(first, DATA, NOISE, labels=LABELS, psf=PSF, edits=[RefitEdit(label=3, components=parts)])


def test_stamps_of_all_sources_add_up_to_the_model(fit: SceneFit) -> None:
    best = fit.table.filter("is_best")
    stamps = model_stamps(best, psf=PSF, enclosed=0.999)
    assert stamps.table.select("label", "attempt").rows() == [(1, 0), (2, 0), (3, 1)]
    assert stamps.table["status"].to_list() == ["ok"] * 3
    sums = np.array([one.sum(dtype=float) for one in stamps.data])
    np.testing.assert_allclose(stamps.table["sum"], sums)
    # The PSF itself holds 0.999 of its light.
    assert sums.min() > 0.997 * PSF.sum()
    assert sums.max() < 1.001
    flux = best.group_by("label", maintain_order=True).agg(pl.col("flux").sum())["flux"]
    image = np.zeros((SHAPE[0] + 400, SHAPE[1] + 400))
    for one, light, row in zip(stamps.data, flux, stamps.table.iter_rows(named=True), strict=True):
        assert one.dtype == np.float32
        assert one.shape == (row["ny"], row["nx"])
        y0, x0 = row["y0"] + 200, row["x0"] + 200
        image[y0 : y0 + row["ny"], x0 : x0 + row["nx"]] += light * one
    off = np.abs(image[200:-200, 200:-200] - fit.model)
    print(f"stamps less the model: {off.max() / fit.model.max():.1e} of the peak")
    assert off.max() < 1e-3 * fit.model.max()


def test_stamps_before_the_psf_are_integrated_over_the_pixels(fit: SceneFit) -> None:
    rows = fit.table.filter(pl.col("attempt") == 0)
    stamps = model_stamps(rows, enclosed=0.95)
    for one, row, where in zip(
        stamps.data, rows.iter_rows(named=True), stamps.table.iter_rows(named=True), strict=True
    ):
        expected = render_sersic(
            one.shape,
            x=row["x"] - where["x0"],
            y=row["y"] - where["y0"],
            flux=1.0,
            re=row["r_eff_pix"],
            n=row["sersic_index"],
            q=1 - row["ellipticity"],
            pa=row["pa"],
        )
        np.testing.assert_allclose(one, expected, atol=1e-6 * expected.max())
        assert where["sum"] >= 0.95


def test_the_part_of_the_light_is_the_one_that_is_asked() -> None:
    """A Gaussian behind a Gaussian, whose light within a radius has a closed form."""
    table = pl.DataFrame(
        {
            "x": [30.2],
            "y": [12.7],
            "flux": [50.0],
            "r_eff_pix": [4.0],
            "sersic_index": [0.5],
            "ellipticity": [0.0],
            "pa": [0.0],
            "status": ["ok"],
        }
    )
    psf = galsim.Gaussian(fwhm=3.0).drawImage(nx=61, ny=61, scale=1.0, method="no_pixel", dtype=float).array
    sizes = []
    for enclosed in (0.5, 0.9, 0.99):
        stamps = model_stamps(table, psf=psf, enclosed=enclosed)
        assert enclosed <= stamps.table["sum"][0] <= 1.0
        sizes.append(stamps.table["nx"][0])
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] < 61
    small = model_stamps(table, psf=psf, enclosed=0.999, max_half_pix=6)
    assert small.data[0].shape == (13, 13)
    sigma = np.hypot(4.0 / np.sqrt(2 * np.log(2)), 3.0 / 2.3548)
    expected = (np.exp(-0.5 * (0.2**2 + 0.3**2) / sigma**2)) / (2 * np.pi * sigma**2)
    assert small.data[0][6, 6] == pytest.approx(expected, rel=2e-3)
    assert (small.table["x0"][0], small.table["y0"][0]) == (24, 7)


def test_residuals_are_cut_out_where_the_stamps_are(fit: SceneFit) -> None:
    stamps = model_stamps(fit.table.filter("is_best"), psf=PSF, enclosed=0.999)
    cuts = stamps.cut_out(fit.residual)
    for one, model, row in zip(cuts, stamps.data, stamps.table.iter_rows(named=True), strict=True):
        assert one.shape == model.shape
        y, x = np.indices(one.shape)
        inside = (y + row["y0"] >= 0) & (y + row["y0"] < SHAPE[0]) & (x + row["x0"] >= 0) & (x + row["x0"] < SHAPE[1])
        np.testing.assert_array_equal(np.isfinite(one), inside)
        np.testing.assert_array_equal(one[inside], fit.residual[y[inside] + row["y0"], x[inside] + row["x0"]])


def test_other_tables_failed_fits_and_points(fit: SceneFit) -> None:
    image = render((61, 60), [Component(kind="point", start={"x": 30.0, "y": 30.0, "flux": 9.0})], psf=PSF)
    point = fit_components(image, 0.01, psf=PSF, components=[Component(kind="point")])
    seen = model_stamps(point, psf=PSF)
    assert seen.table["source"].to_list() == [0]
    assert seen.data[0].max() == pytest.approx(PSF.max(), rel=5e-3)
    bare = model_stamps(point)
    assert bare.table["status"].to_list() == ["failed"]
    assert bare.data[0].size == 0
    assert "r_e" in bare.table["message"][0]
    some = fit_sersic(np.stack([DATA[:100, :100], np.full((100, 100), np.nan)]), NOISE, psf=PSF)
    both = model_stamps(some, psf=PSF)
    assert both.table["status"].to_list() == ["ok", "failed"]
    assert model_stamps(some.clear(), psf=PSF).table.height == 0
    grid = PsfGrid(x=(50.0,), y=(70.0,), psfs=(Psf(data=PSF.astype(np.float32)),))
    of_grid = model_stamps(fit.table.filter("is_best"), psf=grid)
    of_one = model_stamps(fit.table.filter("is_best"), psf=PSF)
    np.testing.assert_allclose(of_grid.data[0], of_one.data[0], atol=1e-6)
    moffat = {"x": 30.0, "y": 31.0, "flux": 5.0, "r_eff_pix": 3.0, "beta": 2.5, "ellipticity": 0.2, "pa": 10.0}
    drawn = render((61, 60), [Component(kind="moffat", start=moffat)], psf=PSF)
    table = fit_components(drawn, 1e-3, psf=PSF, components=[Component(kind="moffat")])
    stamp = model_stamps(table, psf=PSF, max_half_pix=10)
    np.testing.assert_allclose(5 * stamp.data[0], drawn[21:42, 20:41], atol=1e-3 * drawn.max())


def test_bad_input_is_named(fit: SceneFit) -> None:
    for change, words in (
        ({"enclosed": 1.0}, "enclosed: 1.0"),
        ({"max_half_pix": 0}, "max_half_pix: 0"),
        ({"psf": np.zeros((5, 5))}, "psf"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            model_stamps(fit.table, **change)
    with pytest.raises(InvalidInputError, match="fits: columns flux are missing"):
        model_stamps(fit.table.drop("flux"))
