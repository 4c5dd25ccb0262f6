"""profiles: models of all sources of a tile, fitted to the mosaic of one band, and what people changed of them."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Mosaic
from skymere.errors import InvalidInputError, NoDataError, NotFoundError
from skymere.io import write_image
from skymere.lake import Lake, Run, stored_edits, stored_profile_edits
from skymere.lake.forms import table_dtypes
from skymere.mosaic import subtract_background, without_pixels
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import load_mosaics, load_psf, load_segmentation, mosaic_rows
from skymere.pipeline.profile_rows import KEPT, StoredFit, failed_rows, profile_rows, stored_fit
from skymere.pipeline.refits import apply_edit
from skymere.pipeline.task import Stage, Task, as_params
from skymere.profiles import SceneFit, SceneParams, fit_scene
from skymere.segmentation import bad_pixels

__all__ = ["STAGE", "task_of"]


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with sources; none when the plan names no band.

    Raises
    ------
    InvalidInputError
        When no tile has a mosaic of the band.
    """
    band = plan.profiles.band
    if not band:
        return []
    have = lake.table("mosaic").filter(pl.col("status") == "ok").select(pl.col("band").unique().sort()).collect()
    if lake.live_runs("source") and band not in have["band"]:
        msg = f"profiles.band: {band!r} has no mosaic in any tile, it must be one of {have['band'].to_list()}"
        raise InvalidInputError(msg)
    return [task_of(plan, lake, tile) for tile in sorted(lake.live_runs("source"))]


def task_of(plan: Plan, lake: Lake, tile: str) -> Task:
    """Return the task of a tile.

    Parameters
    ----------
    plan : Plan
        With a band of the profiles.
    lake : Lake
        The lake.
    tile : str
        The tile.
    """
    _, regions = stored_edits(lake, tile)
    edits = stored_profile_edits(lake, tile, plan.profiles.band)
    # A tile whose PSF could not be made has rows that say so.
    products = ("mosaic", *(["psf"] if tile in lake.live_runs("psf") else []), "segmentation", "source")
    base = [*(lake.reference(product, tile) for product in products), *regions]
    return Task(
        tile=tile,
        inputs=[*base, {"uri": f"profile_edit/{tile}", "edits": edits["edit_id"].to_list()}],
        params={"profiles": as_params(plan.profiles), "background": as_params(plan.detect.background)},
        work=partial(_work, plan, lake, tile, edits),
    )


def _work(plan: Plan, lake: Lake, tile: str, edits: pl.DataFrame, run: Run) -> None:
    band = plan.profiles.band
    try:
        mosaic, data, error = fitted_image(plan, lake, tile)
        psf, psf_id = load_psf(lake, tile, band)
    except (InvalidInputError, NoDataError, NotFoundError) as failure:
        run.warn(str(failure))
        run.write("covariance", np.zeros((0, len(KEPT), len(KEPT))))
        run.publish(run.fit(failed_rows(lake, tile, band, str(failure))))
        return
    labels = load_segmentation(lake, tile).labels
    sources = lake.table("source").filter(pl.col("tile") == tile).select("source_id", "label").collect()
    label_of = dict(sources.iter_rows())
    pixels: dict[str, Any] = {"data": data, "error": error, "labels": labels, "psf": psf}
    params = scene_params(plan, mosaic)
    stored = stored_fit(lake, run, mosaic, edits, labels=labels, psf=psf, params=params)
    if stored is None:
        stored = StoredFit(fit=fit_scene(data, error, labels=labels, psf=psf, params=params))
    fit, made = stored.fit, dict(stored.made)
    for text in fit.warnings:
        run.warn(text)
    items = [{"item": name, "status": "ok", "message": ""} for name in edits["edit_id"][: stored.n_edits]]
    for edit in edits[stored.n_edits :].iter_rows(named=True):
        before = set(fit.table.select("label", "attempt").iter_rows())
        try:
            fit = apply_edit(fit, edit, mosaic=mosaic, label_of=label_of, **pixels)
        except InvalidInputError as failure:
            run.warn(f"edit {edit['edit_id']} of source {edit['source_id']}: {failure}")
            items.append({"item": edit["edit_id"], "status": "rejected", "message": str(failure)})
            continue
        made |= dict.fromkeys(set(fit.table.select("label", "attempt").iter_rows()) - before, edit["edit_id"])
        items.append({"item": edit["edit_id"], "status": "ok", "message": ""})
    found = stored.with_new(profile_rows(lake, tile, mosaic, fit, psf=psf, psf_id=psf_id, edits=made), run)
    run.annotate(band, {"wcs": mosaic.grid.cards()})
    covered = np.isfinite(data)
    for name, image in (("model", fit.model), ("residual", fit.residual)):
        run.write(f"{band}/{name}", np.where(covered, image, np.float32(np.nan)), unit=mosaic.unit)
    run.write("covariance", found.covariance)
    run.annotate("", {"parameters": list(KEPT), "others": found.others})
    if plan.profiles.write_fits:
        _write_fits(plan, tile, mosaic, fit)
    run.count(n_items=sources.height, n_pixels=data.size)
    run.publish(found.rows, items=_item_rows(items))


def fitted_image(plan: Plan, lake: Lake, tile: str) -> tuple[Mosaic, NDArray[np.float32], NDArray[np.float32]]:
    """Return the mosaic that is fitted, its pixels without the background, and their errors.

    Raises
    ------
    InvalidInputError
        When the tile has no mosaic of the band, or its zero point is unknown.
    """
    band = plan.profiles.band
    have = mosaic_rows(lake, tile)["band"].to_list()
    if band not in have:
        msg = f"profiles.band: {band!r} has no mosaic in tile {tile}, it must be one of {have}"
        raise InvalidInputError(msg)
    stored, _ = stored_edits(lake, tile)
    bad = bad_pixels([one.edit for one in stored], lake.tiles[tile].grid, [band])
    (mosaic,) = load_mosaics(lake, tile, [band])
    if not np.isfinite(mosaic.zero_point_ab):
        msg = f"profiles.band: the mosaic of {band!r} in tile {tile} has no zero point, which the lake's uJy need"
        raise InvalidInputError(msg)
    mosaic = without_pixels(mosaic, bad.get(band))
    data, _ = subtract_background(mosaic, params=plan.detect.background)
    error = np.sqrt(np.where(np.isfinite(data), mosaic.variance, np.float32(np.nan)))
    return mosaic, data, error


def scene_params(plan: Plan, mosaic: Mosaic) -> SceneParams:
    """Return the parameters of the fits, with sizes in pixels of the mosaic."""
    return replace(plan.profiles.scene, min_half_pix=plan.profiles.min_half_arcsec / mosaic.grid.scale_arcsec)


def _item_rows(items: list[dict[str, str]]) -> pl.DataFrame:
    """Return what came of each edit as rows of ``run_item``."""
    wanted = table_dtypes("run_item")
    blank = {"error_class": "", "seconds": None, "peak_memory": None}
    schema = {name: wanted[name] for name in wanted if name not in ("run_id", "stage", "tile")}
    return pl.DataFrame([blank | item for item in items], schema=schema)


def _write_fits(plan: Plan, tile: str, mosaic: Mosaic, fit: SceneFit) -> None:
    """Write what the deblending pipeline leaves: the image without its models."""
    path = plan.path(plan.survey.pictures) / tile / "det_stack-sub.fits"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(fit.residual, path, wcs=mosaic.grid.wcs, keywords={"BUNIT": mosaic.unit})


STAGE = Stage(
    name="profiles",
    reads=("mosaic", "psf", "segmentation", "source", "region", "profile_edit"),
    writes=("profile",),
    tasks=tasks,
)
