"""The grid that covers exposures."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError
from skymere.wcs import Grid

__all__ = ["covering_grid"]


def covering_grid(
    exposures: Iterable[Exposure], *, scale_arcsec: float | None = None, rotation_deg: float = 0.0
) -> Grid:
    """Return the smallest grid that covers the footprints of exposures, which are taken one at a time.

    Parameters
    ----------
    exposures : iterable of Exposure
        Only their coordinates are looked at.
    scale_arcsec : float, optional
        Side of a pixel [arcsec]; that of the first exposure when not given.
    rotation_deg : float, optional
        Position angle of the y axis [deg].

    Raises
    ------
    InvalidInputError
        When there is no exposure.
    """
    rest = iter(exposures)
    first = next(rest, None)
    if first is None:
        msg = "exposures: at least one is needed"
        raise InvalidInputError(msg)
    scale = scale_arcsec or first.native_scale_arcsec
    if not np.isfinite(scale):
        scale = float(np.sqrt(abs(np.linalg.det(first.wcs.pixel_scale_matrix))) * 3600.0)
    return Grid.covering(_footprints(chain([first], rest)), scale_arcsec=scale, rotation_deg=rotation_deg)


def _footprints(exposures: Iterable[Exposure]) -> Iterator[tuple[Any, tuple[int, int]]]:
    for exposure in exposures:
        yield exposure.wcs, exposure.shape
