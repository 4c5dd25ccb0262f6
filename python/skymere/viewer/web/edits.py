"""What people decide while they look: edits of segments, actions on beams, notes; each can be taken back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from skymere.errors import InvalidInputError
from skymere.grism import BeamAction
from skymere.lake import (
    REPLAYED,
    add_beam_actions,
    add_note,
    add_regions,
    region_rows,
    replay_outcomes,
    retract_beam_actions,
    retract_edits,
    withdraw_notes,
)
from skymere.regions import Circle, Point, Polygon, Region
from skymere.viewer.web.answers import plain
from skymere.viewer.web.reading import LakeReader

__all__ = ["CHANGES", "Editor"]

_KINDS = {kind: role for role, kind in REPLAYED.items()}
_MOST_SHAPES = 200
_SHOWN = ("edit_id", "tile", "role", "band", "author", "reason", "created", "status", "message", "is_retracted")


class Editor:
    """Changes a lake in the name of somebody.

    Parameters
    ----------
    reader : LakeReader
        The lake.
    author : str, optional
        Who, when a change does not say it.
    """

    def __init__(self, reader: LakeReader, *, author: str = "") -> None:
        self._reader = reader
        self.author = author

    def edits(self, tile: str = "") -> list[dict[str, Any]]:
        """Return the edits of segments, the newest first, with what came of each when its tile was last detected."""
        lake = self._reader.lake
        rows = region_rows(lake, tile or None)
        first = rows.group_by("edit_id", maintain_order=True).agg(
            *(pl.first(name) for name in _SHOWN if name != "edit_id"), n_regions=pl.len()
        )
        outcomes: dict[tuple[str, str], str] = {}
        for name in sorted(set(rows["tile"]) & set(self._reader.runs("segmentation"))):
            outcomes |= {(name, one.edit_id): one.status for one in replay_outcomes(lake, name)}
        found = [
            {**row, "replayed": outcomes.get((row["tile"], row["edit_id"]), "")} for row in first.iter_rows(named=True)
        ]
        shown: list[dict[str, Any]] = plain(sorted(found, key=lambda row: row["created"], reverse=True))
        return shown

    def add_edit(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Merge, split, draw, delete or mask segments.

        Parameters
        ----------
        change : mapping
            ``kind``: merge, split, draw, delete or mask; ``shapes``: points ``{"at": [ra, dec]}``, circles with a
            ``radius_arcsec`` or polygons ``{"vertices": [[ra, dec], ...]}``; ``reason``; ``author`` and ``band``,
            optional.

        Raises
        ------
        InvalidInputError
            When something is missing or not allowed.
        NotFoundError
            When no tile owns the place.
        NoDataError
            When there is no segment to act on.
        """
        kind = _text(change, "kind")
        if kind not in _KINDS:
            msg = f"kind: {kind!r} is not allowed, it must be one of {list(_KINDS)}"
            raise InvalidInputError(msg)
        given = change.get("shapes")
        if not isinstance(given, list) or not 1 <= len(given) <= _MOST_SHAPES:
            msg = f"shapes: must be a list of 1 to {_MOST_SHAPES}"
            raise InvalidInputError(msg)
        shapes = [_shape(one) for one in given]
        groups: list[Sequence[Region]] = [shapes] if kind in ("merge", "split") else [[shape] for shape in shapes]
        rows = add_regions(
            self._reader.lake,
            _KINDS[kind],
            groups,
            author=self._author(change),
            reason=_text(change, "reason"),
            band=_text(change, "band", optional=True),
            is_strict=kind not in ("mask", "draw"),
        )
        self._reader.forget()
        return {
            "edits": plain(rows.select("edit_id", "tile", "role", "status", "before", "after", "message").to_dicts())
        }

    def undo_edit(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Take edits back: ``edit_ids`` and ``reason``, optional.

        Raises
        ------
        NotFoundError
            When there is no such edit, or it was taken back before.
        """
        names = _texts(change, "edit_ids")
        reason = _text(change, "reason", optional=True) or "taken back in the viewer"
        rows = retract_edits(self._reader.lake, names, author=self._author(change), reason=reason)
        self._reader.forget()
        return {"edits": plain(rows.select("edit_id", "is_retracted").unique(maintain_order=True).to_dicts())}

    def mask_beam(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Leave wavelengths of a source's beams out of every later fit.

        Parameters
        ----------
        change : mapping
            ``source_id``; ``grating``; ``wavelength_min, wavelength_max`` [um]; ``exposure_id``, optional; ``reason``.

        Raises
        ------
        InvalidInputError
            When something is missing or not allowed.
        NotFoundError
            When the source has no beam.
        """
        low, high = (_number(change, name) for name in ("wavelength_min", "wavelength_max"))
        action = BeamAction(
            source_id=source_of(change),
            action="mask",
            author=self._author(change),
            reason=_text(change, "reason"),
            exposure_id=_text(change, "exposure_id", optional=True),
            grating=_text(change, "grating", optional=True),
            wavelength_min=low,
            wavelength_max=high,
        )
        rows = add_beam_actions(self._reader.lake, [action])
        self._reader.forget()
        return {"action_ids": rows["action_id"].to_list()}

    def undo_beam(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Take actions on beams back: ``action_ids`` and ``reason``, optional.

        Raises
        ------
        NotFoundError
            When there is no such action, or it was taken back before.
        """
        names = _texts(change, "action_ids")
        reason = _text(change, "reason", optional=True) or "taken back in the viewer"
        rows = retract_beam_actions(self._reader.lake, names, author=self._author(change), reason=reason)
        self._reader.forget()
        return {"action_ids": rows["action_id"].to_list()}

    def note(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Flag a source or write a comment on it: ``source_id``, ``kind``, ``name``, ``comment``; see `add_note`.

        Raises
        ------
        InvalidInputError
            When something is missing or not allowed.
        NotFoundError
            When no tile has the source.
        """
        rows = add_note(
            self._reader.lake,
            source_of(change),
            author=self._author(change),
            kind=_text(change, "kind"),
            name=_text(change, "name", optional=True),
            comment=_text(change, "comment", optional=True),
        )
        self._reader.forget()
        return {"note_ids": rows["note_id"].to_list()}

    def undo_note(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Withdraw notes: ``note_ids``.

        Raises
        ------
        NotFoundError
            When there is no such note, or it was withdrawn before.
        """
        rows = withdraw_notes(self._reader.lake, _texts(change, "note_ids"), author=self._author(change))
        self._reader.forget()
        return {"note_ids": rows["note_id"].to_list()}

    def _author(self, change: Mapping[str, Any]) -> str:
        return _text(change, "author", optional=True) or self.author


CHANGES: Mapping[str, Callable[[Editor, Mapping[str, Any]], dict[str, Any]]] = {
    "edit": Editor.add_edit,
    "edit/undo": Editor.undo_edit,
    "beam": Editor.mask_beam,
    "beam/undo": Editor.undo_beam,
    "note": Editor.note,
    "note/undo": Editor.undo_note,
}


def source_of(change: Mapping[str, Any]) -> int:
    """Return the source of a change; identifiers are texts, since JavaScript keeps 53 bits of a number.

    Raises
    ------
    InvalidInputError
        When there is none.
    """
    text = _text(change, "source_id")
    try:
        return int(text)
    except ValueError as error:
        msg = f"source_id: {text[:40]!r} is not allowed, it must be a whole number"
        raise InvalidInputError(msg) from error


def _shape(given: Any) -> Region:
    rule = "at: [ra, dec] with or without radius_arcsec, or vertices: [[ra, dec], ...]"
    try:
        if "vertices" in given:
            return Polygon(vertices=tuple((float(ra), float(dec)) for ra, dec in given["vertices"]))
        ra, dec = (float(value) for value in given["at"])
        if given.get("radius_arcsec") is not None:
            return Circle(centre=(ra, dec), radius=float(given["radius_arcsec"]))
        return Point(centre=(ra, dec))
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"shapes: {given!r:.80} is not allowed, it must have {rule}"
        raise InvalidInputError(msg) from error
    except ValueError as error:
        msg = f"shapes: {given!r:.80}: {error}"
        raise InvalidInputError(msg) from error


def _text(change: Mapping[str, Any], name: str, *, optional: bool = False) -> str:
    value = change.get(name, "" if optional else None)
    if value is None and optional:
        return ""
    if not isinstance(value, str) or not (optional or value.strip()):
        msg = f"{name}: {value!r:.60} is not allowed, it must be a text{'' if optional else ' that is not empty'}"
        raise InvalidInputError(msg)
    return value.strip()


def _texts(change: Mapping[str, Any], name: str) -> list[str]:
    value = change.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        msg = f"{name}: {value!r:.60} is not allowed, it must be a list of texts"
        raise InvalidInputError(msg)
    return value


def _number(change: Mapping[str, Any], name: str) -> float:
    value = change.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{name}: {value!r:.60} is not allowed, it must be a number"
        raise InvalidInputError(msg)
    return float(value)
