"""Arrays of a run that are written window by window, and can be read before they are sealed."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.lake.arrays import StoredArray, metadata_bytes
from skymere.lake.codec import write_rows
from skymere.lake.files import storage

__all__ = ["OpenArray"]

_PART = ".part"


class OpenArray:
    """An array that is being written; made by `Run.open`.

    Windows are written with ``array[rows, columns] = pixels``, or with one index or slice more for each axis before
    these. They are whole shards: each axis begins at a multiple of `shard` and ends at one, or where the array ends.
    What was written can be read in the same way.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    shard : tuple of int
        Of `skymere.datamodels.WINDOW_PIX`, or what of it the array has.
    """

    def __init__(self, folder: Path, metadata: Mapping[str, Any], sealed: StoredArray | None = None) -> None:
        self._folder, self._metadata, self._sealed = folder, metadata, sealed
        self.shape: tuple[int, ...] = tuple(metadata["shape"])
        self.dtype = np.dtype(metadata["data_type"])
        self.shard: tuple[int, ...] = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a window of what was written; the fill value where nothing was."""
        # A reader keeps what it has seen of shards, also that one is not there.
        return (self._sealed or StoredArray(self._folder, self._metadata))[key]

    def __setitem__(self, key: Any, values: Any) -> None:
        """Write a window."""
        keys = [
            slice(k, k + 1) if isinstance(k, int | np.integer) else k
            for k in (key if isinstance(key, tuple) else (key,))
        ]
        keys += [slice(None)] * (len(self.shape) - len(keys))
        edges = [part.indices(n)[:2] for part, n in zip(keys, self.shape, strict=True)]
        for (first, end), n, step in zip(edges, self.shape, self.shard, strict=True):
            if first % step or (end % step and end != n) or end <= first:
                msg = f"index: {key!r} is not allowed, windows of {self.shape} must be whole shards of {self.shard}"
                raise InvalidInputError(msg)
        box = tuple(end - first for first, end in edges)
        pixels = np.asarray(values)
        if pixels.dtype != self.dtype or pixels.size != int(np.prod(box)):
            msg = f"values: {pixels.dtype} of shape {pixels.shape} are not allowed, they must be {self.dtype} of {box}"
            raise InvalidInputError(msg)
        if self._sealed is not None:
            return
        self._write(box, [first // step for (first, _), step in zip(edges, self.shard, strict=True)], pixels)

    def _write(self, box: tuple[int, ...], first_shard: list[int], pixels: NDArray[Any]) -> None:
        """Write the shards of a window as an array of their own, and give them their names in this one."""
        part = self._folder / _PART
        with storage(self._folder):
            part.mkdir()
            try:
                (part / "zarr.json").write_bytes(metadata_bytes({**self._metadata, "shape": box}))
                write_rows(part, 0, np.ascontiguousarray(pixels).reshape(box), None)
                for path in sorted(part.rglob("c/**/*")):
                    if path.is_file():
                        at = [int(name) for name in path.relative_to(part / "c").parts]
                        to = self._folder.joinpath("c", *(str(a + b) for a, b in zip(at, first_shard, strict=True)))
                        to.parent.mkdir(parents=True, exist_ok=True)
                        path.rename(to)
            finally:
                shutil.rmtree(part)
