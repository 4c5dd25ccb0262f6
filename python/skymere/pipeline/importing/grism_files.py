"""Beams, stacks and spectra of grizli as products of the tiles that own their sources."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from skymere.datamodels import GrismSpectrum
from skymere.errors import FormatError, NoDataError, SkymereError
from skymere.io import read_grism_spectra, read_grism_stacks
from skymere.lake import Lake
from skymere.pipeline.attempts import run_task
from skymere.pipeline.grism_plan import BeamsPlan
from skymere.pipeline.importing.full_files import import_full_files
from skymere.pipeline.importing.kinds import ForeignFile, Kind
from skymere.pipeline.importing.objects import ImportedObject, Outcomes, objects_of, publish_objects
from skymere.pipeline.map_rows import SpectrumWriter, StackWriter
from skymere.pipeline.owners import owner_of
from skymere.pipeline.stages import beams

__all__ = ["import_beams", "import_objects"]


def import_beams(lake: Lake, files: Sequence[ForeignFile], *, conf: str) -> list[dict[str, Any]]:
    """Publish the beams of files; those of other sources stay.

    Parameters
    ----------
    lake : Lake
        The lake.
    files : sequence of ForeignFile
        Files of beams.
    conf : str
        Folder of grism configurations; empty = those of packs.

    Returns
    -------
    list of dict
        ``file``, ``product``, ``tile``, ``status`` and ``message`` of each file.
    """
    plan = BeamsPlan(files=tuple(str(one.path.resolve()) for one in files))
    folder = Path(conf).resolve() if conf else None
    found = beams.beam_files(plan, Path.cwd(), lake)
    names = {str(one.path.resolve()): one for one in files}
    told = []
    try:
        tasks = beams.beam_tasks(plan, lake, [], found, conf=folder, keeps_others=True)
    except NoDataError as error:
        return [one.told("", "failed", str(error)) for one in files]
    for task in tasks:
        run_task(beams.STAGE, task, lake)
    rows = lake.table("beam").select("source_id", "tile").unique().collect()
    tiles = dict(rows.iter_rows())
    items = lake.table("run_item").filter(pl.col("stage") == beams.STAGE.name, pl.col("status") != "ok")
    why = dict(items.select("item", "message").collect().iter_rows())
    for one in found:
        tile = tiles.get(one.source_id, "")
        message = one.message or ("" if tile else why.get(str(one.source_id), "no tile of the lake owns its place"))
        told.append(names[one.path].told(tile, "failed" if message else "ok", message or f"source {one.source_id}"))
    return told


def import_objects(lake: Lake, files: Sequence[ForeignFile], *, match_radius_arcsec: float) -> list[dict[str, Any]]:
    """Publish ``full``, ``1D`` and ``stack`` files of objects; what the lake has of others stays.

    Parameters
    ----------
    lake : Lake
        The lake.
    files : sequence of ForeignFile
        Files of these kinds.
    match_radius_arcsec : float
        A source of the lake within it lends its identifier [arcsec].

    Returns
    -------
    list of dict
        ``file``, ``product``, ``tile``, ``status`` and ``message`` of each file.
    """
    told: list[dict[str, Any]] = []
    by_tile: dict[tuple[str, Kind], list[ImportedObject]] = {}
    for one in objects_of(lake, files, match_radius_arcsec):
        if isinstance(one, dict):
            told.append(one)
        elif tile := owner_of(lake, one.ra, one.dec):
            by_tile.setdefault((tile, one.file.kind), []).append(one)
        else:
            where = f"no tile of the lake owns its place {one.ra:.6f}, {one.dec:.6f}"
            told.append(one.file.told("", "failed", where))
    for (tile, kind), objects in by_tile.items():
        told += _WAYS[kind](lake, tile, objects)
    return told


def _import_spectra(lake: Lake, tile: str, objects: Sequence[ImportedObject]) -> list[dict[str, Any]]:
    def add(writer: SpectrumWriter, one: ImportedObject) -> str:
        found = read_grism_spectra(one.file.path)
        for spectrum in found.values():
            writer.add(one.source, _completed(spectrum, one.file.path), [])
        return ", ".join(found)

    with SpectrumWriter() as writer:
        return _import_with(writer, partial(add, writer), lake, tile, objects)


def _import_stacks(lake: Lake, tile: str, objects: Sequence[ImportedObject]) -> list[dict[str, Any]]:
    def add(writer: StackWriter, one: ImportedObject) -> str:
        found = read_grism_stacks(one.file.path)
        for stack in found:
            writer.add(one.source, stack, [])
        return f"{len(found)} stacks"

    with StackWriter() as writer:
        return _import_with(writer, partial(add, writer), lake, tile, objects)


def _import_with(
    writer: SpectrumWriter | StackWriter,
    add: Callable[[ImportedObject], str],
    lake: Lake,
    tile: str,
    objects: Sequence[ImportedObject],
) -> list[dict[str, Any]]:
    """Add each file to a writer, and publish them with what the tile has of other sources."""
    outcomes = Outcomes(tile)
    done = set()
    for one in objects:
        try:
            outcomes.check(one)
            what = add(one)
        except SkymereError as error:
            outcomes.add(one, error)
        else:
            done.add(one.source_id)
            outcomes.add(one, None, f"source {one.source_id}: {what}")
    if done:
        writer.keep(lake, tile, done)
        publish_objects(lake, tile, writer.product, objects, outcomes, writer)
    return outcomes.told


def _completed(spectrum: GrismSpectrum, path: Path) -> GrismSpectrum:
    """Return a spectrum with the columns that older files lack."""
    table, flat = spectrum.table, pl.col("flat")
    if missing := [name for name in ("wave", "flux", "err", "flat") if name not in table.columns]:
        msg = f"{path}: the table {spectrum.grism} has no columns {missing}, it has {table.columns}"
        raise FormatError(msg)
    lit = pl.when(flat > 0).then
    more = {
        "flam": lit(pl.col("flux") / flat),
        "flam_err": lit(pl.col("err") / flat),
        "npix": (flat > 0).fill_null(value=False).cast(pl.Int32),
        **{name: pl.lit(None, pl.Float64) for name in ("line", "cont", "contam")},
    }
    given = {name: one for name, one in more.items() if name not in table.columns}
    return replace(spectrum, table=table.with_columns(**given))


_WAYS = {Kind.full: import_full_files, Kind.spectra: _import_spectra, Kind.stacks: _import_stacks}
