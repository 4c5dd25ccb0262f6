"""models: images of the best profiles, before and behind the PSF, and those that people give instead."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.io import file_digest, read_image, write_image
from skymere.lake import Lake, RaggedSpill, Run
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import load_psf
from skymere.pipeline.profile_rows import fit_table
from skymere.pipeline.task import Stage, Task, as_params
from skymere.profiles import model_stamps
from skymere.wcs import Grid

__all__ = ["STAGE"]

# Sources whose stamps are in memory at once.
_BATCH = 16


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with profiles that could be fitted."""
    if not plan.profiles.band:
        return []
    files = [{"uri": path.name, "sha256": file_digest(path)} for path in plan.external_models().values()]
    usable = pl.col("status") == "ok"
    fitted = lake.table("profile").filter(usable).select(pl.col("tile").unique().sort()).collect()["tile"]
    return [
        Task(
            tile=tile,
            inputs=[lake.reference("profile", tile), lake.reference("psf", tile), *files],
            params={"light_in_stamp": plan.profiles.light_in_stamp, "external": as_params(plan.photometry.external)},
            work=partial(_work, plan, lake, tile),
        )
        for tile in fitted
    ]


def _work(plan: Plan, lake: Lake, tile: str, run: Run) -> None:
    band, grid = plan.profiles.band, lake.tiles[tile].grid
    psf, psf_id = load_psf(lake, tile, band)
    fitted = lake.arrays("profile", tile)[f"{band}/residual"]
    best = lake.table("profile").filter(pl.col("tile") == tile, pl.col("is_best")).sort("source_id").collect()
    rows: list[dict[str, Any]] = []
    with RaggedSpill("model", units=dict.fromkeys(("data", "residual"), fitted.unit)) as spill:

        def keep(row: dict[str, Any], image: NDArray[np.float32], left: NDArray[np.float32]) -> None:
            row["model_row"] = len(spill)
            spill.add({"data": image, "residual": left})

        for name, response in (("", None), (band, psf)):
            for some in best.iter_slices(_BATCH):
                stamps = model_stamps(fit_table(some, [], psf=psf), psf=response, enclosed=plan.profiles.light_in_stamp)
                windows = stamps.cut_out(fitted)
                drawn = {row["label"]: i for i, row in enumerate(stamps.table.iter_rows(named=True))}
                for source in some.iter_rows(named=True):
                    i = drawn[source["label"]]
                    row = _row(source, stamps.table.row(i, named=True), name, psf_id if name else "", grid)
                    rows.append(row)
                    if row["status"] == "ok":
                        keep(row, stamps.data[i], windows[i])
                        if plan.profiles.write_fits:
                            _write(plan, tile, row, stamps.data[i], grid)
        for source_id, path in plan.external_models().items():
            mine = best.filter(pl.col("source_id") == source_id)
            if mine.height:
                data, its_grid = read_image(path)
                rows.append(_external_row(mine.row(0, named=True), path, data, its_grid))
                keep(rows[-1], data, np.full(data.shape, np.nan, np.float32))
        if len(spill):
            spill.write(run)
    run.count(n_items=best.height, n_pixels=math.prod(fitted.shape))
    run.write("source_id", np.array([row["source_id"] for row in rows if "model_row" in row], np.int64))
    run.publish(run.frame(rows).sort("_healpix_29", "source_id", "attempt", "band"))


def _row(source: dict[str, Any], stamp: dict[str, Any], band: str, psf_id: str, grid: Grid) -> dict[str, Any]:
    """Return the row of a model; one that has no image says why."""
    row = {name: source[name] for name in ("source_id", "_healpix_29", "ra", "dec", "attempt", "kind")}
    row |= {
        "band": band,
        "status": stamp["status"],
        "message": stamp["message"],
        "ny": stamp["ny"],
        "nx": stamp["nx"],
        "x0": stamp["x0"],
        "y0": stamp["y0"],
        "pixel_scale_arcsec": grid.scale_arcsec,
        "sum": stamp["sum"],
        "psf_id": psf_id,
        "flags": 0,
    }
    if stamp["status"] == "ok":
        window = grid.cutout(stamp["y0"], stamp["x0"], (stamp["ny"], stamp["nx"]))
        row["wcs"] = json.dumps(window.cards(), sort_keys=True)
    return row


def _external_row(source: dict[str, Any], path: Path, data: NDArray[np.float32], grid: Grid) -> dict[str, Any]:
    return {name: source[name] for name in ("source_id", "_healpix_29", "ra", "dec")} | {
        "attempt": -1,
        "band": "",
        "kind": "external",
        "status": "ok",
        "message": "",
        "ny": data.shape[0],
        "nx": data.shape[1],
        "pixel_scale_arcsec": grid.scale_arcsec,
        "sum": float(data.sum(dtype=float)),
        "path": path.name,
        "sha256": file_digest(path),
        "wcs": json.dumps(grid.cards(), sort_keys=True),
        "flags": 0,
    }


def _write(plan: Plan, tile: str, row: dict[str, Any], data: NDArray[np.float32], grid: Grid) -> None:
    """Write a model as the deblending pipeline has it; of a window of the image, with its coordinates."""
    folder = "models_conv" if row["band"] else "models"
    path = plan.path(plan.survey.pictures) / tile / folder / f"{row['source_id']}.fits"
    path.parent.mkdir(parents=True, exist_ok=True)
    window = grid.cutout(row["y0"], row["x0"], (row["ny"], row["nx"]))
    write_image(data, path, wcs=window.wcs)


STAGE = Stage(name="models", reads=("profile", "psf"), writes=("model",), tasks=tasks)
