"""What people say of sources, as rows: flags, classes and comments, each of which can be withdrawn."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake.changes import change_rows, check_words
from skymere.lake.forms import table_dtypes

if TYPE_CHECKING:
    from skymere.lake.lake import Lake

__all__ = ["add_note", "note_rows", "withdraw_notes"]

_KINDS = ("flag", "class", "comment")
_NAME_CHARACTERS = 32
# Tables that say which tile a source belongs to, the first that has it.
_HOMES = ("source", "slit_spectrum", "slitlet")


def add_note(
    lake: "Lake",
    source_id: int,
    *,
    author: str,
    kind: str = "comment",
    name: str = "",
    value: float | None = None,
    comment: str = "",
    product: str = "",
) -> pl.DataFrame:
    """Flag a source, give it a class, or write a comment on it.

    Parameters
    ----------
    lake : Lake
        The lake.
    source_id : int
        Which source.
    author : str
        Who.
    kind : str, optional
        ``flag``, ``class`` or ``comment``.
    name : str, optional
        Flag or class, such as ``star`` or ``good_redshift``, at most 32 characters; needed for those two.
    value : float, optional
        Number that goes with it.
    comment : str, optional
        In words; needed for a comment.
    product : str, optional
        Product that it speaks of, such as ``redshift``, as the tile shows it now; empty for the source.

    Returns
    -------
    polars.DataFrame
        The row that was added.

    Raises
    ------
    InvalidInputError
        When a word is missing or not allowed, or the lake was opened at a release.
    NotFoundError
        When no tile of the lake has the source, or the product is not there for its tile.
    ConflictError
        When others change the notes of the tile all the time.

    Examples
    --------
    >>> add_note(lake, 12, author="Ada", kind="flag", name="star")  # doctest: +SKIP
    """
    lake._check_writable()  # noqa: SLF001
    check_words(author=author)
    if kind not in _KINDS:
        msg = f"kind: {kind!r} is not allowed, it must be one of {list(_KINDS)}"
        raise InvalidInputError(msg)
    if len(name) > _NAME_CHARACTERS or (kind != "comment" and not name.strip()):
        msg = f"name: {name!r} is not allowed, a {kind} needs 1 to {_NAME_CHARACTERS} characters"
        raise InvalidInputError(msg)
    if kind == "comment" and not comment.strip():
        msg = "comment: is empty"
        raise InvalidInputError(msg)
    tile = _tile_of(lake, source_id)
    row = {
        "note_id": secrets.token_hex(8),
        "source_id": source_id,
        "kind": kind,
        "name": name.strip(),
        "value": value,
        "comment": comment.strip(),
        "product": product,
        "product_run": lake.live_run(product, tile) if product else "",
        "is_withdrawn": False,
        "author": author.strip(),
    }
    return change_rows(lake, "note", tile, _Addition(row), note_rows)


def withdraw_notes(lake: "Lake", note_ids: Sequence[str], *, author: str) -> pl.DataFrame:
    """Take notes back: their rows stay and say so.

    Parameters
    ----------
    lake : Lake
        The lake.
    note_ids : sequence of str
        Names of notes.
    author : str
        Who takes them back; the run of the change keeps it.

    Returns
    -------
    polars.DataFrame
        Their rows as they are now.

    Raises
    ------
    NotFoundError
        When there is no such note, or it was withdrawn before.
    InvalidInputError
        When the author is empty, or the lake was opened at a release.
    ConflictError
        When others change the notes of the tile all the time.
    """
    lake._check_writable()  # noqa: SLF001
    check_words(author=author)
    rows = note_rows(lake)
    live = rows.filter(~pl.col("is_withdrawn"))
    for name in note_ids:
        if name not in live["note_id"]:
            why = "was withdrawn before" if name in rows["note_id"] else "is not in the lake"
            msg = f"note_id: {name!r} {why}; there are {live['note_id'].to_list()[:20]}"
            raise NotFoundError(msg)
    tiles = live.filter(pl.col("note_id").is_in(list(note_ids)))["tile"].unique(maintain_order=True)
    change = _Withdrawal(tuple(note_ids), author)
    found = [change_rows(lake, "note", tile, change, note_rows) for tile in tiles]
    return pl.concat(found) if found else rows.head(0)


def note_rows(lake: "Lake", tile: str | None = None) -> pl.DataFrame:
    """Return the rows of ``note``, in the order in which they were written.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str, optional
        Only those of this tile.
    """
    table = lake.table("note")
    if tile is not None:
        table = table.filter(pl.col("tile") == tile)
    return table.collect().sort("created", "note_id")


@dataclass(frozen=True)
class _Addition:
    """A new row."""

    row: dict[str, Any]

    def params(self) -> dict[str, Any]:
        """Return what tells this change from others, JSON."""
        digest = hashlib.sha256(json.dumps(self.row, sort_keys=True).encode()).hexdigest()
        return {"note": self.row["note_id"], "author": self.row["author"], "sha256": digest}

    def change(self, old: pl.DataFrame, run_id: str, now: str) -> tuple[pl.DataFrame, pl.DataFrame]:  # noqa: ARG002
        """Return all rows of the tile, and the new one."""
        wanted = {name: kind for name, kind in table_dtypes("note").items() if name not in ("tile", "run_id")}
        new = pl.DataFrame([{**self.row, "created": now}], schema=wanted)
        return pl.concat([old.select(list(wanted)), new]), new


@dataclass(frozen=True)
class _Withdrawal:
    """Rows that say that they were taken back."""

    note_ids: tuple[str, ...]
    author: str

    def params(self) -> dict[str, Any]:
        """Return what tells this change from others, JSON."""
        return {"withdrawn": list(self.note_ids), "author": self.author}

    def change(self, old: pl.DataFrame, run_id: str, now: str) -> tuple[pl.DataFrame, pl.DataFrame]:  # noqa: ARG002
        """Return all rows of the tile, and those that have changed."""
        mine = pl.col("note_id").is_in(list(self.note_ids)) & ~pl.col("is_withdrawn")
        changed = old.with_columns(is_withdrawn=pl.col("is_withdrawn") | mine)
        return changed, changed.filter(old.select(mine.alias("mine"))["mine"])


def _tile_of(lake: "Lake", source_id: int) -> str:
    for product in _HOMES:
        rows = lake.table(product).filter(pl.col("source_id") == source_id).select("tile").head(1).collect()
        if rows.height:
            return str(rows["tile"][0])
    msg = f"source_id: {source_id} is not in {', '.join(_HOMES)}"
    raise NotFoundError(msg)
