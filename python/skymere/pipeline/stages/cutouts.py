"""cutouts: a stamp of every source in every band, with its weight and segmentation."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Sliceable, StoredMosaic
from skymere.lake import LARGE, SIZE_CLASSES, Lake, Run, write_ragged
from skymere.mosaic import Cutout, cut_window
from skymere.pipeline.plan import CutoutPlan, Plan
from skymere.pipeline.products import stored_mosaics
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
    n_short = rows.filter(pl.col("extent") > plan.cutouts.largest_pix).height
    if n_short:
        run.warn(
            f"{n_short} sources are larger than largest_pix, {plan.cutouts.largest_pix}: their stamps are cut short"
        )
    labels = lake.arrays("segmentation", tile)["label"]
    mosaics = stored_mosaics(lake, tile)
    for (size,), members in sorted(rows.group_by("size_class", maintain_order=True)):
        if size == LARGE:
            _write_large(run, labels, mosaics, members)
            continue
        run.write(f"px{size}/seg", _stamps(labels, members, size), n_rows=members.height)
        for mosaic in mosaics:
            _write_band(run, mosaic, members, size, lossless=plan.cutouts.lossless)
    run.count(n_items=rows.height, n_pixels=len(mosaics) * math.prod(labels.shape))
    run.write("source_id", rows["source_id"].to_numpy())
    run.publish(rows.select("source_id", "ra", "dec", "size_class", "cutout_row", "wanted_pix"))


def _write_band(run: Run, mosaic: StoredMosaic, rows: pl.DataFrame, size: int, *, lossless: bool) -> None:
    group = f"px{size}/{mosaic.band}"
    run.annotate(group, {"wcs": mosaic.grid.cards()})
    data, weight = _stamps(mosaic.data, rows, size), _stamps(mosaic.weight, rows, size)
    covered = (np.nan_to_num(part, nan=0.0) for part in weight)
    n = rows.height
    run.write(f"{group}/sci", data, n_rows=n, unit=mosaic.unit, lossy=None if lossless else "quantise")
    run.write(f"{group}/wht", covered, n_rows=n, unit=_weight_unit(mosaic), lossy=None if lossless else "weight7")
    run.write(f"{group}/origin", _origins(rows, size).astype(np.int32))


def _write_large(run: Run, labels: Sliceable, mosaics: list[StoredMosaic], rows: pl.DataFrame) -> None:
    """Write stamps that no size class holds, each of its own size; they are few."""
    write_ragged(run, {"large/seg": [window.data for window in _windows(labels, rows)]})
    for mosaic in mosaics:
        group = f"large/{mosaic.band}"
        run.annotate(group, {"wcs": mosaic.grid.cards()})
        planes = {
            f"{group}/sci": [window.data for window in _windows(mosaic.data, rows)],
            f"{group}/wht": [np.nan_to_num(window.data, nan=0.0) for window in _windows(mosaic.weight, rows)],
        }
        write_ragged(run, planes, unit={f"{group}/sci": mosaic.unit, f"{group}/wht": _weight_unit(mosaic)})
        sizes = rows["wanted_pix"].to_numpy()
        run.write(f"{group}/origin", _origins(rows, sizes).astype(np.int32))


def _weight_unit(mosaic: StoredMosaic) -> str:
    return "s" if mosaic.weight_kind == "exposure_time" else ""


def _choose_sizes(sources: pl.DataFrame, plan: CutoutPlan) -> pl.DataFrame:
    """Give each source the smallest size class that holds twice its Kron ellipse, and its row in that class."""
    extent = (4.0 * (pl.col("kron_radius") * pl.col("a")).fill_null(0.0).fill_nan(0.0)).ceil()
    classes = [size for size in SIZE_CLASSES if plan.size_pix <= size <= plan.largest_pix]
    is_open = plan.largest_pix > SIZE_CLASSES[-1]
    chosen = pl.lit(LARGE if is_open else classes[-1])
    for size in reversed(classes):
        chosen = pl.when(pl.col("wanted_pix") <= size).then(size).otherwise(chosen)
    # The arrays of large stamps are as large as was asked for, so that is cut short there.
    longest = plan.largest_pix if is_open else None
    return (
        sources.with_columns(
            extent.alias("extent"), extent.clip(plan.size_pix, longest).cast(pl.Int32).alias("wanted_pix")
        )
        .with_columns(chosen.cast(pl.Int16).alias("size_class"))
        .with_columns(pl.int_range(pl.len(), dtype=pl.Int32).over("size_class").alias("cutout_row"))
    )


def _origins(rows: pl.DataFrame, size: int | NDArray[np.int32]) -> NDArray[np.int64]:
    """Return row and column of the first pixels of stamps, as `cut_window` cuts them."""
    at = np.floor(rows.select("y", "x").to_numpy() + 0.5).astype(np.int64)
    return np.asarray(at - (np.reshape(size, (-1, 1)) // 2))


def _windows(image: Any, rows: pl.DataFrame) -> Iterator[Cutout]:
    """Windows around the sources, of the sizes that they ask for."""
    for x, y, wanted in rows.select("x", "y", "wanted_pix").iter_rows():
        yield cut_window(image, x, y, size_pix=wanted)


def _stamps(image: Any, rows: pl.DataFrame, size: int) -> Iterator[NDArray[Any]]:
    """Windows of one size, ``(n, size, size)``, a batch at a time."""
    for batch in rows.iter_slices(BATCH):
        origins = _origins(batch, size)
        inside = ((origins >= 0) & (origins + size <= image.shape)).all(axis=1)
        stamps = np.empty((batch.height, size, size), image.dtype)
        if inside.any():
            stamps[inside] = image.boxes(origins[inside], (size, size))
        for k in np.flatnonzero(~inside).tolist():
            x, y = batch["x"][k], batch["y"][k]
            stamps[k] = cut_window(image, x, y, size_pix=size).data
        yield stamps


STAGE = Stage(name="cutouts", reads=("mosaic", "segmentation", "source"), writes=("cutout",), tasks=tasks)
