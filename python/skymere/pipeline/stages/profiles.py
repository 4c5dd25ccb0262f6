"""profiles: models of all sources of a tile, fitted to the mosaic of one band."""

from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Mosaic
from skymere.errors import InvalidInputError
from skymere.lake import Lake, Run, stored_edits
from skymere.mosaic import subtract_background, without_pixels
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import load_mosaics, load_psf, load_segmentation, mosaic_rows
from skymere.pipeline.task import Stage, Task, as_params
from skymere.profiles import SceneFit, SceneParams, fit_scene, profiles_on_sky
from skymere.segmentation import bad_pixels

__all__ = ["STAGE"]

# Of the covariance of a fit, in the order of the array that the lake has.
_KEPT = ("x", "y", "flux", "r_eff_pix", "sersic_index", "ellipticity", "pa", "sky")


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with sources; none when the plan names no band."""
    if not plan.profiles.band:
        return []
    return [_task(plan, lake, tile) for tile in sorted(lake.live_runs("source"))]


def _task(plan: Plan, lake: Lake, tile: str) -> Task:
    _, regions = stored_edits(lake, tile)
    return Task(
        tile=tile,
        inputs=[
            *(lake.reference(product, tile) for product in ("mosaic", "psf", "segmentation", "source")),
            *regions,
        ],
        params={"profiles": as_params(plan.profiles), "background": as_params(plan.detect.background)},
        work=partial(_work, plan, lake, tile),
    )


def _work(plan: Plan, lake: Lake, tile: str, run: Run) -> None:
    band = plan.profiles.band
    mosaic, data, error = fitted_image(plan, lake, tile)
    segmentation = load_segmentation(lake, tile)
    psf, psf_id = load_psf(lake, tile, band)
    fit = fit_scene(data, error, labels=segmentation.labels, psf=psf, params=scene_params(plan, mosaic))
    rows = _rows(lake, tile, mosaic, fit, psf_id)
    unit = mosaic.microjansky_per_unit
    run.annotate(band, {"wcs": mosaic.grid.cards()})
    covered = np.isfinite(data)
    for name, image in (("model", fit.model), ("residual", fit.residual)):
        run.write(f"{band}/{name}", np.where(covered, image * np.float32(unit), np.float32(np.nan)), unit="uJy")
    run.write("covariance", _covariance(rows, unit))
    run.annotate("", {"parameters": list(_KEPT)})
    run.publish(run.fit(rows))


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


def _rows(lake: Lake, tile: str, mosaic: Mosaic, fit: SceneFit, psf_id: str) -> pl.DataFrame:
    """Return the rows of the lake: those of the tile's own sources, under their identifiers."""
    on_sky = profiles_on_sky(
        fit.table, mosaic.grid, zero_point_ab=mosaic.zero_point_ab, noise_factor=mosaic.noise_correlation
    )
    named = (
        lake.table("source")
        .filter(pl.col("tile") == tile)
        .select("source_id", "label", pl.col("ra").alias("_ra"), pl.col("dec").alias("_dec"))
        .collect()
    )
    ids = dict(named.select("label", "source_id").iter_rows())
    bits = {name: 1 << i for i, name in enumerate(_KEPT)}
    hit = [sum(bits.get(name, 0) for name in names) for names in on_sky["bounds_hit"].to_list()]
    return (
        on_sky.with_columns(
            bounds_hit=pl.Series(hit, dtype=pl.Int32),
            group_id=pl.Series([str(ids.get(label, f"{tile}-{label}")) for label in on_sky["group"].to_list()]),
        )
        .join(named, on="label", how="inner", maintain_order="left")
        .with_columns(
            # A fit that failed has no place: the row keeps that of the source.
            ra=pl.when(pl.col("ra").is_finite()).then("ra").otherwise("_ra"),
            dec=pl.when(pl.col("dec").is_finite()).then("dec").otherwise("_dec"),
            band=pl.lit(mosaic.band),
            attempt=pl.lit(0),
            is_best=pl.lit(value=True),
            kind=pl.lit("sersic"),
            n_iterations=pl.col("n_evaluations"),
            flags=pl.lit(0),
            psf_id=pl.lit(psf_id),
            psf_lost_fraction=pl.lit(0.0),
            start=pl.lit("{}"),
            noise_factor=pl.lit(mosaic.noise_correlation),
        )
        .sort("source_id", "attempt")
        .with_row_index("covariance_row")
    )


def _covariance(rows: pl.DataFrame, unit: float) -> NDArray[np.float64]:
    """Return the covariances of the rows, in uJy and with the noise of the image."""
    n = len(_KEPT)
    found = rows["covariance"].to_numpy()[:, :n, :n] if rows.height else np.zeros((0, n, n))
    scale = np.array([unit if name in ("flux", "sky") else 1.0 for name in _KEPT])
    factor = rows["noise_factor"].to_numpy()[:, None, None] ** 2
    return np.asarray(found * scale * scale[:, None] * factor)


STAGE = Stage(
    name="profiles", reads=("mosaic", "psf", "segmentation", "source", "region"), writes=("profile",), tasks=tasks
)
