"""The ledger: rows of ``run_item`` about tasks that published nothing, because they failed or are held.

They stand beside those of single objects, from which `recorded` tells them: it is empty there. Rows are only ever
added, and what is the case now is what the newest says; see `states`.
"""

import json
import socket
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from skymere.errors import FormatError, InvalidInputError
from skymere.lake.checks import check_frame
from skymere.lake.forms import polars_schema, table_dtypes
from skymere.lake.layout import Layout, TableFile
from skymere.lake.pending import Pending
from skymere.lake.tables import Rows, Table

if TYPE_CHECKING:
    from skymere.lake.asking import LakeQueries

__all__ = [
    "Failure",
    "about_objects",
    "canonical",
    "held_now",
    "held_pendings",
    "hold_all",
    "now",
    "record_all",
    "states",
]

_ITEM_CHARACTERS = 64
_STATE = (
    "stage",
    "tile",
    "product",
    "run_id",
    "status",
    "error_class",
    "message",
    "seconds",
    "peak_memory",
    "recorded",
)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A task that raised an error, or whose process died; see `Lake.record_failures`.

    Parameters
    ----------
    stage, tile, product : str
        The task, by its main product.
    inputs : sequence
        What it read, JSON.
    params : mapping
        Its parameters, JSON.
    error_class : str
        Class of the error.
    message : str
        What it says.
    seconds : float, optional
        Time that it took [s].
    peak_memory : float, optional
        Peak memory of its process [MiB].
    """

    stage: str
    tile: str
    product: str
    inputs: Sequence[Any]
    params: Mapping[str, Any]
    error_class: str
    message: str
    seconds: float | None = None
    peak_memory: float | None = None


def record_all(layout: Layout, failures: Iterable[tuple[str, Failure]], *, code_version: str) -> None:
    """Add failures to the ledger in one commit; each comes with the id of its run."""
    host = socket.gethostname()[:64]
    rows = [
        {
            "run_id": run,
            "stage": one.stage,
            "tile": one.tile,
            "product": one.product,
            "status": "failed",
            "error_class": one.error_class[:_ITEM_CHARACTERS],
            "message": one.message,
            "seconds": one.seconds,
            "peak_memory": one.peak_memory,
            "detail": canonical(
                {"inputs": list(one.inputs), "params": dict(one.params), "code_version": code_version, "host": host}
            ),
        }
        for run, one in failures
    ]
    _append(layout, rows)


def hold_all(layout: Layout, pendings: Sequence[Pending]) -> None:
    """Add products that are not to be committed before somebody accepts them, with all that this needs; one commit."""
    reasons: dict[str, list[str]] = {}
    for one in pendings:
        reasons.setdefault(one.task, []).extend([one.hold] if one.hold else [])
    rows = [
        {
            "run_id": one.run,
            "stage": one.stage,
            "tile": one.tile,
            "product": one.product,
            "status": "held",
            "error_class": "",
            "message": "; ".join(reasons[one.task]),
            "seconds": None,
            "peak_memory": None,
            "detail": one.to_json(),
        }
        for one in pendings
    ]
    _append(layout, rows)


def held_now(layout: Layout, file: TableFile, *, product: str, sequence: int, gates: str) -> str:
    """Return why a run is held, when the same gates held it and nothing was published since; empty otherwise.

    Parameters
    ----------
    layout : Layout
        The lake.
    file : TableFile
        Tile and run.
    product : str
        Its product.
    sequence : int
        Number of the next publication of the tile.
    gates : str
        Digest of the gates.
    """
    table = Table(layout, "run_item")
    delta = table.open()
    parts = [part for part in table.live_of(delta, {file.tile}) if part.run == file.run]
    if delta is None or not parts:
        return ""
    mine = (pl.col("run_id") == file.run) & (pl.col("product") == product) & (pl.col("status") == "held")
    newest = table.rows(delta, parts).filter(mine).sort("recorded").select("message", "detail").collect().tail(1)
    for message, detail in newest.iter_rows():
        with suppress(FormatError):
            found = Pending.from_json(detail)
            dataset = Table(layout, product).dataset
            is_there = all((dataset / one.path).is_file() for one in found.rows.files)
            if is_there and (found.sequence, found.gates) == (sequence, gates):
                return str(message)
    return ""


def about_objects(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return the rows of ``run_item`` that are about single objects."""
    return rows.filter(pl.col("recorded") == "")


def states(layout: Layout, lake: "LakeQueries") -> pl.DataFrame:
    """Return the newest state of every task that published, failed or is held; see `Lake.tasks`."""
    runs = lake.table("run").select(
        *("stage", "tile", "product", "run_id", pl.lit("published").alias("status"), pl.lit("").alias("error_class")),
        *(pl.lit("").alias("message"), "seconds", "peak_memory", pl.col("finished").alias("recorded")),
    )
    of_tasks = pl.col("recorded") != "", pl.col("status").is_in(["failed", "held"])
    rows = lake.table("run_item").filter(*of_tasks).collect()
    # A run that was accepted, or made again after another one, shows its rows and has none of its own for it.
    known = set(lake.names())
    shown = _tiles(rows, {name: lake.live_runs(name) if name in known else {} for name in rows["product"].unique()})
    rows = rows.join(shown, on=["product", "tile", "run_id"], how="left").with_columns(
        status=pl.when("is_shown").then(pl.lit("published")).otherwise("status"),
        **{name: pl.when("is_shown").then(pl.lit("")).otherwise(name) for name in ("error_class", "message")},
    )
    is_open = [row["status"] != "held" or _may_be_accepted(layout, row) for row in rows.iter_rows(named=True)]
    everything = pl.concat([rows.filter(pl.Series(is_open, dtype=pl.Boolean)).select(_STATE), runs.collect()])
    newest = everything.sort("recorded", pl.col("status") == "published").group_by("stage", "tile", "product").last()
    return newest.select(*_STATE).sort("stage", "tile", "product")


def held_pendings(layout: Layout, lake: "LakeQueries") -> list[Pending]:
    """Return everything that waits for somebody who accepts it, those of a task in the order of their publication."""
    held = states(layout, lake).filter(pl.col("status") == "held").select("tile", "run_id", "recorded")
    if held.is_empty():
        return []
    rows = lake.table("run_item").filter(pl.col("status") == "held").collect()
    found = rows.join(held, on=["tile", "run_id", "recorded"], how="semi")["detail"]
    return sorted(map(Pending.from_json, found), key=lambda one: (one.stage, one.tile, one.task, one.place))


def _tiles(rows: pl.DataFrame, live: Mapping[str, Mapping[str, str]]) -> pl.DataFrame:
    """Return the runs that tiles show, of the tiles that rows speak of."""
    pairs = rows.select("product", "tile").unique().iter_rows()
    shown = [(product, tile, live[product][tile], True) for product, tile in pairs if tile in live[product]]
    kinds = {"product": pl.String, "tile": pl.String, "run_id": pl.String, "is_shown": pl.Boolean}
    return pl.DataFrame(shown, schema=kinds, orient="row")


def _may_be_accepted(layout: Layout, row: Mapping[str, Any]) -> bool:
    """Whether nothing was published for the tile since a product was held."""
    return Pending.from_json(row["detail"]).sequence == Table(layout, row["product"]).sequence(row["tile"])


def canonical(tree: Any) -> str:
    """Return inputs or parameters as JSON that is the same for equal ones.

    Raises
    ------
    InvalidInputError
        When they are not JSON.
    """
    try:
        return json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        msg = f"inputs or params: {error}; they must be JSON without NaN"
        raise InvalidInputError(msg) from error


def now() -> str:
    """Return the time, UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _append(layout: Layout, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    table = Table(layout, "run_item")
    kinds = table_dtypes("run_item")
    recorded = now()
    wanted: dict[TableFile, tuple[str, Rows]] = {}
    for row in rows:
        file = TableFile("", row["tile"], row["run_id"], uuid.uuid4().hex[:8])
        whole = {**row, "item": f"{row['product']}@{file.attempt}", "recorded": recorded}
        frame = pl.DataFrame([whole], schema=polars_schema(table.schema.expand())).select(list(kinds))
        columns = check_frame(frame, table.schema, tile=file.tile, run=file.run)
        wanted[file] = (f"run_item/{file.tile}/{row['product']}", table.write(frame, columns, file, empty_at=0))
    table.append(wanted)
