"""The common part of the cutouts of one slit in several exposures."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import Slitlet
from skymere.errors import InvalidInputError, NoOverlapError

__all__ = ["check_group", "common_cutout"]


def common_cutout(starts: Sequence[tuple[int, int]], shapes: Sequence[tuple[int, int]]) -> list[tuple[slice, slice]]:
    """Return the slices of several cutouts that show the same pixels of the detector.

    Parameters
    ----------
    starts : sequence of tuple of int
        First row and column ``(y0, x0)`` of each on the detector [pix].
    shapes : sequence of tuple of int
        ``(ny, nx)`` of each.

    Raises
    ------
    InvalidInputError
        When there is none, or their numbers differ.
    NoOverlapError
        When nothing is common.

    Examples
    --------
    >>> from skymere.slit import common_cutout
    >>> common_cutout([(0, 0), (1, 3)], [(20, 400), (22, 398)])
    [(slice(1, 20, None), slice(3, 400, None)), (slice(0, 19, None), slice(0, 397, None))]
    """
    if not starts or len(starts) != len(shapes):
        msg = f"starts: {len(starts)} starts with {len(shapes)} shapes are not allowed, one of each is needed"
        raise InvalidInputError(msg)
    first: NDArray[np.int64] = np.asarray(starts, np.int64)
    low, high = first.max(axis=0), (first + np.asarray(shapes, np.int64)).min(axis=0)
    if (high <= low).any():
        msg = f"the cutouts at {list(starts)} with shapes {list(shapes)} have no pixel in common"
        raise NoOverlapError(msg)
    return [
        (slice(int(y), int(y + high[0] - low[0])), slice(int(x), int(x + high[1] - low[1]))) for y, x in low - first
    ]


def check_group(slitlets: Sequence[Slitlet]) -> None:
    """Raise when slitlets are not exposures of one slit.

    Parameters
    ----------
    slitlets : sequence of Slitlet
        The exposures.

    Raises
    ------
    InvalidInputError
        When there is none, or source, grating, filter, detector, unit or kind of slit differ; the message names the
        files.
    """
    if not slitlets:
        msg = "slitlets: none is not allowed, there must be one or more"
        raise InvalidInputError(msg)
    first = slitlets[0]
    for other in slitlets[1:]:
        pairs = {
            "source": (first.source.source_id, other.source.source_id),
            "grating": (first.exposure.grating, other.exposure.grating),
            "filter": (first.exposure.filter, other.exposure.filter),
            "detector": (first.exposure.detector, other.exposure.detector),
            "unit": (first.unit, other.unit),
            "fixed slit": (first.is_fixed_slit, other.is_fixed_slit),
        }
        for name, (mine, its) in pairs.items():
            if mine != its:
                msg = f"slitlets: {name} {its!r} of {other.path or other.exposure.exposure_id} is not allowed, it is "
                msg += f"{mine!r} in {first.path or first.exposure.exposure_id}"
                raise InvalidInputError(msg)
