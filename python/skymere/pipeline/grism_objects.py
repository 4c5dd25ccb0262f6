"""One object with its fits, from a file of beams or from a lake, and the files that its users open."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from skymere.errors import ConflictError, InvalidInputError, NotFoundError
from skymere.grism import (
    BeamAction,
    BeamParams,
    FittedModel,
    MultiBeam,
    RedshiftCurve,
    apply_beam_actions,
    as_model,
    plot_scores,
    plot_summary,
    read_beams,
    score_beams,
    suggest_masks,
    write_full,
    write_grism_spectra,
    write_grism_stacks,
    write_row,
)
from skymere.io import FullFile
from skymere.lake import Lake, about_objects
from skymere.mosaic import ExposureList, thumbnails
from skymere.pipeline.attempts import run_task
from skymere.pipeline.grism_fits import (
    FitTemplates,
    fit_object,
    fitted_beams,
    model_of_row,
    stored_curve,
    stored_row,
)
from skymere.pipeline.grism_plan import BeamsPlan, GrismFitPlan, MapsPlan
from skymere.pipeline.map_psfs import MapPsfs
from skymere.pipeline.slit_plan import RedshiftsPlan
from skymere.pipeline.stages import beams as beams_stage
from skymere.pipeline.stages import maps as maps_stage
from skymere.pipeline.stages import redshifts as redshifts_stage
from skymere.pipeline.stages.maps import ObjectMaps, object_maps
from skymere.pipeline.thumbnails import lake_exposures
from skymere.resample import Geometry

__all__ = [
    "PRODUCTS",
    "GrismObject",
    "beam_paths",
    "draw_object",
    "fit_beams",
    "map_beams",
    "map_exposures",
    "object_of_file",
    "object_of_lake",
    "plot_beams",
    "plot_object",
    "store_beams",
    "write_products",
]

#: What `write_products` writes: endings of files.
PRODUCTS = ("full", "stack", "1D", "row")


@dataclass(frozen=True, kw_only=True, eq=False)
class GrismObject:
    """A source with its beams and fits.

    Parameters
    ----------
    name : str
        First part of the names of its files.
    source_id : int
        Its number: in the lake, or its label in the file.
    multibeam : MultiBeam
        Its beams.
    redshift : RedshiftCurve
        The search of the redshift.
    z_interval : tuple of float
        68 per cent of p(z) of the redshift that was found: of single lines where these tell it, else of the search.
    model : FittedModel
        Continua and lines at that redshift, which is ``model.z``.
    lines : polars.DataFrame
        Its lines, with ``line, flux, flux_err, ew16, ew50, ew84, ewhw``.
    status : str
        That of the fit of redshifts.
    dropped : tuple of mapping
        Orientations that were left out: ``grism``, ``angle`` and ``ratio``.
    """

    name: str
    source_id: int
    multibeam: MultiBeam
    redshift: RedshiftCurve
    z_interval: tuple[float, float]
    model: FittedModel
    lines: pl.DataFrame
    status: str = "ok"
    dropped: tuple[Mapping[str, Any], ...] = ()


def beam_paths(paths: Sequence[Path]) -> list[Path]:
    """Return files of beams, and those in folders, sorted by name within a folder.

    Parameters
    ----------
    paths : sequence of Path
        Files, or folders with ``*.beams.fits``.

    Raises
    ------
    NotFoundError
        When a folder has none.
    """
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*beams.fits")) if path.is_dir() else [path]
        if not inside:
            msg = f"{path}: no *.beams.fits is there"
            raise NotFoundError(msg)
        found += inside
    return found


def object_of_file(
    path: Path,
    sets: FitTemplates,
    plan: GrismFitPlan,
    *,
    conf: Path | None = None,
    params: BeamParams | None = None,
    actions: Sequence[BeamAction] = (),
) -> GrismObject:
    """Read the beams of a source and fit them.

    Parameters
    ----------
    path : Path
        ``beams.fits``.
    sets : FitTemplates
        What it may be made of.
    plan : GrismFitPlan
        How.
    conf : Path, optional
        Configurations; see `skymere.grism.read_beams`.
    params : BeamParams, optional
        Masks, weights and the operator.
    actions : sequence of BeamAction, optional
        What is left out.

    Raises
    ------
    SkymereError
        When the file cannot be read, or there is no redshift.
    """
    multibeam = apply_beam_actions(read_beams(path, conf_path=conf, params=params), actions)
    made = fit_object(multibeam, sets, plan)
    if made.fit is None or made.fit.status == "no_data":
        msg = f"{path}: {made.redshift.status}: no pixel can be fitted"
        raise InvalidInputError(msg)
    model = as_model(made.fit)
    assert isinstance(model, FittedModel)
    return GrismObject(
        name=path.name.removesuffix(".gz").removesuffix(".fits").removesuffix(".beams"),
        source_id=multibeam.source_id,
        multibeam=made.multibeam,
        redshift=made.search,
        z_interval=(made.redshift.z_percentiles[1], made.redshift.z_percentiles[3]),
        model=model,
        lines=made.lines,
        status=made.search.status,
        dropped=made.dropped,
    )


def object_of_lake(lake: Lake, source_id: int, sets: FitTemplates, *, root: str = "grism") -> GrismObject:
    """Return a source out of a lake with the fits that it has; nothing is fitted.

    Parameters
    ----------
    lake : Lake
        The lake.
    source_id : int
        The source.
    sets : FitTemplates
        What was fitted.
    root : str, optional
        First part of the name.

    Raises
    ------
    NotFoundError
        When the lake has no beams or no redshift of it.
    InvalidInputError
        When other templates were fitted.
    ConflictError
        When beams have come or gone since the fit.
    """
    row, arrays = stored_row(lake, source_id)
    multibeam = fitted_beams(lake.beams(source_id), row)
    model = model_of_row(row, arrays, sets)
    if len(model.backgrounds) != multibeam.N:
        msg = (
            f"source_id: {source_id} was fitted with {len(model.backgrounds)} beams and has {multibeam.N}; fit it again"
        )
        raise ConflictError(msg)
    mine = pl.col("source_id") == source_id, pl.col("method") == "grism"
    low, high = (row[f"beam_{end}"] if row["beam_z_map"] is not None else row[end] for end in ("z16", "z84"))
    lines = lake.table("line").filter(*mine)
    return GrismObject(
        name=f"{root}_{source_id}",
        source_id=source_id,
        multibeam=multibeam,
        redshift=stored_curve(lake, source_id),
        z_interval=(low, high),
        model=model,
        lines=lines.collect(),
    )


def draw_object(
    one: GrismObject,
    plan: MapsPlan,
    *,
    lake: Lake | None = None,
    geometry: Geometry | None = None,
    psfs: MapPsfs | None = None,
) -> ObjectMaps:
    """Return maps, direct images and spectra of an object; see `object_maps`.

    Parameters
    ----------
    one : GrismObject
        The object.
    plan : MapsPlan
        Geometry, lines, extraction.
    lake : Lake, optional
        Its exposures give direct images.
    geometry : Geometry, optional
        Another geometry than that of the plan.
    psfs : MapPsfs, optional
        PSFs of the direct images; those that the plan names when not given.
    """
    exposures = map_exposures(plan, lake)
    psfs = MapPsfs(plan, exposures=exposures) if psfs is None else psfs
    geometry = plan.geometry if geometry is None else geometry
    direct = None
    if exposures is not None:
        at = [one.multibeam.position]
        direct = next(iter(thumbnails(exposures, at, geometry=geometry, psf=psfs.of_exposures)))
    return object_maps(
        one.multibeam, one.model, plan, direct=direct, geometry=geometry, psfs=psfs.of_beams(one.multibeam)
    )


def map_exposures(plan: MapsPlan, lake: Lake | None) -> ExposureList | None:
    """Return the exposures from which direct images are drizzled; None when they come from the beams.

    Parameters
    ----------
    plan : MapsPlan
        Says whether they do.
    lake : Lake or None
        The lake.
    """
    if lake is None or not plan.has_direct or not lake.live_runs("exposure"):
        return None
    return lake_exposures(lake)


def write_products(
    one: GrismObject, drawn: ObjectMaps, folder: Path, kinds: Sequence[str]
) -> tuple[Mapping[str, Path], FullFile]:
    """Write files of an object that users of grizli can open.

    Parameters
    ----------
    one : GrismObject
        The object.
    drawn : ObjectMaps
        Its maps and spectra.
    folder : Path
        Where to; it is made when it is not there.
    kinds : sequence of str
        Some of `PRODUCTS`.

    Returns
    -------
    mapping of str to Path
        The files, by kind.
    FullFile
        What ``full.fits`` holds, with the number of the source in the lake, for `skymere.grism.catalogue_wide`.

    Raises
    ------
    InvalidInputError
        When a kind is another.
    StorageError
        When a file cannot be written.
    """
    if unknown := [kind for kind in kinds if kind not in PRODUCTS]:
        msg = f"kinds: {unknown} are not allowed, they must be of {list(PRODUCTS)}"
        raise InvalidInputError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {kind: folder / f"{one.name}.{kind}.fits" for kind in kinds}
    maps = drawn.maps
    about: dict[str, Any] = {"source_id": maps.source_id, "ra": maps.ra, "dec": maps.dec}
    with tempfile.TemporaryDirectory(prefix="skymere-") as elsewhere:
        full = write_full(
            paths.get("full", Path(elsewhere) / "full.fits"),
            maps=maps,
            thumbnails=drawn.thumbnail,
            fit=one.model,
            redshift=one.redshift,
            lines=one.lines,
        )
    full = replace(full, maps=replace(maps, source_id=one.source_id))
    if "stack" in paths:
        write_grism_stacks(drawn.stacks, paths["stack"], **about)
    if "1D" in paths:
        write_grism_spectra(
            drawn.spectra, paths["1D"], target=one.name, mw_ebv=one.multibeam.beams[0].params.mw_ebv, **about
        )
    if "row" in paths:
        write_row(full, paths["row"])
    return paths, full


def plot_object(one: GrismObject, drawn: ObjectMaps, path: Path, *, lines: Sequence[str] | None = None) -> None:
    """Draw a page of an object: spectra in two and one dimension, p(z), direct image and line maps.

    Parameters
    ----------
    one : GrismObject
        The object.
    drawn : ObjectMaps
        Its maps and spectra.
    path : Path
        Picture.
    lines : sequence of str, optional
        Lines that are marked; those above 2 sigma when not given.
    """
    import matplotlib.pyplot as plt

    figure = plot_summary(
        drawn.multibeam,
        fit=one.model,
        maps=drawn.maps,
        redshift=one.redshift,
        thumbnails=drawn.thumbnail,
        lines=lines,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    finally:
        plt.close(figure)


def plot_beams(multibeam: MultiBeam, path: Path) -> list[BeamAction]:
    """Draw each beam of an object against the others of its grism, with masks that are suggested.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    path : Path
        Picture.

    Returns
    -------
    list of BeamAction
        What is suggested.
    """
    import matplotlib.pyplot as plt

    scores = score_beams(multibeam)
    figure = plot_scores(multibeam, scores=scores)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return suggest_masks(multibeam, scores)


def store_beams(lake: Lake, plan: BeamsPlan, *, conf: Path | None = None, folder: Path | None = None) -> pl.DataFrame:
    """Take files of beams into a lake; other sources of the lake are left alone.

    Parameters
    ----------
    lake : Lake
        The lake.
    plan : BeamsPlan
        Files, and how beams are masked and weighted.
    conf : Path, optional
        Configurations.
    folder : Path, optional
        Where relative paths begin; the working folder when not given.

    Returns
    -------
    polars.DataFrame
        ``path, source_id, message`` of every file; 0 and the reason for one that cannot be used.

    Raises
    ------
    NotFoundError
        When a pattern matches nothing.
    NoDataError
        When no file can be used.
    """
    files = beams_stage.beam_files(plan, folder or Path.cwd(), lake)
    messages = {one.path: one.message for one in files}
    for task in beams_stage.beam_tasks(plan, lake, (), files, conf=conf, keeps_others=True):
        run_task(beams_stage.STAGE, task, lake, None)
        items = about_objects(lake.table("run_item")).filter(
            pl.col("run_id") == lake.live_run("beam", task.tile), pl.col("status") != "ok"
        )
        told = dict(items.select("item", "message").collect().iter_rows())
        messages |= {
            one.path: told[str(one.source_id)] for one in files if one.source_id and str(one.source_id) in told
        }
    return pl.DataFrame(
        {
            "path": [one.path for one in files],
            "source_id": [one.source_id for one in files],
            "message": [messages[one.path] for one in files],
        },
        schema={"path": pl.String, "source_id": pl.Int64, "message": pl.String},
    )


def fit_beams(lake: Lake, plan: RedshiftsPlan, *, folder: Path | None = None) -> pl.DataFrame:
    """Fit all beams of a lake; tiles that were fitted this way before are left alone.

    Parameters
    ----------
    lake : Lake
        The lake.
    plan : RedshiftsPlan
        How; its part ``grism`` names the templates.
    folder : Path, optional
        Where relative paths begin; the working folder when not given.

    Returns
    -------
    polars.DataFrame
        ``source_id, status, message, redshift, z16, z84, n_lines, n_beams, chinu`` of every source with beams.

    Raises
    ------
    SkymereError
        As the stage.
    """
    for task in redshifts_stage.redshift_tasks(plan, folder or Path.cwd(), lake):
        run_task(redshifts_stage.STAGE, task, lake, None)
    shown = ("source_id", "status", "message", "redshift", "z16", "z84", "n_lines", "n_beams", "chinu")
    return lake.table("redshift").filter(pl.col("method") == "grism").select(shown).sort("source_id").collect()


def map_beams(lake: Lake, plan: MapsPlan, grism: GrismFitPlan, *, folder: Path | None = None) -> pl.DataFrame:
    """Make line maps and spectra of all fitted sources of a lake.

    Parameters
    ----------
    lake : Lake
        The lake.
    plan : MapsPlan
        Geometry, lines, extraction.
    grism : GrismFitPlan
        What was fitted.
    folder : Path, optional
        Where relative paths begin; the working folder when not given.

    Returns
    -------
    polars.DataFrame
        ``source_id, status, message, lines``: how many line maps each source has.

    Raises
    ------
    SkymereError
        As the stage.
    """
    for task in maps_stage.map_tasks(plan, grism, folder or Path.cwd(), lake):
        run_task(maps_stage.STAGE, task, lake, None)
    is_line = (pl.col("kind") == "line") & (pl.col("status") == "ok")
    table = (
        lake.table("line_map")
        .group_by("source_id")
        .agg(
            status=pl.when((pl.col("status") == "ok").all()).then(pl.lit("ok")).otherwise(pl.lit("failed")),
            message=pl.col("message").str.join(" "),
            lines=is_line.sum(),
        )
    )
    return table.sort("source_id").collect()
