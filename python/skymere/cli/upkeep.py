"""``skymere lake gc | fsck | compact | hash``: keep a lake in good order, compare it with another."""

from typing import Annotated

import polars as pl
import typer

from skymere.cli._print import console, print_frame
from skymere.cli.lake import LakeArgument, ReleaseOption, lake_app

__all__ = ["compact", "content_hash", "fsck", "gc"]


@lake_app.command("gc")
def gc(
    lake: LakeArgument,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove what was found; otherwise it is only listed.")
    ] = False,
    grace_days: Annotated[float, typer.Option(help="Keep what was needed or written during the last days.")] = 7.0,
) -> None:
    """Find files that neither the newest state, a release nor running work needs, and remove them when asked to.

    Example: `skymere lake gc skymere-demo/lake --remove`
    """
    from skymere.lake import Lake

    found = Lake.open(lake).gc(dry_run=not remove, grace_days=grace_days)
    for path in (*found.groups, *found.files, *found.staging):
        console.print(f"  {path}", soft_wrap=True)
    count = len(found.groups) + len(found.files) + len(found.staging)
    verb = "removed" if found.removed else "could be removed (--remove)"
    console.print(f"{count} files and folders, {found.n_bytes / 1e6:.1f} MB {verb}")


@lake_app.command("fsck")
def fsck(
    lake: LakeArgument,
    hashes: Annotated[bool, typer.Option("--hashes", help="Read every file and compare it with its checksum.")] = False,
) -> None:
    """Look for missing, damaged and doubled files and rows; exit code 1 when there are any.

    Example: `skymere lake fsck skymere-demo/lake --hashes`
    """
    from skymere.lake import Lake

    faults = Lake.open(lake).fsck(hashes=hashes)
    for fault in faults:
        console.print(f"{fault.kind}: {fault.path}: {fault.message}", soft_wrap=True, markup=False)
    console.print(f"{len(faults)} faults" if faults else "nothing is wrong")
    raise typer.Exit(code=1 if faults else 0)


@lake_app.command("compact")
def compact(
    lake: LakeArgument,
    names: Annotated[list[str] | None, typer.Argument(help="Tables; all when not given.")] = None,
    target_mib: Annotated[float, typer.Option(help="Files below half of this are merged until they reach it.")] = 64.0,
) -> None:
    """Merge the small Parquet files that many tiles leave behind.

    Example: `skymere lake compact skymere-demo/lake run source`
    """
    from skymere.lake import Lake

    opened = Lake.open(lake)
    done = [opened.compact(name, target_mib=target_mib) for name in names or opened.names()]
    rows = [{"table": one.product, "files before": one.before, "files after": one.after} for one in done]
    print_frame(pl.DataFrame(rows))


@lake_app.command("hash")
def content_hash(
    lake: LakeArgument,
    names: Annotated[list[str] | None, typer.Argument(help="Tables; all that have rows when not given.")] = None,
    release: ReleaseOption = None,
) -> None:
    """Print the sha256 of what a lake says: equal for two lakes with the same content, however they came to it.

    Arrays are decoded and rows sorted by their keys; times, hosts, attempts, identifiers of runs and tasks that
    failed or are held do not count. The last line is that of the whole lake.

    Example: `skymere lake hash skymere-demo/lake`

    Example: `skymere lake hash skymere-demo/lake source mosaic --release DR1`
    """
    from skymere.lake import Lake

    opened = Lake.open(lake, release=release)
    there = {key.partition("/")[0] for key in opened.versions()}
    for name in names or [name for name in opened.names() if name in there]:
        console.print(f"{opened.content_hash(name)}  {name}", soft_wrap=True, highlight=False)
    if not names:
        console.print(f"{opened.content_hash()}  {opened.path}", soft_wrap=True, highlight=False)
