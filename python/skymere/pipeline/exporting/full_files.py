"""Redshifts, lines and line maps of a source as ``full.fits``."""

import json
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import BEAM_COLUMNS, BandThumbnail, LineMap, LineMaps, Thumbnail
from skymere.io import FullFile, write_full_file
from skymere.lake import Lake
from skymere.lake.ragged import read_ragged
from skymere.pipeline.grism_fit_rows import METHOD
from skymere.pipeline.grizli_names import REDSHIFT_COLUMNS
from skymere.wcs import Grid

__all__ = ["export_full_files"]

_NAN = float("nan")


def export_full_files(
    lake: Lake, tile: str, wanted: pl.Expr, name: Callable[[int, str], Path], labels: Mapping[int, int]
) -> Iterator[tuple[int, Path]]:
    """Write ``full.fits`` of sources with line maps.

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
    here = pl.col("tile") == tile
    rows = lake.table("line_map").filter(here, wanted, pl.col("status") == "ok").collect()
    for mine in rows.sort("source_id", "map_row").partition_by("source_id", maintain_order=True):
        source_id = int(mine["source_id"][0])
        full = _full(lake, mine, labels)
        path = name(labels[source_id], "full.fits")
        write_full_file(full, path, version=version("skymere"))
        yield source_id, path


def _full(lake: Lake, rows: pl.DataFrame, labels: Mapping[int, int]) -> FullFile:
    source_id, tile = int(rows["source_id"][0]), str(rows["tile"][0])
    its = pl.col("source_id") == source_id, pl.col("tile") == tile
    of_grism = (*its, pl.col("method") == METHOD)
    fits = lake.table("redshift").filter(*of_grism).collect()
    curves = lake.table("pz").filter(*of_grism).collect()
    lines = lake.table("line").filter(*of_grism).collect()
    fit = next(fits.iter_rows(named=True), {})
    maps, thumbnail = _images(lake, rows, labels, lines, _beams(lake, its, fit))
    return FullFile(
        maps=maps,
        thumbnail=thumbnail,
        columns=_columns(fit),
        lines=lines.select("line", "flux", "flux_err", "ew16", "ew50", "ew84", "ewhw"),
        redshifts=_curve(lake, curves),
        **_numbers(lake, fits),
    )


def _columns(fit: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row of ``redshift`` says, with the names of grizli."""
    columns = {theirs: fit.get(ours) for ours, theirs in REDSHIFT_COLUMNS.items()}
    columns |= {"dlineid": fit.get("deviant_line") or None, "dlinesn": fit.get("deviant_snr")}
    low2, low, high, high2 = (fit.get(name) for name in ("z02", "z16", "z84", "z97"))
    if low is not None and high is not None:
        columns["zwidth1"] = (high - low) / 2
    if low2 is not None and high2 is not None:
        columns["zwidth2"] = (high2 - low2) / 2
    return columns


def _curve(lake: Lake, rows: pl.DataFrame) -> pl.DataFrame:
    if rows.is_empty():
        return pl.DataFrame()
    arrays = read_ragged(lake, "pz", rows, row="pz_row", planes=["z", "chi2", "pdf"])[0]
    return pl.DataFrame(dict(arrays))


def _numbers(lake: Lake, rows: pl.DataFrame) -> dict[str, Any]:
    """Return covariance, template and coefficients of a fit."""
    rows = rows.filter(pl.col("redshift_row").is_not_null())
    if rows.is_empty():
        return {}
    arrays = read_ragged(lake, "redshift", rows, row="redshift_row")[0]
    names = json.loads(rows["coefficients"][0])
    found: dict[str, Any] = {}
    if arrays["template_wavelength"].size:
        planes = {"wave": "template_wavelength", "continuum": "template_continuum", "full": "template_full"}
        found["template"] = pl.DataFrame({name: arrays[plane] for name, plane in planes.items()})
    if len(names) and len(names) == arrays["coefficient"].size:
        values = {"value": arrays["coefficient"], "error": arrays["coefficient_err"]}
        found["coefficients"] = pl.DataFrame({"name": names, **values})
    if "covariance" in arrays and arrays["covariance"].size:
        found["covariance"] = arrays["covariance"]
    return found


def _beams(lake: Lake, its: tuple[pl.Expr, ...], fit: Mapping[str, Any]) -> pl.DataFrame:
    """Return the beams of a source; without them as many as the fit says to have had."""
    rows = lake.table("beam").filter(*its).sort("beam_id").collect()
    if rows.height:
        return rows.select(
            file="exposure_id", grism=pl.col("grating").str.to_uppercase(), order="order_name", angle="pa",
            exptime="exptime",
        )  # fmt: skip
    made = []
    for name, total in fit.items():
        grism = name.removeprefix("exptime_")
        n = fit.get(f"n_exposures_{grism}")
        if grism != name and total is not None and n:
            one = {"file": "", "grism": grism.upper(), "order": "", "angle": None, "exptime": total / n}
            made += [one] * n
    return pl.DataFrame(made, schema=dict(BEAM_COLUMNS))


def _images(
    lake: Lake, rows: pl.DataFrame, labels: Mapping[int, int], lines: pl.DataFrame, beams: pl.DataFrame
) -> tuple[LineMaps, Thumbnail | None]:
    first = rows.row(0, named=True)
    source_id = first["source_id"]
    grid = Grid.from_cards(json.loads(first["wcs"]), (first["ny"], first["nx"]))
    fluxes = {name: (flux, err) for name, flux, err in lines.select("line", "flux", "flux_err").iter_rows()}
    segmentation = _segmentation(lake, rows.filter(pl.col("kind") == "seg"), labels)
    about: dict[str, Any] = {
        "source_id": labels[source_id],
        "ra": first["ra"],
        "dec": first["dec"],
        "grid": grid,
        "segmentation": segmentation,
        "kernel": first["kernel"],
        "pixfrac": _number(first["pixfrac"]),
        "geometry_sha256": first["geometry_sha256"],
    }
    maps = LineMaps(z=_number(first["redshift"]), lines=tuple(_lines(lake, rows, fluxes)), beams=beams, **about)
    bands = tuple(_bands(lake, rows))
    x, y = (float(one[0]) for one in grid.pixels(np.array([first["ra"]]), np.array([first["dec"]])))
    about.pop("geometry_sha256")
    return maps, Thumbnail(x=x, y=y, bands=bands, **about) if bands else None


def _number(value: float | None) -> float:
    return _NAN if value is None else float(value)


def _lines(lake: Lake, rows: pl.DataFrame, fluxes: Mapping[str, tuple[float, float]]) -> Iterator[LineMap]:
    mine = rows.filter(pl.col("kind") == "line")
    arrays = read_ragged(lake, "line_map", mine, row="map_row", group="line/")
    for i, row in enumerate(mine.iter_rows(named=True)):
        planes = arrays[i]
        flux, err = fluxes.get(row["name"], (None, None))
        unit = lake.arrays("line_map", row["tile"])["line/contam"].unit
        yield LineMap(
            line=row["name"],
            data=planes["sci"],
            continuum=planes["continuum"],
            contam=planes["contam"],
            weight=planes["wht"],
            wave_rest=_number(row["wavelength_rest"]),
            wave=_number(row["wavelength"]),
            flux=_number(flux),
            flux_err=_number(err),
            contam_unit="electron / s" if unit == "electron / s" else "1e-17 erg / (s cm2)",
            weight_kind=row["weight_kind"],
            noise_correlation=_number(row["noise_correlation"]),
            coverage=_number(row["coverage"]),
            n_beams=row["n_beams"] or 0,
        )


def _bands(lake: Lake, rows: pl.DataFrame) -> Iterator[BandThumbnail]:
    mine, stars = (rows.filter(pl.col("kind") == kind) for kind in ("direct", "psf"))
    arrays = read_ragged(lake, "line_map", mine, row="map_row", group="direct/")
    psfs = read_ragged(lake, "line_map", stars, row="map_row", group="psf/") if stars.height else ()
    psf_of = {name: one["sci"] for name, one in zip(stars["name"], psfs, strict=True)}
    for i, row in enumerate(mine.iter_rows(named=True)):
        yield BandThumbnail(
            band=row["name"],
            data=arrays[i]["sci"],
            weight=arrays[i]["wht"],
            psf=psf_of.get(row["name"]),
            unit=row["unit"],
            weight_kind=row["weight_kind"],
            photflam=_number(row["photflam"]),
            photplam=_number(row["wavelength"]) * 1e4,
            noise_correlation=_number(row["noise_correlation"]),
            coverage=_number(row["coverage"]),
        )


def _segmentation(lake: Lake, rows: pl.DataFrame, labels: Mapping[int, int]) -> NDArray[np.int32] | None:
    """Return labels where the lake has identifiers; sources that are not exported are the highest numbers."""
    if rows.is_empty():
        return None
    image = read_ragged(lake, "line_map", rows, row="map_row", group="seg/")[0]["label"]
    there = np.unique(image)
    numbers, free = [], np.iinfo(np.int32).max
    for one in there.tolist():
        number = 0 if one == 0 else labels.get(one, -one if -free < one < 0 else 0)
        if one and not 0 < number <= np.iinfo(np.int32).max:
            number, free = free, free - 1
        numbers.append(number)
    return np.asarray(np.array(numbers, np.int32)[np.searchsorted(there, image)], np.int32)
