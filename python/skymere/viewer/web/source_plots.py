"""Curves of a source: fluxes against wavelength, spectra with their lines, and the probability of its redshift."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from skymere.errors import InvalidInputError
from skymere.instruments import find_filter
from skymere.lake import load_schema
from skymere.lake.ragged import read_plane
from skymere.viewer.web.answers import plain
from skymere.viewer.web.reading import LakeReader

__all__ = ["lines_of", "plots_of_redshift", "plots_of_spectra", "sed_plot"]

_FLAM = "erg/s/cm2/Angstrom"
_LEAST = 1e-4
# Names of lines that were looked for and not seen would hide the spectrum; the table of measurements has all of them.
_MARKED_SNR = 3.0


def sed_plot(reader: LakeReader, source_id: int) -> dict[str, Any] | None:
    """Return the fluxes of a source against the pivot wavelengths of their bands, None when it has none.

    Bands whose filter is not known are named in ``without``.
    """
    lake = reader.lake
    series: dict[str, list[tuple[float, float, float | None, str]]] = {}
    without = set()
    for band, method, flux, error in _fluxes(reader, source_id):
        wavelength = _pivot(lake.table("beam"), band)
        if wavelength is None:
            without.add(band)
        else:
            series.setdefault(method, []).append((wavelength, flux, error, band))
    if not series and not without:
        return None
    curves = [
        {"label": method, "style": "points", **_columns(sorted(points))} for method, points in sorted(series.items())
    ]
    words = {"title": "Fluxes", "x_label": "wavelength [um]", "y_label": "flux density [uJy]"}
    return {**words, "curves": curves, "marks": [], "without": sorted(without)}


def plots_of_spectra(reader: LakeReader, source_id: int) -> list[dict[str, Any]]:
    """Return the spectra of a source, with model and lines where they were fitted."""
    found = []
    for product, unit in (("spectrum", _FLAM), ("slit_spectrum", "uJy")):
        rows = _rows(reader, product, source_id).filter(pl.col("status") == "ok", pl.col("spectrum_row").is_not_null())
        for row in rows.sort("grating", "spectrum_id").iter_rows(named=True):
            planes = _planes(reader, product, row, row["spectrum_row"], ("wavelength", "flux", "flux_err"))
            model = _planes(reader, product, row, row["spectrum_row"], ("continuum", "line"))
            x = planes["wavelength"]
            curves = [{"label": "flux", "style": "steps", "x": x, "y": planes["flux"], "error": planes["flux_err"]}]
            if model:
                total = np.sum([np.nan_to_num(plane) for plane in model.values()], axis=0)
                curves.append({"label": "model", "style": "line", "x": x, "y": total, "error": None})
            method = "grism" if product == "spectrum" else "slit"
            words = {"title": f"Spectrum {row['grating']} ({method})", "x_label": "wavelength [um]"}
            marks = lines_of(reader, source_id, method)
            found.append(plain({**words, "y_label": f"flux density [{unit}]", "curves": curves, "marks": marks}))
    return found


def plots_of_redshift(reader: LakeReader, source_id: int) -> list[dict[str, Any]]:
    """Return p(z) of each fit of a source, with the redshift that was chosen."""
    chosen = _rows(reader, "redshift", source_id)
    found = []
    for row in _rows(reader, "pz", source_id).sort("method", "kind").iter_rows(named=True):
        planes = _planes(reader, "pz", row, row["pz_row"], ("z", "pdf"))
        mine = chosen.filter(pl.col("method") == row["method"], pl.col("redshift").is_not_null())
        marks = [{"x": value, "text": f"z = {value:.4f}"} for value in mine["redshift"]]
        pdf = np.asarray(planes["pdf"])
        seen = pdf > _LEAST * pdf.max() if pdf.size else np.zeros(0, bool)
        # The grid is fine where p(z) is not nothing; the rest would be thousands of zeros.
        seen = np.convolve(seen, np.ones(5, bool), mode="same") > 0 if seen.any() else np.ones(pdf.size, bool)
        seen[[0, -1]] = True
        curve = {"label": "p(z)", "style": "line", "x": np.asarray(planes["z"])[seen], "y": pdf[seen], "error": None}
        words = {"title": f"Redshift ({row['method']}, {row['kind']})", "x_label": "redshift", "y_label": "p(z)"}
        found.append(plain({**words, "curves": [curve], "marks": marks}))
    return found


def _fluxes(reader: LakeReader, source_id: int) -> Iterator[tuple[str, str, float, float | None]]:
    """Yield band, method, flux and error [uJy]."""
    for row in _rows(reader, "flux", source_id).filter(pl.col("status") == "ok").iter_rows(named=True):
        if row["flux"] is not None:
            yield row["band"], f"forced, {row['method']}", row["flux"], row["flux_err"]
    for row in _rows(reader, "profile", source_id).filter(pl.col("is_best")).iter_rows(named=True):
        if row["flux"] is not None:
            yield row["band"], "profile", row["flux"], row["flux_err"]
    for row in _rows(reader, "source", source_id).iter_rows(named=True):
        for name, value in row.items():
            band = name.removeprefix("flux_auto_")
            if name.startswith("flux_auto_") and not band.startswith("err_") and value is not None:
                yield band, "Kron ellipse", value, row.get(f"flux_auto_err_{band}")


def lines_of(reader: LakeReader, source_id: int, method: str) -> list[dict[str, Any]]:
    """Return place [um] and name with S/N of the lines of a source that a method saw, or gave no S/N."""
    is_seen = pl.col("snr").is_null() | (pl.col("snr") >= _MARKED_SNR)
    rows = _rows(reader, "line", source_id).filter(
        pl.col("method") == method, pl.col("wavelength").is_not_null(), is_seen
    )
    return [
        {"x": row["wavelength"], "text": row["line"] if row["snr"] is None else f"{row['line']} {row['snr']:.1f}"}
        for row in rows.sort("wavelength").iter_rows(named=True)
    ]


def _pivot(beams: pl.LazyFrame, band: str) -> float | None:
    """Return the pivot wavelength of a band [um]; a beam may know it where the filter is in no table."""
    try:
        return find_filter(band).photplam / 1e4
    except InvalidInputError:
        rows = (
            beams.filter(pl.col("band") == band, pl.col("photplam").is_not_null()).select("photplam").head(1).collect()
        )
        return float(rows["photplam"][0]) if rows.height else None


def _columns(points: list[tuple[float, float, float | None, str]]) -> dict[str, Any]:
    x, y, error, names = (list(column) for column in zip(*points, strict=True))
    return {"x": plain(x), "y": plain(y), "error": plain(error), "names": names}


def _rows(reader: LakeReader, product: str, source_id: int) -> pl.DataFrame:
    return reader.lake.table(product).filter(pl.col("source_id") == source_id).collect()


def _planes(reader: LakeReader, product: str, row: dict[str, Any], k: int, names: tuple[str, ...]) -> dict[str, Any]:
    """Return curves of a row; those that its group does not have are left out."""
    arrays = reader.group(product, row["tile"], row["run_id"])
    schema = load_schema(product)
    at = np.array([k], np.int64)
    return {name: read_plane(arrays, schema.array(name), at)[0] for name in names if name in arrays}
