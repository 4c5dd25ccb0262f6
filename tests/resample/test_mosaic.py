import numpy as np
import pytest
from astropy.wcs import WCS

from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError
from skymere.resample import DrizzleParams, decode_context, drizzle, noise_correlation
from skymere.wcs import Grid

SHAPE = (80, 90)
GRID = Grid.tangent(150.0, 2.0, shape=(230, 240), scale_arcsec=0.06)


def detector(angle=10.0, offset=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.0 + offset / 3600, 2.0], [45.0, 40.0]
    t = np.deg2rad(angle)
    wcs.wcs.cd = np.array([[-np.cos(t), np.sin(t)], [np.sin(t), np.cos(t)]]) * 0.12 / 3600
    return wcs


def exposure(number=0, *, seed=1, exptime=100.0, **changes):
    rng = np.random.default_rng(seed + number)
    data = rng.normal(1.0, 0.1, SHAPE).astype(np.float32)
    data[40, 45] += 50.0
    fields = {
        "exposure_id": f"e{number}",
        "data": data,
        "error": np.full(SHAPE, 0.1, np.float32),
        "dq": np.zeros(SHAPE, np.uint32),
        "dq_bits": {"hot": 16, "cosmic_ray": 4096},
        "wcs": detector(offset=0.05 * number),
        "exptime": exptime,
        "band": "f140w",
        "zero_point_ab": 26.45,
        "native_scale_arcsec": 0.12,
        "sky": 1.0,
    }
    return Exposure(**{**fields, **changes})


def test_a_mosaic_has_rates_seconds_and_the_flux_of_the_exposures():
    mosaic = drizzle([exposure(0), exposure(1, exptime=300.0)], GRID, params=DrizzleParams(pixfrac=0.8))
    assert (mosaic.band, mosaic.unit, mosaic.weight_kind) == ("f140w", "electron / s", "exposure_time")
    assert mosaic.exposure_ids == ("e0", "e1")
    assert mosaic.weight.sum(dtype=float) == pytest.approx(400.0 * SHAPE[0] * SHAPE[1], rel=1e-5)
    y, x = np.round(GRID.wcs.wcs_world2pix([[150.0, 2.0]], 0)[0][::-1]).astype(int)
    assert mosaic.data[y - 6 : y + 7, x - 6 : x + 7].sum() == pytest.approx(50.0, abs=2.0)
    assert mosaic.noise_correlation == pytest.approx(noise_correlation(0.8, 0.5), rel=1e-4)
    assert decode_context(mosaic.context, x, y)[0].tolist() == [0, 1]
    assert mosaic.params == {
        "kernel": "square",
        "pixfrac": 0.8,
        "fillval": pytest.approx(np.nan, nan_ok=True),
        "lanczos": "exact",
        "weight": "exposure_time",
        "ignore": [],
    }
    sky = mosaic.data[y + 20 : y + 50, x + 20 : x + 50]
    assert sky.mean() == pytest.approx(0.0, abs=0.01)
    assert sky.std() == pytest.approx(np.sqrt(mosaic.variance[y + 20 : y + 50, x + 20 : x + 50].mean()), rel=0.1)


def test_counts_become_rates_with_their_zero_point():
    rates = exposure()
    counts = exposure(
        data=rates.data * 100, error=rates.error * 100, unit="electron", sky=100.0, zero_point_ab=26.45 + 5.0
    )
    a, b = drizzle([rates], GRID), drizzle([counts], GRID)
    assert np.allclose(a.data, b.data, rtol=1e-4, atol=1e-5, equal_nan=True)
    assert np.allclose(a.variance, b.variance, rtol=1e-5, equal_nan=True)
    assert b.zero_point_ab == pytest.approx(a.zero_point_ab)


def test_dq_bits_mask_unless_they_are_ignored():
    dq = np.zeros(SHAPE, np.uint32)
    dq[30:50, 30:50] = 16
    dq[:, :5] = 4096
    every, some = (drizzle([exposure(dq=dq)], GRID, ignore=ignore) for ignore in ((), ("hot",)))
    good = SHAPE[0] * SHAPE[1] - 5 * SHAPE[0]
    assert every.weight.sum(dtype=float) == pytest.approx(100.0 * (good - 400), rel=1e-5)
    assert some.weight.sum(dtype=float) == pytest.approx(100.0 * good, rel=1e-5)


def test_a_scale_that_is_not_known_is_measured():
    known, measured = (drizzle([exposure(native_scale_arcsec=s)], GRID) for s in (0.12, float("nan")))
    assert np.allclose(known.data, measured.data, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize(
    ("exposures", "message"),
    [
        ([], "at least one exposure"),
        ([exposure(), exposure(1, band="f125w")], "band 'f125w' of e1"),
        ([exposure(), exposure(1, unit="electron")], "unit 'electron' of e1"),
        ([exposure(unit="Jy")], "unit 'Jy' of e0"),
        ([exposure(), exposure(1, zero_point_ab=25.0)], "zero point 25.0 of e1"),
    ],
)
def test_bad_input_is_named(exposures, message):
    with pytest.raises(InvalidInputError, match=message):
        drizzle(exposures, GRID)
