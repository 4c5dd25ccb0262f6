"""``skymere lake init | ls | show | schema | release | diff``: make a lake, look into it, give it names."""

from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from skymere.cli._print import console, print_frame
from skymere.errors import InvalidInputError

if TYPE_CHECKING:
    from skymere.lake import Lake, NamedTile

__all__ = ["LakeArgument", "ReleaseOption", "lake_app"]

lake_app = typer.Typer(
    name="lake", help="Make a lake, look into it, ask it, keep it in good order.", no_args_is_help=True
)

# A text, since a Path would spoil the two strokes of a URL.
LakeArgument = Annotated[str, typer.Argument(help="Folder of the lake.", metavar="LAKE")]
ReleaseOption = Annotated[str | None, typer.Option(help="Look at this release instead of the newest state.")]
_Product = Annotated[str, typer.Argument(help="Product or imported catalogue, such as source.")]


@lake_app.command("init")
def init(
    lake: LakeArgument,
    tile: Annotated[
        list[str] | None,
        typer.Option(help="NAME=IMAGE.fits, whose grid it gets, or NAME=RA,DEC,NX,NY [deg, pixels]; may be repeated."),
    ] = None,
    scale: Annotated[float | None, typer.Option(help="Side of a pixel [arcsec].")] = None,
) -> None:
    """Make an empty lake: with tiles of your own, or, without any, with one for each HEALPix cell of the sky.

    Example: `skymere lake init survey --tile field=150.1,2.2,4096,4096 --scale 0.06`

    Example: `skymere lake init survey --tile field=mosaic_drz.fits`

    Example: `skymere lake init survey --scale 0.03` for the whole sky
    """
    from skymere.lake import Lake

    if tile:
        made = Lake.create(lake, tiles=[_tile(text, scale) for text in tile])
    elif scale is not None:
        made = Lake.create(lake, tiles="healpix", scale_arcsec=scale)
    else:
        msg = "--scale: HEALPix tiles need the side of a pixel in arcsec, or give --tile"
        raise InvalidInputError(msg)
    console.print(f"{made.path}: a lake with tiles {made.tiles}", soft_wrap=True)


def _tile(text: str, scale: float | None) -> "NamedTile":
    from skymere.io import read_mosaic
    from skymere.lake import NamedTile
    from skymere.wcs import Grid

    name, _, place = text.partition("=")
    numbers = place.split(",")
    if len(numbers) != 4:
        if not place.lower().endswith((".fits", ".fits.gz")):
            msg = f"--tile: {text!r} is not allowed, it must be NAME=IMAGE.fits or NAME=RA,DEC,NX,NY"
            raise InvalidInputError(msg)
        return NamedTile(name, read_mosaic(place).grid)
    if scale is None:
        msg = f"--scale: tile {name!r} needs the side of a pixel in arcsec"
        raise InvalidInputError(msg)
    try:
        ra, dec, nx, ny = float(numbers[0]), float(numbers[1]), int(numbers[2]), int(numbers[3])
    except ValueError as error:
        msg = f"--tile: {text!r} is not allowed, RA and DEC must be numbers, NX and NY whole ones"
        raise InvalidInputError(msg) from error
    return NamedTile(name, Grid.tangent(ra, dec, shape=(ny, nx), scale_arcsec=scale))


@lake_app.command("ls")
def list_products(
    lake: LakeArgument,
    release: ReleaseOption = None,
    every: Annotated[bool, typer.Option("--all", help="Also list products without rows.")] = False,
) -> None:
    """List what a lake holds: tiles, rows, columns and version of each table, and the releases.

    Example: `skymere lake ls skymere-demo/lake`
    """
    from skymere.lake import Lake

    opened = Lake.open(lake, release=release)
    versions = {key.partition("/")[0]: version for key, version in opened.versions().items()}
    names = [name for name in opened.names() if every or name in versions]
    rows = [
        {
            "product": name,
            "tiles": len(opened.live_runs(name)),
            "rows": opened.table(name).select(pl.len()).collect().item(),
            "columns": len(opened.table(name).collect_schema()),
            "schema": opened.schema(name).version_text,
            "version": versions.get(name),
        }
        for name in names
    ]
    title = f"{opened.path} at {release or 'its newest state'}"
    if rows:
        print_frame(pl.DataFrame(rows), title)
    else:
        console.print(f"{title}: nothing was published yet", soft_wrap=True)
    console.print(f"tiles: {opened.tiles}; releases: {', '.join(opened.releases()) or 'none'}", soft_wrap=True)


@lake_app.command("show")
def show(
    lake: LakeArgument,
    product: _Product,
    key: Annotated[int | None, typer.Argument(help="Identifier of a row, such as a source_id.")] = None,
    release: ReleaseOption = None,
) -> None:
    """Show a product: versions, tiles and first rows; or where one row comes from, down to files and exposures.

    Example: `skymere lake show skymere-demo/lake source`

    Example: `skymere lake show skymere-demo/lake source 2595417600000000001`
    """
    from skymere.lake import Lake

    opened = Lake.open(lake, release=release)
    if key is not None:
        tree = opened.provenance(product, key)
        print_frame(pl.DataFrame([{"column": name, "value": _text(value)} for name, value in tree.row.items()]))
        console.print(str(tree), soft_wrap=True, markup=False, highlight=False)
        return
    if opened.history(product):
        print_frame(_versions(opened, product), f"Versions of {product}")
    runs = opened.live_runs(product)
    print_frame(pl.DataFrame({"tile": list(runs), "run": list(runs.values())}).head(20), "Tiles")
    rows = opened.table(product).head(5).collect()
    print_frame(rows.select(rows.columns[:10]), f"First rows, first columns of {rows.width}")


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def _versions(opened: "Lake", product: str) -> pl.DataFrame:
    history = pl.DataFrame(opened.history(product), infer_schema_length=None)
    when = pl.from_epoch("timestamp", time_unit="ms").dt.strftime("%Y-%m-%d %H:%M:%S").alias("when [UTC]")
    runs = pl.col("run").str.split(" ")
    # A batch has a run for each tile.
    first = pl.when(runs.list.len() > 1).then(pl.format("{} and {} more", runs.list.first(), runs.list.len() - 1))
    run = first.otherwise(pl.col("run")).alias("run")
    return history.select("version", when, "operation", run, "schema").head(20)


@lake_app.command("schema")
def schema(lake: LakeArgument, product: _Product) -> None:
    """Say what every column and array of a product is called and means: type, unit, UCD, description.

    Example: `skymere lake schema skymere-demo/lake source`
    """
    from skymere.lake import Lake

    found = Lake.open(lake).schema(product)
    console.print(f"{found.name}: {found.description}; key {', '.join(found.primary_key)}", soft_wrap=True)
    columns = [
        {"column": c.name, "type": c.datatype, "null": c.nullable, "unit": c.unit, "ucd": c.ucd, "what": c.description}
        for c in found.columns
    ]
    print_frame(pl.DataFrame(columns), "Columns")
    arrays = [
        {"array": a.path, "axes": ", ".join(a.dims), "type": a.dtype, "unit": a.unit, "what": a.description}
        for a in found.arrays
    ]
    if arrays:
        print_frame(pl.DataFrame(arrays), "Arrays")


@lake_app.command("release")
def release_lake(
    lake: LakeArgument,
    name: Annotated[
        str | None, typer.Argument(help="Name for the present state; lists the releases when left out.")
    ] = None,
) -> None:
    """Give the present state of a lake a name for ever, or list the names that were given.

    Example: `skymere lake release skymere-demo/lake DR2`
    """
    from skymere.lake import Lake

    opened = Lake.open(lake)
    if name is None:
        console.print(", ".join(opened.releases()) or "no releases", soft_wrap=True)
        return
    pinned = opened.release(name)
    print_frame(pl.DataFrame({"table": list(pinned), "version": list(pinned.values())}), f"Release {name}")


@lake_app.command("diff")
def diff(
    lake: LakeArgument,
    product: _Product,
    old: Annotated[str | None, typer.Argument(help="Version or release; the one before when left out.")] = None,
    new: Annotated[str | None, typer.Argument(help="Version or release; the newest when left out.")] = None,
) -> None:
    """List the rows that were added, removed or changed between two versions of a table.

    Example: `skymere lake diff skymere-demo/lake source DR1`

    Example: `skymere lake diff skymere-demo/lake source 3 5`
    """
    from skymere.lake import Lake

    opened = Lake.open(lake)
    newest = _version(opened, product, new)
    oldest = max(newest - 1, 0) if old is None else _version(opened, product, old)
    found = opened.diff(product, oldest, newest)
    counts = ", ".join(f"{n} {what}" for what, n in found["change"].value_counts(sort=True).iter_rows())
    shown = found.with_columns(pl.col("columns").list.join(", "))
    if shown.height:
        print_frame(shown.head(100), f"{product}, version {oldest} to {newest}")
    console.print(counts or f"{product}: versions {oldest} and {newest} have the same rows", soft_wrap=True)


@lake_app.command("runs")
def runs(
    lake: LakeArgument,
    old: Annotated[str | None, typer.Argument(help="Identifier of a run, or how it begins.")] = None,
    new: Annotated[str | None, typer.Argument(help="The one to compare it with.")] = None,
) -> None:
    """List what was run, newest first; or the parameters, inputs and code that two runs do not have in common.

    Example: `skymere lake runs skymere-demo/lake`

    Example: `skymere lake runs skymere-demo/lake 19c7cc00 0d8a2a2c`
    """
    from skymere.lake import Lake

    opened = Lake.open(lake)
    if old is None:
        shown = ("run_id", "stage", "tile", "product", "n_rows", "code_version", "finished", "seconds")
        print_frame(opened.table("run").sort("finished", descending=True).select(shown).collect().head(100), "Runs")
        return
    if new is None:
        msg = "new: a second run is needed to compare with"
        raise InvalidInputError(msg)
    found = opened.diff_runs(old, new)
    if found.is_empty():
        console.print(f"{old} and {new} are runs of the same code, inputs and parameters", soft_wrap=True)
        return
    print_frame(found, f"Run {old} to {new}")


def _version(opened: "Lake", product: str, text: str | None) -> int:
    """Return the version that a number or the name of a release means."""
    if text is not None and text.isdigit():
        return int(text)
    pins = opened.versions() if text is None else opened.released(text)
    key = f"{product}/v{opened.schema(product).version[0]}"
    if key not in pins:
        others = [other for other in pins if other.startswith(f"{product}/")]
        have = f"only table {others[0]}" if others else "no such table"
        where = f"release {text!r}" if text else "the lake"
        msg = f"{product}: {where} has {have}, there is nothing to compare with {key}"
        raise InvalidInputError(msg)
    return pins[key]
