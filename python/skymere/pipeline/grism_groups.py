"""Which exposures of grisms are modelled together: those whose middles are in one tile.

So a task has the size of a tile, and a new exposure is the business of its own group alone, however large the survey.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import SkymereError
from skymere.io import read_exposure
from skymere.lake import Lake
from skymere.pipeline.exposures import outline_of, place_of
from skymere.pipeline.owners import owner_of

__all__ = ["GrismFile", "GrismGroup", "grism_groups", "grown", "place_facts"]


@dataclass(frozen=True, kw_only=True)
class GrismFile:
    """An exposure of a grism that waits in a file.

    Parameters
    ----------
    path : Path
        The file.
    sha256 : str
        Its digest; empty when it cannot be read.
    ra, dec : float
        Its middle [deg]; NaN when it cannot be read.
    footprint : str
        Its outline; empty when it cannot be read.
    scale_arcsec : float
        Its pixel [arcsec].
    """

    path: Path
    sha256: str
    ra: float = float("nan")
    dec: float = float("nan")
    footprint: str = ""
    scale_arcsec: float = float("nan")

    def outline(self, margin_pix: float) -> NDArray[np.float64]:
        """Return the corners ``(n, 2)`` ``ra, dec`` [deg] with so much around them."""
        return grown(outline_of(self.footprint), margin_pix * self.scale_arcsec)


@dataclass(frozen=True, kw_only=True)
class GrismGroup:
    """Exposures that are modelled together.

    Parameters
    ----------
    name : str
        Under which their frames are published.
    files : tuple of GrismFile
        The exposures.
    tiles : tuple of str
        Tiles with sources that may be on them.
    """

    name: str
    files: tuple[GrismFile, ...]
    tiles: tuple[str, ...] = ()


def grown(outline: NDArray[np.float64], margin_arcsec: float) -> NDArray[np.float64]:
    """Return the corners of a convex outline ``(n, 2)`` ``ra, dec`` [deg] moved away from their middle.

    Parameters
    ----------
    outline : ndarray, float64, shape (n, 2)
        Corners [deg].
    margin_arcsec : float
        By how much every side moves at least [arcsec].
    """
    ra0, dec0 = outline[0]
    squeeze = np.cos(np.radians(dec0))
    flat = np.column_stack([((outline[:, 0] - ra0 + 180) % 360 - 180) * squeeze, outline[:, 1] - dec0])
    away = flat - flat.mean(axis=0)
    # A corner that moves by its margin times the square root of 2 moves both of its sides by as much, or more.
    away *= 1 + np.sqrt(2) * margin_arcsec / 3600 / np.min(np.hypot(*away.T))
    moved = away + flat.mean(axis=0)
    return np.column_stack([(moved[:, 0] / squeeze + ra0) % 360, moved[:, 1] + dec0])


def grism_groups(files: Sequence[tuple[Path, str]], lake: Lake, *, pad_pix: int) -> list[GrismGroup]:
    """Return the groups of exposures of grisms, ordered by name.

    Parameters
    ----------
    files : sequence of (Path, str)
        Files and their digests.
    lake : Lake
        Tiles that have a segmentation have sources.
    pad_pix : int
        Sources so far beyond an exposure may have light on it [pix].

    Notes
    -----
    Exposures that cannot be read, or see no tile with sources, are told with the first group. What is known of a file
    from its frame in the lake is not read again.
    """
    known = _known(lake)
    there = lake.live_runs("segmentation")
    members: dict[str, list[GrismFile]] = {}
    lost: list[GrismFile] = []
    for path, sha256 in files:
        one = known.get((str(path), sha256)) or _read(path, sha256)
        seen = _tiles(lake, one, pad_pix, there) if one.footprint else []
        if not seen:
            lost.append(one)
            continue
        owner = owner_of(lake, one.ra, one.dec)
        members.setdefault(owner if owner in there else seen[0], []).append(one)
    groups = []
    for i, tile in enumerate(sorted(members, key=lambda name: (len(name), name))):
        mine = (*members[tile], *(lost if i == 0 else ()))
        tiles = {name for one in members[tile] for name in _tiles(lake, one, pad_pix, there)}
        groups.append(GrismGroup(name=f"grism-{tile}", files=mine, tiles=tuple(sorted(tiles))))
    return groups


def _tiles(lake: Lake, one: GrismFile, pad_pix: int, there: Mapping[str, str]) -> list[str]:
    """Return the tiles with sources that may be on an exposure."""
    return sorted(name for name in lake.tiles.touching(one.outline(pad_pix)) if name in there)


def _read(path: Path, sha256: str) -> GrismFile:
    try:
        exposure = read_exposure(path)
    except SkymereError:
        # The work meets the same error and puts it into the row of the file.
        return GrismFile(path=path, sha256=sha256)
    place = place_of(exposure.wcs, exposure.shape)
    (ra0, dec0), (ra1, dec1), *_ = outline_of(place["footprint"])
    side = np.hypot(((ra1 - ra0 + 180) % 360 - 180) * np.cos(np.radians(dec0)), dec1 - dec0)
    return GrismFile(path=path, sha256=sha256, scale_arcsec=float(3600 * side / exposure.shape[1]), **place)


def _known(lake: Lake) -> dict[tuple[str, str], GrismFile]:
    """Return what rows of frames tell of the places of files."""
    place = pl.col("meta").str.json_path_match("$.facts.place")
    rows = lake.table("grism_frame").filter(pl.col("status") == "ok").select("path", "sha256", place=place)
    found = {}
    for path, sha256, text in rows.drop_nulls().collect().iter_rows():
        ra, dec, scale, footprint = text.split(" ", 3)
        at = {"ra": float(ra), "dec": float(dec), "scale_arcsec": float(scale)}
        found[path, sha256] = GrismFile(path=Path(path), sha256=sha256, footprint=footprint, **at)
    return found


def place_facts(one: GrismFile) -> dict[str, str]:
    """Return what a frame keeps of the place of its file, so that the file need not be read again."""
    if not one.footprint:
        return {}
    return {"place": f"{one.ra!r} {one.dec!r} {one.scale_arcsec!r} {one.footprint}"}
