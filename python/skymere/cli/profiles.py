"""``skymere profiles``: an image, its segments and a PSF in; a model of every source out, without any lake."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from skymere.cli._print import console, print_frame
from skymere.cli.imaging import DryRunOption, OverwriteOption, ParamsOption, SetOption, _check_outputs, _given, _show
from skymere.errors import InvalidInputError

if TYPE_CHECKING:
    import polars as pl

    from skymere.psf import Psf
    from skymere.wcs import Grid

__all__ = ["profiles"]

_TABLES = ("profiles.parquet", "profiles.fits")
_IMAGES = ("det_stack-sub.fits", "det_stack-model.fits")


def profiles(
    image: Annotated[Path, typer.Argument(help="Mosaic of the sharpest band, or det_stack.fits.")],
    seg: Annotated[Path, typer.Option(help="Its segments, det_seg.fits.")],
    psf: Annotated[Path, typer.Option(help="FITS image of its PSF.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for what is written.")] = Path("imfit"),
    psf_oversampling: Annotated[float, typer.Option(help="Pixels of the PSF per pixel; 0 = what it says, or 1.")] = 0.0,
    psf_has_pixel: Annotated[
        bool, typer.Option("--psf-has-pixel/--psf-without-pixel", help="Whether it holds the pixel's response.")
    ] = True,
    weight: Annotated[Path | None, typer.Option(help="File of inverse variances, up to a factor.")] = None,
    rms: Annotated[Path | None, typer.Option(help="File of errors.")] = None,
    noise_rms: Annotated[
        float | None, typer.Option(help="Error of every pixel, instead of that of the files or the sky.")
    ] = None,
    zero_point: Annotated[float | None, typer.Option(help="AB magnitude of one unit.")] = None,
    mask: Annotated[list[Path] | None, typer.Option(help="DS9 file of bad pixels; may be repeated.")] = None,
    find_masks: Annotated[
        bool, typer.Option("--find-masks/--no-find-masks", help="Use NAME-bad.reg beside NAME.fits, too.")
    ] = True,
    models: Annotated[
        bool, typer.Option("--models", help="Write models/ID.fits and models_conv/ID.fits for every source.")
    ] = False,
    picture: Annotated[bool, typer.Option("--picture/--no-picture", help="Write residual.png.")] = True,
    params: ParamsOption = None,
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Fit a profile behind the PSF to every segment of an image, together with its neighbours.

    Writes profiles.parquet and profiles.fits (a row for each segment: place, shape on the sky, flux, errors, status),
    det_stack-sub.fits (the image without all models) and det_stack-model.fits.

    Example: `skymere profiles det_stack.fits --seg det_seg.fits --psf det_stack_psf.fits -o imfit --models`

    Example: `skymere profiles f160w_drz.fits --seg det_seg.fits --psf psf.fits --set fits.sersic_index=[0.3,6]`
    """
    from dataclasses import replace

    from skymere._params import resolve_params
    from skymere.io import read_labels, write_image, write_table
    from skymere.lake import write_whole
    from skymere.photometry import PhotometryParams
    from skymere.pipeline import BandImage, image_to_measure, read_band_image, regions_beside
    from skymere.profiles import SceneParams, fit_scene, profiles_on_sky
    from skymere.segmentation.on_grid import SAME_GRID_PIX, distance_pix
    from skymere.viewer import plot_models

    settings, rows = resolve_params(SceneParams, _given(params, set_, {}))
    if dry_run:
        _show(rows)
        return
    drawn = [output / "residual.png"] if picture else []
    _check_outputs([*(output / name for name in (*_TABLES, *_IMAGES)), *drawn], overwrite=overwrite)
    given = BandImage(
        band=image.name.split(".")[0],
        image=str(image),
        weight="" if weight is None else str(weight),
        rms="" if rms is None else str(rms),
        psf=str(psf),
        psf_oversampling=psf_oversampling,
        psf_has_pixel=psf_has_pixel,
        photometry=PhotometryParams(noise_rms=noise_rms),
        zero_point_ab=float("nan") if zero_point is None else zero_point,
    )
    beside = regions_beside(given)["bad"] if find_masks else []
    mosaic, its_psf, regions = read_band_image(given, {"bad": [*beside, *(mask or [])]})
    labels, grid = read_labels(seg)
    if labels.shape != mosaic.shape:
        msg = f"--seg: {seg}: shape {labels.shape} is not allowed, {image} has {mosaic.shape}"
        raise InvalidInputError(msg)
    if distance_pix(grid, mosaic.grid) > SAME_GRID_PIX:
        msg = f"--seg: {seg}: its pixels do not lie on those of {image}"
        raise InvalidInputError(msg)
    measured, _ = image_to_measure(mosaic, given, regions, modelled=labels > 0)
    if "min_half_pix" not in _given(params, set_, {}):
        settings = replace(settings, min_half_pix=max(5.0, 1.5 / mosaic.grid.scale_arcsec))
    data, error = np.asarray(measured.data), np.asarray(measured.error)
    fit = fit_scene(data, error, labels=labels, psf=its_psf, mask=np.asarray(measured.mask), params=settings)
    table = profiles_on_sky(
        fit.table, mosaic.grid, zero_point_ab=mosaic.zero_point_ab, noise_factor=mosaic.noise_correlation
    )
    unit = "uJy" if np.isfinite(mosaic.zero_point_ab) else mosaic.unit
    with write_whole(output / _TABLES[0]) as staged:
        table.write_parquet(staged)
    write_table(_flat(table), output / _TABLES[1], units=_units(unit))
    write_image(fit.residual, output / _IMAGES[0], wcs=mosaic.grid.wcs, keywords={"BUNIT": mosaic.unit})
    write_image(fit.model, output / _IMAGES[1], wcs=mosaic.grid.wcs, keywords={"BUNIT": mosaic.unit})
    if models:
        _write_models(fit.table, mosaic.grid, its_psf, output, overwrite=overwrite)
    if picture:
        good = np.isfinite(data) & ~np.asarray(measured.mask)
        shown = [np.where(good, one, np.float32(np.nan)) for one in (data, fit.residual)]
        plot_models(shown[0], shown[1], drawn[0], title=image.name)
        console.print(f"  {drawn[0]}", soft_wrap=True)
    for text in fit.warnings:
        console.print(text, soft_wrap=True, markup=False)
    counts = table.group_by("status", "message").len("sources").sort("sources", descending=True)
    print_frame(counts)
    console.print(f"{output}: {table.height} sources in {mosaic.shape[1]} x {mosaic.shape[0]} pixels", soft_wrap=True)


def _flat(table: "pl.DataFrame") -> "pl.DataFrame":
    """Return a table without columns of lists and arrays, which FITS files of one row a source lack."""
    import polars as pl

    hit = pl.col("bounds_hit").list.join(" ")
    kept = table.with_columns(hit).select(pl.exclude("covariance"))
    return kept.select(name for name, dtype in kept.schema.items() if not dtype.is_nested())


def _units(flux: str) -> dict[str, str]:
    units = dict.fromkeys(("x", "y", "r_eff_pix"), "pix") | {"r_eff": "arcsec", "ra": "deg", "dec": "deg"}
    units |= dict.fromkeys(("pa", "pa_sky"), "deg") | dict.fromkeys(("flux", "sky", "intensity"), flux)
    return units | {f"{name}_err": unit for name, unit in units.items()}


def _write_models(fits: "pl.DataFrame", grid: "Grid", psf: "Psf", output: Path, *, overwrite: bool) -> None:
    """Write an image of unit light for each source, before and after the PSF, on its own window of the image."""
    from skymere.io import write_image
    from skymere.profiles import model_stamps

    for folder, response in (("models", None), ("models_conv", psf)):
        stamps = model_stamps(fits, psf=response)
        rows = list(zip(stamps.table.iter_rows(named=True), stamps.data, strict=True))
        paths = {row["label"]: output / folder / f"{row['label']}.fits" for row, _ in rows if row["status"] == "ok"}
        _check_outputs(list(paths.values()), overwrite=overwrite)
        for row, data in rows:
            if row["label"] in paths:
                window = grid.cutout(row["y0"], row["x0"], (row["ny"], row["nx"]))
                write_image(data, paths[row["label"]], wcs=window.wcs)
