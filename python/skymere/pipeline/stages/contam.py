"""contam: exposures of grisms to frames, with a model of the light of all sources that is fitted to them."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from skymere.datamodels import SegmentationMap
from skymere.errors import InvalidInputError, NoDataError, NotFoundError, SkymereError
from skymere.grism import GrismFrame, make_frames, read_frame, refine_contamination, write_frame
from skymere.io import (
    exposure_id,
    file_digest,
    find_packs,
    open_fits,
    read_exposure,
    read_labels,
    read_table,
)
from skymere.lake import Lake, Run
from skymere.pipeline.exposures import exposure_inputs, usable_exposures
from skymere.pipeline.grism_direct import DirectImages, direct_images, direct_images_of_lake
from skymere.pipeline.grism_frames import frame_row, write_frames
from skymere.pipeline.grism_plan import ContamPlan
from skymere.pipeline.items import item_row, items_frame
from skymere.pipeline.owners import owner_of
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import detection_bands, load_segmentation
from skymere.pipeline.slit_plan import without
from skymere.pipeline.slit_units import slit_files, source_ids
from skymere.pipeline.task import Stage, Task, as_params
from skymere.wcs import pixels_to_sky

__all__ = ["STAGE", "TILE"]

#: What stands for the tile of all frames of a plan: their sources are fitted together.
TILE = "grism-frames"
_INPUTS = ("files", "direct", "catalogue", "segmentation", "conf", "masters")
_ITEM_STATUS = {"ok": "ok", "faint": "ok", "rejected": "rejected", "no_beam": "rejected", "failed": "failed"}


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for all exposures of grisms; none when the plan names no file.

    Raises
    ------
    NotFoundError
        When a pattern matches nothing, or a file that a key names is missing.
    """
    section, folder = plan.contam, plan.folder
    if not section.files:
        return []
    refine = replace(section.refine, n_threads=0)
    job = _Job(
        lake=str(lake.path),
        plan=section,
        files=tuple(slit_files(section.files, folder, key="contam.files")),
        direct=tuple(slit_files(section.direct, folder, key="contam.direct")) if section.direct else (),
        catalogue=_named(section.catalogue, folder, "catalogue"),
        segmentation=_named(section.segmentation, folder, "segmentation"),
        conf=_named(section.conf, folder, "conf"),
        masters={one.partition("=")[0].lower(): (folder / one.partition("=")[2]).resolve() for one in section.masters},
    )
    return [
        Task(
            tile=TILE,
            inputs=[*job.inputs(), *(_lake_inputs(lake) if job.catalogue is None else [])],
            # Threads change no result. Frames of before the parameters were kept in their rows are made again.
            params={"contam": without(as_params(replace(section, refine=refine)), *_INPUTS), "keeps_params": True},
            work=partial(_work, job),
        )
    ]


def _named(text: str, folder: Path, key: str) -> Path | None:
    if not text:
        return None
    path = (folder / text).resolve()
    if not path.exists():
        msg = f"contam.{key}: {path} does not exist"
        raise NotFoundError(msg)
    return path


def _lake_inputs(lake: Lake) -> list[dict[str, str]]:
    """Return what the scene is made of when it comes from the lake."""
    found = exposure_inputs(usable_exposures(lake))
    for product in ("source", "segmentation", "mosaic"):
        found += [{"uri": f"{product}/{tile}", "run": run} for tile, run in sorted(lake.live_runs(product).items())]
    return found


@dataclass(frozen=True, kw_only=True)
class _Job:
    """All exposures of a plan; it can be sent to another process."""

    lake: str
    plan: ContamPlan
    files: tuple[Path, ...]
    direct: tuple[Path, ...]
    catalogue: Path | None
    segmentation: Path | None
    conf: Path | None
    masters: Mapping[str, Path]

    def inputs(self) -> list[dict[str, str]]:
        """Return the names and digests of all files; a file that cannot be read has none."""
        files = [*self.files, *self.direct, *(one for one in (self.catalogue, self.segmentation) if one is not None)]
        files += [path for _, path in sorted(self.masters.items())]
        if self.conf is not None:
            inside = sorted(self.conf.rglob("*")) if self.conf.is_dir() else [self.conf]
            files += [path for path in inside if path.is_file()]
        packs = [] if self.conf is not None else find_packs()
        return [
            *({"uri": path.name, "sha256": _digest(path)} for path in files),
            *({"uri": f"pack/{pack.label}", "sha256": pack.digest} for pack in packs),
        ]


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except SkymereError:
        return ""


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """What is in the sky: sources with labels, and direct images."""

    catalogue: pl.DataFrame
    segmentation: SegmentationMap
    direct: DirectImages
    sources: Mapping[int, int]


def _scene(job: _Job, lake: Lake, run: Run) -> _Scene:
    if job.catalogue is None or job.segmentation is None:
        return _scene_of_lake(job, lake, run)
    labels, grid = read_labels(job.segmentation)
    table = read_table(job.catalogue)
    name = next((one for one in ("id", "label", "number", "NUMBER") if one in table.columns), None)
    if name is None or "ra" not in table.columns or "dec" not in table.columns:
        msg = f"contam.catalogue: {job.catalogue} has the columns {table.columns}, it must have id, ra and dec"
        raise InvalidInputError(msg)
    rows = table.select(pl.col(name).cast(pl.Int64), "ra", "dec").iter_rows()
    places = {str(one): (ra, dec) for one, ra, dec in rows}
    ids = source_ids(lake, places, job.plan.match_radius_arcsec)
    return _Scene(
        catalogue=table,
        segmentation=SegmentationMap(labels=labels, grid=grid),
        direct=direct_images(job.direct, warn=run.warn),
        sources={int(label): ids[label] for label in places},
    )


def _scene_of_lake(job: _Job, lake: Lake, run: Run) -> _Scene:
    tile = _tile_of(job, lake)
    sources = lake.table("source").filter(pl.col("tile") == tile).collect()
    band = job.plan.mag_band or detection_bands(lake, tile)[0]
    name = f"mag_auto_{band}"
    if name not in sources.columns:
        msg = f"contam.mag_band: {band!r} is not allowed, tile {tile} has no {name}"
        raise InvalidInputError(msg)
    # A source without a magnitude is taken for a bright one: all of its orders are drawn.
    table = sources.select(pl.col("label").alias("id"), "ra", "dec", pl.col(name).fill_null(0.0).alias("mag"))
    return _Scene(
        catalogue=table,
        segmentation=load_segmentation(lake, tile),
        direct=direct_images(job.direct, warn=run.warn) if job.direct else direct_images_of_lake(lake, tile),
        sources=dict(sources.select("label", "source_id").iter_rows()),
    )


def _tile_of(job: _Job, lake: Lake) -> str:
    """Return the tile in which the middle of the first exposure that can be read is.

    Raises
    ------
    NoDataError
        When there is none.
    """
    for path in job.files:
        try:
            exposure = read_exposure(path)
        except SkymereError:
            continue
        ny, nx = exposure.shape
        ra, dec = pixels_to_sky(exposure.wcs, np.array([(nx - 1) / 2]), np.array([(ny - 1) / 2]))
        tile = owner_of(lake, float(ra[0]), float(dec[0]))
        if tile in lake.live_runs("segmentation"):
            return tile
    msg = "contam.files: none is in a tile with a segmentation; give catalogue and segmentation, or detect sources"
    raise NoDataError(msg)


def _masters(job: _Job) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for grism, path in job.masters.items():
        with open_fits(path) as hdus:
            image = next((hdu.data for hdu in hdus if hdu.data is not None and hdu.data.ndim == 2), None)
            if image is None:
                msg = f"contam.masters: {path} holds no image"
                raise InvalidInputError(msg)
            found[grism] = [image.astype("float32")]
    return found


def _work(job: _Job, run: Run) -> None:
    lake = Lake.open(job.lake)
    scene = _scene(job, lake, run)
    with tempfile.TemporaryDirectory(prefix="skymere-") as folder:
        frames, rows = _frames(job, scene, Path(folder))
        table, spectra = pl.DataFrame(), {}
        if job.plan.is_refined and frames:
            refine = job.plan.refine
            beam = replace(refine.extract.beam, operator=job.plan.frame.contamination.operator)
            refined = refine_contamination(
                frames, params=replace(refine, extract=replace(refine.extract, frame=job.plan.frame, beam=beam))
            )
            frames, table, spectra = list(refined.frames), refined.table, dict(refined.spectra)
        digests = {str(path): _digest(path) for path in job.files}
        rows += [frame_row(frame, digests.get(str(frame.facts.get("path", "")), "")) for frame in frames]
        on_frames = {label for frame in frames for label in frame.places}
        sources = {label: one for label, one in scene.sources.items() if label in on_frames}
        for row in rows:
            if row["status"] != "ok":
                run.warn(f"{row['exposure_id']}: {row['status']}: {row['message']}")
        write_frames(run, frames, spectra, sources, rows, items=_items(table, sources))


def _frames(job: _Job, scene: _Scene, folder: Path) -> tuple[list[GrismFrame], list[dict[str, Any]]]:
    """Return frames whose planes are on disk, and a row for each file that gives none."""
    frames: list[GrismFrame] = []
    rows: list[dict[str, Any]] = []
    masters = _masters(job)
    for path in job.files:
        try:
            exposure = read_exposure(path)
            made = make_frames(
                [exposure],
                scene.catalogue,
                scene.segmentation,
                scene.direct.of(exposure, max_arcsec=job.plan.frame.max_partner_arcsec),
                configs="" if job.conf is None else job.conf,
                masters=masters,
                params=job.plan.frame,
            )
            for frame in made:
                place = write_frame(frame, folder)
                frames.append(read_frame(place, config=frame.config))
        except SkymereError as error:
            what = {"exposure_id": exposure_id(path), "path": str(path), "sha256": _digest(path), "meta": "{}"}
            rows.append(what | {"status": "failed", "message": f"{type(error).__name__}: {error}"})
    return frames, rows


def _items(table: pl.DataFrame, sources: Mapping[int, int]) -> pl.DataFrame:
    """Return how it went for each source in the last pass."""
    if table.is_empty():
        return items_frame([])
    last = table.filter(pl.col("pass") == table["pass"].max())
    return items_frame(
        [
            item_row(str(sources[label]), _ITEM_STATUS[status], "" if status == "ok" else status)
            for label, status in last.select("id", "status").iter_rows()
        ]
    )


STAGE = Stage(
    name="contam",
    reads=("source", "segmentation", "mosaic", "exposure", "wcs_solution"),
    writes=("grism_frame",),
    tasks=tasks,
)
