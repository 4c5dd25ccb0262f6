"""Beams, spectra and stacks of grisms as files of grizli."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from skymere.datamodels import GrismSpectrum, GrismStack
from skymere.io import write_beam_file, write_grism_spectra, write_grism_stacks
from skymere.lake import Lake
from skymere.lake.beams import multibeams_of_rows
from skymere.lake.ragged import read_ragged

__all__ = ["export_beams", "export_spectra", "export_stacks"]

Namer = Callable[[int, str], Path]


def _by_source(lake: Lake, product: str, tile: str, wanted: pl.Expr) -> Iterator[pl.DataFrame]:
    """Yield the good rows of each source of a tile."""
    rows = lake.table(product).filter(pl.col("tile") == tile, wanted)
    if "status" in rows.collect_schema():
        rows = rows.filter(pl.col("status") == "ok")
    yield from rows.collect().sort("source_id").partition_by("source_id", maintain_order=True)


def export_beams(
    lake: Lake, tile: str, wanted: pl.Expr, name: Namer, labels: Mapping[int, int]
) -> Iterator[tuple[int, Path]]:
    """Write ``beams.fits`` of sources.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str
        The tile.
    wanted : polars.Expr
        Which rows.
    name : callable
        Path of a file, of the number of its source and its ending.
    labels : mapping of int to int
        Number of each source.
    """
    for rows in _by_source(lake, "beam", tile, wanted):
        source_id = int(rows["source_id"][0])
        (multibeam,) = multibeams_of_rows(lake, rows).values()
        place = f"RA      = {rows['ra'][0]!r}\nDEC     = {rows['dec'][0]!r}"
        beams = [one.beam for one in multibeam.beams]
        beams = [replace(beam, headers={**beam.headers, "primary": place}) for beam in beams]
        path = name(labels[source_id], "beams.fits")
        write_beam_file(path, beams)
        yield source_id, path


def export_spectra(
    lake: Lake, tile: str, wanted: pl.Expr, name: Namer, labels: Mapping[int, int]
) -> Iterator[tuple[int, Path]]:
    """Write ``1D.fits`` of sources; parameters are those of `export_beams`."""
    for rows in _by_source(lake, "spectrum", tile, wanted):
        source_id = int(rows["source_id"][0])
        arrays = read_ragged(lake, "spectrum", rows, row="spectrum_row")
        found = {row["grating"].upper(): _spectrum(row, arrays[i]) for i, row in enumerate(rows.iter_rows(named=True))}
        path = name(labels[source_id], "1D.fits")
        about = {"source_id": labels[source_id], "ra": rows["ra"][0], "dec": rows["dec"][0], "target": tile}
        write_grism_spectra(found, path, **about)
        yield source_id, path


def _spectrum(row: Mapping[str, Any], arrays: Mapping[str, Any]) -> GrismSpectrum:
    """Return a spectrum in e/s, as it was before its sensitivity was divided out."""
    names = ("wavelength", "flux", "flux_err", "flat", "line", "continuum", "contam")
    wave, flam, err, flat, line, continuum, contam = (np.asarray(arrays[one], np.float64) for one in names)
    columns = {
        "wave": wave,
        "flux": flam * flat,
        "err": err * flat,
        "npix": np.asarray(arrays["npix"], np.int64),
        "flat": flat,
        "contam": contam * flat,
        "line": (line + continuum) * flat,
        "cont": continuum * flat,
        "flam": flam,
        "flam_err": err,
    }
    exptime = float("nan") if row["exptime"] is None else row["exptime"]
    table = pl.DataFrame(columns).fill_nan(None)
    return GrismSpectrum(grism=row["grating"].upper(), table=table, exptime=exptime, n_exposures=row["n_beams"])


def export_stacks(
    lake: Lake, tile: str, wanted: pl.Expr, name: Namer, labels: Mapping[int, int]
) -> Iterator[tuple[int, Path]]:
    """Write ``stack.fits`` of sources; parameters are those of `export_beams`."""
    redshifts = lake.table("redshift").filter(pl.col("tile") == tile, pl.col("method") == "grism")
    z = dict(redshifts.select("source_id", "redshift").collect().iter_rows())
    for mine in _by_source(lake, "stack", tile, wanted):
        source_id = int(mine["source_id"][0])
        # Those of all angles come last.
        rows = mine.sort("grating", "pa", nulls_last=True)
        arrays = read_ragged(lake, "stack", rows, row="stack_row")
        stacks = [_stack(row, arrays[i], z.get(source_id)) for i, row in enumerate(rows.iter_rows(named=True))]
        path = name(labels[source_id], "stack.fits")
        write_grism_stacks(stacks, path, source_id=labels[source_id], ra=rows["ra"][0], dec=rows["dec"][0])
        yield source_id, path


def _stack(row: Mapping[str, Any], arrays: Mapping[str, Any], z: float | None) -> GrismStack:
    def number(value: float | None) -> float:
        return float("nan") if value is None else float(value)

    return GrismStack(
        grism=row["grating"].upper(),
        angle=row["pa"],
        sci=arrays["sci"],
        weight=arrays["wht"],
        contam=arrays["contam"],
        model=arrays["model"],
        kernel=arrays["stack_kernel"],
        wave=arrays["wavelength"],
        middle=float(row["ny"] // 2),
        exptime=number(row["exptime"]),
        z=number(z),
        pixfrac=number(row["pixfrac"]),
        drizzle_kernel=row["kernel"],
    )
