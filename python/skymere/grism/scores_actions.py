"""What is left out of beams, by whom and why: made, read from a file, and done to beams again and again."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from skymere.errors import FormatError, InvalidInputError, NoDataError
from skymere.grism.beam import BeamModel
from skymere.grism.multibeam import MultiBeam
from skymere.instruments import ORDER_LETTERS
from skymere.io import exposure_id, read_table

__all__ = ["BEAM_ACTION_BIT", "BeamAction", "actions_table", "apply_beam_actions", "read_beam_actions"]

#: The DQ bit of pixels that an action masks; within the 16 bits that beam files have.
BEAM_ACTION_BIT = 1 << 15

Action = Literal["mask", "omit"]
_LETTERS = {int(sign): letter for sign, letter in ORDER_LETTERS.items()}
_NAMES = {"object": "source_id", "id": "source_id", "exposure": "exposure_id", "grism": "grating"}


@dataclass(frozen=True, kw_only=True)
class BeamAction:
    """A part of beams that a fit leaves out.

    Parameters
    ----------
    source_id : int
        The source.
    exposure_id : str
        The exposure, with or without the end of its file's name (``_flt.fits``); empty for all.
    grating : str
        The grism, lower case; empty for all.
    order : str
        Letter of the order, or its number (``1`` is A); empty for all.
    action : str
        ``mask`` (weight 0 in the range; the data stay) or ``omit`` (the whole beam).
    wavelength_min, wavelength_max : float, optional
        The range [um]; to the end of the beam where not given.
    reason, author : str
        Why, and who decided it.

    Raises
    ------
    InvalidInputError
        When the action is another, the range is empty, or there is no order of that number.
    """

    source_id: int
    exposure_id: str = ""
    grating: str = ""
    order: str = ""
    action: Action = "mask"
    wavelength_min: float | None = None
    wavelength_max: float | None = None
    reason: str = ""
    author: str = ""

    def __post_init__(self) -> None:
        if self.action not in ("mask", "omit"):
            msg = f"action: {self.action!r} is not allowed, it must be 'mask' or 'omit'"
            raise InvalidInputError(msg)
        low, high = self.span
        if not low < high:
            msg = f"wavelength_min, wavelength_max: {low}, {high} are not allowed, the first must be smaller"
            raise InvalidInputError(msg)
        try:
            number = int(self.order.removesuffix(".0"))
        except ValueError:
            return
        if number not in _LETTERS:
            msg = f"order: {self.order!r} is not allowed, it must be a letter or one of {sorted(_LETTERS)}"
            raise InvalidInputError(msg)
        object.__setattr__(self, "order", _LETTERS[number])

    @property
    def span(self) -> tuple[float, float]:
        """The range, infinite where it has no end [um]."""
        low = -np.inf if self.wavelength_min is None else self.wavelength_min
        return low, np.inf if self.wavelength_max is None else self.wavelength_max

    def meets(self, one: BeamModel) -> bool:
        """Whether the action is about a beam."""
        beam = one.beam
        name = (beam.pupil if beam.instrument == "NIRCAM" else beam.grism).lower()
        return (
            self.source_id == beam.source_id
            and exposure_id(self.exposure_id) in ("", exposure_id(beam.parent))
            and self.grating.lower() in ("", name)
            and self.order in ("", beam.order)
        )


def apply_beam_actions(multibeam: MultiBeam, actions: Iterable[BeamAction]) -> MultiBeam:
    """Return beams without what actions leave out.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams of a source.
    actions : iterable of BeamAction
        What is done, in any order; actions for other sources are passed over, and one for this source that meets no
        beam is in ``records``. Done twice they change nothing more.

    Returns
    -------
    MultiBeam
        Masked pixels have the bit `BEAM_ACTION_BIT` and no weight, and keep their data: a datum of 0 with a finite
        error would be a measurement of 0.

    Raises
    ------
    NoDataError
        When no beam is left.
    """
    records, models = list(multibeam.records), []
    some = [one for one in actions if one.source_id == multibeam.source_id]
    records += [
        f"no beam of {', '.join(filter(None, (a.exposure_id, a.grating, a.order)))}: {a.action} by "
        f"{a.author or 'nobody'}: {a.reason}"
        for a in some
        if not any(a.meets(one) for one in multibeam.beams)
    ]
    for one in multibeam.beams:
        mine = [action for action in some if action.meets(one)]
        records += [
            f"{one.beam.label}: {a.action} {a.span[0]:.4f} to {a.span[1]:.4f} um by {a.author or 'nobody'}: {a.reason}"
            for a in mine
        ]
        if any(action.action == "omit" for action in mine):
            continue
        if not mine:
            models.append(one)
            continue
        columns = np.any([(one.wave >= a.span[0]) & (one.wave <= a.span[1]) for a in mine], axis=0)
        dq = np.where(columns, one.beam.dq | np.uint32(BEAM_ACTION_BIT), one.beam.dq).astype(np.uint32)
        models.append(one.with_beam(replace(one.beam, dq=dq)))
    if not models:
        msg = f"actions: all {multibeam.N} beams of source {multibeam.source_id} are left out"
        raise NoDataError(msg)
    return MultiBeam(models, records=records)


def read_beam_actions(path: str | Path) -> list[BeamAction]:
    """Read actions from a table.

    Parameters
    ----------
    path : path-like
        CSV, Parquet or FITS table with a column ``source_id`` (or ``id``, ``object``), and any of ``exposure_id`` (or
        ``exposure``), ``grating`` (or ``grism``), ``order``, ``action``, ``wavelength_min``, ``wavelength_max`` [um],
        ``reason`` and ``author``; empty fields mean all.

    Raises
    ------
    NotFoundError
        When there is no such file.
    FormatError
        When it is no such table; the message names the row.
    """
    table = read_table(path)
    table = table.rename({old: new for old, new in _NAMES.items() if old in table.columns and new not in table.columns})
    known = list(BeamAction.__dataclass_fields__)
    unknown = [name for name in table.columns if name not in known and name not in ("action_id", "created", "beam_id")]
    if "source_id" not in table.columns or unknown:
        msg = f"{path}: columns {table.columns} are not allowed, they must be source_id and some of {known}"
        raise FormatError(msg)
    found = []
    for k, row in enumerate(table.select([name for name in known if name in table.columns]).iter_rows(named=True)):
        words = {name: value for name, value in row.items() if value is not None}
        try:
            found.append(_action(words))
        except (InvalidInputError, ValueError) as error:
            msg = f"{path}, row {k + 1}: {error}"
            raise FormatError(msg) from error
    return found


def _action(words: dict[str, Any]) -> BeamAction:
    """Return the action of a row without its nulls; files tell whole numbers from text by chance."""
    source = words.pop("source_id", None)
    if source is None or (isinstance(source, float) and not source.is_integer()):
        msg = f"source_id: {source} is not allowed, it must be a whole number"
        raise InvalidInputError(msg)
    numbers = ("wavelength_min", "wavelength_max")
    given: dict[str, Any] = {name: float(v) if name in numbers else str(v).strip() for name, v in words.items()}
    return BeamAction(source_id=int(source), **given)


def actions_table(actions: Iterable[BeamAction]) -> pl.DataFrame:
    """Return actions as a table that `read_beam_actions` reads once it is written.

    Parameters
    ----------
    actions : iterable of BeamAction
        The actions.
    """
    names = list(BeamAction.__dataclass_fields__)
    kinds = {name: pl.Float64 if name.startswith("wave") else pl.String for name in names} | {"source_id": pl.Int64}
    rows = [{name: getattr(one, name) for name in names} for one in actions]
    return pl.DataFrame(rows, schema=kinds)
