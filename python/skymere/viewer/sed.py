"""Fluxes of a source in all bands against wavelength, with its spectra."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError, NoDataError
from skymere.instruments import find_filter
from skymere.lake import Lake
from skymere.viewer.palette import style
from skymere.viewer.pictures import new_figure
from skymere.viewer.source_rows import SourceRows

__all__ = ["draw_sed", "sed_panel", "sed_points"]

# A flux below so many errors is an upper limit of so many.
_LIMIT_SIGMA = 2.0
# Speed of light [um / s] and uJy in erg / s / cm2 / Hz: f_nu [uJy] = f_lambda [erg / s / cm2 / A] * _TO_UJY * um^2.
_TO_UJY = 1e4 / 2.99792458e14 * 1e29
_SMALL = 7


def draw_sed(lake: Lake, source_id: int, *, wavelengths: Mapping[str, float] | None = None) -> Any:
    """Draw the fluxes of a source in all bands, with its spectra.

    Parameters
    ----------
    lake : Lake
        The lake.
    source_id : int
        The source.
    wavelengths : mapping of str to float, optional
        Pivot wavelengths of bands that `skymere.instruments` does not know [um]; without one they stand at the right.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    NotFoundError
        When the lake has no such source.
    NoDataError
        When it has no flux in any band.
    InvalidInputError
        When a wavelength is not positive.
    """
    rows = SourceRows(lake, [source_id])
    rows.place(source_id)
    points = sed_points(rows, source_id, wavelengths)
    if points.is_empty():
        msg = f"source_id: {source_id} has no flux in any band of {lake.path}"
        raise NoDataError(msg)
    figure = new_figure(7.0, 4.6)
    axes = figure.add_subplot()
    sed_panel(axes, points, spectra_in_ujy(rows, source_id))
    found = rows.redshift(source_id)
    axes.set_title(f"{source_id}" + (f"   z = {found['redshift']:.4f}" if found else ""), fontsize=9)
    return figure


def sed_points(rows: SourceRows, source_id: int, wavelengths: Mapping[str, float] | None = None) -> pl.DataFrame:
    """Return the fluxes of a source.

    Parameters
    ----------
    rows : SourceRows
        Tables of the source.
    source_id : int
        The source.
    wavelengths : mapping of str to float, optional
        Pivot wavelengths of further bands [um].

    Returns
    -------
    polars.DataFrame
        ``kind`` (``forced``: of models; ``total``: of the catalogue), ``band``, ``wavelength`` [um], null where it is
        not known, ``flux`` and ``flux_err`` [uJy].

    Raises
    ------
    InvalidInputError
        When a wavelength is not positive.
    """
    wrong = {band: value for band, value in (wavelengths or {}).items() if not 0 < value < np.inf}
    if wrong:
        msg = f"wavelengths: {wrong} is not allowed, they must be positive [um]"
        raise InvalidInputError(msg)
    found: list[tuple[str, str, float, float]] = []
    forced = rows.good("flux", source_id).sort("band", "method")
    for band, flux, error in forced.select("band", "flux", "flux_err").iter_rows():
        found.append(("forced", band, flux, error))
    for row in rows.of("source", source_id).iter_rows(named=True):
        # Older catalogues have no total fluxes.
        totals = {
            name.removeprefix(f"{column}_"): (row[name], row[f"{column}_err_{name.removeprefix(f'{column}_')}"])
            for column in ("flux_auto", "flux_total")
            for name in row
            if name.startswith(f"{column}_")
            and f"{column}_err_{name.removeprefix(f'{column}_')}" in row
            and row[name] is not None
        }
        found += [("total", band, *values) for band, values in totals.items()]
    kinds = {"kind": pl.String, "band": pl.String, "flux": pl.Float64, "flux_err": pl.Float64}
    points = pl.DataFrame(found, schema=kinds, orient="row")
    points = points.filter(pl.col("flux").is_finite(), pl.col("flux_err").is_finite(), pl.col("flux_err") > 0)
    known = {band: pivot for band in points["band"].unique() if (pivot := _pivot(band, wavelengths or {})) is not None}
    waves = pl.Series("wavelength", [known.get(band) for band in points["band"]], pl.Float64)
    return points.with_columns(waves).sort("kind", "wavelength", "band", nulls_last=True)


def _pivot(band: str, given: Mapping[str, float]) -> float | None:
    if band in given:
        return float(given[band])
    try:
        return find_filter(band).photplam * 1e-4
    except InvalidInputError:
        return None


def spectra_in_ujy(rows: SourceRows, source_id: int) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return wavelengths [um] and flux densities [uJy] of the spectra of a source, all orientations together."""
    found = {}
    slits = rows.good("slit_spectrum", source_id)
    grisms = rows.good("spectrum", source_id).filter(pl.col("pa").is_null())
    for product, table, factor in (("spectrum", grisms, _TO_UJY), ("slit_spectrum", slits, None)):
        if table.is_empty():
            continue
        read = rows.planes(product, table, row="spectrum_row", planes=("wavelength", "flux", "flux_err"))
        for i, grating in enumerate(read.rows["grating"]):
            wave, flux, error = (np.asarray(read[i][name], np.float64) for name in ("wavelength", "flux", "flux_err"))
            known = np.isfinite(flux) & (error > 0)
            if known.any():
                known &= error < 4.0 * np.median(error[known])
                unit = 1.0 if factor is None else factor * wave**2
                found[f"{grating} {'slit' if factor is None else 'grism'}"] = (
                    wave,
                    np.where(known, flux * unit, np.nan),
                )
    return found


def sed_panel(
    axes: Any,
    points: pl.DataFrame,
    spectra: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]] | None = None,
) -> None:
    """Draw fluxes on given axes, logarithmic; what is below two errors is an upper limit.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to.
    points : polars.DataFrame
        As `sed_points` gives them.
    spectra : mapping of str to (ndarray, ndarray), optional
        Wavelength [um] and flux density [uJy].
    """
    placed = points["wavelength"].drop_nulls().to_numpy()
    reached = [*placed.tolist(), *(float(wave[np.isfinite(flux)].max()) for wave, flux in (spectra or {}).values())]
    right = max(reached, default=1.0)
    unknown = sorted(points.filter(pl.col("wavelength").is_null())["band"].unique())
    at = {band: right * 1.35 ** (i + 1) for i, band in enumerate(unknown)}
    for i, (name, (wave, flux)) in enumerate((spectra or {}).items()):
        shade = ("0.72", "0.5", "0.3")[i % 3]
        axes.plot(wave, np.where(flux > 0, flux, np.nan), color=shade, lw=0.7, zorder=0, label=name)
    for i, kind in enumerate(points["kind"].unique(maintain_order=True)):
        mine = points.filter(pl.col("kind") == kind)
        flux, error = mine["flux"].to_numpy(), mine["flux_err"].to_numpy()
        wave = np.array([at.get(band, value) for band, value in mine.select("band", "wavelength").iter_rows()])
        # Two kinds of one band stand side by side.
        wave = wave * 1.012**i
        is_limit = flux < _LIMIT_SIGMA * error
        seen = ~is_limit
        axes.errorbar(
            wave[seen], flux[seen], error[seen], ls="none", ms=5, capsize=2, lw=1.0, label=kind,
            mfc="none" if i else None, **style(i),
        )  # fmt: skip
        if is_limit.any():
            top = np.maximum(flux[is_limit], 0.0) + _LIMIT_SIGMA * error[is_limit]
            axes.errorbar(
                wave[is_limit], top, 0.3 * top, uplims=True, ls="none", marker="_", color=style(i)["color"], lw=1.0
            )
    for band, wave in points.select("band", "wavelength").unique().drop_nulls().iter_rows():
        axes.annotate(
            band, (wave, 0.01), xycoords=("data", "axes fraction"), ha="center", va="bottom", rotation=90,
            fontsize=_SMALL - 1, color="0.4",
        )  # fmt: skip
    if unknown:
        axes.axvspan(right * 1.18, right * 1.35 ** (len(unknown) + 0.5), color="0.94", zorder=-1)
        for band, x in at.items():
            axes.annotate(
                f"{band}\nwavelength\nnot known", (x, 0.02), xycoords=("data", "axes fraction"), ha="center",
                va="bottom", fontsize=_SMALL - 1, color="0.4",
            )  # fmt: skip
    axes.set(xscale="log", yscale="log")
    _ticks(axes)
    axes.set_xlabel("wavelength [um]", fontsize=_SMALL + 1)
    axes.set_ylabel("flux density [uJy]", fontsize=_SMALL + 1)
    axes.tick_params(labelsize=_SMALL)
    axes.legend(fontsize=_SMALL, frameon=False)


def _ticks(axes: Any) -> None:
    """Write wavelengths as numbers: a range of less than a decade has no power of ten in it."""
    from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullFormatter

    low, high = axes.get_xlim()
    wanted = [
        one for one in (0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 8.0, 12.0, 20.0) if low < one < high
    ]
    if len(wanted) >= 2:
        axes.xaxis.set_major_locator(FixedLocator(wanted))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    bottom, top = axes.get_ylim()
    steps = [m * 10.0**k for k in range(-6, 7) for m in (1, 2, 5)]
    if top / bottom < 1e3:
        axes.yaxis.set_major_locator(FixedLocator([one for one in steps if bottom < one < top]))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())
