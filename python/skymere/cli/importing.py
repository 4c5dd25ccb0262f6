"""``skymere import``: products of DrizzlePac, qdeblend, grizli and msaexp into a lake."""

from pathlib import Path
from typing import Annotated

import typer

from skymere.cli._print import console, print_frame

__all__ = ["import_products"]


def import_products(
    lake: Annotated[str, typer.Argument(help="Folder of the lake; made when it is not there.", metavar="LAKE")],
    files: Annotated[list[Path], typer.Argument(help="What they are is seen by what they hold.", metavar="FILES...")],
    tile: Annotated[str, typer.Option(help="Name of the tile of a new lake.")] = "field",
    band: Annotated[
        list[str] | None, typer.Option(help="Band of each mosaic, in their order, in place of what headers say.")
    ] = None,
    conf: Annotated[str, typer.Option(help="Folder of the grism configurations that beams name.")] = "",
    match: Annotated[float, typer.Option(help="A source within it lends its identifier [arcsec].")] = 0.3,
) -> None:
    """Take products of other tools into a lake: drz and drc mosaics, det_seg, beams, full, stack, 1D and spec files.

    Images go to the tile that has their pixels, objects to the tile that owns their place; a tile keeps its other bands
    and objects. `NAME_sci.fits` goes with `NAME_wht.fits`. Sources of a segmentation are measured in all bands. A file
    that cannot be used does not hold up the others; the exit code is 1 then.

    Example: `skymere import field f125w_drz.fits f160w_drz.fits det_seg.fits`

    Example: `skymere import field *.full.fits *.1D.fits *.stack.fits *.beams.fits --conf CONF`

    Example: `skymere import field *.spec.fits`
    """
    from skymere.pipeline.importing import import_files

    told = import_files(lake, files, tile=tile, bands=band or (), conf=conf, match_radius_arcsec=match)
    counts = told.group_by("product", "tile", "status", maintain_order=True).len("files")
    print_frame(counts, f"Files in {lake}")
    for file, message in told.filter(told["status"] != "ok").select("file", "message").iter_rows():
        console.print(f"{file}: {message}", soft_wrap=True, markup=False)
    if (told["status"] != "ok").any():
        raise typer.Exit(1)
