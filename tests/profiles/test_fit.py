"""Fits of stamps that GalSim drew, against their truth, the Cramer-Rao limit and an oracle."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from scipy.optimize import least_squares
from tests.profiles.stamps import Stamps, draw, effective_psf, stamps

from skymere import get_num_threads, set_num_threads
from skymere.errors import InvalidInputError
from skymere.profiles import FitParams, fit_sersic, render_sersic
from skymere.psf import Psf

SKY_FIXED, SKY_FREE = (0.0, 0.0), (-np.inf, np.inf)
SIZES = ((1.5, 48), (4.0, 64), (8.0, 100))
PULLS = ("x", "y", "flux", "r_eff_pix", "sersic_index", "ellipticity", "pa", "sky")


def offset(fitted: pl.DataFrame, truth: dict[str, np.ndarray], name: str) -> np.ndarray:
    off = fitted[name].to_numpy() - truth[name]
    return (off + 90.0) % 180.0 - 90.0 if name == "pa" else off


def width(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


@dataclass
class Cell:
    """Fits of one size, S/N and kind of sky, with those of the oracle."""

    fitted: pl.DataFrame
    truth: dict[str, np.ndarray]
    limit: pl.DataFrame
    oracle: pl.DataFrame

    @property
    def good(self) -> np.ndarray:
        return (self.fitted["bounds_hit"].list.len() == 0).to_numpy() & (self.fitted["status"] == "ok").to_numpy()

    def log_offset(self, name: str) -> np.ndarray:
        return np.log10(self.fitted[name].to_numpy() / self.truth[name])[self.good]

    def over_limit(self, name: str) -> np.ndarray:
        """Offsets of the logarithm in units of the Cramer-Rao limit at the truth."""
        limit = self.limit[f"{name}_err"].to_numpy() / self.truth[name] / np.log(10)
        return self.log_offset(name) / limit[self.good]

    def pull(self, name: str) -> np.ndarray:
        chosen = self.good & (self.truth["ellipticity"] > 0.1) if name == "pa" else self.good
        return (offset(self.fitted, self.truth, name) / self.fitted[f"{name}_err"].to_numpy())[chosen]

    def above_oracle(self) -> np.ndarray:
        return self.fitted["chi2"].to_numpy() - self.oracle["chi2"].to_numpy()


def cell(drawn: Stamps, s_n: float, sky: tuple[float, float]) -> Cell:
    data, truth = drawn.at(s_n, seed=int(s_n) + len(drawn.images))
    fit = {"data": data, "error": 1.0, "psf": drawn.psf}
    return Cell(
        fitted=fit_sersic(**fit, params=FitParams(sky=sky)),
        truth=truth,
        limit=fit_sersic(**fit, sources=truth, params=FitParams(sky=sky, max_starts=1, max_evaluations=1)),
        oracle=fit_sersic(**fit, sources=truth, params=FitParams(sky=sky, max_starts=1, tolerance=1e-8)),
    )


def check(cells: dict[tuple[float, float, tuple[float, float]], Cell], n_stamps: int) -> None:
    """Hold all figures of the fits; a width by the MAD is known to 1.17 / sqrt(n)."""
    wrong = []
    for (re, s_n, sky), one in cells.items():
        log = {name: one.log_offset(name) for name in ("r_eff_pix", "sersic_index")}
        bias = {name: float(np.median(values)) for name, values in log.items()}
        pulls = {name: round(width(one.pull(name)), 3) for name in PULLS if name != "sky" or sky == SKY_FREE}
        above = one.above_oracle()
        near, far = float((above < 0.05).mean()), float((above > 5).mean())
        failed = float((one.fitted["status"] != "ok").mean())
        print(
            f"re {re}, S/N {s_n:g}, sky {'free' if sky == SKY_FREE else 'fixed'}: bias of log re"
            f" {bias['r_eff_pix']:+.4f}, of log n {bias['sersic_index']:+.4f}, of {one.good.mean():.3f} without bounds;"
            f" pulls {pulls}; within 0.05 of the oracle {near:.3f}, more than 5 above {far:.4f}; failed {failed:.4f};"
            f" {one.fitted['n_evaluations'].mean():.1f} evaluations"
        )
        if s_n > 100:
            for name, most in (("r_eff_pix", 0.003), ("sersic_index", 0.015)):
                # Few stamps know the median less well than that.
                slack = 2.5 * np.std(log[name]) / np.sqrt(n_stamps) if n_stamps < 1000 else 0.0
                wrong += [(re, s_n, name, bias[name])] if abs(bias[name]) > most + slack else []
        if near < 0.9 or far > 0.02 or failed > 0.0:
            wrong.append((re, s_n, near, far, failed))
    for sky in sorted({key[2] for key in cells}):
        chosen = {key: one for key, one in cells.items() if key[2] == sky}
        for s_n in sorted({key[1] for key in chosen if key[1] >= 40}):
            for name in ("r_eff_pix", "sersic_index"):
                pooled = np.concatenate([one.over_limit(name) for key, one in chosen.items() if key[1] == s_n])
                ratio, most = float(np.std(pooled)), 1.05 + 2.9 / np.sqrt(len(pooled))
                print(
                    f"S/N {s_n:g}, sky {sky}, {name}: scatter {ratio:.3f} of the Cramer-Rao limit (at most {most:.3f})"
                )
                wrong += [(s_n, name, ratio)] if ratio > most else []
        for name in PULLS:
            if name == "sky" and sky == SKY_FIXED:
                continue
            pooled = np.concatenate([one.pull(name) for key, one in chosen.items() if key[1] > 30])
            print(f"sky {sky}, {name}: pull {width(pooled):.3f} of {len(pooled)}")
            slack = 2.3 / np.sqrt(len(pooled)) if n_stamps < 1000 else 0.0
            wrong += [(name, width(pooled))] if abs(width(pooled) - 1.0) > 0.1 + slack else []
    assert not wrong


def test_fits_are_unbiased_reach_the_limit_and_have_honest_errors() -> None:
    drawn = {re: stamps(60, re=re, side=side, seed=11) for re, side in SIZES[:2]}
    check({(re, s_n, SKY_FREE): cell(drawn[re], s_n, SKY_FREE) for re in drawn for s_n in (60.0, 200.0)}, 60)


@pytest.mark.validate
@pytest.mark.timeout(3600)
def test_fits_are_unbiased_reach_the_limit_and_have_honest_errors_in_every_cell() -> None:
    """2000 stamps a cell: 500 sources in four noises each."""
    n_stamps = 2000
    cells = {}
    for re, side in SIZES:
        drawn = stamps(n_stamps // 4, re=re, side=side, seed=5).repeated(4)
        for s_n in (20.0, 40.0, 110.0, 300.0):
            for sky in (SKY_FIXED, SKY_FREE):
                cells[re, s_n, sky] = cell(drawn, s_n, sky)
    check(cells, n_stamps)


GALAXY = {"x": 26.3, "y": 23.9, "flux": 900.0, "re": 4.0, "n": 1.8, "q": 0.55, "pa": 62.0}


def gaussian_psf(side: int = 31, fwhm: float = 3.0) -> np.ndarray:
    y, x = np.indices((side, side)) - (side - 1) / 2
    psf = np.exp(-4 * np.log(2) * (x**2 + y**2) / fwhm**2)
    return psf / psf.sum()


def galaxy(sky: float = 0.0, noise: float = 1.0, seed: int = 3, **changes: float) -> np.ndarray:
    image = render_sersic((51, 52), **(GALAXY | changes), psf=gaussian_psf()) + sky
    return (image + np.random.default_rng(seed).normal(0, noise, image.shape)).astype(np.float32)


def test_the_minimum_is_that_of_another_minimiser() -> None:
    data = galaxy(sky=3.0)

    def residual(p: np.ndarray) -> np.ndarray:
        names = ("x", "y", "flux", "re", "n", "q", "pa")
        model = render_sersic(data.shape, **dict(zip(names, p[:7], strict=True)), psf=gaussian_psf())
        return (data - model - p[7]).ravel()

    found = fit_sersic(data, 1.0, psf=gaussian_psf(), params=FitParams(tolerance=1e-6)).row(0, named=True)
    peer = least_squares(residual, [*GALAXY.values(), 3.0], x_scale="jac", xtol=1e-12, ftol=1e-12, gtol=1e-12)
    assert found["chi2"] == pytest.approx(2 * peer.cost, abs=1e-4)
    covariance = np.linalg.inv(peer.jac.T @ peer.jac)
    for i, name in enumerate(("x", "y", "flux", "r_eff_pix", "sersic_index", "ellipticity", "pa", "sky")):
        expected = 1 - peer.x[i] if name == "ellipticity" else peer.x[i]
        error = np.sqrt(covariance[i, i])
        assert found[name] == pytest.approx(expected, abs=0.01 * error), name
        assert found[f"{name}_err"] == pytest.approx(error, rel=0.02), name
    signs = np.array([1, 1, 1, 1, 1, -1, 1, 1])
    ours = np.array(found["covariance"])[:8, :8] * signs * signs[:, None]
    root = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(ours / root / root[:, None], covariance / root / root[:, None], atol=0.02)


def test_parameters_that_are_held_stay_and_bounds_are_told() -> None:
    data, psf = galaxy(), gaussian_psf()
    held = FitParams(sersic_index=(1.0, 1.0), pa=(62.0, 62.0), sky=(0.0, 0.0))
    row = fit_sersic(data, 1.0, psf=psf, params=held).row(0, named=True)
    assert (row["sersic_index"], row["sky"]) == (pytest.approx(1.0), 0.0)
    assert row["pa"] == pytest.approx(62.0)
    assert all(np.isnan(row[f"{name}_err"]) for name in ("sersic_index", "pa", "sky"))
    assert row["bounds_hit"] == []
    assert row["dof"] == data.size - 5
    flat = fit_sersic(data, 1.0, psf=psf, params=FitParams(ellipticity=(0.0, 0.2), pa=(0.0, 30.0))).row(0, named=True)
    assert flat["ellipticity"] == pytest.approx(0.2)
    assert flat["pa"] == pytest.approx(30.0)
    assert set(flat["bounds_hit"]) == {"ellipticity", "pa"}
    free = fit_sersic(data, 1.0, psf=psf).row(0, named=True)
    assert free["bounds_hit"] == []
    assert free["chi2"] < row["chi2"] < flat["chi2"]


def test_wide_bounds_of_the_angle_bind_nobody_inside() -> None:
    data, psf = galaxy(), gaussian_psf()
    free = fit_sersic(data, 1.0, psf=psf).row(0, named=True)
    wide = fit_sersic(data, 1.0, psf=psf, params=FitParams(pa=(-80.0, 80.0))).row(0, named=True)
    assert wide["bounds_hit"] == []
    assert wide["chi2"] == pytest.approx(free["chi2"], abs=0.01)
    assert wide["pa_err"] == pytest.approx(free["pa_err"], rel=1e-3)


def test_the_unit_of_the_data_does_not_matter() -> None:
    data, psf = galaxy(), gaussian_psf()
    here = fit_sersic(data, 1.0, psf=psf).row(0, named=True)
    for unit in (1e-12, 1e-6, 1e6):
        there = fit_sersic(data * unit, unit, psf=psf).row(0, named=True)
        assert there["is_converged"]
        assert there["flux"] == pytest.approx(here["flux"] * unit, rel=1e-4)
        assert there["flux_err"] == pytest.approx(here["flux_err"] * unit, rel=1e-3)
        assert there["r_eff_pix"] == pytest.approx(here["r_eff_pix"], rel=1e-4)
        assert there["pa_err"] == pytest.approx(here["pa_err"], rel=1e-3)


def test_circles_have_no_angle_and_tiny_stamps_no_panic() -> None:
    row = fit_sersic(galaxy(), 1.0, psf=gaussian_psf(), params=FitParams(ellipticity=(0.0, 0.0))).row(0, named=True)
    assert np.isnan(row["pa_err"])
    assert row["dof"] == 51 * 52 - 6
    table = fit_sersic(galaxy()[20:23, 20:23], 1.0, psf=gaussian_psf())
    assert table.height == 1


def test_a_tilted_sky_is_fitted_where_it_may_be() -> None:
    y, x = np.indices((51, 52))
    data = galaxy(sky=5.0) + (0.05 * (x - 25.5) - 0.08 * (y - 25.0)).astype(np.float32)
    psf = gaussian_psf()
    flat = fit_sersic(data, 1.0, psf=psf).row(0, named=True)
    tilted = fit_sersic(data, 1.0, psf=psf, params=FitParams(sky_slope=(-1.0, 1.0))).row(0, named=True)
    assert tilted["chi2"] < tilted["dof"] + 4 * np.sqrt(2 * tilted["dof"]) < flat["chi2"]
    assert (tilted["sky_slope_x"], tilted["sky_slope_y"]) == (
        pytest.approx(0.05, abs=6e-3),
        pytest.approx(-0.08, abs=6e-3),
    )
    assert tilted["sky"] == pytest.approx(5.0, abs=4 * tilted["sky_err"])


def test_counts_have_the_likelihood_of_cash() -> None:
    rng = np.random.default_rng(8)
    psf = gaussian_psf()
    mean = render_sersic((51, 52), **(GALAXY | {"flux": 1500.0}), psf=psf) + 0.4
    counts = rng.poisson(np.broadcast_to(mean, (150, *mean.shape))).astype(np.float32)
    cash = fit_sersic(counts, 1.0, psf=psf, params=FitParams(likelihood="poisson"))
    pulls = (cash["flux"] - 1500.0) / cash["flux_err"]
    assert abs(pulls.mean()) < 0.3
    assert pulls.std() == pytest.approx(1.0, abs=0.15)
    # Variances from the counts, at least 1, pull the sky and with it the flux down.
    biased = fit_sersic(counts, np.sqrt(np.maximum(counts, 1)), psf=psf)
    assert abs(cash["sky"].mean() - 0.4) < 0.02 < abs(biased["sky"].mean() - 0.4)


def test_an_oversampled_psf_and_a_coarse_one_give_the_same_source() -> None:
    fine = stamps(12, re=3.0, side=48, seed=4)
    data, truth = fine.at(300.0, seed=1)
    image = effective_psf(3.0).drawImage(nx=183, ny=183, scale=1 / 3, method="no_pixel", dtype=float).array
    psf = Psf(data=image.astype(np.float32), oversampling=3)
    assert image.sum() == pytest.approx(draw(effective_psf(3.0), (61, 61)).sum(), rel=1e-3)
    both = [fit_sersic(data, 1.0, psf=one) for one in (fine.psf, psf)]
    np.testing.assert_allclose(both[0]["flux"], both[1]["flux"], rtol=2e-3)
    np.testing.assert_allclose(both[0]["r_eff_pix"], both[1]["r_eff_pix"], rtol=2e-3)
    assert truth["flux"].shape == (12,)


def test_an_undersampled_psf_is_right_when_it_is_given_finer() -> None:
    """FWHM of 1.6 pixels: at the pixels of the image it does not say what is between them."""
    drawn = stamps(12, re=2.0, side=41, seed=9, fwhm=1.6)
    image = effective_psf(1.6).drawImage(nx=205, ny=205, scale=0.2, method="no_pixel", dtype=float).array
    psf = Psf(data=image.astype(np.float32), oversampling=5)
    for i in range(12):
        t = {name: values[i] for name, values in drawn.truth.items()}
        ours = render_sersic(
            (41, 41),
            x=t["x"],
            y=t["y"],
            flux=1.0,
            re=t["r_eff_pix"],
            n=t["sersic_index"],
            q=1 - t["ellipticity"],
            pa=t["pa"],
            psf=psf,
        )
        assert np.abs(ours - drawn.images[i]).max() < 1e-3 * drawn.images[i].max()


def test_results_do_not_depend_on_threads_and_inputs_stay() -> None:
    drawn = stamps(8, re=3.0, side=48, seed=2)
    data, _ = drawn.at(80.0, seed=2)
    before = data.copy()
    n_threads = get_num_threads()
    found = []
    for n in (1, 2):
        set_num_threads(n)
        found.append(fit_sersic(data, 1.0, psf=drawn.psf))
    set_num_threads(n_threads)
    assert found[0].equals(found[1])
    assert np.array_equal(data, before)


def test_the_first_fits_of_a_process_may_have_many_threads() -> None:
    """The table of transforms is made by the first one that needs it, while others wait."""
    code = (
        "import numpy as np; from skymere import set_num_threads; from skymere.profiles import fit_sersic;"
        "y, x = np.mgrid[-8:9, -8:9]; psf = np.exp(-(x**2 + y**2) / 4.5) / (4.5 * np.pi); set_num_threads(16);"
        "print(fit_sersic(np.repeat(100 * psf[None], 64, axis=0), 0.1, psf=psf).height)"
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.strip() == "64"


def test_one_bad_stamp_is_a_row_and_the_others_are_fitted() -> None:
    data = np.stack([galaxy(), np.full((51, 52), np.nan, np.float32), galaxy(seed=4)])
    table = fit_sersic(data, 1.0, psf=gaussian_psf())
    assert table["status"].to_list() == ["ok", "failed", "ok"]
    assert "counts" in table["message"][1]
    assert np.isnan(table["flux"][1])
    # Masked pixels do not count, nor those of infinite or negative errors.
    mask = np.zeros(data.shape[1:], bool)
    mask[:10] = True
    error = np.ones(data.shape[1:])
    error[:, :4] = np.inf
    error[:, 4] = -1.0
    row = fit_sersic(data[0], error, psf=gaussian_psf(), mask=mask).row(0, named=True)
    assert row["dof"] == 41 * 47 - 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": np.zeros(5)}, "data: shape"),
        ({"error": np.ones((3, 3))}, "error: shape"),
        ({"mask": np.zeros((3, 3), bool)}, "mask: shape"),
        ({"psf": np.zeros((5, 5))}, "psf:"),
        ({"psf": np.full((5, 5), np.nan)}, "psf:"),
        ({"psf": 1000.0 * gaussian_psf()}, "psf: a sum of 1000"),
        ({"sources": {"radius": [1.0]}}, "sources: 'radius'"),
        ({"sources": {"x": [1.0, 2.0]}}, "sources: x has shape"),
    ],
)
def test_bad_input_names_the_argument(change: dict, words: str) -> None:
    given = {"data": galaxy(), "error": 1.0, "psf": gaussian_psf()} | change
    with pytest.raises(InvalidInputError, match=words):
        fit_sersic(given.pop("data"), given.pop("error"), **given)


@pytest.mark.parametrize(
    ("name", "value"),
    [("sersic_index", (0.05, 8.0)), ("ellipticity", (0.5, 0.2)), ("likelihood", "student"), ("tolerance", 0.0)],
)
def test_bad_parameters_are_named(name: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=name):
        FitParams(**{name: value})


def test_a_psf_at_any_oversampling_draws_the_same_source() -> None:
    fine = effective_psf(3.0).drawImage(nx=151, ny=151, scale=0.4, method="no_pixel", dtype=float).array
    coarse = draw(effective_psf(3.0), (61, 61))
    images = [
        render_sersic((51, 52), **GALAXY, psf=psf)
        for psf in (coarse, Psf(data=fine.astype(np.float32), oversampling=2.5))
    ]
    assert np.abs(images[0] - images[1]).max() < 1e-3 * images[0].max()
