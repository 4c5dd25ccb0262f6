"""beams: beams of all sources of a tile, cut from frames or read from files."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from skymere.errors import InvalidInputError, NoDataError, SkymereError
from skymere.grism import BeamModel, GrismFrame, MultiBeam, cut_beams, cut_sources, read_beam_actions, read_beams
from skymere.io import beam_position, file_digest, read_beam_file
from skymere.lake import Lake, Run, add_beam_actions, edited_beams
from skymere.pipeline.beam_rows import BeamWriter
from skymere.pipeline.grism_frames import known_sources, stored_frames
from skymere.pipeline.grism_plan import BeamsPlan
from skymere.pipeline.items import item_row, items_frame
from skymere.pipeline.owners import owner_of
from skymere.pipeline.plan import Plan
from skymere.pipeline.slit_plan import without
from skymere.pipeline.slit_units import short_name, slit_files, source_ids
from skymere.pipeline.task import Stage, Task, as_params

__all__ = ["STAGE", "BeamFile", "beam_files", "beam_tasks", "import_actions"]

_INPUTS = ("files", "conf", "actions", "author", "reason")


@dataclass(frozen=True, kw_only=True)
class BeamFile:
    """A file with the beams of one source.

    Parameters
    ----------
    path : str
        The file.
    sha256 : str
        Its digest; empty when it cannot be read.
    source_id : int
        The source in the lake; 0 when the file cannot be read.
    ra, dec : float
        Its place [deg].
    message : str
        Why it cannot be used; empty when it can.
    """

    path: str
    sha256: str
    source_id: int = 0
    ra: float = float("nan")
    dec: float = float("nan")
    message: str = ""


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with sources on frames or in files, and for those that had some.

    Raises
    ------
    NotFoundError
        When a pattern matches nothing.
    """
    section = plan.beams
    groups = sorted(lake.live_runs("grism_frame")) if section.is_on else []
    if not groups and not section.files:
        return []
    files = beam_files(section, plan.folder, lake) if section.files else []
    conf = section.conf or plan.contam.conf
    return beam_tasks(section, lake, groups, files, conf=(plan.folder / conf).resolve() if conf else None)


def beam_files(plan: BeamsPlan, folder: Path, lake: Lake) -> list[BeamFile]:
    """Return the files of a plan with the sources that they are of.

    Parameters
    ----------
    plan : BeamsPlan
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
    places: dict[str, tuple[float, float]] = {}
    faults, digests = [], {}
    for path in slit_files(plan.files, folder, key="beams.files"):
        try:
            digests[str(path)] = file_digest(path)
            position = beam_position(read_beam_file(path)[0])
            if position is None:
                msg = f"{path}: it does not say where its source is (RA, DEC)"
                raise InvalidInputError(msg)
            places[str(path)] = position
        except SkymereError as error:
            message = f"{type(error).__name__}: {error}"
            faults.append(BeamFile(path=str(path), sha256=digests.get(str(path), ""), message=message))
    # Files of one place are of one source.
    first: dict[tuple[float, float], str] = {}
    for name, place in places.items():
        first.setdefault(place, name)
    ids = source_ids(lake, {name: place for place, name in first.items()}, plan.match_radius_arcsec)
    found = [
        BeamFile(path=name, sha256=digests[name], source_id=ids[first[place]], ra=place[0], dec=place[1])
        for name, place in places.items()
    ]
    return [*found, *faults]


def beam_tasks(
    plan: BeamsPlan,
    lake: Lake,
    groups: Sequence[str],
    files: Sequence[BeamFile],
    *,
    conf: Path | None = None,
    keeps_others: bool = False,
) -> list[Task]:
    """Return one task for each tile with sources on frames or in files.

    Parameters
    ----------
    plan : BeamsPlan
        The section.
    lake : Lake
        The lake.
    groups : sequence of str
        Groups of frames.
    files : sequence of BeamFile
        Files with beams.
    conf : Path, optional
        Configurations of files.
    keeps_others : bool, optional
        Whether beams of other sources of a tile stay; else they go, and tiles without sources become empty.
    """
    sources = [_owned(lake, known_sources(lake, group)).with_columns(group=pl.lit(group)) for group in groups]
    table = pl.concat(sources) if sources else pl.DataFrame(schema={"owner": pl.String})
    live, runs = lake.live_runs("beam"), lake.live_runs("grism_frame")
    by_tile: dict[str, list[BeamFile]] = {}
    for one in files:
        by_tile.setdefault(owner_of(lake, one.ra, one.dec) if not one.message else "", []).append(one)
    # Files that cannot be read, and places that no tile owns, are told with the first tile.
    lost = by_tile.pop("", [])
    names = {*table["owner"].to_list(), *by_tile, *(() if keeps_others else live)} - {""}
    if lost and not names:
        msg = f"beams.files: none can be used: {'; '.join(one.message or f'{one.path}: in no tile' for one in lost)}"
        raise NoDataError(msg)
    made = []
    for i, name in enumerate(sorted(names)):
        mine = [*by_tile.get(name, ()), *(lost if i == 0 else ())]
        some = table.filter(pl.col("owner") == name) if sources else None
        used = [] if some is None else sorted(set(some["group"].to_list()))
        before = [{"uri": f"beam/{name}", "run": live[name]}] if keeps_others and name in live else []
        params = replace(plan, files=(), actions="", conf="")
        made.append(
            Task(
                tile=name,
                inputs=[
                    *({"uri": f"grism_frame/{group}", "run": runs[group]} for group in used),
                    *({"uri": Path(one.path).name, "sha256": one.sha256} for one in mine),
                    *before,
                ],
                params={
                    "beams": without(as_params(plan), *_INPUTS),
                    "files": [[Path(one.path).name, one.source_id] for one in mine],
                },
                work=partial(
                    _work,
                    _Job(
                        lake=str(lake.path),
                        plan=params,
                        sources=None if some is None else some.drop("owner"),
                        files=tuple(mine),
                        conf=conf,
                        keeps_others=keeps_others,
                    ),
                ),
            )
        )
    return made


def _owned(lake: Lake, table: pl.DataFrame) -> pl.DataFrame:
    owner = [owner_of(lake, ra, dec) for ra, dec in table.select("ra", "dec").iter_rows()]
    return table.with_columns(owner=pl.Series(owner, dtype=pl.String))


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The sources of a tile."""

    lake: str
    plan: BeamsPlan
    sources: pl.DataFrame | None
    files: tuple[BeamFile, ...]
    conf: Path | None
    keeps_others: bool


# Name of the item, source, place, and what was found or why nothing was.
_Found = tuple[str, int, float, float, MultiBeam | str]


def _work(job: _Job, run: Run) -> None:
    lake = Lake.open(job.lake)
    items: dict[str, dict[str, Any]] = {}
    done: set[int] = set()
    began = time.monotonic()
    with BeamWriter() as writer:
        for name, source_id, ra, dec, found in _all(job, lake):
            error = found if isinstance(found, str) else ""
            try:
                if source_id in done:
                    msg = "InvalidInputError: another file or the frames have beams of it, too"
                    error = error or msg
                elif not isinstance(found, str):
                    writer.add(source_id, ra, dec, found)
                    done.add(source_id)
            except SkymereError as fault:
                error = f"{type(fault).__name__}: {fault}"
            now = time.monotonic()
            kind, _, message = error.partition(": ")
            status = "ok" if not error else "rejected" if kind == "no_overlap" else "failed"
            # What went wrong counts: a source that was cut and has another file, too, is told.
            if status != "ok" or name not in items:
                items[name] = item_row(
                    name, status, message, error="" if status != "failed" else kind, seconds=now - began
                )
            began = now
            if status == "failed":
                run.warn(f"{name}: {message}")
        if job.keeps_others:
            _keep(lake, run.tile, done, writer)
        writer.publish(run, items=items_frame(list(items.values())))


def _keep(lake: Lake, tile: str, done: set[int], writer: BeamWriter) -> None:
    """Add the beams of all other sources that the tile has."""
    rows = lake.table("beam").filter(pl.col("tile") == tile, ~pl.col("source_id").is_in(sorted(done))).collect()
    places = {one: (ra, dec) for one, ra, dec in rows.select("source_id", "ra", "dec").iter_rows()}
    for source_id, found in edited_beams(lake, rows, has_actions=False):
        if isinstance(found, SkymereError):
            raise found
        writer.add(source_id, *places[source_id], found)


def _all(job: _Job, lake: Lake) -> Iterator[_Found]:
    yield from _from_frames(job, lake)
    by_source: dict[int, list[BeamFile]] = {}
    faults: set[str] = set()
    for one in job.files:
        if one.message or not one.source_id:
            kind, _, message = one.message.partition(": ")
            file = Path(one.path).name
            # Files of several folders may have one name.
            item = short_name(file if file not in faults else one.path)
            faults.add(file)
            yield item, 0, one.ra, one.dec, f"{kind}: {file}: {message}"
        else:
            by_source.setdefault(one.source_id, []).append(one)
    for source_id, files in by_source.items():
        first = files[0]
        where = str(source_id), source_id, first.ra, first.dec
        try:
            yield (
                *where,
                _together([read_beams(one.path, conf_path=job.conf, params=job.plan.cut.beam) for one in files]),
            )
        except SkymereError as error:
            yield *where, f"{type(error).__name__}: {error}"


def _together(found: Sequence[MultiBeam]) -> MultiBeam:
    """Return the beams of one source from several files, which may call it by several labels, by that of the first."""
    label = found[0].source_id
    beams = [_called(model, label) for one in found for model in one.beams]
    return MultiBeam(beams, records=[record for one in found for record in one.records])


def _called(model: BeamModel, label: int) -> BeamModel:
    """Return a beam whose source has another label; the one that had it before takes its old one."""
    beam = model.beam
    if beam.source_id == label:
        return model
    old, labels = beam.source_id, beam.segmentation
    swapped = np.where(labels == old, label, np.where(labels == label, old, labels)).astype(labels.dtype)
    return model.with_beam(replace(beam, source_id=label, segmentation=swapped))


def _from_frames(job: _Job, lake: Lake) -> Iterator[_Found]:
    if job.sources is None:
        return
    for (group,), part in job.sources.group_by("group", maintain_order=True):
        with ExitStack() as stack:
            frames = stack.enter_context(stored_frames(lake, str(group)))
            params = job.plan.cut
            wanted = set(cut_sources(frames, params.mag_limits)) if params.mag_limits else None
            for row in part.iter_rows(named=True):
                if wanted is None or row["label"] in wanted:
                    made = _cut(frames, row["label"], params)
                    yield str(row["source_id"]), row["source_id"], row["ra"], row["dec"], made


def _cut(frames: Sequence[GrismFrame], label: int, params: Any) -> MultiBeam | str:
    try:
        found = next(iter(cut_beams(frames, ids=[label], params=params)), None)
    except SkymereError as error:
        return f"{type(error).__name__}: {error}"
    return "no_overlap: no exposure has enough of its spectrum" if found is None else found[1]


def import_actions(plan: Plan, lake: Lake) -> bool:
    """Add the actions that a plan names to those of the lake; returns whether one is new.

    Parameters
    ----------
    plan : Plan
        The plan.
    lake : Lake
        The lake.

    Raises
    ------
    NotFoundError, FormatError
        When the table is missing or none, or the lake has no beam of a source.
    """
    section = plan.beams
    if not section.actions:
        return False
    actions: Iterable[Any] = read_beam_actions((plan.folder / section.actions).resolve())
    return not add_beam_actions(lake, actions, author=section.author, reason=section.reason).is_empty()


STAGE = Stage(name="beams", reads=("grism_frame",), writes=("beam", "beam_action"), tasks=tasks, finish=import_actions)
