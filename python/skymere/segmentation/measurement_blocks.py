"""Measurement on images larger than memory: window by window, with the numbers of one pass."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere._rust import segmentation as _rust
from skymere.datamodels import SegmentationMap, SourceCatalog
from skymere.errors import InvalidInputError
from skymere.segmentation.blocks import BlockSegmentation
from skymere.segmentation.measurement import Measured, MeasureParams, catalog_of, held_shapes, measured
from skymere.segmentation.windows import Window, partition, widened
from skymere.wcs import Grid

__all__ = ["ReadImages", "StoredLabels", "measure_blocks"]

ReadImages = Callable[[slice, slice], Mapping[str, Any]]

_KEYS = {"images", "detection", "saturated", "sky_errors"}
# Room between the rows of a segment and those that its saddles and gradients look at [pix].
_BESIDE = 2


class _Sliceable(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, key: tuple[slice, slice], /) -> Any: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredLabels:
    """A label image that is read window by window: a Zarr array, a memory map.

    Parameters
    ----------
    array : array, int32, shape (ny, nx)
        Anything with a shape that gives a window when sliced.
    grid : Grid or None
        WCS of the image.
    """

    array: _Sliceable
    grid: Grid | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)``."""
        return self.array.shape[0], self.array.shape[1]

    def labels(self, rows: slice, columns: slice) -> NDArray[np.int32]:
        """Return the labels of a window."""
        return np.ascontiguousarray(self.array[rows, columns], np.int32)


def measure_blocks(
    segmentation: SegmentationMap | BlockSegmentation | StoredLabels,
    read: ReadImages,
    *,
    blocks: int | Iterable[tuple[slice, slice]] = 2048,
    margin: int = 96,
    shapes: pl.DataFrame | None = None,
    params: MeasureParams | None = None,
) -> SourceCatalog:
    """Measure every segment in every band of images that are read window by window.

    Parameters
    ----------
    segmentation : SegmentationMap, BlockSegmentation or StoredLabels
        The segments.
    read : callable
        ``read(rows, columns)`` returns what `measure` takes of a window: ``images`` and, if there are any,
        ``detection``, ``saturated`` and ``sky_errors``. The bands are the same everywhere.
    blocks : int or iterable of (slice, slice), optional
        Side of the blocks [pix], or the blocks themselves in any order; each pixel lies in one of them. A source
        belongs to the block in which the middle of its segment lies.
    margin : int, optional
        Width that is read around a block [pix]. Sources that reach farther are measured in a window of their own.
    shapes, params
        As in `measure`.

    Returns
    -------
    SourceCatalog
        Its table is that of `measure`, bit by bit, for any blocks in any order.

    Raises
    ------
    InvalidInputError
        As `measure`, and when the blocks overlap or leave out a pixel.

    Notes
    -----
    A source depends on the pixels of its segment, those that the filter mixes with them and with the saddles to its
    neighbours, and on the window of its apertures, zones and centroids with the pixels opposite to them
    (`Measured.columns`, ``reach_x`` and ``reach_y``). Centres are multiples of 2^-32 pixels, so that the offset of a
    pixel is the same number in any window. A band that is to be the detection image is named: a copy of its pixels
    counts as an image with noise of its own.

    Memory holds a window of every band, and the table.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.segmentation import MeasureImage, detect, measure_blocks
    >>> y, x = np.mgrid[:64, :64]
    >>> image = (100 * np.exp(-((x - 30.0) ** 2 + (y - 20.0) ** 2) / 8)).astype(np.float32)
    >>> def read(rows, columns):
    ...     return {"images": {"r": MeasureImage(data=image[rows, columns], error=1.0)}}
    >>> round(measure_blocks(detect(image, error=1.0), read, blocks=16).table["x"][0], 6)
    30.0
    """
    params = params or MeasureParams()
    if margin < 0:
        msg = f"margin: {margin} is not allowed, it must not be negative"
        raise InvalidInputError(msg)
    labels = _reader(segmentation)
    shape = segmentation.shape
    windows = partition(shape, blocks)
    boxes = _boxes(labels, windows)
    kernel = np.ones((1, 1)) if params.kernel is None else np.asarray(params.kernel)
    beside = kernel.shape[0] // 2 + _BESIDE, kernel.shape[1] // 2 + _BESIDE
    job = _Job(
        read=read,
        labels=labels,
        shape=shape,
        needs=_grown(boxes, beside),
        held=None if shapes is None else held_shapes(shapes, boxes[:, 0].astype(np.int32)),
        params=params,
    )
    middle = (boxes[:, 1::2] + boxes[:, 2::2]) // 2
    parts: list[Measured] = []
    for block in windows:
        (y0, y1), (x0, x1) = block
        inside = (middle[:, 0] >= y0) & (middle[:, 0] < y1) & (middle[:, 1] >= x0) & (middle[:, 1] < x1)
        parts += job.block(np.flatnonzero(inside), widened(block, (margin, margin), shape))
    return catalog_of(_joined(parts or [job.measure(np.zeros(0, np.intp), windows[0])]), segmentation.grid, params)


_Labels = Callable[[slice, slice], NDArray[np.int32]]


def _reader(segmentation: SegmentationMap | BlockSegmentation | StoredLabels) -> _Labels:
    if isinstance(segmentation, SegmentationMap):
        array = segmentation.labels
        return lambda rows, columns: np.ascontiguousarray(array[rows, columns])
    return segmentation.labels


def _boxes(labels: _Labels, windows: Iterable[Window]) -> NDArray[np.int64]:
    """Return ``label, y0, y1, x0, x1`` of every segment, ends included, by increasing label."""
    parts = [np.empty((0, 5), np.int64)]
    for (y0, y1), (x0, x1) in windows:
        found = np.array(_rust.extents(labels(slice(y0, y1), slice(x0, x1))), np.int64).reshape(-1, 6)
        parts.append(found[:, :5] + np.array([0, y0, y0, x0, x0]))
    pieces = np.concatenate(parts)
    pieces = pieces[np.argsort(pieces[:, 0], kind="stable")]
    found_labels, first = np.unique(pieces[:, 0], return_index=True)
    if not len(found_labels):
        return pieces
    low, high = (f.reduceat(pieces[:, 1:], first) for f in (np.minimum, np.maximum))
    return np.column_stack([found_labels, low[:, 0], high[:, 1], low[:, 2], high[:, 3]])


def _grown(boxes: NDArray[np.int64], beside: tuple[int, int]) -> NDArray[np.int64]:
    """Return ``label`` and first and last + 1 row and column of the boxes with so many pixels around them."""
    return np.asarray(boxes + np.array([0, -beside[0], beside[0] + 1, -beside[1], beside[1] + 1]))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Job:
    """Segments to be measured; ``needs`` are rows ``label, y0, y1, x0, x1`` of the least windows they need."""

    read: ReadImages
    labels: _Labels
    shape: tuple[int, int]
    needs: NDArray[np.int64]
    held: NDArray[np.float64] | None
    params: MeasureParams

    def block(self, sources: NDArray[np.intp], window: Window) -> Iterator[Measured]:
        """Measure some segments, those that need more than the window in one of their own."""
        fits = self._fits(self.needs[sources, 1:], window)
        alone = {int(i): self.needs[i, 1:] for i in sources[~fits]}
        if fits.any():
            found, enough, wider = self._looked(sources[fits], window)
            alone |= {int(i): box for i, box in zip(sources[fits][~enough], wider[~enough], strict=True)}
            yield _chosen(found, enough)
        for i, box in alone.items():
            yield self._alone(i, box)

    def _alone(self, i: int, box: NDArray[np.int64]) -> Measured:
        """Measure a segment in a window that is widened until it holds all that the segment depends on."""
        while True:
            window = widened(((int(box[0]), int(box[1])), (int(box[2]), int(box[3]))), (0, 0), self.shape)
            found, enough, wider = self._looked(np.array([i]), window)
            if enough[0]:
                return found
            box = wider[0]

    def _looked(
        self, sources: NDArray[np.intp], window: Window
    ) -> tuple[Measured, NDArray[np.bool_], NDArray[np.int64]]:
        """Return what was measured, whether the window was wide enough, and the windows that are needed."""
        found = self.measure(sources, window)
        c = found.columns
        edges = [c["y"] - c["reach_y"], c["y"] + c["reach_y"] + 1, c["x"] - c["reach_x"], c["x"] + c["reach_x"] + 1]
        # One more than the image is as good as any, and what is not finite has nothing around it.
        limit = float(max(self.shape) + 1)
        looked = np.nan_to_num(np.clip(np.stack(edges, axis=1), -limit, limit), nan=0.0)
        least = self.needs[sources, 1:]
        low = np.minimum(least[:, ::2], np.floor(looked[:, ::2]).astype(np.int64))
        high = np.maximum(least[:, 1::2], np.ceil(looked[:, 1::2]).astype(np.int64))
        wider = np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)
        return found, self._fits(wider, window), wider

    def _fits(self, boxes: NDArray[np.int64], window: Window) -> NDArray[np.bool_]:
        (y0, y1), (x0, x1) = window
        ny, nx = self.shape
        rows = (np.maximum(boxes[:, 0], 0) >= y0) & (np.minimum(boxes[:, 1], ny) <= y1)
        return np.asarray(rows & (np.maximum(boxes[:, 2], 0) >= x0) & (np.minimum(boxes[:, 3], nx) <= x1))

    def measure(self, sources: NDArray[np.intp], window: Window) -> Measured:
        """Measure some segments in a window; positions come back as those in the image."""
        (y0, y1), (x0, x1) = window
        given = dict(self.read(slice(y0, y1), slice(x0, x1)))
        if not given.keys() <= _KEYS or "images" not in given:
            msg = (
                f"read: it returned {sorted(given)}, it must return images, and may detection, saturated and sky_errors"
            )
            raise InvalidInputError(msg)
        shapes = None if self.held is None else self.held[sources] - np.array([x0, y0, 0.0, 0.0, 0.0, 0.0])
        found = measured(
            self.labels(slice(y0, y1), slice(x0, x1)),
            given["images"],
            detection=given.get("detection"),
            saturated=given.get("saturated"),
            sky_errors=given.get("sky_errors"),
            shapes=shapes,
            wanted=self.needs[sources, 0].astype(np.int32),
            params=self.params,
        )
        for name in ("x", "x_win", "x_peak"):
            found.columns[name] = found.columns[name] + x0
        for name in ("y", "y_win", "y_peak"):
            found.columns[name] = found.columns[name] + y0
        return found


def _map(parts: list[dict[str, Any]], f: Callable[[list[NDArray[Any]]], NDArray[Any]]) -> dict[str, Any]:
    """Return ``f`` of the columns of several tables, and of those of their bands."""
    first = parts[0]
    columns: dict[str, Any] = {name: f([part[name] for part in parts]) for name in first if name != "bands"}
    if "bands" in first:
        columns["bands"] = [_map(list(of_band), f) for of_band in zip(*(part["bands"] for part in parts), strict=True)]
    return columns


def _chosen(found: Measured, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Measured:
    # Columns that are not measured are empty.
    columns = _map([found.columns], lambda column: column[0][rows] if len(column[0]) else column[0])
    return Measured(columns=columns, has_zero_point=found.has_zero_point)


def _joined(parts: list[Measured]) -> Measured:
    bands = parts[0].has_zero_point
    for part in parts:
        if part.has_zero_point != bands:
            msg = f"read: {dict(part.has_zero_point)} is not allowed beside {dict(bands)}, windows have the same bands"
            raise InvalidInputError(msg)
    together = Measured(columns=_map([part.columns for part in parts], np.concatenate), has_zero_point=bands)
    return _chosen(together, np.argsort(together.columns["label"], kind="stable"))
