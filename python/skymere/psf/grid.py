"""PSFs that change over a detector."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.io import read_psf_library
from skymere.psf.sampled import Psf

__all__ = ["PsfGrid", "read_psf_grid"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PsfGrid:
    """PSFs at the nodes of a rectangular grid of positions on a detector.

    Parameters
    ----------
    x, y : sequence of float
        Positions of the columns and rows of nodes, increasing, 0-based [detector pix].
    psfs : sequence of Psf
        One for each node, row after row; all of one shape, oversampling and centre.

    Raises
    ------
    InvalidInputError
        When numbers do not fit, or the PSFs differ in shape, oversampling, centre or pixel response.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    psfs: tuple[Psf, ...]

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            places = tuple(float(v) for v in getattr(self, name))
            object.__setattr__(self, name, places)
            if not places or any(b <= a for a, b in pairwise(places)):
                msg = f"{name}: {places} are not allowed, they must increase"
                raise InvalidInputError(msg)
        object.__setattr__(self, "psfs", tuple(self.psfs))
        if len(self.psfs) != len(self.x) * len(self.y):
            msg = f"psfs: {len(self.psfs)} are not allowed, {len(self.x)} x {len(self.y)} nodes need as many"
            raise InvalidInputError(msg)
        alike = {(p.shape, p.oversampling, p.has_pixel, p.x, p.y) for p in self.psfs}
        if len(alike) != 1:
            msg = "psfs: they must have one shape, oversampling, centre and pixel response"
            raise InvalidInputError(msg)

    def at(self, x: float, y: float) -> Psf:
        """Return the PSF at a position, bilinear between the nodes and constant outside of them.

        Parameters
        ----------
        x, y : float
            Position, 0-based [detector pix].

        Raises
        ------
        InvalidInputError
            When the position is not a number, or the PSFs around it have no light.
        """
        if not np.isfinite([x, y]).all():
            msg = f"x, y: {x}, {y} are not allowed, they must be finite"
            raise InvalidInputError(msg)
        data, lost = np.zeros(self.psfs[0].shape, np.float64), 0.0
        for i, wx in _bracket(self.x, x):
            for j, wy in _bracket(self.y, y):
                one = self.psfs[j * len(self.x) + i]
                data += wx * wy * one.data
                lost += wx * wy * one.lost
        first = self.psfs[0]
        return Psf(
            data=data.astype(np.float32),
            x=first.x,
            y=first.y,
            oversampling=first.oversampling,
            has_pixel=first.has_pixel,
            enclosed=float(data.sum()),
            lost=lost,
        )


def _bracket(places: Sequence[float], value: float) -> list[tuple[int, float]]:
    """Return the nodes around a value and their weights."""
    if len(places) == 1 or value <= places[0]:
        return [(0, 1.0)]
    if value >= places[-1]:
        return [(len(places) - 1, 1.0)]
    i = int(np.searchsorted(places, value, side="right")) - 1
    part = (value - places[i]) / (places[i + 1] - places[i])
    return [(i, 1.0 - part), (i + 1, part)]


def read_psf_grid(path: str | Path, band: str) -> PsfGrid:
    """Read the grid of a filter from a STDPSF file.

    Parameters
    ----------
    path : path-like
        FITS file with one cube for each filter, its node positions in IPSFX and JPSFY, its OVERSAMP.
    band : str
        Filter; case does not matter.

    Returns
    -------
    PsfGrid
        Effective PSFs (with the pixel's response), each with the sum 1.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing, unreadable or not such a file.
    InvalidInputError
        When it does not have the filter.

    References
    ----------
    Anderson 2016, WFC3 Instrument Science Report 2016-12.
    """
    library = read_psf_library(path, band)

    def one(data: NDArray[np.float32]) -> Psf:
        return Psf(data=data, oversampling=library.oversampling, has_pixel=True).normalised()

    return PsfGrid(x=library.x, y=library.y, psfs=tuple(one(data) for data in library.data))
