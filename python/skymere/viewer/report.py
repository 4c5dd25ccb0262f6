"""The report of a lake: one plain HTML file with its pictures inside, that can be mailed."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from skymere import __version__
from skymere.errors import FormatError, InvalidInputError, NoDataError, NotFoundError, SkymereError
from skymere.lake import Lake, write_whole
from skymere.viewer.injection import completeness_figure
from skymere.viewer.mosaics import draw_mosaic, draw_weights
from skymere.viewer.palette import COLOURS
from skymere.viewer.pictures import new_figure
from skymere.viewer.report_html import Html, Section, note, page, paragraph, picture, table, words_in_mono
from skymere.viewer.report_tables import (
    alignment_table,
    bad_objects,
    band_counts,
    depth_table,
    product_counts,
    psf_table,
    run_facts,
    stage_times,
    unfinished_tasks,
)
from skymere.viewer.solutions import draw_alignment
from skymere.viewer.strips import PANELS, Strip, source_strips, strip_assets, strip_figure

__all__ = ["gallery_sources", "read_summary", "state_name", "write_page", "write_report"]

_MOST_TILES = 4
_MOST_PSFS = 12


def write_report(
    lake: Lake,
    path: str | Path,
    *,
    run: str | None = None,
    source_ids: Sequence[int] | None = None,
    n_sources: int = 24,
    injection: str | Path | None = None,
) -> Path:
    """Write a report of a lake: one HTML file with its pictures inside, without scripts or links to anywhere.

    Parameters
    ----------
    lake : Lake
        The lake, opened at a release or as it is now.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.
    run : str, optional
        A run, or its first characters: the lake is shown as it was with this run (`Lake.at_run`), and what the run was.
    source_ids : sequence of int, optional
        Sources of the gallery; those with the best spectra and the brightest when not given.
    n_sources : int, optional
        How many these are.
    injection : path-like, optional
        Folder that `skymere inject` wrote, for the completeness.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    NotFoundError
        When there is no such run, source or summary of injections.
    InvalidInputError
        When ``n_sources`` is negative, or a run is asked for at a release.
    NoDataError
        When nothing was ever published.
    FormatError
        When the summary of injections cannot be read.
    StorageError
        When the file cannot be written.

    Notes
    -----
    Of one state of a lake the report is always the same. What cannot be drawn is a line that says why.
    """
    if n_sources < 0:
        msg = f"n_sources: {n_sources} is not allowed, it must be 0 or more"
        raise InvalidInputError(msg)
    shown = lake if run is None else lake.at_run(run)
    row = None if run is None else _run_row(shown)
    counts = product_counts(shown)
    if counts.is_empty():
        msg = f"{lake.path}: nothing was published, there is nothing to report"
        raise NoDataError(msg)
    summary = None if injection is None else read_summary(injection)
    tile = None if row is None or row["tile"] not in shown.tiles else str(row["tile"])
    ids = gallery_sources(shown, n_sources, tile=tile) if source_ids is None else list(source_ids)
    strips = source_strips(shown, ids)
    sections = [
        *([] if row is None else [_run_section(row)]),
        _count_section(shown, counts),
        _image_section(shown, tile),
        _depth_section(shown),
        _psf_section(shown),
        _alignment_section(shown),
        _completeness_section(summary),
        _failure_section(shown),
        _time_section(shown),
        _gallery_section(strips),
    ]
    title = f"{Path(str(lake.path)).name}: {state_name(shown)}"
    return write_page(path, page(title, sections, lead=[_lead(shown)]))


def state_name(lake: Lake) -> str:
    """Return what a state of a lake is called: a release, a run, or the newest state.

    Parameters
    ----------
    lake : Lake
        The lake.
    """
    if lake.pinned is None:
        return "newest state"
    return lake.pinned if lake.pinned.startswith("run ") else f"release {lake.pinned}"


def write_page(path: str | Path, text: str) -> Path:
    """Write a page whole or not at all; returns its path.

    Parameters
    ----------
    path : path-like
        The file.
    text : str
        The page.

    Raises
    ------
    StorageError
        When it cannot be written.
    """
    path = Path(path)
    with write_whole(path) as staged:
        staged.write_text(text, encoding="utf-8")
    return path


def gallery_sources(lake: Lake, n: int, *, tile: str | None = None) -> list[int]:
    """Return sources worth looking at: with the best slit spectra, the most significant lines, and the brightest.

    Parameters
    ----------
    lake : Lake
        The lake.
    n : int
        How many at most; a third of each kind, as long as there are so many.
    tile : str, optional
        Sources of this tile alone.

    Returns
    -------
    list of int
        Their identifiers.
    """
    known = lake.table("source") if tile is None else lake.table("source").filter(pl.col("tile") == tile)
    ids = known.select("source_id")
    slits = lake.table("slit_spectrum").filter(pl.col("status") == "ok", pl.col("snr").is_finite())
    lines = lake.table("line").filter(pl.col("method") == "grism", pl.col("flags") == 0, pl.col("snr").is_finite())
    best = [_ranked(slits, ids, "snr", n), _ranked(lines, ids, "snr", n)]
    fluxes = [
        name
        for name in known.collect_schema().names()
        if name.startswith("flux_auto_") and not name.startswith("flux_auto_err")
    ]
    bright = pl.max_horizontal(pl.col(name).fill_nan(None) for name in fluxes) if fluxes else pl.lit(0.0)
    rest = known.select("source_id", bright.alias("flux")).filter(pl.col("flux").is_not_null())
    chosen: dict[int, None] = {}
    for some in best:
        chosen |= dict.fromkeys(some[: -(-n // 3)])
    for one in [*_ranked(rest, ids, "flux", n + len(chosen)), *best[0], *best[1]]:
        if len(chosen) >= n:
            break
        chosen[one] = None
    return list(chosen)[:n]


def _ranked(rows: pl.LazyFrame, ids: pl.LazyFrame, by: str, n: int) -> list[int]:
    best = rows.join(ids, on="source_id", how="semi").group_by("source_id").agg(pl.col(by).max())
    found = best.sort(by, "source_id", descending=[True, False]).head(n).collect()
    return [int(one) for one in found["source_id"]]


def read_summary(folder: str | Path) -> pl.DataFrame:
    """Return the summary that `skymere inject` wrote in a folder.

    Parameters
    ----------
    folder : path-like
        The folder.

    Raises
    ------
    NotFoundError
        When it has no ``summary.parquet``.
    FormatError
        When that cannot be read, or has not the columns.
    """
    path = Path(folder) / "summary.parquet"
    if not path.is_file():
        msg = f"injection: {path}: no such file; `skymere inject ... -o {folder}` writes it"
        raise NotFoundError(msg)
    try:
        summary = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        msg = f"injection: {path} cannot be read: {error}"
        raise FormatError(msg) from error
    needed = {"population", "quantity", "n", "completeness", "completeness_low", "completeness_high"}
    if not needed <= set(summary.columns):
        msg = f"injection: {path} has the columns {summary.columns}, it must have {sorted(needed)}"
        raise FormatError(msg)
    return summary


def _run_row(lake: Lake) -> dict[str, Any]:
    name = str(lake.pinned).removeprefix("run ")
    return lake.table("run").filter(pl.col("run_id") == name).collect().row(0, named=True)


def _lead(lake: Lake) -> Html:
    ended = lake.table("run").select(pl.col("finished").max()).collect().item()
    facts = [f"Lake {lake.path}", state_name(lake), f"last task ended {ended or 'never'}", f"skymere {__version__}"]
    return paragraph(", ".join(facts) + ".")


def _drawn(draw: Callable[[], Any], text: str, *, dpi: int = 80) -> Html:
    """Return a picture, or why there is none."""
    try:
        return picture(draw(), text, dpi=dpi)
    except SkymereError as error:
        return note(f"{text}: not drawn, {type(error).__name__}: {error}")


def _run_section(row: dict[str, Any]) -> Section:
    params, inputs = json.loads(row["params"]), json.loads(row["inputs"])
    parts = [
        table(run_facts(row)),
        paragraph("Parameters"),
        words_in_mono(json.dumps(params, indent=1, sort_keys=True)[:20_000]),
        paragraph("What it read"),
        words_in_mono("\n".join(json.dumps(one, sort_keys=True) for one in inputs[:200])),
    ]
    return Section(name="run", title="The run", parts=parts)


def _count_section(lake: Lake, counts: pl.DataFrame) -> Section:
    bands = band_counts(lake)
    parts = [table(counts, "Rows of each product")]
    if bands.height:
        parts.append(table(bands, "Rows with a result by band, filter or grating"))
    return Section(name="counts", title="Counts", parts=parts)


def _image_section(lake: Lake, tile: str | None) -> Section:
    rows = lake.table("mosaic").filter(pl.col("status") == "ok").select(pl.col("tile").unique()).collect()
    tiles = [one for one in sorted(rows["tile"]) if tile is None or one == tile]
    parts = []
    for one in tiles[:_MOST_TILES]:
        parts.append(_drawn(lambda one=one: draw_mosaic(lake, one, screen_pix=900), f"Mosaic of {one}", dpi=70))  # type: ignore[misc]
        parts.append(_drawn(lambda one=one: draw_weights(lake, one, screen_pix=600), f"Weights of {one}", dpi=50))  # type: ignore[misc]
    if len(tiles) > _MOST_TILES:
        parts.append(note(f"{len(tiles) - _MOST_TILES} more tiles are not shown."))
    return Section(name="images", title="Images", parts=parts or [note("No mosaic was published.")])


def _depth_section(lake: Lake) -> Section:
    rows = depth_table(lake)
    if rows.is_empty():
        return Section(name="depths", title="Depths", parts=[note("No mosaic and no forced flux was published.")])
    words = (
        "exptime in s, area in arcmin2; aperture and forced: median 1 sigma of faint sources (below 10 sigma) in the "
        "first aperture and of forced fluxes, in uJy; depths are five of them, AB magnitudes."
    )
    return Section(name="depths", title="Depths", parts=[table(rows), paragraph(words)])


def _psf_section(lake: Lake) -> Section:
    rows = psf_table(lake)
    if rows.is_empty():
        return Section(name="psf", title="PSF", parts=[note("No PSF was published: the stage psf was not asked for.")])
    words = "fwhm in arcsec; enclosed: part of the light inside of the stamp."
    parts = [table(rows), paragraph(words), _drawn(lambda: _draw_psfs(lake), "PSFs, logarithm over five decades")]
    return Section(name="psf", title="PSF", parts=parts)


def _draw_psfs(lake: Lake) -> Any:
    usable = pl.col("status") == "ok", pl.col("psf_row").is_not_null()
    rows = lake.table("psf").filter(*usable).sort("tile", "band", "psf_id").head(_MOST_PSFS).collect()
    if rows.is_empty():
        msg = "no PSF has the status ok"
        raise NoDataError(msg)
    read = lake.psfs(rows)
    figure = new_figure(2.2 * rows.height, 2.8)
    panels = figure.subplots(1, rows.height, squeeze=False)[0]
    for i, axes in enumerate(panels):
        pixels = np.asarray(read[i]["data"], np.float64)
        top = float(np.nanmax(pixels))
        with np.errstate(divide="ignore", invalid="ignore"):
            log = np.log10(np.maximum(pixels / top, 1e-5)) if top > 0 else np.zeros_like(pixels)
        axes.imshow(log, origin="lower", cmap="cividis", vmin=-5.0, vmax=0.0, interpolation="nearest")
        fwhm = rows["fwhm"][i]
        axes.set_title(
            f"{rows['tile'][i]} {rows['band'][i]}\n" + ("" if fwhm is None else f"{fwhm:.3f} arcsec"), fontsize=8
        )
        axes.set(xticks=[], yticks=[])
    return figure


def _alignment_section(lake: Lake) -> Section:
    rows = alignment_table(lake)
    if rows.is_empty():
        words = "No exposure was aligned: coordinates are those of the headers."
        return Section(name="alignment", title="Alignment", parts=[note(words)])
    drawn = _drawn(lambda: draw_alignment(lake), "Shifts of the exposures and what is left")
    return Section(name="alignment", title="Alignment", parts=[drawn, table(rows)])


def _completeness_section(summary: pl.DataFrame | None) -> Section:
    title = "Completeness"
    if summary is None:
        words = "No injection was given: `skymere inject` measures the completeness, `--injection FOLDER` shows it."
        return Section(name="completeness", title=title, parts=[note(words)])
    axis = str(summary.columns[2]).removesuffix("_low")
    rows = summary.filter(pl.col("quantity") == "completeness", pl.col("n") > 0)
    columns = [*summary.columns[:4], "n", "n_found", "completeness", "completeness_low", "completeness_high"]
    shown = rows.select(name for name in dict.fromkeys(columns) if name in rows.columns)
    parts = [
        _drawn(lambda: completeness_figure(summary, axis), "Part of injected sources that was found"),
        table(shown),
    ]
    return Section(name="completeness", title=title, parts=parts)


def _failure_section(lake: Lake) -> Section:
    tasks, objects = unfinished_tasks(lake), bad_objects(lake)
    parts = [table(tasks, "Tasks")] if tasks.height else [note("No task has failed, and none is held.")]
    if objects.height:
        parts.append(table(objects, "Single objects without a result", most=60))
    return Section(name="failures", title="Failures and held products", parts=parts)


def _time_section(lake: Lake) -> Section:
    rows = stage_times(lake)
    if rows.is_empty():
        return Section(name="times", title="Times", parts=[note("No task has published anything.")])
    drawn = _drawn(lambda: _draw_times(rows), "Seconds of each stage, all tasks together")
    return Section(name="times", title="Times", parts=[drawn, table(rows)])


def _draw_times(rows: pl.DataFrame) -> Any:
    figure = new_figure(8.0, 0.6 + 0.28 * rows.height)
    axes = figure.add_subplot()
    at = np.arange(rows.height)[::-1]
    for shift, name, colour in ((0.18, "seconds", COLOURS[0]), (-0.18, "CPU seconds", COLOURS[4])):
        values = rows[name].fill_null(0.0).to_numpy()
        axes.barh(at + shift, values, height=0.34, color=colour, label=name)
    axes.set_yticks(at, rows["stage"].to_list(), fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("seconds", fontsize=8)
    axes.legend(fontsize=8, frameon=False)
    return figure


def _gallery_section(strips: Sequence[Strip]) -> Section:
    if not strips:
        return Section(name="gallery", title="Gallery", parts=[note("There is no source to show.")])
    names = tuple(name for name in PANELS if any(name in strip.panels for strip in strips))
    parts = []
    for strip in strips:
        text = f"{strip.source_id}   {strip.words}".strip()
        if not strip.panels:
            parts.append(note(f"{text}: the lake has no picture of it"))
            continue
        parts.append(_drawn(lambda strip=strip: strip_figure(strip, names=names), text, dpi=75))  # type: ignore[misc]
    digests = strip_assets(strips).filter(pl.col("sha256") != "").with_columns(pl.col("sha256").str.head(16))
    parts.append(table(digests, "What was drawn, by the first characters of its sha256", most=1000))
    return Section(name="gallery", title="Gallery", parts=parts)
