"""Shutters that were commanded open and let no light through."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError

__all__ = ["StuckShutters", "find_stuck_shutters", "shutter_mask"]

_REACH = 0.6  # of a shutter's pitch from its centre, so that the edges go too


@dataclass(frozen=True, kw_only=True, eq=False)
class StuckShutters:
    """The shutters of a slitlet, and which of them let no light through.

    Parameters
    ----------
    names : tuple of int
        Shutters with valid pixels: 0 is that in the middle.
    sn : ndarray, float64, shape (n,)
        Median S/N of a pixel in each.
    n_pixels : ndarray, int64, shape (n,)
        Valid pixels in each.
    stuck : tuple of int
        Those that are stuck.
    """

    names: tuple[int, ...]
    sn: NDArray[np.float64]
    n_pixels: NDArray[np.int64]
    stuck: tuple[int, ...]


def find_stuck_shutters(
    sci: ArrayLike,
    variance: ArrayLike,
    bar: ArrayLike,
    shutter_y: ArrayLike,
    valid: ArrayLike,
    *,
    threshold: float = 0.3,
    min_bar: float = 0.7,
) -> StuckShutters:
    """Find shutters that are much fainter than the others.

    Parameters
    ----------
    sci, variance : array_like, float, shape (n, ny, nx) [unit, unit^2]
        Data and variance.
    bar : array_like, float64, shape (n, ny, nx)
        Throughput of the bars.
    shutter_y : array_like, float64, shape (n, ny, nx)
        Place in shutters, `shutter_coordinate`; NaN where unknown.
    valid : array_like, bool, shape (n, ny, nx)
        True = good.
    threshold : float, optional
        A shutter is stuck with less than this fraction of the best one's S/N, if it has more than half of the fullest
        one's pixels; a single shutter with an S/N below it.
    min_bar : float, optional
        Only pixels with more light than this count.

    Raises
    ------
    InvalidInputError
        When the shapes differ, or the threshold is not positive.

    Notes
    -----
    When even the best shutter has no light (S/N of 0 or less), none is called stuck: nothing tells them apart.
    """
    if not threshold > 0:
        msg = f"threshold: {threshold} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    data = np.asarray(sci)
    noise = np.asarray(as_array(variance, "variance", data.dtype, shape=data.shape))
    light = np.asarray(as_array(bar, "bar", np.float64, shape=data.shape), np.float64)
    places = np.asarray(as_array(shutter_y, "shutter_y", np.float64, shape=data.shape), np.float64)
    good = np.asarray(as_array(valid, "valid", np.bool_, shape=data.shape), np.bool_)
    with np.errstate(invalid="ignore", divide="ignore"):
        use = good & (light > min_bar) & np.isfinite(places)
        sn = data[use] / np.sqrt(noise[use])
    shutters, which, counts = np.unique(np.round(places[use]).astype(np.int64), return_inverse=True, return_counts=True)
    medians = np.array([np.nanmedian(sn[which == k]) for k in range(len(shutters))], np.float64)
    if len(shutters) == 1:
        is_stuck = medians < threshold
    elif len(shutters) and medians.max() > 0:
        is_stuck = (medians < threshold * medians.max()) & (counts > 0.5 * counts.max())
    else:
        is_stuck = np.zeros(len(shutters), np.bool_)
    return StuckShutters(
        names=tuple(int(name) for name in shutters),
        sn=medians,
        n_pixels=counts.astype(np.int64),
        stuck=tuple(int(name) for name in shutters[is_stuck]),
    )


def shutter_mask(shutter_y: ArrayLike, names: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the pixels of some shutters, up to 0.6 of a shutter from their centres.

    Parameters
    ----------
    shutter_y : array_like, float64, any shape
        Place in shutters.
    names : tuple of int
        Shutters: 0 is that in the middle.
    """
    places = np.asarray(shutter_y, np.float64)
    mask = np.zeros(places.shape, np.bool_)
    for name in names:
        mask |= np.abs(places - name) < _REACH
    return mask
