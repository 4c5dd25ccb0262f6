"""Weights of exposures: time, and inverse variance without and with the noise of sources."""

import numpy as np
import pytest

from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError
from skymere.resample import DrizzleParams, drizzle
from skymere.wcs import Grid

SHAPE = (60, 60)
DETECTOR = Grid.tangent(150.0, 2.0, shape=SHAPE, scale_arcsec=0.12)
SKY, READ_NOISE = 0.5, 4.0


def star(rng, exptime, *, fwhm=1.8, rate=400.0, sky=SKY, counts=False):
    """An exposure of a star in the middle, with its Poisson noise in ``error``."""
    y, x = np.indices(SHAPE) - 29.5
    sigma = fwhm / 2.3548
    image = rate / (2 * np.pi * sigma**2) * np.exp(-0.5 * (x**2 + y**2) / sigma**2) + sky
    electrons = rng.poisson(image * exptime) + rng.normal(0, READ_NOISE, SHAPE)
    error = np.sqrt(image * exptime + READ_NOISE**2)
    unit = 1.0 if counts else 1 / exptime
    return Exposure(
        exposure_id=f"t{exptime:g}",
        data=(electrons * unit).astype(np.float32),
        error=(error * unit).astype(np.float32),
        dq=np.zeros(SHAPE, np.uint32),
        wcs=DETECTOR.wcs,
        exptime=exptime,
        band="f140w",
        unit="electron" if counts else "electron / s",
        native_scale_arcsec=0.12,
        read_noise=READ_NOISE,
        sky=sky * exptime * unit,
    )


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("scale_arcsec", [0.12, 0.06])
def test_inverse_variances_are_those_of_what_is_added(scale_arcsec, counts):
    rng = np.random.default_rng(1)
    exposures = [star(rng, 100.0, counts=counts)]
    side = round(60 * 0.12 / scale_arcsec)
    grid = Grid.tangent(150.0, 2.0, shape=(side, side), scale_arcsec=scale_arcsec)
    s = scale_arcsec / 0.12
    for kind, electrons in (
        ("inverse_variance", SKY * 100 + READ_NOISE**2),
        ("inverse_variance_with_sources", np.median((exposures[0].error * (1 if counts else 100)) ** 2)),
    ):
        mosaic = drizzle(exposures, grid, weight=kind)
        assert mosaic.weight_kind == mosaic.params["weight"] == kind
        corner = mosaic.weight[5:15, 5:15] / s**2
        assert np.median(corner) == pytest.approx(100.0**2 / electrons / s**4, rel=1e-4)
        # The variance of the drizzled pixels agrees with the weight where a pixel is one pixel.
        if scale_arcsec == 0.12:
            assert np.median(mosaic.variance * mosaic.weight) == pytest.approx(1.0, rel=1e-3)


def test_weights_without_the_noise_of_sources_leave_the_profile_of_a_star():
    rng = np.random.default_rng(2)
    widths = {}
    for kind in ("exposure_time", "inverse_variance", "inverse_variance_with_sources"):
        # The star is fainter in the short exposure by a cloud: its core has less noise there.
        exposures = [star(rng, 300.0), star(rng, 200.0, rate=40.0)]
        mosaic = drizzle(exposures, DETECTOR, params=DrizzleParams(kernel="point"), weight=kind)
        y, x = np.indices(SHAPE) - 29.5
        near = np.hypot(x, y) < 5
        widths[kind] = (mosaic.data * np.hypot(x, y))[near].sum() / mosaic.data[near].sum()
    assert widths["inverse_variance"] == pytest.approx(widths["exposure_time"], rel=0.02)
    assert widths["inverse_variance_with_sources"] > 1.05 * widths["exposure_time"]


def test_bad_pixels_and_pixels_without_error_have_no_weight():
    exposure = star(np.random.default_rng(3), 100.0)
    dq = exposure.dq.copy()
    dq[10, 12] = 1
    error = exposure.error.copy()
    error[20, 22] = 0.0
    changed = Exposure(**{**vars(exposure), "dq": dq, "error": error})
    for kind in ("exposure_time", "inverse_variance", "inverse_variance_with_sources"):
        weight = drizzle([changed], DETECTOR, params=DrizzleParams(kernel="point"), weight=kind).weight
        assert weight[10, 12] == 0
        assert (weight[20, 22] == 0) == (kind == "inverse_variance_with_sources")


def test_a_weight_that_cannot_be_known_is_refused():
    exposure = star(np.random.default_rng(4), 100.0)
    with pytest.raises(InvalidInputError, match=r"weight: 'IVM' is not allowed"):
        drizzle([exposure], DETECTOR, weight="IVM")
    for changes in ({"sky": 0.0, "read_noise": 0.0}, {"sky": -1.0}):
        relative = Exposure(**{**vars(exposure), **changes})
        with pytest.raises(InvalidInputError, match="absolute sky"):
            drizzle([relative], DETECTOR, weight="inverse_variance")
