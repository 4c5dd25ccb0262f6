"""``skymere export``: products of a lake as files of DrizzlePac, qdeblend, grizli and msaexp."""

from pathlib import Path
from typing import Annotated

import typer

from skymere.cli._print import console, print_frame
from skymere.cli.lake import LakeArgument, ReleaseOption

__all__ = ["export_products"]


def export_products(
    lake: LakeArgument,
    folder: Annotated[Path, typer.Argument(help="Where files go; made when it is not there.", metavar="FOLDER")],
    kind: Annotated[
        list[str] | None,
        typer.Option(help="mosaic, segmentation, beams, full, 1D, stack or spec; may be repeated; all when not given."),
    ] = None,
    tile: Annotated[list[str] | None, typer.Option(help="Of this tile; may be repeated.")] = None,
    source: Annotated[list[int] | None, typer.Option(help="Of this source; may be repeated.")] = None,
    release: ReleaseOption = None,
) -> None:
    """Write what a lake has as files that other tools and their users open.

    Mosaics are `TILE-BAND_drz.fits`, segmentations `TILE/det_seg.fits` with `det_cat.fits`, objects of grisms
    `TILE_00012.beams.fits`, `full.fits`, `1D.fits` and `stack.fits`, spectra of slits `prism-clear_NAME.spec.fits`.

    Example: `skymere export skymere-demo/lake files --kind mosaic --kind segmentation`

    Example: `skymere export skymere-demo/lake files --kind full --tile field`
    """
    from skymere.lake import Lake
    from skymere.pipeline.exporting import export_files

    opened = Lake.open(lake, release=release)
    told = export_files(opened, folder, kinds=kind or (), tiles=tile or (), sources=source or ())
    written = told.filter(told["file"] != "")
    print_frame(written.group_by("product", "tile", maintain_order=True).len("files"), f"Files in {folder}")
    for (message,) in told.filter(told["message"] != "").select("message").iter_rows():
        console.print(message, soft_wrap=True, markup=False)
    if written.height < told.height:
        raise typer.Exit(1)
