"""The spectra of a source behind slits."""

from typing import Any

import polars as pl

from skymere.errors import NotFoundError
from skymere.lake import Lake
from skymere.slit import CombinedSpectrum, plot_summary
from skymere.spectra import LINES
from skymere.viewer.redshifts import line_rows, significant
from skymere.viewer.source_rows import SourceRows

__all__ = ["draw_slit", "slit_figure"]


def draw_slit(lake: Lake, source_id: int, *, grating: str | None = None) -> Any:
    """Draw a page of the spectrum of a source behind slits, its lines marked where the redshift puts them.

    Parameters
    ----------
    lake : Lake
        The lake.
    source_id : int
        The source.
    grating : str, optional
        Which spectrum; that with the most signal when not given.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    NotFoundError
        When the lake has no such source, or no spectrum of it.
    """
    rows = SourceRows(lake, [source_id])
    rows.place(source_id)
    table = rows.good("slit_spectrum", source_id).filter(pl.col("spectrum_row").is_not_null())
    mine = table if grating is None else table.filter(pl.col("grating") == grating)
    if mine.is_empty():
        every = rows.of("slit_spectrum", source_id)
        told = ", ".join(
            f"{name} ({status}{': ' if message else ''}{message})"
            for name, status, message in every.select("grating", "status", "message").iter_rows()
        )
        asked = "" if grating is None else f" with the grating {grating}"
        msg = f"source_id: {source_id} has no spectrum of slits{asked} in {lake.path}, it has {told or 'none'}"
        raise NotFoundError(msg)
    best = mine.sort("snr", "spectrum_id", descending=[True, False], nulls_last=True)["spectrum_id"].to_numpy()[:1]
    (spectrum,) = lake.slit_spectra(best)
    fit = rows.good("redshift", source_id).filter(pl.col("method") == "slit", pl.col("redshift").is_not_null())
    if fit.is_empty():
        return plot_summary(spectrum, lines={}, redshift=0.0)
    names = significant(line_rows(rows, source_id, "slit"))
    marked = {name: LINES[name].main for name in names if name in LINES}
    z = float(fit["redshift"][0])
    figure = plot_summary(spectrum, lines=marked, redshift=z)
    figure.suptitle(f"{source_id}   z = {z:.4f}", fontsize=11)
    return figure


def slit_figure(spectrum: CombinedSpectrum) -> Any:
    """Draw a page of a spectrum that was read from a file.

    Parameters
    ----------
    spectrum : CombinedSpectrum
        The spectrum.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    InvalidInputError
        When no flux is known.
    """
    return plot_summary(spectrum, lines={}, redshift=0.0)
