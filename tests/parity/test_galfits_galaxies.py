"""Single-Sersic fits of CEERS galaxies beside those of GalfitS, another model; run with ``-s`` to see the numbers.

GalfitS fitted one profile to seven bands at once: size, index, ellipticity and angle are common to all, flux and place
belong to a band, the sky is 0. So a band's own fit may differ, and must be at least as good under the same chi-square.

Its coordinates had lost the off-diagonal terms of the PC matrix, so that its pixels were too small: by that
matrix's diagonal, 0.646. Its lengths are divided by it here, and position angles are those of the image.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from skymere.profiles import FitParams, fit_sersic, render_sersic

PSFS = {"40": "40_2114_13347", "6414": "6414_6978_8021", "6978": "6414_6978_8021", "10766": "10735_10766"}
BANDS = ("F150W", "F277W", "F444W")


@dataclass(frozen=True, kw_only=True, eq=False)
class Galaxy:
    """A stamp, its PSF, and what GalfitS found."""

    data: NDArray[np.float32]
    error: NDArray[np.float32]
    mask: NDArray[np.bool_]
    psf: NDArray[np.float64]
    scale: float
    scale_of_galfits: float
    zero_point_ab: float
    found: dict[str, float]


def galaxy(folder: Path, number: str, band: str) -> Galaxy:
    text = (folder / f"ceers_nircam_{number}_galfits_single_sersic.txt").read_text()
    found = {name: float(value) for name, value in re.findall(r"^(\w+) +(-?\d+\.\d+)$", text, re.MULTILINE)}
    with fits.open(folder / f"ceers_nircam_{number}.fits") as hdus:
        header = hdus[f"SCI_{band}"].header
        wcs = WCS(header)
        data, error = (np.array(hdus[f"{kind}_{band}"].data, np.float32) for kind in ("SCI", "ERR"))
        mask = hdus[f"MASK_{band}"].data != 0
    with fits.open(folder / f"ceers_psf_pointing_{PSFS[number]}.fits") as hdus:
        psf = np.array(hdus[f"PSF_{band}"].data, float)
    return Galaxy(
        data=data,
        error=error,
        mask=mask | ~np.isfinite(data) | ~(error > 0),
        psf=psf / psf.sum(),
        scale=float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600),
        scale_of_galfits=float(np.sqrt(abs(wcs.wcs.pc[0, 0] * wcs.wcs.pc[1, 1])) * wcs.wcs.cdelt[1] * 3600),
        zero_point_ab=float(header["PHOTZPAB"]),
        found=found,
    )


def chi2(one: Galaxy, row: dict[str, float]) -> float:
    model = render_sersic(
        one.data.shape,
        x=row["x"],
        y=row["y"],
        flux=row["flux"],
        re=row["r_eff_pix"],
        n=row["sersic_index"],
        q=1 - row["ellipticity"],
        pa=row["pa"],
        psf=one.psf,
    )
    good = ~one.mask
    return float((((one.data - model)[good] / one.error[good]) ** 2).sum(dtype=float))


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("number", PSFS)
def test_fits_are_at_least_as_good_as_those_of_galfits(shared_data: Path, number: str, band: str) -> None:
    one = galaxy(shared_data / "imaging" / "sersic", number, band)
    found = one.found
    r_eff, n, q, pa = found["disk_Re"] / one.scale_of_galfits, found["disk_n"], found["disk_axrat"], found["disk_ang"]
    pa = (pa + 90) % 180 - 90
    mag = found[f"Mag_disk_nircam_{band.lower()}"]
    flux = 10 ** (-0.4 * (mag - one.zero_point_ab))
    no_sky = {"psf": one.psf, "mask": one.mask}
    ours = fit_sersic(one.data, one.error, **no_sky, params=FitParams(sky=(0, 0))).row(0, named=True)
    # What is held is GalfitS's; its place is the best one, as PSFs and corners of stamps are not those of its run.
    held = FitParams(
        sky=(0, 0),
        flux=(flux, flux),
        r_eff_pix=(r_eff, r_eff),
        sersic_index=(n, n),
        ellipticity=(1 - q, 1 - q),
        pa=(pa, pa),
        reach_pix=3.0,
    )
    start = {name: ours[name] for name in ("x", "y")}
    theirs = fit_sersic(one.data, one.error, **no_sky, sources=start, params=held).row(0, named=True)
    assert theirs["r_eff_pix"] == pytest.approx(r_eff)
    assert theirs["flux"] == pytest.approx(flux)
    dof = int((~one.mask).sum()) - 7
    own, other = chi2(one, ours), chi2(one, theirs)
    turn = (ours["pa"] - pa + 90) % 180 - 90
    print(
        f"| {number} | {band} | {r_eff * one.scale:.4f} | {ours['r_eff_pix'] / r_eff - 1:+.1%} | {n:.2f} |"
        f" {ours['sersic_index'] / n - 1:+.1%} | {1 - ours['ellipticity'] - q:+.3f} | {turn:+.1f} |"
        f" {one.zero_point_ab - 2.5 * np.log10(ours['flux']) - mag:+.3f} | {own / dof:.3f} | {other / dof:.3f} |"
        f" {', '.join(ours['bounds_hit'])} |"
    )
    assert own == pytest.approx(ours["chi2"], rel=1e-4)
    assert own <= other
    # None of them is a Sersic profile within the noise, nor the same in all bands: n follows the band.
    assert ours["r_eff_pix"] == pytest.approx(r_eff, rel=0.2)
    assert 1 - ours["ellipticity"] == pytest.approx(q, abs=0.02)
    assert abs(turn) < 10
    if own / dof < 2:
        assert ours["r_eff_pix"] == pytest.approx(r_eff, rel=0.03)
