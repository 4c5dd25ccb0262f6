"""Which tile of a lake owns a place in the sky."""

import numpy as np

from skymere.lake import Lake

__all__ = ["owner_of"]

_HALF_DEG = 1e-6


def owner_of(lake: Lake, ra: float, dec: float) -> str:
    """Return the tile that owns a place; empty when none does.

    Parameters
    ----------
    lake : Lake
        The lake.
    ra, dec : float
        The place [deg].
    """
    x, y = (
        np.array([-1, 1, 1, -1]) * _HALF_DEG / max(np.cos(np.radians(dec)), 1e-3),
        np.array([-1, -1, 1, 1]) * _HALF_DEG,
    )
    around = np.stack([ra + x, dec + y], axis=1)
    at = np.array([ra]), np.array([dec])
    return next((name for name in lake.tiles.touching(around) if lake.tiles[name].owns(*at).all()), "")
