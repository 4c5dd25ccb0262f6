"""``skymere data add | ls``: packs of reference files."""

from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from skymere.cli._print import console, print_frame

__all__ = ["data_app"]

data_app = typer.Typer(name="data", help="Packs of reference files: add them, list them.", no_args_is_help=True)


@data_app.command("add")
def add(
    path: Annotated[
        Path, typer.Argument(help="Folder of reference files, with a manifest or without.", metavar="PATH")
    ],
    name: Annotated[str | None, typer.Option(help="Name of the pack; that of the folder when not given.")] = None,
    version: Annotated[str | None, typer.Option(help="Version of the pack; 1 when not given.")] = None,
    into: Annotated[Path | None, typer.Option(help="Folder of packs that it is copied to.")] = None,
) -> None:
    """Copy a folder of reference files to where skymere finds them, with a sha256 for each.

    It goes to the first folder of SKYMERE_PACKS, or to that of your data.

    Example: `skymere data add calib --name nirspec-msaexp --version 0.9.19`
    """
    from skymere.io import add_pack

    pack = add_pack(path, name=name, version=version, into=into)
    console.print(f"{pack.folder}: {pack.label}, {len(pack.files)} files, sha256 {pack.digest}", soft_wrap=True)


@data_app.command("ls")
def ls(
    files: Annotated[bool, typer.Option("--files", help="List the files of every pack, and check their sums.")] = False,
) -> None:
    """List the packs in the order in which files are looked for, and the folders.

    Example: `skymere data ls`
    """
    from skymere.errors import SkymereError
    from skymere.io import find_packs, pack_folders

    packs = find_packs()
    columns = {"pack": pl.String, "version": pl.String, "files": pl.Int64, "sha256": pl.String, "folder": pl.String}
    rows = [(p.name, p.version, len(p.files), p.digest[:12], str(p.folder)) for p in packs]
    print_frame(pl.DataFrame(rows, schema=columns, orient="row"), "Packs")
    if files:
        lines = []
        for pack in packs:
            for file, digest in pack.files.items():
                try:
                    pack.path(file)
                    state = "ok"
                except SkymereError as error:
                    state = type(error).__name__
                lines.append((pack.label, file, digest[:12], state))
        schema = dict.fromkeys(("pack", "file", "sha256", "state"), pl.String)
        print_frame(pl.DataFrame(lines, schema=schema, orient="row"), "Files")
    for folder in pack_folders():
        console.print(f"  looked for in {folder}", soft_wrap=True)
