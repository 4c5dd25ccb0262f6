"""Delta tables that stay open: looking for what is new takes a tenth of reading the whole log again."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from skymere.lake.stores import Place

__all__ = ["newest_of"]

_MOST = 32
_Key = tuple[str, int, int]
_open: "OrderedDict[_Key, DeltaTable]" = OrderedDict()
_lock = threading.Lock()


@contextmanager
def newest_of(dataset: Place, read: Callable[[], DeltaTable | None]) -> Iterator[DeltaTable | None]:
    """Lend the newest version of a table, which is not to be kept: whoever asks next moves it forward.

    Parameters
    ----------
    dataset : Path or ObjectPath
        Folder of the table.
    read : callable
        Reads it where it is not open yet; returns None before the first publication.
    """
    key = _key_of(dataset)
    if key is None:
        yield read()
        return
    with _lock:
        delta = _forward(_open.pop(key, None)) or read()
        if delta is not None:
            _open[key] = delta
        while len(_open) > _MOST:
            _open.popitem(last=False)
        yield delta


def _key_of(dataset: Place) -> _Key | None:
    """Return what is this table and no later one in the same folder; None where that cannot be told."""
    if not isinstance(dataset, Path):
        return None
    try:
        first = (dataset / "_delta_log" / f"{0:020d}.json").stat()
    except OSError:
        return None
    return str(dataset), first.st_ino, first.st_mtime_ns


def _forward(delta: DeltaTable | None) -> DeltaTable | None:
    if delta is None:
        return None
    try:
        delta.update_incremental()
    except DeltaError:
        return None
    return delta
