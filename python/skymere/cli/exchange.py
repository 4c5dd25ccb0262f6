"""``skymere lake export | import``: tables to other tools, catalogues from them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from skymere.cli._print import console
from skymere.cli.lake import LakeArgument, ReleaseOption, lake_app
from skymere.errors import InvalidInputError

__all__ = ["export_table", "import_catalogue"]


class _Format(StrEnum):
    hats = "hats"
    fits = "fits"
    votable = "votable"


@lake_app.command("export")
def export_table(
    lake: LakeArgument,
    product: Annotated[str, typer.Argument(help="Product or imported catalogue, such as source.")],
    output: Annotated[Path, typer.Argument(help="File; for HATS a new or empty folder.")],
    form: Annotated[_Format | None, typer.Option("--format", help="Said by the ending .fits or .vot.")] = None,
    margin: Annotated[float, typer.Option(help="Margin of a HATS collection [arcsec].")] = 10.0,
    release: ReleaseOption = None,
) -> None:
    """Write a table for other tools, with units, UCDs and descriptions: HATS for lsdb, FITS or VOTable for TOPCAT.

    Example: `skymere lake export skymere-demo/lake source source.fits`

    Example: `skymere lake export skymere-demo/lake source hats/source --format hats`
    """
    from skymere.lake import Lake

    endings = {".fits": _Format.fits, ".vot": _Format.votable, ".xml": _Format.votable}
    kind = form or endings.get(output.suffix)
    if kind is None:
        msg = (
            f"OUTPUT: {str(output)!r} does not say a format, it must end with one of {list(endings)}, or give --format"
        )
        raise InvalidInputError(msg)
    opened = Lake.open(lake, release=release)
    if kind is _Format.hats:
        opened.export_hats(product, output, margin_arcsec=margin)
    elif kind is _Format.fits:
        opened.export_fits(output, table=product)
    else:
        opened.export_votable(product, output)
    console.print(f"{output}: {product} as {kind.value}", soft_wrap=True)


@lake_app.command("import")
def import_catalogue(
    lake: LakeArgument,
    path: Annotated[Path, typer.Argument(help="FITS, VOTable, ECSV or Parquet file.", metavar="FILE")],
    name: Annotated[str, typer.Argument(help="Name of the table in the lake; a later import replaces its rows.")],
    key: Annotated[str, typer.Option(help="Column that identifies a row.")],
    ra: Annotated[str, typer.Option(help="Column of the right ascension or longitude.")] = "ra",
    dec: Annotated[str, typer.Option(help="Column of the declination or latitude.")] = "dec",
    unit: Annotated[list[str] | None, typer.Option(help="COLUMN=UNIT, in place of what the file says.")] = None,
    frame: Annotated[str, typer.Option(help="Frame of the position, as astropy names it.")] = "icrs",
    column: Annotated[list[str] | None, typer.Option(help="Column to take; all when none is given.")] = None,
) -> None:
    """Take a catalogue of others in as a table; its columns keep their names, so that your joins go on working.

    Example: `skymere lake import survey cosmos.fits cosmos --key ID --ra ALPHA_J2000 --dec DELTA_J2000`

    Example: `skymere lake import survey cat.parquet deep --key id --unit ra=deg --unit dec=deg --unit flux=uJy`
    """
    from skymere.lake import Lake

    units = {}
    for text in unit or ():
        of, equals, what = text.partition("=")
        if not equals:
            msg = f"--unit: {text!r} is not allowed, it must be COLUMN=UNIT"
            raise InvalidInputError(msg)
        units[of] = what
    opened = Lake.open(lake)
    done = opened.import_catalogue(
        path, name, key=key, ra=ra, dec=dec, units=units, frame=frame, columns=column or None
    )
    rows = len(opened.table(name).select(key).collect())
    console.print(f"{name}: {rows} rows of {path}, {done}", soft_wrap=True)
