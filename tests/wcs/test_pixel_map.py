import gzip

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skymere import get_num_threads, set_num_threads
from skymere.errors import InvalidInputError
from skymere.wcs import Grid, pixel_map, pixel_transform, stepped_pixel_map

SHAPE = (160, 190)


def tan_sip(ra, dec, *, scale=0.13, angle=30.0, lonpole=None, sip=True, kind="CD", swap=False):
    """A detector with 0.5 % skew and several pixels of distortion."""
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = ("RA---TAN-SIP", "DEC--TAN-SIP") if sip else ("RA---TAN", "DEC--TAN")
    header["CRVAL1"], header["CRVAL2"], header["CRPIX1"], header["CRPIX2"] = ra, dec, 90.25, 77.5
    t = np.deg2rad(angle)
    matrix = np.array([[-np.cos(t), np.sin(t) * 1.005], [np.sin(t), np.cos(t)]]) * scale / 3600
    if swap:
        matrix = matrix[::-1]
        header["CTYPE1"], header["CTYPE2"] = header["CTYPE2"], header["CTYPE1"]
        header["CRVAL1"], header["CRVAL2"] = dec, ra
    if kind == "PC":
        header["CDELT1"], header["CDELT2"] = -scale / 3600, scale / 3600
        matrix = matrix / [[-scale / 3600], [scale / 3600]]
    for i, j in np.ndindex(2, 2):
        header[f"{kind}{i + 1}_{j + 1}"] = matrix[i, j]
    if lonpole is not None:
        header["LONPOLE"] = lonpole
    if sip:
        header["A_ORDER"], header["B_ORDER"] = 3, 4
        header["A_2_0"], header["A_0_2"], header["A_1_1"], header["A_3_0"] = 2e-4, -3e-5, 1e-5, 4e-8
        header["B_2_0"], header["B_0_2"], header["B_1_2"], header["B_0_4"] = -5e-5, 1e-4, -3e-8, 2e-10
    return WCS(header)


def astropy_map(from_wcs, to_wcs, x, y):
    sky = from_wcs.all_pix2world(np.column_stack([x.ravel(), y.ravel()]), 0, ra_dec_order=True)
    return to_wcs.wcs_world2pix(sky, 0).reshape(*x.shape, 2)


def difference(from_wcs, to_wcs, shape=SHAPE, step=1):
    y, x = np.indices(shape, dtype=float)
    every = np.s_[::step, ::step]
    found = pixel_map(from_wcs, to_wcs, shape)[every]
    return np.abs(found - astropy_map(from_wcs, to_wcs, x[every], y[every])).max()


@pytest.mark.parametrize(
    ("ra", "dec"), [(150.0, 2.0), (0.0, 0.0), (359.9999, -45.0), (20.0, 89.9999), (77.0, -89.9999), (10.0, 90.0)]
)
@pytest.mark.parametrize("options", [{}, {"sip": False}, {"lonpole": 150.0}, {"kind": "PC"}, {"swap": True}])
def test_tan_and_sip_agree_with_astropy_also_near_the_poles_and_across_ra_0(ra, dec, options):
    detector = tan_sip(ra, dec, **options)
    assert (detector.sip is not None) == options.get("sip", True)
    output = Grid.tangent(
        (ra + 0.004) % 360, dec - np.copysign(0.003, dec), shape=SHAPE, scale_arcsec=0.06, rotation_deg=12.0
    )
    assert difference(detector, output.wcs) < 1e-8


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="long doubles are doubles on this machine")
def test_the_map_is_exact_to_1e_9_pixel_against_extended_precision():
    """astropy itself goes over degrees and loses some 1e-9 pixel."""
    detector = tan_sip(150.0, 2.0)
    output = Grid.tangent(150.004, 1.997, shape=SHAPE, scale_arcsec=0.06, rotation_deg=12.0).wcs
    y, x = np.indices(SHAPE).astype(np.longdouble)
    expected = plane_pixels(output, *sky_direction(detector, *undistorted(detector.sip, x, y)))
    assert np.abs(pixel_map(detector, output, SHAPE) - expected).max() < 1e-9


def undistorted(sip, x, y):
    u, v = x + 1 - sip.crpix[0], y + 1 - sip.crpix[1]
    f, g = (
        sum(c * u**p * v**q for (p, q), c in np.ndenumerate(table.astype(np.longdouble))) for table in (sip.a, sip.b)
    )
    return x + f, y + g


def basis(wcs):
    """Unit vectors to the tangent point, to the east and to the north."""
    a, d = np.deg2rad(wcs.wcs.crval.astype(np.longdouble))
    return np.array([
        [np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)],
        [-np.sin(a), np.cos(a), 0 * a],
        [-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)],
    ])  # fmt: skip


def sky_direction(wcs, x, y):
    plane = np.deg2rad(wcs.pixel_scale_matrix.astype(np.longdouble))
    xi, eta = (row[0] * (x + 1 - wcs.wcs.crpix[0]) + row[1] * (y + 1 - wcs.wcs.crpix[1]) for row in plane)
    r, e, n = basis(wcs)
    return tuple(r[k] + xi * e[k] + eta * n[k] for k in range(3))


def plane_pixels(wcs, *direction):
    w, xi, eta = (sum(b[k] * direction[k] for k in range(3)) for b in basis(wcs))
    (a, b), (c, d) = np.deg2rad(wcs.pixel_scale_matrix.astype(np.longdouble))
    det = a * d - b * c
    x = (d * xi - b * eta) / (w * det) + wcs.wcs.crpix[0] - 1
    return np.stack([x, (a * eta - c * xi) / (w * det) + wcs.wcs.crpix[1] - 1], axis=-1)


def test_a_sip_output_is_inverted_by_iteration_on_the_forward_polynomial():
    detector, other = tan_sip(150.0, 2.0), tan_sip(150.001, 2.001, angle=75.0)
    there = pixel_transform(detector, other)
    back = pixel_transform(other, detector)
    y, x = np.indices(SHAPE, dtype=float)
    again = back(*there(x, y))
    assert np.abs(again[0] - x).max() < 1e-9
    assert np.abs(again[1] - y).max() < 1e-9
    sky = detector.all_pix2world(np.column_stack([x.ravel(), y.ravel()]), 0)
    expected = other.all_world2pix(sky, 0, tolerance=1e-10, maxiter=50).reshape(*SHAPE, 2)
    assert np.abs(pixel_map(detector, other, SHAPE) - expected).max() < 1e-8


def test_the_far_hemisphere_is_nan():
    detector = tan_sip(150.0, 2.0)
    assert np.isnan(pixel_map(detector, Grid.tangent(330.0, -2.0, shape=SHAPE, scale_arcsec=1.0).wcs, SHAPE)).all()


def test_the_sip_origin_is_its_own_and_need_not_be_crpix():
    detector = tan_sip(150.0, 2.0)
    detector.wcs.crpix = [50.0, 60.0]
    assert difference(detector, Grid.tangent(150.0, 2.0, shape=SHAPE, scale_arcsec=0.06).wcs) < 1e-8


def test_any_number_of_threads_gives_the_same_bits():
    detector, output = tan_sip(150.0, 2.0), tan_sip(150.001, 2.0, sip=False)
    before = get_num_threads()
    maps = []
    for n in (1, 2, 5):
        set_num_threads(n)
        maps.append(pixel_map(detector, output, (500, 300)))
    set_num_threads(before)
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])


def test_the_stepped_map_is_exact_at_fits_pixels_0_10_20_and_bilinear_between():
    detector, output = tan_sip(150.0, 2.0), Grid.tangent(150.0, 2.0, shape=SHAPE, scale_arcsec=0.06).wcs
    stepped, exact = stepped_pixel_map(detector, output, SHAPE), pixel_map(detector, output, SHAPE)
    nodes = np.s_[9::10, 9::10]
    assert np.abs(stepped - exact)[nodes].max() < 1e-9
    assert 1e-3 < np.abs(stepped - exact).max() < 0.05
    middle = (stepped[9, 9] + stepped[9, 19]) / 2
    assert np.abs(stepped[9, 14] - middle).max() < 1e-9
    assert np.abs(stepped_pixel_map(detector, output, SHAPE, step=1) - exact).max() < 1e-9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: pixel_map(w, w, (0, 5)), "shape"),
        (lambda w: pixel_map(w, w, (5, 5), tolerance_pix=0.0), "tolerance_pix"),
        (lambda w: pixel_map(w, "no wcs", (5, 5)), "to_wcs: str is not allowed"),
        (lambda w: pixel_map(WCS(naxis=3), w, (5, 5)), "from_wcs"),
        (lambda w: pixel_map(WCS(naxis=2), w, (5, 5)), "longitude and latitude"),
        (lambda w: stepped_pixel_map(w, w, (5, 5), step=0), "step"),
        (lambda w: pixel_map(w, galactic(), (5, 5)), "pos.galactic.lon"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InvalidInputError, match=message):
        call(tan_sip(150.0, 2.0))


def galactic():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["GLON-TAN", "GLAT-TAN"]
    wcs.wcs.cdelt = [-1e-4, 1e-4]
    return wcs


def real_headers(folder):
    """All headers with TAN axes and no look-up tables: ``(label, WCS, shape)``."""
    for path in sorted(folder.rglob("*.fits")):
        with fits.open(path) as hdus:
            for number, hdu in enumerate(hdus):
                header = hdu.header
                if "TAN" in str(header.get("CTYPE1")) and "CPDIS1" not in header and "D2IMDIS1" not in header:
                    shape = (header.get("NAXIS2") or 1014, header.get("NAXIS1") or 1014)
                    yield f"{path.name}[{number}]", header, shape
    with gzip.open(folder / "wcs" / "irac_ch1_sip.hdr.gz", "rt") as file:
        yield "irac_ch1_sip", fits.Header.fromstring(file.read().replace("\n", "")), (256, 256)


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")
def test_every_real_tan_and_sip_header_agrees_with_astropy(shared_data):
    worst = {}
    for label, header, shape in real_headers(shared_data / "imaging"):
        wcs = WCS(header, naxis=2)
        if not wcs.has_celestial or wcs.wcs.get_pv():
            continue
        ra, dec = wcs.all_pix2world(shape[1] / 2, shape[0] / 2, 0)
        scale = Grid(wcs=wcs.celestial, shape=shape).scale_arcsec
        output = Grid.tangent(float(ra) + 0.01, float(dec), shape=(64, 64), scale_arcsec=scale / 2, rotation_deg=33.0)
        worst[label] = (difference(wcs, output.wcs, shape, step=7), wcs.sip is not None)
    print(f"{len(worst)} headers, {sum(sip for _, sip in worst.values())} with SIP")
    print(f"largest difference to astropy {max(d for d, _ in worst.values()):.1e} pix")
    assert sum(sip for _, sip in worst.values()) >= 20
    assert len(worst) >= 50
    assert {label: d for label, (d, _) in worst.items() if not d < 1e-6} == {}
