"""What people decide about the profile of a source, as rows that every later fit of the tile replays."""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake.changes import change_rows, check_words, retract
from skymere.lake.forms import table_dtypes
from skymere.regions import Region, format_regions

if TYPE_CHECKING:
    from skymere.lake.lake import Lake

__all__ = ["add_profile_edit", "profile_edit_rows", "retract_profile_edits", "stored_profile_edits"]

_ACTIONS = ("refit", "choose")


def add_profile_edit(
    lake: "Lake",
    source_id: int,
    *,
    author: str,
    reason: str,
    action: str = "refit",
    kind: str = "",
    start: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    fixed: Sequence[str] = (),
    components: Sequence[Mapping[str, Any]] = (),
    neighbours: Sequence[int] = (),
    is_alone: bool = False,
    mask: Sequence[Region] = (),
    from_attempt: int | None = None,
    band: str = "",
) -> pl.DataFrame:
    """Add to a lake how the profile of a source is to be fitted again; the next run of the plan does it.

    Parameters
    ----------
    lake : Lake
        The lake.
    source_id : int
        Which source.
    author, reason : str
        Who, and why.
    action : str, optional
        ``refit``, or ``choose``: make the attempt ``from_attempt`` the best one again.
    kind : str, optional
        Kind of profile; that of the attempt it starts from when empty.
    start : mapping of str to float, optional
        Start values by name of the parameter, on the sky: ``ra, dec`` [deg], ``flux`` [uJy], ``r_eff`` [arcsec],
        ``sersic_index``, ``ellipticity``, ``pa_sky`` [deg].
    bounds : mapping of str to (float, float), optional
        Lowest and highest values of parameters, in the same units.
    fixed : sequence of str, optional
        Parameters that are held.
    components : sequence of mapping, optional
        Components of a sum of profiles, each with ``kind``, ``start``, ``bounds``, ``fixed``.
    neighbours : sequence of int, optional
        Sources that are fitted with it, instead of those that the fit finds.
    is_alone : bool, optional
        Fit it without any other, whose models stay as they are.
    mask : sequence of Region, optional
        Regions on the sky whose pixels the fit must not use.
    from_attempt : int, optional
        Attempt that it starts from; the best one when not given.
    band : str, optional
        Band of the profiles; that of the plan when empty.

    Returns
    -------
    polars.DataFrame
        The row that was added.

    Raises
    ------
    InvalidInputError
        When a word is empty, the action is another, or nothing is to be changed.
    NotFoundError
        When no tile of the lake has the source.
    ConflictError
        When others change the rows of the tile all the time.
    """
    check_words(author=author, reason=reason)
    if action not in _ACTIONS:
        msg = f"action: {action!r} is not allowed, it must be one of {list(_ACTIONS)}"
        raise InvalidInputError(msg)
    if action == "choose" and from_attempt is None:
        msg = "from_attempt: is missing, it must be the attempt that is chosen"
        raise InvalidInputError(msg)
    if is_alone and neighbours:
        msg = f"neighbours: {list(neighbours)} are not allowed for a source that is fitted alone"
        raise InvalidInputError(msg)
    if any(region.frame == "image" for region in mask):
        msg = "mask: pixels alone do not say where on the sky; regions must be on the sky"
        raise InvalidInputError(msg)
    row = {
        "edit_id": secrets.token_hex(4),
        "source_id": source_id,
        "band": band,
        "action": action,
        "kind": kind,
        "start": json.dumps(dict(start or {})),
        "bounds": json.dumps({name: list(pair) for name, pair in (bounds or {}).items()}),
        "fixed": json.dumps(list(fixed)),
        "components": json.dumps([dict(one) for one in components]) if components else "",
        "neighbours": json.dumps(list(neighbours)) if neighbours or is_alone else "",
        "mask_regions": format_regions(list(mask)) if mask else "",
        "from_attempt": from_attempt,
        "author": author,
        "reason": reason,
    }
    return change_rows(lake, "profile_edit", _tile_of(lake, source_id), _Addition(row), profile_edit_rows)


def retract_profile_edits(lake: "Lake", edit_ids: Sequence[str], *, author: str, reason: str) -> pl.DataFrame:
    """Take edits of profiles back: their rows stay and say so, and later fits go without them.

    Parameters
    ----------
    lake : Lake
        The lake.
    edit_ids : sequence of str
        Names of edits.
    author, reason : str
        Who, and why.

    Raises
    ------
    NotFoundError
        When there is no such edit, or it was taken back before.
    InvalidInputError
        When author or reason are empty.
    """
    return retract(lake, "profile_edit", edit_ids, profile_edit_rows, author=author, reason=reason)


def profile_edit_rows(lake: "Lake", tile: str | None = None) -> pl.DataFrame:
    """Return the rows of ``profile_edit``, in the order in which they were made.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str, optional
        Only those of this tile.
    """
    table = lake.table("profile_edit")
    if tile is not None:
        table = table.filter(pl.col("tile") == tile)
    return table.collect().sort("tile", "sequence")


def stored_profile_edits(lake: "Lake", tile: str, band: str) -> pl.DataFrame:
    """Return the edits that a fit of a tile replays: those of its band that were not taken back, in their order.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str
        The tile.
    band : str
        Band of the profiles.
    """
    rows = profile_edit_rows(lake, tile)
    return rows.filter(~pl.col("is_retracted"), pl.col("band").is_in(["", band]))


@dataclass(frozen=True)
class _Addition:
    """A new row for a tile."""

    row: Mapping[str, Any]

    def params(self) -> dict[str, Any]:
        digest = hashlib.sha256(json.dumps(dict(self.row), sort_keys=True).encode()).hexdigest()
        return {"edit": self.row["edit_id"], "author": self.row["author"], "sha256": digest}

    def change(self, old: pl.DataFrame, run_id: str, now: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return all rows of the tile, and the one that is new."""
        wanted = {name: dtype for name, dtype in table_dtypes("profile_edit").items() if name not in ("tile", "run_id")}
        blank = {"is_retracted": False, "retracted_by": "", "retracted": "", "retracted_why": ""}
        sequence = 1 + int(cast("int", old["sequence"].max() or 0))
        row = {**self.row, **blank, "sequence": sequence, "created": now, "changed_run": run_id}
        new = pl.DataFrame([row], schema=wanted)
        return pl.concat([old.select(list(wanted)), new]), new


def _tile_of(lake: "Lake", source_id: int) -> str:
    rows = lake.table("source").filter(pl.col("source_id") == source_id).select("tile").collect()
    if rows.is_empty():
        msg = f"source_id: {source_id} is not a source of the lake"
        raise NotFoundError(msg)
    return str(rows["tile"][0])
