"""Pairs of positions in a tangent plane, and the map between them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skymere._rust import align as _rust
from skymere.align.params import AlignParams
from skymere.align.plane import LinearMap
from skymere.errors import NoDataError

__all__ = ["HUBER_ROUNDS", "Fit", "Positions", "fit_pairs", "fit_positions", "huber_factor", "match_positions"]

HUBER_ROUNDS = 5
# Median of sqrt((a^2 + b^2) / 2) for normal a and b.
_MEDIAN_Z = 0.8326
_LEAST_FREE = 0.2


@dataclass(frozen=True, kw_only=True, eq=False)
class Positions:
    """Positions in a tangent plane with errors.

    Parameters
    ----------
    xy : ndarray, float64, shape (n, 2) [arcsec]
        Positions.
    sigma : ndarray, float64, shape (n,) [arcsec]
        1 sigma along each axis.
    """

    xy: NDArray[np.float64]
    sigma: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.xy)

    def join(self, other: "Positions") -> "Positions":
        """Return both lists as one."""
        return Positions(xy=np.concatenate([self.xy, other.xy]), sigma=np.concatenate([self.sigma, other.sigma]))

    def where(self, keep: NDArray[np.bool_]) -> "Positions":
        """Return some of the positions."""
        return Positions(xy=self.xy[keep], sigma=self.sigma[keep])

    def mapped(self, linear: LinearMap) -> "Positions":
        """Return the positions after a map."""
        return replace(self, xy=linear.apply(self.xy))


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """A linear map between two lists of positions.

    Parameters
    ----------
    map : LinearMap
        From the first list to the second.
    pairs : ndarray, int64, shape (n, 2)
        Indices in both lists.
    used : ndarray, bool, shape (n,)
        Pairs that the fit used.
    residuals : ndarray, float64, shape (n, 2) [arcsec]
        Second position minus mapped first.
    rms : tuple of float [arcsec]
        Weighted rms residual along x and y.
    mae : float [arcsec]
        Mean length of the residuals.
    shift_err : tuple of float [arcsec]
        1 sigma of the map's shift.
    """

    map: LinearMap
    pairs: NDArray[np.int64]
    used: NDArray[np.bool_]
    residuals: NDArray[np.float64]
    rms: tuple[float, float]
    mae: float
    shift_err: tuple[float, float]

    @property
    def n_used(self) -> int:
        """Pairs that the fit used."""
        return int(self.used.sum())


def match_positions(first: Positions, second: Positions, *, radius_arcsec: float) -> NDArray[np.int64]:
    """Return the indices ``(n, 2)`` of pairs each of which is the nearest to the other, within a radius."""
    found = _rust.match_nearest(first.xy, second.xy, radius_arcsec)
    return found[:, :2].astype(np.int64)


def find_offset(first: Positions, second: Positions, params: AlignParams) -> NDArray[np.float64]:
    """Return the offset of the second list from the first [arcsec].

    Raises
    ------
    NoDataError
        When no offset stands out.
    """
    if not params.use_histogram:
        return np.asarray(params.offset_arcsec, float)
    found = _rust.offset(first.xy, second.xy, params.search_radius_arcsec, params.bin_arcsec)
    if found is None:
        msg = f"no source is within {params.search_radius_arcsec} arcsec of one of the reference"
        raise NoDataError(msg)
    shift, n_peak, n_chance, n_second, is_at_edge = found
    if is_at_edge:
        msg = f"the offset is beyond the search radius of {params.search_radius_arcsec} arcsec"
        raise NoDataError(msg)
    if n_peak < n_chance + params.min_significance * np.sqrt(n_chance + 1):
        msg = f"no offset stands out: {n_peak} pairs at the best one, {n_chance:.1f} by chance"
        raise NoDataError(msg)
    if n_second > params.max_second_peak * n_peak:
        msg = f"two offsets are as good: {n_peak} and {n_second} pairs"
        raise NoDataError(msg)
    return np.asarray(shift)


def fit_positions(first: Positions, second: Positions, params: AlignParams) -> Fit:
    """Return the map from one list of positions to another, of which nothing is known but the parameters.

    Raises
    ------
    NoDataError
        When no offset stands out, or the pairs are too few; the message is the reason.
    """
    offset = LinearMap(matrix=np.eye(2), centre=np.zeros(2), shift=find_offset(first, second, params))
    linear, before = offset, None
    for _ in range(params.max_iterations):
        pairs = match_positions(first.mapped(linear), second, radius_arcsec=params.tolerance_arcsec)
        if len(pairs) < params.min_matches:
            msg = f"{len(pairs)} pairs within {params.tolerance_arcsec} arcsec, {params.min_matches} are needed"
            raise NoDataError(msg)
        fit = fit_pairs(first, second, pairs, params)
        linear = fit.map
        if before is not None and np.array_equal(pairs, before):
            break
        before = pairs
    if fit.n_used < params.min_matches:
        msg = f"{fit.n_used} pairs are left after clipping, {params.min_matches} are needed"
        raise NoDataError(msg)
    return fit


def fit_pairs(first: Positions, second: Positions, pairs: NDArray[np.int64], params: AlignParams) -> Fit:
    """Return the map that fits given pairs: least squares with clipping, and less weight the worse a pair fits.

    Notes
    -----
    A pair whose residual is z in units of its own error counts min(1, k s / z) of its weight [1]_, s the median z in
    units of that of a normal distribution: galaxies that are blended or were hit by a cosmic ray do not pull.

    References
    ----------
    .. [1] Huber 1964, Ann. Math. Stat. 35, 73, section 4.
    """
    i, j = pairs.T
    inverse = 1 / (first.sigma[i] ** 2 + second.sigma[j] ** 2)
    weight = inverse
    for _ in range(HUBER_ROUNDS if params.huber is not None else 1):
        matrix, centre, shift, used, residuals, rms, mae = _rust.fit(
            first.xy[i], second.xy[j], weight, params.fitgeom, params.n_clip, params.clip_sigma
        )
        kept = np.where(used, weight, 0.0)
        if params.huber is not None:
            weight = inverse * huber_factor(residuals, inverse, used, params.huber)
    # The error of a weighted mean from the residuals themselves, whatever the weights; what a pair pulled the map to
    # itself is given back (MacKinnon & White 1985, J. Econometrics 29, 305, equation 12).
    free = np.maximum(1 - _leverage(first.xy[i], kept, params), _LEAST_FREE)
    # A pair beyond the limit pulls with a force that no longer grows: of its two axes one has no stiffness.
    stiff = np.where(kept < np.where(used, inverse, 0.0), 0.5, 1.0) * kept
    spread = np.sqrt(((kept / free)[:, None] ** 2 * residuals**2).sum(axis=0)) / stiff.sum()
    return Fit(
        map=LinearMap(matrix=np.array(matrix), centre=np.array(centre), shift=np.array(shift)),
        pairs=pairs,
        used=used,
        residuals=residuals,
        rms=(rms[0], rms[1]),
        mae=mae,
        shift_err=(float(spread[0]), float(spread[1])),
    )


def _leverage(xy: NDArray[np.float64], weight: NDArray[np.float64], params: AlignParams) -> NDArray[np.float64]:
    """Return how much a pair pulls the map to itself, from 0 to 1."""
    share = weight / weight.sum()
    if params.fitgeom == "shift":
        return np.asarray(share)
    away = ((xy - share @ xy) ** 2).sum(axis=1)
    # A rotation alone is half a parameter for each axis; six parameters are two more than four.
    turns = {"rshift": 0.5, "rscale": 1.0, "general": 2.0}[params.fitgeom]
    return np.asarray(share + turns * weight * away / max(float((weight * away).sum()), np.finfo(float).tiny))


def huber_factor(
    residuals: NDArray[np.float64], inverse_variance: NDArray[np.float64], used: NDArray[np.bool_], huber: float
) -> NDArray[np.float64]:
    """Return the part of its weight that each pair keeps."""
    z = np.sqrt((residuals**2).sum(axis=1) / 2 * inverse_variance)
    scale = float(np.median(z[used])) / _MEDIAN_Z if used.any() else 0.0
    return np.asarray(np.where(z > huber * scale, huber * scale / np.maximum(z, np.finfo(float).tiny), 1.0))
