"""Redshift and lines of a real ERS galaxy against grizli 1.14.3."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skymere.grism import (
    GRIZLI_BEAMS,
    GRIZLI_LINES,
    GRIZLI_REDSHIFT,
    FitParams,
    fit_lines,
    fit_redshift,
    fit_templates,
    read_beams,
)
from skymere.grism.problem import BeamProblem
from skymere.grism.template_bank import TemplateBank
from skymere.spectra import TemplateSet

Z = 1.7429358875


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "spectra"


@pytest.fixture(scope="module")
def ers(folder):
    path = folder / "wfc3" / "j033216m2743_00152.beams.fits"
    return read_beams(path, conf_path=folder / "grizli" / "CONF", params=GRIZLI_BEAMS)


@pytest.fixture(scope="module")
def summary(folder):
    return json.loads((folder / "reference" / "grizli" / "ers_summary.json").read_text())


@pytest.fixture(scope="module")
def t0(folder):
    return TemplateSet.load(folder / "grizli" / "templates")


@pytest.fixture(scope="module")
def t1(folder):
    return TemplateSet.load(folder / "grizli" / "templates", line_complexes=False)


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "reference" / "grizli" / "ers_lines_nnls.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


# The tolerances of the data's README; fits with grizli's complexes are measured to agree to 2e-5.
@pytest.mark.parametrize(("profiles", "limit"), [("grizli", 0.005), ("exact", 0.03)])
def test_chi_square_is_that_of_grizli_at_every_redshift(ers, t0, folder, profiles, limit):
    path = folder / "reference" / "grizli" / "ers_zgrid_coarse.csv"
    z, wanted = np.loadtxt(path, delimiter=",", skiprows=1).T
    params = replace(GRIZLI_REDSHIFT, profiles=profiles)
    scan = BeamProblem(ers).scan(TemplateBank.of(t0, profiles, None), z, params=params, fitter="nnls")
    difference = np.abs(scan.loss - wanted).max()
    print(f"{profiles}: chi square differs by {difference:.1e} on {z.size} redshifts")
    assert difference < limit


def test_the_redshift_and_its_baselines_are_those_of_grizli(ers, t0, summary):
    wanted = summary["redshift"]
    fit = fit_redshift(ers, templates=t0, z_range=(0.05, 3.4), dz=(0.004, 0.0004), params=GRIZLI_REDSHIFT)
    print(f"z_map {fit.z_map:.6f}, least chi2 {fit.chi2.min():.4f}, {fit.chi2_poly:.4f}, {fit.chi2_spline:.4f}")
    assert fit.status == "ok"
    assert fit.z_map == pytest.approx(wanted["z_map"], abs=0.0002)
    assert fit.chi2.min() == pytest.approx(wanted["chimin"], abs=0.005)
    assert fit.chi2_poly == pytest.approx(wanted["chi2poly"], abs=0.005)
    assert fit.chi2_spline == pytest.approx(wanted["chi2spl"], abs=0.005)
    assert (fit.dof, fit.n_parameters, fit.n_spline) == (wanted["DoF"], wanted["ktempl"], wanted["kspl"])
    # Bounds scaled to the noise and exact lines give the same redshift.
    own = fit_redshift(ers, templates=t0, z_range=(0.05, 3.4))
    assert own.z_map == pytest.approx(wanted["z_map"], abs=0.0002)
    assert fit.bic_poly - fit.bic_template > 30


@pytest.mark.parametrize("params", [GRIZLI_REDSHIFT, FitParams()])
def test_lines_are_those_of_grizli(ers, t1, folder, params):
    rows = _rows(folder)
    table = fit_lines(ers, Z, templates=t1, params=replace(params, fitter="nnls", errors="weights"))
    found = {row["line"]: row for row in table.iter_rows(named=True)}
    n = 0
    for row in rows:
        value, error = float(row["nnls_value"]), float(row["nnls_error"])
        if row["template"].startswith("line") and error > 0:
            mine = found[row["template"].removeprefix("line ")]
            assert mine["flux"] == pytest.approx(value, abs=0.01 * error)
            assert mine["flux_err"] == pytest.approx(error, rel=0.01)
            n += 1
    assert n == 10
    # The weighted estimator's errors are smaller beside contamination, here by 1 to 2 %.
    own = fit_lines(ers, Z, templates=t1, params=replace(params, fitter="nnls"))
    ratio = (own["flux_err"] / table["flux_err"]).drop_nulls().to_numpy()
    assert np.all((ratio > 0.95) & (ratio < 1.0 + 1e-9))


def test_backgrounds_and_bounded_fluxes_are_those_of_grizli(ers, t1, folder):
    from astropy.io import fits

    fit = fit_templates(ers, Z, templates=t1, params=replace(GRIZLI_REDSHIFT, fitter="nnls"))
    wanted = [row for row in _rows(folder) if row["template"].startswith("bg")]
    errors = np.array([float(row["nnls_error"]) for row in wanted])
    np.testing.assert_allclose(fit.backgrounds, [float(r["nnls_value"]) for r in wanted], atol=0.01 * errors.min())
    np.testing.assert_allclose(fit.background_err, errors, rtol=0.01)
    header = fits.getheader(folder / "reference" / "grizli" / "ers_line_maps.fits.gz")
    lines = {header[f"LINE{i:03d}"]: header[f"FLUX{i:03d}"] for i in range(1, header["NUMLINES"] + 1)}
    table = fit_lines(ers, Z, templates=t1, params=GRIZLI_LINES)
    n = 0
    for row in table.iter_rows(named=True):
        if row["status"] == "ok" and abs(lines.get(row["line"], 0)) > 0:
            assert row["flux"] == pytest.approx(lines[row["line"]], abs=0.02 * row["flux_err"])
            n += 1
    assert n >= 10
