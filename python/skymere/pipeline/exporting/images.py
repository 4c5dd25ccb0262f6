"""Mosaics and segmentations of a tile as files."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from skymere.io import write_image, write_mosaic, write_sources
from skymere.lake import Lake
from skymere.pipeline.products import detection_bands, load_mosaics, load_segmentation, mosaic_rows

__all__ = ["export_mosaics", "export_segmentation"]


def export_mosaics(lake: Lake, tile: str, folder: Path) -> Iterator[Path]:
    """Write the mosaics of a tile: ``TILE-BAND_drz.fits``.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str
        The tile.
    folder : Path
        Where.
    """
    for band in mosaic_rows(lake, tile)["band"].to_list():
        path = folder / f"{tile}-{band}_drz.fits"
        (mosaic,) = load_mosaics(lake, tile, [band])
        write_mosaic(mosaic, path)
        yield path


def export_segmentation(lake: Lake, tile: str, folder: Path) -> Iterator[Path]:
    """Write the segmentation of a tile and its sources: ``TILE/det_seg.fits`` and ``TILE/det_cat.fits``.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str
        The tile.
    folder : Path
        Where; the names are those of `make_detect`, so that each tile has a folder of its own.
    """
    own = folder / tile
    own.mkdir(parents=True, exist_ok=True)
    found = load_segmentation(lake, tile)
    path = own / "det_seg.fits"
    write_image(found.labels, path, name="SEG", wcs=lake.tiles[tile].grid.wcs)
    yield path
    rows = lake.table("source").filter(pl.col("tile") == tile).sort("label").collect()
    if rows.is_empty():
        return
    band = next((one for one in detection_bands(lake, tile) if f"flux_iso_{one}" in rows.columns), None)
    fluxes = {
        name: pl.lit(None, pl.Float64) if band is None else pl.col(f"flux_iso{name.removeprefix('flux')}_{band}")
        for name in ("flux", "flux_err")
    }
    table = rows.select("label", "area", "x", "y", "ra", "dec", **fluxes)
    path = own / "det_cat.fits"
    write_sources(table, path)
    yield path
