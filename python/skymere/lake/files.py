"""Files that are there whole or not at all, and stay there after a power cut."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skymere.errors import ConflictError, StorageError

__all__ = ["digest", "put_if_absent", "size_of", "storage", "sync", "sync_tree", "write_new", "write_whole"]

_BLOCK = 1 << 20


@contextmanager
def storage(what: str | Path) -> Iterator[None]:
    """Turn an error of the file system into a StorageError that names ``what``."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        msg = f"{what}: {error.strerror or error}"
        raise StorageError(msg) from error


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Wait until every file and folder below and including ``folder`` is on the disk."""
    for here, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(here, name))
        sync(Path(here))


def write_new(path: Path, data: bytes) -> None:
    """Write a file with a name that nobody else uses."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def put_if_absent(path: Path, data: bytes) -> None:
    """Write a file unless it exists.

    Raises
    ------
    ConflictError
        When it exists.
    StorageError
        When it cannot be written.
    """
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            write_new(temporary, data)
            os.link(temporary, path)
        except FileExistsError as error:
            msg = f"{path} exists already"
            raise ConflictError(msg) from error
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent)


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give the name of a file beside ``path`` to write; it takes the place of ``path`` when nothing went wrong."""
    staged = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield staged
            staged.replace(path)
        finally:
            staged.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def digest(path: Path) -> str:
    """Return the sha256 of a file, hexadecimal."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            total.update(block)
    return total.hexdigest()
