import json
import warnings
from dataclasses import replace

import gwcs
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import ICRS
from astropy.io import fits
from astropy.modeling import models
from astropy.wcs import WCS, FITSFixedWarning
from gwcs import coordinate_frames as cf

from skymere.align import (
    AlignParams,
    CorrectedWcs,
    FindParams,
    LinearMap,
    TangentPlane,
    align,
    corrected_wcs,
)
from skymere.errors import InvalidInputError
from skymere.wcs import wcs_cards, wcs_from_cards


def correction(shift, rotation_deg, scale, centre):
    angle = np.deg2rad(rotation_deg)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return LinearMap(matrix=matrix, centre=np.array(centre), shift=np.array(shift))


def distorted(dec, form):
    """A TAN-SIP WCS at a declination, as CD or as PC with CDELT."""
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header["CRVAL1"], header["CRVAL2"], header["CRPIX1"], header["CRPIX2"] = 0.01, dec, 507.0, 480.0
    turn = np.array([[-0.8, 0.6], [0.6, 0.8]]) @ np.diag([0.1355, 0.1211]) / 3600
    for i in (1, 2):
        for j in (1, 2):
            value = turn[i - 1, j - 1]
            header[f"{form}{i}_{j}"] = value if form == "CD" else value / 1e-4
    if form == "PC":
        header["CDELT1"] = header["CDELT2"] = 1e-4
    header["A_ORDER"], header["B_ORDER"] = 2, 2
    header["A_2_0"], header["B_1_1"] = 8e-6, -5e-6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        return WCS(header)


@pytest.mark.parametrize("form", ["CD", "PC"])
@pytest.mark.parametrize("dec", [0.0, 53.0, -89.9])
def test_a_corrected_wcs_puts_every_pixel_where_the_map_takes_it(dec, form):
    wcs = distorted(dec, form)
    before = wcs.to_header_string(relax=True)
    plane = TangentPlane.around(*wcs.calc_footprint(axes=(1014, 1014)).T)
    linear = correction([1.5, -0.7], 0.02, 1.00001, [20.0, 10.0])
    found = corrected_wcs(wcs, plane, linear)
    y, x = (axis.ravel().astype(float) for axis in np.mgrid[0:1014:78, 0:1014:78])
    wanted = linear.apply(plane.of_pixels(wcs, x, y))
    assert np.abs(plane.of_pixels(found, x, y) - wanted).max() < 2e-5
    assert np.array_equal(found.sip.a, wcs.sip.a)
    assert wcs.to_header_string(relax=True) == before


def test_the_identity_leaves_a_wcs():
    wcs = distorted(10.0, "CD")
    found = corrected_wcs(wcs, TangentPlane(ra=0.0, dec=10.0), LinearMap.identity())
    assert np.allclose(found.wcs.cd, wcs.wcs.cd, rtol=1e-9, atol=0)
    assert np.allclose(found.wcs.crval, wcs.wcs.crval, rtol=0, atol=1e-12)


def test_the_plane_is_that_of_astropy_s_offsets():
    from astropy.coordinates import SkyCoord

    plane = TangentPlane(ra=359.99, dec=60.0)
    there = SkyCoord(359.99, 60.0, unit="deg").directional_offset_by(
        [30, 200] * SkyCoord(0, 0, unit="deg").ra.unit, 0.002 * SkyCoord(0, 0, unit="deg").ra.unit
    )
    xy = plane.of_sky(there.ra.deg, there.dec.deg)
    angle = np.deg2rad([30, 200])
    assert np.abs(xy - 7.2 * np.column_stack([np.sin(angle), np.cos(angle)])).max() < 1e-6
    assert np.abs(plane.sky(xy)[:, 1] - there.dec.deg).max() < 1e-12


class LowLevel:
    """A WCS of which only the low-level interface of APE 14 is known, as that of a gwcs."""

    pixel_n_dim = world_n_dim = 2
    world_axis_physical_types = ("pos.eq.ra", "pos.eq.dec")

    def __init__(self, wcs):
        self.pixel_to_world_values, self.world_to_pixel_values = wcs.pixel_to_world_values, wcs.world_to_pixel_values


def test_coordinates_that_are_not_astropy_s_are_corrected_without_loss():
    wcs = distorted(30.0, "CD")
    plane = TangentPlane.around(*wcs.calc_footprint(axes=(1014, 1014)).T)
    linear = correction([1.5, -0.7], 0.02, 1.00001, [20.0, 10.0])
    found = corrected_wcs(LowLevel(wcs), plane, linear)
    assert isinstance(found, CorrectedWcs)
    y, x = np.mgrid[0:1014:78, 0:1014:78].astype(float)
    wanted = linear.apply(plane.of_pixels(wcs, x.ravel(), y.ravel()))
    assert np.abs(plane.of_pixels(found, x.ravel(), y.ravel()) - wanted).max() < 1e-8
    ra, dec = found.pixel_to_world_values(x, y)
    assert ra.shape == x.shape
    back = found.world_to_pixel_values(ra, dec)
    assert max(np.abs(back[0] - x).max(), np.abs(back[1] - y).max()) < 1e-6


def test_exposures_with_such_coordinates_are_aligned(star_field):
    exposures, _ = star_field(1.8, 7)
    plain = align(exposures[:2], params=AlignParams(find=FindParams(fwhm_pix=1.8)))[1]
    wrapped = [replace(e, wcs=LowLevel(e.wcs)) for e in exposures[:2]]
    found = align(wrapped, params=AlignParams(find=FindParams(fwhm_pix=1.8)))[1]
    np.testing.assert_allclose(found.shift_arcsec, plain.shift_arcsec, rtol=0, atol=1e-8)
    x, y = np.array([10.0, 600.0]), np.array([20.0, 500.0])
    away = np.subtract(found.wcs.pixel_to_world_values(x, y), plain.wcs.all_pix2world(x, y, 0))
    assert np.abs(away).max() * 3600 < 2e-5
    with pytest.raises(InvalidInputError, match="CorrectedWcs is not allowed"):
        found.row()


def tangent_gwcs(exposure):
    """The TAN coordinates of an exposure as a gwcs."""
    wcs = exposure.wcs
    x, y = (1.0 - float(value) for value in wcs.wcs.crpix)
    linear = models.AffineTransformation2D(matrix=wcs.pixel_scale_matrix)
    sky = models.Pix2Sky_TAN() | models.RotateNative2Celestial(*(float(value) for value in wcs.wcs.crval), 180.0)
    detector = cf.Frame2D(name="detector", unit=(u.pix, u.pix))
    world = cf.CelestialFrame(reference_frame=ICRS(), unit=(u.deg, u.deg), name="world")
    return gwcs.WCS([(detector, models.Shift(x) & models.Shift(y) | linear | sky), (world, None)])


def test_the_solution_of_a_gwcs_comes_back_from_its_row(star_field):
    exposures, _ = star_field(1.8, 7)
    wrapped = [replace(e, wcs=tangent_gwcs(e)) for e in exposures[:2]]
    found = align(wrapped, params=AlignParams(find=FindParams(fwhm_pix=1.8)))
    x, y = np.array([10.0, 600.0]), np.array([20.0, 500.0])
    for a in found:
        row = a.row()
        back = wcs_from_cards(json.loads(row["wcs"]))
        assert np.array_equal(back.pixel_to_world_values(x, y), a.wcs.pixel_to_world_values(x, y))
        assert json.dumps(json.loads(row["wcs"]), sort_keys=True) == row["wcs"]
    plain = align(exposures[:2], params=AlignParams(find=FindParams(fwhm_pix=1.8)))[1]
    away = np.subtract(found[1].wcs.pixel_to_world_values(x, y), plain.wcs.all_pix2world(x, y, 0))
    assert np.abs(away).max() * 3600 < 2e-5


def test_a_corrected_gwcs_puts_every_pixel_where_the_map_takes_it_and_back(star_field):
    exposures, _ = star_field(1.8, 7)
    wcs = tangent_gwcs(exposures[0])
    before = wcs_from_cards(wcs_cards(wcs))
    plane = TangentPlane(ra=float(exposures[0].wcs.wcs.crval[0]), dec=float(exposures[0].wcs.wcs.crval[1]))
    linear = correction([1.5, -0.7], 0.02, 1.00001, [20.0, 10.0])
    found = corrected_wcs(wcs, plane, linear)
    y, x = np.mgrid[0:500:50, 0:500:50].astype(float)
    wanted = linear.apply(plane.of_pixels(wcs, x.ravel(), y.ravel()))
    assert np.abs(plane.of_pixels(found, x.ravel(), y.ravel()) - wanted).max() < 1e-8
    back = found.world_to_pixel_values(*found.pixel_to_world_values(x, y))
    assert max(np.abs(back[0] - x).max(), np.abs(back[1] - y).max()) < 1e-6
    assert np.array_equal(before.pixel_to_world_values(x, y), wcs.pixel_to_world_values(x, y))


def test_other_coordinates_are_refused():
    with pytest.raises(InvalidInputError, match="wcs"):
        corrected_wcs(WCS(naxis=2), TangentPlane(ra=0.0, dec=0.0), LinearMap.identity())
