"""Places of a lake: paths of a file system, or of an object store such as S3, with the same few operations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from skymere.errors import InvalidInputError, StorageError

__all__ = ["ObjectPath", "Place", "Stat", "at", "matching", "uri_of"]

# A `Path` made of a URL, as command lines make them, has lost one of its slashes.
_URL = re.compile(r"s3:/{1,2}(?P<bucket>[^/]+)/*(?P<key>.*?)/*")
# Requests that wait for a store at once; each takes tens of milliseconds whatever it asks for.
_REQUESTS = 16
_HTTP = "aws_allow_http"
_RETRIES: Mapping[str, Any] = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}


@dataclass(frozen=True)
class Stat:
    """What a store says of an object.

    Parameters
    ----------
    st_size : int
        Bytes.
    st_mtime : float
        When it was written [s since 1970].
    """

    st_size: int
    st_mtime: float


@dataclass(frozen=True, order=True)
class ObjectPath:
    """An object, or what lies below a prefix, with the operations of `pathlib.Path` that a lake uses.

    A folder is there when something is in it. Failures are OSErrors, as those of a file system are.

    Parameters
    ----------
    bucket : str
        The store: ``s3://name``.
    key : str
        Place in it, without a slash at either end.
    options : tuple of (str, str)
        How to reach the store, in the words that Polars and deltalake know as ``storage_options``. What they leave
        open is taken from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL`` and so on).
    """

    bucket: str
    key: str
    options: tuple[tuple[str, str], ...] = ()
    # What the listing in which it was found said.
    listed: Stat | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}"

    def __truediv__(self, more: str) -> ObjectPath:
        return ObjectPath(self.bucket, f"{self.key}/{more}".strip("/"), self.options)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names along the way."""
        return (self.bucket, *self.key.split("/"))

    @property
    def name(self) -> str:
        """Last name."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Last name, without what follows its last dot."""
        return Path(self.name).stem

    @property
    def parent(self) -> ObjectPath:
        """What it lies in."""
        return ObjectPath(self.bucket, self.key.rpartition("/")[0], self.options)

    def relative_to(self, above: ObjectPath) -> str:
        """Return the way from ``above`` to here."""
        return self.key.removeprefix(f"{above.key}/")

    def stat(self) -> Stat:
        """Return size and time of an object."""
        if self.listed is not None:
            return self.listed
        with _errors(self):
            return _stat(_obstore().head(self._store, self.key))

    def is_file(self) -> bool:
        """Whether there is such an object."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there is anything below."""
        with _errors(self):
            return any(page for page in _obstore().list(self._store, self._prefix, chunk_size=1))

    def exists(self) -> bool:
        """Whether there is an object, or anything below."""
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator[ObjectPath]:
        """Yield what lies directly below."""
        with _errors(self):
            found = _obstore().list_with_delimiter(self._store, self._prefix)
        for prefix in found["common_prefixes"]:
            yield ObjectPath(self.bucket, prefix, self.options)
        for meta in found["objects"]:
            yield self._listed(meta)

    def rglob(self, pattern: str) -> Iterator[ObjectPath]:
        """Yield every object below whose name matches; prefixes are not yielded."""
        with _errors(self):
            pages = list(_obstore().list(self._store, self._prefix))
        for meta in (meta for page in pages for meta in page):
            place = self._listed(meta)
            if fnmatchcase(place.name, pattern):
                yield place

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """Yield what matches a pattern of names; ``**`` may stand before the last one."""
        here, *below = pattern.split("/")
        if here == "**":
            yield from self.rglob("/".join(below))
            return
        for place in self.iterdir():
            if fnmatchcase(place.name, here):
                yield from place.glob("/".join(below)) if below else [place]

    def read_bytes(self) -> bytes:
        """Return the content of an object."""
        with _errors(self):
            return bytes(_obstore().get(self._store, self.key).bytes())

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the content of an object as text."""
        return self.read_bytes().decode(encoding)

    def blocks(self) -> Iterator[bytes]:
        """Yield the content of an object, a few MiB at a time."""
        with _errors(self):
            for block in _obstore().get(self._store, self.key).stream(min_chunk_size=1 << 22):
                yield bytes(block)

    def put(self, content: bytes | Path) -> None:
        """Write an object, which is there whole or not at all."""
        with _errors(self):
            _obstore().put(self._store, self.key, content)

    def put_if_absent(self, content: bytes) -> None:
        """Write an object unless there is one; FileExistsError when there is."""
        with _errors(self):
            _obstore().put(self._store, self.key, content, mode="create", use_multipart=False)

    def marked(self) -> tuple[bytes, Any, float]:
        """Return the content of an object, the mark of this version of it, and when it was written [s since 1970]."""
        with _errors(self):
            found = _obstore().get(self._store, self.key)
            return bytes(found.bytes()), {"e_tag": found.meta["e_tag"]}, found.meta["last_modified"].timestamp()

    def put_if_same(self, content: bytes, mark: Any) -> bool:
        """Write an object in place of the version that has a mark; False when it is another one by now, or gone."""
        try:
            with _errors(self):
                _obstore().put(self._store, self.key, content, mode=mark, use_multipart=False)
        except (FileExistsError, FileNotFoundError):
            return False
        return True

    def unlink(self, *, missing_ok: bool = True) -> None:
        """Remove an object; one that is not there is as good."""
        del missing_ok
        with _errors(self):
            _obstore().delete(self._store, self.key)

    def remove_tree(self) -> None:
        """Remove everything below."""
        keys = [place.key for place in self.rglob("*")]
        with _errors(self):
            if keys:
                _obstore().delete(self._store, keys)

    def zarr_store(self) -> Any:
        """Return what zarr-python opens."""
        from zarr.storage import ObjectStore

        return ObjectStore(_open(f"{self.bucket}/{self.key}", self.options), read_only=True)

    def tails(self, names: Sequence[str], length: int) -> list[tuple[int, bytes] | None]:
        """Return size and last bytes of objects below; None for one that is not there."""

        def tail(name: str) -> tuple[int, bytes] | None:
            place = self / name
            try:
                with _errors(place):
                    found = _obstore().get(self._store, place.key, options={"range": {"suffix": length}})
                    return int(found.meta["size"]), bytes(found.bytes())
            except FileNotFoundError:
                return None

        return _together(tail, names)

    def ranges(self, wanted: Sequence[tuple[str, Sequence[int], Sequence[int]]]) -> list[list[bytes]]:
        """Return ranges of objects below: of each its name, first bytes and ends; near ones are one request."""

        def read(one: tuple[str, Sequence[int], Sequence[int]]) -> list[bytes]:
            name, starts, ends = one
            place = self / name
            with _errors(place):
                found = _obstore().get_ranges(self._store, place.key, starts=starts, ends=ends)
            return [bytes(part) for part in found]

        return _together(read, wanted)

    @property
    def _store(self) -> Any:
        return _open(self.bucket, self.options)

    @property
    def _prefix(self) -> str | None:
        return f"{self.key}/" if self.key else None

    def _listed(self, meta: Mapping[str, Any]) -> ObjectPath:
        return ObjectPath(self.bucket, meta["path"], self.options, _stat(meta))


Place = Path | ObjectPath


def at(place: str | Place, options: Mapping[str, str] | None = None) -> Place:
    """Return the place that a path or an ``s3://`` URL names.

    Raises
    ------
    InvalidInputError
        When it is a URL of something else, or an option is not one of S3.
    """
    if isinstance(place, ObjectPath):
        return place
    found = _URL.fullmatch(str(place))
    if found:
        given = {key.lower(): str(value) for key, value in (options or {}).items()}
        foreign = [key for key in given if not key.startswith("aws_")]
        if foreign:
            msg = f"storage_options: {foreign[0]!r} is not allowed, it must begin with 'aws_', such as 'aws_region'"
            raise InvalidInputError(msg)
        return ObjectPath(f"s3://{found['bucket']}", found["key"], tuple(sorted(given.items())))
    if "://" in str(place):
        msg = f"path: {place!r} is not allowed, it must be a folder or s3://bucket/prefix"
        raise InvalidInputError(msg)
    return Path(place).absolute()


def uri_of(place: Place) -> tuple[str, dict[str, str] | None]:
    """Return what Polars and deltalake call a place, and their ``storage_options``."""
    return str(place), dict(place.options) if isinstance(place, ObjectPath) else None


def matching(folder: Place, pattern: str) -> list[Place]:
    """Return what matches a pattern of names in a folder, sorted."""
    found: Iterable[Place] = folder.glob(pattern)
    return sorted(found, key=str)


def _together(call: Any, of: Sequence[Any]) -> list[Any]:
    if len(of) == 1:
        return [call(of[0])]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(call, of))


def _stat(meta: Mapping[str, Any]) -> Stat:
    return Stat(int(meta["size"]), meta["last_modified"].timestamp())


def _obstore() -> Any:
    try:
        import obstore
    except ModuleNotFoundError as error:
        msg = "a lake on S3 needs the package obstore: pip install 'skymere[s3]'"
        raise StorageError(msg) from error
    return obstore


@lru_cache(maxsize=64)
def _open(url: str, options: tuple[tuple[str, str], ...]) -> Any:
    _obstore()
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    known: Any = dict(options)
    client: Any = {"allow_http": True} if known.pop(_HTTP, "") == "true" else None
    retry: Any = _RETRIES
    try:
        return S3Store.from_url(url, config=known, client_options=client, retry_config=retry)
    except BaseError as error:
        msg = f"{url}: {error}"
        raise StorageError(msg) from error


@contextmanager
def _errors(place: ObjectPath) -> Iterator[None]:
    """Turn the errors of the store into those of a file system."""
    from obstore import exceptions

    kinds: list[tuple[type[Exception], type[OSError]]] = [
        (FileNotFoundError, FileNotFoundError),
        (exceptions.AlreadyExistsError, FileExistsError),
        (exceptions.PreconditionError, FileExistsError),
        (exceptions.NotFoundError, FileNotFoundError),
        (exceptions.PermissionDeniedError, PermissionError),
        (exceptions.UnauthenticatedError, PermissionError),
        (exceptions.BaseError, OSError),
    ]
    try:
        yield
    except (FileNotFoundError, exceptions.BaseError) as error:
        for kind, ours in kinds:
            if isinstance(error, kind):
                msg = f"{place}: {str(error).splitlines()[0]}"
                raise ours(msg) from error
        raise
