"""The search for cosmic rays in dithered exposures against drizzle + bottleneck + stcal, and its parts."""

import bottleneck
import numpy as np
import pytest
from astropy.wcs import WCS
from drizzle.utils import calc_pixmap
from tests.outliers.stcal_scheme import blotted, flagged, median_of, single_drizzles, stcal_masks

from skymere.datamodels import Exposure
from skymere.outliers import CosmicRayParams, combine_images, compare_with_model, flag_cosmic_rays, masked_median
from skymere.outliers.sky_model import SkyModel, single_drizzle
from skymere.resample import BlotParams, DrizzleParams, blot, covering_grid
from skymere.wcs import pixel_map

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.filterwarnings("ignore:All-NaN slice encountered:RuntimeWarning"),
]

SIDE = 1014
SCALE_ARCSEC = 0.1283
SKY, READ_NOISE, EXPTIME = 1.0, 14.0, 500.0


def median_stack(n, side):
    rng = np.random.default_rng(1)
    stack = rng.normal(1.0, 0.3, (n, side, side)).astype(np.float32)
    return stack, rng.random(stack.shape) < 0.05


def test_masked_median(race):
    """bottleneck has its NaNs already, and either layout: as the exposures come, or with each pixel's values together."""
    stack, mask = median_stack(8, 2048)
    marked = np.where(mask, np.float32(np.nan), stack)
    together = np.ascontiguousarray(np.moveaxis(marked, 0, -1))

    def ours():
        return masked_median(stack, mask)

    peers = {
        "as it is": lambda: bottleneck.nanmedian(marked, axis=0),
        "transposed before": lambda: bottleneck.nanmedian(together, axis=-1),
        "transposed first": lambda: bottleneck.nanmedian(np.ascontiguousarray(np.moveaxis(marked, 0, -1)), axis=-1),
    }
    for name, peer in peers.items():
        race(f"masked median of 8 x 2048 x 2048, bottleneck's stack {name}", ours, peer)
        np.testing.assert_allclose(ours(), peer(), rtol=1e-6)


@pytest.fixture(scope="module")
def exposures():
    """Eight dithered exposures of 3000 stars on a distorted detector, with cosmic rays."""
    rng = np.random.default_rng(5)
    y0, x0 = rng.uniform(20, SIDE - 20, (2, 3000))
    flux = 10 ** rng.uniform(0.5, 3.5, 3000)
    step = np.arange(15) - 7.0
    found = []
    for k in range(8):
        dy, dx = rng.uniform(-6, 6, 2)
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150.0, 2.0]
        wcs.wcs.cdelt = np.array([-1, 1]) * SCALE_ARCSEC / 3600
        wcs.wcs.crpix = np.array([dx, dy]) + SIDE / 2
        wcs.wcs.set()
        rate = np.full((SIDE, SIDE), SKY)
        for y, x, f in zip(y0 + dy, x0 + dx, flux, strict=True):
            j, i = int(y), int(x)
            if 8 < j < SIDE - 8 and 8 < i < SIDE - 8:
                py, px = (np.exp(-0.5 * (step - at % 1) ** 2) for at in (y, x))
                rate[j - 7 : j + 8, i - 7 : i + 8] += f / (2 * np.pi) * py[:, None] * px
        electrons = rng.poisson(rate * EXPTIME) + rng.normal(0, READ_NOISE, rate.shape)
        hit = rng.integers(0, SIDE, (2, 2000))
        electrons[tuple(hit)] += rng.exponential(1000.0, 2000) + 200
        error = np.sqrt(np.maximum(electrons, 0) + READ_NOISE**2) / EXPTIME
        found.append(
            Exposure(
                exposure_id=f"e{k}",
                data=(electrons / EXPTIME).astype(np.float32),
                error=error.astype(np.float32),
                dq=np.zeros(rate.shape, np.uint32),
                wcs=wcs,
                exptime=EXPTIME,
                band="f140w",
                sky=SKY,
                read_noise=READ_NOISE,
                native_scale_arcsec=SCALE_ARCSEC,
            )
        )
    return found


SAME_SCHEME = CosmicRayParams(
    combine="median",
    drizzle=DrizzleParams(kernel="square", pixfrac=1.0),
    noise="error",
    snr=(5.0, 4.0),
    core_scale=0.0,
    second=None,
    memory_mb=1000.0,
)


def peer_maps(exposures, grid):
    return [calc_pixmap(e.wcs, grid.wcs, shape=e.shape) for e in exposures]


def test_cosmic_rays_of_eight_exposures(exposures, race):
    """The same scheme, and the defaults with their two comparisons; each makes its own pixel maps, and against a peer
    that has been given them."""
    grid = covering_grid(exposures)
    maps = peer_maps(exposures, grid)

    def peer():
        return stcal_masks(exposures, peer_maps(exposures, grid), grid.shape)

    def peer_with_maps():
        return stcal_masks(exposures, maps, grid.shape)

    def ours():
        return flag_cosmic_rays(exposures, params=SAME_SCHEME)

    def defaults():
        return flag_cosmic_rays(exposures)

    name = "cosmic rays of 8 exposures"
    race(f"{name}, the same scheme", ours, peer, repeat=3)
    race(f"{name}, the same scheme, peer's maps given", ours, peer_with_maps, repeat=3)
    race(f"{name}, skymere's defaults with two comparisons", defaults, peer, repeat=3)
    # Single drizzles of too low a weight are not used, which matters at the border of an exposure.
    inner = np.s_[16:-16, 16:-16]
    different = np.mean([np.mean(a[inner] != b[inner]) for a, b in zip(ours(), peer(), strict=True)])
    assert different < 1e-5


def test_parts_of_the_search_for_cosmic_rays(exposures, race):
    """Where the time goes: of one exposure, and of the median of eight."""
    grid, exposure = covering_grid(exposures), exposures[0]
    pixmap = pixel_map(exposure.wcs, grid.wcs, exposure.shape)
    singles = single_drizzles(exposures, peer_maps(exposures, grid), grid.shape, "square")
    stack = np.array(singles)
    bad = np.isnan(stack)
    median = median_of(singles)
    model = blotted(median, pixmap, SKY)
    each = dict.fromkeys(("exptime", "sky", "read_noise"), [1.0] * 8)

    race("pixel map", lambda: pixel_map(exposure.wcs, grid.wcs, exposure.shape), lambda: peer_maps([exposure], grid))
    race(
        "pixel map and single drizzle",
        lambda: single_drizzle(exposure, grid, params=SAME_SCHEME),
        lambda: single_drizzles([exposure], peer_maps([exposure], grid), grid.shape, "square"),
    )
    race("median of 8", lambda: combine_images(stack, bad, params=SAME_SCHEME), lambda: median_of(singles))
    race("minmed of 8, against a median", lambda: combine_images(stack, bad, **each), lambda: median_of(singles))
    race("blot", lambda: blot(median, pixmap, params=BlotParams()), lambda: blotted(median, pixmap, SKY))
    race(
        "pixel map and blot",
        lambda: SkyModel(data=median, grid=grid).blot(exposure),
        lambda: blotted(median, peer_maps([exposure], grid)[0], SKY),
    )

    def flags(params):
        return compare_with_model(
            exposure.data,
            model,
            exptime=EXPTIME,
            read_noise=READ_NOISE,
            error=exposure.error,
            params=params,
        )

    race("flags, noise of the errors", lambda: flags(SAME_SCHEME), lambda: flagged(exposure, model))
    race("flags, noise of the model", lambda: flags(CosmicRayParams()), lambda: flagged(exposure, model))
    assert np.array_equal(flags(SAME_SCHEME), flagged(exposure, model))
