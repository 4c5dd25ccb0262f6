"""What a report counts: rows of products, depths, PSFs, alignments, failures, times."""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from skymere.lake import Lake, about_objects, products

__all__ = [
    "alignment_table",
    "bad_objects",
    "band_counts",
    "depth_table",
    "product_counts",
    "psf_table",
    "stage_times",
    "unfinished_tasks",
]

# Tables about the work, not about the sky.
_LEDGER = ("run", "run_item")
# An error of a faint source is that of the sky.
_FAINT_SNR = 10.0


def product_counts(lake: Lake) -> pl.DataFrame:
    """Return rows of each product: all, with a result, without; tiles and runs.

    Parameters
    ----------
    lake : Lake
        The lake.

    Returns
    -------
    polars.DataFrame
        ``product, rows, ok, not ok, tiles, runs``; without products that have no row.
    """
    found = []
    for name in products():
        if name in _LEDGER:
            continue
        table = lake.table(name)
        columns = table.collect_schema().names()
        asked = [
            pl.len().alias("rows"),
            pl.col("tile").n_unique().alias("tiles"),
            pl.col("run_id").n_unique().alias("runs"),
        ]
        if "status" in columns:
            asked.append((pl.col("status") == "ok").sum().alias("ok"))
        row = table.select(asked).collect().row(0, named=True)
        if row["rows"]:
            bad = row["rows"] - row["ok"] if "ok" in row else None
            found.append(
                {"product": name, "rows": row["rows"], "ok": row.get("ok"), "not ok": bad}
                | {k: row[k] for k in ("tiles", "runs")}
            )
    kinds = dict.fromkeys(("rows", "ok", "not ok", "tiles", "runs"), pl.Int64)
    return pl.DataFrame(found, schema={"product": pl.String, **kinds})


def band_counts(lake: Lake) -> pl.DataFrame:
    """Return rows with a result of each product by band, a column for each band.

    Parameters
    ----------
    lake : Lake
        The lake.

    Returns
    -------
    polars.DataFrame
        ``product`` and a column for each band or grating; sources count where they have an AUTO flux.
    """
    parts = []
    for name in products():
        if name in _LEDGER:
            continue
        table = lake.table(name)
        columns = table.collect_schema().names()
        by = "grating" if "grating" in columns and name != "exposure" else "band" if "band" in columns else None
        if name == "source":
            fluxes = [one for one in columns if one.startswith("flux_auto_") and not one.startswith("flux_auto_err")]
            row = table.select(pl.col(fluxes).is_not_null().sum()).collect() if fluxes else pl.DataFrame()
            parts += [(name, one.removeprefix("flux_auto_"), row[one][0]) for one in row.columns]
        elif by is not None:
            good = table.filter(pl.col("status") == "ok") if "status" in columns else table
            parts += [
                (name, band or "-", n) for band, n in good.group_by(by).agg(pl.len()).sort(by).collect().iter_rows()
            ]
    long = pl.DataFrame(parts, schema={"product": pl.String, "band": pl.String, "n": pl.Int64}, orient="row")
    if long.is_empty():
        return pl.DataFrame(schema={"product": pl.String})
    wide = long.pivot(on="band", index="product", values="n", maintain_order=True)
    return wide.select("product", *sorted(name for name in wide.columns if name != "product"))


def depth_table(lake: Lake) -> pl.DataFrame:
    """Return how deep each band of each tile is.

    Parameters
    ----------
    lake : Lake
        The lake.

    Returns
    -------
    polars.DataFrame
        ``tile, band, exposures``, ``exptime`` [s], ``area`` [arcmin2], ``aperture`` (median 1 sigma of the first
        aperture flux of faint sources [uJy]), ``depth`` (five of them [AB]), ``forced`` and ``forced depth`` (the
        same of forced fluxes). Null where the lake does not say it.

    Notes
    -----
    Errors are those of the catalogue, with the correlation of the noise; sources above 10 sigma, whose own light counts
    in the error, are left out.
    """
    mosaics = lake.table("mosaic").filter(pl.col("status") == "ok").sort("tile", "band")
    rows = mosaics.select(
        "tile",
        "band",
        "n_exposures",
        "exptime",
        (pl.col("n_covered") * pl.col("scale_arcsec") ** 2 / 3600.0).alias("area"),
    ).collect()
    aperture, forced = _aperture_errors(lake), _forced_errors(lake)
    bands = rows.select("tile", "band")
    alone = forced.join(bands, on=["tile", "band"], how="anti").select("tile", "band")
    both = pl.concat([rows, alone], how="diagonal").join(aperture, on=["tile", "band"], how="left")
    return (
        both.join(forced, on=["tile", "band"], how="left")
        .with_columns(_magnitude("aperture").alias("depth"), _magnitude("forced").alias("forced depth"))
        .rename({"n_exposures": "exposures"})
        .select("tile", "band", "exposures", "exptime", "area", "aperture", "depth", "forced", "forced depth")
        .sort("tile", "band")
    )


def _magnitude(column: str) -> pl.Expr:
    return pl.when(pl.col(column) > 0).then(23.9 - 2.5 * (5.0 * pl.col(column)).log10())


def _aperture_errors(lake: Lake) -> pl.DataFrame:
    """Return the median error of the first aperture of faint sources by tile and band."""
    kinds = {"tile": pl.String, "band": pl.String, "aperture": pl.Float64}
    table = lake.table("source")
    columns = table.collect_schema().names()
    parts = [pl.DataFrame(schema=kinds)]
    for name in columns:
        if not name.startswith("flux_aper1_err_"):
            continue
        band = name.removeprefix("flux_aper1_err_")
        flux, error = pl.col(f"flux_aper1_{band}"), pl.col(name)
        faint = table.filter(error > 0, flux < _FAINT_SNR * error)
        found = faint.group_by("tile").agg(error.median().cast(pl.Float64).alias("aperture")).collect()
        parts.append(found.select("tile", pl.lit(band).alias("band"), "aperture"))
    return pl.concat(parts)


def _forced_errors(lake: Lake) -> pl.DataFrame:
    rows = lake.table("flux").filter(
        pl.col("status") == "ok", pl.col("flux_err") > 0, pl.col("flux") < _FAINT_SNR * pl.col("flux_err")
    )
    return rows.group_by("tile", "band").agg(pl.col("flux_err").median().cast(pl.Float64).alias("forced")).collect()


def psf_table(lake: Lake) -> pl.DataFrame:
    """Return the PSFs of mosaics: ``tile, band, kind, status, n_stars, fwhm`` [arcsec], ``ellipticity, enclosed``.

    Parameters
    ----------
    lake : Lake
        The lake.
    """
    columns = ("tile", "band", "kind", "status", "n_stars", "fwhm", "ellipticity", "enclosed", "message")
    return lake.table("psf").sort("tile", "band", "psf_id").select(columns).collect()


def alignment_table(lake: Lake) -> pl.DataFrame:
    """Return the solutions in use: status and method, shifts [arcsec], residuals [mas], pairs, ``message``.

    Parameters
    ----------
    lake : Lake
        The lake.
    """
    rows = lake.table("wcs_solution").sort("exposure_id", "is_active", "solution_id", descending=[False, True, False])
    table = rows.collect().unique("exposure_id", keep="first", maintain_order=True)
    return table.select(
        "exposure_id", "status", "method", "fitgeom", "shift_x", "shift_y",
        (1000.0 * pl.col("rmse")).alias("rms [mas]"), pl.col("n_matches").alias("pairs"), "message",
    )  # fmt: skip


def unfinished_tasks(lake: Lake) -> pl.DataFrame:
    """Return the tasks that failed or are held, with the reason.

    Parameters
    ----------
    lake : Lake
        The lake.
    """
    rows = lake.tasks().filter(pl.col("status").is_in(["failed", "held"]))
    return rows.select("stage", "tile", "product", "status", "error_class", "message", "recorded")


def bad_objects(lake: Lake) -> pl.DataFrame:
    """Return how many single objects have no result, by stage and reason, the most frequent first.

    Parameters
    ----------
    lake : Lake
        The lake.
    """
    shown = lake.tasks().filter(pl.col("status") == "published").select("stage", "tile", "run_id").unique()
    items = about_objects(lake.table("run_item")).filter(pl.col("status") != "ok").collect()
    mine = items.join(shown, on=["stage", "tile", "run_id"], how="semi")
    counted = mine.group_by("stage", "status", "error_class", "message").agg(
        pl.len().cast(pl.Int64).alias("objects"), pl.col("item").sort().first().alias("such as")
    )
    return counted.sort("objects", "stage", "message", descending=[True, False, False])


def stage_times(lake: Lake) -> pl.DataFrame:
    """Return what each stage cost, of the tasks that the lake shows, in the order in which they began.

    Parameters
    ----------
    lake : Lake
        The lake.

    Returns
    -------
    polars.DataFrame
        ``stage, tasks, seconds, CPU seconds``, ``peak`` [MiB], ``read`` and ``written`` [MiB].
    """
    shown = lake.tasks().filter(pl.col("status") == "published").select("stage", "tile", "product", "run_id")
    runs = lake.table("run").collect().join(shown, on=["stage", "tile", "product", "run_id"], how="semi")
    mib = 2.0**20
    return (
        runs.group_by("stage")
        .agg(
            pl.col("tile").n_unique().cast(pl.Int64).alias("tiles"),
            pl.len().cast(pl.Int64).alias("products"),
            pl.col("seconds").sum(),
            pl.col("cpu_seconds").sum().alias("CPU seconds"),
            pl.col("peak_memory").max().alias("peak [MiB]"),
            (pl.col("bytes_read").sum() / mib).alias("read [MiB]"),
            (pl.col("bytes_written").sum() / mib).alias("written [MiB]"),
            pl.col("started").min(),
        )
        .sort("started", "stage")
        .drop("started")
    )


def run_facts(row: Mapping[str, Any]) -> pl.DataFrame:
    """Return a row of ``run`` as a table of names and values, without parameters and inputs.

    Parameters
    ----------
    row : mapping
        The row.
    """
    shown = {name: value for name, value in row.items() if name not in ("params", "inputs")}
    warnings = json.loads(shown.pop("warnings", None) or "[]")
    facts = [(name, "-" if value is None else str(value)) for name, value in shown.items()]
    facts += [("warning", str(text)) for text in warnings]
    return pl.DataFrame(facts, schema={"fact": pl.String, "value": pl.String}, orient="row")
