"""Which exposures of slits belong together, what their sources are called, and in which batches they are worked on."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from skymere.errors import NotFoundError, SkymereError
from skymere.io import SlitEntry, file_digest, list_slits
from skymere.lake import Lake
from skymere.lake.sky import healpix29
from skymere.pipeline.slit_plan import SlitsPlan

__all__ = [
    "SlitMember",
    "SlitUnit",
    "batches",
    "find_units",
    "own_tile",
    "short_name",
    "slit_files",
    "source_ids",
    "stable_id",
]

_NAME_LENGTH = 64


@dataclass(frozen=True, kw_only=True)
class SlitMember:
    """A slit of a file.

    Parameters
    ----------
    path : str
        The file.
    slit_name : str
        The slit; empty for a file that cannot be read.
    exposure_id : str
        The exposure.
    sha256 : str
        Digest of the file; empty when it cannot be read.
    message : str
        Why it is left out: the file cannot be read, or another has the same slit; empty when it is not.
    """

    path: str
    slit_name: str
    exposure_id: str
    sha256: str
    message: str = ""

    @property
    def told_apart(self) -> tuple[str, ...]:
        """What is a part of its identity when it is left out: its file, since what it says may be another's."""
        return (self.path,) if self.message else ()


@dataclass(frozen=True, kw_only=True)
class SlitUnit:
    """One source in one grating.

    Parameters
    ----------
    source_name : str
        As the observers call it; the name of a file that cannot be read.
    source_id : int
        Identifier in the lake.
    ra, dec : float
        Its place [deg]; NaN for slits of sky.
    grating, filter : str
        Lower case.
    members : tuple of SlitMember
        Its slits, ordered by exposure.
    """

    source_name: str
    source_id: int
    ra: float
    dec: float
    grating: str
    filter: str
    members: tuple[SlitMember, ...]

    @property
    def name(self) -> str:
        """Source, grating and filter, at most 64 characters."""
        return short_name("-".join(part for part in (self.source_name, self.grating, self.filter) if part))


def short_name(text: str) -> str:
    """Return a text that fits into a column of 64 characters: a long one ends with its digest."""
    if len(text) <= _NAME_LENGTH:
        return text
    return f"{text[: _NAME_LENGTH - 9]}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def stable_id(*parts: str) -> int:
    """Return a number from 1 to 2^62 that follows from a text alone."""
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 2) + 1


def slit_files(patterns: Sequence[str], folder: Path, *, key: str = "slits.files") -> list[Path]:
    """Return files, those of folders, and those that patterns match, sorted and each once.

    Parameters
    ----------
    patterns : sequence of str
        Files, folders or glob patterns. A name without wildcard need not exist: that it does not is its status.
    folder : Path
        Where relative ones begin.
    key : str, optional
        Key of the plan, for errors.

    Raises
    ------
    NotFoundError
        When a pattern matches nothing, or a folder has no FITS file.
    """
    files: set[Path] = set()
    for pattern in patterns:
        if any(character in pattern for character in "*?["):
            base = Path(Path(pattern).anchor or folder)
            relative = str(Path(*Path(pattern).parts[1:])) if Path(pattern).is_absolute() else pattern
            found = [path.resolve() for path in base.glob(relative) if path.is_file()]
        elif (path := (folder / pattern).resolve()).is_dir():
            found = [one for ending in ("*.fits", "*.fits.gz") for one in path.glob(ending)]
        else:
            found = [path]
        if not found:
            msg = f"{key}: {pattern!r} matches no file below {folder.resolve()}"
            raise NotFoundError(msg)
        files.update(found)
    return sorted(files)


def find_units(plan: SlitsPlan, folder: Path, lake: Lake) -> list[SlitUnit]:
    """Return the units of a plan, ordered by name; headers are read, neither pixels nor coordinates.

    Parameters
    ----------
    plan : SlitsPlan
        The section.
    folder : Path
        Where relative paths begin.
    lake : Lake
        Its sources lend their identifiers.

    Raises
    ------
    NotFoundError
        When a pattern matches nothing.
    """
    wanted = {one.lower() for one in plan.gratings}
    groups: dict[tuple[str, str, str], list[tuple[SlitEntry, SlitMember]]] = {}
    faults: dict[str, SlitUnit] = {}
    seen: dict[tuple[str, str, str], Path] = {}
    for path in slit_files(plan.files, folder):
        try:
            entries, digest = list_slits(path), file_digest(path)
        except SkymereError as error:
            name = short_name(path.name if path.name not in faults else str(path))
            faults[name] = _fault(name, path, str(error))
            continue
        for entry in entries:
            key = (entry.source_name, entry.grating.lower(), entry.filter.lower())
            if (wanted and key[1] not in wanted) or entry.exposure_id in plan.exclude:
                continue
            first = seen.setdefault((entry.exposure_id, entry.slit_name, entry.source_name), path)
            member = SlitMember(
                path=str(path),
                slit_name=entry.slit_name,
                exposure_id=entry.exposure_id,
                sha256=digest,
                message="" if first == path else f"the same slit of the same exposure is in {first}",
            )
            groups.setdefault(key, []).append((entry, member))
    places: dict[str, tuple[float, float]] = {}
    for (name, _, _), found in sorted(groups.items()):
        places.setdefault(name, (found[0][0].ra, found[0][0].dec))
    ids = source_ids(lake, places, plan.match_radius_arcsec)
    units = [
        SlitUnit(
            source_name=name,
            source_id=ids[name],
            ra=places[name][0],
            dec=places[name][1],
            grating=grating,
            filter=filter_name,
            members=tuple(sorted((m for _, m in found), key=lambda one: (one.exposure_id, one.path))),
        )
        for (name, grating, filter_name), found in sorted(groups.items())
    ]
    return [*units, *faults.values()]


def _fault(name: str, path: Path, message: str) -> SlitUnit:
    nowhere = float("nan")
    try:
        digest = file_digest(path)
    except SkymereError:
        digest = ""
    member = SlitMember(path=str(path), slit_name="", exposure_id=path.name[:64], sha256=digest, message=message)
    return SlitUnit(
        source_name=name,
        source_id=-stable_id(name),
        ra=nowhere,
        dec=nowhere,
        grating="",
        filter="",
        members=(member,),
    )


def source_ids(lake: Lake, places: Mapping[str, tuple[float, float]], radius_arcsec: float) -> dict[str, int]:
    """Return the identifier of each source: that of the lake's nearest, else one that follows from its place.

    Parameters
    ----------
    lake : Lake
        Its sources lend their identifiers.
    places : mapping of str to (float, float)
        Right ascension and declination by name [deg]; NaN for slits of sky.
    radius_arcsec : float
        A source of the lake is not farther away [arcsec].

    Notes
    -----
    Slits of sky have no source; their numbers are negative and follow from their names.
    """
    ids = {name: -stable_id(name) for name, (ra, dec) in places.items() if not math.isfinite(ra + dec)}
    seen = {name: place for name, place in places.items() if name not in ids}
    if not seen:
        return ids
    frame = pl.DataFrame(
        {"name": list(seen), "ra": [ra for ra, _ in seen.values()], "dec": [dec for _, dec in seen.values()]}
    )
    if radius_arcsec > 0:
        near = lake.crossmatch("source", frame, radius_arcsec=radius_arcsec).sort("separation_arcsec", "source_id")
        matched = near.select("name", "source_id").unique("name", keep="first", maintain_order=True).collect()
        ids |= dict(matched.iter_rows())
    fresh = frame.filter(~pl.col("name").is_in(list(ids)))
    index = healpix29(fresh["ra"].to_numpy(), fresh["dec"].to_numpy()) if fresh.height else np.zeros(0, np.int64)
    known = lake.table("source").select("source_id").filter(pl.col("source_id").is_in(index.tolist())).collect()
    taken = {*ids.values(), *known["source_id"].to_list()}
    for name, place in zip(fresh["name"].to_list(), index.tolist(), strict=True):
        chosen = place
        while chosen in taken:
            chosen += 1
        taken.add(chosen)
        ids[name] = chosen
    return ids


def batches(units: Sequence[SlitUnit], size: int) -> dict[str, tuple[SlitUnit, ...]]:
    """Return units in batches by the name that stands for their tile in the lake.

    Parameters
    ----------
    units : sequence of SlitUnit
        All of them.
    size : int
        How many a batch holds at most, about.

    Notes
    -----
    There are 2^k batches, and the name of a source alone says in which it is: sources that come or go change their
    own batch, and the others are done already, unless k changes: then all are made anew, from the files, since those of
    before are taken back first so that no slit is in the lake twice. A source with all its gratings is in one batch.
    """
    n = 1
    names = {unit.source_name for unit in units}
    while n * size < len(names):
        n *= 2
    made: dict[str, list[SlitUnit]] = {}
    for unit in units:
        made.setdefault(f"slits-{n}-{stable_id(unit.source_name) % n}", []).append(unit)
    return {name: tuple(made[name]) for name in sorted(made)}


def own_tile(source_name: str) -> str:
    """Return the name that stands for the tile of a source that is published by itself.

    Parameters
    ----------
    source_name : str
        The source.
    """
    return f"slit-{stable_id(source_name):x}"
