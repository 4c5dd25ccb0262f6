"""Packs of reference files: folders with a version and a manifest of sha256 sums, found by name."""

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, TypeVar

from skymere.errors import ConflictError, FormatError, InvalidInputError, NotFoundError, StorageError
from skymere.io.exposures import file_digest

__all__ = ["Pack", "add_pack", "build_pack", "find_pack", "find_packs", "find_reference", "pack_folders"]

MANIFEST = "manifest.json"
VARIABLE = "SKYMERE_PACKS"
_T = TypeVar("_T")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A folder of reference files with a name and a version.

    Parameters
    ----------
    name, version : str
        Letters, digits, dots, underscores and hyphens.
    folder : Path
        Where its files are.
    files : mapping of str to str
        sha256 of each file, by its path in the folder.

    Raises
    ------
    InvalidInputError
        When the name, the version or a path is not allowed.
    """

    name: str
    version: str
    folder: Path
    files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what in ("name", "version"):
            if not _WORD.fullmatch(getattr(self, what)):
                msg = f"{what}: {getattr(self, what)!r} is not allowed, it must be letters, digits, '.', '_' and '-'"
                raise InvalidInputError(msg)
        for path in self.files:
            parts = PurePosixPath(path).parts
            if not parts or PurePosixPath(path).is_absolute() or ".." in parts or "\\" in path:
                msg = f"files: {path!r} is not allowed, it must be a path inside of the pack"
                raise InvalidInputError(msg)
        object.__setattr__(self, "files", MappingProxyType(dict(sorted(self.files.items()))))

    @property
    def manifest(self) -> str:
        """The manifest as text, the same for the same files."""
        tree = {"name": self.name, "version": self.version, "files": dict(self.files)}
        return json.dumps(tree, indent=1, sort_keys=True) + "\n"

    @property
    def digest(self) -> str:
        """The sha256 of the manifest, hexadecimal: it stands for all files of the pack."""
        return hashlib.sha256(self.manifest.encode()).hexdigest()

    @property
    def label(self) -> str:
        """Name and version."""
        return f"{self.name}-{self.version}"

    def path(self, file: str) -> Path:
        """Return where a file is, after its sum was checked.

        Parameters
        ----------
        file : str
            Its path in the pack, or its name alone when only one file has it.

        Raises
        ------
        NotFoundError
            When the pack does not list it, or it is gone.
        FormatError
            When it is not the file that the manifest means.
        """
        found = [path for path in self.files if path == file] or [
            p for p in self.files if PurePosixPath(p).name == file
        ]
        if len(found) != 1:
            what = f"several files are named so: {found}" if found else f"it holds {len(self.files)} others"
            msg = f"{file}: not in the pack {self.label} in {self.folder}, {what}"
            raise NotFoundError(msg)
        path = self.folder / found[0]
        digest = file_digest(path)
        if digest != self.files[found[0]]:
            msg = f"{path}: sha256 {digest} is not the {self.files[found[0]]} of the pack {self.label}"
            raise FormatError(msg)
        return path

    def read(self, file: str, reader: Callable[[Path], _T]) -> _T:
        """Return what a reader makes of a file, whose sum is checked; the same object as long as the sum is the same.

        Parameters
        ----------
        file : str
            See ``path``.
        reader : callable
            Makes a table, which nobody changes, of a path.

        Raises
        ------
        NotFoundError, FormatError
            See ``path``; and what the reader raises.
        """
        path = self.path(file)
        made: _T = _read_once(reader, path, self.files[path.relative_to(self.folder).as_posix()])
        return made


@lru_cache(maxsize=64)
def _read_once(reader: Callable[[Path], Any], path: Path, digest: str) -> Any:
    del digest  # part of the key alone
    return reader(path)


def pack_folders() -> tuple[Path, ...]:
    """Return the folders in which packs are looked for, in this order.

    Those of the variable ``SKYMERE_PACKS`` (between them a colon, on Windows a semicolon), each a pack or a folder of
    packs; then that of the user's data.
    """
    named = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    return (*named, _user_folder())


def _user_folder() -> Path:
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "skymere" / "packs"


def _read_pack(folder: Path) -> Pack:
    path = folder / MANIFEST
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        files = tree["files"]
        if not isinstance(files, dict) or not all(isinstance(v, str) for v in files.values()):
            msg = f"{path}: 'files' must map paths to sha256 sums"
            raise FormatError(msg)
        return Pack(name=str(tree["name"]), version=str(tree["version"]), folder=folder, files=files)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise StorageError(msg) from error
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, InvalidInputError) as error:
        msg = f"{path}: not the manifest of a pack ({type(error).__name__}: {error})"
        raise FormatError(msg) from error


def _version_key(pack: Pack) -> tuple[tuple[int, int, str], ...]:
    """Return a key that puts 10 after 9."""
    parts = re.findall(r"\d+|[^\d]+", pack.version)
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)


def find_packs() -> list[Pack]:
    """Return all packs, in the order in which files are looked for: by folder, by name, the newest version first.

    Raises
    ------
    FormatError, StorageError
        When a manifest cannot be read.
    """
    return [pack for folder in pack_folders() for pack in _packs_in(folder)]


def _packs_in(folder: Path) -> Iterator[Pack]:
    if (folder / MANIFEST).is_file():
        yield _read_pack(folder)
        return
    if not folder.is_dir():
        return
    packs = [_read_pack(one) for one in folder.iterdir() if (one / MANIFEST).is_file() and not one.name.startswith(".")]
    newest = sorted(packs, key=_version_key, reverse=True)
    yield from sorted(newest, key=lambda pack: pack.name)


def _places() -> str:
    return ", ".join(str(folder) for folder in pack_folders())


def find_pack(name: str, *, version: str | None = None) -> Pack:
    """Return a pack by its name.

    Parameters
    ----------
    name : str
        The name.
    version : str, optional
        The version; the first that is found, the newest of its folder, when not given.

    Raises
    ------
    NotFoundError
        When there is none; the message says where it was looked for.
    FormatError, StorageError
        When a manifest cannot be read.
    """
    packs = find_packs()
    for pack in packs:
        if pack.name == name and version in (None, pack.version):
            return pack
    wanted = name if version is None else f"{name}-{version}"
    msg = f"pack {wanted}: not found in {_places()}; there are {[pack.label for pack in packs]}. "
    msg += f"`skymere data add PATH` adds one, {VARIABLE} names other folders"
    raise NotFoundError(msg)


def find_reference(file: str) -> tuple[Path, Pack]:
    """Return where a reference file is, and its pack: that of the first pack that has it.

    Parameters
    ----------
    file : str
        Name of the file, or its path in the pack.

    Raises
    ------
    NotFoundError
        When no pack has it; the message says where it was looked for.
    FormatError, StorageError
        When a manifest cannot be read, or the file is not the one that it means.
    """
    packs = find_packs()
    for pack in packs:
        if file in pack.files or any(PurePosixPath(path).name == file for path in pack.files):
            return pack.path(file), pack
    msg = f"{file}: in none of the packs {[pack.label for pack in packs]}, looked for in {_places()}. "
    msg += f"`skymere data add PATH` adds a pack, {VARIABLE} names other folders"
    raise NotFoundError(msg)


def build_pack(folder: str | Path, *, name: str | None = None, version: str | None = None) -> Pack:
    """Return a folder as a pack, with the sums of its files as they are now; nothing is written.

    Parameters
    ----------
    folder : path-like
        A folder with a manifest, against which its files are checked, or without one.
    name, version : str, optional
        Of a folder without a manifest: its own name, and 1, when not given.

    Raises
    ------
    NotFoundError
        When there is no such folder, it holds no file, or a file of its manifest is not there.
    FormatError
        When a file is not the one that the manifest means.
    InvalidInputError
        When a name or version is not allowed, or is another than that of the manifest.
    """
    folder = Path(folder)
    if not folder.is_dir():
        msg = f"{folder}: no such folder"
        raise NotFoundError(msg)
    if (folder / MANIFEST).is_file():
        pack = _read_pack(folder)
        for what, given in (("name", name), ("version", version)):
            if given not in (None, getattr(pack, what)):
                msg = f"{what}: {given!r} is not allowed, the manifest of {folder} says {getattr(pack, what)!r}"
                raise InvalidInputError(msg)
        for file in pack.files:
            pack.path(file)
        return pack
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not files:
        msg = f"{folder}: holds no file"
        raise NotFoundError(msg)
    sums = {path.relative_to(folder).as_posix(): file_digest(path) for path in files}
    return Pack(name=name or folder.resolve().name, version=version or "1", folder=folder, files=sums)


def add_pack(
    path: str | Path, *, name: str | None = None, version: str | None = None, into: str | Path | None = None
) -> Pack:
    """Copy a folder of reference files to where packs are found.

    Parameters
    ----------
    path : path-like
        The folder, which is not changed.
    name, version : str, optional
        See `build_pack`.
    into : path-like, optional
        A folder of packs; the first of ``SKYMERE_PACKS``, or that of the user's data, when not given.

    Returns
    -------
    Pack
        The copy. It appears whole or not at all; adding the same pack again changes nothing.

    Raises
    ------
    NotFoundError, FormatError, InvalidInputError
        As `build_pack`.
    ConflictError
        When a pack of that name and version is there and holds other files.
    StorageError
        When it cannot be written.
    """
    pack = build_pack(path, name=name, version=version)
    place = Path(into) if into is not None else pack_folders()[0]
    target = place / pack.label
    if (target / MANIFEST).is_file():
        there = _read_pack(target)
        if there.digest != pack.digest:
            msg = f"{target}: there already, with other files (sha256 {there.digest}, not {pack.digest})"
            raise ConflictError(msg)
        return there
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place, prefix=".adding-") as staging:
            staged = Path(staging) / pack.label
            for file in pack.files:
                (staged / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(pack.folder / file, staged / file)
            (staged / MANIFEST).write_text(pack.manifest, encoding="utf-8")
            staged.rename(target)
    except OSError as error:
        msg = f"{target}: cannot be written: {error.strerror or error}"
        raise StorageError(msg) from error
    return _read_pack(target)
