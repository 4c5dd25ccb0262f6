"""measure: positions, shapes and fluxes of all segments in all bands, and the identifiers of the sources."""

from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl

from skymere.datamodels import Mosaic
from skymere.lake import Lake, Run, StoredEdit, stored_edits
from skymere.mosaic import detection_image, subtract_background, without_pixels
from skymere.pipeline.borders import neighbours, owned_sources
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import detection_bands, load_mosaics, load_segmentation, saturated_pixels
from skymere.pipeline.task import Stage, Task, as_params
from skymere.segmentation import MeasureImage, bad_pixels, measure

__all__ = ["STAGE"]


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with a segmentation."""
    return [_task(plan, lake, tile) for tile in sorted(lake.live_runs("segmentation"))]


def _task(plan: Plan, lake: Lake, tile: str) -> Task:
    edits, regions = stored_edits(lake, tile)
    return Task(
        tile=tile,
        inputs=[
            *(lake.reference(product, tile) for product in ("mosaic", "segmentation")),
            *(lake.reference("segmentation", name) for name in neighbours(lake, tile)),
            *regions,
        ],
        params={"measure": as_params(plan.measure), "detect": as_params(plan.detect)},
        work=partial(_work, plan, lake, tile, edits),
    )


def _work(plan: Plan, lake: Lake, tile: str, stored: list[StoredEdit], run: Run) -> None:
    segmentation = load_segmentation(lake, tile)
    mosaics = load_mosaics(lake, tile)
    bad = bad_pixels([one.edit for one in stored], lake.tiles[tile].grid, [m.band for m in mosaics])
    mosaics = [without_pixels(m, bad.get(m.band)) for m in mosaics]
    searched = set(detection_bands(lake, tile))
    found = detection_image(
        [m for m in mosaics if m.band in searched],
        min_exposures=plan.detect.min_exposures,
        params=plan.detect.background,
    )
    saturated = saturated_pixels(lake, tile, [m.band for m in mosaics])
    in_any = [mask for band, mask in saturated.items() if band in searched]
    table = measure(
        segmentation,
        {m.band: _without_background(m, plan) for m in mosaics},
        detection=MeasureImage(
            data=found.data,
            error=found.error,
            saturated=np.logical_or.reduce(in_any) if in_any else None,
            zero_point_ab=23.9,
        ),
        saturated=saturated,
        params=plan.measure,
    ).table
    table = owned_sources(lake, tile, table)
    identified = lake.identify(tile, segmentation.labels, labels=table["label"], ra=table["ra"], dec=table["dec"])
    rows = table.with_columns(
        pl.Series("source_id", identified.source_id, pl.Int64),
        pl.lit(lake.live_run("segmentation", tile)).alias("segmentation_run"),
    )
    run.publish(run.fit(rows), alias=identified.alias, parent_run=identified.parent_run)


def _without_background(mosaic: Mosaic, plan: Plan) -> Mosaic:
    data, _ = subtract_background(mosaic, params=plan.detect.background)
    return replace(mosaic, data=np.asarray(data, np.float32))


STAGE = Stage(name="measure", reads=("mosaic", "segmentation", "region"), writes=("source",), tasks=tasks)
