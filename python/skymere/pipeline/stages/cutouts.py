"""cutouts: a stamp of every source in every band, with its weight and segmentation."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.lake import Lake, Run
from skymere.mosaic import cut_window
from skymere.pipeline.plan import CutoutPlan, Plan
from skymere.pipeline.products import load_mosaic, load_segmentation, mosaic_rows
from skymere.pipeline.task import Stage, Task

__all__ = ["STAGE"]

_SIZE_CLASSES = (64, 128, 256, 512)


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with sources."""
    return [
        Task(
            tile=tile,
            inputs=[lake.reference(product, tile) for product in ("mosaic", "segmentation", "source")],
            params=asdict(plan.cutouts),
            work=partial(_work, plan, lake, tile),
        )
        for tile in sorted(lake.live_runs("source"))
    ]


def _work(plan: Plan, lake: Lake, tile: str, run: Run) -> None:
    sources = lake.table("source").filter(pl.col("tile") == tile).sort("source_id").collect()
    rows = _choose_sizes(sources, plan.cutouts)
    bands = mosaic_rows(lake, tile)["band"].to_list()
    planes = _mosaic_planes(run, lake, tile, bands)
    labels = load_segmentation(lake, tile).labels
    for (size,), members in sorted(rows.group_by("size_class", maintain_order=True)):
        x, y = members["x"].to_numpy(), members["y"].to_numpy()
        cut = partial(_stack, x=x, y=y, size=int(size))
        run.write(f"px{size}/seg", cut(labels))
        for band in bands:
            run.annotate(f"px{size}/{band}", {"wcs": lake.tiles[tile].grid.cards()})
            sci, wht, unit, weight_unit = planes[band]
            lossy = None if plan.cutouts.lossless else "quantise"
            run.write(f"px{size}/{band}/sci", cut(sci), unit=unit, lossy=lossy)
            weight = np.nan_to_num(cut(wht), nan=0.0)
            run.write(
                f"px{size}/{band}/wht", weight, unit=weight_unit, lossy=None if plan.cutouts.lossless else "weight7"
            )
            run.write(f"px{size}/{band}/origin", _origins(x, y, int(size)))
    run.write("source_id", rows["source_id"].to_numpy())
    run.publish(rows.select("source_id", "ra", "dec", "size_class", "cutout_row", "wanted_pix"))


def _choose_sizes(sources: pl.DataFrame, plan: CutoutPlan) -> pl.DataFrame:
    """Give each source the smallest size class that holds twice its Kron ellipse, and its row in that class."""
    extent = 4.0 * (pl.col("kron_radius") * pl.col("a")).fill_null(0.0).fill_nan(0.0)
    classes = [size for size in _SIZE_CLASSES if plan.size_pix <= size <= plan.largest_pix] or [plan.size_pix]
    chosen = pl.lit(classes[-1])
    for size in reversed(classes):
        chosen = pl.when(pl.col("wanted_pix") <= size).then(size).otherwise(chosen)
    return (
        sources.with_columns(extent.ceil().clip(plan.size_pix).cast(pl.Int32).alias("wanted_pix"))
        .with_columns(chosen.cast(pl.Int16).alias("size_class"))
        .with_columns(pl.int_range(pl.len(), dtype=pl.Int32).over("size_class").alias("cutout_row"))
    )


def _mosaic_planes(
    run: Run, lake: Lake, tile: str, bands: list[str]
) -> Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32], str, str]]:
    planes = {}
    for band in bands:
        mosaic = load_mosaic(lake, tile, band)
        planes[band] = (mosaic.data, mosaic.weight, mosaic.unit, "s" if mosaic.weight_kind == "exposure_time" else "")
    return planes


def _stack(
    image: NDArray[np.generic], *, x: NDArray[np.float64], y: NDArray[np.float64], size: int
) -> NDArray[np.generic]:
    windows = [cut_window(image, xi, yi, size_pix=size).data for xi, yi in zip(x, y, strict=True)]
    return np.stack(windows)


def _origins(x: NDArray[np.float64], y: NDArray[np.float64], size: int) -> NDArray[np.int32]:
    first = np.floor(np.column_stack([y, x]) + 0.5).astype(np.int32) - size // 2
    return np.asarray(first, np.int32)


STAGE = Stage(name="cutouts", reads=("mosaic", "segmentation", "source"), writes=("cutout",), tasks=tasks)
