"""Damage: what a lake's newest state and its releases refer to must be there and whole."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from skymere.errors import SkymereError
from skymere.lake.arrays import MANIFEST, is_sealed
from skymere.lake.checks import check_parquet
from skymere.lake.files import digest, fetched
from skymere.lake.garbage import named_groups
from skymere.lake.layout import Layout, TableFile
from skymere.lake.pending import Pending
from skymere.lake.schemas import Schema
from skymere.lake.stores import Place
from skymere.lake.tables import SHA256, Table, kept_schemas, tables_on_disk

__all__ = ["Fault", "check_lake"]

Kind = Literal["missing", "damaged", "duplicate", "unrecorded"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong.

    Parameters
    ----------
    kind : {"missing", "damaged", "duplicate", "unrecorded"}
        A file that is not there; one with other content; a key or tile that stands twice; a publication whose row of
        ``run`` was not committed, which the next run on the tile mends.
    path : Path or ObjectPath
        Where.
    message : str
        What, and how to mend it.
    """

    kind: Kind
    path: Place
    message: str


def check_lake(
    layout: Layout, pins: Mapping[str, Mapping[str, int]], held: Sequence[Pending] = (), *, hashes: bool
) -> list[Fault]:
    """Return what is wrong with a lake; see `Lake.fsck`."""
    check = _Check(layout, pins, hashes=hashes)
    return [*check.faults(), *(fault for one in held for fault in check.held(one))]


class _Check:
    """One look at a lake; each file is looked at once, however many versions refer to it."""

    def __init__(self, layout: Layout, pins: Mapping[str, Mapping[str, int]], *, hashes: bool) -> None:
        self.layout = layout
        self.pins = pins
        self.hashes = hashes
        self._seen: set[Place] = set()
        self._broken: set[Place] = set()

    def faults(self) -> Iterator[Fault]:
        tables = {table.key: table for table in tables_on_disk(self.layout)}
        for name, pin in self.pins.items():
            for key in sorted(set(pin) - set(tables)):
                yield _missing(self.layout.release(name), f"release {name!r} pins table {key}, which is not there")
        for key, table in tables.items():
            versions = {pin[key] for pin in self.pins.values() if key in pin}
            for version in (None, *sorted(versions)):
                yield from self._version(table, version)
            yield from self._newest(table)

    def held(self, pending: Pending) -> Iterator[Fault]:
        """Check the files and the arrays of a product that waits for somebody who accepts it."""
        tables = ((staged, Table(self.layout, staged.table)) for staged in (pending.rows, *pending.beside))
        for path, file in ((table.dataset / file.path, file) for staged, table in tables for file in staged.files):
            if path in self._seen:
                continue
            self._seen.add(path)
            if not path.is_file():
                yield _missing(
                    path, f"run {pending.run} is held with this file, which is not there; run the task again"
                )
            elif path.stat().st_size != file.size or (self.hashes and digest(path) != file.sha256):
                message = f"its content is not that with which run {pending.run} is held; run the task again"
                yield Fault(kind="damaged", path=path, message=message)
        if Table(self.layout, pending.product).schema.arrays:
            yield from self._group(self.layout.arrays(pending.product, pending.tile, pending.run))

    def _version(self, table: Table, version: int | None) -> Iterator[Fault]:
        """Check the files of a version and the arrays of their rows."""
        try:
            delta = table.open(version)
            hashes = _committed(delta) if self.hashes else {}
            actions = [] if delta is None else pl.DataFrame(delta.get_add_actions(flatten=True)).to_dicts()
        except SkymereError as error:
            yield Fault(kind="damaged", path=table.dataset, message=str(error))
            return
        for action in actions:
            path = table.dataset / str(action["path"])
            if path in self._seen:
                continue
            self._seen.add(path)
            fault = self._parquet(table, path, action, hashes.get(str(action["path"])))
            if fault is not None:
                self._broken.add(path)
                yield fault
                continue
            groups = set(named_groups(table, path))
            if table.schema.arrays:
                parts = table.parts(TableFile.parse(str(action["path"])))
                groups |= {(table.schema.product, part.tile, part.run) for part in parts}
            for group in sorted(groups):
                yield from self._group(self.layout.arrays(*group))

    def _parquet(self, table: Table, path: Place, action: Mapping[str, Any], sha256: str | None) -> Fault | None:
        if not path.is_file():
            return _missing(path, "the log names this file, which is not there; publish its tile again")
        size = path.stat().st_size
        wrong = ""
        if size != action["size_bytes"]:
            wrong = f"{size} bytes, the log says {action['size_bytes']}"
        elif self.hashes and sha256 not in (None, digest(path)):
            wrong = "its content is not what the log says"
        elif self.hashes:
            wrong = _misfit(table, path, int(action["num_records"]))
        return Fault(kind="damaged", path=path, message=f"{wrong}; publish its tile again") if wrong else None

    def _group(self, group: Place) -> Iterator[Fault]:
        """Compare a group of arrays with its manifest."""
        if group in self._seen:
            return
        self._seen.add(group)
        manifest = group / MANIFEST
        if not is_sealed(group):
            yield _missing(group, "rows refer to these arrays, which are not there or not sealed; run the task again")
            return
        try:
            tree = json.loads(manifest.read_bytes())
            listed = {group / name: (int(size), str(sha256)) for name, (size, sha256) in tree["files"].items()}
            run = tree["run"]
            # In an object store, other attempts may lie beside the one that was sealed; they are garbage.
            inside = group / tree["root"] if "root" in tree else group
            there = {path: path.stat().st_size for path in inside.rglob("*") if path.is_file()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            yield Fault(kind="damaged", path=manifest, message=f"not a manifest: {error!r}")
            return
        if run != group.stem:
            yield Fault(kind="damaged", path=manifest, message=f"it is the manifest of run {run}")
        for path, (size, sha256) in listed.items():
            if path not in there:
                yield _missing(path, "the manifest names this file, which is not there; run the task again")
            elif there[path] != size or (self.hashes and digest(path) != sha256):
                yield Fault(kind="damaged", path=path, message="its content is not what the manifest says")
        for path in sorted((path for path in there if path not in listed and path != manifest), key=str):
            yield Fault(kind="damaged", path=path, message="a file that the manifest does not name")

    def _newest(self, table: Table) -> Iterator[Fault]:
        """Check what only the newest rows together can say: keys, runs of tiles, and rows of runs."""
        delta = table.open()
        live = table.live(delta)
        if not live or any(table.dataset / part.path in self._broken for part in live):
            return
        # An exposure has a row for each group in which it was compared.
        keys = [*table.schema.primary_key, *(["tile"] if table.schema.product == "mask" else [])]
        rows = table.scan(delta)
        again = rows.group_by(keys).len().filter(pl.col("len") > 1).collect().height
        if again:
            yield Fault(kind="duplicate", path=table.dataset, message=f"{again} keys {keys} stand more than once")
        if table.schema.product in ("run", "run_item", "alias"):
            return
        tiles = [part.tile for part in live]
        runs = {(part.tile, part.run) for part in live}
        for tile in sorted({tile for tile in tiles if len({run for t, run in runs if t == tile}) > 1}):
            yield Fault(kind="duplicate", path=table.dataset, message=f"tile {tile!r} shows more than one run")
        runs_table = Table(self.layout, "run")
        known = runs_table.scan(runs_table.open()).select("tile", "run_id").collect()
        for tile, run in sorted(runs - set(known.iter_rows())):
            message = f"run {run} of tile {tile!r} has no row in table run; run the task again, which adds it"
            yield Fault(kind="unrecorded", path=table.dataset, message=message)


def _committed(delta: DeltaTable | None) -> dict[str, str]:
    """Return the sha256 of every file that a commit names."""
    found: dict[str, str] = {}
    for entry in () if delta is None else delta.history():
        found.update(json.loads(entry.get(SHA256) or "{}"))
    return found


def _misfit(table: Table, path: Place, n_rows: int) -> str:
    """Return how a Parquet file differs from its schema and its log; empty when it does not."""
    try:
        with fetched(path) as file:
            names = pq.read_schema(file).names
            named = (pq.read_metadata(file).metadata or {}).get(b"skymere.schema.version", b"").decode()
            kept = kept_schemas(table.layout, table.schema.product, table.major)
            versions = sorted([table.schema, *kept], key=_version)
            columns = versions[-1].expand(versions[-1].bands(names))
            written = next((schema for schema in versions if schema.version_text == named), table.schema)
            # A file of an earlier minor version lacks the columns that came later.
            check_parquet(file, written, [c for c in columns if c.name in names or not c.nullable])
            height = pq.read_table(file, partitioning=None).num_rows
    except (SkymereError, pa.ArrowException, OSError) as error:
        return str(error)
    return "" if height == n_rows else f"{height} rows, the log says {n_rows}"


def _version(schema: Schema) -> tuple[int, int, int]:
    return schema.version


def _missing(path: Place, message: str) -> Fault:
    return Fault(kind="missing", path=path, message=message)
