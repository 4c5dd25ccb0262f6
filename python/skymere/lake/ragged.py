"""Objects of many shapes in flat arrays: beams, slitlets, spectra.

All pixels of a plane lie in one array, one object after the other; ``offset`` says where each begins and ``shape``
which shape it has. Planes on the same pixels share both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import FormatError, InvalidInputError, NotFoundError, SchemaError
from skymere.lake.arrays import ArrayGroup, StoredArray
from skymere.lake.run import Run
from skymere.lake.schemas import ArraySpec, Schema, load_schema

if TYPE_CHECKING:
    from skymere.lake.asking import LakeQueries

__all__ = ["Ragged", "RaggedPlane", "find_rows", "read_plane", "read_ragged", "write_ragged"]


@dataclass(frozen=True, eq=False)
class RaggedPlane(Sequence[NDArray[Any]]):
    """One plane of many objects: a sequence of arrays of their own shapes, in one piece of memory.

    Parameters
    ----------
    flat : ndarray, shape (total,)
        All values, object after object.
    offset : ndarray, int64, shape (n + 1,)
        Where each object begins.
    shapes : ndarray, int64, shape (n, ndim)
        Shape of each object.
    unit : str, optional
        FITS unit.
    fill : float, optional
        What stands for a missing pixel.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.lake import RaggedPlane
    >>> plane = RaggedPlane.pack([np.ones((2, 3)), np.ones((1, 4))])
    >>> plane[1].shape, plane.stack(pad=True).shape
    ((1, 4), (2, 2, 4))
    """

    flat: NDArray[Any]
    offset: NDArray[np.int64]
    shapes: NDArray[np.int64]
    unit: str = ""
    fill: float = np.nan

    @classmethod
    def pack(cls, arrays: Sequence[NDArray[Any]], *, unit: str = "", fill: float = np.nan) -> "RaggedPlane":
        """Return arrays of one number of axes one after the other."""
        axes = {np.ndim(array) for array in arrays}
        if len(axes) > 1:
            msg = f"arrays: numbers of axes {sorted(axes)} are not allowed together, they must be equal"
            raise InvalidInputError(msg)
        shapes = np.array([np.shape(array) for array in arrays], np.int64).reshape(len(arrays), max(axes, default=1))
        flat = np.concatenate([np.ravel(array) for array in arrays]) if arrays else np.zeros(0)
        return cls(flat, _edges(shapes.prod(axis=1)), shapes, unit, fill)

    def __len__(self) -> int:
        return len(self.offset) - 1

    @overload
    def __getitem__(self, i: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, i: slice) -> list[NDArray[Any]]: ...
    def __getitem__(self, i: Any) -> Any:
        """Return the array of an object, a view; a list for a slice."""
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        k = range(len(self))[i]
        return self.flat[self.offset[k] : self.offset[k + 1]].reshape(self.shapes[k])

    def stack(self, *, pad: bool = False) -> NDArray[Any]:
        """Return one array, ``(n, *shape)``.

        Parameters
        ----------
        pad : bool, optional
            Whether smaller objects may be filled up at the end of each axis, with ``fill``.

        Raises
        ------
        InvalidInputError
            When shapes differ and ``pad`` is not set.
        """
        largest = self.shapes.max(axis=0) if len(self) else np.zeros(self.shapes.shape[1], np.int64)
        if (self.shapes == largest).all():
            return self.flat.reshape(len(self), *largest)
        if not pad:
            msg = f"pad: shapes from {self.shapes.min(axis=0)} to {largest} cannot be stacked without pad=True"
            raise InvalidInputError(msg)
        out = np.full((len(self), *largest), self.fill, self.flat.dtype)
        for k, array in enumerate(self):
            place: Any = (k, *(slice(n) for n in array.shape))
            out[place] = array
        return out


@dataclass(frozen=True, eq=False)
class Ragged(Sequence[Mapping[str, NDArray[Any]]]):
    """Objects with their planes, in the order in which they were asked for.

    Parameters
    ----------
    rows : polars.DataFrame
        Row of each object in the table of the product.
    planes : mapping of str to RaggedPlane
        Pixels by name of the plane.
    attributes : tuple of mapping
        Attributes of the group of arrays that each object lies in.

    Notes
    -----
    ``ragged[3]`` is the mapping from plane to array of one object, ``ragged["sci"]`` one plane of all.
    """

    rows: pl.DataFrame
    planes: Mapping[str, RaggedPlane]
    attributes: tuple[Mapping[str, Any], ...] = field(repr=False)

    def __len__(self) -> int:
        return self.rows.height

    def __getitem__(self, key: Any) -> Any:
        """Return the planes of an object (a list of them for a slice), or a plane of all objects."""
        if isinstance(key, str):
            if key not in self.planes:
                msg = f"plane {key!r} was not read, it must be one of {list(self.planes)}"
                raise NotFoundError(msg)
            return self.planes[key]
        if isinstance(key, slice):
            return [self[k] for k in range(*key.indices(len(self)))]
        return {name: plane[key] for name, plane in self.planes.items()}

    def __iter__(self) -> Iterator[Mapping[str, NDArray[Any]]]:
        return (self[k] for k in range(len(self)))

    def stack(self, *, pad: bool = False) -> dict[str, NDArray[Any]]:
        """Return each plane as one array; see `RaggedPlane.stack`."""
        return {name: plane.stack(pad=pad) for name, plane in self.planes.items()}


def write_ragged(
    run: Run, planes: Mapping[str, Sequence[NDArray[Any]]], *, unit: str | Mapping[str, str] | None = None
) -> None:
    """Write planes that share their pixels, with the arrays that say where each object begins.

    Parameters
    ----------
    run : Run
        Run of the product.
    planes : mapping of str to sequence of ndarray
        Path of the plane, such as ``sci``, to one array for each row, of the dtype of the schema.
    unit : str or mapping of str to str, optional
        FITS unit of the planes for which the schema leaves it open, of all or by path.

    Raises
    ------
    InvalidInputError
        When planes lie on different axes, or an object has another shape in one plane than in another.
    SchemaError
        When a plane is not one of the schema, or has another dtype.

    Examples
    --------
    >>> write_ragged(run, {"sci": cuts, "err": errors}, unit="electron / s")  # doctest: +SKIP
    """
    schema = load_schema(run.product)
    packed = {path: _packed(schema, path, arrays) for path, arrays in planes.items()}
    if not packed:
        msg = "planes: none was given, it must be one or more"
        raise InvalidInputError(msg)
    (first, plane), *others = packed.items()
    spec = schema.array(first)
    index = (spec.beside(spec.offset or ""), spec.shape and spec.beside(spec.shape))
    for path, other in others:
        its = schema.array(path)
        if (its.beside(its.offset or ""), its.shape and its.beside(its.shape)) != index:
            msg = f"planes: {path!r} and {first!r} do not lie on the same pixels in {schema.name}; write them apart"
            raise InvalidInputError(msg)
        if other.shapes.shape != plane.shapes.shape or (other.shapes != plane.shapes).any():
            msg = f"planes: {path!r} and {first!r}: {_first_difference(other, plane)}"
            raise InvalidInputError(msg)
    names = {"offset": spec.offset} | ({"shape": spec.shape} if spec.shape else {})
    for path, pixels in packed.items():
        its_unit = unit.get(path) if isinstance(unit, Mapping) else unit
        open_unit = its_unit if schema.array(path).unit is None else None
        run.write(path, pixels.flat, unit=open_unit, attributes={"ragged": names})
    run.write(index[0], plane.offset)
    if index[1]:
        run.write(index[1], plane.shapes.astype(np.int32))


def read_ragged(
    lake: "LakeQueries",
    product: str,
    rows: pl.DataFrame,
    *,
    row: str,
    group: str = "",
    planes: Sequence[str] | None = None,
) -> Ragged:
    """Read the arrays of rows of a product.

    Parameters
    ----------
    lake : LakeQueries
        The lake.
    product : str
        Product.
    rows : polars.DataFrame
        Rows of its table, in any order.
    row : str
        Column with the row in the arrays.
    group : str, optional
        Group inside the product that the planes are in.
    planes : sequence of str, optional
        Which planes; all that every row has when not given.

    Raises
    ------
    NotFoundError
        When a plane is not there.
    FormatError
        When an object does not lie inside its arrays.
    """
    if isinstance(planes, str):
        msg = f"planes: {planes!r} is not allowed, it must be a list of planes"
        raise InvalidInputError(msg)
    schema = load_schema(product)
    # Planes of a deeper group have rows of their own.
    inside = {s.path.removeprefix(group): s for s in schema.arrays if s.offset and s.path.startswith(group)}
    known = {name: spec for name, spec in inside.items() if "/" not in name}
    for plane in planes or ():
        if plane not in known:
            msg = f"planes: {plane!r} is not a plane of {product}, it must be one of {list(known)}"
            raise NotFoundError(msg)
    numbered = rows.with_row_index("_at")
    parts = [
        (lake.arrays(product, str(tile), str(run)), part["_at"].to_numpy(), part[row].to_numpy())
        for (tile, run), part in numbered.group_by("tile", "run_id", maintain_order=True)
    ]
    wanted = list(planes) if planes is not None else [n for n, s in known.items() if all(s.path in p[0] for p in parts)]
    attributes: list[Mapping[str, Any]] = [{}] * rows.height
    for arrays, at, _ in parts:
        here = arrays.attributes(group.rstrip("/"))
        for i in at.tolist():
            attributes[i] = here
    index: dict[tuple[int, str], Any] = {}
    read = {name: _read_plane(known[name], _axes(schema, known[name]), parts, index) for name in wanted}
    return Ragged(rows, read, tuple(attributes))


def read_plane(arrays: ArrayGroup, spec: ArraySpec, rows: NDArray[Any]) -> RaggedPlane:
    """Read one plane of rows of one group, in their order; see `read_ragged` for what it raises."""
    return _read_plane(spec, 0, [(arrays, np.arange(len(rows)), rows)], {})


def _read_plane(
    spec: ArraySpec, axes: int, parts: Sequence[tuple[ArrayGroup, Any, Any]], index: dict[Any, Any]
) -> RaggedPlane:
    """Read a plane of all parts (arrays, places among the rows, rows in the arrays), in the order of the rows."""
    pieces: list[tuple[Any, RaggedPlane]] = []
    for k, (arrays, at, stored_rows) in enumerate(parts):
        key = (k, spec.beside(spec.offset or ""))
        if key not in index:
            index[key] = _index(spec, arrays, stored_rows)
        start, shapes = index[key]
        stored = arrays[spec.path]
        length = shapes.prod(axis=1)
        if length.size and (start + length).max() > len(stored):
            msg = f"{stored.path}: an object ends at {(start + length).max()}, the array at {len(stored)}"
            raise FormatError(msg)
        flat = read_ranges(stored, start, length, block=spec.chunk[0])
        pieces.append((at, RaggedPlane(flat, _edges(length), shapes, stored.unit, spec.fill)))
    if len(pieces) == 1:
        return pieces[0][1]
    if not pieces:
        return _empty(spec, axes)
    items = {int(i): array for at, part in pieces for i, array in zip(at, part, strict=True)}
    return RaggedPlane.pack([items[i] for i in range(len(items))], unit=pieces[0][1].unit, fill=spec.fill)


def _index(spec: ArraySpec, arrays: ArrayGroup, rows: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where objects begin on their flat axis, and their shapes."""
    offsets = arrays[spec.beside(spec.offset or "")]
    n = len(offsets) - 1
    if rows.size and not (rows.min() >= 0 and rows.max() < n):
        msg = f"{offsets.path}: rows {rows.min()} to {rows.max()} are not all there, it has {n}"
        raise NotFoundError(msg)
    low, high = (int(rows.min()), int(rows.max())) if rows.size else (0, -1)
    edges, at = offsets[low : high + 2], rows - low
    start, length = edges[at], edges[at + 1] - edges[at]
    shapes = length[:, None]
    if spec.shape:
        shapes = arrays[spec.beside(spec.shape)][low : high + 1].astype(np.int64)[at]
    if (start < 0).any() or (length < 0).any() or (shapes < 0).any() or (shapes.prod(axis=1) != length).any():
        msg = f"{offsets.path}: offsets and shapes of the rows do not fit together"
        raise FormatError(msg)
    return start, shapes


def read_ranges(array: StoredArray, start: NDArray[np.int64], length: NDArray[np.int64], *, block: int) -> NDArray[Any]:
    """Return ranges of an array of one axis one after the other; every block (a chunk) is read once.

    Parameters
    ----------
    array : StoredArray
        Array of one axis.
    start, length : ndarray, int64, shape (n,)
        Ranges; they lie inside the array.
    block : int
        Elements that are read at once, best those of a chunk.
    """
    some = length > 0
    start, length = start[some], length[some]
    if not start.size:
        return np.zeros(0, array.dtype)
    first, last = start // block, (start + length - 1) // block
    count = last - first + 1
    each = np.arange(count.sum()) - np.repeat(_edges(count)[:-1], count)
    needed = np.unique(np.repeat(first, count) + each)
    # The last block of the array may be a short one.
    n_whole = len(array) // block
    whole = needed[needed < n_whole]
    values = array.boxes(whole[:, None] * block, (block,)).reshape(-1)
    if whole.size < needed.size:
        rest = array.boxes([[n_whole * block]], (len(array) - n_whole * block,)).reshape(-1)
        values = np.concatenate([values, rest])
    # Blocks of a range follow each other, so that each range is one piece of what was read.
    begin = np.searchsorted(needed, first) * block + start - first * block
    return np.concatenate([values[a : a + n] for a, n in zip(begin.tolist(), length.tolist(), strict=True)])


def find_rows(
    lake: "LakeQueries",
    product: str,
    ids: ArrayLike | None,
    *,
    key: str,
    row: str,
    source_id: ArrayLike | None,
    where: Mapping[str, Any],
) -> pl.DataFrame:
    """Return rows of a product by identifiers of their own, or all of some sources, in the order of what was asked.

    Raises
    ------
    InvalidInputError
        When not exactly one of ``ids`` and ``source_id`` is given.
    NotFoundError
        When an identifier has no row.
    """
    if (ids is None) == (source_id is None):
        msg = "ids, source_id: exactly one of them must be given"
        raise InvalidInputError(msg)
    name, column, given = ("ids", key, ids) if source_id is None else ("source_id", "source_id", source_id)
    values = np.asarray(given)
    wanted = as_array(values if values.size else values.astype(np.int64), name, np.int64, shape=(None,))
    asked = pl.DataFrame({column: wanted.astype(np.int64)})
    table = lake.table(product).filter(pl.col(column).is_in(asked[column].unique().implode()))
    # Rows that say why there is no result have no arrays.
    table = table.filter(pl.col(row).is_not_null())
    for what, value in where.items():
        if value is not None:
            table = table.filter(pl.col(what) == value)
    found = table.sort(load_schema(product).primary_key).collect()
    lost = asked.join(found, on=column, how="anti", maintain_order="left")[column]
    if lost.len():
        limits = "".join(f" with {what} {value!r}" for what, value in where.items() if value is not None)
        msg = f"{name}: {lost.len()} of {len(wanted)} have no {product}{limits}, the first is {lost[0]}"
        raise NotFoundError(msg)
    return asked.join(found, on=column, how="left", maintain_order="left_right").select(found.columns)


def _packed(schema: Schema, path: str, arrays: Sequence[NDArray[Any]]) -> RaggedPlane:
    spec = schema.array(path)
    if spec.offset is None:
        have = [s.path for s in schema.arrays if s.offset]
        msg = f"{schema.name}: array {path}: expected one of {have}, found one that is not ragged"
        raise SchemaError(msg)
    axes = _axes(schema, spec)
    for k, array in enumerate(arrays):
        if array.dtype != np.dtype(spec.dtype) or array.ndim != axes:
            found = f"{array.dtype} of {array.ndim} axes in row {k}"
            msg = f"{schema.name}: array {path}: expected {spec.dtype} of {axes} axes, found {found}"
            raise SchemaError(msg)
    if not len(arrays):
        return _empty(spec, axes)
    return RaggedPlane.pack(arrays, unit=spec.unit or "", fill=spec.fill)


def _empty(spec: ArraySpec, axes: int) -> RaggedPlane:
    shapes = np.zeros((0, axes), np.int64)
    return RaggedPlane(np.zeros(0, spec.dtype), np.zeros(1, np.int64), shapes, spec.unit or "", spec.fill)


def _axes(schema: Schema, spec: ArraySpec) -> int:
    """Return the number of axes of an object."""
    return schema.array(spec.beside(spec.shape)).chunk[1] if spec.shape else 1


def _first_difference(a: RaggedPlane, b: RaggedPlane) -> str:
    if len(a) != len(b):
        return f"{len(a)} and {len(b)} rows, they must have the same"
    k = int(np.flatnonzero((a.shapes != b.shapes).any(axis=1))[0])
    return f"shapes {tuple(a.shapes[k])} and {tuple(b.shapes[k])} in row {k}, they must be equal"


def _edges(length: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
