"""cutouts: a stamp of every source in every band, with its weight and segmentation."""

from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Mosaic
from skymere.lake import SIZE_CLASSES, Lake, Run
from skymere.mosaic import cut_window
from skymere.pipeline.plan import CutoutPlan, Plan
from skymere.pipeline.products import load_mosaics, load_segmentation
from skymere.pipeline.task import Stage, Task, as_params

__all__ = ["STAGE"]


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with sources."""
    return [
        Task(
            tile=tile,
            inputs=[lake.reference(product, tile) for product in ("mosaic", "segmentation", "source")],
            params=as_params(plan.cutouts),
            work=partial(_work, plan, lake, tile),
        )
        for tile in sorted(lake.live_runs("source"))
    ]


def _work(plan: Plan, lake: Lake, tile: str, run: Run) -> None:
    sources = lake.table("source").filter(pl.col("tile") == tile).sort("source_id").collect()
    rows = _choose_sizes(sources, plan.cutouts)
    labels = load_segmentation(lake, tile).labels
    mosaics = load_mosaics(lake, tile)
    for (size,), members in sorted(rows.group_by("size_class", maintain_order=True)):
        run.write(f"px{size}/seg", _stack(labels, members, size)[0])
        for mosaic in mosaics:
            _write_band(run, mosaic, members, size, lossless=plan.cutouts.lossless)
    run.write("source_id", rows["source_id"].to_numpy())
    run.publish(rows.select("source_id", "ra", "dec", "size_class", "cutout_row", "wanted_pix"))


def _write_band(run: Run, mosaic: Mosaic, rows: pl.DataFrame, size: int, *, lossless: bool) -> None:
    group = f"px{size}/{mosaic.band}"
    run.annotate(group, {"wcs": mosaic.grid.cards()})
    data, origins = _stack(mosaic.data, rows, size)
    weight, _ = _stack(mosaic.weight, rows, size)
    run.write(f"{group}/sci", data, unit=mosaic.unit, lossy=None if lossless else "quantise")
    unit = "s" if mosaic.weight_kind == "exposure_time" else ""
    run.write(f"{group}/wht", np.nan_to_num(weight, nan=0.0), unit=unit, lossy=None if lossless else "weight7")
    run.write(f"{group}/origin", origins)


def _choose_sizes(sources: pl.DataFrame, plan: CutoutPlan) -> pl.DataFrame:
    """Give each source the smallest size class that holds twice its Kron ellipse, and its row in that class."""
    extent = 4.0 * (pl.col("kron_radius") * pl.col("a")).fill_null(0.0).fill_nan(0.0)
    classes = [size for size in SIZE_CLASSES if plan.size_pix <= size <= plan.largest_pix] or [plan.size_pix]
    chosen = pl.lit(classes[-1])
    for size in reversed(classes):
        chosen = pl.when(pl.col("wanted_pix") <= size).then(size).otherwise(chosen)
    return (
        sources.with_columns(extent.ceil().clip(plan.size_pix).cast(pl.Int32).alias("wanted_pix"))
        .with_columns(chosen.cast(pl.Int16).alias("size_class"))
        .with_columns(pl.int_range(pl.len(), dtype=pl.Int32).over("size_class").alias("cutout_row"))
    )


def _stack(image: NDArray[Any], rows: pl.DataFrame, size: int) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Windows around the sources, ``(n, size, size)``, and their first pixels, ``(n, 2)``."""
    cut = [cut_window(image, x, y, size_pix=size) for x, y in rows.select("x", "y").iter_rows()]
    return np.stack([c.data for c in cut]), np.array([c.origin for c in cut], np.int32)


STAGE = Stage(name="cutouts", reads=("mosaic", "segmentation", "source"), writes=("cutout",), tasks=tasks)
