"""How large tasks are: what they cost follows from the pixels and objects that they work on.

The same sizes are taken from a lake in which the work was done and from one as it would be (`Forecast`), so that what
was measured on the first foretells the second.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.lake import Lake
from skymere.lake.sky import polygon_contains
from skymere.pipeline.exposures import outline_of, usable_exposures

__all__ = [
    "ARRAY_DRIVERS",
    "DRIVERS",
    "SIZES",
    "YIELDS",
    "FieldSizes",
    "GrismFootprint",
    "corners_of",
    "covered_arcmin2",
    "mosaic_members",
    "sizes_of_lake",
]

SIZES: Mapping[str, str] = MappingProxyType(
    {
        "exposure_pixels": "pixels of the exposures that are read",
        "overlap_pixels": "those of them that lie on the tile's image",
        "tile_pixels": "pixels of the tile's image",
        "band_pixels": "the same, in every band that has a mosaic",
        "seen_pixels": "those of them that an exposure of the band sees",
        "sources": "sources of the tile",
        "stamps": "sources of the tile, in every band that has a mosaic",
        "fluxes": "sources of the tile, in every band whose fluxes are forced",
        "slits": "slits that are put together",
        "slit_spectra": "sources of the tile with a spectrum of slits",
        "frame_pixels": "pixels of the exposures of grisms",
        "beams": "beams of the tile",
        "grism_sources": "sources of the tile with beams",
    }
)
"""What sizes there are, and what each counts."""

DRIVERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ingest": ("exposure_pixels",),
        "align": ("exposure_pixels",),
        "background": ("exposure_pixels",),
        "outliers": ("overlap_pixels", "tile_pixels"),
        "mosaic": ("overlap_pixels", "band_pixels"),
        "psf": ("band_pixels",),
        "detect": ("band_pixels",),
        "measure": ("sources", "band_pixels"),
        "profiles": ("sources", "tile_pixels"),
        "models": ("sources", "tile_pixels"),
        "photometry": ("fluxes", "tile_pixels"),
        "cutouts": ("stamps",),
        "slits": ("slits",),
        "contam": ("frame_pixels", "sources"),
        "beams": ("beams",),
        "redshifts": ("beams", "slit_spectra"),
        "maps": ("beams", "grism_sources"),
    }
)
"""Sizes that decide what a task of a stage costs, the first the most; a stage that is not here costs nothing."""

ARRAY_DRIVERS: Mapping[str, tuple[str, ...]] = MappingProxyType({**DRIVERS, "mosaic": ("seen_pixels",)})
"""Sizes that decide how large arrays are: what no exposure sees is not written, what several see is written once."""

YIELDS: Mapping[str, str] = MappingProxyType(
    {
        "sources_per_arcmin2": "sources for each square arcmin that exposures see",
        "beams_per_arcmin2": "beams for each square arcmin and each exposure of a grism that sees it",
        "grism_sources_per_arcmin2": "sources with beams for each square arcmin that exposures of grisms see",
    }
)
"""What a survey yields, measured on a lake, so that the objects of another are expected before they are found."""

_SAMPLES = 48


@dataclass(frozen=True, kw_only=True)
class GrismFootprint:
    """An exposure of a grism.

    Parameters
    ----------
    name : str
        Name of its file.
    n_pixels : int
        Its pixels.
    outline : ndarray, float64, shape (n, 2), optional
        Its corners ``ra, dec`` [deg]; None when they are not known.
    """

    name: str
    n_pixels: int
    outline: NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class FieldSizes:
    """Sizes of everything in a lake, or in one as it would be.

    Parameters
    ----------
    lake : Lake
        Its tiles are asked for their pixels.
    exposures : mapping of str to int
        Pixels by exposure.
    mosaics : mapping of str to mapping
        Exposures of mosaics, by tile and band.
    outlines : mapping of str to ndarray, float64, shape (n, 2)
        Corners ``ra, dec`` [deg] by exposure.
    n_grism_pixels : mapping of str to int
        Pixels by name of the file of a grism.
    objects : mapping of str to mapping
        By size, then by tile: ``sources``, ``fluxes``, ``slit_spectra``, ``beams``, ``grism_sources``.
    """

    lake: Lake
    exposures: Mapping[str, int]
    mosaics: Mapping[str, Mapping[str, Sequence[str]]]
    outlines: Mapping[str, NDArray[np.float64]]
    n_grism_pixels: Mapping[str, int] = field(default_factory=dict)
    objects: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def of(self, stage: str, tile: str, inputs: Sequence[Any], params: Mapping[str, Any]) -> dict[str, float]:
        """Return the sizes of a task that decide what it costs, by name.

        Parameters
        ----------
        stage, tile : str
            The task.
        inputs : sequence
            What it reads, JSON.
        params : mapping
            Its parameters, JSON.
        """
        named = [one["uri"] for one in inputs if isinstance(one, dict) and "uri" in one]
        names = dict.fromkeys((*DRIVERS.get(stage, ()), *ARRAY_DRIVERS.get(stage, ())))
        return {name: self._size(name, tile, named, params) for name in names}

    def _size(self, name: str, tile: str, inputs: Sequence[str], params: Mapping[str, Any]) -> float:
        if name in ("exposure_pixels", "overlap_pixels"):
            read = [uri.partition("/")[2] for uri in inputs if uri.startswith("exposure/")] or [tile]
            parts = self._on_tile(tile, read) if name == "overlap_pixels" else [1.0] * len(read)
            return float(sum(part * self.exposures.get(one, 0) for one, part in zip(read, parts, strict=True)))
        if name == "frame_pixels":
            return float(sum(self.n_grism_pixels.get(uri, 0) for uri in inputs))
        if name == "slits":
            return float(sum(len(unit["slits"]) for unit in params.get("units", ())))
        if name == "seen_pixels":
            return self._seen_pixels(tile)
        if name in ("tile_pixels", "band_pixels"):
            ny, nx = self.lake.tiles[self._own(tile)].grid.shape
            return float(ny * nx * (self._n_bands(tile) if name == "band_pixels" else 1))
        each = self._n_bands(tile) if name == "stamps" else 1
        read = [uri.partition("/")[2] for uri in inputs if uri.startswith("source/")] if name == "sources" else []
        return each * sum(self._objects("sources" if name == "stamps" else name, one) for one in read or [tile])

    def _n_bands(self, tile: str) -> int:
        return len(self.mosaics.get(tile, {}))

    def _seen_pixels(self, tile: str) -> float:
        scale = self.lake.tiles[tile].grid.scale_arcsec / 60
        bands = self.mosaics.get(tile, {}).values()
        seen = (
            covered_arcmin2(self.lake, tile, corners_of(self.outlines, names), is_owned=False)[0] for names in bands
        )
        return sum(seen) / scale**2

    def _on_tile(self, tile: str, names: Sequence[str]) -> list[float]:
        """Return which part of each exposure lies on the image of a tile; 1 where its corners are not known."""
        outlines = [self.outlines.get(one) for one in names]
        own = self._own(tile)
        return [
            1.0
            if outline is None
            else min(covered_arcmin2(self.lake, own, [outline], is_owned=False)[0] / _arcmin2(outline), 1.0)
            for outline in outlines
        ]

    def _own(self, tile: str) -> str:
        """Return the tile of the sky that a group of it stands for."""
        return tile if tile in self.lake.tiles else tile.rpartition(".")[0]

    def _objects(self, name: str, tile: str) -> float:
        return float(self.objects.get(name, {}).get(tile, 0.0))


def _arcmin2(outline: NDArray[np.float64]) -> float:
    """Return the area of a small polygon on the sky."""
    ra, dec = outline.T
    x = ((ra - ra[0] + 180.0) % 360.0 - 180.0) * np.cos(np.deg2rad(dec.mean()))
    return 1800.0 * abs(float(np.dot(x, np.roll(dec, -1)) - np.dot(dec, np.roll(x, -1))))


def corners_of(outlines: Mapping[str, NDArray[np.float64]], names: Iterable[str]) -> list[NDArray[np.float64]]:
    """Return the outlines of exposures, of those that have one."""
    return [outlines[one] for one in names if one in outlines]


def covered_arcmin2(
    lake: Lake, tile: str, outlines: Iterable[NDArray[np.float64]], *, is_owned: bool = True
) -> tuple[float, float]:
    """Return how much of the sky of a tile exposures see [arcmin2], once, and once for each of them.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str
        The tile.
    outlines : iterable of ndarray, float64, shape (n, 2)
        Corners ``ra, dec`` of the exposures [deg].
    is_owned : bool, optional
        Whether only the sky that the tile owns counts, or all of its image.

    Notes
    -----
    Counted on a grid of 48 by 48 places, so that the sky of a tile is known to some percent.
    """
    own = lake.tiles[tile]
    ny, nx = own.grid.shape
    x, y = np.meshgrid(
        (np.arange(_SAMPLES) + 0.5) / _SAMPLES * nx - 0.5, (np.arange(_SAMPLES) + 0.5) / _SAMPLES * ny - 0.5
    )
    ra, dec = own.grid.sky(x.ravel(), y.ravel())
    if is_owned:
        owned = own.owns(ra, dec)
        ra, dec = ra[owned], dec[owned]
    seen = np.zeros(ra.size, np.int64)
    for outline in outlines:
        seen += polygon_contains(outline, ra, dec)
    place = ny * nx * (own.grid.scale_arcsec / 60) ** 2 / _SAMPLES**2
    return float(place * np.count_nonzero(seen)), float(place * seen.sum())


def sizes_of_lake(lake: Lake) -> tuple[FieldSizes, dict[str, float]]:
    """Return the sizes of everything in a lake, and what it yields of objects (`YIELDS`).

    Parameters
    ----------
    lake : Lake
        A lake in which the work was done.
    """
    rows = usable_exposures(lake)
    exposures = _pixels(rows)
    outlines = {name: outline_of(text) for name, text in rows.select("exposure_id", "footprint").iter_rows()}
    grisms = _grism_footprints(lake)
    objects = {
        "sources": _counted(lake, "source", None),
        "fluxes": _counted(lake, "flux", None),
        "beams": _counted(lake, "beam", None),
        "slit_spectra": _counted(lake, "redshift", "slit"),
        "grism_sources": _counted(lake, "redshift", "grism"),
    }
    mosaics = mosaic_members(lake)
    sky = sum(
        covered_arcmin2(lake, tile, corners_of(outlines, set().union(*bands.values())))[0]
        for tile, bands in mosaics.items()
    )
    found = [one.outline for one in grisms if one.outline is not None]
    seen = [covered_arcmin2(lake, tile, found) for tile in mosaics] if found else []
    once, each = (sum(one[k] for one in seen) for k in (0, 1))
    totals = {
        "sources_per_arcmin2": (objects["sources"], sky),
        "beams_per_arcmin2": (objects["beams"], each),
        "grism_sources_per_arcmin2": (objects["grism_sources"], once),
    }
    sizes = FieldSizes(
        lake=lake,
        exposures=exposures,
        mosaics=mosaics,
        outlines=outlines,
        n_grism_pixels={one.name: one.n_pixels for one in grisms},
        objects=objects,
    )
    return sizes, {name: sum(count.values()) / area for name, (count, area) in totals.items() if area > 0}


def mosaic_members(lake: Lake) -> dict[str, dict[str, list[str]]]:
    """Return the exposures of each mosaic, by tile and band."""
    rows = lake.table("mosaic").filter(pl.col("status") == "ok").select("tile", "band", "exposure_ids").collect()
    found: dict[str, dict[str, list[str]]] = {}
    for tile, band, text in rows.iter_rows():
        found.setdefault(tile, {})[band] = json.loads(text)
    return found


def _pixels(rows: pl.DataFrame) -> dict[str, int]:
    return {name: int(ny) * int(nx) for name, ny, nx in rows.select("exposure_id", "ny", "nx").iter_rows()}


def _counted(lake: Lake, product: str, method: str | None) -> dict[str, float]:
    rows = lake.table(product)
    rows = rows if method is None else rows.filter(pl.col("method") == method)
    return dict(rows.group_by("tile").agg(pl.len().cast(pl.Float64)).collect().iter_rows())


def _grism_footprints(lake: Lake) -> list[GrismFootprint]:
    """Return the exposures of grisms in a lake; frames of before their place was kept have no outline."""
    place = pl.col("meta").str.json_path_match("$.facts.place").alias("place")
    rows = lake.table("grism_frame").filter(pl.col("status") == "ok")
    found = []
    for path, ny, nx, pad_y, pad_x, text in (
        rows.select("path", "ny", "nx", "pad_y", "pad_x", place).collect().iter_rows()
    ):
        outline = outline_of(text.split(" ", 3)[3]) if text else None
        n_pixels = (ny - 2 * pad_y) * (nx - 2 * pad_x)
        found.append(GrismFootprint(name=PurePath(path).name, n_pixels=n_pixels, outline=outline))
    return found
