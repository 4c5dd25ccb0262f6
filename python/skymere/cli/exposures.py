"""``skymere exposures``."""

from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from skymere.cli._print import print_frame

__all__ = ["exposures"]


def exposures(
    paths: Annotated[
        list[str], typer.Argument(help="Files, folders of them, or the folder of one lake.", metavar="FILES|LAKE")
    ],
    by: Annotated[
        str, typer.Option("--by", help="visit, overlap, or exposure for a row of each.", metavar="KEY")
    ] = "overlap",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Parquet file for the rows of all exposures.")
    ] = None,
) -> None:
    """List exposures by filter and visit, or by filter and groups of overlapping ones.

    Visits, programmes and kinds come from the names of files of HST and JWST. The chips of a file are of one group.

    Example: `skymere exposures survey/exposures --by visit`
    """
    from skymere.lake import Lake
    from skymere.mosaic import ExposureList
    from skymere.pipeline import exposure_groups

    if by not in _KEYS:
        msg = f"{by!r} is not allowed, it must be one of {', '.join(_KEYS)}"
        raise typer.BadParameter(msg, param_hint="--by")
    is_lake = len(paths) == 1 and (paths[0].startswith("s3://") or (Path(paths[0]) / "lake.json").exists())
    table = exposure_groups(Lake.open(paths[0]) if is_lake else ExposureList.from_files(paths))
    if output is not None:
        table.write_parquet(output)
    print_frame(_summary(table, by))


_KEYS = ("visit", "overlap", "exposure")


def _summary(table: pl.DataFrame, by: str) -> pl.DataFrame:
    if by == "exposure":
        return table.drop("footprint", "telescope", "file")
    key, others = ("visit", "group") if by == "visit" else ("group", "visit")
    counted = table.group_by("band", key).agg(
        pl.len().alias("n_exposures"),
        pl.col("file").n_unique().alias("n_files"),
        pl.col(others).n_unique().alias(f"n_{others}s"),
        pl.col("exptime").sum(),
        pl.col("ra").first(),
        pl.col("dec").first(),
    )
    # The name of a group begins with its band.
    return counted.sort("band", key).drop([] if by == "visit" else ["band"])
