"""redshifts: redshift, p(z) and lines of every source of a tile with a spectrum of slits or beams of grisms."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import NotFoundError, SkymereError
from skymere.grism import redshift_cdf
from skymere.io import Pack
from skymere.lake import Lake, RaggedSpill, Run, edited_beams
from skymere.pipeline.cores import own_threads
from skymere.pipeline.grism_fit_rows import grism_rows
from skymere.pipeline.grism_fits import FitTemplates, fit_sets, try_fit
from skymere.pipeline.items import item_row, items_frame
from skymere.pipeline.owners import owner_of
from skymere.pipeline.plan import Plan
from skymere.pipeline.redshift_rows import FLAGS, FittedRows, slit_rows, template_digest
from skymere.pipeline.slit_fits import chosen_spectra, fit_slit_spectrum, slit_dispersion, slit_templates
from skymere.pipeline.slit_plan import RedshiftsPlan, plan_pack, without
from skymere.pipeline.task import Stage, Task, as_params
from skymere.spectra import RedshiftFit

__all__ = ["STAGE", "redshift_tasks", "with_bands"]

_BATCH = 32
# Sources with beams that are in memory at a time.
_BEAMS_PER_WORKER = 4
# What `Spectrum1D` takes, as schemas 1.3.0, 1.2.0, 1.1.0 and 1.0.0 have it.
_PLANES: Sequence[Mapping[str, str]] = (
    {
        "wavelength_mean": "wave",
        "wavelength_spread": "spread",
        "flux": "flux",
        "flux_err": "err",
        "covariance": "covariance",
    },
    {"wavelength_mean": "wave", "flux": "flux", "flux_err": "err", "covariance": "covariance"},
    {"wavelength": "wave", "flux": "flux", "flux_err": "err", "covariance": "covariance"},
    {"wavelength": "wave", "flux": "flux", "flux_err": "err"},
)
_READS = ("slit_spectrum", "beam", "beam_action")


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with sources that have a spectrum of slits or beams.

    Raises
    ------
    NotFoundError
        When there is no such pack.
    """
    return redshift_tasks(plan.redshifts, plan.folder, lake)


def redshift_tasks(plan: RedshiftsPlan, folder: Path, lake: Lake) -> list[Task]:
    """Return one task for each tile with sources that have a spectrum of slits or beams; see `tasks`.

    Parameters
    ----------
    plan : RedshiftsPlan
        The section.
    folder : Path
        Where the folders of packs and templates begin.
    lake : Lake
        The lake.

    Raises
    ------
    NotFoundError
        When there is no such pack.
    """
    runs = {name: lake.live_runs(name) if plan.is_on else {} for name in _READS}
    has_beams = bool(plan.grism.templates) and bool(runs["beam"])
    if not runs["slit_spectrum"] and not has_beams:
        return []
    jobs: dict[str, dict[str, Any]] = {}
    pack = None
    if runs["slit_spectrum"]:
        pack = plan_pack(plan, folder)
        rows = chosen_spectra(lake, plan)
        owner = [owner_of(lake, ra, dec) for ra, dec in rows.select("ra", "dec").iter_rows()]
        rows = rows.with_columns(owner=pl.Series(owner, dtype=pl.String)).filter(pl.col("owner") != "")
        for part in rows.partition_by("owner", maintain_order=True):
            jobs.setdefault(part["owner"][0], {})["slits"] = part
    sets = fit_sets(plan.grism, folder) if has_beams else None
    for tile in runs["beam"] if has_beams else ():
        jobs.setdefault(tile, {})["beams"] = True
    # A tile whose last spectrum has gone has no redshift either.
    names = sorted({*jobs, *lake.live_runs("redshift")})
    return [
        _task(_Job(tile=name, lake=lake, plan=plan, pack=pack, sets=sets, **jobs.get(name, {})), runs) for name in names
    ]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The sources of a tile: rows of their spectra of slits, and whether there are beams."""

    tile: str
    lake: Lake
    plan: RedshiftsPlan
    pack: Pack | None
    sets: FitTemplates | None
    slits: pl.DataFrame | None = None
    beams: bool = False


def _task(job: _Job, runs: Mapping[str, Mapping[str, str]]) -> Task:
    inputs: list[Any] = []
    how = without(as_params(job.plan), "n_workers", "is_on", "pack", "pack_version", "grism")
    params: dict[str, Any] = {"redshifts": how, "flags": dict(FLAGS)}
    if job.pack is not None:
        slits = [] if job.slits is None else job.slits["spectrum_id"].to_list()
        tiles = [] if job.slits is None else sorted(set(job.slits["tile"].to_list()))
        inputs += [{"uri": f"slit_spectrum/{name}", "run": runs["slit_spectrum"][name]} for name in tiles]
        inputs.append({"uri": f"pack/{job.pack.label}", "sha256": job.pack.digest})
        params["spectra"] = slits
    if job.beams and job.sets is not None:
        some = ("beam", "beam_action")
        inputs += [
            {"uri": f"{name}/{job.tile}", "run": runs[name][job.tile]} for name in some if job.tile in runs[name]
        ]
        grism = job.plan.grism
        params["grism"] = without(as_params(grism), "templates")
        params["templates"] = [
            template_digest(one.templates, grism.params) for one in (job.sets.search, job.sets.lines)
        ]
    return Task(tile=job.tile, inputs=inputs, params=params, work=partial(_work, job))


def _work(job: _Job, run: Run) -> None:
    redshifts: list[dict[str, Any]] = []
    pzs: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    levels: list[NDArray[np.float64]] = []
    with RaggedSpill("redshift") as numbers, RaggedSpill("pz") as densities:
        for one, seconds in chain(_slit_fits(job), _grism_fits(job)):
            row = one.redshift | {"redshift_row": len(numbers) if one.numbers else None}
            redshifts.append(row)
            # A source may have slits and beams.
            name = f"{row['source_id']}" if row["method"] == "slit" else f"{row['source_id']}-{row['method']}"
            items.append(item_row(name, row["status"], row["message"], seconds=seconds))
            if one.numbers:
                # All objects of a product have the same planes.
                nothing = {"covariance": np.zeros((0, 0))} if job.beams else {}
                numbers.add({**nothing, **one.numbers})
                pzs.append(one.pz | {"pz_row": len(densities)})
                unknown = {"risk": np.full(one.density["z"].shape, np.nan)} if job.beams else {}
                densities.add({**unknown, **one.density})
                if job.beams:
                    levels.append(redshift_cdf(one.density["z"], one.density["pdf"]))
                lines += one.lines
        with run.beside("pz") as its:
            if not its.already:
                its.write("source_id", np.array([row["source_id"] for row in pzs], np.int64))
                densities.write(its)
                if levels:
                    its.write("cdf_z", np.stack(levels))
                its.publish(its.frame(pzs))
        with run.beside("line") as its:
            if not its.already:
                its.publish(its.frame(lines))
        kept = [row["source_id"] for row in redshifts if row["redshift_row"] is not None]
        run.write("source_id", np.array(kept, np.int64))
        numbers.write(run)
        # What the frame does not bring is filled in: the index of the position follows from it.
        run.publish(with_bands(run, redshifts), items=items_frame(items))


def with_bands(run: Run, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return rows as a table with the columns of their grisms.

    Parameters
    ----------
    run : Run
        A run of the product ``redshift``.
    rows : sequence of mapping
        Rows; those of grisms have ``exptime_``, ``n_exposures_`` and ``n_pa_`` with the name of each.
    """
    kinds = {"exptime_": pl.Float64, "n_exposures_": pl.Int32, "n_pa_": pl.Int32}
    bands = sorted({name for row in rows for name in row if name.startswith(tuple(kinds))})
    plain = [{name: value for name, value in row.items() if name not in bands} for row in rows]
    columns = [
        pl.Series(
            name, [row.get(name) for row in rows], next(kind for start, kind in kinds.items() if name.startswith(start))
        )
        for name in bands
    ]
    return run.frame(plain).drop("_healpix_29").with_columns(columns)


def _slit_fits(job: _Job) -> Iterator[tuple[FittedRows, float | None]]:
    """Yield what the lake gets of each spectrum of slits."""
    if job.slits is None or job.pack is None:
        return
    for row, wave, fit in _fits(job.lake, job.plan, job.pack, job.slits):
        digest = template_digest(slit_templates(job.plan, row["grating"]), job.plan.params)
        yield slit_rows(row, wave, fit, digest=digest), None


def _grism_fits(job: _Job) -> Iterator[tuple[FittedRows, float | None]]:
    """Yield what the lake gets of the beams of each source."""
    sets, plan = job.sets, job.plan.grism
    if not job.beams or sets is None:
        return
    rows = job.lake.table("beam").filter(pl.col("tile") == job.tile).collect()
    sources = rows.select("source_id", "ra", "dec").unique("source_id", keep="first")
    by_id = {row["source_id"]: row for row in sources.iter_rows(named=True)}
    digest = template_digest(sets.search.templates, plan.params)
    n_workers = own_threads(job.plan.n_workers)
    pool, stored = _threads(n_workers), edited_beams(job.lake, rows)
    while some := list(islice(stored, _BEAMS_PER_WORKER * n_workers)):
        fits = [
            None if isinstance(found, SkymereError) else pool.submit(try_fit, found, sets, plan) for _, found in some
        ]
        for (source_id, found), fit in zip(some, fits, strict=True):
            if fit is None or isinstance(found, SkymereError):
                fault = f"{type(found).__name__}: {found}"
                yield grism_rows(by_id[source_id], None, fault, digest=digest), None
                continue
            made = fit.result()
            seconds = None if isinstance(made, str) else made.seconds
            yield grism_rows(by_id[source_id], found, made, digest=digest), seconds


def _fits(
    lake: Lake, plan: RedshiftsPlan, pack: Pack, rows: pl.DataFrame
) -> Iterator[tuple[dict[str, Any], NDArray[np.float64], RedshiftFit | str]]:
    """Yield row, wavelengths and fit of each source; some are read at once, and fitted in threads."""
    resolutions = {grating: slit_dispersion(pack, grating) for grating in sorted(set(rows["grating"].to_list()))}
    pool = _threads(own_threads(plan.n_workers))
    for part in rows.iter_slices(_BATCH):
        some = part.to_dicts()
        spectra = _read(lake, [row["spectrum_id"] for row in some])
        jobs = [
            pool.submit(fit_slit_spectrum, plan, row["grating"], one, resolutions[row["grating"]])
            for row, one in zip(some, spectra, strict=True)
        ]
        for row, one, job in zip(some, spectra, jobs, strict=True):
            yield row, one["wave"], job.result()


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    """Return the threads of all tiles: kernels keep something for each thread that ever called one."""
    return ThreadPoolExecutor(n, thread_name_prefix="redshifts")


def _read(lake: Lake, ids: Sequence[int]) -> list[dict[str, NDArray[Any]]]:
    """Return what `Spectrum1D` takes of each spectrum."""
    for planes in _PLANES:
        with suppress(NotFoundError):
            read = lake.spectra(ids, product="slit_spectrum", planes=list(planes))
            return [{name: one[plane] for plane, name in planes.items()} for one in read]
    msg = f"slit_spectrum: the arrays of some of {len(ids)} spectra are not there"
    raise NotFoundError(msg)


STAGE = Stage(
    name="redshifts",
    reads=_READS,
    writes=("redshift", "pz", "line"),
    tasks=tasks,
)
