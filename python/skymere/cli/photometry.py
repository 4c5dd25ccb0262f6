"""``skymere photometry``: a table of bands and models of their sources in; fluxes, residuals and pages out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from skymere.cli._print import console, print_frame
from skymere.cli.imaging import OverwriteOption, _check_outputs
from skymere.errors import InvalidInputError, SkymereError

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from skymere.datamodels import Mosaic
    from skymere.photometry import ExternalModel, ForcedPhotometry
    from skymere.pipeline import BandImage
    from skymere.segmentation import MeasureImage

__all__ = ["photometry"]

_TABLES = ("fluxes.parquet", "fluxes.fits")


def photometry(
    table: Annotated[Path, typer.Argument(help="Table of bands: CSV with a line for each, or TOML with [[images]].")],
    models: Annotated[Path, typer.Option(help="Models on the sky: profiles.parquet of `skymere profiles`, FITS, CSV.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for what is written.")] = Path("photometry"),
    external: Annotated[
        list[str] | None,
        typer.Option(help="Image that stands for the model of a source; may be repeated.", metavar="ID=FILE"),
    ] = None,
    residual_of: Annotated[
        list[int] | None,
        typer.Option(help="Source whose RES_ID, the image without all others, is written, and drawn as ID.png."),
    ] = None,
    band: Annotated[list[str] | None, typer.Option(help="Only this band of the table; may be repeated.")] = None,
    skip_unusable: Annotated[
        bool, typer.Option("--skip-unusable", help="Leave out bands that cannot be measured, and say so.")
    ] = False,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Write a page for each band.")] = True,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure all sources of each band together, with shapes that a sharper image gave.

    Writes fluxes.parquet and fluxes.fits (a row for each source and band), BAND-sub.fits (RES_ALL, and RES_ID of the
    sources asked for), BAND-shift-sub.fits where a shift was searched around an anchor, and BAND.png. Regions beside an
    image are used by the names of the deblending pipeline: NAME-bad.reg, NAME-sim.reg, mask_border.reg, mask_all.reg.

    The columns of the table are band, image, psf, and if wanted rms, weight, zero_point_ab, psf_oversampling,
    psf_has_pixel, background, background_box_arcsec, has_more_border_masks, photometry.noise_rms,
    photometry.shift.method, photometry.shift.max_arcsec, photometry.noise.n_positions, and so on.

    Example: `skymere photometry bands.csv --models imfit/profiles.parquet -o fluxes`

    Example: `skymere photometry bands.toml --models profiles.fits --external 12=spiral.fits --residual-of 12`
    """
    import polars as pl

    from skymere.io import write_table
    from skymere.lake import write_whole
    from skymere.pipeline import read_band_table

    images = _chosen(read_band_table(table), band)
    _check_outputs([output / name for name in _TABLES], overwrite=overwrite)
    for one in images:
        _check_files(one, table)
        _check_outputs(_planned(one.band, output, pictures=pictures), overwrite=overwrite)
    known = _models(models)
    others = _external(external or ())
    frames, told = [], []
    gallery: dict[int, dict[str, Any]] = {}
    for one in images:
        try:
            found, mosaic, measured = _measure(one, known, others)
            _write_images(found, mosaic, one.band, output, residual_of or ())
        except SkymereError as error:
            if not skip_unusable:
                raise
            console.print(f"not measured: {one.band}: {error}", soft_wrap=True, markup=False)
            continue
        frames.append(_rows(found, one.band, mosaic))
        told.append(_summary(found, one.band))
        for warning in found.warnings:
            console.print(f"{one.band}: {warning}", soft_wrap=True, markup=False)
        for source_id in residual_of or () if pictures else ():
            gallery.setdefault(source_id, {})[one.band] = _stamps(found, measured, source_id)
        if pictures:
            console.print(f"  {_draw(found, mosaic, measured, one.band, output)}", soft_wrap=True)
    if not frames:
        msg = f"{table}: no band could be measured"
        raise InvalidInputError(msg)
    _draw_gallery(gallery, output)
    everything = pl.concat(frames, how="diagonal")
    with write_whole(output / _TABLES[0]) as staged:
        everything.write_parquet(staged)
    write_table(everything, output / _TABLES[1])
    print_frame(pl.DataFrame(told))


def _chosen(images: "Sequence[BandImage]", bands: Sequence[str] | None) -> "list[BandImage]":
    names = [one.band for one in images]
    for name in bands or ():
        if name not in names:
            msg = f"--band: {name!r} is not in the table, which has {names}"
            raise InvalidInputError(msg)
    return [one for one in images if not bands or one.band in bands]


def _check_files(image: "BandImage", table: Path) -> None:
    if not image.image or not image.psf:
        msg = f"{table}: band {image.band!r} has no {'psf' if image.image else 'image'}, it must have one"
        raise InvalidInputError(msg)


def _planned(band: str, output: Path, *, pictures: bool) -> list[Path]:
    return [output / f"{band}-sub.fits", *([output / f"{band}.png"] if pictures else [])]


def _models(path: Path) -> "pl.DataFrame":
    """Read models; the number of a source may be called ``source_id``, ``label`` or ``id``."""
    import polars as pl

    from skymere.io import read_table

    table = read_table(path)
    name = next((one for one in ("source_id", "label", "id") if one in table.columns), None)
    if name is None:
        msg = f"--models: {path}: columns {table.columns} are not enough, one must be source_id, label or id"
        raise InvalidInputError(msg)
    table = table.with_columns(pl.col(name).cast(pl.Int64).alias("source_id"))
    if "is_best" in table.columns:
        table = table.filter("is_best")
    if "status" not in table.columns:
        return table
    # Sources whose fit failed are points, so that their neighbours are measured with them.
    kind = pl.col("kind") if "kind" in table.columns else pl.lit("sersic")
    return table.with_columns(pl.when(pl.col("status") == "ok").then(kind).otherwise(pl.lit("point")).alias("kind"))


def _external(words: Sequence[str]) -> "dict[int, ExternalModel]":
    from skymere.io import read_image
    from skymere.photometry import ExternalModel

    found = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or not name.strip().lstrip("-").isdigit():
            msg = f"--external: {word!r} is not allowed, it must be ID=FILE"
            raise InvalidInputError(msg)
        data, grid = read_image(path)
        found[int(name)] = ExternalModel(data=data, wcs=grid.wcs)
    return found


def _measure(
    image: "BandImage", models: "pl.DataFrame", external: "dict[int, ExternalModel]"
) -> "tuple[ForcedPhotometry, Mosaic, MeasureImage]":
    from skymere.photometry import forced_photometry
    from skymere.pipeline import image_to_measure, read_band_image

    mosaic, psf, regions = read_band_image(image)
    measured, params = image_to_measure(mosaic, image, regions)
    found = forced_photometry(
        measured, models=models, psf=psf, psf_has_pixel=image.psf_has_pixel, external=external, params=params
    )
    return found, mosaic, measured


def _write_images(
    found: "ForcedPhotometry", mosaic: "Mosaic", band: str, output: Path, residual_of: Sequence[int]
) -> None:
    from skymere.io import write_images

    parts = [("RES_ALL", found.residual, mosaic.grid.wcs)]
    for source_id in residual_of:
        data, y0, x0 = found.without_others(source_id)
        parts.append((f"RES_{source_id}", data, mosaic.grid.cutout(y0, x0, (data.shape[0], data.shape[1])).wcs))
    write_images(parts, output / f"{band}-sub.fits", keywords={"BUNIT": mosaic.unit})
    if found.shift_residual is not None:
        shifted = [("SHIFT_SUB", found.shift_residual, mosaic.grid.wcs)]
        write_images(shifted, output / f"{band}-shift-sub.fits", keywords={"BUNIT": mosaic.unit})


def _stamps(
    found: "ForcedPhotometry", measured: "MeasureImage", source_id: int
) -> "tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]":
    """Return the image, the image without all others and what is left, around a source."""
    alone, y0, x0 = found.without_others(source_id)
    window = np.s_[y0 : y0 + alone.shape[0], x0 : x0 + alone.shape[1]]
    return np.asarray(measured.data)[window], alone, found.residual[window]


def _draw_gallery(gallery: dict[int, dict[str, Any]], output: Path) -> None:
    from skymere.viewer import plot_gallery

    for source_id, stamps in gallery.items():
        plot_gallery(stamps, output / f"{source_id}.png", title=f"source {source_id}")


def _rows(found: "ForcedPhotometry", band: str, mosaic: "Mosaic") -> "pl.DataFrame":
    import polars as pl

    return found.table.select(
        pl.lit(band).alias("band"),
        pl.all(),
        pl.lit(found.unit if found.unit == "uJy" else mosaic.unit).alias("flux_unit"),
        pl.lit(mosaic.zero_point_ab).alias("zero_point_ab"),
    )


def _summary(found: "ForcedPhotometry", band: str) -> dict[str, object]:
    import polars as pl

    good = found.table.filter(pl.col("status") == "ok")
    east, north = found.shift.arcsec
    return {
        "band": band,
        "sources": found.table.height,
        "fluxes": good.height,
        "above 5 sigma": good.filter(pl.col("flux") > 5 * pl.col("flux_err")).height,
        "shift east": round(east, 4),
        "shift north": round(north, 4),
        "dipoles": good.filter(pl.col("dipole") > 5).height,
        "noise places": len(found.noise_positions),
    }


def _draw(found: "ForcedPhotometry", mosaic: "Mosaic", measured: "MeasureImage", band: str, output: Path) -> Path:
    from skymere.viewer import plot_photometry

    used = np.isfinite(np.asarray(measured.error)) & np.isfinite(np.asarray(measured.data))
    shown = [np.where(used, one, np.float32(np.nan)) for one in (np.asarray(measured.data), found.residual)]
    places = found.noise_positions
    xy = np.stack(mosaic.grid.pixels(*places.T), axis=-1) if len(places) else None
    radius = found.params.noise.radius_arcsec
    return plot_photometry(
        shown[0],
        shown[1],
        found.table,
        output / f"{band}.png",
        error=np.asarray(measured.error),
        noise_places=xy,
        noise_radius_pix=0.0 if radius is None else radius / mosaic.grid.scale_arcsec,
        title=band,
    )
