"""What people leave out of beams, as rows that every later fit of a source replays."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from skymere.errors import NotFoundError, SkymereError
from skymere.lake.beams import multibeams_of_rows, order_number
from skymere.lake.changes import change_rows, check_words, retract
from skymere.lake.forms import table_dtypes

if TYPE_CHECKING:
    from skymere.grism import BeamAction, BeamParams, MultiBeam
    from skymere.lake.asking import LakeQueries
    from skymere.lake.lake import Lake

__all__ = ["add_beam_actions", "beam_action_rows", "edited_beams", "retract_beam_actions"]

_WORDS = ("source_id", "exposure_id", "grating", "action", "wavelength_min", "wavelength_max", "author", "reason")


def add_beam_actions(
    lake: "Lake", actions: "Iterable[BeamAction]", *, author: str = "", reason: str = ""
) -> pl.DataFrame:
    """Add to a lake what is left out of beams; `Lake.beams` and the next run of the plan do it.

    Parameters
    ----------
    lake : Lake
        The lake.
    actions : iterable of BeamAction
        What is masked or left out, whose ``source_id`` are those of the lake; such as `read_beam_actions` reads them
        from a parameter file. Actions that are there already change nothing, those that were taken back count again.
    author, reason : str, optional
        Who, and why, of actions that do not say it.

    Returns
    -------
    polars.DataFrame
        The rows that are new.

    Raises
    ------
    NotFoundError
        When the lake has no beam of a source; nothing is added then.
    InvalidInputError
        When an action has no author or reason, or the lake was opened at a release.
    ConflictError
        When others change the rows of a tile all the time.
    """
    lake._check_writable()  # noqa: SLF001
    some = [replace(one, author=one.author or author, reason=one.reason or reason) for one in actions]
    for one in some:
        check_words(author=one.author, reason=one.reason)
    tiles = _tiles(lake, [one.source_id for one in some])
    by_tile: dict[str, list[dict[str, Any]]] = {}
    for one in some:
        by_tile.setdefault(tiles[one.source_id], []).append(_row(one))
    live = set(lake.table("beam_action").filter(~pl.col("is_retracted")).select("action_id").collect()["action_id"])
    added = [
        change_rows(lake, "beam_action", tile, _Addition(tuple(rows)), beam_action_rows)
        for tile, rows in by_tile.items()
        if any(row["action_id"] not in live for row in rows)
    ]
    return pl.concat(added) if added else pl.DataFrame(schema=table_dtypes("beam_action"))


def retract_beam_actions(lake: "Lake", action_ids: Sequence[str], *, author: str, reason: str) -> pl.DataFrame:
    """Take actions back: their rows stay and say so, and later fits go without them.

    Parameters
    ----------
    lake : Lake
        The lake.
    action_ids : sequence of str
        Names of actions.
    author, reason : str
        Who, and why.

    Raises
    ------
    NotFoundError
        When there is no such action, or it was taken back before.
    InvalidInputError
        When author or reason are empty.
    """
    return retract(lake, "beam_action", action_ids, beam_action_rows, author=author, reason=reason, key="action_id")


def beam_action_rows(lake: "LakeQueries", tile: str | None = None) -> pl.DataFrame:
    """Return the rows of ``beam_action``, by name.

    Parameters
    ----------
    lake : LakeQueries
        The lake.
    tile : str, optional
        Only those of this tile.
    """
    table = lake.table("beam_action")
    if tile is not None:
        table = table.filter(pl.col("tile") == tile)
    return table.with_columns(pl.col("is_retracted").fill_null(value=False)).collect().sort("action_id")


def edited_beams(
    lake: "LakeQueries",
    rows: pl.DataFrame,
    *,
    params: "BeamParams | None" = None,
    has_actions: bool = True,
    batch: int = 32,
) -> "Iterator[tuple[int, MultiBeam | SkymereError]]":
    """Yield the beams of sources with all actions done that were not taken back, some sources at a time.

    Parameters
    ----------
    lake : LakeQueries
        The lake.
    rows : polars.DataFrame
        Rows of the table ``beam``.
    params : BeamParams, optional
        Masks, weights and the operator; those that were stored when not given.
    has_actions : bool, optional
        Whether actions are done.
    batch : int, optional
        Sources that are read together.

    Yields
    ------
    int
        The source, in rising order.
    MultiBeam or SkymereError
        Its beams, or why there are none.
    """
    parts = rows.sort("source_id").partition_by("source_id", maintain_order=True)
    for first in range(0, len(parts), batch):
        some = parts[first : first + batch]
        ids = [int(part["source_id"][0]) for part in some]
        actions = _stored_actions(lake, ids) if has_actions else {}
        found = _read(lake, some, params)
        for source_id in ids:
            yield source_id, _edited(found[source_id], actions.get(source_id, []))


def _read(
    lake: "LakeQueries", parts: Sequence[pl.DataFrame], params: "BeamParams | None"
) -> "dict[int, MultiBeam | SkymereError]":
    """Return the beams of sources by source; one that cannot be read does not stop the others."""
    try:
        return {**multibeams_of_rows(lake, pl.concat(parts), params=params)}
    except SkymereError as error:
        if len(parts) == 1:
            return {int(parts[0]["source_id"][0]): error}
    found: dict[int, MultiBeam | SkymereError] = {}
    for part in parts:
        found |= _read(lake, [part], params)
    return found


def _edited(found: "MultiBeam | SkymereError", rows: "Sequence[BeamAction]") -> "MultiBeam | SkymereError":
    if isinstance(found, SkymereError) or not rows:
        return found
    from skymere.grism import apply_beam_actions

    try:
        # Beams are called by their label.
        return apply_beam_actions(found, [replace(one, source_id=found.source_id) for one in rows])
    except SkymereError as error:
        return error


def _stored_actions(lake: "LakeQueries", sources: Sequence[int]) -> "dict[int, list[BeamAction]]":
    from skymere.grism import BeamAction

    rows = lake.table("beam_action").filter(pl.col("source_id").is_in(list(sources))).sort("action_id").collect()
    found: dict[int, list[BeamAction]] = {}
    for row in rows.iter_rows(named=True):
        if not row["is_retracted"]:
            words = {name: row[name] for name in _WORDS}
            found.setdefault(row["source_id"], []).append(BeamAction(**words | {"order": row["order_name"] or ""}))
    return found


def _row(one: "BeamAction") -> dict[str, Any]:
    words = asdict(one) | {"grating": one.grating.lower()}
    text = json.dumps({name: words[name] for name in sorted(words) if name != "reason"})
    return {name: words[name] for name in _WORDS} | {
        "action_id": hashlib.sha256(text.encode()).hexdigest()[:32],
        "order": order_number(one.order) if one.order else None,
        "order_name": one.order,
        "beam_id": None,
    }


@dataclass(frozen=True)
class _Addition:
    """New rows for a tile."""

    rows: tuple[dict[str, Any], ...]

    def params(self) -> dict[str, Any]:
        return {"actions": sorted(row["action_id"] for row in self.rows)}

    def change(self, old: pl.DataFrame, run_id: str, now: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return all rows of the tile, and those that are new."""
        wanted = {name: kind for name, kind in table_dtypes("beam_action").items() if name not in ("tile", "run_id")}
        blank = {"is_retracted": False, "retracted_by": "", "retracted": "", "retracted_why": ""}
        live = set(old.filter(~pl.col("is_retracted"))["action_id"].to_list())
        fresh = {row["action_id"]: row for row in self.rows if row["action_id"] not in live}
        new = pl.DataFrame(
            [{**row, **blank, "created": now, "changed_run": run_id} for row in fresh.values()], schema=wanted
        )
        kept = old.filter(~pl.col("action_id").is_in(list(fresh))).select(list(wanted))
        return pl.concat([kept, new]), new


def _tiles(lake: "LakeQueries", sources: Sequence[int]) -> dict[int, str]:
    """Return the tile of each source."""
    rows = lake.table("beam").filter(pl.col("source_id").is_in(sorted(set(sources)))).select("source_id", "tile")
    found = dict(rows.unique().collect().iter_rows())
    for one in sources:
        if one not in found:
            msg = f"source_id: the lake has no beam of {one}"
            raise NotFoundError(msg)
    return found
