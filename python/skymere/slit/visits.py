"""Exposures of a source as groups: by what their headers say, and by rules for visits where these do not say all."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from io import BytesIO
from pathlib import Path
from typing import Self

import polars as pl

from skymere.datamodels import Slitlet
from skymere.errors import FormatError, NotFoundError
from skymere.io import read_slitlets

__all__ = ["GRATINGS", "VisitRule", "split_visit_groups", "visit_rules"]

GRATINGS = ("PRISM", "G395H", "G395M", "G235M", "G235H", "G140M", "G140H")
_COLUMNS = ("program", "exposures", "source", "rule")


@dataclass(frozen=True, kw_only=True)
class VisitRule:
    """What holds for the exposures of one program.

    Parameters
    ----------
    program : str
        Number of the program.
    exposures : str
        How the names of the exposures begin; empty for all.
    source : str
        Name of the source; empty for all.
    rule : str
        ``exclude``: they are left out. Otherwise a group is made two: ``alternate of N``, every other exposure in the
        order of their names; ``first M of N``; ``activities A B of N``, those of the named activities (the second part
        of the exposure's name) and the others. Only groups of a multiple of N exposures are split.

    Raises
    ------
    FormatError
        When the rule is none of these.
    """

    program: str
    exposures: str = ""
    source: str = ""
    rule: str = "exclude"

    def __post_init__(self) -> None:
        words = self.rule.split()
        is_split = len(words) >= 3 and words[-2] == "of" and words[-1].isdigit() and int(words[-1]) > 0
        kinds = {
            "exclude": len(words) == 1,
            "alternate": is_split and len(words) == 3,
            "first": is_split and len(words) == 4 and words[1].isdigit(),
            "activities": is_split and len(words) > 3,
        }
        if not words or not kinds.get(words[0], False):
            msg = f"rule: {self.rule!r} of program {self.program} is not allowed, it must be one of "
            msg += "'exclude', 'alternate of N', 'first M of N', 'activities A B of N'"
            raise FormatError(msg)

    @classmethod
    def from_table(cls, table: pl.DataFrame) -> tuple[Self, ...]:
        """Return the rules of a table.

        Parameters
        ----------
        table : polars.DataFrame
            Texts ``program``, ``exposures``, ``source``, ``rule``; other columns are for people.

        Raises
        ------
        FormatError
            When a column is missing, or a rule is not known.
        """
        if missing := [name for name in _COLUMNS if name not in table.columns]:
            msg = f"rules: columns {missing} are missing, the table has {table.columns}"
            raise FormatError(msg)
        rows = table.select(pl.col(_COLUMNS).cast(pl.String).fill_null("")).iter_rows(named=True)
        return tuple(cls(**row) for row in rows)

    def holds_for(self, one: Slitlet) -> bool:
        """Return whether an exposure is one of those that are meant.

        Parameters
        ----------
        one : Slitlet
            The exposure.
        """
        is_program = one.exposure.program.lstrip("0") == self.program.lstrip("0")
        is_exposure = one.exposure.exposure_id.startswith(self.exposures)
        return is_program and is_exposure and self.source in ("", one.source.name)

    def first_part(self, slits: Sequence[Slitlet]) -> list[bool] | None:
        """Return which exposures of a group are in the first of its two parts; None when it is not split.

        Parameters
        ----------
        slits : sequence of Slitlet
            The group, sorted.
        """
        words = self.rule.split()
        if words[0] == "exclude" or len(slits) % int(words[-1]) or not all(self.holds_for(one) for one in slits):
            return None
        if words[0] == "alternate":
            return [k % 2 == 0 for k in range(len(slits))]
        if words[0] == "first":
            return [k < int(words[1]) for k in range(len(slits))]
        return [any(f"_{name}_" in one.exposure.exposure_id for name in words[1:-2]) for one in slits]


def visit_rules(path: str | Path | None = None) -> tuple[VisitRule, ...]:
    """Return the rules of a table of comma-separated values.

    Parameters
    ----------
    path : path-like, optional
        The table; that of the package when not given, which holds the exceptions of msaexp 0.9.19 that go by program.

    Raises
    ------
    NotFoundError
        When there is no such file.
    FormatError
        When it is something else.
    """
    source = package_files("skymere.instruments") / "nirspec_visits.csv" if path is None else Path(path)
    if not source.is_file():
        msg = f"{source}: no such file"
        raise NotFoundError(msg)
    table = pl.read_csv(BytesIO(source.read_bytes()), infer_schema=False)
    return VisitRule.from_table(table)


def split_visit_groups(
    files: Sequence[str | Path | Slitlet],
    *,
    gratings: Sequence[str] | None = GRATINGS,
    exclude: Sequence[str] = (),
    rules: Sequence[VisitRule] = (),
) -> dict[str, list[Slitlet]]:
    """Return exposures grouped by visit, detector, slit, grating and filter, as their headers say.

    Parameters
    ----------
    files : sequence of path-like or Slitlet
        Exposures; of files with several slits all are read.
    gratings : sequence of str, optional
        Which gratings; all when None.
    exclude : sequence of str
        Names of exposures that are left out.
    rules : sequence of VisitRule
        Exposures that are left out, and groups that are made two, ``a`` and ``b``; the first that holds for a group is
        taken. ``visit_rules()`` has those of msaexp.

    Returns
    -------
    dict of str to list of Slitlet
        By ``visit_detector_slit_source-grating-filter`` in lower case, both sorted.

    Raises
    ------
    NotFoundError, StorageError, FormatError, InvalidInputError
        When a file cannot be read.
    """
    wanted = None if gratings is None else {one.upper() for one in gratings}
    bad = [rule for rule in rules if rule.rule == "exclude"]
    groups: dict[str, list[Slitlet]] = {}
    for file in files:
        for one in [file] if isinstance(file, Slitlet) else read_slitlets(file):
            exposure = one.exposure
            if (wanted is not None and exposure.grating.upper() not in wanted) or exposure.exposure_id in exclude:
                continue
            if any(rule.holds_for(one) for rule in bad):
                continue
            parts = (exposure.visit or exposure.program, exposure.detector, one.place.slit_name, one.source.name)
            key = "_".join(part for part in parts if part) + f"-{exposure.grating}-{exposure.filter}"
            groups.setdefault(key.lower(), []).append(one)
    out: dict[str, list[Slitlet]] = {}
    for key in sorted(groups):
        slits = sorted(groups[key], key=lambda one: (one.exposure.exposure_id, one.path))
        split = next((part for rule in rules if (part := rule.first_part(slits)) is not None), None)
        if split is None:
            out[key] = slits
            continue
        name, grating, filter_name = key.rsplit("-", 2)
        for letter, is_first in (("a", True), ("b", False)):
            if members := [one for one, first in zip(slits, split, strict=True) if first is is_first]:
                out[f"{name}{letter}-{grating}-{filter_name}"] = members
    return out
