"""The pictures of a run, drawn from what the lake holds."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import FLAG_BITS, Sliceable
from skymere.errors import ConflictError, InvalidInputError
from skymere.io import write_mosaic
from skymere.lake import Lake
from skymere.pipeline.band_images import image_to_measure
from skymere.pipeline.band_input import band_input
from skymere.pipeline.exposures import flagged_exposures
from skymere.pipeline.grism_fits import fit_sets
from skymere.pipeline.grism_objects import draw_object, object_of_lake, plot_object
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import (
    falls_on,
    load_mosaics,
    mosaic_rows,
    stored_mosaics,
    tiles_with_mosaics,
)
from skymere.slit import plot_summary
from skymere.spectra import LINES
from skymere.viewer import (
    plot_mask,
    plot_models,
    plot_number_counts,
    plot_photometry,
    plot_rgb,
    plot_sheet,
    plot_weight,
)

__all__ = ["draw_pictures"]

_N_STAMPS = 40
# Planes that are wider are drawn with some of their rows and columns alone.
_SIDE_PIX = 2048
_STRIP = 256
_MARKED = ("OII", "Hb", "OIII-5007", "Ha")


def draw_pictures(plan: Plan, lake: Lake, *, redraw: bool, truth: pl.DataFrame | None = None) -> list[Path]:
    """Draw mosaic, weights, rejected pixels, cutouts and number counts of every tile; returns their paths.

    Parameters
    ----------
    plan : Plan
        Where to.
    lake : Lake
        What to draw.
    redraw : bool
        Draw also what is there already.
    truth : polars.DataFrame, optional
        True sources, for the number counts.
    """
    folder = plan.path(plan.survey.pictures)
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []
    whole = lake.live_runs("cutout")
    for tile in tiles_with_mosaics(lake):
        if tile not in whole:
            # A task before the cutouts has failed, or its product is held.
            continue
        paths = {what: folder / f"{tile}_{what}.png" for what in ("rgb", "weight", "rejected", "cutouts", "counts")}
        if not redraw and all(path.exists() for path in paths.values()):
            drawn += paths.values()
            continue
        mosaics = stored_mosaics(lake, tile)[::-1]
        names = " ".join(m.band for m in mosaics)
        step = -(-max(mosaics[0].shape) // _SIDE_PIX)
        labels = _thinned(lake.arrays("segmentation", tile)["label"], step)
        images = [_thinned(m.data, step) for m in mosaics]
        plot_rgb(images, paths["rgb"], labels=labels, title=f"{tile}: {names}, segments outlined")
        weights = {m.band: _thinned(m.weight, step) for m in mosaics}
        plot_weight(weights, paths["weight"])
        exposure = next(flagged_exposures(lake, tile, mosaics[0].band, mosaics[0].exposure_ids))
        hit = np.zeros(exposure.shape, bool) if exposure.flags is None else exposure.flags & FLAG_BITS["cosmic_ray"] > 0
        plot_mask(exposure.data - np.float32(exposure.sky), hit, paths["rejected"], title=exposure.exposure_id)
        _draw_cutouts(lake, tile, [m.band for m in mosaics], paths["cutouts"])
        sources = lake.table("source").filter(pl.col("tile") == tile).collect()
        n_covered = dict(mosaic_rows(lake, tile).select("band", "n_covered").iter_rows())[mosaics[0].band]
        area = float(n_covered) * (mosaics[0].grid.scale_arcsec / 60.0) ** 2
        covered = weights[mosaics[0].band] > 0
        plot_number_counts(
            sources,
            [m.band for m in mosaics],
            paths["counts"],
            area_arcmin2=area,
            truth=None if truth is None else truth.filter(falls_on(covered, mosaics[0].grid, truth, step=step)),
        )
        drawn += paths.values()
        drawn += _draw_models(plan, lake, tile, folder)
        if plan.mosaic.write_fits:
            for mosaic in load_mosaics(lake, tile):
                drawn.append(folder / f"{tile}_{mosaic.band}_drz.fits")
                write_mosaic(mosaic, drawn[-1])
    drawn += _draw_slits(lake, folder / "slits.png", redraw=redraw)
    return drawn + _draw_beams(plan, lake, folder / "grism.png", redraw=redraw)


def _thinned(plane: Sliceable, step: int) -> NDArray[Any]:
    """Return every so many rows and columns of a plane, which is read window by window."""
    ny, nx = plane.shape
    n_rows = step * max(_STRIP // step, 1)
    # A copy, since a view keeps its whole strip.
    strips = (np.asarray(plane[y : y + n_rows, 0:nx])[::step, ::step].copy() for y in range(0, ny, n_rows))
    return np.concatenate(list(strips))


def _draw_slits(lake: Lake, path: Path, *, redraw: bool) -> list[Path]:
    """Draw a page of the spectrum with the most signal of all slits, its lines marked where the redshift puts them."""
    spectra = lake.table("slit_spectrum").filter(pl.col("status") == "ok", pl.col("snr").is_not_null())
    best = spectra.sort("snr", "spectrum_id", descending=True).head(1).select("spectrum_id", "source_id").collect()
    if best.is_empty():
        return []
    if redraw or not path.exists():
        mine = pl.col("source_id") == best["source_id"][0]
        good = pl.col("status") == "ok", pl.col("method") == "slit"
        fits = lake.table("redshift").filter(mine, *good).select("redshift").collect()
        (spectrum,) = lake.slit_spectra(best["spectrum_id"].to_numpy())
        marked = {name: LINES[name].main for name in _MARKED} if fits.height else {}
        page = plot_summary(spectrum, lines=marked, redshift=fits["redshift"][0] if fits.height else 0.0)
        page.savefig(path, dpi=100)
    return [path]


def _draw_beams(plan: Plan, lake: Lake, path: Path, *, redraw: bool) -> list[Path]:
    """Draw a page of the source with the most significant line of all beams."""
    lines = lake.table("line").filter(pl.col("method") == "grism", pl.col("flags") == 0, pl.col("snr").is_not_null())
    best = lines.sort("snr", "source_id", descending=True).head(1).select("source_id").collect()
    if best.is_empty() or not plan.redshifts.grism.templates:
        return []
    if redraw or not path.exists():
        sets = fit_sets(plan.redshifts.grism, plan.folder)
        try:
            one = object_of_lake(lake, best["source_id"][0], sets)
        except (ConflictError, InvalidInputError):
            # A fit of before, to other beams or with other templates, is no picture of today.
            return []
        plot_object(one, draw_object(one, plan.maps, lake=lake), path)
    return [path]


def _draw_cutouts(lake: Lake, tile: str, bands: list[str], path: Path) -> None:
    """Draw the brightest sources of the tile, read from the cutouts of the lake."""
    rows = (
        lake.table("source")
        .filter(pl.col("tile") == tile)
        .sort(f"flux_auto_{bands[0]}", descending=True, nulls_last=True)
    )
    ids = rows.select("source_id", f"flux_auto_{bands[0]}").head(_N_STAMPS).collect()
    stamps = lake.cutouts(ids["source_id"].to_numpy(), bands=bands, planes=("sci",), size_pix=64)
    captions = []
    for _, flux in ids.iter_rows():
        captions.append(f"{23.9 - 2.5 * np.log10(flux):.2f} mag" if flux and flux > 0 else "no flux")
    images = [[stamps[band, "sci"][i] for band in bands] for i in range(ids.height)]
    plot_sheet(images, captions, path)


def _draw_models(plan: Plan, lake: Lake, tile: str, folder: Path) -> list[Path]:
    """Draw the mosaic that profiles were fitted to, and a page for each band with fluxes."""
    drawn = []
    if tile in lake.live_runs("profile"):
        arrays, band = lake.arrays("profile", tile), plan.profiles.band
        if f"{band}/model" in arrays:
            step = -(-max(arrays[f"{band}/model"].shape) // _SIDE_PIX)
            model, residual = (_thinned(arrays[f"{band}/{name}"], step) for name in ("model", "residual"))
            path = folder / f"{tile}_profiles.png"
            drawn.append(plot_models(model + residual, residual, path, title=f"{tile}: {band}"))
    if tile not in lake.live_runs("flux"):
        return drawn
    arrays = lake.arrays("flux", tile)
    rows = lake.table("flux").filter(pl.col("tile") == tile).collect()
    for image in plan.band_images():
        if f"{image.band}/residual" not in arrays:
            continue
        mosaic, _, regions = band_input(plan, lake, tile, image)
        seen, params = image_to_measure(mosaic, image, regions)
        used = np.isfinite(np.asarray(seen.error)) & np.isfinite(np.asarray(seen.data))
        known = f"{image.band}/noise_position" in arrays
        places = arrays[f"{image.band}/noise_position"][...] if known else np.zeros((0, 2))
        drawn.append(
            plot_photometry(
                np.where(used, np.asarray(seen.data), np.float32(np.nan)),
                np.where(used, arrays[f"{image.band}/residual"][...], np.float32(np.nan)),
                rows.filter(pl.col("band") == image.band),
                folder / f"{tile}_{image.band}_fluxes.png",
                error=np.asarray(seen.error),
                noise_places=np.stack(mosaic.grid.pixels(*places.T), axis=-1),
                noise_radius_pix=(params.noise.radius_arcsec or 0.0) / mosaic.grid.scale_arcsec,
                title=f"{tile}: {image.band}",
            )
        )
    return drawn
