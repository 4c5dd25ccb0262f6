"""What exposures of grisms look at: sources with labels, and direct images; from files, or from the tiles of a lake."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Exposure, Mosaic, SegmentationMap
from skymere.errors import InvalidInputError
from skymere.io import read_labels, read_table
from skymere.lake import Lake
from skymere.pipeline.grism_direct import DirectImages
from skymere.pipeline.grism_groups import GrismFile
from skymere.pipeline.grism_plan import ContamPlan
from skymere.pipeline.products import detection_bands, stored_mosaics
from skymere.pipeline.slit_units import source_ids

__all__ = ["Scene", "SceneOfFiles", "SceneOfLake"]

_MARGIN_PIX = 8


class Scene(Protocol):
    """What is in the sky."""

    @property
    def catalogue(self) -> pl.DataFrame:
        """``id, ra, dec`` and perhaps ``mag`` of the sources."""

    @property
    def sources(self) -> Mapping[int, int]:
        """Sources of the lake by ``id``."""

    def labels(self, file: GrismFile) -> Sequence[SegmentationMap]:
        """Return maps of ids that an exposure may see."""

    def direct(self, file: GrismFile, exposure: Exposure) -> Sequence[Exposure | Mosaic]:
        """Return direct images that an exposure may see."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneOfFiles:
    """A catalogue and labels in files.

    Parameters
    ----------
    lake : Lake
        Its sources lend their identifiers.
    plan : ContamPlan
        The section.
    catalogue_path, segmentation_path : Path
        The files.
    images : DirectImages
        Direct images.
    """

    lake: Lake
    plan: ContamPlan
    catalogue_path: Path
    segmentation_path: Path
    images: DirectImages

    @cached_property
    def catalogue(self) -> pl.DataFrame:
        """The rows of the file."""
        return read_table(self.catalogue_path)

    @cached_property
    def sources(self) -> Mapping[int, int]:
        """Sources of the lake by id of the file.

        Raises
        ------
        InvalidInputError
            When a column is missing.
        """
        columns = self.catalogue.columns
        name = next((one for one in ("id", "label", "number", "NUMBER") if one in columns), None)
        if name is None or "ra" not in columns or "dec" not in columns:
            msg = f"contam.catalogue: {self.catalogue_path} has the columns {columns}, it must have id, ra and dec"
            raise InvalidInputError(msg)
        rows = self.catalogue.select(pl.col(name).cast(pl.Int64), "ra", "dec").iter_rows()
        places = {str(one): (ra, dec) for one, ra, dec in rows}
        ids = source_ids(self.lake, places, self.plan.match_radius_arcsec)
        return {int(label): ids[label] for label in places}

    @cached_property
    def _segmentation(self) -> SegmentationMap:
        labels, grid = read_labels(self.segmentation_path)
        return SegmentationMap(labels=labels, grid=grid)

    def labels(self, file: GrismFile) -> Sequence[SegmentationMap]:
        """Return the map of the file."""
        del file
        return (self._segmentation,)

    def direct(self, file: GrismFile, exposure: Exposure) -> Sequence[Exposure | Mosaic]:
        """Return the partner of an exposure, when there is one, and the mosaics."""
        del file
        return self.images.of(exposure, max_arcsec=self.plan.frame.max_partner_arcsec)


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneOfLake:
    """The sources of tiles; memory holds what one exposure sees of their images.

    Parameters
    ----------
    lake : Lake
        The lake.
    plan : ContamPlan
        The section.
    tiles : tuple of str
        Tiles with a segmentation.
    images : DirectImages
        Direct images of files, or exposures of the lake.
    has_mosaics : bool
        Whether mosaics of the lake are direct images, too.

    Notes
    -----
    Numbers are those of the sources in the order of their identifiers: labels of two tiles may be the same. Each source
    has the pixels that its label has in the tile that owns it.
    """

    lake: Lake
    plan: ContamPlan
    tiles: tuple[str, ...]
    images: DirectImages
    has_mosaics: bool

    @cached_property
    def _rows(self) -> pl.DataFrame:
        """``id, source_id, tile, label, ra, dec, mag`` of the sources of all tiles.

        Raises
        ------
        InvalidInputError
            When a tile has no magnitudes of the band that the plan names.
        """
        parts = []
        for tile in self.tiles:
            rows = self.lake.table("source").filter(pl.col("tile") == tile).collect()
            band = self.plan.mag_band or detection_bands(self.lake, tile)[0]
            name = f"mag_auto_{band}"
            if name not in rows.columns:
                msg = f"contam.mag_band: {band!r} is not allowed, tile {tile} has no {name}"
                raise InvalidInputError(msg)
            # A source without a magnitude is taken for a bright one: all of its orders are drawn.
            mag = pl.col(name).fill_null(0.0).alias("mag")
            parts.append(rows.select("source_id", "tile", "label", "ra", "dec", mag))
        return (
            pl.concat(parts).sort("source_id").with_row_index("id", offset=1).with_columns(pl.col("id").cast(pl.Int64))
        )

    @property
    def catalogue(self) -> pl.DataFrame:
        """``id, ra, dec, mag`` of the sources."""
        return self._rows.select("id", "ra", "dec", "mag")

    @property
    def sources(self) -> Mapping[int, int]:
        """Sources of the lake by number."""
        return dict(self._rows.select("id", "source_id").iter_rows())

    def labels(self, file: GrismFile) -> Sequence[SegmentationMap]:
        """Return the windows of the tiles that an exposure sees, with the numbers of their own sources."""
        found = []
        for tile, window in self._windows(file):
            arrays = self.lake.arrays("segmentation", tile)
            labels = arrays["label"][window]
            own = self._rows.filter(pl.col("tile") == tile).select("label", "id").to_numpy()
            number: NDArray[np.int32] = np.zeros(max(labels.max(initial=0), own[:, 0].max(initial=0)) + 1, np.int32)
            number[own[:, 0]] = own[:, 1]
            y, x = window
            grid = arrays.grid("label").cutout(y.start, x.start, labels.shape)
            found.append(SegmentationMap(labels=number[labels], grid=grid))
        return found

    def direct(self, file: GrismFile, exposure: Exposure) -> Sequence[Exposure | Mosaic]:
        """Return the partner of an exposure, when there is one, and the windows of mosaics that it sees."""
        given = self.images.of(exposure, max_arcsec=self.plan.frame.max_partner_arcsec)
        if not self.has_mosaics:
            return given
        there = self.lake.live_runs("mosaic")
        windows = [(tile, window) for tile, window in self._windows(file) if tile in there]
        return [*given, *(one.window(*window) for tile, window in windows for one in stored_mosaics(self.lake, tile))]

    def _windows(self, file: GrismFile) -> list[tuple[str, tuple[slice, slice]]]:
        """Return the tiles that an exposure and its pad see, and where on their images."""
        if not file.footprint:
            return []
        outline = file.outline(max(self.plan.frame.pad))
        found = []
        for tile in self.tiles:
            grid = self.lake.tiles[tile].grid
            x, y = grid.pixels(*outline.T)
            rows, columns = _span(y, grid.shape[0]), _span(x, grid.shape[1])
            if rows.stop > rows.start and columns.stop > columns.start:
                found.append((tile, (rows, columns)))
        return found


def _span(places: NDArray[np.float64], n: int) -> slice:
    """Return the pixels of an axis of ``n`` around some places, and some more for the interpolation."""
    low, high = np.floor(places.min()) - _MARGIN_PIX, np.ceil(places.max()) + _MARGIN_PIX
    return slice(int(np.clip(low, 0, n)), int(np.clip(high, 0, n)))
