"""Single drizzles that are combined: each is kept where its exposure lies, and blocks are read of all of them."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import Window, windows_of
from skymere.errors import StorageError

__all__ = ["Block", "Singles"]

# Of a pixel of a single drizzle: its value and whether it is used.
_BYTES = 5
# Of two exposures minmed averages, of more it does not where only two are good: a block of more has so many at least.
_LEAST = 3
# What is looked at together shares its exposures; a block is some rows of it.
_CELL_PIX = (256, 2048)


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Single drizzles in a window of their grid.

    Parameters
    ----------
    core : Window
        The part that is to be combined.
    window : Window
        It and a margin.
    members : ndarray, intp, shape (n,)
        The exposures that touch the window, in their order; and others when these are fewer than three.
    values : ndarray, float32, shape (n, ny, nx)
        Their single drizzles; NaN where they have none.
    unused : ndarray, bool, shape (n, ny, nx)
        Pixels to which too little contributed.
    """

    core: Window
    window: Window
    members: NDArray[np.intp]
    values: NDArray[np.float32]
    unused: NDArray[np.bool_]


class Singles:
    """Single drizzles, in memory or in a nameless file.

    Parameters
    ----------
    memory_mb : float
        How much they, or a block of them, may take [MB].
    """

    def __init__(self, memory_mb: float) -> None:
        self._budget = memory_mb * 1e6
        self._windows: list[Window | None] = []
        self._kept: list[tuple[NDArray[np.float32], NDArray[np.bool_]]] = []
        self._starts: list[int] = []
        self._n_bytes = 0
        self._file: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def put(self, window: Window | None, values: NDArray[np.float32], unused: NDArray[np.bool_]) -> None:
        """Append the image of an exposure, which lies in a window of the grid, or nowhere on it.

        Raises
        ------
        StorageError
            When a file is needed and there is no room for it.
        """
        self._windows.append(window)
        self._starts.append(self._n_bytes)
        self._n_bytes += values.size * _BYTES
        if self._file is None and self._n_bytes <= self._budget:
            self._kept.append((values, unused))
            return
        if self._file is None:
            try:
                self._file = tempfile.TemporaryFile(prefix="skymere-")  # noqa: SIM115 (closed on exit)
            except OSError as error:
                msg = f"{tempfile.gettempdir()}: no file can be made there: {error.strerror}"
                raise StorageError(msg) from error
            for one in self._kept:
                self._append(*one)
            self._kept = []
        self._append(values, unused)

    def _append(self, values: NDArray[np.float32], unused: NDArray[np.bool_]) -> None:
        try:
            self._file.write(np.ascontiguousarray(values).data)
            self._file.write(np.ascontiguousarray(unused).data)
        except OSError as error:
            msg = f"{tempfile.gettempdir()}: single drizzles cannot be written there: {error.strerror}"
            raise StorageError(msg) from error

    def blocks(self, shape: tuple[int, int], *, margin: int) -> Iterator[Block]:
        """Yield blocks that cover a grid; where no exposure lies there is none.

        Parameters
        ----------
        shape : tuple of int
            ``(ny, nx)`` of the grid.
        margin : int
            How much wider blocks are than their cores [pix].
        """
        for cell in windows_of(shape, _CELL_PIX):
            near = self._members(cell.widened(margin, shape))
            if not len(near):
                continue
            width = cell.shape[1] + 2 * margin
            n_rows = max(1, int(self._budget // (len(near) * width * _BYTES)) - 2 * margin)
            for part in windows_of(cell.shape, (n_rows, cell.shape[1])):
                y, x = cell.origin
                core = Window((part.rows[0] + y, part.rows[1] + y), (x, x + cell.shape[1]))
                window = core.widened(margin, shape)
                members = self._members(window)
                if len(members):
                    yield self._block(core, window, self._with_others(members))

    def _members(self, window: Window) -> NDArray[np.intp]:
        found = [k for k, one in enumerate(self._windows) if one is not None and one.shared(window) is not None]
        return np.array(found, np.intp)

    def _with_others(self, members: NDArray[np.intp]) -> NDArray[np.intp]:
        others = np.setdiff1d(np.arange(len(self._windows)), members)[: max(_LEAST - len(members), 0)]
        return np.sort(np.concatenate([members, others]))

    def _block(self, core: Window, window: Window, members: NDArray[np.intp]) -> Block:
        values = np.full((len(members), *window.shape), np.nan, np.float32)
        unused = np.ones(values.shape, bool)
        for k, member in enumerate(members.tolist()):
            own = self._windows[member]
            shared = None if own is None else own.shared(window)
            if own is not None and shared is not None:
                to = shared.within(window)
                values[k][to], unused[k][to] = self._read(member, own, shared)
        return Block(core=core, window=window, members=members, values=values, unused=unused)

    def _read(self, member: int, own: Window, wanted: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        rows, columns = wanted.within(own)
        if self._file is None:
            values, unused = self._kept[member]
            return values[rows, columns], unused[rows, columns]
        n_rows, width = rows.stop - rows.start, own.shape[1]
        values, unused = np.empty((n_rows, width), np.float32), np.empty((n_rows, width), bool)
        start, n = self._starts[member], own.shape[0] * width
        for plane, begin in ((values, start + rows.start * width * 4), (unused, start + n * 4 + rows.start * width)):
            self._file.seek(begin)
            self._file.readinto(plane.view(np.uint8).data)
        return values[:, columns], unused[:, columns]
