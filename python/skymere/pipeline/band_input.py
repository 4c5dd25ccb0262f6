"""What the photometry of a tile reads of a band: pixels, PSF and regions, of files or of the lake."""

from collections.abc import Collection

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Mosaic, StoredMosaic
from skymere.errors import InvalidInputError
from skymere.io import read_image
from skymere.lake import Lake, region_rows, regions_from_rows
from skymere.photometry import ExternalModel
from skymere.pipeline.band_images import BandImage, BandRegions, read_band_image
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import load_mosaics, load_psf, mosaic_rows
from skymere.psf import Psf, PsfGrid
from skymere.wcs import Grid

__all__ = ["band_input", "external_images"]

# What regions of the lake are for.
_ROLES = {"bad": "bad", "border": "mask_border", "large_scale": "mask_all", "blank": "sim"}


def band_input(plan: Plan, lake: Lake, tile: str, image: BandImage) -> tuple[Mosaic, Psf | PsfGrid, BandRegions]:
    """Return a band's pixels around a tile, its PSF and the regions that people drew on it.

    Parameters
    ----------
    plan : Plan
        Where files are.
    lake : Lake
        Mosaics, PSFs and regions.
    tile : str
        The tile.
    image : BandImage
        Files, or a mosaic of the lake.

    Raises
    ------
    SkymereError
        When a file cannot be used, or the lake has no mosaic or PSF of the band.
    """
    drawn = _regions(lake, tile, image)
    if not image.image:
        have = mosaic_rows(lake, tile)["band"].to_list()
        if image.band not in have:
            msg = f"photometry: {image.band!r} has no mosaic in tile {tile}, it must be one of {have}, or have an image"
            raise InvalidInputError(msg)
        (mosaic,) = load_mosaics(lake, tile, [image.band])
        psf, _ = load_psf(lake, tile, image.band)
        return mosaic, psf, drawn
    whole, one_psf, beside = read_band_image(image)
    both = {name: (*getattr(beside, name), *getattr(drawn, name)) for name in _ROLES}
    rows, columns = _around(lake.tiles[tile].grid, whole.grid, plan.photometry.margin_arcsec)
    return StoredMosaic.of(whole).window(rows, columns), one_psf, BandRegions(**both)


def external_images(plan: Plan, source_ids: Collection[int]) -> dict[int, ExternalModel]:
    """Return the images that stand for the models of some sources.

    Parameters
    ----------
    plan : Plan
        Names their files.
    source_ids : collection of int
        Sources that are measured.

    Raises
    ------
    SkymereError
        When a file cannot be used.
    """
    found = {}
    for source_id, path in plan.external_models().items():
        if source_id in source_ids:
            data, grid = read_image(path)
            found[source_id] = ExternalModel(data=data, wcs=grid.wcs)
    return found


def _around(tile: Grid, image: Grid, margin_arcsec: float) -> tuple[slice, slice]:
    """Return the window of an image that holds a tile and a margin around it.

    Raises
    ------
    InvalidInputError
        When the tile does not lie on the image.
    """
    x, y = image.pixels(*_edge(tile))
    margin = margin_arcsec / image.scale_arcsec
    window = []
    for values, n in ((y, image.shape[0]), (x, image.shape[1])):
        first, last = max(0, int(np.floor(values.min() - margin))), min(n, int(np.ceil(values.max() + margin)) + 1)
        if first >= last:
            msg = "image: it does not cover the tile"
            raise InvalidInputError(msg)
        window.append(slice(first, last))
    return window[0], window[1]


def _edge(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return places along the edge of a grid."""
    ny, nx = grid.shape
    along = np.linspace(0.0, 1.0, 33)
    x = np.concatenate([along * (nx - 1), along * (nx - 1), np.zeros(33), np.full(33, nx - 1.0)])
    y = np.concatenate([np.zeros(33), np.full(33, ny - 1.0), along * (ny - 1), along * (ny - 1)])
    return grid.sky(x, y)


def _regions(lake: Lake, tile: str, image: BandImage) -> BandRegions:
    """Return the regions of the lake for a band."""
    rows = region_rows(lake)
    rows = rows.filter(
        ~pl.col("is_retracted"),
        pl.col("tile").is_in([tile, *lake.tiles.neighbours(tile)]),
        pl.col("band").is_in(["", image.band]),
    )
    roles = _ROLES | ({"border": "mask_border_more"} if image.has_more_border_masks else {})
    return BandRegions(
        **{name: tuple(regions_from_rows(rows.filter(pl.col("role") == role))) for name, role in roles.items()}
    )
