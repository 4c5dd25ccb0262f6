"""detect: which pixel of a tile belongs to which source, with the edits that people made."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import SegmentationMap
from skymere.errors import InvalidInputError, NoDataError
from skymere.io import write_detection, write_detection_rows
from skymere.lake import Lake, Run, StoredEdit, outcome_rows, stored_edits
from skymere.mosaic import DetectionImage, FoundBlocks, FoundSources, find_sources, find_sources_blocks
from skymere.pipeline.borders import border_of
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import load_mosaics, mosaic_rows, stored_mosaics, tiles_with_mosaics
from skymere.pipeline.task import Stage, Task, as_params
from skymere.segmentation import apply_edits, bad_pixels

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
    return [_task(plan, lake, tile) for tile in tiles_with_mosaics(lake)]


def _task(plan: Plan, lake: Lake, tile: str) -> Task:
    edits, regions = stored_edits(lake, tile)
    return Task(
        tile=tile,
        inputs=[lake.reference("mosaic", tile), *regions],
        params=as_params(plan.detect),
        work=partial(_work, plan, lake, tile, edits),
    )


def _work(plan: Plan, lake: Lake, tile: str, stored: list[StoredEdit], run: Run) -> None:
    have = mosaic_rows(lake, tile)["band"].to_list()
    missing = sorted(set(plan.detect.bands) - set(have))
    if missing:
        msg = f"detect.bands: {missing} have no mosaic in tile {tile}, it must be some of {have}"
        raise InvalidInputError(msg)
    bands = list(plan.detect.bands) or have
    grid = lake.tiles[tile].grid
    edits = [one.edit for one in stored]
    # What is masked is not detected at all, so that it takes no part in deblending.
    found = _found(plan, lake, tile, bands, bad_pixels(edits, grid, bands))
    for band, why in found.excluded.items():
        run.warn(f"band {band} was not searched: {why}")
    labels = found.segmentation if isinstance(found, FoundSources) else found.segmentation.whole()
    segmentation, outcomes = apply_edits(replace(labels, grid=grid), edits)
    run.annotate(
        "",
        {
            "wcs": grid.cards(),
            "excluded": dict(found.excluded),
            "coverage": dict(found.coverage),
            **border_of(lake, tile, segmentation, _stack(found), side=plan.survey.block_pix),
        },
    )
    run.write("label", segmentation.labels)
    if plan.detect.write_fits:
        # Edits change areas and fluxes, so that what was measured while detecting no longer holds.
        _write_fits(plan, tile, found, segmentation, is_edited=bool(edits))
    ny, nx = segmentation.shape
    row = {
        "status": "ok",
        "message": "; ".join(f"{band} was not searched: {why}" for band, why in found.excluded.items()),
        "bands": json.dumps(list(found.planes if isinstance(found, FoundSources) else found.bands)),
        "n_sources": segmentation.n_sources,
        "n_pixels": int(np.count_nonzero(segmentation.labels)),
        "threshold": found.threshold,
        "noise_correlation": found.noise_correlation,
        "ny": ny,
        "nx": nx,
        "params": json.dumps(as_params(plan.detect), sort_keys=True),
    }
    run.count(n_items=segmentation.n_sources, n_pixels=len(bands) * ny * nx)
    run.publish(run.frame([row]), items=outcome_rows(outcomes))


def _found(
    plan: Plan, lake: Lake, tile: str, bands: list[str], mask: dict[str, NDArray[np.bool_]]
) -> FoundSources | FoundBlocks:
    """Return the sources of a tile; those of a large one block by block, which changes no bit."""
    side = plan.survey.block_pix
    if plan.survey.is_large(lake.tiles[tile].grid.shape) and plan.detect.method != "peaks":
        return find_sources_blocks(stored_mosaics(lake, tile, bands), side=side, params=plan.detect, mask=mask)
    return find_sources(load_mosaics(lake, tile, bands), params=plan.detect, mask=mask)


def _stack(found: FoundSources | FoundBlocks) -> Callable[[slice, slice], DetectionImage]:
    if isinstance(found, FoundBlocks):
        return found.stack
    stack = found.stack
    return lambda y, x: DetectionImage(data=stack.data[y, x], error=stack.error[y, x], bands=stack.bands)


def _write_fits(
    plan: Plan, tile: str, found: FoundSources | FoundBlocks, segmentation: SegmentationMap, *, is_edited: bool
) -> None:
    folder = plan.path(plan.survey.pictures) / tile
    about = {"wcs": found.grid.wcs, "flux_unit": found.flux_unit}
    if isinstance(found, FoundBlocks):
        write_detection_rows(
            folder,
            lambda y, x: segmentation.labels[y, x],
            found.flux_table(segmentation, plan.detect.flux_band),
            stack=lambda y, x: found.stack(y, x).data,
            snr=found.snr,
            shape=segmentation.shape,
            block_pix=plan.survey.block_pix,
            **about,
        )
        return
    edited = replace(found, segmentation=segmentation, table=None if is_edited else found.table)
    table = edited.flux_table(plan.detect.flux_band)
    write_detection(folder, segmentation.labels, table, stack=found.stack.data, snr=found.snr, **about)


STAGE = Stage(name="detect", reads=("mosaic", "region"), writes=("segmentation",), tasks=tasks)
