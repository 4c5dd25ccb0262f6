"""Tables: Parquet files of our own, committed through a Delta log."""

import contextlib
import json
import random
import time
import uuid
from collections.abc import Container, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from deltalake import DeltaTable, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, CommitProperties, RemoveAction, Transaction

from skymere.errors import ConflictError, FormatError, NotFoundError, SchemaError, StorageError
from skymere.lake.checks import check_delta, check_parquet, longest_texts
from skymere.lake.files import digest, fetched, new_file, put_if_absent, storage, sync, sync_up
from skymere.lake.forms import arrow_schema, delta_schema, polars_schema
from skymere.lake.handles import newest_of
from skymere.lake.layout import MERGED, PARTITION_ORDER, Layout, TableFile, part_folder, sky_folder
from skymere.lake.pending import FileFacts
from skymere.lake.schemas import Column, Schema, load_schema, majors, parse_schema, products
from skymere.lake.sky import DEEP
from skymere.lake.stores import Place, uri_of
from skymere.lake.votable import votable

__all__ = [
    "Outcome",
    "Replacement",
    "Rows",
    "Table",
    "absent",
    "has_migrated",
    "kept_schemas",
    "tables_on_disk",
]

# ``pending`` waits for `Lake.commit`, ``held`` for somebody who accepts it.
Outcome = Literal["published", "already", "pending", "held"]

ROW_GROUP = 32768
COMMIT_RETRIES = 500
_WORTH_A_THREAD = 1 << 20
_TILES = "skymere.tiles"
# Key of a commit under which it names the sha256 of its files.
SHA256 = "sha256"
_NOTHING: Mapping[str, str] = {}
# Transaction of a table that was filled from the one before it, and property of the one that was emptied into it.
_MIGRATION, _CLOSED = "migration", "skymere.closed"
_STATISTICS = ("_healpix_29", "source_id", "ra", "dec", "tile")


@dataclass(frozen=True)
class Rows:
    """Rows of one attempt that are on the disk and wait for their commit.

    ``digests`` are the sha256 of files, where they are being computed already; ``facts`` is what the log will say of
    them, where they were looked at already.
    """

    paths: tuple[str, ...]
    columns: tuple[Column, ...]
    digests: Mapping[str, Future[str]] = field(default_factory=dict)
    facts: tuple[FileFacts, ...] = ()


@dataclass(frozen=True)
class Replacement:
    """Rows that are to take the place of those that a tile has; ``seq`` is the number of this publication."""

    file: TableFile
    rows: Rows
    seq: int


class Table:
    """One table of a lake: the Delta table of one major version of a schema."""

    def __init__(self, layout: Layout, product: str, schema: Schema | None = None) -> None:
        self.layout = layout
        self.schema = schema or load_schema(product)
        self.dataset = layout.dataset(self.schema)

    @property
    def key(self) -> str:
        """``product/vMAJOR``, as releases name it."""
        return f"{self.schema.product}/v{self.major}"

    @property
    def major(self) -> int:
        """Major version of the schema."""
        return self.schema.version[0]

    def open(self, version: int | None = None) -> DeltaTable | None:
        """Return the Delta table at a version, the newest when not given; None before the first publication.

        Raises
        ------
        NotFoundError
            When there is no such version.
        StorageError
            When the log cannot be read.
        """
        uri, options = uri_of(self.dataset)
        try:
            return DeltaTable(uri, version=version, storage_options=options)
        except TableNotFoundError:
            if version is None:
                return None
            msg = f"table {self.key} has no version {version}: nothing was published"
            raise NotFoundError(msg) from None
        except (DeltaError, OSError) as error:
            newest = self.open() if version is not None else None
            if newest is not None and version is not None and version > newest.version():
                msg = f"table {self.key} has no version {version}, the newest is {newest.version()}"
                raise NotFoundError(msg) from error
            msg = f"{self.dataset}: the log of table {self.key} cannot be read: {error}"
            raise StorageError(msg) from error

    def state_of(self, tile: str) -> tuple[int, TableFile | None]:
        """Return the number that the next publication of a tile must carry, and the file whose rows it shows now."""
        with newest_of(self.dataset, self.open) as delta:
            return self.sequence_in(delta, tile), next(iter(self.live(delta, tile)), None)

    def live(self, delta: DeltaTable | None, tile: str | None = None) -> list[TableFile]:
        """Return the files of a version, of one tile or of all, sorted by path."""
        return self.live_of(delta, None if tile is None else {tile})

    def live_of(self, delta: DeltaTable | None, tiles: Container[str] | None) -> list[TableFile]:
        """Return the files of a version, of some tiles or of all, sorted by path."""
        if delta is None:
            return []
        root = f"{self.dataset.name}/"
        paths = (uri.rpartition(root)[2] for uri in delta.file_uris())
        # A log names a file for each tile; most of them are those of others.
        some = (path for path in paths if tiles is None or _may_hold(path, tiles))
        each = [part for path in some for part in self.parts(TableFile.parse(path))]
        mine = (file for file in each if tiles is None or file.tile in tiles)
        return sorted(mine, key=lambda file: (file.path, file.tile))

    def parts(self, file: TableFile) -> list[TableFile]:
        """Return what a file holds of each tile; a file that was not merged holds one."""
        if not file.is_merged:
            return [file]
        path = self.dataset / file.path
        with storage(path):
            return [TableFile(file.folder, *names, file.path) for names in _members(path)]

    def scan(self, delta: DeltaTable | None) -> pl.LazyFrame:
        """Return the rows of a version, whose columns are checked against the schema.

        Raises
        ------
        SchemaError
            When the table does not have the columns of its schema.
        """
        if delta is None:
            return pl.LazyFrame(schema=polars_schema(self.schema.expand()))
        return self._complete(pl.scan_delta(delta), self._check(delta))

    def rows(self, delta: DeltaTable, files: Iterable[TableFile]) -> pl.LazyFrame:
        """Return the rows of some files of a version, as `scan` does for all of them."""
        present = self._check(delta)
        return self._complete(self._gather(files, present).lazy(), present)

    def _complete(self, frame: pl.LazyFrame, present: Sequence[Column]) -> pl.LazyFrame:
        """Add the columns of later minor versions; put those of this skymere's schema first."""
        columns = self.schema.expand(self.schema.bands(column.name for column in present))
        names = {column.name for column in columns}
        extra = [column.name for column in present if column.name not in names]
        return frame.with_columns(absent(columns, present)).select(*(column.name for column in columns), *extra)

    def write(
        self,
        frame: pl.DataFrame,
        columns: tuple[Column, ...],
        file: TableFile,
        *,
        empty_at: int,
        is_synced: bool = True,
    ) -> Rows:
        """Write checked rows as Parquet, one file for each pixel of the partition order; nobody sees them yet.

        Parameters
        ----------
        frame : polars.DataFrame
            Rows that `check_frame` passed.
        columns : tuple of Column
            What it returned.
        file : TableFile
            Tile, run and attempt; the folder is chosen here.
        empty_at : int
            Index of order 29 under which a table without rows is filed.
        is_synced : bool
            Whether the files are on the disk when this returns; else whoever commits them syncs them before.
        """
        self._keep_schema()
        frame = frame.select(column.name for column in columns)
        paths = []
        for folder, part in self._parts(frame, file.tile, empty_at):
            place = TableFile(folder, file.tile, file.run, file.attempt)
            self._write_parquet(part, columns, place, is_synced=is_synced)
            paths.append(place.path)
        return Rows(tuple(paths), columns, self._digests(paths))

    def _digests(self, paths: Sequence[str]) -> dict[str, Future[str]]:
        """Begin to hash new files on a disk, while the publication goes on, where that takes longer than a thread."""
        if not isinstance(self.dataset, Path):
            return {}
        large = [path for path in paths if (self.dataset / path).stat().st_size > _WORTH_A_THREAD]
        if not large:
            return {}
        pool = ThreadPoolExecutor(1)
        found = {path: pool.submit(digest, self.dataset / path) for path in large}
        pool.shutdown(wait=False)
        return found

    def waiting(self, live: TableFile) -> TableFile | None:
        """Return the file that an attempt wrote to this table, which has no places in the sky, committed or not."""
        file = TableFile(part_folder(live.tile), live.tile, live.run, live.attempt)
        return file if (self.dataset / file.path).is_file() else None

    def unwritten(self, delta: DeltaTable | None, files: Iterable[TableFile]) -> list[TableFile]:
        """Return the attempts that wrote files of any table of which no rows are in a version of this one."""
        wanted = list(dict.fromkeys(file.bare for file in files))
        there = self.live_of(delta, {file.tile for file in wanted})
        attempts = {part.bare for part in there}
        return [file for file in wanted if file not in attempts]

    def facts(self, rows: Rows) -> tuple[FileFacts, ...]:
        """Return what the log will say of files, which are compared with the schema, since Delta accepts anything.

        Raises
        ------
        SchemaError
            When a file is not what the schema says.
        """
        if rows.facts:
            return rows.facts
        found = []
        for path in rows.paths:
            with fetched(self.dataset / path) as file:
                check_parquet(file, self.schema, rows.columns)
                sha256 = rows.digests[path].result() if path in rows.digests else digest(file)
                found.append(FileFacts(path, file.stat().st_size, sha256, _statistics(file, rows.columns)))
        return tuple(found)

    def replace(self, wanted: Sequence[Replacement]) -> list[Outcome | ConflictError]:
        """Commit the rows of tiles in place of those that they had: all of them in one entry of the log.

        Parameters
        ----------
        wanted : sequence of Replacement
            The rows, at most those of one attempt for each tile that can win.

        Returns
        -------
        list
            For each ``published``, ``already`` when the tile shows its run, or the error when another run has
            published the tile since the number of the publication was taken.
        """
        columns = {column.name: column for one in wanted for column in one.rows.columns}
        for delta in self._attempts(list(columns.values())):
            live = self._by_tile(delta, {one.file.tile for one in wanted})
            answers, winners = self._judged(delta, wanted, live)
            if not winners or self._replace_once(delta, winners, live):
                return answers
        raise self._gave_up(", ".join(one.file.tile for one in wanted))

    def _by_tile(self, delta: DeltaTable, tiles: set[str]) -> dict[str, list[TableFile]]:
        found: dict[str, list[TableFile]] = {}
        for file in self.live_of(delta, tiles):
            found.setdefault(file.tile, []).append(file)
        return found

    def _judged(
        self, delta: DeltaTable, wanted: Sequence[Replacement], live: Mapping[str, Sequence[TableFile]]
    ) -> tuple[list[Outcome | ConflictError], list[Replacement]]:
        """Return what becomes of each, and those that are committed now: the first that may for each tile."""
        answers: list[Outcome | ConflictError] = []
        winners: dict[str, Replacement] = {}
        for one in wanted:
            tile, first = one.file.tile, winners.get(one.file.tile)
            shown = {first.file.run} if first else {old.run for old in live.get(tile, ())}
            if one.file.run in shown:
                answers.append("already")
            elif first or one.seq <= _sequence(delta, f"{self.schema.product}/{tile}"):
                msg = f"tile {tile!r} of table {self.key} was published by another run meanwhile; run the task again"
                answers.append(ConflictError(msg))
            else:
                winners[tile] = one
                answers.append("published")
        return answers, list(winners.values())

    def _replace_once(
        self, delta: DeltaTable, winners: Sequence[Replacement], live: Mapping[str, Sequence[TableFile]]
    ) -> bool:
        tiles = {one.file.tile for one in winners}
        old = [part for tile in sorted(tiles) for part in live.get(tile, ())]
        shared = sorted({part.path for part in old if part.shared})
        rest = [left for left in (self._without(delta, path, tiles) for path in shared) if left]
        info = {"run": " ".join(one.file.run for one in winners)}
        transactions = [Transaction(f"{self.schema.product}/{one.file.tile}", one.seq) for one in winners]
        new = [*(one.rows for one in winners), *rest]
        return self.commit(delta, {part.path for part in old}, new, info, transactions)

    def merge(self, delta: DeltaTable, files: Sequence[TableFile]) -> Rows:
        """Write what files hold of some tiles into one file; nobody sees it yet."""
        columns = self._check(delta)
        frame = self._gather(files, columns)
        order = ["_healpix_29", *self.schema.primary_key] if self.schema.is_positional else self.schema.primary_key
        folder = files[0].folder if self.schema.is_positional else part_folder(MERGED)
        place = TableFile(folder, MERGED, MERGED, uuid.uuid4().hex[:8])
        members = sorted([part.tile, part.run, part.attempt] for part in files)
        self._write_parquet(frame.sort(order), columns, place, {_TILES: json.dumps(members)})
        return Rows((place.path,), columns)

    def _gather(self, files: Iterable[TableFile], columns: Sequence[Column]) -> pl.DataFrame:
        """Return what files hold of their tiles and runs, with null where a file is older than a column."""
        tiles: dict[str, list[str]] = {}
        for part in files:
            tiles.setdefault(part.path, []).append(part.tile)
        wanted = polars_schema(columns)
        found = [self._read(path).filter(pl.col("tile").is_in(names)) for path, names in sorted(tiles.items())]
        rows = pl.concat([pl.DataFrame(schema=wanted), *found], how="diagonal")
        return rows.with_columns(absent(columns, columns)).select(*wanted)

    def _read(self, path: str) -> pl.DataFrame:
        with fetched(self.dataset / path) as file:
            return pl.read_parquet(file, hive_partitioning=False)

    def _without(self, delta: DeltaTable, path: str, tiles: Container[str]) -> Rows | None:
        """Write a file that several tiles share again, without some of them."""
        others = [other for other in self.parts(TableFile.parse(path)) if other.tile not in tiles]
        return self.merge(delta, others) if others else None

    def append(self, wanted: Mapping[TableFile, tuple[str, Rows]]) -> None:
        """Commit rows of attempts beside those that are there, unless their keys are among them; all at once.

        Parameters
        ----------
        wanted : mapping
            For tile, run and attempt of a file: the name under which the table counts such commits, and the rows.
        """
        columns = {column.name: column for _, rows in wanted.values() for column in rows.columns}
        for delta in self._attempts(list(columns.values())):
            there = self.live_of(delta, {file.tile for file in wanted})
            attempts = {part.bare for part in there}
            runs = {(part.tile, part.run) for part in there}
            new = {
                file: one
                for file, one in wanted.items()
                if file.bare not in attempts
                and not ((file.tile, file.run) in runs and self._has_keys(delta, file, one[1]))
            }
            if not new:
                return
            info = {"run": " ".join(file.run for file in new)}
            names = sorted({name for name, _ in new.values()})
            transactions = [Transaction(name, _sequence(delta, name) + 1) for name in names]
            if self.commit(delta, [], [rows for _, rows in new.values()], info, transactions):
                return
        raise self._gave_up(", ".join(file.tile for file in wanted))

    def _has_keys(self, delta: DeltaTable, file: TableFile, rows: Rows) -> bool:
        """Whether another attempt of the run has rows with some of these keys."""
        keys = pl.concat([self._read(path).select(self.schema.primary_key) for path in rows.paths]).lazy()
        mine = (pl.col("tile") == file.tile) & (pl.col("run_id") == file.run)
        same = self.scan(delta).filter(mine).join(keys, on=self.schema.primary_key, how="semi")
        return bool(same.head(1).collect().height)

    def adopt(self, rows: Sequence[Rows], columns: Sequence[Column], *, info: dict[str, str]) -> Outcome:
        """Commit the rows that a migration has brought from the table of the version before, once.

        Raises
        ------
        ConflictError
            When the table has rows of its own.
        """
        for delta in self._attempts(columns):
            if has_migrated(delta):
                return "already"
            if self.live(delta):
                msg = f"table {self.key} has rows of its own, so nothing can be migrated into it"
                raise ConflictError(msg)
            if self.commit(delta, [], rows, info, [Transaction(_MIGRATION, 0)]):
                return "published"
        raise self._gave_up(_MIGRATION)

    def close(self, delta: DeltaTable) -> None:
        """Let nobody publish to this table any more; whoever is about to commit finds that its metadata changed."""
        if _CLOSED in delta.metadata().configuration:
            return
        try:
            delta.alter.set_table_properties({_CLOSED: "true"}, raise_if_not_exists=False)
        except CommitFailedError as error:
            msg = f"table {self.key}: somebody else changed it meanwhile; migrate again"
            raise ConflictError(msg) from error

    def sequence(self, tile: str) -> int:
        """Return the number that the next publication of a tile must carry."""
        return self.sequence_in(self.open(), tile)

    def sequence_in(self, delta: DeltaTable | None, tile: str) -> int:
        """Return the number that the publication of a tile after a version must carry."""
        return _sequence(delta, f"{self.schema.product}/{tile}") + 1

    def _check(self, delta: DeltaTable) -> tuple[Column, ...]:
        """Return the columns of a version, which must be those of the schemas that were used in the lake.

        A version of the table may be older than the newest of them, but not than the oldest.
        """
        used = kept_schemas(self.layout, self.schema.product, self.major) or [self.schema]
        return check_delta(delta.schema(), used[-1], oldest=used[0])

    def _parts(self, frame: pl.DataFrame, tile: str, empty_at: int) -> list[tuple[str, pl.DataFrame]]:
        if not self.schema.is_positional:
            return [(part_folder(tile), frame.sort(self.schema.primary_key))]
        shift = 4 ** (DEEP - PARTITION_ORDER)
        if frame.is_empty():
            return [(sky_folder(empty_at // shift), frame)]
        ordered = frame.sort("_healpix_29", *self.schema.primary_key)
        pixel = (ordered["_healpix_29"] // shift).to_numpy()
        starts = [0, *(np.flatnonzero(np.diff(pixel)) + 1).tolist(), len(pixel)]
        return [(sky_folder(int(pixel[a])), ordered[a:b]) for a, b in pairwise(starts)]

    def _write_parquet(
        self,
        part: pl.DataFrame,
        columns: tuple[Column, ...],
        place: TableFile,
        more: Mapping[str, str] = _NOTHING,
        *,
        is_synced: bool = True,
    ) -> None:
        texts = [column.name for column in columns if column.is_text]
        lengths = {name: max(1, length) for name, length in longest_texts(part, texts).items()}
        path = self.dataset / place.path
        # What lies above the dataset is synced with the entry of the log, without which nobody sees the file.
        with new_file(path, self.dataset, is_synced=is_synced) as file:
            part.write_parquet(
                file,
                compression="zstd",
                compression_level=3,
                row_group_size=ROW_GROUP,
                arrow_schema=arrow_schema(columns, lengths),
                metadata={
                    "skymere.schema": self.schema.product,
                    "skymere.schema.version": self.schema.version_text,
                    "skymere.run": place.run,
                    "IVOA.VOTable-Parquet.version": "1.0",
                    "IVOA.VOTable-Parquet.content": votable(
                        self.schema.product, self.schema.description, columns, lengths
                    ),
                    **more,
                },
            )

    def _attempts(self, columns: Sequence[Column]) -> Any:
        """Yield a fresh handle for each attempt to commit, on a table that has the columns."""
        for attempt in range(COMMIT_RETRIES):
            if attempt:
                time.sleep(random.uniform(0.0, min(0.5, 0.01 * 2**attempt)))  # noqa: S311
            try:
                delta = self._ready(columns)
            except CommitFailedError:
                continue
            yield delta

    def _ready(self, columns: Sequence[Column]) -> DeltaTable:
        """Return a table that exists and has the columns."""
        self._keep_schema()
        delta = self.open()
        if delta is None:
            uri, options = uri_of(self.dataset)
            if isinstance(self.dataset, Path):
                with storage(self.dataset):
                    self.dataset.mkdir(parents=True, exist_ok=True)
            try:
                delta = DeltaTable.create(
                    uri,
                    delta_schema(columns),
                    storage_options=options,
                    name=self.schema.product,
                    description=self.schema.description,
                    configuration={"delta.enableExpiredLogCleanup": "false"},
                )
            except (DeltaError, OSError) as error:
                # Somebody else may have made it meanwhile.
                delta = self.open()
                if delta is None:
                    msg = f"{self.dataset}: the table cannot be made: {error}"
                    raise StorageError(msg) from error
        if _CLOSED in delta.metadata().configuration:
            msg = f"table {self.key} is closed, since its rows were migrated to a newer schema; open the lake again"
            raise ConflictError(msg)
        present = {field.name for field in delta.schema().fields}
        new = [field for field in delta_schema(columns).fields if field.name not in present]
        if new:
            delta.alter.add_columns(new, post_commithook_properties=_HOOKS)
            delta = self.open() or delta
        self._check(delta)
        return delta

    def _keep_schema(self) -> None:
        copy = self.layout.schema(self.schema)
        if not copy.exists():
            with contextlib.suppress(ConflictError):
                put_if_absent(copy, self.schema.text.encode())
        if copy.read_text(encoding="utf-8") != self.schema.text:
            msg = f"{copy} is not the {self.schema.name} of this skymere; released schemas never change"
            raise SchemaError(msg)

    def commit(
        self,
        delta: DeltaTable,
        old: Iterable[str],
        new: Sequence[Rows],
        info: dict[str, str],
        transactions: Sequence[Transaction] = (),
    ) -> bool:
        """Put files in place of others once; False when somebody else was faster.

        Without transactions the rows stay the same and only their files change.
        """
        changes = bool(transactions)
        facts = [one for rows in new for one in self.facts(rows)]
        now = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [
            RemoveAction(path, data_change=changes, deletion_timestamp=now) for path in sorted(set(old))
        ]
        actions += [
            AddAction(
                one.path,
                size=one.size,
                partition_values={},
                modification_time=now,
                data_change=changes,
                stats=one.stats,
            )
            for one in facts
        ]
        hashes = {one.path: one.sha256 for one in facts}
        try:
            delta.create_write_transaction(
                actions,
                "append",
                delta.schema(),
                commit_properties=CommitProperties(
                    app_transactions=list(transactions),
                    custom_metadata={**info, "schema": self.schema.name, SHA256: json.dumps(hashes)},
                    max_commit_retries=COMMIT_RETRIES,
                ),
                post_commithook_properties=_HOOKS,
            )
        except CommitFailedError:
            return False
        except (DeltaError, OSError) as error:
            msg = f"{self.dataset}: the commit failed: {error}"
            raise StorageError(msg) from error
        self._sync_log()
        return True

    def _sync_log(self) -> None:
        log = self.dataset / "_delta_log"
        if not isinstance(log, Path):
            return
        with storage(log):
            for path in sorted(log.glob("*.json"))[-3:]:
                sync(path)
            sync_up(log, Path(str(self.layout.root)))

    def _gave_up(self, what: str) -> ConflictError:
        return ConflictError(f"table {self.key}: {what!r} could not be committed in {COMMIT_RETRIES} attempts")


# The log never trims itself: releases pin old versions.
_HOOKS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


def _may_hold(path: str, tiles: Container[str]) -> bool:
    """Whether a file may have rows of some tiles, as its name says."""
    tile, run, _ = path.rpartition("/")[2].rsplit(".", 3)[:3]
    return run == MERGED or tile in tiles


def _sequence(delta: DeltaTable | None, app: str) -> int:
    found = None if delta is None else delta.transaction_version(app)
    return -1 if found is None else found


def tables_on_disk(layout: Layout, product: str = "*") -> list[Table]:
    """Return every table that was ever published to, of one product or of all, by product and major version.

    Those whose schema this skymere does not ship (an older or newer major version) come with the lake's own copy.
    """
    found = []
    for name, major, dataset in layout.datasets(product):
        shipped = majors(name) if name in products() else {}
        used = [shipped[major]] if major in shipped else kept_schemas(layout, name, major)
        if not used:
            msg = f"{dataset}: the lake has no copy of the schema of this table in {layout.schemas}"
            raise FormatError(msg)
        found.append(Table(layout, name, used[-1]))
    return found


def kept_schemas(layout: Layout, product: str, major: int) -> list[Schema]:
    """Return the schemas of a major version that were used in a lake, by version."""
    found = [parse_schema(path.read_text(encoding="utf-8"), str(path)) for path in layout.kept(product, major)]
    return sorted(found, key=lambda schema: schema.version)


def has_migrated(delta: DeltaTable | None) -> bool:
    """Whether a table has the rows of the version before it."""
    return delta is not None and delta.transaction_version(_MIGRATION) is not None


@lru_cache(maxsize=4096)
def _members(path: Place) -> list[tuple[str, str, str]]:
    """Return tile, run and attempt of everything in a merged file, which never changes."""
    with fetched(path) as file:
        found = json.loads(pq.read_metadata(file).metadata[_TILES.encode()])
    return [(tile, run, attempt) for tile, run, attempt in found]


def _statistics(path: Path, columns: Sequence[Column]) -> str:
    """Return what lets a reader skip a file, from the footer of the file."""
    footer = pq.read_metadata(path)
    names = [column.name for column in columns if column.name in _STATISTICS and not column.nullable]
    place = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
    groups = [footer.row_group(i) for i in range(footer.num_row_groups) if footer.row_group(i).num_rows]
    found = {name: [group.column(place[name]).statistics for group in groups] for name in names}
    known = [name for name, each in found.items() if each and all(one is not None and one.has_min_max for one in each)]
    return json.dumps(
        {
            "numRecords": footer.num_rows,
            "minValues": {name: min(one.min for one in found[name]) for name in known},
            "maxValues": {name: max(one.max for one in found[name]) for name in known},
            "nullCount": dict.fromkeys(names, 0),
        }
    )


def absent(columns: Sequence[Column], present: Sequence[Column]) -> list[pl.Expr]:
    """Return what stands in rows that are older than some columns; ``present`` are those that other rows have."""
    there = {column.name: column for column in present}
    kinds = polars_schema(columns)
    new = [pl.lit(c.absent, dtype=kinds[c.name]).alias(c.name) for c in columns if c.name not in there]
    return new + [pl.col(name).fill_null("") for name, c in there.items() if c.is_text and c.nullable]
