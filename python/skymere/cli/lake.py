"""``skymere lake``: look into a lake."""

from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from skymere.cli._print import console, print_frame

__all__ = ["lake_app"]

lake_app = typer.Typer(name="lake", help="Look into a lake: what is there, and questions in SQL.", no_args_is_help=True)

_Lake = Annotated[Path, typer.Argument(help="Folder of the lake.")]
_Release = Annotated[str | None, typer.Option(help="Look at this release instead of the newest state.")]


@lake_app.command("ls")
def list_products(lake: _Lake, release: _Release = None) -> None:
    """List the products of a lake: tiles, rows and version of each table, and the releases.

    Example: `skymere lake ls skymere-demo/lake`
    """
    from skymere.lake import Lake, products

    opened = Lake.open(lake, release=release)
    rows = [
        {
            "product": name,
            "tiles": len(opened.live_runs(name)),
            "rows": opened.table(name).select(pl.len()).collect().item(),
            "columns": len(opened.table(name).collect_schema()),
        }
        for name in products()
    ]
    print_frame(pl.DataFrame(rows), f"{opened.path} at {release or 'its newest state'}")
    console.print(f"tiles: {opened.tiles}; releases: {', '.join(opened.releases()) or 'none'}")


@lake_app.command("query")
def query(
    lake: _Lake,
    sql: Annotated[str, typer.Argument(help="SQL over the lake's tables.")],
    release: _Release = None,
) -> None:
    """Ask a lake in SQL; its products are the tables.

    Example: `skymere lake query skymere-demo/lake "select source_id, ra, dec from source order by area desc limit 5"`
    """
    from skymere.lake import Lake

    print_frame(Lake.open(lake, release=release).sql(sql).collect())
