"""Ragged arrays that are made object by object: on disk until they are written, so that memory holds one object."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError, StorageError
from skymere.lake.run import Run
from skymere.lake.schemas import load_schema

__all__ = ["RaggedSpill"]

_BLOCK = 1 << 20


class RaggedSpill:
    """Planes of objects of many shapes, kept in a temporary folder until `write` puts them into a run.

    Parameters
    ----------
    product : str
        The product, whose schema says of what dtype the planes are and on which axes they lie.
    units : mapping of str to str, optional
        FITS unit of the planes for which the schema leaves it open, by path.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.lake import RaggedSpill
    >>> with RaggedSpill("pz") as spill:
    ...     spill.add({"z": np.linspace(0, 1, 5)})
    ...     spill.add({"z": np.linspace(0, 2, 9)})
    ...     len(spill)
    2
    """

    def __init__(self, product: str, *, units: Mapping[str, str] | None = None) -> None:
        self._schema = load_schema(product)
        self._units = dict(units or {})
        self._shapes: dict[str, list[tuple[int, ...]]] = {}
        self._planes: dict[str, str] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="skymere-")
        self._n = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def __len__(self) -> int:
        return self._n

    def add(self, planes: Mapping[str, NDArray[Any]]) -> None:
        """Add the planes of the next object; every object has the same ones.

        Parameters
        ----------
        planes : mapping of str to ndarray
            By the path of the plane, of the dtype of the schema.

        Raises
        ------
        InvalidInputError
            When planes differ from those of the first object, or two on one axis differ in shape.
        StorageError
            When the temporary folder is full.
        """
        offsets = {path: self._schema.array(path).offset or "" for path in planes}
        if self._n and offsets != self._planes:
            msg = f"planes: {sorted(planes)} are not allowed, the first object has {sorted(self._planes)}"
            raise InvalidInputError(msg)
        self._planes = offsets
        shapes: dict[str, tuple[int, ...]] = {}
        for path, array in planes.items():
            shape = shapes.setdefault(offsets[path], np.shape(array))
            if np.shape(array) != shape:
                msg = f"planes: {path!r} has shape {np.shape(array)}, others on its axis {shape}"
                raise InvalidInputError(msg)
        try:
            for path, array in planes.items():
                with self._file(path).open("ab") as file:
                    file.write(np.ascontiguousarray(array, self._schema.array(path).dtype).tobytes())
        except OSError as error:
            msg = f"{self._folder.name}: cannot be written: {error.strerror}"
            raise StorageError(msg) from error
        for offset, shape in shapes.items():
            self._shapes.setdefault(offset, []).append(shape)
        self._n += 1

    def write(self, run: Run) -> None:
        """Write all planes and the arrays that say where each object begins.

        Parameters
        ----------
        run : Run
            A run of the product.
        """
        for path, offset in self._planes.items():
            spec = self._schema.array(path)
            names = {"offset": spec.offset} | ({"shape": spec.shape} if spec.shape else {})
            total = sum(int(np.prod(shape)) for shape in self._shapes[offset])
            unit = self._units.get(path) if spec.unit is None else None
            run.write(path, self._parts(path, spec.dtype), n_rows=total, unit=unit, attributes={"ragged": names})
        done = set()
        for path, offset in self._planes.items():
            if offset in done:
                continue
            done.add(offset)
            spec = self._schema.array(path)
            shapes = np.array(self._shapes[offset], np.int64)
            edges = np.concatenate([[0], np.cumsum(shapes.prod(axis=1))]).astype(np.int64)
            run.write(spec.beside(offset), edges)
            if spec.shape:
                run.write(spec.beside(spec.shape), shapes.astype(np.int32))

    def _file(self, path: str) -> Path:
        return Path(self._folder.name) / path.replace("/", "-")

    def _parts(self, path: str, dtype: str) -> Iterator[NDArray[Any]]:
        with self._file(path).open("rb") as file:
            while (part := np.fromfile(file, dtype, _BLOCK)).size:
                yield part
