"""Pixel table, combination and extraction of the real slitlets against msaexp 0.9.19."""

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.instruments import NIRSPEC_GRIDS
from skymere.slit import (
    CombineParams,
    TraceParams,
    bin_edges,
    combine_pixels,
    compat_nods,
    compat_pixels,
    fit_single_trace,
    get_flat_diff_arrays,
    pixel_table_to_1d,
    pixel_weights,
    pseudo_drizzle,
    slit_edges,
    wavelength_grid,
)


def read_table(path, name) -> pl.DataFrame:
    with fits.open(path) as hdul:
        data = hdul[name].data
        return pl.DataFrame({c: np.ascontiguousarray(data[c], dtype=float) for c in data.names})


@pytest.fixture(scope="module")
def pixtab(real):
    return read_table(real.folder / "reference" / "msaexp" / "pixtab_bare_ivm.fits.gz", "PIXTAB")


@pytest.fixture(scope="module")
def grid(real):
    with fits.open(real.folder / "nirspec" / "calib" / "jwst_nirspec_prism_disp.fits") as hdul:
        dispersion = (hdul[1].data["WAVELENGTH"], hdul[1].data["DLDS"])
    return wavelength_grid(NIRSPEC_GRIDS["prism"], dispersion=tuple(np.asarray(d, dtype=float) for d in dispersion))


def combined(real, weight):
    return fits.open(real.folder / "reference" / "msaexp" / f"combine_bare_{weight}.spec.fits.gz")


def test_the_grid_of_the_prism_is_msaexps(real, grid):
    with combined(real, "ivm") as hdul:
        assert np.array_equal(grid, hdul["SPEC1D"].data["wave"])


def test_the_pixel_table_is_msaexps(real, pixtab):
    theta = real.all_traces["2"]["theta"]
    frames = real.frames.with_trace(theta[1:])
    params = TraceParams(degree=0, force_positive=False)
    start = [theta[0] / 10, *theta[1:]]
    fits_at = {
        p: fit_single_trace(
            frames, position=p, profile=real.profile, params=params, nods=compat_nods(), start=start, evaluate=True
        )
        for p in frames.positions
    }
    scale = real.summary["geometry"]["slit_shutter_scale"]
    table = get_flat_diff_arrays(
        frames,
        exptime=real.summary["geometry"]["exptime"],
        fits=fits_at,
        columns={
            "dwave_dx": real.extra["DWAVE_DX"],
            "bar": real.extra["BAR"],
            "normalization": real.extra["NORMALIZATION"],
            "yshutter": np.where(frames.mask, np.nan, real.extra["SLIT_FRAME_Y"] / scale / 5.0),
        },
        nods=compat_nods(),
        params=compat_pixels(),
    )
    assert table.height == pixtab.height
    for name in pixtab.columns:
        ours, theirs = table[name].to_numpy(), pixtab[name].to_numpy()
        # To the last bit, but for the total variance, which msaexp adds in single precision, and the profile, whose
        # subtracted traces are those of the round before msaexp's last.
        tolerance = {"profile": 1e-5, "var_total": 1e-7}
        relative = tolerance.get(name, 0.0)
        scale_of = np.abs(theirs).max() if name == "profile" else np.abs(theirs)
        assert (np.abs(ours - theirs) <= relative * scale_of).all(), name


@pytest.mark.parametrize("weight", ["ivm", "poisson"])
def test_two_dimensions_are_msaexps_to_the_last_bit(real, pixtab, grid, weight):
    params = CombineParams(weight_type=weight, poisson="data")
    image = combine_pixels(pixtab, grid, params=params)
    with combined(real, weight) as hdul:
        for name, ours, empty in (("SCI", image.sci, 0.0), ("PROFILE", image.profile, 0.0), ("WHT", image.wht, np.nan)):
            theirs = hdul[name].data.astype(float)
            is_covered = image.n_pixels > 0
            assert is_covered.sum() > 7000
            assert np.array_equal(ours[is_covered], theirs[is_covered]), name
            assert np.array_equal(theirs[~is_covered], np.full((~is_covered).sum(), empty), equal_nan=True), name


@pytest.mark.parametrize("weight", ["ivm", "poisson"])
def test_one_dimension_is_msaexps(real, pixtab, grid, weight):
    weights = pixel_weights(pixtab, weight_type=weight, poisson="data")
    ours = pixel_table_to_1d(pixtab, grid, weight=weights)
    if weight == "ivm":
        assert pixel_table_to_1d(pixtab, grid).equals(ours)
    with combined(real, weight) as hdul:
        theirs = hdul["SPEC1D"].data
        assert set(ours.columns) == {*theirs.names, "wave_mean", "wave_spread"}
        for name in theirs.names:
            a, b = ours[name].to_numpy(), np.asarray(theirs[name], dtype=float)
            known = np.isfinite(a)
            assert np.isfinite(b[known]).all(), name
            assert np.abs(a[known] / np.where(b[known] == 0, 1, b[known]) - (b[known] != 0)).max() < 1e-11, name
        assert np.isfinite(ours["flux"].to_numpy()).sum() == real.summary["weights"][weight]["nfinite"]


def test_shifted_bins_cover_twice_pixfrac():
    edges = slit_edges(3)
    made = pseudo_drizzle(
        [1.0], [0.0], [5.0], [1.0], [2.0], x_edges=[0.5, 1.5], y_edges=edges, oversample=16, pixfrac=0.8
    )
    parts = made.den[:, 0] / 2.0
    assert np.allclose(parts[2:5], [0.19, 0.62, 0.19], atol=0.005)
    assert np.isclose(parts.sum(), 1.0, rtol=1e-15)
    # f v, not f^2 v: sums over rows have more variance than they should.
    assert np.allclose(made.vnum[:, 0], parts * 4.0, rtol=1e-15)


@pytest.mark.parametrize("grating", sorted(NIRSPEC_GRIDS))
def test_standard_grids_have_their_limits_and_steps(grating):
    low, high, step = NIRSPEC_GRIDS[grating]
    made = wavelength_grid(NIRSPEC_GRIDS[grating], sample=1.0)
    assert made[0] == low
    assert high - 1.001 * step <= made[-1] < high + step
    assert np.allclose(np.diff(made), step, rtol=1e-9)
    edges = bin_edges(made)
    assert np.allclose(0.5 * (edges[1:] + edges[:-1]), made, rtol=1e-12)
