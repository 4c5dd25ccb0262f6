"""cutouts: a stamp of every source in every band, with its weight and segmentation."""

from collections.abc import Iterator
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

# Stamps that are in memory at once, beside those of the shard that is being filled.
BATCH = 64


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
        run.write(f"px{size}/seg", _stamps(labels, members, size), n_rows=members.height)
        for mosaic in mosaics:
            _write_band(run, mosaic, members, size, lossless=plan.cutouts.lossless)
    run.write("source_id", rows["source_id"].to_numpy())
    run.publish(rows.select("source_id", "ra", "dec", "size_class", "cutout_row", "wanted_pix"))


def _write_band(run: Run, mosaic: Mosaic, rows: pl.DataFrame, size: int, *, lossless: bool) -> None:
    group = f"px{size}/{mosaic.band}"
    run.annotate(group, {"wcs": mosaic.grid.cards()})
    data, weight = _stamps(mosaic.data, rows, size), _stamps(mosaic.weight, rows, size)
    covered = (np.nan_to_num(part, nan=0.0) for part in weight)
    n = rows.height
    run.write(f"{group}/sci", data, n_rows=n, unit=mosaic.unit, lossy=None if lossless else "quantise")
    unit = "s" if mosaic.weight_kind == "exposure_time" else ""
    run.write(f"{group}/wht", covered, n_rows=n, unit=unit, lossy=None if lossless else "weight7")
    run.write(f"{group}/origin", _origins(mosaic.data, rows, size))


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


def _stamps(image: NDArray[Any], rows: pl.DataFrame, size: int) -> Iterator[NDArray[Any]]:
    """Windows around the sources, ``(n, size, size)``, a batch at a time."""
    for batch in rows.select("x", "y").iter_slices(BATCH):
        yield np.stack([cut_window(image, x, y, size_pix=size).data for x, y in batch.iter_rows()])


def _origins(image: NDArray[Any], rows: pl.DataFrame, size: int) -> NDArray[np.int32]:
    """First pixels of the windows, ``(n, 2)``."""
    places = rows.select("x", "y").iter_rows()
    return np.array([cut_window(image, x, y, size_pix=size).origin for x, y in places], np.int32)


STAGE = Stage(name="cutouts", reads=("mosaic", "segmentation", "source"), writes=("cutout",), tasks=tasks)
