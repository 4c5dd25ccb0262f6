"""``skymere lake query | get``: answers as tables and pictures."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
import typer

from skymere.cli._print import console, print_frame
from skymere.cli.lake import LakeArgument, ReleaseOption, lake_app
from skymere.errors import InvalidInputError

if TYPE_CHECKING:
    from skymere.lake import Lake

__all__ = ["get", "query"]

_SHOWN = 200


class _Format(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


class _What(StrEnum):
    cutouts = "cutouts"
    spectra = "spectra"


class _Picture(StrEnum):
    fits = "fits"
    png = "png"


@lake_app.command("query")
def query(
    lake: LakeArgument,
    sql: Annotated[
        str, typer.Argument(help="One SELECT over the lake's tables, the products and imported catalogues.")
    ],
    form: Annotated[_Format | None, typer.Option("--format", help="What to write; said by the ending of -o.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File instead of the screen.")] = None,
    release: ReleaseOption = None,
) -> None:
    """Ask a lake in SQL; only its own tables can be named, never a file.

    Example: `skymere lake query skymere-demo/lake "select source_id, ra, dec from source order by area desc limit 5"`

    Example: `skymere lake query skymere-demo/lake "select * from source where flags = 0" -o clean.parquet`
    """
    from skymere.lake import Lake

    kind = form or _said(output)
    if output is None and kind is _Format.parquet:
        msg = "--format: parquet needs a file; name it with -o"
        raise InvalidInputError(msg)
    rows = Lake.open(lake, release=release).sql(sql).collect()
    if output is not None:
        _write(rows, output, kind)
        console.print(f"{output}: {rows.height} rows", soft_wrap=True)
    elif kind is _Format.csv:
        sys.stdout.write(rows.write_csv())
    elif kind is _Format.json:
        sys.stdout.write(rows.write_json() + "\n")
    else:
        print_frame(rows.head(_SHOWN))
        if rows.height > _SHOWN:
            console.print(f"the first {_SHOWN} of {rows.height} rows; --format csv or -o gives all", soft_wrap=True)


def _said(output: Path | None) -> _Format:
    """Return the format that the ending of a file says."""
    if output is None:
        return _Format.table
    known = {f".{kind.value}": kind for kind in _Format if kind is not _Format.table}
    if output.suffix not in known:
        msg = f"-o: {str(output)!r} does not say a format, it must end with one of {list(known)}, or give --format"
        raise InvalidInputError(msg)
    return known[output.suffix]


def _write(rows: pl.DataFrame, output: Path, kind: _Format) -> None:
    from skymere.lake import write_whole

    with write_whole(output) as staged:
        if kind is _Format.parquet:
            rows.write_parquet(staged)
        elif kind is _Format.json:
            rows.write_json(staged)
        elif kind is _Format.csv:
            rows.write_csv(staged)
        else:
            staged.write_text(str(rows), encoding="utf-8")


@lake_app.command("get")
def get(
    lake: LakeArgument,
    ids: Annotated[list[int], typer.Argument(help="Values of source_id.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the files.")] = Path(),
    what: Annotated[_What, typer.Option(help="What to write.")] = _What.cutouts,
    form: Annotated[_Picture, typer.Option("--format", help="FITS for work, PNG for looking.")] = _Picture.fits,
    band: Annotated[
        list[str] | None, typer.Option(help="Band of the cutouts; may be repeated; all when left out.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the cutouts [pix]; as stored when left out.")] = None,
    release: ReleaseOption = None,
) -> None:
    """Write the cutouts or spectra of sources, one file for each: FITS that GALFIT and DS9 take, or PNG.

    Example: `skymere lake get skymere-demo/lake 2595417600000000001 -o stamps`

    Example: `skymere lake get survey 2595417600000000001 --what spectra --format png`
    """
    from skymere.lake import Lake

    opened = Lake.open(lake, release=release)
    if what is _What.spectra:
        paths = opened.export_fits(output, spectra=ids) if form is _Picture.fits else _draw_spectra(opened, ids, output)
    elif form is _Picture.fits:
        paths = opened.export_fits(output, cutouts=ids, bands=band, size_pix=size)
    else:
        paths = _draw_cutouts(opened, ids, output, band, size)
    for path in paths:
        console.print(str(path), soft_wrap=True, highlight=False)


def _draw_cutouts(
    opened: "Lake", ids: list[int], folder: Path, bands: list[str] | None, size: int | None
) -> list[Path]:
    from skymere.viewer import plot_sheet

    names = list(bands or opened.bands(ids))
    stamps = opened.cutouts(ids, bands=names, size_pix=size)
    paths = []
    for i, source in enumerate(ids):
        images = [[stamps[band, "sci"][i]] for band in names]
        paths.append(
            plot_sheet(images, [f"{source} {band}" for band in names], folder / f"{source}.png", n_columns=len(names))
        )
    return paths


def _draw_spectra(opened: "Lake", ids: list[int], folder: Path) -> list[Path]:
    from skymere.lake import spectra_of
    from skymere.viewer import plot_spectra

    found = spectra_of(opened, ids)
    paths = []
    for source in dict.fromkeys(ids):
        mine = [(row, table) for _, row, table in found if row["source_id"] == source]
        captions = [f"{row['grating']}  {row['spectrum_id']}" for row, _ in mine]
        path = folder / f"{source}_spectra.png"
        paths.append(plot_spectra([table for _, table in mine], captions, path, title=str(source)))
    return paths
