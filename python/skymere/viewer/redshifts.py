"""The redshift of a source: p(z), the spectra with the best template, and lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError, NoDataError
from skymere.io import FullFile
from skymere.lake import Lake
from skymere.viewer.palette import COLOURS
from skymere.viewer.panels import draw_absent, draw_curve, draw_pdf, mark_lines
from skymere.viewer.pictures import new_figure
from skymere.viewer.source_rows import SourceRows

__all__ = [
    "RedshiftPicture",
    "draw_redshift",
    "line_rows",
    "lines_panel",
    "pdf_curves",
    "redshift_file_figure",
    "spectra_of_source",
    "template_of",
]

_Array = NDArray[np.float64]
# Flux densities of grisms are drawn in these units [erg / s / cm2 / Angstrom], lines in [erg / s / cm2].
_FLAM, _LINE = 1e-19, 1e-17
_UNITS = {"grism": "1e-19 erg/s/cm2/A", "slit": "uJy"}
# f_nu [uJy] = f_lambda [erg / s / cm2 / Angstrom] * _TO_UJY * wavelength^2 [um^2].
_TO_UJY = 1e4 / 2.99792458e14 * 1e29
_MARKED_SNR = 3.0
_SMALL = 7


@dataclass(frozen=True, kw_only=True, eq=False)
class RedshiftPicture:
    """What is drawn of one fit.

    Parameters
    ----------
    method : str
        ``grism`` or ``slit``.
    redshift : float or None
        The redshift; None when there is none.
    words : str
        What is written above.
    pdf : tuple of ndarray, optional
        Redshifts and probability density.
    spectra : mapping of str to (ndarray, ndarray, ndarray)
        Wavelength [um], flux and 1 sigma by grating, in the unit of the method.
    template : tuple of ndarray, optional
        Wavelength [um] and flux of the best template, in the same unit.
    lines : polars.DataFrame
        ``line, flux, flux_err, snr`` [erg/s/cm2].
    """

    method: str
    redshift: float | None
    words: str
    pdf: tuple[_Array, _Array] | None = None
    spectra: Mapping[str, tuple[_Array, _Array, _Array]] = field(default_factory=dict)
    template: tuple[_Array, _Array] | None = None
    lines: pl.DataFrame = field(default_factory=pl.DataFrame)


def draw_redshift(lake: Lake, source_id: int, *, method: str | None = None) -> Any:
    """Draw the redshift of a source: spectra with the best template, p(z), and the fluxes of lines.

    Parameters
    ----------
    lake : Lake
        The lake.
    source_id : int
        The source.
    method : {"grism", "slit"}, optional
        Only the fit of these spectra; all when not given.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept. A fit that was rejected says why.

    Raises
    ------
    NotFoundError
        When the lake has no such source.
    NoDataError
        When its redshift was never fitted.
    InvalidInputError
        When the method is another.
    """
    if method not in (None, *_UNITS):
        msg = f"method: {method!r} is not allowed, it must be one of {', '.join(_UNITS)}"
        raise InvalidInputError(msg)
    rows = SourceRows(lake, [source_id])
    rows.place(source_id)
    fits = rows.of("redshift", source_id).sort("method")
    if method is not None:
        fits = fits.filter(pl.col("method") == method)
    if fits.is_empty():
        msg = f"source_id: {source_id} has no redshift{'' if method is None else f' of {method}'} in {lake.path}"
        raise NoDataError(msg)
    pictures = [_picture(rows, source_id, row) for row in fits.iter_rows(named=True)]
    return _figure(pictures, str(source_id))


def redshift_file_figure(full: FullFile, *, title: str = "") -> Any:
    """Draw the redshift of a ``full.fits``: p(z) and the fluxes of lines.

    Parameters
    ----------
    full : FullFile
        The file.
    title : str, optional
        Text above.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    NoDataError
        When it has no grid of redshifts.
    """
    if full.redshifts.is_empty():
        msg = f"{title or 'full file'}: no grid of redshifts (ZFIT_STACK)"
        raise NoDataError(msg)
    z = full.columns.get("redshift", full.columns.get("z_map"))
    lines = full.lines.with_columns(snr=pl.col("flux") / pl.col("flux_err")) if full.lines.height else pl.DataFrame()
    pdf = tuple(full.redshifts[name].to_numpy().astype(np.float64) for name in ("z", "pdf"))
    template = None
    if not full.template.is_empty():
        template = (full.template["wave"].to_numpy(), full.template["full"].to_numpy() / _FLAM)
    picture = RedshiftPicture(
        method="grism",
        redshift=None if z is None else float(z),
        words="" if z is None else f"z = {float(z):.4f}",
        pdf=(pdf[0], pdf[1]),
        template=template,
        lines=lines,
    )
    return _figure([picture], title)


def _picture(rows: SourceRows, source_id: int, row: Mapping[str, Any]) -> RedshiftPicture:
    method = str(row["method"])
    if row["status"] != "ok":
        return RedshiftPicture(method=method, redshift=None, words=f"{row['status']}: {row['message']}")
    z = row["redshift"]
    error = "" if row["redshift_err"] is None else f" +- {row['redshift_err']:.4f}"
    chi2 = "" if row["chinu"] is None else f"   chi2 / dof {row['chinu']:.2f}"
    flags = f"   flags {row['flags']}" if row["flags"] else ""
    return RedshiftPicture(
        method=method,
        redshift=z,
        words=("no redshift" if z is None else f"z = {z:.4f}{error}") + chi2 + flags,
        pdf=pdf_curves(rows, source_id).get(method),
        spectra=spectra_of_source(rows, source_id, method),
        template=template_of(rows, source_id, method),
        lines=line_rows(rows, source_id, method),
    )


def pdf_curves(rows: SourceRows, source_id: int) -> dict[str, tuple[_Array, _Array]]:
    """Return redshifts and p(z) of a source by method.

    Parameters
    ----------
    rows : SourceRows
        Tables of the source.
    source_id : int
        The source.
    """
    table = rows.of("pz", source_id).filter(pl.col("pz_row").is_not_null()).sort("method", "kind")
    table = table.unique("method", keep="first", maintain_order=True)
    if table.is_empty():
        return {}
    read = rows.planes("pz", table, row="pz_row", planes=("z", "pdf"))
    return {
        str(method): (np.asarray(read[i]["z"], np.float64), np.asarray(read[i]["pdf"], np.float64))
        for i, method in enumerate(read.rows["method"])
        if {"z", "pdf"} <= set(read.planes)
    }


def spectra_of_source(rows: SourceRows, source_id: int, method: str) -> dict[str, tuple[_Array, _Array, _Array]]:
    """Return wavelength [um], flux and error of the spectra of a method by grating, all orientations together.

    Parameters
    ----------
    rows : SourceRows
        Tables of the source.
    source_id : int
        The source.
    method : str
        ``grism`` [1e-19 erg/s/cm2/A] or ``slit`` [uJy].
    """
    product = "slit_spectrum" if method == "slit" else "spectrum"
    table = rows.good(product, source_id)
    if method != "slit":
        table = table.filter(pl.col("pa").is_null())
    if table.is_empty():
        return {}
    read = rows.planes(product, table.sort("grating"), row="spectrum_row", planes=("wavelength", "flux", "flux_err"))
    unit = 1.0 if method == "slit" else _FLAM
    return {
        str(grating): (
            np.asarray(read[i]["wavelength"], np.float64),
            np.asarray(read[i]["flux"], np.float64) / unit,
            np.asarray(read[i]["flux_err"], np.float64) / unit,
        )
        for i, grating in enumerate(read.rows["grating"])
    }


def template_of(rows: SourceRows, source_id: int, method: str) -> tuple[_Array, _Array] | None:
    """Return the model of a fit, in the unit of the method; None where it is not stored.

    That of a grism is the one that was extracted as the spectrum was; the template itself has no image's width.
    """
    if method == "grism":
        return _extracted_model(rows, source_id)
    fit = rows.good("redshift", source_id).filter(pl.col("method") == method)
    names = ("template_wavelength", "template_full")
    read = rows.planes("redshift", fit, row="redshift_row", planes=names)
    if not len(read) or set(read.planes) != set(names):
        return None
    wave, flux = (np.asarray(read[0][name], np.float64) for name in names)
    return wave, flux * _TO_UJY * wave**2


def _extracted_model(rows: SourceRows, source_id: int) -> tuple[_Array, _Array] | None:
    table = rows.good("spectrum", source_id).filter(pl.col("pa").is_null()).sort("n_wavelength", descending=True)
    read = rows.planes("spectrum", table.head(1), row="spectrum_row", planes=("wavelength", "line", "continuum"))
    if not len(read) or len(read.planes) != 3:
        return None
    wave, lines, below = (np.asarray(read[0][name], np.float64) for name in ("wavelength", "line", "continuum"))
    return wave, (lines + below) / _FLAM


def line_rows(rows: SourceRows, source_id: int, method: str | None = None) -> pl.DataFrame:
    """Return the lines of a source that have an error, the most significant first.

    Parameters
    ----------
    rows : SourceRows
        Tables of the source.
    source_id : int
        The source.
    method : str, optional
        Only of this method.
    """
    table = rows.of("line", source_id)
    if method is not None:
        table = table.filter(pl.col("method") == method)
    return table.filter(pl.col("flux_err") > 0, pl.col("snr").is_finite()).sort("snr", "line", descending=[True, False])


def significant(lines: pl.DataFrame, least: float = _MARKED_SNR) -> list[str]:
    """Return the names of lines above an S/N, each once."""
    if lines.is_empty():
        return []
    return lines.filter(pl.col("snr") >= least)["line"].unique(maintain_order=True).to_list()


def lines_panel(axes: Any, lines: pl.DataFrame, *, most: int = 14) -> None:
    """Draw fluxes of lines with their errors, the most significant on top.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to.
    lines : polars.DataFrame
        ``line, flux, flux_err, snr`` [erg/s/cm2].
    most : int, optional
        Lines at most.
    """
    if lines.is_empty():
        draw_absent(axes, "no line was fitted")
        return
    shown = lines.head(most)
    at = np.arange(shown.height)[::-1]
    flux, error = (shown[name].to_numpy() / _LINE for name in ("flux", "flux_err"))
    is_seen = shown["snr"].to_numpy() >= _MARKED_SNR
    for some, filled in ((is_seen, COLOURS[0]), (~is_seen, "none")):
        axes.errorbar(
            flux[some], at[some], xerr=error[some], ls="none", marker="o", ms=4, mfc=filled, color=COLOURS[0], lw=1.0,
            capsize=2,
        )  # fmt: skip
    axes.axvline(0.0, color="0.7", lw=0.8)
    names = [f"{name} {snr:.1f}" for name, snr in shown.select("line", "snr").iter_rows()]
    axes.set_yticks(at, names, fontsize=_SMALL - 1)
    # A line with a large error would press all others to nothing: it may leave the panel, no flux above its error does.
    told = flux[np.abs(flux) >= error] if (np.abs(flux) >= error).any() else flux
    width = 1.3 * max(float(np.abs(told).max()), 3.0 * float(np.median(error)))
    axes.set(xlim=(min(-0.35 * width, 1.1 * float(told.min())), width), ylim=(-0.8, shown.height - 0.2))
    axes.set_xlabel("line flux [1e-17 erg/s/cm2]; names with S/N, filled above 3", fontsize=_SMALL)
    axes.tick_params(axis="x", labelsize=_SMALL)


def _figure(pictures: Sequence[RedshiftPicture], title: str) -> Any:
    n = len(pictures)
    figure = new_figure(15.0, 0.4 + 4.0 * n)
    figure.suptitle(title, fontsize=10)
    for block, one in zip(np.atleast_1d(figure.subfigures(n, 1)), pictures, strict=True):
        block.suptitle(f"{one.method}   {one.words}", fontsize=9, x=0.01, ha="left")
        left, middle, right = block.subplots(1, 3, width_ratios=[2.4, 1.0, 1.0])
        spectrum_panel(left, one)
        if one.pdf is None or not one.pdf[0].size:
            draw_absent(middle, "no p(z)")
        else:
            draw_pdf(middle, {one.method: one.pdf}, {} if one.redshift is None else {one.method: one.redshift})
        lines_panel(right, one.lines)
    return figure


def spectrum_panel(axes: Any, one: RedshiftPicture) -> None:
    """Draw the first spectrum with the template, or the template alone, and significant lines."""
    unit = _UNITS[one.method]
    if one.spectra:
        grating, (wave, flux, error) = max(one.spectra.items(), key=lambda item: np.isfinite(item[1][1]).sum())
        draw_curve(axes, wave, flux, error, model=one.template, label=grating, unit=unit)
    elif one.template is not None:
        draw_curve(axes, one.template[0], one.template[1], None, label="template", unit=unit)
    else:
        draw_absent(axes, "no spectrum")
        return
    if one.redshift is not None:
        mark_lines(axes, significant(one.lines), one.redshift)
