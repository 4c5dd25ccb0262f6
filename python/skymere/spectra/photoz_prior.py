"""What is known of redshifts before a fit."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_floats
from skymere.errors import FormatError, InvalidInputError, NotFoundError

__all__ = ["MagnitudePrior"]

_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class MagnitudePrior:
    """How redshifts are distributed at an apparent magnitude.

    Parameters
    ----------
    filter : str
        The filter whose magnitude counts.
    z : ndarray, float64, shape (n_z,)
        Redshifts, rising.
    mag : ndarray, float64, shape (n_mag,) [mag]
        AB magnitudes, rising.
    probability : ndarray, float64, shape (n_z, n_mag)
        p(z) at each magnitude, in any unit.
    floor : float
        It is added to p(z) of integral 1, so that nothing is impossible.

    Raises
    ------
    InvalidInputError
        When axes do not rise, a probability is negative, or one magnitude has none.
    """

    filter: str
    z: _Array
    mag: _Array
    probability: _Array
    floor: float = 0.01

    def __post_init__(self) -> None:
        for name in ("z", "mag"):
            axis = as_floats(getattr(self, name), name, shape=(None,))
            if not axis.size or not np.all(np.isfinite(axis)) or not np.all(np.diff(axis) > 0):
                msg = f"{name}: {axis.size} values are not allowed, they must be finite and rise"
                raise InvalidInputError(msg)
            object.__setattr__(self, name, axis)
        p = as_floats(self.probability, "probability", shape=(self.z.size, self.mag.size))
        if not np.all(p >= 0) or not np.all(np.isfinite(p)) or not np.all(p.sum(axis=0) > 0):
            msg = "probability: values are not allowed, they must be 0 or more, and some positive at each magnitude"
            raise InvalidInputError(msg)
        if not 0 <= self.floor < np.inf:
            msg = f"floor: {self.floor} is not allowed, it must be 0 or positive"
            raise InvalidInputError(msg)
        object.__setattr__(self, "probability", p)

    @classmethod
    def read(cls, path: str | Path, *, filter: str, floor: float = 0.01) -> "MagnitudePrior":  # noqa: A002
        """Read a prior file of eazy: ``# z 17.0 18.0 ...`` and rows of z and p(z) at these magnitudes.

        Parameters
        ----------
        path : path-like
            The file.
        filter : str
            The filter whose magnitude counts.
        floor : float, optional
            eazy's ``PRIOR_FLOOR``.

        Raises
        ------
        NotFoundError
            When the file does not exist.
        FormatError
            When it holds something else.
        """
        place = Path(path)
        if not place.is_file():
            msg = f"{place}: no such file"
            raise NotFoundError(msg)
        try:
            head = place.read_text(encoding="utf-8").splitlines()[0].lstrip("# ").split()
            mag = np.array(head[1:], np.float64)
            table = np.loadtxt(place, ndmin=2)
            return cls(filter=filter, z=table[:, 0], mag=mag, probability=table[:, 1:], floor=floor)
        except (ValueError, IndexError) as error:
            msg = f"{place}: not a prior: {error}"
            raise FormatError(msg) from error

    def on_grid(self, mag: ArrayLike, z_grid: ArrayLike) -> _Array:
        """Return p(z) of objects; flat where the magnitude is not known.

        Parameters
        ----------
        mag : array_like, float64, shape (n,) [mag]
            Magnitudes; those outside of the table count as its ends.
        z_grid : array_like, float64, shape (m,)
            Redshifts, rising.

        Returns
        -------
        ndarray, float64, shape (n, m)
            Each row has the integral 1.
        """
        mags, zs = np.asarray(mag, np.float64), np.asarray(z_grid, np.float64)
        table = np.stack([np.interp(zs, self.z, p, left=0.0, right=0.0) for p in self.probability.T])
        norm = np.asarray(np.trapezoid(table, zs, axis=1))[:, None]
        # A magnitude whose p(z) is all outside of the grid tells nothing there.
        table = np.where(norm > 0, table / np.where(norm > 0, norm, 1.0), 0.0) + self.floor
        flat = np.full(zs.shape, 1.0 / (zs[-1] - zs[0]))
        norm = np.asarray(np.trapezoid(table, zs, axis=1))[:, None]
        table = np.where(norm > 0, table / np.where(norm > 0, norm, 1.0), flat)
        at = np.interp(mags, self.mag, np.arange(self.mag.size))
        low = np.clip(np.nan_to_num(at).astype(int), 0, max(self.mag.size - 2, 0))
        high = np.minimum(low + 1, self.mag.size - 1)
        part = (at - low)[:, None]
        return np.where(np.isfinite(mags)[:, None], (1 - part) * table[low] + part * table[high], flat)


def interpolate_prior(prior: tuple[ArrayLike, ArrayLike], n: int, z_grid: _Array) -> _Array:
    """Return p(z) of each object on a grid, from those on another; 0 outside of it."""
    zs = as_floats(prior[0], "prior", shape=(None,))
    p = as_floats(np.atleast_2d(np.asarray(prior[1], np.float64)), "prior", shape=(None, zs.size))
    if zs.size < 2 or not np.all(np.diff(zs) > 0) or p.shape[0] not in (1, n):
        msg = (
            f"prior: {zs.size} redshifts and shape {p.shape} are not allowed, it must be (z rising, p of {n} or 1 rows)"
        )
        raise InvalidInputError(msg)
    if not np.all(p >= 0) or not np.all(np.isfinite(p)):
        msg = "prior: values are not allowed, probabilities must be finite and 0 or more"
        raise InvalidInputError(msg)
    low = np.clip(np.searchsorted(zs, z_grid, side="right") - 1, 0, zs.size - 2)
    part = (z_grid - zs[low]) / (zs[low + 1] - zs[low])
    values = np.where((part >= 0) & (part <= 1), (1 - part) * p[:, low] + part * p[:, low + 1], 0.0)
    return np.broadcast_to(values, (n, z_grid.size))
