"""maps: line maps, direct images and labels of one geometry, and extracted spectra, of all fitted sources of a tile."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import GrismSpectrum, GrismStack, LineMaps, Thumbnail
from skymere.errors import ConflictError, SkymereError
from skymere.grism import (
    FittedModel,
    MultiBeam,
    drizzle_direct,
    drizzle_stacks,
    line_maps,
    oned_spectrum,
    scale_beams,
)
from skymere.grism.extract import one_of_each_exposure
from skymere.io import file_digest
from skymere.lake import Lake, Run, edited_beams, polygons_overlap
from skymere.lake.ragged import read_ragged
from skymere.mosaic import ExposureList, named_psf_file, thumbnails
from skymere.pipeline.exposures import exposure_inputs, outline_of, usable_exposures
from skymere.pipeline.grism_fit_rows import METHOD
from skymere.pipeline.grism_fits import MODEL_PLANES, FitTemplates, fit_sets, fitted_beams, model_of_row
from skymere.pipeline.grism_plan import GrismFitPlan, MapsPlan
from skymere.pipeline.items import item_row, items_frame
from skymere.pipeline.map_psfs import MapPsfs
from skymere.pipeline.map_rows import MapWriter, SpectrumWriter, StackWriter
from skymere.pipeline.plan import Plan
from skymere.pipeline.task import Stage, Task, as_params
from skymere.pipeline.thumbnails import lake_exposures
from skymere.pipeline.tile_groups import grown_outline
from skymere.psf import PsfSource
from skymere.resample import Geometry

__all__ = ["STAGE", "ObjectMaps", "map_tasks", "object_maps"]

_READS = ("redshift", "beam", "beam_action")
_DIRECT = ("exposure", "wcs_solution", "mask")
_BATCH = 32


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with redshifts from beams.

    Raises
    ------
    NotFoundError
        When there are no such templates.
    """
    return map_tasks(plan.maps, plan.redshifts.grism, plan.folder, lake)


def map_tasks(plan: MapsPlan, grism: GrismFitPlan, folder: Path, lake: Lake) -> list[Task]:
    """Return one task for each tile with redshifts from beams, and for those that had some; see `tasks`.

    Parameters
    ----------
    plan : MapsPlan
        The section.
    grism : GrismFitPlan
        What was fitted.
    folder : Path
        Where the folder of templates begins.
    lake : Lake
        The lake.

    Raises
    ------
    NotFoundError
        When there are no such templates.
    """
    runs = {name: lake.live_runs(name) for name in _READS}
    if not plan.is_on or not grism.templates or not runs["beam"]:
        return []
    sets = fit_sets(grism, folder)
    rows = lake.table("redshift").filter(pl.col("method") == METHOD).select("tile").unique().collect()
    names = sorted({*rows["tile"].to_list(), *lake.live_runs("line_map")})
    direct = _direct_inputs(plan, lake, names) if plan.has_direct else dict.fromkeys(names, ())
    return [
        Task(
            tile=name,
            inputs=[
                *({"uri": f"{one}/{name}", "run": runs[one][name]} for one in _READS if name in runs[one]),
                *direct[name],
                *_psf_files(plan, lake, folder),
            ],
            params={"maps": as_params(plan), "geometry": plan.geometry.digest},
            work=partial(_work, _Job(tile=name, lake=lake, plan=plan, sets=sets, folder=folder)),
        )
        for name in names
    ]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The sources of a tile."""

    tile: str
    lake: Lake
    plan: MapsPlan
    sets: FitTemplates
    folder: Path


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectMaps:
    """Everything that is drawn from the beams of a source and its fit.

    Parameters
    ----------
    multibeam : MultiBeam
        Its beams, with the scales of their grisms.
    model : FittedModel
        The fit.
    maps : LineMaps
        Line maps.
    thumbnail : Thumbnail
        Direct images, on the same pixels.
    spectra : mapping of str to GrismSpectrum
        By grism.
    stacks : tuple of GrismStack
        Of each angle, and all.
    """

    multibeam: MultiBeam
    model: FittedModel
    maps: LineMaps
    thumbnail: Thumbnail
    spectra: Mapping[str, GrismSpectrum]
    stacks: tuple[GrismStack, ...]


def object_maps(
    multibeam: MultiBeam,
    model: FittedModel,
    plan: MapsPlan,
    *,
    direct: Thumbnail | None = None,
    geometry: Geometry | None = None,
    psfs: Mapping[str, PsfSource] | None = None,
) -> ObjectMaps:
    """Return maps, direct images and spectra of a source.

    Parameters
    ----------
    multibeam : MultiBeam
        Its beams.
    model : FittedModel
        The fit.
    plan : MapsPlan
        Geometry, lines, extraction.
    direct : Thumbnail, optional
        Its direct images; those that beams carry when not given, or when no exposure looks there.
    geometry : Geometry, optional
        Another geometry than that of the plan.
    psfs : mapping of str to PSF, optional
        PSF of each filter of the images that beams carry; others have none.

    Raises
    ------
    InvalidInputError
        When a beam has no coordinates.
    """
    geometry = plan.geometry if geometry is None else geometry
    multibeam = scale_beams(multibeam, model.scales)
    maps = line_maps(multibeam, model, geometry=geometry, params=plan.lines)
    if direct is None or direct.status != "ok":
        direct = drizzle_direct(multibeam, geometry=geometry, psf=psfs)
    return ObjectMaps(
        multibeam=multibeam,
        model=model,
        maps=maps,
        thumbnail=direct,
        spectra=oned_spectrum(multibeam, fit=model, params=plan.extract),
        stacks=drizzle_stacks(multibeam, fit=model, params=plan.stack),
    )


def _direct_inputs(plan: MapsPlan, lake: Lake, tiles: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """Return the exposures that may see a source of each tile, and the runs of their masks, as inputs."""
    rows = usable_exposures(lake)
    outlines = {name: outline_of(text) for name, text in rows.select("exposure_id", "footprint").iter_rows()}
    groups = lake.table("mask").filter(pl.col("status") == "ok").select("exposure_id", "tile", "run_id").collect()
    # Half of the diagonal of the largest image.
    margin = plan.geometry.size / np.sqrt(2.0)
    found = {}
    for tile in tiles:
        image = grown_outline(lake, tile, margin)
        # Pixels that are given may be anywhere.
        is_anywhere = plan.geometry.wcs is not None
        names = [name for name, outline in outlines.items() if is_anywhere or polygons_overlap(image, outline)]
        its = pl.col("exposure_id").is_in(names)
        masks = groups.filter(its).select("tile", "run_id").unique().sort("tile")
        found[tile] = [
            *exposure_inputs(rows.filter(its)),
            *({"uri": f"mask/{group}", "run": run} for group, run in masks.iter_rows()),
        ]
    return found


def _psf_files(plan: MapsPlan, lake: Lake, folder: Path) -> list[dict[str, str]]:
    """Return the files of PSFs that are there, as inputs."""
    bands = lake.table("exposure").select("band").unique().collect()["band"].to_list() if plan.has_psf else []
    paths = {named_psf_file(plan.psf, band.lower(), folder=folder) for band in bands}
    there = sorted(path for path in paths if path is not None and path.is_file())
    return [{"uri": path.name, "sha256": file_digest(path)} for path in there]


def _work(job: _Job, run: Run) -> None:
    lake, plan, geometry = job.lake, job.plan, job.plan.geometry
    items = []
    beams = lake.table("beam").filter(pl.col("tile") == job.tile)
    known = beams.select("source_id", "beam_id", "label", "exposure_id", "order_name", "exptime").collect()
    unit = "electron / s" if plan.lines.contam == "detector" else "10**-17 erg s-1 cm-2"
    with (
        MapWriter(contam_unit=unit, has_psf=plan.has_psf) as maps,
        SpectrumWriter() as spectra,
        StackWriter() as stacks,
    ):
        for source, made in _objects(job, run):
            name = str(source["source_id"])
            if isinstance(made, str):
                kind, _, message = made.partition(": ")
                maps.fail(source, made, geometry.digest, geometry.pixscale)
                items.append(item_row(name, "failed", message, error=kind))
                run.warn(f"{name}: {made}")
                continue
            mine = known.filter(pl.col("source_id") == source["source_id"])
            ids = {(e, o): i for e, o, i in mine.select("exposure_id", "order_name", "beam_id").iter_rows()}
            near = known.filter(pl.col("exposure_id").is_in(mine["exposure_id"].to_list()))
            labels = dict(near.select("label", "source_id").iter_rows())
            exptime = sum(one.beam.exptime for one in one_of_each_exposure(made.multibeam.beams))
            maps.add(
                source, made.maps, made.thumbnail, labels=labels, exptime=exptime if np.isfinite(exptime) else None
            )
            for grism, spectrum in made.spectra.items():
                spectra.add(source, spectrum, _beam_ids(made.multibeam, grism, ids))
            for stack in made.stacks:
                stacks.add(source, stack, _beam_ids(made.multibeam, stack.grism, ids, stack.files, stack.angle))
            items.append(item_row(name, "ok", "" if made.maps.lines else made.maps.status))
        for writer in (spectra, stacks):
            with run.beside(writer.product) as its:
                if not its.already:
                    writer.publish(its)
        maps.publish(run, items=items_frame(items))


def _beam_ids(
    multibeam: MultiBeam,
    grism: str,
    ids: Mapping[tuple[str, str], int],
    files: tuple[str, ...] | None = None,
    angle: float | None = None,
) -> list[int]:
    """Return the beams of a grism, or of those the ones of some exposures."""
    some = [
        one
        for one in multibeam.beams
        if one.grism_name == grism and (files is None or angle is None or one.beam.parent in files)
    ]
    return [ids[key] for one in some if (key := (one.beam.parent, one.beam.order)) in ids]


def _objects(job: _Job, run: Run) -> Iterator[tuple[dict[str, Any], ObjectMaps | str]]:
    lake = job.lake
    has_exposures = job.plan.has_direct and bool(lake.live_runs("exposure"))
    exposures = lake_exposures(lake) if has_exposures else None
    psfs = MapPsfs(job.plan, exposures=exposures, folder=job.folder, on_failure=run.warn)
    mine = pl.col("tile") == job.tile, pl.col("method") == METHOD, pl.col("status") == "ok"
    rows = lake.table("redshift").filter(*mine).sort("source_id").collect()
    beams = lake.table("beam").filter(pl.col("source_id").is_in(rows["source_id"].to_list())).collect()
    directs = iter(_directs(rows, exposures, job.plan.geometry, psfs))
    while some := list(islice(directs, _BATCH)):
        part = rows[[k for k, _ in some]]
        numbers = read_ragged(lake, "redshift", part, row="redshift_row", planes=MODEL_PLANES)
        found = dict(edited_beams(lake, beams.filter(pl.col("source_id").is_in(part["source_id"].to_list()))))
        for row, arrays, (_, direct) in zip(part.iter_rows(named=True), numbers, some, strict=True):
            source = {name: row[name] for name in ("source_id", "ra", "dec")}
            try:
                yield source, _drawn(job, row, arrays, found.get(row["source_id"]), direct, psfs)
            except SkymereError as error:
                yield source, f"{type(error).__name__}: {error}"


def _directs(
    rows: pl.DataFrame, exposures: ExposureList | None, geometry: Geometry, psfs: MapPsfs
) -> Iterator[tuple[int, Thumbnail | None]]:
    """Yield each row with its direct images, in an order in which each exposure is read few times."""
    if exposures is None:
        yield from ((k, None) for k in range(rows.height))
        return
    for one in thumbnails(exposures, rows.select("ra", "dec"), geometry=geometry, psf=psfs.of_exposures):
        yield one.row, one


def _drawn(
    job: _Job,
    row: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    beams: MultiBeam | SkymereError | None,
    direct: Thumbnail | None,
    psfs: MapPsfs,
) -> ObjectMaps:
    if beams is None:
        msg = f"source_id: {row['source_id']} has a redshift and no beams any more; fit the tile again"
        raise ConflictError(msg)
    if isinstance(beams, SkymereError):
        raise beams
    used, model = fitted_beams(beams, row), model_of_row(row, arrays, job.sets)
    return object_maps(used, model, job.plan, direct=direct, psfs=psfs.of_beams(used))


STAGE = Stage(
    name="maps",
    reads=(*_READS, *_DIRECT),
    writes=("line_map", "spectrum", "stack"),
    tasks=tasks,
)
