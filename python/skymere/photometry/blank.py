"""Blank places of a band, whose noise stands for that of all of it."""

import numpy as np
from numpy.typing import NDArray

from skymere._rust import segmentation as _rust
from skymere.photometry.band import Band
from skymere.photometry.effective import EffectivePsf
from skymere.photometry.system import Solution
from skymere.psf import Kernel, convolve

__all__ = ["blank_places"]

# Blank is where the models show less than this part of a pixel's error; it is relaxed until there are places enough.
_BLANK_SIGMA = (0.2, 0.5, 1.0, 2.0, 4.0)
# Distance of two places over that of patches that touch: patches share nothing, up to a fifth of their area, and where
# there is not enough room up to a half (2 (acos p - p sqrt(1 - p^2)) / pi).
_PACKING, _TIGHT = (1.0, 0.85, 0.69), 0.41
# Places should be so far apart, over the side of a square that each would have if they shared the image evenly; up to
# this threshold it is relaxed before places may lie closer.
_SPREAD, _SPREAD_SIGMA = 0.5, 1.0
# The widest distance of places is found within this factor, among the best pixels of cells of this part of the least.
_WITHIN, _CELL = 1.05, 0.2
# Where the residual over a full width of the PSF is this many of its own standard deviations, something is left.
_LEFT_SIGMA = 5.0


def blank_places(
    band: Band,
    psf: EffectivePsf,
    solution: Solution,
    in_errors: NDArray[np.float32],
    n_places: int,
    radius: float,
) -> tuple[NDArray[np.float64], bool]:
    """Return places away from all models and from what is left of them, spread over the image.

    Parameters
    ----------
    band, psf, solution
        The band, and what was measured.
    in_errors : ndarray, float32, shape (ny, nx)
        The residual over its error.
    n_places : int
        So many at most.
    radius : float
        Of the patches around them [pix].

    Returns
    -------
    ndarray, float64, shape (n, 2) [pix]
        Their x and y.
    bool
        Whether patches share much of their areas.

    Notes
    -----
    Pixels further from any light than a patch reaches are tried from the farthest one on, and taken when they keep a
    distance from all that were taken. That distance is the widest that leaves places enough, so that they fill all of
    the image that is blank, not the largest gap between its sources.
    """
    weight = band.weight
    model = solution.templates.model(np.abs(solution.flux), [], None, np.zeros(0), 0, band.shape[0])
    signal = model * np.sqrt(weight)
    left = _left(in_errors, psf) | (weight <= 0)
    even = _SPREAD * float(np.sqrt(np.count_nonzero(weight) / n_places))
    steps = [(s, _PACKING[0], even) for s in _BLANK_SIGMA if s <= _SPREAD_SIGMA]
    steps += [(s, p, 0.0) for s in _BLANK_SIGMA for p in _PACKING] + [(s, _TIGHT, 0.0) for s in _BLANK_SIGMA]
    distances: dict[float, NDArray[np.float32]] = {}
    best = np.zeros((0, 2))
    for sigma, packing, spread in steps:
        if sigma not in distances:
            # Whole patches lie inside the image: a frame of pixels around it counts as used.
            used = np.pad((signal > sigma) | left, 1, constant_values=True)
            distances[sigma] = np.ascontiguousarray(_rust.distance_to(used)[1:-1, 1:-1])
        reach = radius * packing
        apart = max(2 * reach + 1, spread)
        found = _filled(distances[sigma], reach, apart, n_places)
        if len(found) == n_places:
            return _widest(distances[sigma], reach, apart, found), packing == _TIGHT
        if len(found) > len(best):
            best = found
    return best, True


def _filled(distance: NDArray[np.float32], reach: float, apart: float, n_places: int) -> NDArray[np.float64]:
    """Return x, y of pixels so far apart, those farthest from all light first."""
    places = np.array(_rust.farthest_places(distance, reach, apart, n_places), np.float64)
    return places.reshape(-1, 2)[:, ::-1]


def _widest(
    distance: NDArray[np.float32], reach: float, apart: float, found: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return as many places as far apart as they can be."""
    n_places = len(found)
    cells = _best_of_cells(distance, max(1, int(_CELL * apart)))
    low, high = apart, float(np.hypot(*distance.shape))
    while high > _WITHIN * low:
        middle = float(np.sqrt(low * high))
        wider = _filled(cells, reach, middle, n_places)
        if len(wider) == n_places:
            low, found = middle, wider
        else:
            high = middle
    # The distance may leave more: where the last ones would be, the image has none yet.
    more = _filled(cells, reach, low, 2 * n_places)
    return _thinned(more if len(more) > n_places else found, n_places)


def _thinned(places: NDArray[np.float64], n_places: int) -> NDArray[np.float64]:
    """Return so many of the places, less those that are nearest to others."""
    between = np.hypot(*(places[:, np.newaxis] - places).T)
    np.fill_diagonal(between, np.inf)
    kept = np.ones(len(places), bool)
    for _ in range(len(places) - n_places):
        nearest = int(np.argmin(between.min(axis=1)))
        kept[nearest] = False
        between[nearest, :] = between[:, nearest] = np.inf
    return places[kept]


def _best_of_cells(distance: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return distances of the farthest pixels of square cells, and 0 at others: fewer pixels to try."""
    (ny, nx), (rows, columns) = distance.shape, (-(-n // side) for n in distance.shape)
    padded = np.pad(distance, ((0, rows * side - ny), (0, columns * side - nx)))
    farthest = padded.reshape(rows, side, columns, side).max(axis=(1, 3))
    at_all = np.repeat(np.repeat(farthest, side, axis=0), side, axis=1)[:ny, :nx]
    return np.ascontiguousarray(np.where(distance == at_all, distance, np.float32(0)))


def _left(in_errors: NDArray[np.float32], psf: EffectivePsf) -> NDArray[np.bool_]:
    """Return pixels around which the residual is no noise: sources without a model, and bad fits."""
    side = 2 * int(np.ceil(psf.fwhm_pix / 2)) + 1
    mean = convolve(in_errors, Kernel(data=np.full((side, side), 1 / side**2)))
    good = mean[np.isfinite(mean)]
    if not good.size:
        return np.zeros(mean.shape, bool)
    middle = np.median(good)
    spread = 1.4826 * np.median(np.abs(good - middle))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(mean - middle) > _LEFT_SIGMA * spread)
