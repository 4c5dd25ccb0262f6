"""Derivatives of coordinates, and ellipses through them."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from skymere.wcs import Grid, map_ellipses, pixel_jacobian


@pytest.mark.parametrize("rotation", [0.0, 37.0, 200.0])
def test_pixels_of_a_tangent_grid_turn_with_it(rotation: float) -> None:
    grid = Grid.tangent(150.0, 60.0, shape=(200, 200), scale_arcsec=0.5, rotation_deg=rotation)
    ra, dec = grid.sky(np.array([99.5, 20.0]), np.array([99.5, 150.0]))
    found = pixel_jacobian(grid, ra, dec)
    # North is the direction whose angle from +y is that of the grid.
    north = found[0, :, 1] * 0.5
    angle = np.deg2rad(rotation)
    assert north == pytest.approx([np.sin(angle), np.cos(angle)], abs=1e-6)
    assert np.abs(np.linalg.det(found)) == pytest.approx(4.0, rel=1e-4)
    # A small step on the sky, by astropy, is one on the pixels.
    there = SkyCoord(ra[1], dec[1], unit="deg").directional_offset_by(30.0 * u.deg, 0.3 * u.arcsec)
    x, y = grid.pixels(np.array([there.ra.deg]), np.array([there.dec.deg]))
    step = found[1] @ (0.3 * np.array([np.sin(np.deg2rad(30.0)), np.cos(np.deg2rad(30.0))]))
    assert (x[0] - 20.0, y[0] - 150.0) == pytest.approx(step, abs=1e-4)


def test_a_flipped_grid_has_the_other_hand() -> None:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [10.0, 2.0], [51.0, 51.0]
    hands = []
    for sign in (-1.0, 1.0):
        wcs.wcs.cd = np.diag([sign, 1.0]) / 3600.0
        grid = Grid(wcs=wcs.deepcopy(), shape=(101, 101))
        hands.append(np.linalg.det(pixel_jacobian(grid, np.array([10.0]), np.array([2.0])))[0])
    assert hands[0] == pytest.approx(-1.0, rel=1e-4)
    assert hands[1] == pytest.approx(1.0, rel=1e-4)


def test_ellipses_are_where_their_outlines_go() -> None:
    rng = np.random.default_rng(3)
    maps = rng.normal(size=(50, 2, 2))
    major, ratio = rng.uniform(0.5, 3.0, 50), rng.uniform(0.1, 1.0, 50)
    angle = rng.uniform(0.0, np.pi, 50)
    a, q, theta = map_ellipses(maps, major, ratio, angle)
    turn = np.linspace(0.0, 2 * np.pi, 7201)
    for i in range(50):
        u_axis, v_axis = np.array([np.cos(angle[i]), np.sin(angle[i])]), np.array([-np.sin(angle[i]), np.cos(angle[i])])
        outline = major[i] * (np.cos(turn)[:, None] * u_axis + ratio[i] * np.sin(turn)[:, None] * v_axis) @ maps[i].T
        distance = np.hypot(*outline.T)
        assert a[i] == pytest.approx(distance.max(), rel=1e-5)
        assert q[i] * a[i] == pytest.approx(distance.min(), rel=1e-3, abs=1e-4)
        far = outline[np.argmax(distance)]
        assert abs(np.sin(np.arctan2(far[1], far[0]) - theta[i])) < 5e-3 or q[i] > 0.99


def test_what_is_not_known_stays_unknown() -> None:
    found = map_ellipses(np.eye(2)[None], np.array([np.nan]), np.array([0.5]), np.array([0.1]))
    assert all(np.isnan(one[0]) for one in found)
