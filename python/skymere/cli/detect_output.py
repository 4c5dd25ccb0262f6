"""``skymere detect``: what it writes, prints and draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from skymere.cli._print import console, print_frame

if TYPE_CHECKING:
    from skymere.background import BackgroundParams
    from skymere.datamodels import Mosaic, SourceCatalog
    from skymere.mosaic import FoundSources

__all__ = [
    "background_picture",
    "draw_found",
    "planned_files",
    "print_bands",
    "with_flux_of",
    "write_catalog",
    "write_found",
]

_FILES = ("det_seg.fits", "det_cat.fits", "det_stack.fits", "det_snr.fits", "sources.parquet", "sources.fits")
_PICTURES = ("segments.png", "number_counts.png", "purity.png")


def planned_files(output: Path, *, pictures: bool) -> list[Path]:
    """Return what will be written, beside the background of each band."""
    return [output / name for name in (*_FILES, *(_PICTURES if pictures else ()))]


def background_picture(output: Path, band: str) -> Path:
    """Return the file of the picture of a background."""
    return output / f"background_{band}.png"


def with_flux_of(catalog: "SourceCatalog", band: str) -> pl.DataFrame:
    """Return the table whose ``flux`` and ``flux_err`` are the isophotal ones of a band."""
    return catalog.table.rename({f"flux_iso_{band}": "flux", f"flux_iso_err_{band}": "flux_err"})


def write_catalog(catalog: "SourceCatalog", output: Path) -> None:
    """Write ``sources.parquet`` and ``sources.fits``."""
    from skymere.io import write_table
    from skymere.lake import write_whole

    with write_whole(output / "sources.parquet") as staged:
        catalog.table.write_parquet(staged)
    write_table(catalog.table, output / "sources.fits")


def write_found(found: "FoundSources", catalog: "SourceCatalog", band: str, output: Path) -> None:
    """Write the four `det_*.fits`, with the fluxes of one band, and the catalogue."""
    from skymere.io import write_detection

    table = found.table if found.table is not None else with_flux_of(catalog, band)
    assert found.segmentation.grid is not None
    write_detection(
        output,
        found.segmentation.labels,
        table,
        stack=found.stack.data,
        snr=found.snr,
        wcs=found.grid.wcs,
        flux_unit=found.flux_unit,
    )
    write_catalog(catalog, output)


def print_bands(
    coverage: Mapping[str, float],
    *,
    searched: Sequence[str],
    measured: Sequence[str] = (),
    masked: Mapping[str, str],
    excluded: Mapping[str, str],
) -> None:
    """Print what was not used and why, and every band with its role."""
    for name, why in excluded.items():
        console.print(f"not used: {name}: {why}", soft_wrap=True, markup=False)
    rows: list[dict[str, object]] = [
        {"band": b, "coverage": c, "role": "searched" if b in searched else "not used", "masked": masked.get(b, "")}
        for b, c in coverage.items()
    ]
    rows += [{"band": b, "coverage": None, "role": "measured", "masked": masked.get(b, "")} for b in measured]
    print_frame(pl.DataFrame(rows))


def draw_found(
    found: "FoundSources",
    negative: "FoundSources",
    catalog: "SourceCatalog",
    mosaics: "list[Mosaic]",
    background: "BackgroundParams",
    output: Path,
) -> list[Path]:
    """Draw segments, backgrounds, number counts and purity; returns the files."""
    from skymere.background import estimate_background
    from skymere.viewer import plot_background, plot_number_counts, plot_purity, plot_rgb

    bands = list(found.planes)
    images = [np.asarray(found.planes[b].data, np.float32) for b in reversed(bands)][:3]
    title = f"{found.segmentation.n_sources} sources"
    paths = [plot_rgb(images, output / "segments.png", labels=found.segmentation.labels, title=title)]
    for mosaic in mosaics:
        if mosaic.band not in bands:
            continue
        bad = ~(mosaic.covered & np.isfinite(mosaic.data))
        sky = estimate_background(mosaic.data, mask=bad, params=background)
        shown = [np.where(bad, np.float32(np.nan), plane) for plane in (sky.level, sky.rms)]
        path = background_picture(output, mosaic.band)
        paths.append(plot_background(shown[0], shown[1], path, unit=mosaic.unit, title=mosaic.band))
    known = [b for b in bands if np.isfinite(found.planes[b].zero_point_ab)]
    if known:
        scale = mosaics[0].grid.scale_arcsec
        area = float(np.count_nonzero(np.isfinite(found.stack.data))) * (scale / 60.0) ** 2
        paths.append(plot_number_counts(catalog.table, known, output / "number_counts.png", area_arcmin2=area))
    picture = output / "purity.png"
    paths.append(plot_purity(found.peak_snr(), negative.peak_snr(), picture, threshold=found.threshold))
    return paths
