"""Counts of few photons, and data of any unit."""

import numpy as np
import pytest

from skymere.profiles import FitParams, SceneParams, fit_scene, fit_sersic, render_sersic


def gaussian_psf(side: int = 31, fwhm: float = 3.0) -> np.ndarray:
    y, x = np.indices((side, side)) - (side - 1) / 2
    psf = np.exp(-4 * np.log(2) * (x**2 + y**2) / fwhm**2)
    return psf / psf.sum()


GALAXY = {"x": 26.3, "y": 23.9, "re": 4.0, "n": 1.8, "q": 0.55, "pa": 62.0}
N = 120


@pytest.mark.parametrize("sky", [0.1, 0.5, 5.0])
def test_counts_of_a_low_sky_are_fitted_and_pulls_are_one(sky: float) -> None:
    psf, flux = gaussian_psf(), 3000.0
    mean = render_sersic((51, 52), flux=flux, psf=psf, **GALAXY) + sky
    counts = np.random.default_rng(8).poisson(np.maximum(np.broadcast_to(mean, (N, *mean.shape)), 0))
    found = fit_sersic(counts.astype(np.float32), 1.0, psf=psf, params=FitParams(likelihood="poisson"))
    assert (found["status"] == "ok").all()
    assert found["is_converged"].all()
    for name, truth in {"flux": flux, "sky": sky, "r_eff_pix": 4.0, "sersic_index": 1.8}.items():
        pulls = ((found[name] - truth) / found[f"{name}_err"]).to_numpy()
        print(f"sky {sky}, {name}: {pulls.mean():+.2f} +- {pulls.std():.2f}")
        # Means of N are known to 0.09, widths to 0.065; the logarithmic errors of few counts are skewed by 0.1.
        assert abs(pulls.mean()) < 0.4
        assert pulls.std() == pytest.approx(1.0, abs=0.2)


def test_counts_without_a_sky_and_with_a_start_below_zero_are_fitted() -> None:
    psf, flux = gaussian_psf(), 2000.0
    mean = render_sersic((51, 52), flux=flux, psf=psf, **GALAXY)
    counts = np.random.default_rng(2).poisson(np.maximum(mean, 0)).astype(np.float32)
    for start in (-3.0, 0.0):
        row = fit_sersic(counts, 1.0, psf=psf, sources={"sky": [start]}, params=FitParams(likelihood="poisson")).row(
            0, named=True
        )
        assert row["status"] == "ok"
        assert row["is_converged"]
        assert row["flux"] == pytest.approx(flux, abs=4 * row["flux_err"])
        assert abs(row["sky"]) < 0.05


def test_counts_of_neighbours_that_were_subtracted_keep_their_noise() -> None:
    """A bright source beside a faint one that is fitted after it."""
    psf = gaussian_psf(61)
    shape = (110, 120)
    bright = render_sersic(shape, x=45.0, y=50.0, flux=60000.0, re=4.0, n=1.0, psf=psf)
    faint = render_sersic(shape, x=72.0, y=52.0, flux=1500.0, re=2.5, n=1.0, psf=psf)
    y, x = np.indices(shape)
    labels = np.where(np.hypot(x - 45, y - 50) < 16, 1, np.where(np.hypot(x - 72, y - 52) < 8, 2, 0))
    params = SceneParams(fits=FitParams(likelihood="poisson", sersic_index=(1.0, 1.0)), max_members=1, n_passes=2)
    rng = np.random.default_rng(4)
    pulls = []
    for _ in range(40):
        counts = rng.poisson(np.maximum(bright + faint + 0.5, 0)).astype(np.float32)
        table = fit_scene(counts, 1.0, labels=labels, psf=psf, params=params).table
        assert (table["status"] == "ok").all()
        pulls.append((table["flux"][1] - 1500.0) / table["flux_err"][1])
    print(f"faint neighbour: {np.mean(pulls):+.2f} +- {np.std(pulls):.2f}")
    assert abs(np.mean(pulls)) < 0.6
    assert np.std(pulls) == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize("unit", [1e-20, 1e-30, 1e25])
def test_units_in_which_variances_are_no_float32_lose_nothing(unit: float) -> None:
    psf = gaussian_psf()
    data = render_sersic((51, 52), flux=900.0, psf=psf, **GALAXY) + np.random.default_rng(3).normal(0, 1, (51, 52))
    labels = np.zeros(data.shape, int)
    labels[16:32, 18:35] = 1
    here = fit_sersic(data, 1.0, psf=psf).row(0, named=True)
    there = fit_sersic(data * unit, unit, psf=psf).row(0, named=True)
    of_scene = fit_scene(data * unit, unit, labels=labels, psf=psf)
    assert of_scene.table["status"].to_list() == ["ok"]
    for row in (there, of_scene.table.row(0, named=True)):
        assert row["flux"] == pytest.approx(here["flux"] * unit, rel=0.02)
        assert row["flux_err"] == pytest.approx(here["flux_err"] * unit, rel=0.1)
        assert row["sersic_index"] == pytest.approx(here["sersic_index"], rel=0.1)
    assert there["flux"] == pytest.approx(here["flux"] * unit, rel=1e-5)
    assert there["intensity"] == pytest.approx(here["intensity"] * unit, rel=1e-4)
    assert np.array(there["covariance"])[2, 2] == pytest.approx(there["flux_err"] ** 2)
    assert float(of_scene.model.sum(dtype=float)) == pytest.approx(there["flux"], rel=0.05)
    start = fit_sersic(data * unit, unit, psf=psf, sources={"flux": [900 * unit], "sky": [0.0]}).row(0, named=True)
    # Both end within 0.001 of the least chi-square, 0.03 sigma.
    assert start["flux"] == pytest.approx(there["flux"], abs=0.05 * there["flux_err"])
    held = FitParams(flux=(800 * unit, 800 * unit), sky=(0.1 * unit, 0.1 * unit))
    row = fit_sersic(data * unit, unit, psf=psf, params=held).row(0, named=True)
    assert (row["flux"], row["sky"]) == (pytest.approx(800 * unit), pytest.approx(0.1 * unit))
