"""redshifts: redshift, p(z) and lines of every source of a tile that has a combined spectrum of slits."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Spectrum1D
from skymere.errors import SkymereError
from skymere.io import Pack, read_dispersion
from skymere.lake import Lake, RaggedSpill, Run
from skymere.lake.forms import table_dtypes
from skymere.pipeline.owners import owner_of
from skymere.pipeline.plan import Plan
from skymere.pipeline.redshift_rows import (
    FLAGS,
    line_rows,
    pz_planes,
    pz_row,
    redshift_planes,
    redshift_row,
    template_digest,
)
from skymere.pipeline.slit_plan import RedshiftsPlan, plan_pack, without
from skymere.pipeline.task import Stage, Task, as_params
from skymere.spectra import RedshiftFit, fit_redshift, grating_templates, prism_templates

__all__ = ["STAGE", "redshift_tasks"]

_BATCH = 32
_PLANES = ("wavelength", "flux", "flux_err")


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with sources that have a spectrum of slits.

    Raises
    ------
    NotFoundError
        When there is no such pack.
    """
    return redshift_tasks(plan.redshifts, plan.folder, lake)


def redshift_tasks(plan: RedshiftsPlan, folder: Path, lake: Lake) -> list[Task]:
    """Return one task for each tile with sources that have a spectrum of slits; see `tasks`.

    Parameters
    ----------
    plan : RedshiftsPlan
        The section.
    folder : Path
        Where the folder of a pack begins.
    lake : Lake
        The lake.

    Raises
    ------
    NotFoundError
        When there is no such pack.
    """
    runs = lake.live_runs("slit_spectrum") if plan.is_on else {}
    if not runs:
        return []
    pack = plan_pack(plan, folder)
    rows = _chosen(lake, plan)
    owner = [owner_of(lake, ra, dec) for ra, dec in rows.select("ra", "dec").iter_rows()]
    rows = rows.with_columns(owner=pl.Series(owner, dtype=pl.String)).filter(pl.col("owner") != "")
    # A tile whose last spectrum has gone has no redshift either.
    names = sorted({*rows["owner"].to_list(), *lake.live_runs("redshift")})
    return [_task(name, rows.filter(pl.col("owner") == name), runs, plan, pack, lake) for name in names]


def _chosen(lake: Lake, plan: RedshiftsPlan) -> pl.DataFrame:
    """Return the spectrum of each source that is fitted, ordered by source."""
    order = {grating.lower(): k for k, grating in enumerate(plan.gratings)}
    table = lake.table("slit_spectrum").filter(
        pl.col("status") == "ok", pl.col("ra").is_not_null(), pl.col("grating").is_in(list(order))
    )
    rank = pl.col("grating").replace_strict(order, default=None, return_dtype=pl.Int64)
    chosen = table.with_columns(rank=rank).sort(
        "source_id", "rank", "snr", "spectrum_id", descending=[False, False, True, False]
    )
    return chosen.unique("source_id", keep="first", maintain_order=True).drop("meta").collect()


def _task(tile: str, rows: pl.DataFrame, runs: Mapping[str, str], plan: RedshiftsPlan, pack: Pack, lake: Lake) -> Task:
    read = [{"uri": f"slit_spectrum/{name}", "run": runs[name]} for name in sorted(set(rows["tile"].to_list()))]
    how = without(as_params(plan), "n_workers", "is_on", "pack", "pack_version")
    return Task(
        tile=tile,
        inputs=[*read, {"uri": f"pack/{pack.label}", "sha256": pack.digest}],
        params={"redshifts": how, "flags": dict(FLAGS), "spectra": rows["spectrum_id"].to_list()},
        work=partial(_work, lake, plan, pack, rows),
    )


def _work(lake: Lake, plan: RedshiftsPlan, pack: Pack, rows: pl.DataFrame, run: Run) -> None:
    redshifts: list[dict[str, Any]] = []
    pzs: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    with RaggedSpill("redshift") as numbers, RaggedSpill("pz") as densities:
        for row, wave, fit in _fits(lake, plan, pack, rows):
            templates = _templates(plan, row["grating"])
            digest = template_digest(templates, plan.params)
            has_fit = isinstance(fit, RedshiftFit) and fit.status != "no_data"
            redshifts.append(redshift_row(row, fit, digest=digest, row=len(numbers) if has_fit else None))
            items.append(_item(redshifts[-1]))
            if isinstance(fit, RedshiftFit) and has_fit:
                numbers.add(redshift_planes(wave, fit))
                pzs.append(pz_row(row, fit, row=len(densities)))
                densities.add(pz_planes(fit))
                lines += line_rows(row, fit)
        with _beside(lake, run, "pz") as its:
            if not its.already:
                its.write("source_id", np.array([row["source_id"] for row in pzs], np.int64))
                densities.write(its)
                its.publish(its.frame(pzs))
        with _beside(lake, run, "line") as its:
            if not its.already:
                its.publish(its.frame(lines))
        kept = [row["source_id"] for row in redshifts if row["redshift_row"] is not None]
        run.write("source_id", np.array(kept, np.int64))
        numbers.write(run)
        wanted = table_dtypes("run_item")
        schema = {name: wanted[name] for name in wanted if name not in ("run_id", "stage", "tile")}
        # What the frame does not bring is filled in: the index of the position follows from it.
        run.publish(run.frame(redshifts).drop("_healpix_29"), items=pl.DataFrame(items, schema=schema))


def _beside(lake: Lake, run: Run, product: str) -> Run:
    """Return the run of another product of the same work: a run makes one product, and its row tells which."""
    params = run.params | {"product": product}
    return lake.run(stage=run.stage, tile=run.tile, product=product, inputs=run.inputs, params=params)


def _item(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "item": str(row["source_id"]),
        "status": row["status"],
        "error_class": "" if row["status"] == "ok" else "NoDataError",
        "message": row["message"],
        "seconds": None,
        "peak_memory": None,
    }


def _fits(
    lake: Lake, plan: RedshiftsPlan, pack: Pack, rows: pl.DataFrame
) -> Iterator[tuple[dict[str, Any], NDArray[np.float64], RedshiftFit | str]]:
    """Yield row, wavelengths and fit of each source; some are read at once, and fitted in threads."""
    resolutions = {grating: _resolution(pack, grating) for grating in sorted(set(rows["grating"].to_list()))}
    with ThreadPoolExecutor(plan.n_workers or os.cpu_count() or 1) as pool:
        for part in rows.iter_slices(_BATCH):
            some = part.to_dicts()
            ids = [row["spectrum_id"] for row in some]
            read = lake.spectra(ids, product="slit_spectrum", planes=_PLANES)
            arrays = [tuple(read[i][name] for name in _PLANES) for i in range(len(ids))]
            jobs = [
                pool.submit(_fit, plan, row["grating"], one, resolutions[row["grating"]])
                for row, one in zip(some, arrays, strict=True)
            ]
            for row, one, job in zip(some, arrays, jobs, strict=True):
                yield row, one[0], job.result()


def _resolution(pack: Pack, grating: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    table = read_dispersion(pack.path(f"jwst_nirspec_{grating}_disp.fits"))
    return table["wavelength"].to_numpy(), table["resolution"].to_numpy()


def _templates(plan: RedshiftsPlan, grating: str) -> tuple[Any, ...]:
    return (prism_templates if grating == "prism" else grating_templates)(n_splines=plan.n_splines)


def _fit(
    plan: RedshiftsPlan,
    grating: str,
    arrays: Sequence[NDArray[Any]],
    resolution: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> RedshiftFit | str:
    wave, flux, err = arrays
    try:
        spectrum = Spectrum1D(wave=wave, flux=flux, err=err, resolution=np.interp(wave, *resolution))
        return fit_redshift(spectrum, templates=_templates(plan, grating), z_range=plan.z_range, params=plan.params)
    except (SkymereError, np.linalg.LinAlgError) as error:
        return f"{type(error).__name__}: {error}"


STAGE = Stage(
    name="redshifts",
    reads=("slit_spectrum",),
    writes=("redshift", "pz", "line"),
    tasks=tasks,
)
