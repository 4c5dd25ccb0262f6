"""Two states of a lake beside each other: what differs in runs and rows, and strips of the sources that changed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake import Lake, products
from skymere.lake.history import difference
from skymere.viewer.report import state_name, write_page
from skymere.viewer.report_html import Html, Section, note, page, paragraph, picture, table
from skymere.viewer.strips import Strip, compare_strips, comparison_figure, source_strips

__all__ = ["LATEST", "changed_sources", "state_of", "write_comparison"]

# The name of the newest state, in place of that of a release or run.
LATEST = "latest"
# Tables whose rows are what people look at; others follow from them or are about the work.
_LOOKED_AT = ("source", "profile", "flux", "redshift", "line", "slit_spectrum")
_LEDGER = ("run", "run_item")


def write_comparison(
    lake: Lake,
    first: str,
    second: str,
    path: str | Path,
    *,
    source_ids: Sequence[int] | None = None,
    n_sources: int = 24,
) -> pl.DataFrame:
    """Write a page that compares two states of a lake; returns what differs between the strips of its sources.

    Parameters
    ----------
    lake : Lake
        The lake.
    first, second : str
        Releases, runs (or their first characters), or ``latest``; of a run the state that `Lake.at_run` gives.
    path : path-like
        The HTML file; it appears whole or not at all.
    source_ids : sequence of int, optional
        Sources to compare; those that changed in most tables when not given.
    n_sources : int, optional
        How many these are at most.

    Returns
    -------
    polars.DataFrame
        As `compare_strips` gives it.

    Raises
    ------
    NotFoundError
        When there is no such release or run, or a source is in neither state.
    InvalidInputError
        When both are the same, or ``n_sources`` is negative.
    StorageError
        When the file cannot be written.
    """
    if first == second or n_sources < 0:
        msg = f"first, second, n_sources: {first!r}, {second!r}, {n_sources} are not allowed, states must differ"
        raise InvalidInputError(msg)
    one, two = (state_of(lake, name) for name in (first, second))
    changed = changed_sources(one, two)
    ids = changed["source_id"].to_list()[:n_sources] if source_ids is None else [int(i) for i in source_ids]
    strips = [_strips(state, ids) for state in (one, two)]
    missing = [i for i in ids if all(i not in some for some in strips)]
    if missing:
        msg = f"source_ids: {missing[0]} is neither in {state_name(one)} nor in {state_name(two)} of {lake.path}"
        raise NotFoundError(msg)
    told = compare_strips(list(strips[0].values()), list(strips[1].values()))
    sections = [
        _run_section(lake, one, two),
        _row_section(one, two),
        _change_section(changed, told),
        _strip_section(ids, strips, (first, second), told),
    ]
    title = f"{Path(str(lake.path)).name}: A = {state_name(one)}, B = {state_name(two)}"
    write_page(path, page(title, sections, lead=[paragraph(f"Lake {lake.path}.")]))
    return told


def state_of(lake: Lake, name: str) -> Lake:
    """Return a lake at a release or as it was with a run, or as it is now (``latest``).

    Parameters
    ----------
    lake : Lake
        The lake.
    name : str
        The state; a release goes before a run of the same name.

    Raises
    ------
    NotFoundError
        When there is no such release and not exactly one such run.
    """
    if name == LATEST:
        return lake
    if name in lake.releases():
        return Lake.open(lake.path, release=name)
    try:
        return lake.at_run(name)
    except NotFoundError as error:
        have = ", ".join([*lake.releases(), LATEST])
        msg = f"{name!r} is no release of {lake.path} ({have}), and as a run: {error}"
        raise NotFoundError(msg) from error


def changed_sources(first: Lake, second: Lake) -> pl.DataFrame:
    """Return the sources whose rows differ between two states, those that differ in most tables first.

    Parameters
    ----------
    first, second : Lake
        The states.

    Returns
    -------
    polars.DataFrame
        ``source_id``, ``n_tables``, and ``what``: tables, each with the change and the columns.
    """
    parts = []
    for name in _LOOKED_AT:
        rows = _differences(first, second, name)
        if rows is None or rows.is_empty():
            continue
        words = pl.concat_str(
            pl.lit(f"{name} "), "change", pl.when(pl.col("columns").list.len() > 0).then(
                pl.concat_str(pl.lit(": "), pl.col("columns").list.head(4).list.join(", "))
            ).otherwise(pl.lit("")),
        )  # fmt: skip
        parts.append(rows.select("source_id", pl.lit(name).alias("table"), words.alias("what")))
    kinds = {"source_id": pl.Int64, "n_tables": pl.Int64, "what": pl.String}
    if not parts:
        return pl.DataFrame(schema=kinds)
    return (
        pl.concat(parts)
        .group_by("source_id")
        .agg(
            pl.col("table").n_unique().cast(pl.Int64).alias("n_tables"),
            pl.col("what").unique(maintain_order=True).head(8).str.join("; ").alias("what"),
        )
        .sort("n_tables", "source_id", descending=[True, False])
    )


def _differences(first: Lake, second: Lake, name: str) -> pl.DataFrame | None:
    """Return the rows of a product that differ, of tiles that show other runs; None where all show the same."""
    live = [state.live_runs(name) for state in (first, second)]
    tiles = sorted(tile for tile in {**live[0], **live[1]} if live[0].get(tile) != live[1].get(tile))
    if not tiles:
        return None
    before, after = (state.table(name).filter(pl.col("tile").is_in(tiles)) for state in (first, second))
    return difference(before, after, first.schema(name))


def _strips(state: Lake, ids: Sequence[int]) -> dict[int, Strip]:
    """Return strips of the sources that a state has."""
    found = {}
    for source_id in ids:
        try:
            (found[source_id],) = source_strips(state, [source_id])
        except NotFoundError:
            continue
    return found


def _run_section(lake: Lake, first: Lake, second: Lake) -> Section:
    """Tell which products of which tiles were made by other runs, and in what these differ."""
    rows: list[dict[str, Any]] = []
    parts: list[Html] = []
    for name in products():
        if name not in _LEDGER:
            one, two = first.live_runs(name), second.live_runs(name)
            tiles = sorted(tile for tile in {**one, **two} if one.get(tile) != two.get(tile))
            rows += [{"product": name, "tile": tile, "A": one.get(tile), "B": two.get(tile)} for tile in tiles]
    kinds = dict.fromkeys(("product", "tile", "A", "B"), pl.String)
    changed = pl.DataFrame(rows, schema=kinds)
    if changed.is_empty():
        return Section(name="runs", title="Runs", parts=[note("Both states show the same runs of all products.")])
    parts.append(table(changed, "Products that were made by other runs"))
    asked = changed.drop_nulls(["A", "B"]).unique("product", keep="first", maintain_order=True).head(12)
    for row in asked.iter_rows(named=True):
        facts = lake.diff_runs(row["A"], row["B"])
        parts.append(table(facts, f"{row['product']} of {row['tile']}: {row['A']} and {row['B']}", most=40))
    return Section(name="runs", title="Runs", parts=parts)


def _row_section(first: Lake, second: Lake) -> Section:
    rows: list[dict[str, Any]] = []
    for name in products():
        found = None if name in _LEDGER else _differences(first, second, name)
        if found is not None:
            counts = {
                change: found.filter(pl.col("change") == change).height for change in ("added", "removed", "changed")
            }
            most = (
                found.explode("columns")
                .drop_nulls("columns")
                .group_by("columns")
                .len()
                .sort("len", "columns", descending=[True, False])
            )
            rows.append({"product": name, **counts, "columns that changed most": ", ".join(most["columns"].head(6))})
    kinds = {
        "product": pl.String,
        "added": pl.Int64,
        "removed": pl.Int64,
        "changed": pl.Int64,
        "columns that changed most": pl.String,
    }
    frame = pl.DataFrame(rows, schema=kinds)
    parts: list[Html] = [table(frame)] if frame.height else [note("No row differs: all tiles show the same runs.")]
    return Section(name="rows", title="Rows", parts=parts)


def _change_section(changed: pl.DataFrame, told: pl.DataFrame) -> Section:
    parts = (
        [table(changed, f"{changed.height} sources changed", most=60)]
        if changed.height
        else [note("No source changed.")]
    )
    states = told.filter(pl.col("state") != "absent").pivot(on="panel", index="source_id", values="state")
    if states.height:
        parts.append(table(states, "Pictures of the sources below"))
    return Section(name="sources", title="Sources", parts=parts)


def _strip_section(
    ids: Sequence[int], strips: Sequence[dict[int, Strip]], names: tuple[str, str], told: pl.DataFrame
) -> Section:
    parts: list[Html] = []
    for source_id in ids:
        one, two = (some.get(source_id) for some in strips)
        changed = told.filter(pl.col("source_id") == source_id, ~pl.col("state").is_in(["same", "absent"]))
        words = "   ".join(
            f"{name}: {strip.words or 'no redshift'}" for name, strip in zip("AB", (one, two), strict=True) if strip
        )
        text = f"{source_id}   {words}   changed: {', '.join(changed['panel']) or 'nothing'}"
        if changed.is_empty():
            parts.append(paragraph(text))
            continue
        figure = comparison_figure(one, two, captions=(f"A {names[0]}", f"B {names[1]}"))
        parts.append(picture(figure, text, dpi=70))
    return Section(name="strips", title="Strips", parts=parts or [note("There is no source to compare.")])
