"""The lake as it was while a tile showed a run: the versions of all tables at that time."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from skymere.errors import NotFoundError
from skymere.lake.externals import external_table, externals
from skymere.lake.layout import Layout
from skymere.lake.majors import filled
from skymere.lake.schemas import products
from skymere.lake.tables import Table, tables_on_disk

if TYPE_CHECKING:
    from skymere.lake.asking import LakeQueries

__all__ = ["pins_of_run"]

# A product of a tile, and the run that made it.
_Made = tuple[str, str, str]
_Entry = Mapping[str, Any]


def pins_of_run(lake: "LakeQueries", layout: Layout, run: Mapping[str, Any]) -> dict[str, int]:
    """Return the version of each table when the lake last showed a run and all that it was made of.

    Parameters
    ----------
    lake : LakeQueries
        The lake, not opened at a release.
    layout : Layout
        Its files.
    run : mapping
        Row of the run in the table ``run``.

    Raises
    ------
    NotFoundError
        When the log of its product does not name the run.

    Notes
    -----
    A survey that is made again replaces its products one after the other, the first ones first. What a run was made of
    is counted with it, so that its sources are not shown on a segmentation of later.
    """
    logs = dict(_logs(layout))
    rows = lake.table("run").select("run_id", "product", "tile", "inputs").collect()
    mine = (str(run["product"]), str(run["tile"]), str(run["run_id"]))
    begin = _begin(logs, mine)
    if begin is None:
        msg = f"run {mine[2]!r}: no version of {mine[0]!r} names it, what it made was never shown"
        raise NotFoundError(msg)
    runs = {key: set(part["run_id"]) for key, part in rows.group_by("product", "tile")}
    ends = (_end(logs, one, runs.get(one[:2], set())) for one in _ancestors(mine, rows))
    known = [end for end in ends if end is not None]
    # Something that it was made of may have been replaced before it was committed.
    until = None if not known else max(min(known), begin + 1)
    pins = {}
    for key, entries in logs.items():
        version = next((one["version"] for one in entries if until is None or one["timestamp"] < until), None)
        if version is not None:
            pins[key] = int(version)
    return pins


def _logs(layout: Layout) -> Iterator[tuple[str, list[_Entry]]]:
    """Yield the entries of the log of each table, newest first."""
    tables: list[Table] = [one for name in products() for one in filled(tables_on_disk(layout, name))]
    tables += [external_table(layout, name) for name in externals(layout)]
    for table in tables:
        delta = table.open()
        if delta is not None:
            yield table.key, delta.history()


def _entries(logs: Mapping[str, list[_Entry]], product: str) -> list[_Entry]:
    """Return the entries of a product, newest first, those of all its major versions."""
    found = [entry for key, entries in logs.items() if key.partition("/")[0] == product for entry in entries]
    return sorted(found, key=lambda entry: (entry["timestamp"], entry["version"]), reverse=True)


def _runs(entry: _Entry) -> set[str]:
    return set((entry.get("run") or "").split())


def _begin(logs: Mapping[str, list[_Entry]], one: _Made) -> int | None:
    """Return when a run was last committed [ms since 1970]."""
    return next((int(entry["timestamp"]) for entry in _entries(logs, one[0]) if one[2] in _runs(entry)), None)


def _end(logs: Mapping[str, list[_Entry]], one: _Made, runs: set[str]) -> int | None:
    """Return when another run took the place of one [ms since 1970]; None when none has, or the log is silent."""
    after = None
    for entry in _entries(logs, one[0]):
        if one[2] in _runs(entry):
            return after
        if _runs(entry) & runs:
            after = int(entry["timestamp"])
    return None


def _ancestors(one: _Made, rows: pl.DataFrame) -> set[_Made]:
    """Return a run and all runs that it was made of."""
    inputs: dict[str, list[str]] = {}
    for run_id, text in rows.select("run_id", "inputs").iter_rows():
        inputs.setdefault(run_id, []).append(text)
    seen, waiting = {one}, [one]
    while waiting:
        for text in inputs.get(waiting.pop()[2], ()):
            for entry in json.loads(text):
                product, _, tile = str(entry.get("uri", "")).partition("/")
                made = (product, tile, str(entry.get("run", "")))
                if entry.get("run") and made not in seen:
                    seen.add(made)
                    waiting.append(made)
    return seen
