"""What is done to one source and grating: its slits are read or taken from the lake, and combined."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from skymere.datamodels import Slitlet
from skymere.errors import SkymereError
from skymere.io import Pack, read_slitlets
from skymere.lake import Lake
from skymere.lake.slits import slitlets_of_rows
from skymere.pipeline.slit_plan import SlitsPlan
from skymere.pipeline.slit_units import SlitMember, SlitUnit
from skymere.slit import CombinedSpectrum, SlitGroup, extract_spectra

__all__ = ["UnitResult", "extract_unit", "load_slitlets"]

_Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitResult:
    """What came of a unit.

    Parameters
    ----------
    unit : SlitUnit
        The unit.
    status, message, error_class : str
        ``ok``, ``rejected`` (nothing to combine) or ``failed``, and why; also what was left out of a spectrum.
    spectrum : CombinedSpectrum or None
        The spectrum.
    groups : mapping of str to SlitGroup
        Groups of exposures that were made, whether or not they are in the spectrum.
    members : tuple of str
        Those that are in it, in the order in which its table of pixels counts their exposures.
    slits : mapping of (str, str) to Slitlet
        The slits that were read, by file and name.
    faults : mapping of (str, str) to str
        File and name of slits that could not be read, and why.
    seconds : float
        Time [s].
    """

    unit: SlitUnit
    status: str
    message: str
    error_class: str = ""
    spectrum: CombinedSpectrum | None = None
    groups: Mapping[str, SlitGroup] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    slits: Mapping[_Key, Slitlet] = field(default_factory=dict)
    faults: Mapping[_Key, str] = field(default_factory=dict)
    seconds: float = 0.0


def load_slitlets(lake: Lake, members: Iterable[SlitMember]) -> tuple[dict[_Key, Slitlet], dict[_Key, str]]:
    """Return slits by file and name, and why others cannot be had; what the lake holds is not read again.

    Parameters
    ----------
    lake : Lake
        Slitlets of an earlier run with the digest of the file are as good as the file.
    members : iterable of SlitMember
        Which slits.
    """
    wanted = list(members)
    faults = {(one.path, one.slit_name): one.message for one in wanted if one.message}
    found = _from_lake(lake, [one for one in wanted if not one.message])
    missing: dict[str, list[str]] = {}
    for one in wanted:
        key = (one.path, one.slit_name)
        if key not in found and key not in faults:
            missing.setdefault(one.path, []).append(one.slit_name)
    for path, names in missing.items():
        try:
            read = read_slitlets(path, slits=names)
        except SkymereError:
            # One slit of a file may be at fault.
            for name in names:
                try:
                    (found[path, name],) = read_slitlets(path, slits=[name])
                except SkymereError as error:
                    faults[path, name] = f"{type(error).__name__}: {error}"
            continue
        found |= {(path, name): one for name, one in zip(names, read, strict=True)}
    return found, faults


def _from_lake(lake: Lake, members: Sequence[SlitMember]) -> dict[_Key, Slitlet]:
    """Return the slits of files with these digests that the lake has, under the paths that the files have now."""
    where = {(one.sha256, one.slit_name): one.path for one in members}
    some = pl.col("sha256").is_in(sorted({one.sha256 for one in members}))
    table = lake.table("slitlet").filter(some, pl.col("slitlet_row").is_not_null())
    rows = table.collect()
    asked = [(sha, slit) in where for sha, slit in rows.select("sha256", "slit_name").iter_rows()]
    rows = rows.filter(pl.Series(asked, dtype=pl.Boolean)).unique(["sha256", "slit_name"], maintain_order=True)
    keys = [(where[sha, slit], slit) for sha, slit in rows.select("sha256", "slit_name").iter_rows()]
    return dict(zip(keys, slitlets_of_rows(lake, rows), strict=True))


def extract_unit(
    unit: SlitUnit,
    slits: Mapping[_Key, Slitlet],
    faults: Mapping[_Key, str],
    *,
    plan: SlitsPlan,
    pack: Pack,
) -> UnitResult:
    """Combine the exposures of a unit; whatever is wrong with it is its status.

    Parameters
    ----------
    unit : SlitUnit
        The unit.
    slits : mapping of (str, str) to Slitlet
        Slits by file and name.
    faults : mapping of (str, str) to str
        Those that could not be read.
    plan : SlitsPlan
        How.
    pack : Pack
        Reference files.
    """
    start = time.monotonic()
    mine = {key: slits[key] for one in unit.members if (key := (one.path, one.slit_name)) in slits}
    lost = {key: faults[key] for one in unit.members if (key := (one.path, one.slit_name)) in faults}

    def result(status: str, notes: Sequence[str], **more: Any) -> UnitResult:
        message = "; ".join([*notes, *lost.values()])
        seconds = time.monotonic() - start
        return UnitResult(unit=unit, status=status, message=message, slits=mine, faults=lost, seconds=seconds, **more)

    if not mine:
        return result("failed", [], error_class="NoDataError")
    try:
        found = extract_spectra(list(mine.values()), pack=pack, **plan.arguments())
    except (SkymereError, np.linalg.LinAlgError) as error:
        return result("failed", [str(error)], error_class=type(error).__name__)
    notes = [
        f"{group}: {status}: {message}"
        for group, status, message in found.status.select("group", "status", "message").iter_rows()
        if status != "ok"
    ]
    if not found.spectra:
        failed = (found.status["status"] == "failed").any()
        kind = "NoDataError" if not failed else "SkymereError"
        return result("failed" if failed else "rejected", notes, error_class=kind, groups=found.groups)
    ((name, spectrum),) = found.spectra.items()
    return result("ok", notes, spectrum=spectrum, groups=found.groups, members=found.members[name])
