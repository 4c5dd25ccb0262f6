"""Every WCS of the data folder that is more than TAN or SIP: look-up tables, TPV, gwcs, exact and sampled."""

import json
import tarfile

import asdf
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skymere.wcs import Grid, pixel_map, pixel_transform, sample_pixel_map, wcs_cards, wcs_from_cards
from skymere.wcs.tan import as_tan

EXACT_PIX = 1e-6

pytestmark = [
    pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning"),
    pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning"),
    pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning"),
]


def around(wcs, shape, scale_arcsec):
    """An output grid that is turned and finer."""
    ra, dec = (float(c) for c in wcs.pixel_to_world_values(shape[1] / 2, shape[0] / 2))
    return Grid.tangent(ra, dec, shape=(100, 100), scale_arcsec=scale_arcsec, rotation_deg=17.0)


def difference(wcs, shape, scale_arcsec, to_sky):
    """Largest distance of the map of a window from that of the peer, exact and at the default tolerance [pix]."""
    grid = around(wcs, shape, scale_arcsec)
    y, x = np.indices(shape, dtype=float)
    expected = np.stack(grid.wcs.wcs_world2pix(*to_sky(x, y), 0), axis=-1)
    exact = pixel_map(wcs, grid.wcs, shape, tolerance_pix=EXACT_PIX)
    sampled = sample_pixel_map(pixel_transform(wcs, grid.wcs), shape)
    away = np.hypot(*np.moveaxis(sampled.pixmap - expected, -1, 0))
    assert np.array_equal(np.isnan(exact), np.isnan(expected))
    return np.nanmax(np.abs(exact - expected)), np.nanmax(away), sampled


def test_headerlets_with_sip_npol_and_d2im_agree_with_astropy(headerlets):
    n_tables = 0
    for label, wcs in headerlets:
        exact, default, sampled = difference(wcs, (300, 400), 0.04, lambda x, y, wcs=wcs: wcs.all_pix2world(x, y, 0))
        print(f"{label}: exact {exact:.1e}, default {default:.1e} pix with nodes {sampled.step_pix:.1f} apart")
        assert exact < EXACT_PIX
        assert default < 1.5e-3
        n_tables += wcs.cpdis1 is not None
    assert n_tables == 4


def test_real_tpv_headers_agree_with_astropy(shared_data):
    n = 0
    with tarfile.open(shared_data / "imaging" / "ground_multi" / "decam_legacypipe_testcase3.tar.gz") as archive:
        for member in archive:
            if "_ooi_" not in member.name or "/images/" not in member.name:
                continue
            with fits.open(archive.extractfile(member)) as hdus:
                header = hdus[1].header
                assert header["CTYPE1"] == "RA---TPV"
                wcs = WCS(header)
                assert as_tan(wcs) is None
                exact, default, sampled = difference(
                    wcs, hdus[1].shape, 0.13, lambda x, y, wcs=wcs: wcs.all_pix2world(x, y, 0)
                )
                assert sampled.max_error_pix <= 1e-3
                assert default < 1.3 * sampled.max_error_pix + 1e-8
                again = wcs_from_cards(json.loads(json.dumps(wcs_cards(wcs))))
                points = np.array([[-20.0, 5.0], [30.0, 40.0]])
                away = again.all_pix2world(points, 0) - wcs.all_pix2world(points, 0)
                assert np.abs(away).max() * 3600 < 1e-8
            print(
                f"{member.name.rsplit('/', 1)[1]}: exact {exact:.1e}, default {default:.1e} pix with nodes"
                f" {sampled.step_pix:.1f} apart"
            )
            assert exact < EXACT_PIX
            n += 1
    assert n == 8


@pytest.mark.parametrize(("name", "scale"), [("jwst_nrcb1_gwcs.asdf", 0.016), ("jwst_miri_gwcs.asdf", 0.06)])
def test_real_gwcs_agree_with_gwcs_in_both_directions(shared_data, name, scale):
    with asdf.open(shared_data / "imaging" / "wcs" / name) as file:
        wcs = next(value for value in (file.tree.get("wcs"), file.tree.get("meta", {}).get("wcs")) if value)
        shape = (300, 400)
        exact, default, sampled = difference(wcs, shape, scale, wcs)
        print(f"{name}: exact {exact:.1e}, default {default:.1e} pix with nodes {sampled.step_pix:.1f} apart")
        assert exact < EXACT_PIX
        assert default < 1e-3
        grid = around(wcs, shape, scale)
        back = pixel_map(grid.wcs, wcs, grid.shape, tolerance_pix=EXACT_PIX)
        ra, dec = grid.wcs.all_pix2world(*np.meshgrid(np.arange(100.0), np.arange(100.0)), 0)
        peer = np.stack(wcs.invert(ra, dec, with_bounding_box=False), axis=-1)
        known = np.isfinite(back)
        assert known.any()
        assert np.abs(back - peer)[known].max() < EXACT_PIX


def test_the_header_of_tweakwcs_and_the_full_sip_header_agree_with_astropy(shared_data):
    folder = shared_data / "imaging"
    texts = [fits.Header.fromfile(folder / "wcs" / "tweakwcs_wfc3_uvis1.hdr", padding=False)]
    with fits.open(folder / "acs_hrc" / "j8bt06nyq_sip_header.fits") as hdus:
        texts += [hdu.header for hdu in hdus if "CTYPE1" in hdu.header]
    assert len(texts) >= 2
    for header in texts:
        wcs = WCS(header)
        assert wcs.sip is not None
        exact, _, _ = difference(wcs, (300, 400), 0.02, lambda x, y, wcs=wcs: wcs.all_pix2world(x, y, 0))
        assert exact < EXACT_PIX
