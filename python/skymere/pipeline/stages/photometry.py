"""photometry: fluxes of all sources of a tile in other bands, with the shapes of its profiles."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Mosaic, StoredMosaic
from skymere.errors import InvalidInputError, SkymereError
from skymere.io import file_digest
from skymere.lake import Lake, Run, region_rows, regions_from_rows
from skymere.photometry import forced_photometry
from skymere.pipeline.band_images import BandImage, BandRegions, image_to_measure, read_band_image
from skymere.pipeline.fluxes import BandFluxes, band_fluxes, failed_band, models_for, write_fluxes
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import load_mosaics, load_psf, load_segmentation, mosaic_rows
from skymere.pipeline.task import Stage, Task, as_params
from skymere.psf import Psf, PsfGrid
from skymere.segmentation import labels_on_grid
from skymere.wcs import Grid

__all__ = ["STAGE"]

# What regions of the lake are for.
_ROLES = {"bad": "bad", "border": "mask_border", "large_scale": "mask_all", "blank": "sim"}


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with profiles; none when the plan names no band.

    Raises
    ------
    InvalidInputError
        When bands are named, but no profiles are fitted.
    """
    images = plan.band_images()
    if not images:
        return []
    if not plan.profiles.band:
        msg = "photometry: needs models, but profiles.band names no band whose sources are fitted"
        raise InvalidInputError(msg)
    digests = [
        {"uri": Path(file).name, "sha256": file_digest(Path(file))}
        for one in images
        for file in one.files().values()
        if Path(file).is_file()
    ]
    return [_task(plan, lake, tile, images, digests) for tile in sorted(lake.live_runs("profile"))]


def _task(plan: Plan, lake: Lake, tile: str, images: Sequence[BandImage], digests: list[dict[str, str]]) -> Task:
    neighbours = sorted(set(lake.tiles.neighbours(tile)) & set(lake.live_runs("profile")))
    drawn = lake.live_runs("region")
    own = ("mosaic", "psf", "segmentation") if any(not one.image for one in images) else ("segmentation",)
    return Task(
        tile=tile,
        inputs=[
            *(lake.reference(product, tile) for product in own),
            *(lake.reference("profile", name) for name in (tile, *neighbours)),
            *({"uri": f"region/{name}", "run": drawn[name]} for name in (tile, *neighbours) if name in drawn),
            *digests,
        ],
        params={"images": [as_params(_named(one)) for one in images], "margin_arcsec": plan.photometry.margin_arcsec},
        work=partial(_work, plan, lake, tile, images),
    )


def _named(image: BandImage) -> dict[str, Any]:
    """Return the parameters of an image; its files by name alone, since the same ones elsewhere are the same work."""
    params: dict[str, Any] = as_params(image)
    return params | {name: Path(file).name for name, file in image.files().items()}


def _work(plan: Plan, lake: Lake, tile: str, images: Sequence[BandImage], run: Run) -> None:
    bands = []
    for image in images:
        try:
            bands.append(_measured(plan, lake, tile, image))
        except SkymereError as error:
            run.warn(f"{image.band}: {error}")
            models = models_for(lake, lake.tiles[tile].grid, plan.profiles.band)
            bands.append(failed_band(models, band=image.band, tile=tile, why=str(error)))
    write_fluxes(run, bands)


def _measured(plan: Plan, lake: Lake, tile: str, image: BandImage) -> BandFluxes:
    """Measure a band.

    Raises
    ------
    SkymereError
        When it cannot be measured at all.
    """
    mosaic, psf, regions = _band(plan, lake, tile, image)
    if not np.isfinite(mosaic.zero_point_ab):
        msg = f"band {image.band!r} has no zero point, which the lake's uJy need; give zero_point_ab"
        raise InvalidInputError(msg)
    models = models_for(lake, mosaic.grid, plan.profiles.band)
    modelled = labels_on_grid(load_segmentation(lake, tile), mosaic.grid) > 0
    measured, params = image_to_measure(mosaic, image, regions, modelled=modelled)
    found = forced_photometry(measured, models=models, psf=psf, psf_has_pixel=image.psf_has_pixel, params=params)
    return band_fluxes(
        found,
        models,
        band=image.band,
        tile=tile,
        grid=mosaic.grid,
        image_unit=mosaic.unit,
        zero_point_ab=mosaic.zero_point_ab,
    )


def _band(plan: Plan, lake: Lake, tile: str, image: BandImage) -> tuple[Mosaic, Psf | PsfGrid, BandRegions]:
    """Return a band's pixels around the tile, its PSF and the regions that people drew on it."""
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


STAGE = Stage(
    name="photometry",
    reads=("mosaic", "psf", "segmentation", "profile", "region"),
    writes=("flux",),
    tasks=tasks,
)
