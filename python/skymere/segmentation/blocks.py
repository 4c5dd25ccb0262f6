"""Detection on an image larger than memory: block by block, with the labels of one pass."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._rust import segmentation as _rust
from skymere.datamodels import SegmentationMap
from skymere.errors import InvalidInputError
from skymere.segmentation.detection import DetectParams, ImageInputs, image_inputs, settings, usable_noise
from skymere.segmentation.kernels import as_kernel
from skymere.segmentation.windows import Window, partition, widened
from skymere.wcs import Grid

__all__ = ["BlockSegmentation", "ReadBlock", "detect_blocks"]

ReadBlock = Callable[[slice, slice], Mapping[str, ArrayLike]]


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockSegmentation:
    """Which pixel belongs to which source of an image that does not fit into memory.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)``.
    n_sources : int
        Labels run from 1, the brightest source, to this.
    runs : Detected
        The labels, run by run; `labels` draws them.
    grid : Grid or None
        WCS of the image.
    params : mapping
        The parameters that it was made with.
    """

    shape: tuple[int, int]
    n_sources: int
    runs: _rust.Detected = field(repr=False)
    grid: Grid | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    def labels(self, rows: slice, columns: slice) -> NDArray[np.int32]:
        """Return the labels of a window.

        Parameters
        ----------
        rows, columns : slice
            The window; without a step.
        """
        y0, y1, _ = rows.indices(self.shape[0])
        x0, x1, _ = columns.indices(self.shape[1])
        return self.runs.labels(y0, x0, max(y1 - y0, 0), max(x1 - x0, 0))

    def whole(self) -> SegmentationMap:
        """Return the labels of the whole image, as `detect` gives them."""
        everything = slice(None)
        return SegmentationMap(labels=self.labels(everything, everything), grid=self.grid, params=self.params)


def detect_blocks(
    read: ReadBlock,
    shape: tuple[int, int],
    *,
    blocks: int | Iterable[tuple[slice, slice]] = 4096,
    grid: Grid | None = None,
    params: DetectParams | None = None,
) -> BlockSegmentation:
    """Find the sources of an image that is read block by block.

    Parameters
    ----------
    read : callable
        ``read(rows, columns)`` returns ``data`` and ``error`` or ``weight``, and if there is one ``mask``, of a window
        of the image: what `detect` takes. It is asked for blocks with a margin as wide as the filters reach.
    shape : tuple of int
        ``(ny, nx)`` of the image.
    blocks : int or iterable of (slice, slice), optional
        Side of the blocks [pix], or the blocks themselves in any order; each pixel lies in one of them.
    grid : Grid, optional
        WCS of the image, kept with the labels.
    params : DetectParams, optional
        As in `detect`.

    Returns
    -------
    BlockSegmentation
        Its labels are those of `detect`, bit by bit, for any blocks in any order.

    Raises
    ------
    InvalidInputError
        As `detect`, and when the blocks overlap or leave out a pixel.
    NoDataError
        When no pixel can be used.

    Notes
    -----
    Memory holds a block, and some 24 bytes for each pixel above the threshold of the extent.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.segmentation import detect_blocks
    >>> image = np.zeros((64, 64), np.float32)
    >>> image[20:24, 30:34] = 50.0
    >>> detect_blocks(lambda y, x: {"data": image[y, x], "error": 1.0}, (64, 64), blocks=16).n_sources
    1
    """
    params = params or DetectParams()
    windows = partition(shape, blocks)
    kernel = None if params.kernel is None else as_kernel(params.kernel)
    noise = _measured_noise(read, shape, kernel) if params.threshold_noise == "measured" else 1.0
    detector = _rust.Detector(*shape, kernel, **settings(params, noise))
    for block in windows:
        origin, core, inputs = _read(read, shape, block, detector.margin())
        detector.add(*inputs, origin, core)
    found = detector.finish()
    told = {**asdict(params), "noise_correlation": noise}
    return BlockSegmentation(
        shape=shape, n_sources=found.n_sources, runs=found, grid=grid, params=MappingProxyType(told)
    )


def _read(
    read: ReadBlock, shape: tuple[int, int], block: Window, margin: tuple[int, int]
) -> tuple[tuple[int, int], tuple[list[int], list[int]], ImageInputs]:
    """Return the origin of a block with its margin, where the block lies in it, and its pixels."""
    (y0, y1), (x0, x1) = block
    (top, bottom), (left, right) = widened(block, margin, shape)
    given = dict(read(slice(top, bottom), slice(left, right)))
    unknown = sorted(set(given) - {"data", "error", "weight", "mask"})
    if unknown or "data" not in given:
        msg = f"read: it returned {sorted(given)}, it must return data, error or weight, and mask if there is one"
        raise InvalidInputError(msg)
    inputs = image_inputs(given["data"], given.get("error"), given.get("weight"), given.get("mask"))
    if inputs[0].shape != (bottom - top, right - left):
        wanted = f"rows {top}:{bottom}, columns {left}:{right} were asked for"
        msg = f"read: data of shape {inputs[0].shape} is not allowed, {wanted}"
        raise InvalidInputError(msg)
    return (top, left), ([y0 - top, y1 - top], [x0 - left, x1 - left]), inputs


def _measured_noise(read: ReadBlock, shape: tuple[int, int], kernel: NDArray[np.float32] | None) -> float:
    """Return `filtered_noise` from the same rows, read one strip after the other."""
    reach = 0 if kernel is None else kernel.shape[0] // 2
    depths = []
    for y0, y1 in _rust.sampled_rows(*shape):
        _, (rows, _), inputs = _read(read, shape, ((y0, y1), (0, shape[1])), (reach, 0))
        depths.append(_rust.negative_depths(*inputs, kernel, [rows]))
    return usable_noise(_rust.noise_of_depths(np.concatenate(depths)))
