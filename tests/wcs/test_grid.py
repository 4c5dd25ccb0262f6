"""Grids of the sky."""

import json

import numpy as np
import pytest
from astropy.wcs import WCS, DistortionLookupTable, Sip

from skymere.errors import InvalidInputError
from skymere.wcs import Grid, mean_rotation, wcs_cards, wcs_from_cards


def north(rotation_deg: float = 0.0) -> WCS:
    return Grid.tangent(10.0, 0.0, shape=(9, 9), scale_arcsec=1.0, rotation_deg=rotation_deg).wcs


def test_a_tangent_grid_has_its_centre_scale_and_north_up() -> None:
    grid = Grid.tangent(53.1, -27.8, shape=(101, 201), scale_arcsec=0.06)
    ra, dec = grid.sky(np.array([100.0]), np.array([50.0]))
    assert (ra[0], dec[0]) == pytest.approx((53.1, -27.8), abs=1e-12)
    assert grid.scale_arcsec == pytest.approx(0.06, rel=1e-12)
    up = grid.sky(np.array([100.0]), np.array([51.0]))
    assert up[0][0] == pytest.approx(53.1, abs=1e-12)
    assert (up[1][0] + 27.8) * 3600 == pytest.approx(0.06, rel=1e-9)
    left = grid.sky(np.array([99.0]), np.array([50.0]))
    assert left[0][0] > 53.1


def test_rotation_is_the_position_angle_of_the_y_axis() -> None:
    grid = Grid.tangent(10.0, 0.0, shape=(11, 11), scale_arcsec=1.0, rotation_deg=30.0)
    ra, dec = grid.sky(np.array([5.0]), np.array([6.0]))
    angle = np.rad2deg(np.arctan2(ra[0] - 10.0, dec[0]))
    assert angle == pytest.approx(30.0, abs=1e-4)


def test_a_covering_grid_holds_every_corner_with_its_margin() -> None:
    parts = [
        Grid.tangent(359.999 + i * 0.002, 60.0 + i * 0.001, shape=(80, 90), scale_arcsec=0.13, rotation_deg=20 * i)
        for i in range(3)
    ]
    grid = Grid.covering([(p.wcs, p.shape) for p in parts], scale_arcsec=0.1, margin_pix=4)
    for part in parts:
        corners = part.corners()
        x, y = grid.pixels(corners[:, 0], corners[:, 1])
        assert x.min() >= 3.0
        assert y.min() >= 3.0
        assert x.max() <= grid.shape[1] - 4.0
        assert y.max() <= grid.shape[0] - 4.0


def test_cards_are_exact_and_json() -> None:
    grid = Grid.tangent(53.123456789012345, -27.8, shape=(10, 20), scale_arcsec=0.0613, rotation_deg=12.3)
    back = Grid.from_cards(json.loads(json.dumps(grid.cards())), grid.shape)
    assert back.cards() == grid.cards()
    x = np.linspace(-50.0, 50.0, 7)
    np.testing.assert_array_equal(np.array(back.sky(x, x)), np.array(grid.sky(x, x)))


def test_a_cutout_has_the_sky_of_its_parent() -> None:
    grid = Grid.tangent(53.0, -27.0, shape=(100, 100), scale_arcsec=0.06, rotation_deg=40.0)
    cut = grid.cutout(30, 20, (10, 12))
    x = np.array([3.0, 8.5])
    np.testing.assert_allclose(np.array(cut.sky(x, x)), np.array(grid.sky(x + 20, x + 30)), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Grid.tangent(0.0, 0.0, shape=(5, 5), scale_arcsec=0.0), "scale_arcsec: 0.0"),
        (lambda: Grid.tangent(0.0, 0.0, shape=(0, 5), scale_arcsec=1.0), "shape"),
        (lambda: Grid(wcs=WCS(naxis=2), shape=(5, 5)), "celestial"),
        (lambda: Grid.covering([], scale_arcsec=1.0), "footprints"),
        (lambda: Grid.covering([(north(), (9, 9))], scale_arcsec=1.0, rotation_deg="up"), "rotation_deg: 'up'"),
        (lambda: mean_rotation([(north(), (9, 9)), (north(180.0), (9, 9))]), "no mean orientation"),
        (lambda: wcs_cards(WCS(naxis=3)), "2-D celestial"),
        (lambda: wcs_from_cards({"CTYPE1": "WAVE"}), "do not make a celestial WCS"),
    ],
)
def test_wrong_arguments_are_named(make, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()


@pytest.mark.parametrize("factor", [0.7, 0.5, 2.0])
def test_a_rescaled_grid_shows_the_same_sky(factor):
    grid = Grid.tangent(150.0, 2.0, shape=(40, 61), scale_arcsec=0.1)
    other = grid.rescaled(factor)
    assert other.scale_arcsec == pytest.approx(0.1 * factor)
    assert other.shape == (int(np.ceil(40 / factor)), int(np.ceil(61 / factor)))
    # The corner of the first pixel is where it was, and so is any other place.
    for edge in (-0.5, 17.3):
        there = (edge + 0.5) / factor - 0.5
        sky, same = grid.sky(np.array([edge]), np.array([edge])), other.sky(np.array([there]), np.array([there]))
        np.testing.assert_allclose(sky, same, rtol=0, atol=1e-11)
    with pytest.raises(InvalidInputError, match="factor: 0 is not allowed"):
        grid.rescaled(0)


def test_the_mean_orientation_is_that_of_unit_vectors_also_for_distorted_images() -> None:
    angles = (12.0, 20.0, 28.0)
    parts = [Grid.tangent(40.0, -70.0, shape=(20, 900), scale_arcsec=0.1, rotation_deg=a) for a in angles]
    assert mean_rotation([(p.wcs, p.shape) for p in parts]) == pytest.approx(20.0, abs=0.02)
    grid = Grid.covering([(p.wcs, p.shape) for p in parts], scale_arcsec=0.1, rotation_deg="mean", margin_pix=2)
    assert mean_rotation([(grid.wcs, grid.shape)]) == pytest.approx(20.0, abs=0.02)
    north_up = Grid.covering([(p.wcs, p.shape) for p in parts], scale_arcsec=0.1, margin_pix=2)
    assert np.prod(grid.shape) < np.prod(north_up.shape)
    for part in parts:
        x, y = grid.pixels(*part.corners().T)
        assert min(x.min(), y.min()) >= 1.0
        assert x.max() <= grid.shape[1] - 2.0
        assert y.max() <= grid.shape[0] - 2.0


def sip() -> Grid:
    wcs = Grid.tangent(40.0, 30.0, shape=(400, 500), scale_arcsec=0.1).wcs
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[2, 0], a[1, 1], b[0, 2], b[3, 0] = 4e-5, 2e-5, -3e-5, 1e-8
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return Grid(wcs=wcs, shape=(400, 500))


def test_a_cutout_of_a_distorted_image_has_its_distortion() -> None:
    grid = sip()
    cut = grid.cutout(150, 220, (60, 80))
    x, y = np.array([0.0, 30.0, 79.0]), np.array([0.0, 59.0, 12.0])
    np.testing.assert_allclose(np.array(cut.sky(x, y)), np.array(grid.sky(x + 220, y + 150)), rtol=0, atol=1e-12)


def with_tables() -> Grid:
    """Look-up tables whose nodes are 20 and 22 pixels apart, in both places where FITS has them."""
    wcs = Grid.tangent(40.0, 30.0, shape=(400, 500), scale_arcsec=0.1).wcs
    y, x = np.mgrid[:22, :28]
    waves = [
        (a * np.sin(x / b) + 0.02 * y).astype(np.float32) for a, b in ((0.4, 3.0), (0.3, 4.0), (0.2, 5.0), (0.1, 2.0))
    ]
    for name, data in zip(("cpdis1", "cpdis2", "det2im1", "det2im2"), waves, strict=True):
        setattr(wcs, name, DistortionLookupTable(data, (2.0, 3.0), (-15.0, -17.0), (20.0, 22.0)))
    wcs.wcs.set()
    return Grid(wcs=wcs, shape=(400, 500))


@pytest.mark.parametrize("make", [sip, with_tables])
@pytest.mark.parametrize("factor", [0.5, 1.7, 3.0])
def test_cutouts_and_rescaled_grids_of_a_distorted_image_have_its_sky(make, factor: float) -> None:
    grid = make()
    x, y = np.array([30.0, 101.3, 260.0]), np.array([25.0, 333.3, 110.0])
    wanted = np.array(grid.sky(x, y))
    plain = Grid.tangent(40.0, 30.0, shape=(400, 500), scale_arcsec=0.1)
    # What the distortion does is not nothing: a tenth of a pixel and more.
    assert np.abs(np.array(plain.sky(x, y)) - wanted).max() > 0.1 * 0.1 / 3600
    cut = grid.cutout(15, 22, (380, 300))
    np.testing.assert_allclose(np.array(cut.sky(x - 22, y - 15)), wanted, rtol=0, atol=1e-11)
    other = grid.rescaled(factor)
    there = [(v + 0.5) / factor - 0.5 for v in (x, y)]
    # Tables are float32: 0.4 pixels of 0.1 arcsec to 6e-8.
    np.testing.assert_allclose(np.array(other.sky(*there)), wanted, rtol=0, atol=1e-11)


def test_the_inverse_polynomial_of_sip_is_rescaled_too() -> None:
    wcs = sip().wcs
    ap = np.zeros((3, 3))
    ap[2, 0], ap[1, 1] = -4e-5, 3e-5
    wcs.sip = Sip(wcs.sip.a, wcs.sip.b, ap, ap.T.copy(), wcs.wcs.crpix)
    grid = Grid(wcs=wcs, shape=(400, 500))
    wanted = wcs.sip.foc2pix(np.array([[100.0, 50.0]]), 1) - wcs.wcs.crpix
    other = grid.rescaled(2.0).wcs
    there = (np.array([[100.0, 50.0]]) + wcs.wcs.crpix - 0.5) / 2 + 0.5 - other.wcs.crpix
    found = other.sip.foc2pix(there, 1) - other.wcs.crpix
    np.testing.assert_allclose(found, wanted / 2, atol=1e-9)


def test_only_positions_far_from_a_distorted_image_have_no_place_on_it() -> None:
    grid = sip()
    x, y = np.array([[0.0, 250.0], [499.0, 30.0]]), np.array([[0.0, 180.0], [399.0, 390.0]])
    ra, dec = grid.sky(x, y)
    alone = grid.pixels(ra, dec)
    # Beyond the reach of the polynomial, and on the other half of the sky.
    ra[0, 0], dec[0, 0], ra[1, 1], dec[1, 1] = 43.0, 32.0, 220.0, -30.0
    for got, before, wanted in zip(grid.pixels(ra, dec), alone, (x, y), strict=True):
        assert np.isnan(got).tolist() == [[True, False], [False, True]]
        np.testing.assert_allclose(got[[0, 1], [1, 0]], before[[0, 1], [1, 0]], atol=1e-4)
        np.testing.assert_allclose(got[[0, 1], [1, 0]], wanted[[0, 1], [1, 0]], atol=1e-3)
    for place in ((43.0, 32.0), (220.0, -30.0)):
        assert np.isnan(grid.pixels(*(np.array([v]) for v in place))).all()
    assert [v.shape for v in grid.pixels(np.zeros(0), np.zeros(0))] == [(0,), (0,)]


def test_the_mean_of_350_and_14_degrees_is_2() -> None:
    parts = [Grid.tangent(40.0, -70.0, shape=(60, 90), scale_arcsec=0.1, rotation_deg=a) for a in (350.0, 14.0)]
    assert mean_rotation([(p.wcs, p.shape) for p in parts]) == pytest.approx(2.0, abs=0.02)


def test_a_grid_covers_images_whose_wcs_is_only_of_ape_14() -> None:
    inner = Grid.tangent(40.0, 30.0, shape=(50, 70), scale_arcsec=0.2, rotation_deg=25.0)

    class LowLevel:
        pixel_n_dim = world_n_dim = 2
        world_axis_physical_types = ("pos.eq.ra", "pos.eq.dec")
        pixel_to_world_values = staticmethod(inner.wcs.pixel_to_world_values)

    found = Grid.covering([(LowLevel(), inner.shape)], scale_arcsec=0.2, rotation_deg="mean")
    expected = Grid.covering([(inner.wcs, inner.shape)], scale_arcsec=0.2, rotation_deg="mean")
    assert found.cards() == expected.cards()
    assert found.shape == expected.shape
