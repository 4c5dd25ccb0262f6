"""The bytes of arrays: whole shards out, boxes in."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_boxes", "write_shards"]


def write_shards(
    folder: Path, array: NDArray[np.generic], *, chunk: tuple[int, ...], shard: tuple[int, ...], fill: float
) -> None:
    """Write all shards of an array whose ``zarr.json`` is there."""
    import zarr

    zarr.open_array(folder, mode="r+")[...] = array


def read_boxes(
    folder: Path, origins: NDArray[np.int64], box: tuple[int, ...], dtype: np.dtype[np.generic]
) -> NDArray[np.generic]:
    """Read boxes of one shape at several places, ``(n, *box)``."""
    import zarr

    stored = zarr.open_array(folder, mode="r")
    out = np.empty((len(origins), *box), dtype)
    for i, origin in enumerate(origins):
        out[i] = stored[tuple(slice(o, o + n) for o, n in zip(origin, box, strict=True))]
    return out
