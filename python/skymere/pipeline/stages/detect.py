"""detect: which pixel of a tile belongs to which source."""

import json
from dataclasses import replace
from functools import partial

import numpy as np

from skymere.errors import InvalidInputError, NoDataError
from skymere.lake import Lake, Run
from skymere.mosaic import detection_image
from skymere.pipeline.borders import border_of
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import load_mosaics, mosaic_rows, tiles_with_mosaics
from skymere.pipeline.task import Stage, Task, as_params
from skymere.segmentation import detect

__all__ = ["STAGE"]


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with mosaics.

    Raises
    ------
    NoDataError
        When no tile has a good pixel.
    """
    if lake.live_runs("mosaic") and not tiles_with_mosaics(lake):
        messages = lake.table("mosaic").select("message").unique().sort("message").collect()["message"].to_list()
        msg = f"no tile has a good pixel in any band: {messages}"
        raise NoDataError(msg)
    return [
        Task(
            tile=tile,
            inputs=[lake.reference("mosaic", tile)],
            params=as_params(plan.detect),
            work=partial(_work, plan, lake, tile),
        )
        for tile in tiles_with_mosaics(lake)
    ]


def _work(plan: Plan, lake: Lake, tile: str, run: Run) -> None:
    have = mosaic_rows(lake, tile)["band"].to_list()
    missing = sorted(set(plan.detect.bands) - set(have))
    if missing:
        msg = f"detect.bands: {missing} have no mosaic in tile {tile}, it must be some of {have}"
        raise InvalidInputError(msg)
    bands = list(plan.detect.bands) or have
    image = detection_image(
        load_mosaics(lake, tile, bands),
        min_exposures=plan.detect.min_exposures,
        params=plan.detect.background,
    )
    segmentation = detect(image.data, error=image.error, mask=~np.isfinite(image.data), params=plan.detect.sources)
    grid = lake.tiles[tile].grid
    run.annotate("", {"wcs": grid.cards(), **border_of(lake, tile, replace(segmentation, grid=grid), image)})
    run.write("label", segmentation.labels)
    ny, nx = segmentation.shape
    row = {
        "status": "ok",
        "message": "",
        "bands": json.dumps(bands),
        "n_sources": segmentation.n_sources,
        "n_pixels": int(np.count_nonzero(segmentation.labels)),
        "threshold": plan.detect.sources.threshold,
        "noise_correlation": segmentation.params["noise_correlation"],
        "ny": ny,
        "nx": nx,
        "params": json.dumps(as_params(plan.detect), sort_keys=True),
    }
    run.publish(run.frame([row]))


STAGE = Stage(name="detect", reads=("mosaic",), writes=("segmentation",), tasks=tasks)
