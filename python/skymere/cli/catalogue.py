"""``skymere lake catalogue``: fluxes of all bands, one row for each source, for programs that want them so."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from skymere.cli._print import console
from skymere.cli.lake import LakeArgument, ReleaseOption, lake_app
from skymere.errors import InvalidInputError

__all__ = ["write_fluxes"]

T = TypeVar("T")


@lake_app.command("catalogue")
def write_fluxes(
    lake: LakeArgument,
    output: Annotated[Path, typer.Argument(help="FITS file, or .cat for FAST and EAZY.")],
    error_floor: Annotated[
        float, typer.Option(help="Least error as a part of the flux; what is asked for is recorded. None by default.")
    ] = 0.0,
    calibrate: Annotated[
        list[str] | None, typer.Option(help="Factor for the fluxes of a band; may be repeated.", metavar="BAND=FACTOR")
    ] = None,
    filter_id: Annotated[
        list[str] | None,
        typer.Option(help="Number of a band in FAST's file of filters; may be repeated.", metavar="BAND=NUMBER"),
    ] = None,
    transmission: Annotated[
        list[str] | None,
        typer.Option(help="Curve of a filter, for its wavelengths; may be repeated.", metavar="BAND=FILE"),
    ] = None,
    release: ReleaseOption = None,
) -> None:
    """Write the fluxes that `skymere run` measured with models, one row for each source with columns for each band.

    Example: `skymere lake catalogue skymere-demo/lake fluxes.fits --error-floor 0.05`

    Example: `skymere lake catalogue skymere-demo/lake fluxes.cat --filter-id f160w=205 --filter-id irac1=18`
    """
    import polars as pl

    from skymere.io import read_transmission
    from skymere.lake import Lake
    from skymere.photometry import filter_wavelengths, wide_catalogue, write_catalogue, write_fast_catalogue

    opened = Lake.open(lake, release=release)
    rows = opened.table("flux").filter(pl.col("source_id") > 0).sort("band", "source_id").collect()
    factors = _by_band(calibrate, "--calibrate", float)
    numbers = _by_band(filter_id, "--filter-id", int)
    curves = _by_band(transmission, "--transmission", Path)
    table = wide_catalogue(
        rows,
        sources=opened.table("source").select("source_id", "ra", "dec").collect(),
        error_floor=error_floor,
        calibration=factors,
    )
    if output.suffix == ".cat":
        console.print(str(write_fast_catalogue(table, output, filter_ids=numbers)), soft_wrap=True)
    else:
        filters = {band: filter_wavelengths(*read_transmission(path)) for band, path in curves.items()}
        write_catalogue(table, output, filters=filters or None)
    bands = rows["band"].unique(maintain_order=True).to_list()
    console.print(f"{output}: {table.height} sources in {', '.join(bands)}", soft_wrap=True)


def _by_band(words: Sequence[str] | None, option: str, kind: Callable[[str], T]) -> dict[str, T]:
    found = {}
    for word in words or ():
        band, equals, text = word.partition("=")
        try:
            found[band.strip()] = kind(text.strip() if equals else "")
        except ValueError:
            msg = f"{option}: {word!r} is not allowed, it must be BAND=VALUE"
            raise InvalidInputError(msg) from None
    return found
