"""Tiles: the cells of a lake, each with its own pixel grid and the part of the sky that it owns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.lake.cells import HealpixTiles
from skymere.lake.layout import check_name
from skymere.lake.sky import healpix29, polygon_contains, polygons_overlap
from skymere.wcs import Grid

__all__ = ["NamedTile", "Tile", "TileSet", "Tiles", "tiles_from_json"]


class Tile(Protocol):
    """What every tile can say: `NamedTile` and `skymere.lake.cells.HealpixTile`."""

    @property
    def name(self) -> str:
        """Name, unique in the lake."""

    @property
    def grid(self) -> Grid:
        """WCS and shape of its images."""

    @property
    def polygon(self) -> NDArray[np.float64]:
        """Border of the owned sky, ``(n, 2)`` ``ra, dec`` [deg]."""

    @property
    def healpix29(self) -> int:
        """Index of order 29 under which a tile without sources is filed."""

    def owns(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether positions [deg] belong to this tile."""


class TileSet(Protocol):
    """What all tiles of a lake together can say: `Tiles` and `skymere.lake.cells.HealpixTiles`."""

    def __getitem__(self, name: str, /) -> Tile: ...

    def __contains__(self, name: object, /) -> bool: ...

    def touching(self, polygon: NDArray[np.float64]) -> list[str]:
        """Return the tiles that own a part of a convex polygon, ``(n, 2)`` ``ra, dec`` [deg]."""

    def neighbours(self, name: str) -> list[str]:
        """Return the tiles that may share a border with a tile."""

    def to_json(self) -> dict[str, Any]:
        """Return what ``lake.json`` keeps."""


@dataclass(frozen=True, eq=False)
class NamedTile:
    """A tile that the user drew.

    Parameters
    ----------
    name : str
        Name, unique in the lake.
    grid : Grid
        WCS and shape of its images.
    owner : array_like, shape (n, 2) [deg], optional
        ``ra, dec`` of the corners of the part of the sky whose sources belong to the tile; its sides are great
        circles. The outline of the grid when not given.

    Raises
    ------
    InvalidInputError
        When the name or the polygon is not allowed.
    """

    name: str
    grid: Grid
    owner: ArrayLike | None = None

    def __post_init__(self) -> None:
        check_name("name of a tile", self.name)
        polygon = self.grid.corners() if self.owner is None else np.asarray(self.owner, np.float64)
        if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3 or not np.isfinite(polygon).all():
            rule = "(3 or more, 2) finite degrees"
            msg = f"owner of tile {self.name!r}: shape {polygon.shape} is not allowed, it must be {rule}"
            raise InvalidInputError(msg)
        object.__setattr__(self, "owner", polygon)

    @property
    def polygon(self) -> NDArray[np.float64]:
        """Corners of the owned sky, ``(n, 2)`` ``ra, dec`` [deg]."""
        return np.asarray(self.owner)

    def owns(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether positions [deg] belong to this tile."""
        return polygon_contains(self.polygon, ra, dec)

    @property
    def healpix29(self) -> int:
        """Index of order 29 of the first corner; where a tile without sources is filed."""
        return int(healpix29(self.polygon[:1, 0], self.polygon[:1, 1])[0])

    def to_json(self) -> dict[str, Any]:
        """Return what ``lake.json`` keeps."""
        return {
            "name": self.name,
            "shape": list(self.grid.shape),
            "wcs": self.grid.cards(),
            "owner": self.polygon.tolist(),
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "NamedTile":
        """Return the tile that `to_json` described."""
        return cls(tree["name"], Grid.from_cards(tree["wcs"], tuple(tree["shape"])), tree["owner"])


class Tiles(Mapping[str, NamedTile]):
    """The tiles of a lake, by name.

    Raises
    ------
    InvalidInputError
        When there is none, two have one name, or two own the same sky.
    """

    def __init__(self, tiles: Sequence[NamedTile]) -> None:
        if not tiles:
            msg = "tiles: a lake needs at least one tile"
            raise InvalidInputError(msg)
        self._tiles = {tile.name: tile for tile in tiles}
        if len(self._tiles) != len(tiles):
            msg = f"tiles: the names {[tile.name for tile in tiles]} are not all different"
            raise InvalidInputError(msg)
        for a, b in combinations(tiles, 2):
            if polygons_overlap(a.polygon, b.polygon):
                msg = f"tiles: {a.name!r} and {b.name!r} own the same sky; owner polygons must not overlap"
                raise InvalidInputError(msg)

    def __getitem__(self, name: str) -> NamedTile:
        if name not in self._tiles:
            msg = f"tile {name!r} is not in the lake, it must be one of {list(self._tiles)}"
            raise NotFoundError(msg)
        return self._tiles[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tiles)

    def __len__(self) -> int:
        return len(self._tiles)

    def __contains__(self, name: object) -> bool:
        return name in self._tiles

    def __repr__(self) -> str:
        return ", ".join(self._tiles)

    def touching(self, polygon: NDArray[np.float64]) -> list[str]:
        """Return the tiles that own a part of a convex polygon, ``(n, 2)`` ``ra, dec`` [deg]."""
        return [name for name, tile in self._tiles.items() if polygons_overlap(tile.polygon, polygon)]

    def neighbours(self, name: str) -> list[str]:
        """Return the other tiles, any of which may share a border with a tile."""
        return [other for other in self._tiles if other != self[name].name]

    def to_json(self) -> dict[str, Any]:
        """Return what ``lake.json`` keeps."""
        return {"tiles": "named", "named_tiles": [tile.to_json() for tile in self._tiles.values()]}

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> "Tiles":
        """Return the tiles that ``lake.json`` describes.

        Raises
        ------
        FormatError
            When it does not.
        """
        try:
            return cls([NamedTile.from_json(tree) for tree in config["named_tiles"]])
        except (KeyError, TypeError, ValueError) as error:
            msg = f"lake.json: named_tiles cannot be read: {error}"
            raise FormatError(msg) from error


def tiles_from_json(config: Mapping[str, Any]) -> TileSet:
    """Return the tiles that ``lake.json`` describes.

    Raises
    ------
    FormatError
        When they are of a kind that this skymere does not know, or cannot be read.
    """
    kinds: dict[str, type[Tiles | HealpixTiles]] = {"named": Tiles, "healpix": HealpixTiles}
    kind = config.get("tiles")
    if kind not in kinds:
        msg = f"lake.json: tiles {kind!r} are not known to this skymere, it reads {list(kinds)}"
        raise FormatError(msg)
    return kinds[kind].from_json(config)
