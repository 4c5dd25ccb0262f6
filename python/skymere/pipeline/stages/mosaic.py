"""mosaic: the flagged exposures of every band to one image on the grid of each tile."""

import json
import math
from collections.abc import Mapping
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Mosaic, NoiseCovariance
from skymere.lake import Lake, Run, pyramid
from skymere.mosaic import MosaicQuality, RejectionMap, measure_quality
from skymere.pipeline.exposures import FlaggedExposures, usable_exposures
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import MOSAIC_DQ
from skymere.pipeline.task import Stage, Task, as_params
from skymere.pipeline.tile_groups import TileGroup, tile_groups
from skymere.resample import drizzle

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
        rejection = RejectionMap(grid, params=plan.mosaic.drizzle, ignore=plan.outliers.ignore_dq)
        mosaic = drizzle(
            rejection.watch(FlaggedExposures(lake, tile, band, names)),
            grid,
            params=plan.mosaic.drizzle,
            ignore=plan.outliers.ignore_dq,
            noise=plan.mosaic.noise,
        )
        if not mosaic.covered.any():
            message = f"none of {list(mosaic.exposure_ids)} has a good pixel on the grid"
            run.warn(f"{band}: {message}")
            rows.append(_describe(mosaic) | {"status": "failed", "message": message})
            continue
        quality = measure_quality(mosaic, rejection, params=plan.mosaic.quality)
        for warning in quality.warnings:
            run.warn(f"{band}: {warning}")
        _write(run, mosaic, quality, rejection.saturated())
        rows.append(_describe(mosaic))
    run.publish(run.frame(rows))


def _write(run: Run, mosaic: Mosaic, quality: MosaicQuality, saturated: NDArray[np.bool_] | None) -> None:
    band = mosaic.band
    bits = {} if saturated is None else {"dq_bits": dict(MOSAIC_DQ)}
    run.annotate(band, {"wcs": mosaic.grid.cards(), "quality": quality.as_json(), **bits})
    if saturated is not None:
        run.write(f"{band}/dq", saturated.astype(np.uint32) * np.uint32(MOSAIC_DQ["saturated"]))
    run.write(f"{band}/sci", mosaic.data, unit=mosaic.unit)
    run.write(f"{band}/wht", mosaic.weight, unit="s" if mosaic.weight_kind == "exposure_time" else "")
    run.write(f"{band}/var", mosaic.variance, unit=f"({mosaic.unit})2")
    run.write(f"{band}/ctx", mosaic.context)
    if mosaic.noise is not None:
        _write_noise(run, band, mosaic.noise)
    for i, level in enumerate(pyramid(mosaic.data, mosaic.weight), start=1):
        run.write(f"{band}/level{i}", level, unit=mosaic.unit)


def _write_noise(run: Run, band: str, noise: NoiseCovariance) -> None:
    about = {"classes": list(noise.classes), "params": as_params(noise.params)}
    run.write(f"{band}/noise_class", noise.class_map)
    run.write(f"{band}/noise_kernel", noise.kernels, attributes=about)
    if noise.measured is not None:
        run.write(f"{band}/noise_measured", noise.measured)


def _describe(mosaic: Mosaic) -> dict[str, object]:
    ny, nx = mosaic.shape
    ra, dec = mosaic.grid.sky(np.array([(nx - 1) / 2]), np.array([(ny - 1) / 2]))
    return {
        "band": mosaic.band,
        "status": "ok",
        "message": "",
        "ra": float(ra[0]),
        "dec": float(dec[0]),
        "ny": ny,
        "nx": nx,
        "scale_arcsec": mosaic.grid.scale_arcsec,
        "unit": mosaic.unit,
        "zero_point_ab": mosaic.zero_point_ab,
        "weight_kind": mosaic.weight_kind,
        "noise_correlation": mosaic.noise_correlation,
        "n_exposures": len(mosaic.exposure_ids),
        "exposure_ids": json.dumps(list(mosaic.exposure_ids)),
        "exptime": float(mosaic.weight.max()) if mosaic.weight_kind == "exposure_time" else None,
        "n_covered": int(np.count_nonzero(mosaic.covered)),
        "params": json.dumps(as_params(mosaic.params), sort_keys=True),
        "wcs": json.dumps(mosaic.grid.cards(), sort_keys=True),
        "footprint": mosaic.grid.outline(),
    }


STAGE = Stage(name="mosaic", reads=("exposure", "wcs_solution", "mask"), writes=("mosaic",), tasks=tasks)
