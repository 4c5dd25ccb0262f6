"""mosaic: the flagged exposures of every band to one image on the grid of each tile."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial

import numpy as np
import polars as pl

from skymere.lake import Lake, Run
from skymere.pipeline.exposures import FlaggedExposures, usable_exposures
from skymere.pipeline.mosaic_windows import WrittenMosaic, write_mosaic
from skymere.pipeline.plan import Plan
from skymere.pipeline.task import Stage, Task, as_params
from skymere.pipeline.tile_groups import TileGroup, tile_groups
from skymere.wcs import Grid

__all__ = ["STAGE"]


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile that the exposures touch; it makes the mosaics of all bands.

    Raises
    ------
    NoDataError
        When the exposures touch no tile.
    """
    by_tile: dict[str, list[TileGroup]] = {}
    for group in tile_groups(lake, usable_exposures(lake)):
        by_tile.setdefault(group.tile, []).append(group)
    masks = lake.live_runs("mask")
    usable = lake.table("mask").filter(pl.col("status") == "ok").select("tile", "exposure_id").collect()
    return [_task(plan, lake, tile, groups, masks, usable) for tile, groups in by_tile.items()]


def _task(
    plan: Plan, lake: Lake, tile: str, groups: list[TileGroup], masks: Mapping[str, str], usable: pl.DataFrame
) -> Task:
    exposures = {
        group.band: names
        for group in groups
        for names in [usable.filter(pl.col("tile") == group.name)["exposure_id"].sort().to_list()]
        if names and group.name in masks
    }
    return Task(
        tile=tile,
        inputs=[
            entry
            for group in groups
            if group.band in exposures
            for entry in (*group.inputs, {"uri": f"mask/{group.name}", "run": masks[group.name]})
        ],
        params={
            "drizzle": as_params(plan.mosaic.drizzle),
            "ignore_dq": list(plan.outliers.ignore_dq),
            "noise": as_params(plan.mosaic.noise),
            "quality": as_params(plan.mosaic.quality),
        },
        work=partial(_work, plan, lake, exposures, tile),
    )


def _work(plan: Plan, lake: Lake, exposures: Mapping[str, list[str]], tile: str, run: Run) -> None:
    rows = []
    grid = lake.tiles[tile].grid
    run.count(n_items=sum(map(len, exposures.values())), n_pixels=len(exposures) * math.prod(grid.shape))
    for band, names in exposures.items():
        found = write_mosaic(
            run,
            FlaggedExposures(lake, tile, band, names),
            grid,
            band=band,
            plan=plan.mosaic,
            ignore=plan.outliers.ignore_dq,
        )
        row = _describe(found, grid, plan)
        if found.quality is None:
            message = f"none of {list(found.about['exposure_ids'])} has a good pixel on the grid"
            run.warn(f"{band}: {message}")
            row |= {"status": "failed", "message": message}
        else:
            for warning in found.quality.warnings:
                run.warn(f"{band}: {warning}")
        rows.append(row)
    run.publish(run.frame(rows))


def _describe(found: WrittenMosaic, grid: Grid, plan: Plan) -> dict[str, object]:
    ny, nx = grid.shape
    ra, dec = grid.sky(np.array([(nx - 1) / 2]), np.array([(ny - 1) / 2]))
    about = found.about
    how = {**asdict(plan.mosaic.drizzle), "weight": about["weight_kind"], "ignore": list(plan.outliers.ignore_dq)}
    return {
        "band": about["band"],
        "status": "ok",
        "message": "",
        "ra": float(ra[0]),
        "dec": float(dec[0]),
        "ny": ny,
        "nx": nx,
        "scale_arcsec": grid.scale_arcsec,
        "unit": about["unit"],
        "zero_point_ab": about["zero_point_ab"],
        "weight_kind": about["weight_kind"],
        "noise_correlation": about["noise_correlation"],
        "n_exposures": len(about["exposure_ids"]),
        "exposure_ids": json.dumps(list(about["exposure_ids"])),
        "exptime": found.largest_weight if about["weight_kind"] == "exposure_time" else None,
        "n_covered": found.n_covered,
        "params": json.dumps(as_params(how), sort_keys=True),
        "wcs": json.dumps(grid.cards(), sort_keys=True),
        "footprint": grid.outline(),
    }


STAGE = Stage(name="mosaic", reads=("exposure", "wcs_solution", "mask"), writes=("mosaic",), tasks=tasks)
