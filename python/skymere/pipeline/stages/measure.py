"""measure: positions, shapes and fluxes of all segments in all bands, and the identifiers of the sources."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from skymere.datamodels import Mosaic, SegmentationMap
from skymere.lake import Lake, Run
from skymere.mosaic import detection_image, stack_of_parts, stored_band, subtract_background
from skymere.pipeline.borders import neighbours, owned_sources
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import detection_bands, load_mosaics, load_segmentation, stored_mosaics
from skymere.pipeline.task import Stage, Task, as_params
from skymere.segmentation import MeasureImage, measure, measure_blocks

__all__ = ["STAGE"]


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with a segmentation."""
    params = {"measure": as_params(plan.measure), "detect": as_params(plan.detect)}
    return [
        Task(
            tile=tile,
            inputs=[
                *(lake.reference(product, tile) for product in ("mosaic", "segmentation")),
                *(lake.reference("segmentation", name) for name in neighbours(lake, tile)),
            ],
            params=params,
            work=partial(_work, plan, lake, tile),
        )
        for tile in sorted(lake.live_runs("segmentation"))
    ]


def _work(plan: Plan, lake: Lake, tile: str, run: Run) -> None:
    segmentation = load_segmentation(lake, tile)
    is_large = plan.survey.is_large(segmentation.shape)
    table = (_measured_blocks if is_large else _measured)(plan, lake, tile, segmentation)
    table = owned_sources(lake, tile, table)
    identified = lake.identify(tile, segmentation.labels, labels=table["label"], ra=table["ra"], dec=table["dec"])
    rows = table.with_columns(
        pl.Series("source_id", identified.source_id, pl.Int64),
        pl.lit(lake.live_run("segmentation", tile)).alias("segmentation_run"),
    )
    run.publish(run.fit(rows), alias=identified.alias, parent_run=identified.parent_run)


def _measured(plan: Plan, lake: Lake, tile: str, segmentation: SegmentationMap) -> pl.DataFrame:
    mosaics = load_mosaics(lake, tile)
    searched = set(detection_bands(lake, tile))
    found = detection_image(
        [m for m in mosaics if m.band in searched],
        min_exposures=plan.detect.min_exposures,
        params=plan.detect.background,
    )
    return measure(
        segmentation,
        {m.band: _without_background(m, plan) for m in mosaics},
        detection=MeasureImage(data=found.data, error=found.error, zero_point_ab=23.9),
        params=plan.measure,
    ).table


def _measured_blocks(plan: Plan, lake: Lake, tile: str, segmentation: SegmentationMap) -> pl.DataFrame:
    """Return the same table of images that are read block by block."""
    side, background = plan.survey.block_pix, plan.detect.background
    bands = {m.band: stored_band(m, side=side, params=background) for m in stored_mosaics(lake, tile)}
    searched = set(detection_bands(lake, tile))

    def read(rows: slice, columns: slice) -> dict[str, Any]:
        windows = {band: stored.window(rows, columns) for band, stored in bands.items()}
        found = stack_of_parts(
            ((windows[band], windows[band].data, bands[band].k) for band in windows if band in searched),
            min_exposures=plan.detect.min_exposures,
        )
        detection = MeasureImage(data=found.data, error=found.error, zero_point_ab=23.9)
        return {"images": windows, "detection": detection}

    return measure_blocks(segmentation, read, blocks=side, params=plan.measure).table


def _without_background(mosaic: Mosaic, plan: Plan) -> Mosaic:
    data, _ = subtract_background(mosaic, params=plan.detect.background)
    return replace(mosaic, data=np.asarray(data, np.float32))


STAGE = Stage(name="measure", reads=("mosaic", "segmentation"), writes=("source",), tasks=tasks)
