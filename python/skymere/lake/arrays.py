"""Arrays: immutable Zarr v3 groups, one per product, tile and run."""

import json
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from skymere._rust.lake import ArrayReader
from skymere.datamodels import WINDOW_PIX
from skymere.errors import ConflictError, FormatError, InvalidInputError, NotFoundError, SchemaError
from skymere.lake.codec import LOSSLESS, write_rows
from skymere.lake.files import digest, put_if_absent, remove_tree, storage, sync_tree
from skymere.lake.schemas import ArraySpec, Schema
from skymere.lake.stores import ObjectPath, Place
from skymere.wcs import Grid

__all__ = ["ArrayGroup", "GroupWriter", "StoredArray", "is_sealed", "metadata_bytes", "open_metadata", "size_of_group"]

MANIFEST = "manifest.json"
_UPLOADS = 8
_HASHES = 4
# Shards of an array that is cut into fewer but larger ones.
_MANY = 4
# docs/decisions/004-codec-of-rounded-arrays.md
_EXACT: Mapping[str, Any] = {"cname": "zstd", "clevel": 3, "shuffle": "bitshuffle", "blocksize": 0}
_ROUNDED: Mapping[str, Any] = {"cname": "zstd", "clevel": 2, "shuffle": "shuffle", "blocksize": 1 << 17}


class GroupWriter:
    """A group that is being written, private to one attempt until it is sealed."""

    def __init__(self, staging: Path, schema: Schema, provenance: Mapping[str, Any]) -> None:
        self.folder = staging / uuid.uuid4().hex
        self.schema = schema
        self._attributes: dict[str, dict[str, Any]] = {"": {"skymere": dict(provenance)}}
        self._arrays: dict[str, dict[str, Any]] = {}
        with storage(self.folder):
            self.folder.mkdir(parents=True, mode=0o700)

    def write(
        self,
        path: str,
        array: NDArray[np.generic] | Iterable[NDArray[np.generic]],
        *,
        n_rows: int | None,
        dims: tuple[str, ...] | None,
        unit: str | None,
        lossy: str | None,
        attributes: Mapping[str, Any],
    ) -> None:
        """Write one array; see `Run.write`."""
        spec = self.schema.array(path)
        if path in self._arrays:
            msg = f"array {path!r} was written already in this run"
            raise InvalidInputError(msg)
        parts = iter([array] if isinstance(array, np.ndarray) else array)
        first = next(parts, None)
        if first is None:
            msg = f"array: there are no parts of {path!r}; an array without rows is one part with shape (0, ...)"
            raise InvalidInputError(msg)
        check = partial(_check_array, self.schema, spec, path, dims=dims, unit=unit, lossy=lossy)
        check(first)
        shape = (len(first) if n_rows is None else n_rows, *first.shape[1:])
        shard = _shard(spec, shape)
        units = {"units": unit if unit is not None else spec.unit or ""}
        described = {**units, "description": spec.description, **attributes}
        metadata = _array_metadata(spec, shape, shard, described, _ROUNDED if lossy else _EXACT)
        here = self.folder / path
        with storage(here):
            here.mkdir(parents=True)
            (here / "zarr.json").write_bytes(metadata_bytes(metadata))
        done, exponents = 0, [np.empty(0, np.int8)]
        for rows in _whole_shards(chain([first], parts), shape, shard[0], check):
            exponents.append(write_rows(here, done, rows, lossy))
            done += len(rows)
        self._arrays[path] = metadata
        if spec.lossy == "quantise":
            beside = f"{path.rpartition('/')[0]}/qexp"
            found = np.concatenate(exponents) if lossy == "quantise" else np.full(shape[0], LOSSLESS, np.int8)
            self.write(beside, found, n_rows=None, dims=None, unit=None, lossy=None, attributes={})

    def open(
        self, path: str, shape: tuple[int, ...], *, unit: str | None, attributes: Mapping[str, Any]
    ) -> tuple[Path, dict[str, Any]]:
        """Begin an array that is written window by window; returns its folder and its metadata."""
        metadata = open_metadata(self.schema, path, shape, unit=unit, attributes=attributes)
        if path in self._arrays:
            msg = f"array {path!r} was written already in this run"
            raise InvalidInputError(msg)
        here = self.folder / path
        with storage(here):
            here.mkdir(parents=True)
            (here / "zarr.json").write_bytes(metadata_bytes(metadata))
        self._arrays[path] = metadata
        return here, metadata

    def annotate(self, group: str, attributes: Mapping[str, Any]) -> None:
        """Add attributes to a group inside this one; ``""`` is the group itself."""
        self._attributes.setdefault(group.strip("/"), {}).update(attributes)

    def seal(self, final: Place, run: str) -> None:
        """Write the metadata and the manifest, and bring the group to its place.

        A group that is there already was sealed by another attempt of the same run and is kept.
        """
        with storage(final):
            self._write_groups()
            names = sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file())
            with ThreadPoolExecutor(min(_HASHES, len(names))) as pool:
                hashes = pool.map(lambda name: digest(self.folder / name), names)
                listed = {n: [(self.folder / n).stat().st_size, h] for n, h in zip(names, hashes, strict=True)}
            head = {"schema": self.schema.name, "run": run}
            if isinstance(final, ObjectPath):
                self._upload(final, head, listed)
            else:
                self._move(final, head, listed)

    def _move(self, final: Path, head: Mapping[str, Any], listed: Mapping[str, list[Any]]) -> None:
        # What has a manifest is taken for whole, so all of it is on the disk before it comes to its place. The folders
        # above are synced by whoever commits: a group that is not found is made again.
        (self.folder / MANIFEST).write_bytes(metadata_bytes({**head, "files": listed}))
        sync_tree(self.folder)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Fails on a folder that has something in it: whoever seals first wins.
            self.folder.rename(final)
        except OSError:
            if not is_sealed(final):
                raise
            self.drop()

    def _upload(self, final: ObjectPath, head: Mapping[str, Any], listed: Mapping[str, list[Any]]) -> None:
        """Write every file under a name of this attempt; the manifest, which only one can write, names the attempt."""
        attempt = self.folder.name
        with ThreadPoolExecutor(_UPLOADS) as pool:
            list(pool.map(lambda name: (final / attempt / name).put(self.folder / name), listed))
        files = {f"{attempt}/{name}": entry for name, entry in listed.items()}
        try:
            put_if_absent(final / MANIFEST, metadata_bytes({**head, "root": attempt, "files": files}))
        except ConflictError as error:
            if not is_sealed(final):
                msg = f"{final} is being removed by the garbage collection; run the task again"
                raise ConflictError(msg) from error
            # A request that was repeated after a lost answer meets its own manifest.
            if _sealed(final) != final / attempt:
                remove_tree(final / attempt)
        self.drop()

    def drop(self) -> None:
        """Remove what was not sealed."""
        remove_tree(self.folder)

    def _write_groups(self) -> None:
        groups = {"", *self._attributes}
        for path in (*self._arrays, *self._attributes):
            parts = path.split("/")[:-1]
            groups.update("/".join(parts[: i + 1]) for i in range(len(parts)))
        nodes: dict[str, dict[str, Any]] = {
            path: {"zarr_format": 3, "node_type": "group", "attributes": self._attributes.get(path, {})}
            for path in groups
        }
        for path in groups - {""}:
            (self.folder / path).mkdir(parents=True, exist_ok=True)
            (self.folder / path / "zarr.json").write_bytes(metadata_bytes(nodes[path]))
        nodes.update(self._arrays)
        below = {path: nodes[path] for path in sorted(nodes) if path}
        consolidated = {"kind": "inline", "must_understand": False, "metadata": below}
        (self.folder / "zarr.json").write_bytes(metadata_bytes({**nodes[""], "consolidated_metadata": consolidated}))


class StoredArray:
    """An array of a lake; slicing reads what is asked for.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    dims : tuple of str
        Names of the axes.
    unit : str
        FITS unit.
    attributes : dict
        All attributes.
    """

    def __init__(self, path: Place, metadata: Mapping[str, Any]) -> None:
        self.path = path
        try:
            self.shape: tuple[int, ...] = tuple(metadata["shape"])
            self.dtype = np.dtype(metadata["data_type"])
            self.dims: tuple[str, ...] = tuple(metadata["dimension_names"])
            self.attributes: dict[str, Any] = dict(metadata["attributes"])
        except (KeyError, TypeError) as error:
            msg = f"{path}/zarr.json is not the metadata of an array of a lake: {error!r}"
            raise FormatError(msg) from error
        self._metadata = metadata

    @cached_property
    def _reader(self) -> ArrayReader:
        if isinstance(self.path, Path):
            return ArrayReader(self.path)
        return ArrayReader.remote(str(self.path), metadata_bytes(self._metadata), self.path.tails, self.path.ranges)

    @property
    def unit(self) -> str:
        """FITS unit of the values."""
        return str(self.attributes.get("units", ""))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a window: integers and slices of step 1."""
        start, stop, keep = self._window(key)
        box = tuple(b - a for a, b in zip(start, stop, strict=True))
        found = self._boxes(np.array([start], np.int64), box)
        return found.reshape([n for n, kept in zip(box, keep, strict=True) if kept])

    def __array__(self, dtype: DTypeLike | None = None, *, copy: bool | None = None) -> NDArray[Any]:
        """Read the whole array."""
        return np.asarray(self[...], dtype=dtype)

    def rows(self, rows: ArrayLike) -> NDArray[Any]:
        """Read rows along the first axis in any order, ``(n, *shape[1:])``.

        Raises
        ------
        InvalidInputError
            When there is no such row.
        """
        wanted = np.asarray(rows, np.int64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < self.shape[0]):
            msg = f"rows: {wanted.min()} to {wanted.max()} are not all rows of {self.path}, which has {self.shape[0]}"
            raise InvalidInputError(msg)
        origins = np.zeros((wanted.size, self.ndim), np.int64)
        origins[:, 0] = wanted
        return self._boxes(origins, (1, *self.shape[1:])).reshape(wanted.size, *self.shape[1:])

    def boxes(self, origins: ArrayLike, box: Sequence[int]) -> NDArray[Any]:
        """Read boxes of one size, ``(n, *box)``, whose first elements are in ``origins``, int64, shape (n, ndim)."""
        return self._boxes(np.asarray(origins, np.int64), tuple(box))

    def _boxes(self, origins: NDArray[np.int64], box: tuple[int, ...]) -> NDArray[Any]:
        """Read boxes of one size, ``(n, *box)``."""
        elements = self._reader.read_boxes(origins, list(box))
        found: NDArray[Any] = elements.view(self.dtype).reshape(len(origins), *box)
        return found

    def _window(self, key: Any) -> tuple[list[int], list[int], list[bool]]:
        keys = list(key) if isinstance(key, tuple) else [key]
        if any(part is Ellipsis for part in keys):
            at = next(i for i, part in enumerate(keys) if part is Ellipsis)
            keys[at : at + 1] = [slice(None)] * (self.ndim - len(keys) + 1)
        keys += [slice(None)] * (self.ndim - len(keys))
        if len(keys) != self.ndim:
            msg = f"index: {key!r} has more axes than {self.path.name} of shape {self.shape}"
            raise InvalidInputError(msg)
        start, stop, keep = [], [], []
        for part, length in zip(keys, self.shape, strict=True):
            if isinstance(part, slice) and part.step in (None, 1):
                a, b, _ = part.indices(length)
                b = max(a, b)
            elif isinstance(part, (int, np.integer)) and -length <= part < length:
                a = int(part) % length
                b = a + 1
            else:
                msg = f"index: {part!r} is not allowed on an axis of {length}, it must be an index or a slice of step 1"
                raise InvalidInputError(msg)
            start.append(a)
            stop.append(b)
            keep.append(isinstance(part, slice))
        return start, stop, keep


class ArrayGroup(Mapping[str, StoredArray]):
    """The sealed arrays of one product, tile and run: a mapping from path to array.

    Raises
    ------
    NotFoundError
        When the group does not exist or was not sealed.
    FormatError
        When its metadata cannot be read.
    """

    def __init__(self, folder: Place) -> None:
        self.folder = _sealed(folder)
        try:
            root = json.loads((self.folder / "zarr.json").read_bytes())
            nodes = {"": root, **root["consolidated_metadata"]["metadata"]}
            self._attributes = {path: node["attributes"] for path, node in nodes.items()}
            self._arrays = {path: node for path, node in nodes.items() if node["node_type"] == "array"}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"{folder}/zarr.json is not the metadata of a group of a lake: {error!r}"
            raise FormatError(msg) from error

    def __getitem__(self, path: str) -> StoredArray:
        if path not in self._arrays:
            msg = f"array {path!r} is not in {self.folder}, which has {list(self._arrays)}"
            raise NotFoundError(msg)
        return StoredArray(self.folder / path, self._arrays[path])

    def __contains__(self, path: object) -> bool:
        return path in self._arrays

    def __iter__(self) -> Any:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Paths of all groups and arrays; ``""`` is the group itself."""
        return tuple(self._attributes)

    def attributes(self, group: str = "") -> dict[str, Any]:
        """Return the attributes of a group or an array inside this group; ``""`` is the group itself."""
        if group not in self._attributes:
            msg = f"group {group!r} is not in {self.folder}, which has {list(self._attributes)}"
            raise NotFoundError(msg)
        return dict(self._attributes[group])

    def grid(self, path: str) -> Grid:
        """Return the pixel grid of a two-dimensional array: the cards ``wcs`` of the nearest group above it."""
        array = self[path]
        parts = path.split("/")
        for end in range(len(parts) - 1, -1, -1):
            cards = self._attributes["/".join(parts[:end])].get("wcs")
            if cards is not None:
                return Grid.from_cards(cards, (array.shape[-2], array.shape[-1]))
        msg = f"array {path!r} of {self.folder} has no WCS: no group above it has the attribute 'wcs'"
        raise NotFoundError(msg)

    @property
    def zarr(self) -> Any:
        """The same group as a read-only `zarr.Group`."""
        import zarr

        store = self.folder if isinstance(self.folder, Path) else self.folder.zarr_store()
        return zarr.open_group(store, mode="r")


def open_metadata(
    schema: Schema, path: str, shape: tuple[int, ...], *, unit: str | None, attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the metadata of an array that is written window by window, whose shards are windows."""
    spec = schema.array(path)
    none = np.empty((0,) * len(shape), spec.dtype)
    _check_array(schema, spec, path, none, dims=None, unit=unit, lossy=None)
    # A schema's shards would have to be in memory whole, of all arrays that are written together.
    size = (*spec.shard[:-2], *WINDOW_PIX)
    shard = tuple(min(s, max(1, -(-n // c)) * c) for s, c, n in zip(size, spec.chunk, shape, strict=True))
    described = {"units": unit if unit is not None else spec.unit or "", "description": spec.description, **attributes}
    return _array_metadata(spec, shape, shard, described, _EXACT)


def is_sealed(folder: Place) -> bool:
    """Whether a group is in its place and whole: it has a manifest, which is emptied before it is removed."""
    try:
        return (folder / MANIFEST).stat().st_size > 0
    except FileNotFoundError:
        return False


def _sealed(folder: Place) -> Place:
    """Return where the arrays of a sealed group are; in an object store its manifest names the attempt."""
    try:
        if is_sealed(folder):
            in_store = not isinstance(folder, Path)
            return folder / str(json.loads((folder / MANIFEST).read_bytes())["root"]) if in_store else folder
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{folder / MANIFEST} is not the manifest of a group of a lake: {error!r}"
        raise FormatError(msg) from error
    msg = f"{folder}: there is no sealed group of arrays"
    raise NotFoundError(msg)


def _whole_shards(
    parts: Iterable[NDArray[np.generic]],
    shape: tuple[int, ...],
    shard: int,
    check: Callable[[NDArray[np.generic]], None],
) -> Iterator[NDArray[np.generic]]:
    """Yield the rows of all parts again, a shard at a time in one buffer; an array that is whole stays whole."""
    left, held = shape[0], 0
    buffer: NDArray[np.generic] | None = None
    for part in parts:
        check(part)
        if part.shape[1:] != shape[1:] or len(part) + held > left:
            msg = f"array: a part of shape {part.shape} does not fit into {shape}, of which {left - held} rows are left"
            raise InvalidInputError(msg)
        if len(part) == shape[0]:
            yield part
            left = 0
            continue
        done = 0
        while done < len(part):
            if buffer is None:
                buffer = np.empty((min(shard, shape[0]), *shape[1:]), part.dtype)
            wanted = min(shard, left)
            n = min(wanted - held, len(part) - done)
            buffer[held : held + n] = part[done : done + n]
            held, done = held + n, done + n
            if held == wanted:
                yield buffer[:held]
                left, held = left - held, 0
    if left:
        msg = f"array: the parts end after {shape[0] - left + held} rows, {shape[0]} were announced"
        raise InvalidInputError(msg)


def _check_array(
    schema: Schema,
    spec: ArraySpec,
    path: str,
    array: NDArray[np.generic],
    *,
    dims: tuple[str, ...] | None,
    unit: str | None,
    lossy: str | None,
) -> None:
    found = {
        "dims": (dims if dims is not None else spec.dims, spec.dims),
        "dtype": (str(array.dtype), spec.dtype),
        "number of axes": (array.ndim, len(spec.dims)),
        "unit": (unit, unit if spec.unit is None or unit is None else spec.unit),
        "lossy": (lossy, None if lossy is None else spec.lossy),
    }
    for what, (have, want) in found.items():
        if have != want:
            msg = f"{schema.name}: array {path}: {what}: expected {want}, found {have}"
            raise SchemaError(msg)
    if spec.unit is None and unit is None:
        msg = f"{schema.name}: array {path}: unit: expected a FITS unit ('' for none), found none"
        raise SchemaError(msg)


def _shard(spec: ArraySpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shard of the schema, 64 MiB, twice that in an array of many; not larger than the array's chunks."""
    first, *others = spec.shard
    sizes = (first * (2 if shape[0] > _MANY * first else 1), *others)
    return tuple(min(s, max(1, -(-n // c)) * c) for s, c, n in zip(sizes, spec.chunk, shape, strict=True))


def _array_metadata(
    spec: ArraySpec,
    shape: tuple[int, ...],
    shard: tuple[int, ...],
    attributes: Mapping[str, Any],
    codec: Mapping[str, Any],
) -> dict[str, Any]:
    dtype = np.dtype(spec.dtype)
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    plain = {"name": "bytes"} if dtype.itemsize == 1 else little
    blosc = {"name": "blosc", "configuration": {"typesize": dtype.itemsize, **codec}}
    sharding = {
        "chunk_shape": spec.chunk,
        "codecs": [plain, blosc],
        "index_codecs": [little, {"name": "crc32c"}],
        "index_location": "end",
    }
    fill: Any = spec.fill if dtype.kind == "f" else int(spec.fill)
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": spec.dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "NaN" if fill != fill else fill,  # noqa: PLR0124
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": dict(attributes),
        "dimension_names": spec.dims,
        "storage_transformers": [],
    }


def metadata_bytes(tree: Mapping[str, Any]) -> bytes:
    """Return metadata as they are stored."""
    try:
        return json.dumps(tree, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        msg = f"attributes: {error}; they must be JSON without NaN"
        raise InvalidInputError(msg) from error


def size_of_group(folder: Place) -> tuple[int, int]:
    """Return bytes and elements of a sealed group, as its manifest and its metadata have them.

    Raises
    ------
    NotFoundError
        When there is none.
    FormatError
        When they cannot be read.
    """
    group = ArrayGroup(folder)
    try:
        files = json.loads((folder / MANIFEST).read_bytes())["files"]
        n_bytes = sum(int(size) for size, _ in files.values())
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{folder / MANIFEST} is not the manifest of a group of a lake: {error!r}"
        raise FormatError(msg) from error
    return n_bytes, sum(math.prod(array.shape) for array in group.values())
