"""Coordinates as JSON and back: cards, look-up tables, gwcs."""

import json
import re
import subprocess
import sys

import gwcs
import numpy as np
import polars as pl
import pytest
from astropy import units as u
from astropy.coordinates import ICRS
from astropy.modeling import models
from astropy.wcs import DistortionLookupTable
from gwcs import coordinate_frames as cf

from skymere.errors import FormatError, InvalidInputError
from skymere.io import read_gwcs
from skymere.testing import AcsParams, AcsPointing, CameraParams, acs_distortion, simulate_acs
from skymere.wcs import Grid, fits_cards, pixel_map, wcs_cards, wcs_from_cards

pytestmark = [
    pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning"),
    pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning"),
]

SAME_DEG = 1e-12


def there_and_back(wcs):
    """Coordinates after JSON; the JSON of what came back is the same text."""
    text = json.dumps(wcs_cards(wcs), sort_keys=True)
    back = wcs_from_cards(json.loads(text))
    assert json.dumps(wcs_cards(back), sort_keys=True) == text
    return back, len(text) / 1000


def positions(wcs):
    x, y = np.meshgrid(np.linspace(0, 2040, 31), np.linspace(3, 2000, 29))
    return np.array(wcs.pixel_to_world_values(x, y))


def test_real_headerlets_come_back_with_their_tables(headerlets):
    n_tables = 0
    for label, wcs in headerlets:
        back, kilobytes = there_and_back(wcs)
        away = np.abs(positions(back) - positions(wcs)).max()
        print(f"{label}: {kilobytes:.1f} kB, {away:.1e} deg")
        assert away <= SAME_DEG
        for name in ("cpdis1", "cpdis2", "det2im1", "det2im2"):
            table, stored = getattr(wcs, name), getattr(back, name)
            assert (table is None) == (stored is None)
            if table is not None:
                np.testing.assert_array_equal(stored.data, table.data)
                n_tables += 1
    assert n_tables == 16


def test_simulated_acs_chips_come_back_with_the_tables_of_the_archive(shared_data, tmp_path):
    nothing = pl.DataFrame(schema={"ra": pl.Float64, "dec": pl.Float64, "mag_f606w": pl.Float64})
    tables = {"f606w": acs_distortion(shared_data / "imaging" / "wcs", "f606w")}
    params = AcsParams(camera=CameraParams(shape=(20, 30), n_cosmic_rays=0, n_bad_pixels=0, n_dead_pixels=0))
    pointing = AcsPointing(name="j60600q", band="f606w", ra=150.1, dec=2.2)
    (chips,) = simulate_acs(tmp_path, nothing, [pointing], tables=tables, params=params).values()
    assert len(chips) == 2
    for wcs in chips:
        assert wcs.cpdis1 is not None
        assert wcs.det2im1 is not None or wcs.det2im2 is not None
        back, kilobytes = there_and_back(wcs)
        print(f"ACS/WFC: {kilobytes:.1f} kB")
        assert np.abs(positions(back) - positions(wcs)).max() <= SAME_DEG


def small_gwcs():
    """A tangent plane with a quadratic distortion; one coefficient has all its digits."""
    bend = models.Mapping((0, 1, 0, 1)) | models.Polynomial2D(2, c1_0=1.0, c2_0=1e-5 / 3) & models.Polynomial2D(
        2, c0_1=1.0
    )
    turn = models.AffineTransformation2D(matrix=np.array([[-0.1, 0.3], [0.3, 0.1]]) * 1e-5 / 3)
    to_sky = models.Pix2Sky_TAN() | models.RotateNative2Celestial(150.1 / 7, 2.2, 180.0)
    forward = models.Shift(-100.0) & models.Shift(-90.0) | bend | turn | to_sky
    detector = cf.Frame2D(name="detector", axes_names=("x", "y"), unit=(u.pix, u.pix))
    sky = cf.CelestialFrame(reference_frame=ICRS(), unit=(u.deg, u.deg), name="world")
    wcs = gwcs.WCS([(detector, forward), (sky, None)])
    wcs.bounding_box = ((-0.5, 199.5), (-0.5, 179.5))
    return wcs


def test_a_gwcs_comes_back_and_its_text_names_no_library_or_date():
    wcs = small_gwcs()
    back, _ = there_and_back(wcs)
    x, y = np.meshgrid(np.linspace(0, 199, 20), np.linspace(0, 179, 18))
    np.testing.assert_array_equal(back(x, y), wcs(x, y))
    assert str(back.bounding_box) == str(wcs.bounding_box)
    text = wcs_cards(wcs)["gwcs"]
    assert text == wcs_cards(small_gwcs())["gwcs"]
    assert not re.search(r"asdf_library|history|software|version|20\d\d-", text)
    assert str(1e-5 / 3) in text


@pytest.mark.parametrize("name", ["jwst_nrcb1_gwcs.asdf", "jwst_miri_gwcs.asdf"])
def test_real_gwcs_come_back(shared_data, name):
    wcs = read_gwcs(shared_data / "imaging" / "wcs" / name)
    back, kilobytes = there_and_back(wcs)
    print(f"{name}: {kilobytes:.1f} kB")
    shape = (60, 70)
    ra, dec = (float(value) for value in wcs(30.0, 30.0))
    grid = Grid.tangent(ra, dec, shape=(50, 50), scale_arcsec=0.06)
    np.testing.assert_array_equal(pixel_map(back, grid.wcs, shape), pixel_map(wcs, grid.wcs, shape))
    np.testing.assert_array_equal(np.array(back(5.0, 9.0)), np.array(wcs(5.0, 9.0)))


def test_cards_of_older_lakes_are_still_read():
    cards = {"WCSAXES": 2, "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CUNIT1": "deg", "CUNIT2": "deg"}
    cards |= {"CRPIX1": 50.5, "CRPIX2": 40.5, "CRVAL1": 53.1, "CRVAL2": -27.8, "RADESYS": "ICRS"}
    cards |= {"CD1_1": -2e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 2e-5, "LONPOLE": 180.0, "LATPOLE": -27.8}
    cards |= {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-5 / 3, "B_1_1": -2e-5 / 7}
    wcs = wcs_from_cards(cards)
    assert wcs.sip.a[2, 0] == 1e-5 / 3
    assert wcs_cards(wcs) == cards


def test_what_no_header_or_json_can_hold_is_named():
    wcs = Grid.tangent(10.0, 5.0, shape=(9, 9), scale_arcsec=1.0).wcs.deepcopy()
    wcs.cpdis1 = DistortionLookupTable(np.ones((4, 4), np.float32), (1, 1), (1, 1), (4, 4))
    with pytest.raises(InvalidInputError, match="cannot be written as cards"):
        fits_cards(wcs)
    assert fits_cards(wcs, ignore_tables=True) == {k: v for k, v in wcs_cards(wcs).items() if k != "lookup_tables"}
    with pytest.raises(InvalidInputError, match="str is not allowed, it must be an astropy WCS"):
        wcs_cards("a gwcs")
    with pytest.raises(InvalidInputError, match=r"do not make a celestial WCS: .*Lookup table"):
        wcs_from_cards(fits_cards(wcs, ignore_tables=True) | {"CPDIS1": "LOOKUP"})
    with pytest.raises(FormatError, match="not a readable ASDF file"):
        wcs_from_cards({"gwcs": "nonsense"})
    hidden = small_gwcs()
    hidden = gwcs.WCS([(hidden.input_frame, models.custom_model(lambda x, y: (x, y))()), (hidden.output_frame, None)])
    with pytest.raises(InvalidInputError, match="cannot be written as ASDF"):
        wcs_cards(hidden)


def test_fits_coordinates_do_not_import_gwcs():
    code = """
import sys
from skymere.wcs import Grid, wcs_cards
wcs_cards(Grid.tangent(150.0, 2.0, shape=(9, 9), scale_arcsec=1.0).wcs)
assert "gwcs" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
