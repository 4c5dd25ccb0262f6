"""The geometry that line maps, direct images, segmentation and PSF of an object share."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from astropy.wcs import WCS

from skymere._params import build_params
from skymere.errors import InvalidInputError
from skymere.io import read_geometry_cards
from skymere.resample.drizzle import DrizzleParams, Kernel
from skymere.wcs import Grid

__all__ = ["GEOMETRIES", "Geometry"]

# The part of a digest that changes when the same numbers come to mean another geometry.
_VERSION = 1
_MOST_PIXELS = 8192


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Kernel, drop and pixels of everything that is drizzled around an object; grizli calls it ``pline``.

    Two geometries are equal when their digests are.

    Parameters
    ----------
    kernel : str
        Kernel of `DrizzleParams`.
    pixfrac : float
        Side of the drop [input pix]; ``point`` and the Lanczos kernels ignore it.
    pixscale : float
        Side of an output pixel [arcsec].
    size : float
        Side of the square output [arcsec].
    rotation_deg : float
        Position angle of the y axis, from north through east [deg].
    wcs : Grid or astropy.wcs.WCS with a shape, optional
        The very pixels of the output. It wins over ``pixscale``, ``size`` and ``rotation_deg``, which then say what it
        has, and over the position.

    Attributes
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the output.
    digest : str
        sha256 of all of it, hexadecimal; a part of the identity of every product.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.

    Notes
    -----
    Without ``wcs`` the output is a TAN grid whose reference pixel ``(n + 1) / 2`` is the position, n the nearest whole
    number to ``size / pixscale``: the position is the middle of a pixel where n is odd, and a corner of four where it
    is even.

    Examples
    --------
    >>> from skymere.resample import Geometry
    >>> Geometry(size=18.9, pixscale=0.1).shape
    (189, 189)
    >>> Geometry() == Geometry.preset("lines-1")
    True
    """

    kernel: Kernel = "point"
    pixfrac: float = 0.2
    pixscale: float = 0.1
    size: float = 8.0
    rotation_deg: float = 0.0
    wcs: Grid | WCS | None = None

    def __post_init__(self) -> None:
        DrizzleParams(kernel=self.kernel, pixfrac=self.pixfrac)
        if self.wcs is not None:
            grid = _grid_of(self.wcs)
            object.__setattr__(self, "wcs", grid)
            object.__setattr__(self, "pixscale", grid.scale_arcsec)
            object.__setattr__(self, "size", grid.scale_arcsec * max(grid.shape))
            object.__setattr__(self, "rotation_deg", 0.0)
        for name in ("pixscale", "size"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                msg = f"{name}: {value} is not allowed, it must be positive [arcsec]"
                raise InvalidInputError(msg)
        if not np.isfinite(self.rotation_deg):
            msg = f"rotation_deg: {self.rotation_deg} is not allowed, it must be finite"
            raise InvalidInputError(msg)
        if not 1 <= max(self.shape) <= _MOST_PIXELS:
            msg = (
                f"size, pixscale: {self.size} and {self.pixscale} are not allowed, they make {self.shape[0]} pixels, "
                f"which must be 1 to {_MOST_PIXELS}"
            )
            raise InvalidInputError(msg)

    @classmethod
    def preset(cls, name: str) -> Self:
        """Return a named geometry; a name never changes its meaning.

        Parameters
        ----------
        name : str
            One of `GEOMETRIES`.

        Raises
        ------
        InvalidInputError
            When there is none of that name.
        """
        if name not in GEOMETRIES:
            msg = f"geometry: {name!r} is not known, it must be one of {', '.join(GEOMETRIES)}"
            raise InvalidInputError(msg)
        return cls(**GEOMETRIES[name])

    @classmethod
    def from_pline(cls, pline: Mapping[str, Any], *, where: str = "") -> Self:
        """Return the geometry of a table, as in a TOML file, or of grizli's ``pline``.

        Parameters
        ----------
        pline : mapping
            Any of ``kernel, pixfrac, pixscale, size, rotation_deg, wcs``; what is missing is that of the preset.
        where : str, optional
            Begin of the names of keys in errors.

        Raises
        ------
        InvalidInputError
            When a key is unknown or a value is not allowed.
        """
        values = {key: float(value) if _is_number(value) else value for key, value in pline.items() if key != "wcs"}
        return cls(**vars(build_params(_Numbers, values, where=where)), wcs=pline.get("wcs"))

    @classmethod
    def from_fits(cls, path: str | Path, *, extension: str | int | tuple[str, str | int] | None = None) -> Self:
        """Return the geometry of an extension of a file such as grizli's ``full.fits``, with its very pixels.

        Parameters
        ----------
        path : path-like
            The file.
        extension : str, int or (str, str or int), optional
            Name, number, or name and version (``("LINE", "Ha")``) of the extension; the first LINE when not given, or
            else the first image with coordinates.

        Raises
        ------
        NotFoundError, StorageError, FormatError
            When the file is missing or unreadable, or there is no such extension.
        InvalidInputError
            When that has no coordinates on the sky, or no kernel is in its header or the primary one.
        """
        cards = read_geometry_cards(path, extension=extension)
        return cls(kernel=cards.kernel, pixfrac=cards.pixfrac, wcs=cards.grid)  # type: ignore[arg-type]

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)``."""
        if isinstance(self.wcs, Grid):
            return self.wcs.shape
        # The nearest whole number: 18.9 / 0.1 is a little less than 189.
        n = round(self.size / self.pixscale) if self.size / self.pixscale < 10 * _MOST_PIXELS else 10 * _MOST_PIXELS
        return n, n

    @property
    def drizzle(self) -> DrizzleParams:
        """Kernel and pixfrac as parameters of a drizzle."""
        return DrizzleParams(kernel=self.kernel, pixfrac=self.pixfrac)

    @property
    def digest(self) -> str:
        """sha256 of the geometry, hexadecimal."""
        return hashlib.sha256(json.dumps([_VERSION, self.as_table()], sort_keys=True).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Geometry) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def as_table(self) -> dict[str, Any]:
        """Return the geometry as JSON; the pixels of ``wcs`` by their cards and shape."""
        table = {"kernel": self.kernel, "pixfrac": float(self.pixfrac)}
        if isinstance(self.wcs, Grid):
            return table | {"wcs": self.wcs.cards(), "shape": list(self.wcs.shape)}
        numbers = {name: float(getattr(self, name)) for name in ("pixscale", "size", "rotation_deg")}
        return table | numbers

    def with_kernel(self, kernel: Kernel, *, pixfrac: float | None = None) -> "Geometry":
        """Return the same pixels for another kernel, and another pixfrac when it is given."""
        return replace(self, kernel=kernel, pixfrac=self.pixfrac if pixfrac is None else pixfrac)

    def grid(self, ra: float, dec: float) -> Grid:
        """Return the output of a position [deg]; that of ``wcs`` where there is one."""
        if isinstance(self.wcs, Grid):
            return self.wcs
        return Grid.tangent(
            ra, dec, shape=self.shape, scale_arcsec=float(self.pixscale), rotation_deg=self.rotation_deg
        )


# Each entry point that is told nothing takes the first one; a new meaning gets a new number.
GEOMETRIES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"lines-1": MappingProxyType({"kernel": "point", "pixfrac": 0.2, "pixscale": 0.1, "size": 8.0})}
)


@dataclass(frozen=True, kw_only=True)
class _Numbers:
    """What a table may say."""

    kernel: Kernel = "point"
    pixfrac: float = 0.2
    pixscale: float = 0.1
    size: float = 8.0
    rotation_deg: float = 0.0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _grid_of(wcs: Any) -> Grid:
    if isinstance(wcs, Grid):
        return wcs
    shape = getattr(wcs, "array_shape", None)
    if shape is None:
        msg = f"wcs: {type(wcs).__name__} is not allowed, it must be a Grid, or an astropy WCS with an array_shape"
        raise InvalidInputError(msg)
    return Grid(wcs=wcs, shape=tuple(shape))
