"""Images larger than memory: the windows in which they are worked on, and planes that lie in a file meanwhile."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from skymere.errors import StorageError

__all__ = ["WINDOW_PIX", "ScratchPlane", "ScratchPlanes", "Window", "windows_of"]

WINDOW_PIX = (1024, 2048)
"""Rows and columns of a window of a mosaic, and of the shards of what is written window by window."""


@dataclass(frozen=True)
class Window:
    """A window of an image.

    Parameters
    ----------
    rows, columns : tuple of int
        First and last + 1.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)``."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    @property
    def origin(self) -> tuple[int, int]:
        """First row and column."""
        return self.rows[0], self.columns[0]

    @property
    def slices(self) -> tuple[slice, slice]:
        """The index of the window in its image."""
        return slice(*self.rows), slice(*self.columns)

    def widened(self, margin: int, shape: tuple[int, int]) -> "Window":
        """Return the window with a margin, where an image of a shape goes on."""
        rows, columns = (
            (max(low - margin, 0), min(high + margin, n))
            for (low, high), n in zip((self.rows, self.columns), shape, strict=True)
        )
        return Window(rows, columns)

    def shared(self, other: "Window") -> "Window | None":
        """Return what two windows share; None when there is nothing."""
        pairs = zip((self.rows, self.columns), (other.rows, other.columns), strict=True)
        rows, columns = ((max(a[0], b[0]), min(a[1], b[1])) for a, b in pairs)
        return Window(rows, columns) if rows[0] < rows[1] and columns[0] < columns[1] else None

    def within(self, other: "Window") -> tuple[slice, slice]:
        """Return the index of the window in another one that holds it."""
        rows, columns = (
            slice(low - start, high - start)
            for (low, high), start in zip((self.rows, self.columns), other.origin, strict=True)
        )
        return rows, columns


def windows_of(shape: tuple[int, int], size: tuple[int, int] = WINDOW_PIX) -> Iterator[Window]:
    """Yield the windows of an image, row after row.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the image.
    size : tuple of int, optional
        Rows and columns of a window.

    Notes
    -----
    What is summed over an image is summed window by window in this order, so that sums have the same bits wherever the
    image is stored and whatever memory there is.
    """
    for y in range(0, shape[0], size[0]):
        for x in range(0, shape[1], size[1]):
            yield Window((y, min(y + size[0], shape[0])), (x, min(x + size[1], shape[1])))


class ScratchPlanes:
    """Planes that lie in files of a temporary folder; windows of them are written and read.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.datamodels import ScratchPlanes
    >>> with ScratchPlanes() as scratch:
    ...     plane = scratch.plane("sum", (100, 200), np.float32)
    ...     plane[10:12, 5:7] = 3.0
    ...     float(plane[11, 6]), float(plane[0:20, :].sum())
    (3.0, 12.0)
    """

    def __init__(self) -> None:
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="skymere-")
        except OSError as error:
            msg = f"{tempfile.gettempdir()}: no folder can be made there: {error.strerror}"
            raise StorageError(msg) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the planes."""
        self._folder.cleanup()

    def plane(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> "ScratchPlane":
        """Return a new plane of zeros."""
        path = Path(self._folder.name) / name
        try:
            with path.open("wb") as file:
                file.truncate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        except OSError as error:
            msg = f"{path}: cannot be written: {error.strerror}"
            raise StorageError(msg) from error
        return ScratchPlane(path, shape, np.dtype(dtype))


@dataclass(frozen=True)
class ScratchPlane:
    """A plane of `ScratchPlanes`; the process holds no more of it than what is asked for.

    Parameters
    ----------
    path : Path
        Its file.
    shape : tuple of int
        ``(ny, nx)``.
    dtype : numpy.dtype
        Of its pixels.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return a copy of a window."""
        # The map ends with the call, and with it the pages that were touched.
        return np.array(np.memmap(self.path, self.dtype, "r", shape=self.shape)[key])

    def __setitem__(self, key: Any, values: Any) -> None:
        """Write a window."""
        # A page of a map that finds the disk full kills the process, a call of write raises.
        rows, *others = (*key,) if isinstance(key, tuple) else (key,)
        first, end, _ = rows.indices(self.shape[0])
        columns = others[0] if others else slice(None)
        left, right, _ = columns.indices(self.shape[1])
        wanted = np.ascontiguousarray(np.broadcast_to(values, (end - first, right - left)), self.dtype)
        try:
            with self.path.open("r+b") as file:
                for row, pixels in zip(range(first, end), wanted, strict=True):
                    file.seek((row * self.shape[1] + left) * self.dtype.itemsize)
                    file.write(pixels.data)
        except OSError as error:
            msg = f"{self.path}: cannot be written: {error.strerror}"
            raise StorageError(msg) from error
