"""How large the blocks are in which a tile is searched and measured; they change no bit of what comes out."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from skymere.pipeline.plan import Plan
from skymere.pipeline.run_settings import memory_bytes

__all__ = ["BLOCK_COSTS", "OWN_BASELINE", "WORKER_BASELINE", "BlockCost", "block_side", "is_in_blocks", "task_share"]

_MIB = 2**20

WORKER_BASELINE = 256 * _MIB
"""What a worker holds that has opened a lake [bytes]: 250 to 254 MiB."""

OWN_BASELINE = 224 * _MIB
"""What a process holds that runs a plan and leaves the tasks to others [bytes]."""

_SMALLEST_PIX = 512
# What is read around a block, and sources that need a window of their own.
_MARGIN_PIX, _AROUND = 192, 1.3


@dataclass(frozen=True, kw_only=True)
class BlockCost:
    """Bytes of a task that works in blocks.

    Parameters
    ----------
    fixed : int
        Whatever the tile is.
    pixel, band_pixel : float
        For each pixel of the block, and of it in each band.
    tile_pixel : float
        For each pixel of the tile: runs of pixels above the threshold, and rows of sources.
    source : float
        For each source.
    """

    fixed: int
    pixel: float
    band_pixel: float
    tile_pixel: float = 0.0
    source: float = 0.0

    def bytes_of(self, shape: tuple[int, int], n_bands: int, side: int, n_sources: int = 0) -> int:
        """Return what a task needs beside what its process holds anyway [bytes]."""
        n_tile = shape[0] * shape[1]
        n_block = _AROUND * (side + _MARGIN_PIX) ** 2 if is_in_blocks(shape, side) else n_tile
        each = self.pixel + self.band_pixel * n_bands
        return int(self.fixed + each * n_block + self.tile_pixel * n_tile + self.source * n_sources)


BLOCK_COSTS: Mapping[str, BlockCost] = MappingProxyType(
    {
        "detect": BlockCost(fixed=40 * _MIB, pixel=45.0, band_pixel=48.0, tile_pixel=1.0),
        "measure": BlockCost(fixed=70 * _MIB, pixel=31.0, band_pixel=48.0, tile_pixel=1.0),
    }
)
"""By stage; see `skymere.pipeline.memory`."""


def is_in_blocks(shape: tuple[int, int], side: int) -> bool:
    """Whether an image is worked on in blocks of a side: when it has more pixels than four of them."""
    return shape[0] * shape[1] > 4 * side**2


def task_share(plan: Plan) -> int:
    """Return what one task may need beside what its process holds anyway [bytes]; 0 = there is no limit.

    Parameters
    ----------
    plan : Plan
        Its budget is shared by as many workers as leave each a quarter of it.
    """
    memory, run = memory_bytes(plan.run.memory), plan.run
    if not memory:
        return 0
    if run.executor == "serial":
        return max(memory - OWN_BASELINE, 1)
    shares = [(memory - OWN_BASELINE - n * WORKER_BASELINE) // n for n in range(run.n_workers or 1, 0, -1)]
    return max(next((share for share in shares if share >= memory // 4), shares[-1]), 1)


def block_side(stage: str, plan: Plan, shape: tuple[int, int], n_bands: int) -> int:
    """Return the side of the blocks of a stage: ``survey.block_pix``, or what fits into the budget [pix].

    Parameters
    ----------
    stage : str
        ``detect`` or ``measure``.
    plan : Plan
        What is done, and with how much memory.
    shape : tuple of int
        ``(ny, nx)`` of the tile.
    n_bands : int
        Bands that are looked at.
    """
    side, share, cost = plan.survey.block_pix, task_share(plan), BLOCK_COSTS[stage]
    while share and side > _SMALLEST_PIX and cost.bytes_of(shape, n_bands, side) > share:
        side = max(side // 2, _SMALLEST_PIX)
    return side
