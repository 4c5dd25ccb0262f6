"""Drizzle and blot against PyPI drizzle, on real geometry where it is present."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from drizzle.resample import Drizzle, blot_image
from scipy.ndimage import maximum_filter

from skymere.resample import BlotParams, DrizzleParams, Drizzler, blot
from skymere.wcs import Grid, pixel_map

KERNELS = ("square", "turbo", "point")
SCALE = 0.06


@pytest.fixture(scope="module")
def real(shared_data):
    """A WFC3/IR exposure: pixels and distorted WCS."""
    path = shared_data / "imaging" / "wfc3ir_ers" / "semireal" / "ib6o23rtq_f140w_flt.fits"
    with fits.open(path) as hdus:
        return hdus["SCI"].data.astype(np.float32), WCS(hdus["SCI"].header)


def inside(weight, border=8):
    covered = np.zeros(weight.shape, bool)
    covered[border:-border, border:-border] = weight[border:-border, border:-border] > 0
    return covered


def worst(found, expected, covered):
    local = maximum_filter(np.where(covered, np.abs(expected), 0), 7)
    return (np.abs(found - expected)[covered] / local[covered]).max()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("n_exposures", "allowed"), [(1, 1e-6), (100, 3e-6)])
def test_drizzled_images_agree_on_real_geometry(kernel, n_exposures, allowed, real):
    rng = np.random.default_rng(7)
    data, wcs = real
    window = np.s_[:, :] if n_exposures == 1 else np.s_[300:520, 400:640]
    data = data[window]
    shape = data.shape
    pixmap = pixel_map(wcs, Grid.covering([(wcs, (1014, 1014))], scale_arcsec=SCALE).wcs, (1014, 1014))[window]
    pixmap = pixmap - np.floor(pixmap.min(axis=(0, 1))) + 20
    output = tuple(int(n) + 21 for n in pixmap.max(axis=(0, 1))[::-1])
    ratio = float(np.float32(SCALE / 0.128254))  # drizzle keeps it in float32
    ours = Drizzler(output, params=DrizzleParams(kernel=kernel, pixfrac=0.8, fillval=0.0))
    peer = Drizzle(kernel=kernel, out_shape=output, fillval=0.0, max_ctx_id=n_exposures - 1)
    for _ in range(n_exposures):
        moved = pixmap + rng.uniform(-8, 8, 2)
        weight = rng.uniform(0, 300, shape).astype(np.float32)
        weight[rng.random(shape) < 0.02] = 0
        image = data + rng.normal(0, 0.1, shape).astype(np.float32)
        ours.add(image, moved, weight=weight, value_scale=ratio**2, pixel_scale_ratio=ratio)
        peer.add_image(
            image, exptime=1.0, pixmap=moved, weight_map=weight, pixfrac=0.8, in_units="cps",
            iscale=ratio**2, pixel_scale_ratio=ratio,
        )  # fmt: skip
    found = ours.finish()
    covered = inside(peer.out_wht) & (peer.out_wht > 1e-6 * np.median(peer.out_wht[peer.out_wht > 0]))
    in_data = worst(found.data, peer.out_img, covered)
    in_weight = worst(found.weight, peer.out_wht, covered)
    print(f"{kernel}, {n_exposures} exposures: data {in_data:.1e}, weight {in_weight:.1e} of the local maximum")
    assert in_data < allowed
    assert in_weight < allowed
    context = peer.out_ctx.reshape(-1, *output)
    assert found.context.shape == context.shape
    assert np.mean(found.context != context) < 1e-6


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "poly3", "poly5"])
def test_blotted_images_agree_on_real_geometry(interpolation, real):
    data, wcs = real
    grid = Grid.covering([(wcs, data.shape)], scale_arcsec=0.08)
    pixmap = pixel_map(wcs, grid.wcs, data.shape)
    # drizzle's blot rounds positions to float32: give it some that it can hold.
    pixmap = np.round(pixmap * 2**11 + 0.25) / 2**11
    drizzler = Drizzler(grid.shape, params=DrizzleParams(fillval=0.0))
    drizzler.add(data, pixmap)
    image = drizzler.finish().data
    found = blot(image, pixmap, params=BlotParams(interpolation=interpolation))
    expected = blot_image(image, pixmap, interp=interpolation)
    local = maximum_filter(np.abs(expected), 7)
    middle = np.s_[8:-8, 8:-8]
    difference = (np.abs(found - expected) / np.maximum(local, 1e-6))[middle].max()
    print(f"{interpolation}: {difference:.1e} of the local maximum")
    assert difference < 3e-6
