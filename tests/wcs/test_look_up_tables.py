"""Look-up tables of a distortion (D2IM, CPDIS) in Rust, against astropy's own."""

import itertools

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, DistortionLookupTable

from skymere import get_num_threads, set_num_threads
from skymere.errors import InvalidInputError
from skymere.io import open_fits
from skymere.testing.acs import acs_distortion
from skymere.wcs import Grid, build_distortion, pixel_map, pixel_transform
from skymere.wcs.tan import as_tan

SHAPE = (300, 400)
NAMES = ("det2im1", "det2im2", "cpdis1", "cpdis2")
# astropy goes over degrees, in which a double is 3e-14 at RA 150: 2e-9 pixel of 0.05 arcsec, a few times.
ROUNDING_PIX = 2e-8


def table(seed, *, shape=(5, 7), crpix=(1.0, 1.0), crval=(1.0, 1.0), cdelt=(64.0, 70.0)):
    """Shifts up to 0.3 pixel, far more than in any camera."""
    shifts = np.random.default_rng(seed).uniform(-0.3, 0.3, shape).astype(np.float32)
    return DistortionLookupTable(shifts, crpix, crval, cdelt)


TABLES = {
    "det2im1": table(1),
    "det2im2": table(2, shape=(1, 9), cdelt=(50.0, 1.0)),
    "cpdis1": table(3, crpix=(2.5, 0.0), crval=(-30.0, 60.0)),
    "cpdis2": table(4, shape=(6, 1), crval=(100.0, 20.5), cdelt=(1.0, 33.0)),
}


def detector(*, tables=NAMES, sip=True):
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 200.0}
    cards |= {"CRPIX2": 150.0, "CD1_1": -1.2e-5, "CD1_2": 6e-6, "CD2_1": 5e-6, "CD2_2": 1.3e-5}
    if sip:
        cards |= {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 3, "B_ORDER": 2}
        cards |= {"A_2_0": 5e-5, "A_1_2": 3e-8, "B_1_1": -4e-5, "B_0_2": 2e-5}
    wcs = WCS(cards)
    for name in tables:
        setattr(wcs, name, TABLES[name])
    return wcs


def positions(shape, *, n=4000, beyond=80.0):
    """Positions on an image and beyond its border, ``(n, 2)``."""
    return np.random.default_rng(5).uniform(-beyond, np.add(shape[::-1], beyond), (n, 2))


def differences(wcs, shape):
    """Largest differences to astropy of the map from an image and of the map to it [pix of the image]."""
    ra, dec = (float(c) for c in wcs.all_pix2world(shape[1] / 2, shape[0] / 2, 0))
    grid = Grid.tangent(ra, dec, shape=(100, 100), scale_arcsec=0.05, rotation_deg=17.0).wcs
    points = positions(shape)
    sky = wcs.all_pix2world(points, 0)
    there = pixel_transform(wcs, grid)(*points.T)
    back = pixel_transform(grid, wcs)(*grid.wcs_world2pix(sky, 0).T)
    # astropy's inverse forgets the tables of a WCS without SIP.
    expected = points if wcs.sip is None else wcs.all_world2pix(sky, 0, tolerance=1e-10, maxiter=60)
    assert np.abs(expected - points).max() < ROUNDING_PIX
    return np.abs(np.transpose(there) - grid.wcs_world2pix(sky, 0)).max(), np.abs(np.transpose(back) - expected).max()


@pytest.mark.parametrize("tables", [c for n in range(5) for c in itertools.combinations(NAMES, n)])
@pytest.mark.parametrize("sip", [True, False])
def test_any_tables_agree_with_astropy_in_both_directions_also_beyond_their_border(tables, sip):
    wcs = detector(tables=tables, sip=sip)
    assert as_tan(wcs) is not None
    assert max(differences(wcs, SHAPE)) < ROUNDING_PIX


def test_every_table_matters():
    everything = pixel_transform(detector(), detector(tables=()))(*positions(SHAPE).T)
    for left_out in NAMES:
        tables = [name for name in NAMES if name != left_out]
        less = pixel_transform(detector(tables=tables), detector(tables=()))(*positions(SHAPE).T)
        assert np.abs(np.subtract(everything, less)).max() > 0.1


def test_the_whole_map_is_that_of_its_positions_for_any_number_of_threads():
    wcs, grid = detector(), Grid.tangent(150.0, 2.0, shape=SHAPE, scale_arcsec=0.05).wcs
    y, x = np.indices(SHAPE, dtype=float)
    before = get_num_threads()
    for from_wcs, to_wcs in ((wcs, grid), (grid, wcs)):
        maps = []
        for n in (1, 2, 5):
            set_num_threads(n)
            maps.append(pixel_map(from_wcs, to_wcs, SHAPE))
        set_num_threads(before)
        assert np.array_equal(maps[0], maps[1])
        assert np.array_equal(maps[0], maps[2])
        one_by_one = np.stack(pixel_transform(from_wcs, to_wcs)(x, y), axis=-1)
        assert np.abs(maps[0] - one_by_one).max() < 1e-10


def test_tables_that_make_no_sense_are_named():
    wcs = detector()
    wcs.cpdis1 = DistortionLookupTable(np.full((2, 2), np.nan, np.float32), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0))
    with pytest.raises(InvalidInputError, match="table"):
        pixel_map(wcs, wcs, SHAPE)
    wcs.cpdis1 = DistortionLookupTable(np.zeros((2, 2), np.float32), (1.0, 1.0), (1.0, 1.0), (1.0, 0.0))
    with pytest.raises(InvalidInputError, match="cdelt"):
        pixel_map(wcs, wcs, SHAPE)


def real_tables(folder):
    """Every WCS with tables of the data folder: ``(label, WCS, shape)``."""
    for path in sorted([*folder.glob("*hlet*.fits"), folder / "acs_wfc_dist_lookup.fits.gz"]):
        with fits.open(path) as hdus:
            for number, hdu in enumerate(hdus):
                if "CPDIS1" in hdu.header:
                    yield f"{path.name}[{number}]", WCS(hdu.header, hdus), (2048, 4096)


def acs_chips(folder):
    """Both chips of a fresh ACS/WFC exposure with all their tables."""
    files = acs_distortion(folder, "f606w")
    primary = fits.Header(
        {"INSTRUME": "ACS", "DETECTOR": "WFC", "FILTER1": "F606W", "FILTER2": "CLEAR2L"}
        | {"DATE-OBS": "2004-11-12", "PA_V3": 71.3}
    )
    linear = {"CRPIX1": 2048.0, "CRPIX2": 1024.0, "CRVAL1": 53.1, "CRVAL2": -27.8, "CD1_1": -5e-6, "CD1_2": 1.3e-5}
    chips = [fits.Header(linear | {"CCDCHIP": chip, "CD2_1": 1.3e-5, "CD2_2": 5e-6}) for chip in (2, 1)]
    with open_fits(files.idctab) as idctab, open_fits(files.npol) as npol, open_fits(files.d2im) as d2im:
        return build_distortion(primary, chips, idctab=idctab, npol=npol, d2im=d2im)


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
def test_every_real_chip_with_tables_agrees_with_astropy_in_both_directions(shared_data):
    folder = shared_data / "imaging" / "wcs"
    found = list(real_tables(folder)) + [
        (f"ACS chip {k}", wcs, (2048, 4096)) for k, wcs in enumerate(acs_chips(folder))
    ]
    for label, wcs, shape in found:
        assert wcs.cpdis1 is not None
        assert wcs.det2im1 is not None
        assert as_tan(wcs) is not None
        there, back = differences(wcs, shape)
        print(f"{label}: {there:.1e} pix there, {back:.1e} pix back")
        assert max(there, back) < ROUNDING_PIX
    assert len(found) == 7
