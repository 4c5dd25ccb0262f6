"""``skymere detect``: mosaics in; segments, catalogues and pictures out, without any lake."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from skymere.cli._print import console
from skymere.cli.detect_blocks import detect_in_blocks, is_large
from skymere.cli.detect_files import given_files, read_each
from skymere.cli.detect_masks import bad_pixels_of
from skymere.cli.detect_output import background_picture, draw_found, planned_files, print_bands, write_found
from skymere.cli.imaging import DryRunOption, OverwriteOption, ParamsOption, SetOption, _check_outputs, _given, _show
from skymere.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from skymere.datamodels import Mosaic, SourceCatalog
    from skymere.mosaic import FoundSources
    from skymere.segmentation import MeasureImage

__all__ = ["detect"]


def detect(
    files: Annotated[
        list[Path], typer.Argument(help="Mosaics on one grid: *_drz.fits with SCI and WHT, or images with --weight.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for what is written.")] = Path("detection"),
    also: Annotated[
        list[Path] | None,
        typer.Option(help="Image of any pixels to be measured, but not searched; may be repeated.", metavar="FILE"),
    ] = None,
    band: Annotated[
        list[str] | None,
        typer.Option(help="Name of the band of each file, those of --also last; else what the files say."),
    ] = None,
    weight: Annotated[
        list[Path] | None, typer.Option(help="File of inverse variances of each image, in their order.")
    ] = None,
    rms: Annotated[list[Path] | None, typer.Option(help="File of errors of each image, in their order.")] = None,
    zero_point: Annotated[
        list[float] | None, typer.Option(help="AB magnitude of one unit of each image, in their order.")
    ] = None,
    saturation: Annotated[
        list[float] | None, typer.Option(help="Level from which pixels of each image are saturated, in their order.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="What is searched: stack, chi_square or max_snr.")] = None,
    method: Annotated[str | None, typer.Option(help="threshold, or peaks (as make_detect).")] = None,
    threshold: Annotated[float | None, typer.Option(help="Threshold of the method.")] = None,
    min_area: Annotated[int | None, typer.Option(help="Least number of pixels of a source.")] = None,
    flux_band: Annotated[str | None, typer.Option(help="Band of det_cat.fits and of min_snr; else the last.")] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            help="DS9 file of bad pixels in all images, or BAND=FILE in one; may be repeated.", metavar="FILE"
        ),
    ] = None,
    find_masks: Annotated[
        bool,
        typer.Option(
            "--find-masks/--no-find-masks",
            help="Mask NAME-bad.reg or NAME_bad.reg beside NAME.fits, or else _bad.reg in its folder, too.",
        ),
    ] = True,
    skip_unusable: Annotated[
        bool, typer.Option("--skip-unusable", help="Leave out files that cannot be used, and say so.")
    ] = False,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Write PNGs, too.")] = True,
    block_size: Annotated[
        int,
        typer.Option(min=1, help="Side of the blocks in which images of more than four of them are read."),
    ] = 4096,
    params: ParamsOption = None,
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Detect sources in mosaics of one grid and measure them in all bands.

    Writes det_seg.fits, det_cat.fits, det_stack.fits, det_snr.fits, the catalogue as sources.parquet and sources.fits,
    and pictures: outlines of the segments, background and rms, number counts, purity from the negative image. Large
    images are read block by block, with the same results but without pictures.

    Example: `skymere detect f606w_drz.fits f814w_drz.fits -o detection --image chi_square`

    Example: `skymere detect deep.fits --rms deep_rms.fits --method peaks --set peaks.min_snr=5`

    Example: `skymere detect f160w_drz.fits --also irac1.fits --also irac2.fits`

    Example: `skymere detect f606w_drz.fits f814w_drz.fits --mask f814w=satellite.reg --mask borders.reg`
    """
    from skymere._params import resolve_params
    from skymere.io import read_band
    from skymere.mosaic import FindParams, band_to_measure, find_sources, without_pixels

    chosen = _given(params, set_, {"image": image, "method": method, "flux_band": flux_band})
    is_peaks = chosen.get("method") == "peaks"
    knobs = {
        "peaks.detect_threshold" if is_peaks else "sources.threshold": threshold,
        "peaks.min_area" if is_peaks else "sources.min_area": min_area,
        "min_coverage": None if "min_coverage" in chosen else 0.6,
        "unusable": None if "unusable" in chosen else ("record" if skip_unusable else "raise"),
    }
    said = {"image": image, "method": method, "flux_band": flux_band} | knobs
    settings, rows = resolve_params(FindParams, _given(params, set_, said))
    if dry_run:
        _show(rows)
        return
    by_blocks = settings.method != "peaks" and is_large(files[0], block_size)
    _check_outputs(planned_files(output, pictures=pictures and not by_blocks), overwrite=overwrite)
    every = [*files, *(also or ())]
    given = given_files(every, band=band, weight=weight, rms=rms, zero_point=zero_point, saturation=saturation)
    masks = partial(bad_pixels_of, given=mask or (), beside=find_masks)
    if by_blocks:
        if also or saturation:
            msg = "--also, --saturation: they are not allowed block by block, give a larger --block-size for one pass"
            raise InvalidInputError(msg)
        detect_in_blocks(files, given, settings, output, side=block_size, skip=skip_unusable, masks=masks)
        return
    read, skipped = read_each(read_band, every, given, skip=skip_unusable)
    mosaics = [mosaic for path, mosaic in read if path in files]
    others = {mosaic.band: mosaic for path, mosaic in read if path not in files}
    if len(mosaics) + len(others) < len(read) or not others.keys().isdisjoint(m.band for m in mosaics):
        msg = f"--also: the bands {[m.band for _, m in read]} need different names, give them with --band"
        raise InvalidInputError(msg)
    if pictures:
        _check_outputs([background_picture(output, m.band) for m in mosaics], overwrite=overwrite)
    bad, told = masks(read)
    searched = {m.band: bad[m.band] for m in mosaics if m.band in bad}
    found = find_sources(mosaics, params=settings, mask=searched)
    levels = dict(zip(every, saturation or (), strict=False))
    catalog = _measured(
        found,
        {
            name: band_to_measure(mosaic, found.segmentation, params=settings, mask=bad.get(name))
            for name, mosaic in others.items()
        },
        {m.band: m.data >= levels[path] for path, m in read if path in levels},
    )
    write_found(found, catalog, settings.flux_band or list(found.planes)[-1], output)
    print_bands(
        found.coverage,
        searched=list(found.planes),
        measured=list(others),
        masked=told,
        excluded=skipped | dict(found.excluded),
    )
    if pictures:
        negative = find_sources(mosaics, params=replace(settings, unusable="record"), mask=searched, negative=True)
        seen = [without_pixels(m, bad.get(m.band)) for m in mosaics]
        for path in draw_found(found, negative, catalog, seen, settings.background, output):
            console.print(f"  {path}", soft_wrap=True)
        console.print(f"{negative.segmentation.n_sources} detections in the negative image")
    ny, nx = found.segmentation.shape
    console.print(f"{output}: {found.segmentation.n_sources} sources in {nx} x {ny} pixels", soft_wrap=True)


def _measured(
    found: "FoundSources",
    others: "Mapping[str, MeasureImage | Mosaic]",
    saturated: "Mapping[str, NDArray[np.bool_]]",
) -> "SourceCatalog":
    """Return the catalogue in all bands."""
    from skymere.segmentation import MeasureImage, measure

    images = {**found.images(), **others}
    known = {band: mask for band, mask in saturated.items() if band in images}
    searched = [mask for band, mask in known.items() if band in found.planes]
    stack = MeasureImage(
        data=found.stack.data,
        error=found.stack.error,
        saturated=np.logical_or.reduce(searched) if searched else None,
        zero_point_ab=next(iter(found.planes.values())).zero_point_ab,
    )
    return measure(found.segmentation, images, detection=stack, saturated=known)
