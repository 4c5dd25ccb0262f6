"""Where a row comes from: its run, what that run read, and so on down to the files of the exposures."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake.history import rows_of_run

if TYPE_CHECKING:
    from skymere.lake.arrays import ArrayGroup
    from skymere.lake.asking import LakeQueries

__all__ = ["Provenance", "trace"]

EDITS = ("region", "beam_action")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """A run, or a file from outside the lake, and what it was made from.

    Parameters
    ----------
    uri : str
        ``product/tile``, or the file.
    run : str
        Run; empty for a file.
    sha256 : str
        Digest of a file; empty for a run.
    stage, code_version : str
        What was done, by which code.
    params : mapping
        Parameters.
    finished : str
        When, UTC, ISO 8601.
    parent_run : str
        Run whose identifiers were inherited; empty when none.
    arrays : str
        Folder of the arrays inside the lake; empty when the product has none.
    row : mapping
        The row that was asked for; empty below the root.
    notes : tuple of mapping
        What people said of the source of that row: rows of ``note`` that were not withdrawn; empty below the root.
    covering : mapping of str to tuple of str
        For each band, the exposures whose light is in the mosaic's pixel at the position of that row; empty below the
        root, and for rows without a position.
    decisions : tuple of mapping
        Rows of a run of people's decisions, with author and reason; empty for other products.
    inputs : tuple of Provenance
        What was read.
    """

    uri: str
    run: str = ""
    sha256: str = ""
    stage: str = ""
    code_version: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    finished: str = ""
    parent_run: str = ""
    arrays: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[Mapping[str, Any], ...] = ()
    covering: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    decisions: tuple[Mapping[str, Any], ...] = ()
    inputs: tuple["Provenance", ...] = ()

    def walk(self) -> Iterator["Provenance"]:
        """Yield this and everything below, each once."""
        seen: set[tuple[str, str]] = set()
        waiting = [self]
        while waiting:
            node = waiting.pop(0)
            if (node.uri, node.run) not in seen:
                seen.add((node.uri, node.run))
                waiting += node.inputs
                yield node

    @property
    def exposures(self) -> tuple[str, ...]:
        """Exposures of all that was read, sorted; see ``covering`` for those that saw the place of the row."""
        return tuple(sorted(node.uri.partition("/")[2] for node in self.walk() if node.uri.startswith("exposure/")))

    @property
    def files(self) -> tuple["Provenance", ...]:
        """Files from outside the lake, with their digests."""
        return tuple(node for node in self.walk() if not node.run)

    @property
    def edits(self) -> tuple["Provenance", ...]:
        """What people decided: regions and actions on beams; see ``decisions`` of each."""
        return tuple(node for node in self.walk() if node.uri.partition("/")[0] in EDITS)

    def __str__(self) -> str:
        return "\n".join(_lines(self, "", set()))


def _lines(node: Provenance, indent: str, seen: set[tuple[str, str]]) -> Iterator[str]:
    facts = [node.stage, f"run {node.run}" if node.run else f"sha256 {node.sha256[:16]}", node.code_version]
    again = (node.uri, node.run) in seen
    seen.add((node.uri, node.run))
    yield f"{indent}{node.uri}  {', '.join(fact for fact in facts if fact)}{' (see above)' if again else ''}"
    if again:
        return
    if node.params:
        yield f"{indent}    parameters {json.dumps(dict(node.params), sort_keys=True)}"
    if node.arrays:
        yield f"{indent}    arrays {node.arrays}"
    for row in node.decisions:
        yield f"{indent}    {row['author']}, {row['created']}: {row.get('role') or row.get('action')}, {row['reason']}"
    for band, exposures in sorted(node.covering.items()):
        yield f"{indent}    {band} from {len(exposures)} exposures: {', '.join(exposures)}"
    for row in node.notes:
        yield f"{indent}    {row['author']}, {row['created']}: {row['kind']} {row['name']} {row['comment']}"
    for below in node.inputs:
        yield from _lines(below, f"{indent}  ", seen)


def trace(lake: "LakeQueries", name: str, key: Any) -> Provenance:
    """Return the tree of a row; see `Lake.provenance`."""
    columns = lake.schema(name).primary_key
    wanted = key if isinstance(key, Mapping) else {columns[0]: key}
    try:
        condition = pl.all_horizontal(pl.col(column) == value for column, value in wanted.items())
        rows = lake.table(name).filter(condition).head(2).collect()
    except (pl.exceptions.PolarsError, TypeError) as error:
        rule = f"a value of {columns[0]!r} or a mapping of {list(columns)}"
        msg = f"key: {key!r} is not allowed, it must be {rule}: {error}"
        raise InvalidInputError(msg) from error
    if rows.height != 1:
        found = "no row" if rows.is_empty() else "more than one row"
        msg = f"table {name!r}: {found} with {dict(wanted)}; its key is {list(columns)}"
        raise NotFoundError(msg)
    row = rows.row(0, named=True)
    tracer = _Tracer(lake)
    tree = tracer.node(f"{name}/{row['tile']}", row["run_id"], row=row, notes=_notes(lake, name, row))
    return replace(tree, covering=_covering(tracer, tree))


def _covering(tracer: "_Tracer", tree: Provenance) -> dict[str, tuple[str, ...]]:
    """Return the exposures that the contexts of the mosaics name at the position of the row, by band."""
    if tree.row.get("ra") is None or tree.row.get("dec") is None:
        return {}
    found = {}
    for node in tree.walk():
        product, _, tile = node.uri.partition("/")
        if product != "mosaic" or tile != tree.row["tile"] or not node.arrays:
            continue
        arrays = tracer.lake.arrays(product, tile, node.run)
        for mosaic in rows_of_run(tracer.lake, product, tile, node.run):
            context = f"{mosaic['band']}/ctx"
            if context in arrays:
                bits = _at(arrays, context, tree.row["ra"], tree.row["dec"])
                names = json.loads(mosaic["exposure_ids"])
                found[mosaic["band"]] = tuple(
                    name for k, name in enumerate(names) if k // 32 < len(bits) and bits[k // 32] >> k % 32 & 1
                )
    return found


def _at(arrays: "ArrayGroup", path: str, ra: float, dec: float) -> list[int]:
    """Return the values of all planes of an image at a position, none beyond its border."""
    grid = arrays.grid(path)
    x, y = (float(v[0]) for v in grid.pixels(np.array([ra]), np.array([dec])))
    # The other half of the sky has no place on a tangent plane: NaN.
    if not (-0.5 <= y < grid.shape[0] - 0.5 and -0.5 <= x < grid.shape[1] - 0.5):
        return []
    i, j = math.floor(y + 0.5), math.floor(x + 0.5)
    return [int(value) for value in arrays[path][:, i : i + 1, j : j + 1].ravel()]


def _notes(lake: "LakeQueries", name: str, row: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the notes on the source of a row that speak of it, or of the source as such."""
    if row.get("source_id") is None:
        return ()
    mine = (pl.col("source_id") == row["source_id"]) & pl.col("product").is_in(["", name]) & ~pl.col("is_withdrawn")
    return tuple(lake.table("note").filter(mine).sort("created").collect().to_dicts())


class _Tracer:
    """Reads each run once."""

    def __init__(self, lake: "LakeQueries") -> None:
        self.lake = lake
        self.runs = lake.table("run").collect()
        self.done: dict[tuple[str, str], Provenance] = {}

    def node(self, uri: str, run: str, **of_the_root: Any) -> Provenance:
        if (uri, run) in self.done:
            return self.done[uri, run]
        product, _, tile = uri.partition("/")
        found = self.runs.filter(pl.col("run_id") == run, pl.col("product") == product, pl.col("tile") == tile)
        known = found.row(0, named=True) if found.height else None
        made = Provenance(
            uri=uri,
            run=run,
            **of_the_root,
            decisions=self._decisions(product, tile, run),
            arrays=self.lake.array_folder(product, tile, run),
            **({} if known is None else self._described(known)),
        )
        self.done[uri, run] = made
        return made

    def _decisions(self, product: str, tile: str, run: str) -> tuple[Mapping[str, Any], ...]:
        return rows_of_run(self.lake, product, tile, run) if product in EDITS else ()

    def _described(self, known: Mapping[str, Any]) -> dict[str, Any]:
        inputs = [self._input(entry) for entry in json.loads(known["inputs"])]
        same = {name: known[name] for name in ("stage", "code_version", "finished", "parent_run")}
        return {**same, "params": json.loads(known["params"]), "inputs": tuple(inputs)}

    def _input(self, entry: Any) -> Provenance:
        if isinstance(entry, Mapping) and {"uri", "run"} <= set(entry):
            return self.node(entry["uri"], entry["run"])
        if isinstance(entry, Mapping) and "uri" in entry:
            return Provenance(uri=str(entry["uri"]), sha256=str(entry.get("sha256", "")))
        return Provenance(uri=json.dumps(entry))
