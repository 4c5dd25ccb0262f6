"""measure: positions, shapes and fluxes of all segments in all bands, and the identifiers of the sources."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.background import BackgroundParams, level_error
from skymere.datamodels import Mosaic, SegmentationMap, StoredMosaic
from skymere.errors import NoDataError
from skymere.lake import Lake, Run, StoredEdit, stored_edits
from skymere.mosaic import (
    band_depth,
    enough_exposures,
    measured_stack,
    plane_of,
    stored_band,
    subtract_background,
    without_pixels,
)
from skymere.outliers import grow_mask
from skymere.pipeline.block_sides import block_side, is_in_blocks
from skymere.pipeline.borders import border_digests, owned_sources
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import (
    SaturatedPixels,
    detection_bands,
    load_mosaics,
    mosaic_rows,
    saturated_pixels,
    stored_mosaics,
)
from skymere.pipeline.task import Stage, Task, as_params
from skymere.segmentation import MeasureImage, StoredLabels, bad_pixels, measure, measure_blocks
from skymere.segmentation.windows import widened

__all__ = ["STAGE"]

# How far beside a segment its light is brighter than the error of the sky [pix].
_BESIDE_PIX = 2


@dataclass(frozen=True)
class _Masks:
    """By band, the pixels that must not be used, and those that are saturated."""

    bad: Mapping[str, NDArray[np.bool_]]
    saturated: Mapping[str, SaturatedPixels]

    def looked_at(self, found: MeasureImage, bands: Collection[str], rows: slice, columns: slice) -> dict[str, Any]:
        """Return the image of bands on which shapes are measured, and the saturated pixels, in a window."""
        saturated = {band: full.window(rows, columns) for band, full in self.saturated.items()}
        in_any = [mask for band, mask in saturated.items() if band in bands]
        detection = replace(found, saturated=np.logical_or.reduce(in_any)) if in_any else found
        return {"detection": detection, "saturated": saturated}


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with a segmentation."""
    return [_task(plan, lake, tile, borders) for tile, borders in sorted(border_digests(lake).items())]


def _task(plan: Plan, lake: Lake, tile: str, borders: Mapping[str, str]) -> Task:
    edits, regions = stored_edits(lake, tile)
    return Task(
        tile=tile,
        inputs=[
            *(lake.reference(product, tile) for product in ("mosaic", "segmentation")),
            *regions,
        ],
        params={"measure": as_params(plan.measure), "detect": as_params(plan.detect), "borders": dict(borders)},
        work=partial(_work, plan, lake, tile, edits),
    )


def _work(plan: Plan, lake: Lake, tile: str, stored: list[StoredEdit], run: Run) -> None:
    arrays = lake.arrays("segmentation", tile)
    labels, grid = arrays["label"], arrays.grid("label")
    bands = mosaic_rows(lake, tile)["band"].to_list()
    bad = bad_pixels([one.edit for one in stored], lake.tiles[tile].grid, bands)
    masks = _Masks(bad=bad, saturated=saturated_pixels(lake, tile, bands))
    side = block_side("measure", plan, grid.shape, len(bands))
    if is_in_blocks(grid.shape, side):
        table = _measured_blocks(plan, lake, tile, StoredLabels(array=labels, grid=grid), masks, side)
    else:
        table = _measured(plan, lake, tile, SegmentationMap(labels=labels[...], grid=grid), masks)
    table = owned_sources(lake, tile, table)
    identified = lake.identify(tile, labels, labels=table["label"], ra=table["ra"], dec=table["dec"])
    rows = table.with_columns(
        pl.Series("source_id", identified.source_id, pl.Int64),
        pl.lit(lake.live_run("segmentation", tile)).alias("segmentation_run"),
    )
    run.count(n_items=rows.height, n_pixels=len(bands) * math.prod(grid.shape))
    run.publish(run.fit(rows), alias=identified.alias, parent_run=identified.parent_run)


def _measured(plan: Plan, lake: Lake, tile: str, segmentation: SegmentationMap, masks: _Masks) -> pl.DataFrame:
    searched = set(detection_bands(lake, tile))
    exptimes = _exptimes(lake, tile)
    hidden = _near_sources(segmentation.labels)
    bands, planes, depths, sky_errors = {}, {}, {}, {}
    for mosaic in load_mosaics(lake, tile):
        seen = without_pixels(mosaic, masks.bad.get(mosaic.band))
        try:
            data, k = _without_background(seen, plan.detect.background, hidden)
        except NoDataError:
            # All of it is masked: such a band was not searched.
            bands[mosaic.band] = _blank(seen)
            continue
        bands[mosaic.band] = replace(seen, data=data)
        sky_errors[mosaic.band] = _sky_error(seen, k, plan.detect.background)
        if mosaic.band in searched:
            enough = enough_exposures(seen, plan.detect.min_exposures)
            planes[mosaic.band] = plane_of(seen, data, k, enough)
            depths[mosaic.band] = band_depth(seen, k, exptimes[mosaic.band])
    found = measured_stack(planes, bands, depths=depths)
    return measure(
        segmentation,
        bands,
        **masks.looked_at(found, planes, slice(None), slice(None)),
        sky_errors=sky_errors,
        params=plan.measure,
    ).table


def _measured_blocks(
    plan: Plan, lake: Lake, tile: str, segmentation: StoredLabels, masks: _Masks, side: int
) -> pl.DataFrame:
    """Return the same table of images that are read block by block."""
    background = plan.detect.background
    mosaics = [without_pixels(m, masks.bad.get(m.band)) for m in stored_mosaics(lake, tile)]

    def hidden(rows: slice, columns: slice) -> NDArray[np.bool_]:
        window = (rows.start, rows.stop), (columns.start, columns.stop)
        wide = widened(window, (_BESIDE_PIX, _BESIDE_PIX), segmentation.shape)
        near = _near_sources(segmentation.labels(slice(*wide[0]), slice(*wide[1])))
        y, x = rows.start - wide[0][0], columns.start - wide[1][0]
        return near[y : y + rows.stop - rows.start, x : x + columns.stop - columns.start]

    bands = {
        m.band: stored_band(m, side=side, params=background, hidden=hidden)
        or stored_band(m, side=side, params=background)
        for m in mosaics
    }
    sky_errors = {m.band: _sky_error(m, band.k, background) for m in mosaics if (band := bands[m.band]) is not None}
    searched = set(detection_bands(lake, tile))
    exptimes = _exptimes(lake, tile)

    def read(rows: slice, columns: slice) -> dict[str, Any]:
        windows, planes, depths = {}, {}, {}
        for mosaic in mosaics:
            band = bands[mosaic.band]
            if band is None:
                windows[mosaic.band] = _blank(mosaic.window(rows, columns))
                continue
            window = windows[mosaic.band] = band.window(rows, columns)
            if mosaic.band in searched:
                enough = enough_exposures(mosaic, plan.detect.min_exposures, rows, columns)
                planes[mosaic.band] = plane_of(window, window.data, band.k, enough)
                depths[mosaic.band] = band_depth(window, band.k, exptimes[mosaic.band])
        found = measured_stack(planes, windows, depths=depths)
        return {"images": windows, "sky_errors": sky_errors, **masks.looked_at(found, planes, rows, columns)}

    return measure_blocks(segmentation, read, blocks=side, params=plan.measure).table


def _near_sources(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return the pixels of segments and those beside them: their wings are no sky."""
    return grow_mask(labels > 0, side=2 * _BESIDE_PIX + 1)


def _without_background(
    mosaic: Mosaic, params: BackgroundParams, hidden: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], float]:
    """Return what `subtract_background` does with sources hidden, where they leave a cell of the mesh to be seen."""
    try:
        return subtract_background(mosaic, params=params, hidden=hidden)
    except NoDataError:
        return subtract_background(mosaic, params=params)


def _sky_error(mosaic: Mosaic | StoredMosaic, k: float, params: BackgroundParams) -> float:
    """Return one sigma of the level of the mesh for a weight of 1 [unit of the mosaic]."""
    noise = mosaic.noise
    correlation = mosaic.noise_correlation if noise is None else noise.large_area_factors[noise.classes[0]]
    return level_error(math.sqrt(k), correlation, params=params)


def _exptimes(lake: Lake, tile: str) -> dict[str, float]:
    """Return the largest weight of each mosaic, or 1: its part in a stack goes with it."""
    return {band: value or 1.0 for band, value in mosaic_rows(lake, tile).select("band", "exptime").iter_rows()}


def _blank(mosaic: Mosaic) -> Mosaic:
    return replace(mosaic, data=np.full(mosaic.shape, np.nan, np.float32))


STAGE = Stage(name="measure", reads=("mosaic", "segmentation", "region"), writes=("source",), tasks=tasks)
