"""``skymere report``: one HTML file about a lake, or about two states of it."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from skymere.cli._print import console

__all__ = ["report_app"]

_OF_A_LAKE = "lake"


class _Reports(TyperGroup):
    """The commands of `report`; what is no command is a lake, so that ``skymere report LAKE`` is enough."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [_OF_A_LAKE, *args]
        return super().parse_args(ctx, args)


report_app = typer.Typer(
    name="report",
    cls=_Reports,
    help="One HTML file about a lake that can be mailed: `skymere report LAKE`; or about two states of it: "
    "`skymere report compare LAKE A B`. Pictures are inside, there is no script and no link to anywhere.",
    no_args_is_help=True,
)

LakeFolder = Annotated[str, typer.Argument(help="Folder of a lake, or s3://bucket/prefix.", metavar="LAKE")]
Sources = Annotated[list[str] | None, typer.Option("--source", help="Source to show; repeated.")]
Number = Annotated[int, typer.Option("-n", help="Sources that are shown when none is named.", min=0)]


@report_app.command(_OF_A_LAKE)
def of_a_lake(
    lake: LakeFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file.")] = Path("report.html"),
    run: Annotated[str | None, typer.Option(help="As the lake was with this run, and what the run was.")] = None,
    release: Annotated[str | None, typer.Option(help="As the lake was at this release.")] = None,
    sources: Sources = None,
    n: Number = 24,
    injection: Annotated[Path | None, typer.Option(help="Folder of `skymere inject`, for the completeness.")] = None,
) -> None:
    """Write a report of a lake: counts, depths, PSFs, alignment, completeness, failures, times, a gallery.

    `lake` may be left out: `skymere report survey/lake` is the same.

    Example: `skymere report survey/lake --release DR1 --injection injected -o dr1.html`
    """
    from skymere.cli.plot import source_ids_of
    from skymere.errors import InvalidInputError
    from skymere.lake import Lake
    from skymere.viewer import write_report

    if run is not None and release is not None:
        msg = f"--run, --release: {run} and {release} are not allowed together"
        raise InvalidInputError(msg)
    opened = Lake.open(lake, release=release)
    ids = source_ids_of(opened, sources) if sources else None
    path = write_report(opened, out, run=run, source_ids=ids, n_sources=n, injection=injection)
    console.print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB", soft_wrap=True, markup=False, highlight=False)


@report_app.command("compare")
def compare(
    lake: LakeFolder,
    first: Annotated[str, typer.Argument(help="Release, run, or `latest`.", metavar="A")],
    second: Annotated[str, typer.Argument(help="Release, run, or `latest`.", metavar="B")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file.")] = Path("compare.html"),
    sources: Sources = None,
    n: Number = 24,
    assets: Annotated[
        Path | None, typer.Option(help="Also write what is the same and what is not, a CSV.", metavar="FILE.csv")
    ] = None,
) -> None:
    """Compare two states of a lake: what differs in runs and rows, and strips of the sources that changed.

    Each source has three lines: A, B, and B less A in sigma.

    Example: `skymere report compare survey/lake DR1 latest -o compare.html`

    Example: `skymere report compare survey/lake 19c7cc00 0d8a2a2c --source 2528750946794875460`
    """
    import polars as pl

    from skymere.cli.plot import source_ids_of
    from skymere.lake import Lake, write_whole
    from skymere.viewer import write_comparison

    opened = Lake.open(lake)
    ids = source_ids_of(opened, sources) if sources else None
    told = write_comparison(opened, first, second, out, source_ids=ids, n_sources=n)
    if assets is not None:
        with write_whole(assets) as staged:
            told.write_csv(staged)
    counted = told.filter(pl.col("state") != "absent").group_by("state").len().sort("state")
    words = ", ".join(f"{n} {state}" for state, n in counted.iter_rows())
    console.print(f"{out}: pictures: {words or 'none'}", soft_wrap=True, markup=False, highlight=False)
