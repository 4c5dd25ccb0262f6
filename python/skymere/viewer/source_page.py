"""Everything that a lake has of a source, in one figure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from skymere.errors import NoDataError
from skymere.lake import Lake
from skymere.viewer.beams import beam_noise, beam_pictures
from skymere.viewer.panels import (
    draw_absent,
    draw_dispersed,
    draw_image,
    draw_labels,
    draw_pdf,
    draw_residual,
    draw_weight,
)
from skymere.viewer.pictures import new_figure
from skymere.viewer.redshifts import (
    RedshiftPicture,
    line_rows,
    lines_panel,
    pdf_curves,
    spectra_of_source,
    spectrum_panel,
    template_of,
)
from skymere.viewer.sed import sed_panel, sed_points, spectra_in_ujy
from skymere.viewer.source_rows import SourceRows
from skymere.viewer.stamps import BandStamps, source_stamps

__all__ = ["draw_source"]

_WIDTH = 15.0
_COLUMNS = ("image", "weight", "segments", "models", "image - models")
_MOST_BEAMS, _MOST_MAPS = 4, 8
_SMALL = 7


@dataclass(frozen=True, kw_only=True)
class _Block:
    """A part of the page: its height [inch], and what draws it on a subfigure."""

    height: float
    draw: Callable[[Any], None]


def draw_source(
    lake: Lake,
    source_id: int,
    *,
    bands: Sequence[str] | None = None,
    size_pix: int | None = None,
    wavelengths: Mapping[str, float] | None = None,
) -> Any:
    """Draw all that a lake has of a source.

    Stamps in all bands with weights, segments, models and what they leave; the forced fluxes, the SED, p(z) and lines;
    beams, spectra of grisms and of slits, and maps of lines. What the lake does not have is left out.

    Parameters
    ----------
    lake : Lake
        The lake.
    source_id : int
        The source.
    bands : sequence of str, optional
        Bands of the stamps; all when not given.
    size_pix : int, optional
        Side of the stamps [pix of the mosaics]; as they are stored when not given.
    wavelengths : mapping of str to float, optional
        Pivot wavelengths of bands that `skymere.instruments` does not know [um].

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    NotFoundError
        When the lake has no such source, or nothing of it in one of ``bands``.
    NoDataError
        When there is nothing to draw of it.
    InvalidInputError
        When the size or a wavelength is not allowed.
    """
    rows = SourceRows(lake, [source_id])
    place = rows.place(source_id)
    blocks = [
        *_stamp_block(source_stamps(rows, source_id, bands=bands, size_pix=size_pix), _label(rows, source_id)),
        *_flux_block(rows, source_id, wavelengths),
        *_beam_block(rows, source_id),
        *_spectrum_blocks(rows, source_id),
        *_slit_block(rows, source_id),
        *_map_block(rows, source_id),
    ]
    if not blocks:
        msg = f"source_id: {source_id} has neither cutout, flux, spectrum nor redshift in {lake.path}"
        raise NoDataError(msg)
    head = 0.8
    figure = new_figure(_WIDTH, head + sum(block.height for block in blocks))
    parts = figure.subfigures(len(blocks) + 1, 1, height_ratios=[head, *(block.height for block in blocks)])
    _draw_head(parts[0], rows, place)
    for part, block in zip(parts[1:], blocks, strict=True):
        block.draw(part)
    return figure


def _label(rows: SourceRows, source_id: int) -> int | None:
    table = rows.of("source", source_id)
    return None if table.is_empty() else int(table["label"][0])


def _draw_head(figure: Any, rows: SourceRows, place: Any) -> None:
    words = [f"source {place.source_id}"]
    if place.ra is not None:
        words.append(f"{place.ra:.6f} {place.dec:+.6f}   {place.tile}")
    figure.text(0.01, 0.78, "   ".join(words), fontsize=12, va="center")
    told = []
    for method, status, z, error in (
        rows.of("redshift", place.source_id).sort("method").select("method", "status", "redshift", "redshift_err")
    ).iter_rows():
        value = "no redshift" if z is None else f"z = {z:.4f}" + ("" if error is None else f" +- {error:.4f}")
        told.append(f"{method} {value if status == 'ok' else status}")
    profiles = rows.good("profile", place.source_id).filter(pl.col("is_best"))
    for row in profiles.head(1).iter_rows(named=True):
        size = "" if row["r_eff"] is None else f" r_eff {row['r_eff']:.3f} arcsec"
        index = "" if row["sersic_index"] is None else f" n {row['sersic_index']:.2f}"
        told.append(f"{row['kind']} in {row['band']}{size}{index}")
    source = rows.of("source", place.source_id)
    if source.height and source["flags"][0]:
        told.append(f"flags {source['flags'][0]}")
    figure.text(0.01, 0.25, "     ".join(told), fontsize=9, va="center", color="0.25")


def _stamp_block(stamps: Sequence[BandStamps], label: int | None) -> list[_Block]:
    """Return a row of panels for each band."""
    if not stamps:
        return []
    side = _WIDTH / (2 * len(_COLUMNS)) + 0.2
    n_rows = -(-len(stamps) // 2)

    def draw(figure: Any) -> None:
        panels = figure.subplots(n_rows, 2 * len(_COLUMNS), squeeze=False)
        for k in range(2 * n_rows):
            mine = panels[k // 2, (k % 2) * len(_COLUMNS) : (k % 2 + 1) * len(_COLUMNS)]
            if k >= len(stamps):
                for axes in mine:
                    axes.set_axis_off()
                continue
            draw_stamps(mine, stamps[k], label, has_titles=k < 2)

    return [_Block(height=side * n_rows + 0.3, draw=draw)]


def draw_stamps(panels: Sequence[Any], stamps: BandStamps, label: int | None, *, has_titles: bool = True) -> None:
    """Draw image, weight, segments, models and what they leave of a band on five axes."""
    noise = stamps.noise
    titles = [name if has_titles else "" for name in _COLUMNS]
    titles[0] = f"{stamps.band}  {stamps.size_arcsec:.1f} arcsec"
    images: tuple[Any, ...] = (stamps.sci, stamps.weight, stamps.labels, stamps.model, stamps.residual)
    for axes, pixels, name, title in zip(panels, images, _COLUMNS, titles, strict=True):
        if pixels is None:
            draw_absent(axes, "not in the lake")
            axes.set_title(title, fontsize=_SMALL + 1, pad=2)
        elif name == "weight":
            draw_weight(axes, pixels, title=title)
        elif name == "segments":
            draw_labels(axes, pixels, own=label, title=title)
        elif name == "image - models":
            draw_residual(axes, pixels, noise=noise, title=title)
        else:
            draw_image(axes, pixels, noise=noise, title=title)


def _flux_block(rows: SourceRows, source_id: int, wavelengths: Mapping[str, float] | None) -> list[_Block]:
    points = sed_points(rows, source_id, wavelengths)
    curves, lines = pdf_curves(rows, source_id), line_rows(rows, source_id)
    if points.is_empty() and not curves and lines.is_empty():
        return []
    fits = rows.good("redshift", source_id).drop_nulls("redshift")
    redshifts = {str(method): float(z) for method, z in fits.select("method", "redshift").iter_rows()}

    def draw(figure: Any) -> None:
        left, middle, right, text = figure.subplots(1, 4, width_ratios=[1.6, 1.0, 1.0, 0.75])
        if points.is_empty():
            draw_absent(left, "no flux")
        else:
            sed_panel(left, points, spectra_in_ujy(rows, source_id))
        if curves:
            draw_pdf(middle, curves, redshifts)
        else:
            draw_absent(middle, "no p(z)")
        lines_panel(right, lines)
        text.set_axis_off()
        text.text(0.0, 1.0, _flux_words(points), family="monospace", fontsize=_SMALL, va="top")

    return [_Block(height=3.4, draw=draw)]


def _flux_words(points: pl.DataFrame) -> str:
    """Return fluxes as lines of text."""
    lines = [f"{'band':<8}{'uJy':>9}{'1 sigma':>9}"]
    for kind in points["kind"].unique(maintain_order=True):
        lines.append(f"-- {kind}")
        for band, flux, error in points.filter(pl.col("kind") == kind).select("band", "flux", "flux_err").iter_rows():
            lines.append(f"{band[:8]:<8}{flux:>9.3g}{error:>9.2g}")
    return "\n".join(lines[:26])


def _beam_block(rows: SourceRows, source_id: int) -> list[_Block]:
    pictures = beam_pictures(rows, source_id, most=_MOST_BEAMS)
    if not pictures:
        return []

    def draw(figure: Any) -> None:
        panels = figure.subplots(len(pictures), 3, squeeze=False)
        for i, one in enumerate(pictures):
            noise, model = beam_noise(one), np.zeros_like(one.sci) if one.model is None else one.model
            light, clean = one.known(one.sci), one.known(one.sci - one.contam)
            top = float(np.nanpercentile(light, 99.5)) if np.isfinite(light).any() else 0.0
            shown = ((one.name, light), ("without light of others", clean), ("left by the model", clean - model))
            for k, (name, pixels) in enumerate(shown):
                draw_dispersed(
                    panels[i, k], pixels, noise=noise, wavelength=one.wavelength, is_residual=k == 2, top=top,
                    title=name if i == 0 or k == 0 else "",
                )  # fmt: skip

    return [_Block(height=0.3 + 1.0 * len(pictures), draw=draw)]


def _spectrum_blocks(rows: SourceRows, source_id: int) -> list[_Block]:
    """Return a block for the spectra of each method."""
    blocks = []
    for method in ("grism", "slit"):
        spectra = spectra_of_source(rows, source_id, method)
        if not spectra:
            continue
        fit = rows.good("redshift", source_id).filter(pl.col("method") == method)
        one = RedshiftPicture(
            method=method,
            redshift=None if fit.is_empty() else fit["redshift"][0],
            words="",
            spectra=spectra,
            template=template_of(rows, source_id, method),
            lines=line_rows(rows, source_id, method),
        )
        blocks.append(_Block(height=2.4, draw=lambda figure, one=one: spectrum_panel(figure.subplots(), one)))  # type: ignore[misc]
    return blocks


def _slit_block(rows: SourceRows, source_id: int) -> list[_Block]:
    table = rows.good("slit_spectrum", source_id).filter(pl.col("spectrum_row").is_not_null()).sort("grating")
    if table.is_empty():
        return []
    read = rows.planes("slit_spectrum", table, row="spectrum_row", planes=("wavelength", "sci", "wht"))

    def draw(figure: Any) -> None:
        panels = np.atleast_1d(figure.subplots(len(read), 1))
        for i, axes in enumerate(panels):
            with np.errstate(invalid="ignore"):
                signal = read[i]["sci"] * np.sqrt(read[i]["wht"])
            grating = read.rows["grating"][i]
            wave = np.asarray(read[i]["wavelength"], np.float64)
            bright = float(np.nanpercentile(signal, 99.5)) if np.isfinite(signal).any() else None
            title = f"{grating} behind slits, signal / noise"
            draw_dispersed(axes, signal, noise=1.0, wavelength=wave, top=bright, title=title)
            seen = wave[np.isfinite(signal).any(axis=0)]
            if seen.size:
                axes.set_xlim(seen[0], seen[-1])

    return [_Block(height=0.2 + 1.3 * len(read), draw=draw)]


def line_maps(rows: SourceRows, source_id: int, *, most: int = _MOST_MAPS) -> list[tuple[str, Any, float]]:
    """Return name, map and noise of the lines of a source, the most significant line first."""
    table = rows.good("line_map", source_id).filter(pl.col("kind") == "line", pl.col("map_row").is_not_null())
    if table.is_empty():
        return []
    order = {name: i for i, name in enumerate(line_rows(rows, source_id, "grism")["line"])}
    ranked = sorted(range(table.height), key=lambda i: (order.get(table["name"][i], len(order)), table["name"][i]))
    read = rows.planes("line_map", table[ranked[:most]], row="map_row", planes=("sci", "wht"), group="line/")
    made = []
    for i, name in enumerate(read.rows["name"]):
        sci, wht = read[i]["sci"], read[i]["wht"]
        seen = wht > 0
        noise = float(np.median(1.0 / np.sqrt(wht[seen]))) if seen.any() else 1.0
        made.append((str(name), np.where(seen, sci, np.float32(np.nan)), noise))
    return made


def _map_block(rows: SourceRows, source_id: int) -> list[_Block]:
    maps = line_maps(rows, source_id)
    if not maps:
        return []
    snr = dict(line_rows(rows, source_id, "grism").select("line", "snr").iter_rows())

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, _MOST_MAPS)
        for axes in panels[len(maps) :]:
            axes.set_axis_off()
        for axes, (name, pixels, noise) in zip(panels, maps, strict=False):
            told = f"  S/N {snr[name]:.1f}" if name in snr else ""
            draw_residual(axes, pixels, noise=noise, title=f"map of {name}{told}")

    return [_Block(height=_WIDTH / _MOST_MAPS + 0.2, draw=draw)]
