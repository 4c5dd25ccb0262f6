"""Files that are there whole or not at all, and stay there after a power cut; on a disk or in an object store."""

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from skymere.errors import ConflictError, StorageError
from skymere.lake.stores import ObjectPath, Place

__all__ = [
    "all_fetched",
    "check_put_if_absent",
    "digest",
    "fetched",
    "new_file",
    "put_if_absent",
    "remove_tree",
    "renew",
    "size_of",
    "storage",
    "sync",
    "sync_all",
    "sync_tree",
    "sync_up",
    "write_new",
    "write_whole",
]

_BLOCK = 1 << 20
_REQUESTS = 16


@contextmanager
def storage(what: str | Place) -> Iterator[None]:
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


def sync_all(files: Iterable[Path], roots: Iterable[Path]) -> None:
    """Wait until files and the folders above them, up to one of the roots, are on the disk; each of them once.

    Many requests at the same time share the writes of the disk.
    """
    last, mine = set(roots), list(files)
    folders: set[Path] = set()
    for file in mine:
        for folder in file.parents:
            if folder in folders:
                break
            folders.add(folder)
            if folder in last:
                break
    with ThreadPoolExecutor(_REQUESTS) as pool:
        # A folder is said to have a file only when all of the file is there.
        list(pool.map(sync, mine))
        list(pool.map(sync, folders))


def sync_up(folder: Path, root: Path) -> None:
    """Wait until the entries of a folder and of those above it, up to the root, are on the disk."""
    while True:
        sync(folder)
        if folder == root:
            return
        folder = folder.parent


def write_new(path: Path, data: bytes) -> None:
    """Write a file with a name that nobody else uses."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def put_if_absent(path: Place, data: bytes) -> None:
    """Write a file unless it exists.

    Raises
    ------
    ConflictError
        When it exists.
    StorageError
        When it cannot be written.
    """
    with storage(path):
        try:
            if isinstance(path, ObjectPath):
                path.put_if_absent(data)
            else:
                _link_new(path, data)
        except FileExistsError as error:
            msg = f"{path} exists already"
            raise ConflictError(msg) from error


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


def check_put_if_absent(path: Place) -> None:
    """Try whether a store refuses to replace an object: write one that is there again, with the same content.

    Raises
    ------
    StorageError
        When it does not refuse: two publishers could then overwrite each other.
    """
    if not isinstance(path, ObjectPath):
        return
    with storage(path):
        try:
            path.put_if_absent(path.read_bytes())
        except (FileExistsError, PermissionError):
            # Who may not write cannot overwrite either.
            return
    msg = (
        f"{path.bucket} has no put-if-absent (a PUT with If-None-Match: * replaced an object), so publishers could "
        "overwrite each other; use a store that has it"
    )
    raise StorageError(msg)


@contextmanager
def new_file(path: Place, root: Place, *, is_synced: bool = True) -> Iterator[Path]:
    """Give a place for a file that will be at ``path``, below ``root``, when the block ends.

    It will be there after a power cut, too, unless somebody else syncs it (`sync_all`) before anything names it.
    """
    if isinstance(path, ObjectPath):
        with storage(path), tempfile.TemporaryDirectory() as folder:
            yield Path(folder, path.name)
            path.put(Path(folder, path.name))
        return
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
        if is_synced:
            sync(path)
            sync_up(path.parent, Path(str(root)))


@contextmanager
def fetched(path: Place) -> Iterator[Path]:
    """Give a file on the disk with the content of ``path``: itself, or a copy that is gone afterwards."""
    if not isinstance(path, ObjectPath):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        with storage(path), copy.open("wb") as file:
            for block in path.blocks():
                file.write(block)
        yield copy


@contextmanager
def all_fetched(folder: Place, names: Iterable[str]) -> Iterator[Path]:
    """Give a folder on the disk with files of ``folder``: itself, or copies that are gone afterwards."""
    if not isinstance(folder, ObjectPath):
        yield folder
        return
    with tempfile.TemporaryDirectory() as here:
        for name in names:
            with fetched(folder / name) as copy:
                Path(here, name).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(copy, Path(here, name))
        yield Path(here)


def renew(path: Place) -> bool:
    """Make a JSON object, such as a manifest, young again; False when it is not there or is being removed."""
    try:
        with storage(path):
            if not isinstance(path, ObjectPath):
                os.utime(path)
                return True
            content, mark, _ = path.marked()
            # Stores mark what an object holds: the same bytes again would have the same mark.
            more = {"renewed": uuid.uuid4().hex}
            if content and path.put_if_same(json.dumps({**json.loads(content), **more}).encode(), mark):
                return True
            # Somebody else has renewed it meanwhile, or emptied it.
            return path.stat().st_size > 0
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return False
        raise


def remove_tree(folder: Place) -> None:
    """Remove a folder, as far as that is possible."""
    if isinstance(folder, ObjectPath):
        with storage(folder):
            folder.remove_tree()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def size_of(path: Place) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def digest(path: Place) -> str:
    """Return the sha256 of a file, hexadecimal."""
    total = hashlib.sha256()
    for block in path.blocks() if isinstance(path, ObjectPath) else _blocks(path):
        total.update(block)
    return total.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _link_new(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write_new(temporary, data)
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)
