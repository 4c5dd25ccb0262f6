"""measure: positions, shapes and fluxes of all segments in all bands, and the identifiers of the sources."""

from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl

from skymere.datamodels import Mosaic
from skymere.lake import Lake, Run
from skymere.mosaic import detection_image, subtract_background
from skymere.pipeline.borders import neighbours, owned_sources
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import detection_bands, load_mosaics, load_segmentation
from skymere.pipeline.task import Stage, Task, as_params
from skymere.segmentation import MeasureImage, measure

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
    mosaics = load_mosaics(lake, tile)
    searched = set(detection_bands(lake, tile))
    found = detection_image(
        [m for m in mosaics if m.band in searched],
        min_exposures=plan.detect.min_exposures,
        params=plan.detect.background,
    )
    table = measure(
        segmentation,
        {m.band: _without_background(m, plan) for m in mosaics},
        detection=MeasureImage(data=found.data, error=found.error, zero_point_ab=23.9),
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


STAGE = Stage(name="measure", reads=("mosaic", "segmentation"), writes=("source",), tasks=tasks)
