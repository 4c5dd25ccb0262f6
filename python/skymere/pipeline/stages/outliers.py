"""outliers: static mask and cosmic rays of the exposures of a band that touch a tile, compared on the tile."""

import json
import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import FLAG_BITS, Exposure
from skymere.lake import Lake, Run
from skymere.mosaic import iter_flagged
from skymere.outliers import CosmicRayParams
from skymere.pipeline.exposures import StoredExposures, usable_exposures
from skymere.pipeline.plan import Plan
from skymere.pipeline.task import Stage, Task, as_params
from skymere.pipeline.tile_groups import TileGroup, retirements, tile_groups
from skymere.resample import covering_grid
from skymere.wcs import Grid, pixel_map

__all__ = ["STAGE"]

# Pixels that contribute to the image of a tile have their middle at most so far outside [pix of an exposure] ...
_REACH_PIX = 4
# ... and what is compared goes farther, so that their neighbours are seen, and the border of single drizzles is not.
_MARGIN_PIX = 16


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each band of each tile that exposures touch.

    Raises
    ------
    NoDataError
        When the exposures touch no tile.
    """
    groups = tile_groups(lake, usable_exposures(lake))
    skies = lake.live_runs("sky")
    made = [
        Task(
            tile=group.name,
            inputs=[*group.inputs, {"uri": f"sky/{group.name}", "run": skies[group.name]}],
            params=as_params(plan.outliers),
            work=partial(_work, plan, lake, group),
        )
        for group in groups
        # Without a sky there is nothing to compare with; the run of the sky says why.
        if group.name in skies
    ]
    return [*retirements(lake, "mask", [group.name for group in groups]), *made]


def _work(plan: Plan, lake: Lake, group: TileGroup, run: Run) -> None:
    table = lake.table("sky").filter(pl.col("tile") == group.name).sort("exposure_id").collect()
    about = {"status": "ok", "message": "", "band": group.band}
    about["params"] = json.dumps(as_params(plan.outliers), sort_keys=True)
    rows: list[dict[str, Any]] = [
        about | {"exposure_id": name, "status": "rejected", "message": message}
        for name, message in table.filter(pl.col("status") != "ok").select("exposure_id", "message").iter_rows()
    ]
    usable = table.filter(pl.col("status") == "ok")
    exposures = StoredExposures(lake, usable["exposure_id"])
    image, params = lake.tiles[group.tile].grid, plan.flag_params()
    found = (
        iter_flagged(
            exposures,
            params=params,
            separate_grid=_compared(exposures, image, params.cosmic_rays),
            skies=usable["sky"].to_list(),
        )
        if len(exposures)
        else ()
    )
    for flagged in found:
        exposure = flagged.exposure
        flags = np.zeros(exposure.shape, np.uint32) if exposure.flags is None else exposure.flags
        flags = np.where(_is_beside(exposure, image), flags & np.uint32(FLAG_BITS["static"]), flags)
        run.write(f"{exposure.exposure_id}/mask", flags, attributes={"mask_bits": dict(FLAG_BITS)})
        bad = replace(exposure, flags=flags).mask(ignore=plan.outliers.ignore_dq)
        rows.append(
            about
            | {
                "exposure_id": exposure.exposure_id,
                "n_cosmic_rays": int(np.count_nonzero(flags & FLAG_BITS["cosmic_ray"])),
                "n_static": int(np.count_nonzero(flags & FLAG_BITS["static"])),
                "n_masked": int(np.count_nonzero(bad)),
                "sky": exposure.sky,
            }
        )
    run.count(n_items=len(rows), n_pixels=math.prod(image.shape))
    run.publish(run.frame(pl.DataFrame(rows, infer_schema_length=None).sort("exposure_id").to_dicts()))


def _compared(exposures: StoredExposures, image: Grid, params: CosmicRayParams | None) -> Grid | None:
    """Return the pixels on which exposures are compared: those that would cover them all, cut to the tile."""
    if params is None:
        return None
    whole = covering_grid(exposures, scale_arcsec=params.scale_arcsec, rotation_deg=params.rotation_deg)
    ny, nx = image.shape
    t = np.linspace(0.0, 1.0, 33)
    along_x, along_y = np.concatenate([t, t, 0 * t, 0 * t + 1]), np.concatenate([0 * t, 0 * t + 1, t, t])
    x, y = whole.pixels(*image.sky(along_x * nx - 0.5, along_y * ny - 0.5))
    margin = _MARGIN_PIX + max(params.grow, params.cte_grow, params.minmed.grow)
    (y0, y1), (x0, x1) = (
        (max(int(np.floor(v.min())) - margin, 0), min(int(np.ceil(v.max())) + margin + 1, n))
        for v, n in zip((y, x), whole.shape, strict=True)
    )
    return whole if y1 <= y0 or x1 <= x0 else whole.cutout(y0, x0, (y1 - y0, x1 - x0))


def _is_beside(exposure: Exposure, image: Grid) -> NDArray[np.bool_]:
    """Return the pixels that lie beside the image of the tile, where exposures that do not touch it are missing."""
    x, y = np.moveaxis(pixel_map(exposure.wcs, image.wcs, exposure.shape), -1, 0)
    scale = exposure.native_scale_arcsec
    reach = _REACH_PIX * max(1.0, scale / image.scale_arcsec if np.isfinite(scale) else 1.0)
    ny, nx = image.shape
    # Pixels without a place on the tile's plane are not finite, and so beside it.
    is_on = (x >= -0.5 - reach) & (x <= nx - 0.5 + reach) & (y >= -0.5 - reach) & (y <= ny - 0.5 + reach)
    return np.asarray(~is_on)


STAGE = Stage(name="outliers", reads=("exposure", "wcs_solution", "sky"), writes=("mask",), tasks=tasks)
