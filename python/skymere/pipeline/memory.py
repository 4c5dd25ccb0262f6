"""How much memory tasks need, told before they begin.

Each number is the peak of a process that did one task and nothing else, less that of a process that found the task
done: two bands of four and eight exposures, mosaics of 0.4 and 2.1 million pixels (``docs/packages/pipeline.md``). A
stage that is not here has not been measured, and begins whatever the budget is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from skymere.lake import Lake
from skymere.pipeline.plan import Plan
from skymere.pipeline.task import Task

__all__ = ["WORKER_BASELINE", "in_words", "predicted_cost"]

_MIB = 2**20

WORKER_BASELINE = 256 * _MIB
"""What a worker holds that has opened a lake [bytes]: 250 to 254 MiB."""


@dataclass(frozen=True, kw_only=True)
class _Cost:
    """Bytes of a task: fixed, and for each pixel of its images, of them in each band, and each source."""

    fixed: int
    pixel: float = 0.0
    band_pixel: float = 0.0
    source: float = 0.0


# By the file, whose pixels nobody knows yet.
_INGEST_FIXED, _INGEST_PER_BYTE = 22 * _MIB, 4.0
# By the pixels of the largest exposure of a band: eight take what four take.
_OUTLIERS = _Cost(fixed=36 * _MIB, pixel=215.0)
# By the pixels of the tile.
_TILES = {
    "mosaic": _Cost(fixed=25 * _MIB, pixel=155.0),
    "psf": _Cost(fixed=38 * _MIB, pixel=50.0),
    "detect": _Cost(fixed=18 * _MIB, pixel=45.0, band_pixel=48.0),
    "measure": _Cost(fixed=35 * _MIB, pixel=31.0, band_pixel=48.0),
    "profiles": _Cost(fixed=85 * _MIB, pixel=80.0),
    "models": _Cost(fixed=105 * _MIB, source=2.1 * _MIB),
    "cutouts": _Cost(fixed=65 * _MIB, band_pixel=42.0),
}
# Large tiles are worked on block by block; these bytes a pixel stay: labels, and what looks at all of them. With 2.1
# million pixels in blocks of 256 the tasks took 51 and 93 MiB.
_IN_BLOCKS = {"detect": 8.0, "measure": 14.0}


def in_words(n_bytes: int) -> str:
    """Return an amount of memory as people write it."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / _MIB:.0f} MiB"


def predicted_cost(stage: str, plan: Plan, lake: Lake) -> Callable[[Task], int]:
    """Return what tells the memory that a task of a stage needs beside what its process holds anyway [bytes].

    Parameters
    ----------
    stage : str
        Name of the stage.
    plan : Plan
        What is done.
    lake : Lake
        The lake as the stages before have left it.
    """
    if stage == "ingest":
        sizes = {
            path.name: path.stat().st_size
            for path in (plan.exposure_files() if plan.survey.exposures else ())
            if path.exists()
        }
        return lambda task: int(_INGEST_FIXED + _INGEST_PER_BYTE * sizes.get(task.inputs[0]["uri"], 0))
    # Skies are found of one exposure at a time, with less in memory than comparing it takes.
    if stage in ("background", "outliers"):
        pixels = dict(
            lake.table("exposure")
            .filter(pl.col("status") == "ok")
            .group_by("band")
            .agg((pl.col("ny").cast(pl.Int64) * pl.col("nx")).max())
            .collect()
            .iter_rows()
        )
        return lambda task: int(_OUTLIERS.fixed + _OUTLIERS.pixel * pixels.get(task.tile.rpartition(".")[2], 0))
    if stage in _TILES:
        return _of_tiles(stage, plan, lake)
    return lambda _: 0


def _of_tiles(stage: str, plan: Plan, lake: Lake) -> Callable[[Task], int]:
    cost = _TILES[stage]
    n_bands = _counted(lake, "mosaic")
    n_sources = _counted(lake, "source") if cost.source else {}

    def told(task: Task) -> int:
        ny, nx = lake.tiles[task.tile].grid.shape
        pixels, kept = ny * nx, 0.0
        if stage in _IN_BLOCKS and plan.survey.is_large((ny, nx)):
            pixels, kept = 4 * plan.survey.block_pix**2, _IN_BLOCKS[stage] * ny * nx
        each = cost.pixel + cost.band_pixel * n_bands.get(task.tile, 1)
        return int(cost.fixed + each * pixels + kept + cost.source * n_sources.get(task.tile, 0))

    return told


def _counted(lake: Lake, product: str) -> dict[str, int]:
    return dict(lake.table(product).group_by("tile").agg(pl.len()).collect().iter_rows())
