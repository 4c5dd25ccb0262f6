"""contam: exposures of grisms to frames, with a model of the light of all sources that is fitted to them."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from skymere.align import TangentPlane
from skymere.errors import InvalidInputError, NoDataError, NotFoundError, SkymereError
from skymere.grism import GrismFrame, make_frames, read_frame, refine_contamination, write_frame
from skymere.io import exposure_id, file_digest, find_packs, open_fits, read_exposure
from skymere.lake import Lake, Run
from skymere.pipeline.exposures import exposure_inputs, usable_exposures
from skymere.pipeline.grism_direct import direct_exposures, direct_images
from skymere.pipeline.grism_frames import frame_row, write_frames
from skymere.pipeline.grism_groups import GrismFile, GrismGroup, grism_groups, place_facts
from skymere.pipeline.grism_plan import ContamPlan
from skymere.pipeline.grism_scene import Scene, SceneOfFiles, SceneOfLake
from skymere.pipeline.items import item_row, items_frame
from skymere.pipeline.plan import Plan
from skymere.pipeline.slit_plan import without
from skymere.pipeline.slit_units import slit_files
from skymere.pipeline.task import Stage, Task, as_params
from skymere.pipeline.tile_groups import retirements

__all__ = ["ALL", "STAGE"]

#: The group of all exposures of a plan whose sources are given in files.
ALL = "grism-frames"
_INPUTS = ("files", "direct", "catalogue", "segmentation", "conf", "masters")
# Places are those of middles, to rounding.
_ROUNDING_ARCSEC = 0.1
_ITEM_STATUS = {"ok": "ok", "faint": "ok", "rejected": "rejected", "no_beam": "rejected", "failed": "failed"}


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for the exposures of grisms in each tile, or for all when their sources are given in files.

    There is none when the plan names no file.

    Raises
    ------
    NotFoundError
        When a pattern matches nothing, or a file that a key names is missing.
    NoDataError
        When sources of the lake are wanted, and no exposure is in a tile that has some.
    """
    section, folder = plan.contam, plan.folder
    if not section.files:
        return []
    job = _Job(
        lake=str(lake.path),
        plan=section,
        direct=tuple(slit_files(section.direct, folder, key="contam.direct")) if section.direct else (),
        catalogue=_named(section.catalogue, folder, "catalogue"),
        segmentation=_named(section.segmentation, folder, "segmentation"),
        conf=_named(section.conf, folder, "conf"),
        masters={one.partition("=")[0].lower(): (folder / one.partition("=")[2]).resolve() for one in section.masters},
    )
    paths = slit_files(section.files, folder, key="contam.files")
    files = [(path, _digest(path)) for path in paths]
    if job.catalogue is not None:
        groups = [GrismGroup(name=ALL, files=tuple(GrismFile(path=path, sha256=sha256) for path, sha256 in files))]
    else:
        groups = grism_groups(files, lake, pad_pix=max(section.frame.pad))
    if not groups:
        msg = "contam.files: none is in a tile with a segmentation; give catalogue and segmentation, or detect sources"
        raise NoDataError(msg)
    shared = job.inputs()
    # Threads change no result. Frames of before the parameters were kept in their rows are made again.
    refine = replace(section.refine, n_threads=0)
    params = {"contam": without(as_params(replace(section, refine=refine)), *_INPUTS), "keeps_params": True}
    made = [
        Task(
            tile=group.name,
            inputs=[
                *({"uri": one.path.name, "sha256": one.sha256} for one in group.files),
                *shared,
                *(_lake_inputs(lake, job, group) if group.tiles else []),
            ],
            params=params,
            work=partial(_work, job, group),
        )
        for group in groups
    ]
    return [*retirements(lake, "grism_frame", [group.name for group in groups]), *made]


def _named(text: str, folder: Path, key: str) -> Path | None:
    if not text:
        return None
    path = (folder / text).resolve()
    if not path.exists():
        msg = f"contam.{key}: {path} does not exist"
        raise NotFoundError(msg)
    return path


def _lake_inputs(lake: Lake, job: "_Job", group: GrismGroup) -> list[dict[str, str]]:
    """Return what the scene of a group is made of."""
    found = [] if job.direct else exposure_inputs(_near(lake, group, job.plan))
    for product in ("source", "segmentation", *(() if job.direct else ("mosaic",))):
        live = lake.live_runs(product)
        found += [{"uri": f"{product}/{tile}", "run": live[tile]} for tile in group.tiles if tile in live]
    return found


def _near(lake: Lake, group: GrismGroup, plan: ContamPlan) -> pl.DataFrame:
    """Return the exposures of the lake that may be partners of those of a group."""
    rows = usable_exposures(lake)
    names: set[str] = set()
    for one in group.files:
        if one.footprint:
            plane = TangentPlane(ra=one.ra, dec=one.dec)
            x, y = plane.of_sky(rows["ra"].to_numpy(), rows["dec"].to_numpy()).T
            near = np.hypot(x, y) <= plan.frame.max_partner_arcsec + _ROUNDING_ARCSEC
            names.update(rows.filter(pl.Series(near, dtype=pl.Boolean))["exposure_id"])
    return rows.filter(pl.col("exposure_id").is_in(sorted(names)))


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What all groups of a plan share; it can be sent to another process."""

    lake: str
    plan: ContamPlan
    direct: tuple[Path, ...]
    catalogue: Path | None
    segmentation: Path | None
    conf: Path | None
    masters: Mapping[str, Path]

    def inputs(self) -> list[dict[str, str]]:
        """Return the names and digests of all files; a file that cannot be read has none."""
        files = [*self.direct, *(one for one in (self.catalogue, self.segmentation) if one is not None)]
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


def _scene(job: _Job, group: GrismGroup, lake: Lake, run: Run) -> Scene:
    images = direct_images(job.direct, warn=run.warn)
    if job.catalogue is not None and job.segmentation is not None:
        return SceneOfFiles(
            lake=lake,
            plan=job.plan,
            catalogue_path=job.catalogue,
            segmentation_path=job.segmentation,
            images=images,
        )
    return SceneOfLake(
        lake=lake,
        plan=job.plan,
        tiles=group.tiles,
        images=images if job.direct else direct_exposures(lake, _near(lake, group, job.plan)),
        has_mosaics=not job.direct,
    )


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


def _work(job: _Job, group: GrismGroup, run: Run) -> None:
    scene = _scene(job, group, Lake.open(job.lake), run)
    with tempfile.TemporaryDirectory(prefix="skymere-") as folder:
        frames, rows = _frames(job, group, scene, Path(folder))
        table, spectra = pl.DataFrame(), {}
        if job.plan.is_refined and frames:
            refine = job.plan.refine
            beam = replace(refine.extract.beam, operator=job.plan.frame.contamination.operator)
            refined = refine_contamination(
                frames, params=replace(refine, extract=replace(refine.extract, frame=job.plan.frame, beam=beam))
            )
            frames, table, spectra = list(refined.frames), refined.table, dict(refined.spectra)
        digests = {str(one.path): one.sha256 for one in group.files}
        rows += [frame_row(frame, digests.get(str(frame.facts.get("path", "")), "")) for frame in frames]
        on_frames = {label for frame in frames for label in frame.places}
        sources = {label: one for label, one in scene.sources.items() if label in on_frames}
        for row in rows:
            if row["status"] != "ok":
                run.warn(f"{row['exposure_id']}: {row['status']}: {row['message']}")
        write_frames(run, frames, spectra, sources, rows, items=_items(table, sources))


def _frames(job: _Job, group: GrismGroup, scene: Scene, folder: Path) -> tuple[list[GrismFrame], list[dict[str, Any]]]:
    """Return frames whose planes are on disk, and a row for each file that gives none."""
    frames: list[GrismFrame] = []
    rows: list[dict[str, Any]] = []
    masters = _masters(job)
    for file in group.files:
        try:
            exposure = read_exposure(file.path)
            made = make_frames(
                [exposure],
                scene.catalogue,
                scene.labels(file),
                scene.direct(file, exposure),
                configs="" if job.conf is None else job.conf,
                masters=masters,
                params=job.plan.frame,
            )
            for frame in made:
                place = write_frame(replace(frame, facts={**frame.facts, **place_facts(file)}), folder)
                frames.append(read_frame(place, config=frame.config))
        except SkymereError as error:
            what = {"exposure_id": exposure_id(file.path), "path": str(file.path), "sha256": file.sha256, "meta": "{}"}
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
