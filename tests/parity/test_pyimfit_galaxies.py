"""Fits of real galaxies against pyimfit's stored ones; run with ``-s`` to see the numbers.

pyimfit integrates the profile over the pixel and convolves it with a PSF image that holds the pixel already (F52), so
`psf_has_pixel=False` is its convention, and the other one skymere's default.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy.optimize import least_squares

from skymere.profiles import fit_sersic, render_sersic

# Name of the object, its file and that of its PSF.
CEERS_PSF = {"6414": "ceers_psf_pointing_6414_6978_8021.fits", "10766": "ceers_psf_pointing_10735_10766.fits"}
OBJECTS = (
    "6414 F200W",
    "6414 F444W",
    "10766 F200W",
    "10766 F444W",
    "G265911",
    "G266033",
    "G279148",
)


@dataclass(frozen=True)
class Galaxy:
    """A stamp, its PSF, and what pyimfit found."""

    data: np.ndarray
    error: np.ndarray
    mask: np.ndarray
    psf: np.ndarray
    fit: dict[str, float]
    chi2_reduced: float


def galaxy(folder: Path, name: str) -> Galaxy:
    stored = json.loads((folder / "pyimfit_reference_fits.json").read_text())
    (row,) = [r for r in stored if r["object"] == name]
    p = row["params"]
    with fits.open(folder / Path(row["file"]).name) as hdus:
        if " " in name:
            number, band = name.split()
            data, error, mask = hdus[f"SCI_{band}"].data, hdus[f"ERR_{band}"].data, hdus[f"MASK_{band}"].data != 0
            with fits.open(folder / CEERS_PSF[number]) as of_psf:
                psf = of_psf[f"PSF_{band}"].data.astype(float)
        else:
            segments = hdus["SEGM"].data
            mask = segments != segments[round(p["Y0_1"]) - 1, round(p["X0_1"]) - 1]
            data, error, psf = hdus["SCI"].data, hdus["SIGMA"].data, hdus["PSF"].data.astype(float)
        return Galaxy(
            data=np.array(data, np.float32),
            error=np.array(error, np.float32),
            mask=mask,
            psf=psf / psf.sum(),
            fit=p,
            chi2_reduced=row["chi2_reduced"],
        )


def oracle_chi2(one: Galaxy, start: dict[str, float], *, has_pixel: bool) -> float:
    """Chi-square of scipy's minimiser from a given fit, by differences of the drawn model."""
    good = ~one.mask & np.isfinite(one.data) & (one.error > 0) & np.isfinite(one.error)
    names = {"x": "x", "y": "y", "flux": "flux", "re": "r_eff_pix", "n": "sersic_index", "pa": "pa"}
    begin = [start[column] for column in names.values()] + [1 - start["ellipticity"], start["sky"]]

    def residual(p: np.ndarray) -> np.ndarray:
        shape = dict(zip(names, p, strict=False)) | {"q": p[6]}
        model = render_sersic(one.data.shape, **shape, psf=one.psf, psf_has_pixel=has_pixel) + p[7]
        return ((one.data - model) / one.error)[good]

    return float(2 * least_squares(residual, begin, x_scale="jac", xtol=1e-10, ftol=1e-10, gtol=1e-10).cost)


@pytest.mark.parametrize("name", OBJECTS)
def test_galaxies_have_pyimfits_parameters_in_its_convention(shared_data: Path, name: str) -> None:
    one = galaxy(shared_data / "imaging" / "sersic", name)
    p = one.fit
    rows = {}
    for has_pixel in (False, True):
        table = fit_sersic(one.data, one.error, psf=one.psf, psf_has_pixel=has_pixel, mask=one.mask)
        row = rows[has_pixel] = table.row(0, named=True)
        print(
            f"{name}, PSF {'with' if has_pixel else 'without'} the pixel: r_eff {row['r_eff_pix'] / p['r_e_1'] - 1:+.2%},"
            f" n {row['sersic_index'] / p['n_1'] - 1:+.2%}, x {row['x'] + 1 - p['X0_1']:+.4f}, y"
            f" {row['y'] + 1 - p['Y0_1']:+.4f} pix, reduced chi2 {row['chi2'] / row['dof']:.4f} ({one.chi2_reduced});"
            f" {row['n_evaluations']} evaluations"
        )
        assert row["is_converged"]
        assert row["chi2"] <= oracle_chi2(one, row, has_pixel=has_pixel) + 0.05
        assert row["chi2"] / row["dof"] <= one.chi2_reduced + 0.05
    same = rows[False]
    assert same["r_eff_pix"] == pytest.approx(p["r_e_1"], rel=0.01)
    assert same["sersic_index"] == pytest.approx(p["n_1"], rel=0.01)
    assert same["x"] + 1 == pytest.approx(p["X0_1"], abs=0.02)
    assert same["y"] + 1 == pytest.approx(p["Y0_1"], abs=0.02)
    assert same["ellipticity"] == pytest.approx(p["ell_1"], abs=0.005)
    assert abs((same["pa"] - p["PA_1"] + 90) % 180 - 90) < 0.3
    assert same["intensity"] == pytest.approx(p["I_e_1"], rel=0.01)
    assert rows[True]["sersic_index"] == pytest.approx(p["n_1"], rel=0.06)
