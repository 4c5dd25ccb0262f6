"""detect: which pixel of a tile belongs to which source, with the edits that people made."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import SegmentationMap, windows_of
from skymere.errors import InvalidInputError, NoDataError
from skymere.io import write_detection, write_detection_rows
from skymere.lake import Lake, Run, StoredEdit, outcome_rows, stored_edits
from skymere.mosaic import DetectionImage, FoundBlocks, FoundSources, find_sources, find_sources_blocks
from skymere.pipeline.block_sides import block_side, is_in_blocks
from skymere.pipeline.borders import border_of
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import load_mosaics, mosaic_rows, stored_mosaics, tiles_with_mosaics
from skymere.pipeline.task import Stage, Task, as_params
from skymere.segmentation import BlockSegmentation, EditOutcome, apply_edits, bad_pixels

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
    side = block_side("detect", plan, grid.shape, len(bands))
    found = _found(plan, lake, tile, bands, bad_pixels(edits, grid, bands), side)
    for band, why in found.excluded.items():
        run.warn(f"band {band} was not searched: {why}")
    segmentation: SegmentationMap | BlockSegmentation = found.segmentation
    outcomes: list[EditOutcome] = []
    if isinstance(segmentation, SegmentationMap) or edits:
        # Edits look at all labels.
        whole = segmentation if isinstance(segmentation, SegmentationMap) else segmentation.whole()
        segmentation, outcomes = apply_edits(replace(whole, grid=grid), edits)
    run.annotate(
        "",
        {
            "wcs": grid.cards(),
            "excluded": dict(found.excluded),
            "coverage": dict(found.coverage),
            **border_of(lake, tile, segmentation, _stack(found), side=side),
        },
    )
    n_pixels = _write_labels(run, segmentation)
    if plan.detect.write_fits:
        # Edits change areas and fluxes, so that what was measured while detecting no longer holds.
        _write_fits(plan, tile, found, segmentation, side, is_edited=bool(edits))
    ny, nx = segmentation.shape
    row = {
        "status": "ok",
        "message": "; ".join(f"{band} was not searched: {why}" for band, why in found.excluded.items()),
        "bands": json.dumps(list(found.planes if isinstance(found, FoundSources) else found.bands)),
        "n_sources": segmentation.n_sources,
        "n_pixels": n_pixels,
        "threshold": found.threshold,
        "noise_correlation": found.noise_correlation,
        "ny": ny,
        "nx": nx,
        "params": json.dumps(as_params(plan.detect), sort_keys=True),
    }
    run.count(n_items=segmentation.n_sources, n_pixels=len(bands) * ny * nx)
    run.publish(run.frame([row]), items=outcome_rows(outcomes))


def _write_labels(run: Run, segmentation: SegmentationMap | BlockSegmentation) -> int:
    """Write the labels; returns how many pixels have one."""
    if isinstance(segmentation, SegmentationMap):
        run.write("label", segmentation.labels)
        return int(np.count_nonzero(segmentation.labels))
    label, n_pixels = run.open("label", segmentation.shape), 0
    for window in windows_of(segmentation.shape):
        label[window.slices] = here = segmentation.labels(*window.slices)
        n_pixels += int(np.count_nonzero(here))
    return n_pixels


def _labels(segmentation: SegmentationMap | BlockSegmentation, rows: slice, columns: slice) -> NDArray[np.int32]:
    if isinstance(segmentation, BlockSegmentation):
        return segmentation.labels(rows, columns)
    return segmentation.labels[rows, columns]


def _found(
    plan: Plan, lake: Lake, tile: str, bands: list[str], mask: dict[str, NDArray[np.bool_]], side: int
) -> FoundSources | FoundBlocks:
    """Return the sources of a tile; those of a large one block by block, which changes no bit."""
    if is_in_blocks(lake.tiles[tile].grid.shape, side) and plan.detect.method != "peaks":
        return find_sources_blocks(stored_mosaics(lake, tile, bands), side=side, params=plan.detect, mask=mask)
    return find_sources(load_mosaics(lake, tile, bands), params=plan.detect, mask=mask)


def _stack(found: FoundSources | FoundBlocks) -> Callable[[slice, slice], DetectionImage]:
    if isinstance(found, FoundBlocks):
        return found.stack
    stack = found.stack
    return lambda y, x: DetectionImage(data=stack.data[y, x], error=stack.error[y, x], bands=stack.bands)


def _write_fits(
    plan: Plan,
    tile: str,
    found: FoundSources | FoundBlocks,
    segmentation: SegmentationMap | BlockSegmentation,
    side: int,
    *,
    is_edited: bool,
) -> None:
    folder = plan.path(plan.survey.pictures) / tile
    about = {"wcs": found.grid.wcs, "flux_unit": found.flux_unit}
    if isinstance(found, FoundBlocks):
        write_detection_rows(
            folder,
            lambda y, x: _labels(segmentation, y, x),
            found.flux_table(segmentation, plan.detect.flux_band),
            stack=lambda y, x: found.stack(y, x).data,
            snr=found.snr,
            shape=segmentation.shape,
            block_pix=side,
            **about,
        )
        return
    assert isinstance(segmentation, SegmentationMap)
    edited = replace(found, segmentation=segmentation, table=None if is_edited else found.table)
    table = edited.flux_table(plan.detect.flux_band)
    write_detection(folder, segmentation.labels, table, stack=found.stack.data, snr=found.snr, **about)


STAGE = Stage(name="detect", reads=("mosaic", "region"), writes=("segmentation",), tasks=tasks)
