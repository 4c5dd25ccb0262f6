"""Mesh background of an image larger than memory: block by block, with the mesh of one pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_image, as_mask
from skymere._rust import background as _rust
from skymere.background.mesh import Background, BackgroundParams
from skymere.errors import InvalidInputError

__all__ = ["BlockBackground", "estimate_background_blocks"]

ReadSky = Callable[[slice, slice], Mapping[str, ArrayLike]]


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockBackground:
    """The smooth background of an image that does not fit into memory, and its noise.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)``.
    level_global, rms_global : float
        Medians of level and noise over the cells of the mesh [unit].
    mesh : Mesh
        The cells; `level` and `rms` draw them.
    """

    shape: tuple[int, int]
    level_global: float
    rms_global: float
    mesh: _rust.Mesh = field(repr=False)

    def level(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return the sky level of the pixels of a window, without a step [unit]."""
        return self.mesh.level(*self._window(rows, columns))

    def rms(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return the standard deviation of the sky of the pixels of a window, without a step [unit]."""
        return self.mesh.rms(*self._window(rows, columns))

    def whole(self) -> Background:
        """Return level and rms of the whole image, as `estimate_background` gives them."""
        everything = slice(None), slice(None)
        return Background(
            level=self.level(*everything),
            rms=self.rms(*everything),
            level_global=self.level_global,
            rms_global=self.rms_global,
        )

    def _window(self, rows: slice, columns: slice) -> tuple[int, int, int, int]:
        y0, y1, _ = rows.indices(self.shape[0])
        x0, x1, _ = columns.indices(self.shape[1])
        return y0, x0, max(y1 - y0, 0), max(x1 - x0, 0)


def estimate_background_blocks(
    read: ReadSky, shape: tuple[int, int], *, side: int = 4096, params: BackgroundParams | None = None
) -> BlockBackground:
    """Return the smooth background of an image that is read block by block, and its noise.

    Parameters
    ----------
    read : callable
        ``read(rows, columns)`` returns ``data`` and, if there is one, ``mask`` of a window: what `estimate_background`
        takes.
    shape : tuple of int
        ``(ny, nx)`` of the image.
    side : int, optional
        Side of the blocks [pix]; the next multiple of a cell's is taken.
    params : BackgroundParams, optional
        As in `estimate_background`.

    Returns
    -------
    BlockBackground
        Level and rms of any window are those of `estimate_background`, bit by bit.

    Raises
    ------
    InvalidInputError
        When what is read has another shape, or the side is not allowed.
    NoDataError
        When no cell has enough good pixels.

    Notes
    -----
    Memory holds a block, and two numbers for each cell.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.background import estimate_background_blocks
    >>> sky = np.random.default_rng(1).normal(10.0, 2.0, (256, 256)).astype(np.float32)
    >>> found = estimate_background_blocks(lambda y, x: {"data": sky[y, x]}, sky.shape, side=128)
    >>> round(found.level_global, 1), found.level(slice(100, 130), slice(0, 256)).shape
    (10.0, (30, 256))
    """
    params = params or BackgroundParams()
    if side < 1:
        msg = f"side: {side} is not allowed, it must be at least 1 pixel"
        raise InvalidInputError(msg)
    box = params.box_size
    n_y, n_x = (-(-n // box) for n in shape)
    step = -(-side // box)
    level, rms = np.full((n_y, n_x), np.nan), np.full((n_y, n_x), np.nan)
    for j in range(0, n_y, step):
        for i in range(0, n_x, step):
            rows = slice(j * box, min((j + step) * box, shape[0]))
            columns = slice(i * box, min((i + step) * box, shape[1]))
            here = level[j : j + step, i : i + step], rms[j : j + step, i : i + step]
            for cells, found in zip(here, _cells(read, rows, columns, params), strict=True):
                cells[:] = found.reshape(cells.shape)
    mesh = _rust.Mesh(
        level.ravel(),
        rms.ravel(),
        *shape,
        box_size=box,
        filter_size=params.filter_size,
        filter_threshold=params.filter_threshold,
        min_good_fraction=params.min_good_fraction,
    )
    return BlockBackground(shape=shape, level_global=mesh.level_global, rms_global=mesh.rms_global, mesh=mesh)


def _cells(
    read: ReadSky, rows: slice, columns: slice, params: BackgroundParams
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    given = dict(read(rows, columns))
    if not given.keys() <= {"data", "mask"} or "data" not in given:
        msg = f"read: it returned {sorted(given)}, it must return data, and mask if there is one"
        raise InvalidInputError(msg)
    shape = rows.stop - rows.start, columns.stop - columns.start
    mask = given.get("mask")
    return _rust.cells(
        as_image(given["data"], "data", shape=shape),
        None if mask is None else as_mask(mask, "mask", shape=shape),
        box_size=params.box_size,
        clip_sigma=params.clip_sigma,
        min_good_fraction=params.min_good_fraction,
    )
