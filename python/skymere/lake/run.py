"""Publication: the only way to write to a lake.

The steps are: stage (arrays in a private folder), seal (manifest, move to the final place), rows (Parquet files that
nobody sees yet), commit (one entry of the table's log makes them visible), record (the row of the run). A crash at
any place leaves either the old state or the new one; running the same task again finishes what is missing. With
``defer`` the last two are left to `Lake.commit`, which does them for many tiles at once.
"""

import hashlib
import json
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError, SchemaError
from skymere.lake.arrays import MANIFEST, ArrayGroup, GroupWriter, is_sealed, open_metadata, size_of_group
from skymere.lake.checks import check_frame, with_index
from skymere.lake.committing import BESIDE, commit_all, record
from skymere.lake.files import renew, storage
from skymere.lake.forms import polars_schema
from skymere.lake.gates import Gate, digest_of_gates, reason_to_hold
from skymere.lake.layout import Layout, TableFile, check_name
from skymere.lake.ledger import canonical, held_now, now
from skymere.lake.majors import check_stored
from skymere.lake.metering import Meter, peak_memory
from skymere.lake.open_arrays import OpenArray
from skymere.lake.pending import Pending, Staged
from skymere.lake.schemas import Column, Schema
from skymere.lake.stores import Place
from skymere.lake.tables import Outcome, Rows, Table
from skymere.lake.tiles import TileSet

__all__ = ["EVENTS", "Run", "run_id"]

# A profile and its model lie where the fit puts them, which may be across a border: the source decides whose they are.
_FITTED_PLACES = frozenset({"profile", "model"})
EVENTS = ("staged", "sealed", "rows_written", "committed", "recorded")


def run_id(*, stage: str, tile: str, inputs: Sequence[Any], params: Mapping[str, Any], code_version: str) -> str:
    """Return the id of a piece of work: the same inputs, parameters and code have the same id everywhere.

    Parameters
    ----------
    stage, tile : str
        What is done, and where.
    inputs : sequence
        What is read, JSON.
    params : mapping
        Parameters, JSON.
    code_version : str
        Version of the code.

    Notes
    -----
    First 16 hexadecimal digits of sha256 over canonical JSON (sorted keys, no spaces).
    """
    tree = {"inputs": list(inputs), "params": dict(params), "code": code_version, "stage": stage, "tile": tile}
    return hashlib.sha256(canonical(tree).encode()).hexdigest()[:16]


class Run:
    """One piece of work on one tile; a context manager, made by `Lake.run`.

    Attributes
    ----------
    id : str
        See `run_id`.
    already : bool
        Whether the tile shows the rows of this very run, so that there is nothing to do.
    live : str or None
        Run whose rows the tile showed when this one was opened.
    held : str
        Why this very run waits for somebody who accepts it, so that there is nothing to do; empty when it does not.
    pending : Pending or None
        What it has published when its commit was deferred.
    pendings : list of Pending
        The same of all products of the work, in the order of their publication; see `beside`.
    """

    def __init__(
        self,
        layout: Layout,
        tiles: TileSet,
        *,
        stage: str,
        tile: str,
        product: str,
        inputs: Sequence[Any],
        params: Mapping[str, Any],
        code_version: str,
        on_event: Callable[[str], None] | None,
        schema: Schema | None = None,
        defer: bool = False,
        gates: Sequence[Gate] = (),
        main: "Run | None" = None,
    ) -> None:
        self.stage = check_name("stage", stage)
        self.tile = check_name("tile", tile)
        self.product = product
        self.code_version = code_version
        self.inputs, self.params = list(inputs), dict(params)
        self.id = run_id(stage=stage, tile=tile, inputs=inputs, params=params, code_version=code_version)
        if gates and not defer:
            msg = "gates: they are not allowed without defer=True, since a task is held with all of its products"
            raise InvalidInputError(msg)
        self._layout, self._tiles = layout, tiles
        self._table = Table(layout, product, schema)
        for table in (self._table, *(Table(layout, name) for name in BESIDE)):
            check_stored(table)
        self._owner = tiles[tile] if self._table.schema.is_positional else None
        self._on_event = on_event or (lambda _: None)
        self._group: GroupWriter | None = None
        self._file = TableFile("", tile, self.id, uuid.uuid4().hex[:8])
        self._warnings: list[str] = []
        self._counts: dict[str, int] = {}
        self._defer, self._gates = defer, tuple(gates)
        self._task: str = main._task if main else self._file.attempt  # noqa: SLF001
        self.held = ""
        self.pending: Pending | None = None
        self.pendings: list[Pending] = main.pendings if main else []

    def __enter__(self) -> Self:
        self._started, self._meter = now(), Meter()
        self._seq, live = self._table.state_of(self.tile)
        self.live = live.run if live else None
        self.already = self.live == self.id
        if live:
            record(self._layout, self.product, live)
        if not self.already and self._gates:
            gates = digest_of_gates(self._gates)
            self.held = held_now(self._layout, self._file, product=self.product, sequence=self._seq, gates=gates)
        if not self.already:
            self._renew()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._group is not None:
            self._group.drop()

    @property
    def sealed(self) -> bool:
        """Whether the arrays of this run are in their place, from an attempt that ended before its commit."""
        with storage(self._folder):
            return is_sealed(self._folder)

    def write(
        self,
        path: str,
        array: ArrayLike | Iterator[NDArray[Any]],
        *,
        n_rows: int | None = None,
        dims: Sequence[str] | None = None,
        unit: str | None = None,
        lossy: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Write an array of the product; it becomes visible with `publish`.

        Parameters
        ----------
        path : str
            Place inside the group, such as ``f140w/sci``.
        array : array_like, or iterator of ndarray
            Values, of the dtype and number of axes that the schema says. An iterator gives them in parts along the
            first axis, so that memory need not hold more than a shard (at most 128 MiB) and a part.
        n_rows : int, optional
            Length of the first axis; needed with an iterator of more than one part.
        dims : sequence of str, optional
            Names of the axes, to be compared with the schema.
        unit : str, optional
            FITS unit; needed where the schema leaves it open.
        lossy : {None, "quantise", "weight7"}, optional
            Rounding before compression, where the schema allows it: to a power of two at most 1/16 of the noise
            (the exponents go to the array ``qexp`` beside this one), or to 7 bits.
        attributes : mapping, optional
            More attributes, JSON without NaN.

        Raises
        ------
        SchemaError
            When the array is not what the schema says.
        StorageError
            When it cannot be written.
        """
        if self.sealed:
            return
        names = None if dims is None else tuple(dims)
        more = attributes or {}
        values = array if isinstance(array, Iterator) else np.asarray(array)
        self._writer().write(path, values, n_rows=n_rows, dims=names, unit=unit, lossy=lossy, attributes=more)

    def open(
        self, path: str, shape: Sequence[int], *, unit: str | None = None, attributes: Mapping[str, Any] | None = None
    ) -> OpenArray:
        """Begin an array of the product that is written window by window, whose last two axes are rows and columns.

        Parameters
        ----------
        path, unit, attributes
            As in `write`.
        shape : sequence of int
            Lengths of the axes.

        Returns
        -------
        OpenArray
            Windows are written into it and read from it; so memory need not hold more than one.

        Raises
        ------
        SchemaError
            When the array is not what the schema says.
        StorageError
            When it cannot be written.
        """
        lengths, more = tuple(int(n) for n in shape), attributes or {}
        if self.sealed:
            metadata = open_metadata(self._table.schema, path, lengths, unit=unit, attributes=more)
            return OpenArray(self._layout.staging, metadata, sealed=ArrayGroup(self._folder)[path])
        return OpenArray(*self._writer().open(path, lengths, unit=unit, attributes=more))

    def annotate(self, group: str, attributes: Mapping[str, Any]) -> None:
        """Add attributes (JSON without NaN) to a group inside the product; ``""`` is the group itself."""
        if not self.sealed:
            self._writer().annotate(group, attributes)

    def warn(self, message: str) -> None:
        """Keep a warning in the row of the run."""
        self._warnings.append(message)

    def count(self, *, n_items: int | None = None, n_pixels: int | None = None) -> None:
        """Say how much was worked on, for the row of the run, from which the cost of other runs is foretold.

        Parameters
        ----------
        n_items : int, optional
            Objects: exposures, sources, slits; rows of ``run_item``, or else of the product, when not given.
        n_pixels : int, optional
            Pixels; elements of all arrays that were written when not given.
        """
        given = {"n_items": n_items, "n_pixels": n_pixels}
        self._counts |= {name: value for name, value in given.items() if value is not None}

    def beside(self, product: str) -> "Run":
        """Return the run of another product of the same work; it is deferred, looked at and held with this one.

        Parameters
        ----------
        product : str
            The other product; its parameters are those of this run and its name.
        """
        return Run(
            self._layout,
            self._tiles,
            stage=self.stage,
            tile=self.tile,
            product=product,
            inputs=self.inputs,
            params=self.params | {"product": product},
            code_version=self.code_version,
            on_event=None,
            defer=self._defer,
            gates=self._gates,
            main=self,
        )

    def frame(self, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        """Return rows as a table with the columns and types of the product; what they lack is null, or empty text.

        Parameters
        ----------
        rows : sequence of mapping
            Column name to value.

        Raises
        ------
        SchemaError
            When a row has a column that the schema does not know, or a value of another type.
        """
        columns = self._table.schema.expand()
        schema = polars_schema(columns)
        unknown = sorted({key for row in rows for key in row} - set(schema))
        if unknown:
            msg = f"{self._table.schema.name}: column {unknown[0]}: not in the schema, which has {list(schema)}"
            raise SchemaError(msg)
        filled = {"tile": self.tile, "run_id": self.id, "stage": self.stage}
        blank = {c.name: "" for c in columns if c.is_text}
        known = {name: value for name, value in filled.items() if name in schema}
        try:
            return pl.DataFrame([blank | known | dict(row) for row in rows], schema=schema).fill_nan(None)
        except (TypeError, pl.exceptions.PolarsError) as error:
            msg = f"{self._table.schema.name}: the rows do not fit the schema: {error}"
            raise SchemaError(msg) from error

    def fit(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return a table with exactly the columns and types of the product.

        Columns that the schema does not know are left out, nullable ones that are missing are null, numbers are cast,
        and NaN, which sorts before every number and spoils sums, is null.

        Parameters
        ----------
        frame : polars.DataFrame
            Rows; ``tile``, ``run_id`` and ``_healpix_29`` may be missing, `publish` fills them in.
        """
        columns = self._table.schema.expand(self._table.schema.bands(frame.columns))
        schema = polars_schema(columns)
        filled = {"tile", "run_id", "_healpix_29"}
        wanted = [
            (pl.col(c.name) if c.name in frame.columns else pl.lit(c.absent if c.nullable else None))
            .cast(schema[c.name])
            .alias(c.name)
            for c in columns
            if c.name in frame.columns or c.name not in filled
        ]
        return frame.select(wanted).fill_nan(None)

    def publish(
        self,
        frame: pl.DataFrame,
        *,
        items: pl.DataFrame | None = None,
        alias: pl.DataFrame | None = None,
        parent_run: str | None = None,
    ) -> Outcome:
        """Make the arrays and rows of this run those of the tile.

        Parameters
        ----------
        frame : polars.DataFrame
            All rows of the tile; ``tile``, ``run_id`` and ``_healpix_29`` are filled in where they are missing.
        items : polars.DataFrame, optional
            Rows of ``run_item``: how it went for single objects.
        alias : polars.DataFrame, optional
            Rows of ``alias``, from `Lake.identify`.
        parent_run : str, optional
            Run whose identifiers were inherited.

        Returns
        -------
        str
            ``published``, or ``already`` when the tile shows this run; ``pending`` when the commit was deferred: all is
            written, sealed and checked, and waits in `pending` for `Lake.commit`.

        Raises
        ------
        SchemaError
            When a table does not match its schema; the lake is unchanged.
        ConflictError
            When another run has published the tile since this one was opened.
        StorageError
            When the lake cannot be written.
        """
        columns, main = self._prepared(self._table, frame)
        prepared = {}
        for name, rows in (("run_item", items), ("alias", alias)):
            if rows is not None and rows.height:
                table = Table(self._layout, name)
                prepared[name] = self._prepared(table, _completed(rows, table.schema))
        n_items = items.height if items is not None and items.height else frame.height
        run_row = self._prepared(Table(self._layout, "run"), self._run_row(frame.height, n_items, parent_run))
        hold = reason_to_hold(self._gates, self._table.schema, main)
        size = self._seal()
        written = [(self._table, self._write(self._table, main, columns))]
        for name, (its_columns, its_rows) in prepared.items():
            table = Table(self._layout, name)
            written.append((table, self._write(table, its_rows, its_columns)))
        written.append(self._write_run(run_row, size, written))
        self._on_event("rows_written")
        staged = [_staged(table, rows) for table, rows in written]
        self.pending = Pending(
            product=self.product,
            stage=self.stage,
            tile=self.tile,
            run=self.id,
            attempt=self._file.attempt,
            task=self._task,
            place=len(self.pendings),
            sequence=self._seq,
            rows=staged[0],
            beside=tuple(staged[1:]),
            hold=hold,
            gates=digest_of_gates(self._gates),
        )
        self.pendings.append(self.pending)
        if self._defer:
            return "pending"
        (answer,) = commit_all(self._layout, [self.pending], on_event=self._on_event)
        if isinstance(answer, Exception):
            raise answer
        self.already = True
        return answer

    @property
    def _folder(self) -> Place:
        return self._layout.arrays(self.product, self.tile, self.id)

    def _writer(self) -> GroupWriter:
        if self._group is None:
            provenance = {
                "schema": self.product,
                "schema_version": self._table.schema.version_text,
                "run": self.id,
                "stage": self.stage,
                "tile": self.tile,
                "code_version": self.code_version,
                "config_sha256": hashlib.sha256(canonical(self.params).encode()).hexdigest(),
                "inputs": self.inputs,
            }
            self._group = GroupWriter(self._layout.staging, self._table.schema, provenance)
        return self._group

    def _renew(self) -> None:
        """Make sealed arrays young again, so that the garbage collector leaves them to this attempt."""
        renew(self._folder / MANIFEST)

    def _seal(self) -> tuple[int, int]:
        """Bring the arrays to their place; returns their bytes and elements."""
        if not self._table.schema.arrays:
            return 0, 0
        if not self.sealed:
            writer = self._writer()
            self._on_event("staged")
            writer.seal(self._folder, self.id)
            self._group = None
        self._on_event("sealed")
        return size_of_group(self._folder)

    def _prepared(self, table: Table, frame: pl.DataFrame) -> tuple[Any, pl.DataFrame]:
        known = {"tile": self.tile, "run_id": self.id, "stage": self.stage}
        names = {column.name for column in table.schema.columns}
        fill = [pl.lit(v).alias(k) for k, v in known.items() if k in names and k not in frame.columns]
        filled = frame.with_columns(fill)
        frame = with_index(filled, table.schema)
        is_placed = frame.width > filled.width
        columns = check_frame(frame, table.schema, tile=self.tile, run=self.id, is_placed=is_placed)
        if table is self._table and self._owner is not None and self.product not in _FITTED_PLACES:
            owned = self._owner.owns(frame["ra"].to_numpy(), frame["dec"].to_numpy())
            if not owned.all():
                row = int(np.flatnonzero(~owned)[0])
                place = f"ra {frame['ra'][row]}, dec {frame['dec'][row]}"
                msg = f"{table.schema.name}: column ra: row {row} at {place} does not belong to tile {self.tile!r}"
                raise SchemaError(msg)
        return columns, frame

    def _write(self, table: Table, frame: pl.DataFrame, columns: Any) -> Rows:
        empty_at = self._owner.healpix29 if self._owner is not None else 0
        return table.write(frame, columns, self._file, empty_at=empty_at, is_synced=False)

    def _write_run(
        self, prepared: tuple[Any, pl.DataFrame], size: tuple[int, int], written: Sequence[tuple[Table, Rows]]
    ) -> tuple[Table, Rows]:
        """Write the row of the run, which says what all before it has cost."""
        columns, row = prepared
        n_bytes = size[0] + sum((table.dataset / path).stat().st_size for table, rows in written for path in rows.paths)
        spent = {
            "finished": now(),
            "seconds": self._meter.seconds,
            "cpu_seconds": self._meter.cpu_seconds,
            "peak_memory": peak_memory(),
            "bytes_read": self._meter.bytes_read,
            "bytes_written": n_bytes,
            "n_pixels": self._counts.get("n_pixels", size[1]),
        }
        row = row.with_columns(pl.lit(value, row.schema[name]).alias(name) for name, value in spent.items())
        table = Table(self._layout, "run")
        return table, self._write(table, row, columns)

    def _run_row(self, n_rows: int, n_items: int, parent_run: str | None) -> pl.DataFrame:
        row = {
            "product": self.product,
            "schema": self._table.schema.name,
            "status": "published",
            "parent_run": parent_run or "",
            "n_rows": n_rows,
            "n_items": self._counts.get("n_items", n_items),
            "inputs": canonical(self.inputs),
            "params": canonical(self.params),
            "code_version": self.code_version,
            "warnings": json.dumps(self._warnings),
            "started": self._started,
            "finished": self._started,
            "seconds": 0.0,
            "host": socket.gethostname()[:64],
            "attempt": self._file.attempt,
        }
        schema = Table(self._layout, "run").schema
        kinds = polars_schema(schema.expand())
        return _completed(pl.DataFrame([row], schema={name: kinds[name] for name in row}), schema)


def _staged(table: Table, rows: Rows) -> Staged:
    bands = table.schema.bands(column.name for column in rows.columns)
    return Staged(table.schema.product, table.schema.version_text, bands, table.facts(rows))


def _completed(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Return rows with what they lack of the columns that may be missing: null, or empty text."""
    kinds = polars_schema(schema.expand())
    optional: list[Column] = [column for column in schema.columns if column.nullable]
    new = [pl.lit(c.absent, kinds[c.name]).alias(c.name) for c in optional if c.name not in frame.columns]
    texts = [pl.col(c.name).fill_null("") for c in optional if c.is_text and c.name in frame.columns]
    return frame.with_columns(*new, *texts)
