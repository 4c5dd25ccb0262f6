"""Garbage: files that neither the newest state, a release, nor anybody who is still at work can need."""

import contextlib
import json
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from skymere.errors import InvalidInputError
from skymere.lake.arrays import MANIFEST
from skymere.lake.files import fetched, remove_tree, size_of, storage
from skymere.lake.layout import Layout, TableFile
from skymere.lake.pending import Pending
from skymere.lake.schemas import products
from skymere.lake.stores import ObjectPath, Place, matching
from skymere.lake.tables import Table, tables_on_disk

__all__ = ["Garbage", "collect", "find_garbage"]

_DAY = 86400.0
# Tables whose files lie on the disk before their commit, which the next run on the tile may have to finish.
_BESIDE = ("run", "run_item", "alias")


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """What nobody needs.

    Parameters
    ----------
    groups : tuple of Path or ObjectPath
        Sealed groups of arrays.
    files : tuple of Path or ObjectPath
        Parquet files.
    staging : tuple of Path or ObjectPath
        What is left of attempts that ended before they were sealed.
    n_bytes : int
        Their size [byte].
    removed : bool
        Whether they were removed; otherwise they were only looked for.
    """

    groups: tuple[Place, ...]
    files: tuple[Place, ...]
    staging: tuple[Place, ...]
    n_bytes: int
    removed: bool


@dataclass
class _Needed:
    """What some version of the tables refers to."""

    files: set[Place] = field(default_factory=set)
    groups: set[tuple[str, str, str]] = field(default_factory=set)
    attempts: set[tuple[str, str, str]] = field(default_factory=set)

    def add(self, table: Table, part: TableFile) -> None:
        """Add a file, the arrays of its rows, and those that its rows name in columns such as segmentation_run."""
        self.attempts.add((part.tile, part.run, part.attempt))
        self.groups.add((table.schema.product, part.tile, part.run))
        path = table.dataset / part.path
        if path in self.files:
            return
        self.files.add(path)
        self.groups.update(named_groups(table, path))


def named_groups(table: Table, path: Place) -> Iterator[tuple[str, str, str]]:
    """Yield product, tile and run of the arrays that rows of a Parquet file name: column ``segmentation_run``."""
    if table.schema.product not in products():
        # The columns of an imported catalogue mean nothing here.
        return
    with fetched(path) as file:
        with storage(path):
            names = pq.read_schema(file).names
        for name in names:
            product = name.removesuffix("_run")
            if name == product or product not in products():
                continue
            rows = pl.scan_parquet(file).select("tile", name).unique().collect()
            for tile, run in rows.iter_rows():
                yield product, tile, run


def find_garbage(
    layout: Layout, pins: Iterable[dict[str, int]], held: Iterable[Pending] = (), *, grace_days: float
) -> Garbage:
    """Return what nobody needs.

    Parameters
    ----------
    layout : Layout
        The lake.
    pins : iterable of dict
        Version of each table in each release.
    held : iterable of Pending
        What waits for somebody who accepts it.
    grace_days : float
        Whatever was needed or written during the last days is kept.

    Raises
    ------
    InvalidInputError
        When the grace is not positive.
    """
    if not grace_days > 0:
        msg = f"grace_days: {grace_days} is not allowed, it must be positive and longer than the longest run takes"
        raise InvalidInputError(msg)
    before = time.time() - grace_days * _DAY
    needed = _needed(layout, list(pins), before)
    for one in held:
        table = Table(layout, one.product)
        for file in one.rows.files:
            needed.add(table, TableFile.parse(file.path))
    files = [
        path
        for product, _, dataset in layout.datasets()
        for path in matching(dataset, "*=*/**/*.parquet")
        if not _is_kept(product, path, needed) and _is_older(path, before)
    ]
    groups: list[Place] = [
        group
        for group in layout.groups()
        if (*group.parts[-3:-1], group.stem) not in needed.groups and _is_older(group / MANIFEST, before, group)
    ]
    staging: list[Place] = [
        path for folder in (layout.staging, layout.trash) for path in matching(folder, "*") if _newest(path) < before
    ]
    staging += [path for group in layout.groups() if group not in groups for path in _beside(group, before)]
    size = sum(size_of(path) for path in (*files, *groups, *staging))
    return Garbage(groups=tuple(groups), files=tuple(files), staging=tuple(staging), n_bytes=size, removed=False)


def collect(layout: Layout, found: Garbage, *, grace_days: float) -> Garbage:
    """Remove garbage that was found, but what a run has taken up meanwhile."""
    before = time.time() - grace_days * _DAY
    removed = [group for group in found.groups if _remove_group(layout, group, before)]
    for path in found.files:
        path.unlink(missing_ok=True)
    for path in found.staging:
        remove_tree(path)
    return Garbage(groups=tuple(removed), files=found.files, staging=found.staging, n_bytes=found.n_bytes, removed=True)


def _needed(layout: Layout, pins: list[dict[str, int]], before: float) -> _Needed:
    needed = _Needed()
    for table in tables_on_disk(layout):
        newest = table.open()
        if newest is None:
            continue
        versions = {pin[table.key] for pin in pins if table.key in pin}
        # Whoever began during the grace reads this version or a later one; what later ones added is young itself.
        versions.add(_version_at(newest.history(), before))
        for delta in (newest, *(table.open(version) for version in versions - {newest.version()})):
            for part in table.live(delta):
                needed.add(table, part)
    return needed


def _version_at(history: list[dict[str, object]], when: float) -> int:
    """Return the version that was the newest at a time; the first when there was none."""
    times = {int(str(entry["version"])): float(str(entry["timestamp"])) / 1e3 for entry in history}
    return max((version for version, at in times.items() if at <= when), default=min(times))


def _is_kept(product: str, path: Place, needed: _Needed) -> bool:
    if path in needed.files:
        return True
    file = TableFile.parse(path.name)
    return product in _BESIDE and (file.tile, file.run, file.attempt) in needed.attempts


def _is_older(path: Place, before: float, otherwise: Place | None = None) -> bool:
    """Whether a file was last written before a time; ``otherwise`` stands in for a file that is not there."""
    try:
        return path.stat().st_mtime < before
    except FileNotFoundError:
        return otherwise is not None and _newest(otherwise) < before


def _newest(folder: Place) -> float:
    """Return when anything in a folder was last written; infinity when it vanishes meanwhile."""
    try:
        below = matching(folder, "**/*")
        times = [path.stat().st_mtime for path in (below if isinstance(folder, ObjectPath) else [folder, *below])]
    except FileNotFoundError:
        return float("inf")
    return max(times, default=float("inf"))


def _remove_group(layout: Layout, group: Place, before: float) -> bool:
    """Remove a group unless a run has made it young again.

    A run touches the manifest before it relies on sealed arrays. Either the touch comes before the move, and the
    group goes back to its place, or it finds no manifest, and the run writes the arrays anew.
    """
    if isinstance(group, ObjectPath):
        return _remove_objects(group, before)
    aside = Path(str(layout.trash)) / uuid.uuid4().hex
    with storage(group):
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            group.rename(aside)
        except FileNotFoundError:
            return False
    if not _is_older(aside / MANIFEST, before, aside):
        # The place may be taken by an attempt that has sealed the same arrays meanwhile.
        with contextlib.suppress(OSError):
            aside.rename(group)
            return False
    remove_tree(aside)
    return True


def _remove_objects(group: ObjectPath, before: float) -> bool:
    """Remove a group in an object store, where nothing can be moved.

    First the manifest is emptied, unless it has changed since it was found to be old; so a run that takes up the
    arrays either renews it first, and keeps them, or finds that they are not sealed. What an attempt has written
    meanwhile is young, and stays.
    """
    manifest = group / MANIFEST
    with storage(group):
        try:
            content, mark, written = manifest.marked()
        except FileNotFoundError:
            if not _newest(group) < before:
                return False
        else:
            if not written < before or (content and not manifest.put_if_same(b"", mark)):
                return False
            manifest.unlink()
        for path in group.iterdir():
            if _newest(path) < before:
                remove_tree(path)
    return True


def _beside(group: Place, before: float) -> Iterator[Place]:
    """Yield what attempts that were not sealed have left beside the one that was, in an object store."""
    if not isinstance(group, ObjectPath):
        return
    try:
        manifest = (group / MANIFEST).read_bytes()
    except FileNotFoundError:
        return
    if not manifest:
        return
    sealed = json.loads(manifest)["root"]
    for path in group.iterdir():
        if path.name not in {sealed, MANIFEST} and _newest(path) < before:
            yield path
