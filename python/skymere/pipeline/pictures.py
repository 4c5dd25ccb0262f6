"""The pictures of a run, drawn from what the lake holds."""

from pathlib import Path

import numpy as np
import polars as pl

from skymere.datamodels import FLAG_BITS
from skymere.io import write_mosaic
from skymere.lake import Lake
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import (
    falls_on,
    flagged_exposures,
    load_mosaics,
    load_segmentation,
    tiles_with_mosaics,
)
from skymere.viewer import plot_mask, plot_number_counts, plot_rgb, plot_sheet, plot_weight

__all__ = ["draw_pictures"]

_N_STAMPS = 40


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
    for tile in tiles_with_mosaics(lake):
        paths = {what: folder / f"{tile}_{what}.png" for what in ("rgb", "weight", "rejected", "cutouts", "counts")}
        if not redraw and all(path.exists() for path in paths.values()):
            drawn += paths.values()
            continue
        mosaics = load_mosaics(lake, tile)[::-1]
        names = " ".join(m.band for m in mosaics)
        labels = load_segmentation(lake, tile).labels
        plot_rgb([m.data for m in mosaics], paths["rgb"], labels=labels, title=f"{tile}: {names}, segments outlined")
        plot_weight({m.band: m.weight for m in mosaics}, paths["weight"])
        exposure = next(flagged_exposures(lake, mosaics[0].band, mosaics[0].exposure_ids))
        hit = np.zeros(exposure.shape, bool) if exposure.flags is None else exposure.flags & FLAG_BITS["cosmic_ray"] > 0
        plot_mask(exposure.data - np.float32(exposure.sky), hit, paths["rejected"], title=exposure.exposure_id)
        _draw_cutouts(lake, tile, [m.band for m in mosaics], paths["cutouts"])
        sources = lake.table("source").filter(pl.col("tile") == tile).collect()
        area = float(np.count_nonzero(mosaics[0].covered)) * (mosaics[0].grid.scale_arcsec / 60.0) ** 2
        plot_number_counts(
            sources,
            [m.band for m in mosaics],
            paths["counts"],
            area_arcmin2=area,
            truth=None if truth is None else truth.filter(falls_on(mosaics[0].covered, mosaics[0].grid, truth)),
        )
        drawn += paths.values()
        if plan.mosaic.write_fits:
            for mosaic in mosaics:
                drawn.append(folder / f"{tile}_{mosaic.band}_drz.fits")
                write_mosaic(mosaic, drawn[-1])
    return drawn


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
