"""Small exposures with known skies."""

import numpy as np
import pytest

from skymere.datamodels import Exposure
from skymere.wcs import Grid


@pytest.fixture(scope="session")
def make_exposure():
    """Return a function that makes an exposure of a smooth sky: level plus noise plus sources at given places."""

    def make(
        name="a",
        *,
        x=0.0,
        y=0.0,
        sky=0.5,
        shape=(80, 90),
        noise=0.05,
        exptime=100.0,
        scale=0.1,
        stars=(),
        rotation=0.0,
        seed=1,
        **more,
    ):
        """``x, y`` [arcsec] is where the middle looks, ``stars`` are (x, y [arcsec], flux, sigma [arcsec])."""
        grid = Grid.tangent(30.0 + x / 3600.0, y / 3600.0, shape=shape, scale_arcsec=scale, rotation_deg=rotation)
        yy, xx = np.indices(shape, dtype=float)
        ra, dec = grid.sky(xx, yy)
        east, north = (ra - 30.0) * 3600.0, dec * 3600.0
        data = np.full(shape, sky) + np.random.default_rng([seed, *name.encode()]).normal(0.0, noise, shape)
        for sx, sy, flux, sigma in stars:
            profile = np.exp(-0.5 * ((east - sx) ** 2 + (north - sy) ** 2) / sigma**2)
            data += flux * profile * scale**2 / (2 * np.pi * sigma**2)
        values = {
            "exposure_id": name,
            "data": data.astype(np.float32),
            "error": np.full(shape, noise, np.float32),
            "dq": np.zeros(shape, np.uint32),
            "dq_bits": {"hot": 1, "saturated": 2},
            "wcs": grid.wcs,
            "exptime": exptime,
            "band": "f606w",
            "read_noise": 3.0,
            "zero_point_ab": 26.0,
            "native_scale_arcsec": scale,
        }
        return Exposure(**(values | more))

    return make
