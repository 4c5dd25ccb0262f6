"""How much memory tasks need, told before they begin.

``docs/packages/pipeline.md`` lists the peaks of processes from which the numbers were taken, on the large side, and
which of them are guesses. What is worked on window by window, or block by block, does not grow with the tile, and
nothing grows with the number of exposures.
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from skymere.datamodels import WINDOW_PIX
from skymere.lake import Lake
from skymere.pipeline.block_sides import BLOCK_COSTS, WORKER_BASELINE, block_side
from skymere.pipeline.plan import Plan
from skymere.pipeline.task import Task

__all__ = ["BOUNDED", "WORKER_BASELINE", "in_words", "predicted_cost"]

_MIB = 2**20
_WINDOW = WINDOW_PIX[0] * WINDOW_PIX[1]

# Bytes of a pixel of a tile with edits: labels before and after, and a mask.
_EDITED = 10


@dataclass(frozen=True, kw_only=True)
class _Cost:
    """Bytes of a task.

    Parameters
    ----------
    fixed : int
        Whatever it works on.
    window : float
        For each pixel of a window, or of the tile when that is smaller.
    exposure : float
        For each pixel of the largest exposure.
    tile : float
        For each pixel of the tile.
    source, beam : float
        For each source, or beam, of the tile.
    """

    fixed: int
    window: float = 0.0
    exposure: float = 0.0
    tile: float = 0.0
    source: float = 0.0
    beam: float = 0.0


# By the file, whose pixels nobody knows yet.
_INGEST_FIXED, _INGEST_PER_BYTE = 30 * _MIB, 5.0
_COSTS = {
    "align": _Cost(fixed=60 * _MIB, exposure=60.0),
    "background": _Cost(fixed=60 * _MIB, exposure=80.0),
    "outliers": _Cost(fixed=130 * _MIB, exposure=360.0),
    "mosaic": _Cost(fixed=60 * _MIB, window=100.0, exposure=160.0),
    "psf": _Cost(fixed=100 * _MIB, window=30.0, exposure=200.0),
    "profiles": _Cost(fixed=85 * _MIB, tile=80.0),
    "models": _Cost(fixed=300 * _MIB),
    "photometry": _Cost(fixed=120 * _MIB, tile=125.0),
    "cutouts": _Cost(fixed=450 * _MIB),
    "slits": _Cost(fixed=400 * _MIB),
    "contam": _Cost(fixed=300 * _MIB),
    "beams": _Cost(fixed=250 * _MIB),
    "redshifts": _Cost(fixed=280 * _MIB),
    "maps": _Cost(fixed=200 * _MIB),
}

BOUNDED = frozenset({"ingest", *(stage for stage, cost in _COSTS.items() if not cost.tile)})
"""Stages of which a task needs no more memory on a larger tile."""


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
    if stage in BLOCK_COSTS:
        return _in_blocks(stage, plan, lake)
    if stage in _COSTS:
        return _of_sizes(_COSTS[stage], lake)
    return lambda _: 0


def _of_sizes(cost: _Cost, lake: Lake) -> Callable[[Task], int]:
    n_exposure = _largest_exposure(lake) if cost.exposure else 0
    n_sources = _counted(lake, "source") if cost.source else {}
    n_beams = _counted(lake, "beam") if cost.beam else {}

    def told(task: Task) -> int:
        n_tile = _tile_pixels(lake, task)
        each = cost.window * min(n_tile, _WINDOW) + cost.tile * n_tile + cost.exposure * n_exposure
        objects = cost.source * n_sources.get(task.tile, 0) + cost.beam * n_beams.get(task.tile, 0)
        return int(cost.fixed + each + objects)

    return told


def _in_blocks(stage: str, plan: Plan, lake: Lake) -> Callable[[Task], int]:
    n_bands, n_sources = _counted(lake, "mosaic"), _counted(lake, "source")
    edited = set(lake.live_runs("region"))

    def told(task: Task) -> int:
        shape, bands = lake.tiles[task.tile].grid.shape, n_bands.get(task.tile, 1)
        side = block_side(stage, plan, shape, bands)
        cost = BLOCK_COSTS[stage].bytes_of(shape, bands, side, n_sources.get(task.tile, 0))
        # Edits look at all labels, and masks that people drew are as large as the tile.
        return cost + (_EDITED * shape[0] * shape[1] if task.tile in edited else 0)

    return told


def _tile_pixels(lake: Lake, task: Task) -> int:
    """Return the pixels of the tile of a task; 0 for one that belongs to no tile, such as a batch of slits."""
    tile = task.tile if task.tile in lake.tiles else task.tile.rpartition(".")[0]
    if tile not in lake.tiles:
        return 0
    ny, nx = lake.tiles[tile].grid.shape
    return ny * nx


def _largest_exposure(lake: Lake) -> int:
    pixels = pl.col("ny").cast(pl.Int64) * pl.col("nx")
    found = lake.table("exposure").filter(pl.col("status") == "ok").select(pixels.max()).collect().item()
    return int(found or 0)


def _counted(lake: Lake, product: str) -> dict[str, int]:
    return dict(lake.table(product).group_by("tile").agg(pl.len()).collect().iter_rows())
