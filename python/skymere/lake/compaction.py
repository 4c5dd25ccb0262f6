"""Compaction: many small Parquet files of a table become few large ones; the rows stay the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from deltalake import DeltaTable

from skymere.errors import InvalidInputError
from skymere.lake.files import size_of
from skymere.lake.layout import Layout, TableFile
from skymere.lake.majors import stored
from skymere.lake.tables import Table

__all__ = ["Compaction", "compact"]

_MIB = 1 << 20
_ATTEMPTS = 20


@dataclass(frozen=True, kw_only=True)
class Compaction:
    """How many files a table had before and after.

    Parameters
    ----------
    product : str
        The table.
    before, after : int
        Files of its newest version.
    """

    product: str
    before: int
    after: int


def compact(layout: Layout, product: str, *, target_mib: float) -> Compaction:
    """Merge the small files of a table; see `Lake.compact`."""
    if not target_mib > 0:
        msg = f"target_mib: {target_mib} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    table = stored(layout, product)
    first = table.open()
    if first is None:
        return Compaction(product=product, before=0, after=0)
    before = len(first.file_uris())
    for _ in range(_ATTEMPTS):
        delta = table.open()
        if delta is None or _merge_once(table, delta, target_mib):
            break
    return Compaction(product=product, before=before, after=len((table.open() or first).file_uris()))


def _merge_once(table: Table, delta: DeltaTable, target_mib: float) -> bool:
    """Merge every batch of small files; False when a publisher was faster and it is to be tried again."""
    for batch in _batches(table, delta, target_mib * _MIB):
        merged = table.merge(delta, batch)
        if not table.commit(delta, {part.path for part in batch}, [merged], {"run": "compact"}):
            return False
        delta.update_incremental()
    return True


def _batches(table: Table, delta: DeltaTable, target: float) -> Iterator[list[TableFile]]:
    """Yield files of one folder (of the whole table, when it has no positions) whose sizes add up to the target."""
    live = table.live(delta)
    sizes = {path: size_of(table.dataset / path) for path in {part.path for part in live}}
    small = sorted((p for p in live if sizes[p.path] < target / 2), key=lambda p: (_place(table, p), p.path))
    for _, members in groupby(small, key=lambda part: _place(table, part)):
        batch: list[TableFile] = []
        paths: set[str] = set()
        for path, parts in groupby(members, key=lambda part: part.path):
            batch += parts
            paths.add(path)
            if sum(sizes[one] for one in paths) >= target:
                yield batch
                batch, paths = [], set()
        if len(paths) > 1:
            yield batch


def _place(table: Table, part: TableFile) -> str:
    return part.folder if table.schema.is_positional else ""
