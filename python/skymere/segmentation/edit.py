"""Edits of people as data: merges, drawn sources, splits, deletions and masks, anchored to the sky and replayed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from skymere._rust import segmentation as _rust
from skymere.datamodels import SegmentationMap
from skymere.errors import InvalidInputError
from skymere.regions import Membership, Point, Region, RegionStamp, read_regions, stamp_region, to_sky
from skymere.wcs import Grid

__all__ = ["Edit", "EditKind", "EditOutcome", "EditStatus", "apply_edits", "edits_from_regions", "read_edits"]

EditKind = Literal["merge", "draw", "split", "delete", "mask"]
EditStatus = Literal["applied", "nothing_to_act_on", "outside"]
_LARGEST = np.iinfo(np.int32).max
_Window = tuple[slice, slice]


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What somebody decided about the segments of a place.

    Parameters
    ----------
    kind : {"merge", "draw", "split", "delete", "mask"}
        ``merge``: all segments that the regions touch, even partly, become one with the smallest of their labels.
        ``draw``: the regions together become a new segment, over whatever is below. ``split``: with points, a segment
        that holds at least two of them is parted among them; with other shapes, the segment that fills most of them is
        parted into what is inside and what is outside. The largest part keeps the label. ``delete``: all segments that
        the regions touch become sky. ``mask``: the pixels of the regions become sky; with a band they are only masked
        there, see `bad_pixels`, and the labels stay.
    regions : tuple of Region
        Where, best in ICRS. What is taken away is taken from the others.
    edit_id : str
        Name, for the outcome.
    band : str
        Band that it was made on; empty for all.

    Raises
    ------
    InvalidInputError
        When the kind is another, or the regions do not go with it.
    """

    kind: EditKind
    regions: tuple[Region, ...]
    edit_id: str = ""
    band: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(EditKind):
            msg = f"kind: {self.kind!r} is not allowed, it must be one of {list(get_args(EditKind))}"
            raise InvalidInputError(msg)
        object.__setattr__(self, "regions", tuple(self.regions))
        if not any(region.is_include for region in self.regions) and not (self.kind == "mask" and self.regions):
            msg = f"regions: {self.edit_id or self.kind} has no region, or only such as are taken away"
            raise InvalidInputError(msg)
        n_points = sum(isinstance(region, Point) for region in self.regions)
        if self.kind == "split" and n_points and (n_points < len(self.regions) or n_points < 2):
            rule = "it must be two points or more, or none"
            msg = f"regions: split has {n_points} points among {len(self.regions)} regions, {rule}"
            raise InvalidInputError(msg)
        if self.kind == "draw" and n_points:
            msg = "regions: a point cannot be drawn as a source, it must be a shape with an area"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class EditOutcome:
    """What came of an edit.

    Parameters
    ----------
    edit_id : str
        The edit.
    kind : str
        Its kind.
    status : {"applied", "nothing_to_act_on", "outside"}
        Whether it did anything; ``outside`` when all its regions lie outside the image.
    reason : str
        Why not, or what was left out; empty when there is nothing to say.
    before, after : tuple of int
        Labels that it acted on, and those of them that are left with the new ones.
    n_pixels : int
        Pixels of its regions.
    """

    edit_id: str
    kind: EditKind
    status: EditStatus
    reason: str = ""
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    n_pixels: int = 0


def edits_from_regions(kind: EditKind, regions: Iterable[Region], *, prefix: str = "") -> list[Edit]:
    """Return the edits that regions of a file stand for.

    Parameters
    ----------
    kind : str
        See `Edit`.
    regions : iterable of Region
        Each is an edit of its own; but regions to draw that share a text other than the empty one are one source,
        points to split that share their text (the empty one, too) are one split, and what is taken away is taken from
        the edit before it.
    prefix : str, optional
        Begins the names: ``<prefix><kind>-1``, ...

    Raises
    ------
    InvalidInputError
        See `Edit`.

    Examples
    --------
    >>> from skymere.regions import parse_regions
    >>> from skymere.segmentation import edits_from_regions
    >>> circles = parse_regions("image; circle(5,5,2); circle(20,5,2) # text={a}; circle(24,5,2) # text={a}")
    >>> [len(edit.regions) for edit in edits_from_regions("draw", circles)]
    [1, 2]
    """
    groups: list[list[Region]] = []
    # The edit that the region before belongs to, which need not be the newest.
    last: list[Region] = []
    shared: dict[str, list[Region]] = {}
    for region in regions:
        is_shared = (kind == "draw" and region.text != "") or (kind == "split" and isinstance(region, Point))
        if not region.is_include and groups:
            last.append(region)
        elif is_shared and region.text in shared:
            last = shared[region.text]
            last.append(region)
        else:
            last = [region]
            groups.append(last)
            if is_shared:
                shared[region.text] = last
    return [Edit(kind=kind, regions=tuple(g), edit_id=f"{prefix}{kind}-{i}") for i, g in enumerate(groups, 1)]


def read_edits(
    path: str | Path, kind: EditKind, *, grid: Grid | None = None, header: Mapping[str, Any] | None = None
) -> list[Edit]:
    """Read a region file as edits: ``merged_segments.reg`` as ``merge``, ``det_manual.reg`` as ``draw``.

    Parameters
    ----------
    path : path-like
        The file.
    kind : str
        See `Edit`.
    grid : Grid, optional
        Image that regions in pixels were drawn on; they are anchored to the sky with it, and stay pixels without.
    header : mapping, optional
        See `skymere.regions.read_regions`.

    Raises
    ------
    NotFoundError
        When there is no such file.
    FormatError
        See `skymere.regions.read_regions`.
    InvalidInputError
        See `Edit`.
    """
    regions = read_regions(path, header=header)
    if grid is not None:
        regions = [to_sky(region, grid) for region in regions]
    return edits_from_regions(kind, regions)


def apply_edits(
    segmentation: SegmentationMap, edits: Sequence[Edit], *, membership: Membership = "centre"
) -> tuple[SegmentationMap, list[EditOutcome]]:
    """Apply edits, one after the other, to a map; the map that is given stays as it is.

    Parameters
    ----------
    segmentation : SegmentationMap
        The segments as they were detected, or after earlier edits.
    edits : sequence of Edit
        In their order.
    membership : {"centre", "corners"}, optional
        Which pixels a region holds, see `skymere.regions.mask_from_region`.

    Returns
    -------
    SegmentationMap
        New labels are larger than all that ever were (``params["next_label"]`` is the next one), so that none is used
        again.
    list of EditOutcome
        One for each edit.

    Raises
    ------
    InvalidInputError
        When a region is one of the sky and the map has no grid, or a label is negative.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.datamodels import SegmentationMap
    >>> from skymere.regions import Circle
    >>> from skymere.segmentation import Edit, apply_edits
    >>> two = SegmentationMap(labels=np.repeat(np.array([[1, 2]], np.int32), 8, axis=1).repeat(8, axis=0))
    >>> circle = Circle(centre=(7.5, 4.0), radius=2.0, frame="image")
    >>> one, outcomes = apply_edits(two, [Edit(kind="merge", regions=(circle,))])
    >>> one.ids.tolist(), outcomes[0].before, outcomes[0].after
    ([1], (1, 2), (1,))
    """
    work = _Work(segmentation, edits, membership)
    outcomes = [work.apply(edit) for edit in edits]
    return work.result(), outcomes


class _Work:
    """A map while it is edited: the labels as they lie in memory, and what each of them is called now.

    Merges and deletions only change what a label is called, so that an edit costs what its window does, not the map.
    """

    def __init__(self, segmentation: SegmentationMap, edits: Sequence[Edit], membership: Membership) -> None:
        self._membership = membership
        self._map = segmentation
        self._place: Grid | tuple[int, int] = segmentation.grid or segmentation.shape
        self._labels = np.array(segmentation.labels, np.int32)
        self._windows = {
            label: (slice(y0, y1 + 1), slice(x0, x1 + 1)) for label, y0, y1, x0, x1, _ in _rust.extents(self._labels)
        }
        self._next = max([0, *self._windows]) + 1
        self._next = max(self._next, int(segmentation.params.get("next_label", 0)))
        n_labels = self._next + sum(len(edit.regions) + 1 for edit in edits)
        if n_labels > _LARGEST:
            msg = f"segmentation: labels up to {self._next} leave no room for {len(edits)} edits in 32 bits"
            raise InvalidInputError(msg)
        self._called = np.arange(n_labels, dtype=np.int32)

    def result(self) -> SegmentationMap:
        params = {**self._map.params, "next_label": self._next}
        return replace(self._map, labels=self._called[self._labels], params=params)

    def apply(self, edit: Edit) -> EditOutcome:
        stamps = self._stamps(edit)
        window, inside, n_outside = self._pixels(edit, stamps)
        base = EditOutcome(edit_id=edit.edit_id, kind=edit.kind, status="nothing_to_act_on")
        if n_outside == sum(region.is_include for region in edit.regions) > 0:
            return replace(base, status="outside", reason="the region lies outside the image")
        base = replace(base, n_pixels=int(np.count_nonzero(inside)))
        if not base.n_pixels:
            return replace(base, reason="the region holds no pixel of the image")
        verbs: dict[str, Callable[[Edit, _Window, NDArray[np.bool_]], EditOutcome | str]] = {
            "merge": self._merge,
            "draw": self._draw,
            "split": self._split,
            "delete": self._delete,
            "mask": self._mask,
        }
        done = verbs[edit.kind](edit, window, inside)
        if isinstance(done, str):
            return replace(base, reason=done)
        note = f"{n_outside} of {len(edit.regions)} regions lie outside the image" if n_outside else ""
        return replace(done, edit_id=edit.edit_id, n_pixels=base.n_pixels, reason=note)

    def _stamps(self, edit: Edit) -> list[RegionStamp]:
        return [stamp_region(region, self._place, membership=self._membership) for region in edit.regions]

    def _pixels(self, edit: Edit, stamps: Sequence[RegionStamp]) -> tuple[_Window, NDArray[np.bool_], int]:
        """Return the window and pixels of an edit, and how many of its regions lie outside the image."""
        pairs = list(zip(edit.regions, stamps, strict=True))
        mine = [stamp for region, stamp in pairs if region.is_include]
        there = [stamp for stamp in mine if stamp.inside.size]
        ny, nx = self._labels.shape
        y0, x0, y1, x1 = (0, 0, ny, nx) if not mine else (0, 0, 0, 0)
        if there:
            y0, x0 = min(s.y0 for s in there), min(s.x0 for s in there)
            y1 = max(s.y0 + s.inside.shape[0] for s in there)
            x1 = max(s.x0 + s.inside.shape[1] for s in there)
        inside = np.full((y1 - y0, x1 - x0), not mine)
        for is_include in (True, False):
            for region, stamp in pairs:
                if region.is_include is is_include:
                    _paint(inside, stamp, y0, x0, value=is_include)
        return (slice(y0, y1), slice(x0, x1)), inside, len(mine) - len(there)

    def _view(self, window: _Window) -> NDArray[np.int32]:
        view: NDArray[np.int32] = self._called[self._labels[window]]
        return view

    def _touched(self, window: _Window, inside: NDArray[np.bool_]) -> list[int]:
        return [int(label) for label in np.unique(self._view(window)[inside]) if label]

    def _left(self, labels: Iterable[int]) -> Iterator[int]:
        """Yield those labels that still have a pixel."""
        return (label for label in labels if bool((self._view(self._windows[label]) == label).any()))

    def _new(self, window: _Window) -> int:
        label, self._next = self._next, self._next + 1
        self._windows[label] = window
        return label

    def _merge(self, edit: Edit, window: _Window, inside: NDArray[np.bool_]) -> EditOutcome | str:
        touched = self._touched(window, inside)
        if len(touched) < 2:
            return f"only segment {touched[0]} lies in the region" if touched else "no segment lies in the region"
        kept = touched[0]
        self._called[np.isin(self._called, touched)] = kept
        self._windows[kept] = _union([self._windows[label] for label in touched])
        return EditOutcome(edit_id="", kind=edit.kind, status="applied", before=tuple(touched), after=(kept,))

    def _draw(self, edit: Edit, window: _Window, inside: NDArray[np.bool_]) -> EditOutcome | str:
        touched = self._touched(window, inside)
        drawn = self._new(window)
        self._labels[window][inside] = drawn
        after = (*self._left(touched), drawn)
        return EditOutcome(edit_id="", kind=edit.kind, status="applied", before=tuple(touched), after=after)

    def _delete(self, edit: Edit, window: _Window, inside: NDArray[np.bool_]) -> EditOutcome | str:
        touched = self._touched(window, inside)
        if not touched:
            return "no segment lies in the region"
        self._called[np.isin(self._called, touched)] = 0
        return EditOutcome(edit_id="", kind=edit.kind, status="applied", before=tuple(touched))

    def _mask(self, edit: Edit, window: _Window, inside: NDArray[np.bool_]) -> EditOutcome | str:
        if edit.band:
            return EditOutcome(edit_id="", kind=edit.kind, status="applied")
        touched = self._touched(window, inside)
        self._labels[window][inside] = 0
        after = tuple(self._left(touched))
        return EditOutcome(edit_id="", kind=edit.kind, status="applied", before=tuple(touched), after=after)

    def _split(self, edit: Edit, window: _Window, inside: NDArray[np.bool_]) -> EditOutcome | str:
        if isinstance(edit.regions[0], Point):
            return self._split_at(edit)
        view = self._view(window)
        labels, counts = np.unique(view[inside & (view > 0)], return_counts=True)
        if not labels.size:
            return "no segment lies in the region"
        label = int(labels[np.argmax(counts)])
        rows, columns = self._windows[label]
        within = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
        _paint(within, RegionStamp(window[0].start, window[1].start, inside), rows.start, columns.start, value=True)
        parts = within.astype(np.int64)
        return self._part(edit, [(label, parts, 2)], f"all of segment {label} lies in the region")

    def _split_at(self, edit: Edit) -> EditOutcome | str:
        """Part the segments that hold two points or more: each pixel goes to the nearest of them."""
        stamps = self._stamps(edit)
        places = np.array([(stamp.y0, stamp.x0) for stamp in stamps if stamp.inside.size])
        under = self._called[self._labels[places[:, 0], places[:, 1]]]
        pieces = []
        for label in (int(v) for v in np.unique(under) if v):
            mine = places[under == label]
            if len(mine) > 1:
                rows, columns = (np.arange(s.start, s.stop) for s in self._windows[label])
                squared = [(rows[:, None] - y) ** 2 + (columns[None, :] - x) ** 2 for y, x in mine]
                pieces.append((label, np.argmin(squared, axis=0), len(mine)))
        if not pieces:
            held = ", ".join(str(label) if label else "the sky" for label in under.tolist())
            return f"no segment holds two of the points, they lie in {held}"
        return self._part(edit, pieces, "the points lie in one pixel")

    def _part(self, edit: Edit, pieces: list[tuple[int, NDArray[np.int64], int]], otherwise: str) -> EditOutcome | str:
        """Give the parts of segments new labels, but the largest; ``pieces`` are label, part of each pixel, number."""
        before, after = [], []
        for label, parts, n_parts in pieces:
            window = self._windows[label]
            mine = self._view(window) == label
            counts = np.bincount(parts[mine], minlength=n_parts)
            largest = int(np.argmax(counts))
            fresh = [part for part in range(n_parts) if counts[part] and part != largest]
            if not fresh:
                continue
            new = {part: self._new(window) for part in fresh}
            for part, name in new.items():
                self._labels[window][mine & (parts == part)] = name
            before.append(label)
            after += [label, *new.values()]
        if not before:
            return otherwise
        return EditOutcome(edit_id="", kind=edit.kind, status="applied", before=tuple(before), after=tuple(after))


def _paint(inside: NDArray[np.bool_], stamp: RegionStamp, y0: int, x0: int, *, value: bool) -> None:
    """Set the pixels of a stamp in a window that begins at ``[y0, x0]`` and may be smaller than it."""
    ny, nx = stamp.inside.shape
    top, left = max(stamp.y0, y0), max(stamp.x0, x0)
    bottom, right = min(stamp.y0 + ny, y0 + inside.shape[0]), min(stamp.x0 + nx, x0 + inside.shape[1])
    if top < bottom and left < right:
        part = stamp.inside[top - stamp.y0 : bottom - stamp.y0, left - stamp.x0 : right - stamp.x0]
        inside[top - y0 : bottom - y0, left - x0 : right - x0][part] = value


def _union(windows: Sequence[_Window]) -> _Window:
    rows, columns = zip(*windows, strict=True)
    return (
        slice(min(s.start for s in rows), max(s.stop for s in rows)),
        slice(min(s.start for s in columns), max(s.stop for s in columns)),
    )
