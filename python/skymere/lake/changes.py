"""What people decide, as rows: added and taken back one change at a time, whoever else does the same."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from skymere.errors import ConflictError, InvalidInputError, NotFoundError
from skymere.lake.forms import table_dtypes

if TYPE_CHECKING:
    from skymere.lake.lake import Lake

__all__ = ["Change", "Retraction", "change_rows", "check_words", "retract"]

_ATTEMPTS = 8
RowsOf = Callable[["Lake", str | None], pl.DataFrame]


class Change(Protocol):
    """A change of the rows of a tile."""

    def params(self) -> dict[str, Any]:
        """Return what tells this change from others, JSON."""

    def change(self, old: pl.DataFrame, run_id: str, now: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return all rows of the tile after it, and those that are new or have changed."""


@dataclass(frozen=True)
class Retraction:
    """Rows of a tile that say that they were taken back."""

    edit_ids: tuple[str, ...]
    author: str
    reason: str
    key: str = "edit_id"

    def params(self) -> dict[str, Any]:
        """Return what tells this change from others, JSON."""
        return {"retracted": list(self.edit_ids), "author": self.author, "reason": self.reason}

    def change(self, old: pl.DataFrame, run_id: str, now: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return all rows of the tile, and those that have changed."""
        mine = pl.col(self.key).is_in(list(self.edit_ids)) & ~pl.col("is_retracted")
        words = {
            "is_retracted": pl.lit(value=True),
            "retracted_by": pl.lit(self.author),
            "retracted": pl.lit(now),
            "retracted_why": pl.lit(self.reason),
            "changed_run": pl.lit(run_id),
        }
        changed = old.with_columns(
            pl.when(mine).then(value).otherwise(pl.col(name)).alias(name) for name, value in words.items()
        )
        return changed, changed.filter(old.select(mine.alias("mine"))["mine"])


def change_rows(lake: "Lake", product: str, tile: str, change: Change, rows_of: "RowsOf") -> pl.DataFrame:
    """Change the rows of a tile; returns those that changed. When somebody else was quicker, it is done again.

    Parameters
    ----------
    lake : Lake
        The lake.
    product : str
        A product without arrays.
    tile : str
        The tile.
    change : Change
        What to do.
    rows_of : callable
        Gives the rows of a tile, in the form of today.

    Raises
    ------
    ConflictError
        When others change the rows all the time.
    """
    for _ in range(_ATTEMPTS - 1):
        with suppress(ConflictError):
            return _change_once(lake, product, tile, change, rows_of)
    return _change_once(lake, product, tile, change, rows_of)


def _change_once(lake: "Lake", product: str, tile: str, change: Change, rows_of: "RowsOf") -> pl.DataFrame:
    live = lake.live_runs(product).get(tile)
    inputs = [] if live is None else [{"uri": f"{product}/{tile}", "run": live}]
    with lake.run(stage="edit", tile=tile, product=product, inputs=inputs, params=change.params()) as run:
        old = rows_of(lake, tile)
        if run.live != live or set(old["run_id"]) - {live}:
            msg = f"{product}: somebody changed tile {tile!r} at the same time; try again"
            raise ConflictError(msg)
        everything, changed = change.change(old, run.id, _after(old))
        run.publish(everything.drop("tile", "run_id", strict=False))
        return changed.with_columns(tile=pl.lit(tile), run_id=pl.lit(run.id)).select(list(table_dtypes(product)))


def _after(old: pl.DataFrame) -> str:
    """Return now, or just after the last change: the order of changes is that of their times."""
    now = datetime.now(UTC)
    names = [name for name in ("created", "retracted") if name in old.columns]
    times = [text for name in names for text in old[name].to_list() if text]
    with suppress(ValueError):
        now = max([now, *(datetime.fromisoformat(text) + timedelta(milliseconds=1) for text in times)])
    return now.isoformat(timespec="milliseconds")


def retract(
    lake: "Lake",
    product: str,
    edit_ids: Sequence[str],
    rows_of: "RowsOf",
    *,
    author: str,
    reason: str,
    key: str = "edit_id",
) -> pl.DataFrame:
    """Take edits back: their rows stay and say so; returns them as they are now.

    Parameters
    ----------
    lake : Lake
        The lake.
    product : str
        A product of edits.
    edit_ids : sequence of str
        Names of edits.
    rows_of : callable
        Gives the rows of a tile, or of all.
    author, reason : str
        Who, and why.
    key : str, optional
        Column with the names of edits.

    Raises
    ------
    NotFoundError
        When there is no such edit, or it was taken back before.
    InvalidInputError
        When author or reason are empty, or the lake was opened at a release.
    """
    check_words(author=author, reason=reason)
    change = Retraction(tuple(edit_ids), author, reason, key)
    tiles = _tiles_of(rows_of(lake, None), edit_ids, key)
    return pl.concat([change_rows(lake, product, tile, change, rows_of) for tile in tiles])


def _tiles_of(rows: pl.DataFrame, edit_ids: Sequence[str], key: str) -> list[str]:
    """Return the tiles of edits that can be taken back.

    Raises
    ------
    NotFoundError
        When there is no such edit, or it was taken back before.
    """
    live = rows.filter(~pl.col("is_retracted"))
    for name in edit_ids:
        if live.filter(pl.col(key) == name).is_empty():
            gone = not rows.filter(pl.col(key) == name).is_empty()
            why = "was taken back before" if gone else "is not in the lake"
            msg = f"{key}: {name!r} {why}; there are {live[key].unique(maintain_order=True).to_list()}"
            raise NotFoundError(msg)
    return live.filter(pl.col(key).is_in(list(edit_ids)))["tile"].unique(maintain_order=True).to_list()


def check_words(**words: str) -> None:
    """Raise an error when somebody does not say who they are, or why."""
    for name, word in words.items():
        if not word.strip():
            msg = f"{name}: is empty; an edit says who made it and why"
            raise InvalidInputError(msg)
