"""Pixel map of a 1014 x 1014 WFC3/IR exposure to a north-up grid against stcal's, which interpolates in steps of 10."""

import numpy as np
import pytest
from astropy.wcs import WCS

from skymere.wcs import Grid, pixel_map

pytestmark = pytest.mark.benchmark

SHAPE = (1014, 1014)
STEP_PIX = 10
# The larger SIP coefficients of WFC3/IR F140W (headerlet of ia1d23dmq).
SIP_A = {"A_2_0": 3.0e-7, "A_1_1": 2.42e-5, "A_0_2": -8.7e-8, "A_3_0": -2.5e-10, "A_1_2": -2.2e-10, "A_4_0": 2.0e-14}
SIP_B = {"B_2_0": 7.1e-6, "B_1_1": -1.1e-7, "B_0_2": 3.0e-5, "B_2_1": -1.5e-10, "B_0_3": -5.9e-10, "B_0_4": -4.0e-14}


def detector():
    cards = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRVAL1": 53.1, "CRVAL2": -27.8}
    cards |= {"CRPIX1": 507.0, "CRPIX2": 507.0, "A_ORDER": 4, "B_ORDER": 4, **SIP_A, **SIP_B}
    angle = np.deg2rad(38.0)
    turn = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    cd = turn @ np.diag([0.1355, 0.1211]) / 3600
    return WCS(cards | {f"CD{i + 1}_{j + 1}": cd[i, j] for i, j in np.ndindex(2, 2)})


def test_pixel_map_against_stcal(race):
    resampling = pytest.importorskip("stcal.resample.utils", reason="stcal is not installed; `make bench` brings it")
    wcs = detector()
    grid = Grid.covering([(wcs, SHAPE)], scale_arcsec=0.06, margin_pix=10).wcs

    def ours():
        return pixel_map(wcs, grid, SHAPE)

    def peer():
        return resampling.calc_pixmap(wcs, grid, shape=SHAPE, stepsize=STEP_PIX)

    race(f"pixel map, TAN-SIP, against stcal in steps of {STEP_PIX}", ours, peer)
    y, x = np.indices(SHAPE, dtype=float)
    exact = np.stack(grid.wcs_world2pix(*wcs.all_pix2world(x, y, 0), 0), axis=-1)
    away = np.hypot(*np.moveaxis(ours() - peer(), -1, 0)).max()
    print(f"from astropy {np.abs(ours() - exact).max():.1e} pix, from stcal's interpolation {away:.1e} pix")
    assert np.abs(ours() - exact).max() < 2e-8
    # Bilinear interpolation is off by an eighth of the squared step times the second derivatives along x and along y,
    # of which the quadratic terms of SIP are nine tenths; a pixel of the output is 0.06 arcsec.
    curvature = 2 * max(abs(sip[f"{k}_2_0"]) + abs(sip[f"{k}_0_2"]) for k, sip in (("A", SIP_A), ("B", SIP_B)))
    assert away < 1.1 * STEP_PIX**2 / 8 * curvature * 0.1355 / 0.06
