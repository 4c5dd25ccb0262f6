"""``skymere edit merge | split | draw | delete | mask | undo | list | import | export``: what people decide."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
import typer

from skymere.cli._print import console, print_frame
from skymere.cli.lake import LakeArgument
from skymere.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from skymere.lake import Lake
    from skymere.regions import Region
    from skymere.segmentation import EditKind

__all__ = ["edit_app"]

edit_app = typer.Typer(
    name="edit",
    help="Merge, split, draw and delete sources of a lake; edits are rows that every later detection replays.",
    no_args_is_help=True,
)

_At = Annotated[
    list[str] | None,
    typer.Option("--at", help="Position: 'RA DEC' in degrees, or sexagesimal (hours, degrees); may be repeated."),
]
_Radius = Annotated[float | None, typer.Option(help="Radius of a circle around each position [arcsec].")]
_Regions = Annotated[Path | None, typer.Option(help="DS9 file on the sky, instead of positions.")]
_Why = Annotated[str, typer.Option(help="Why, in words.")]
_Author = Annotated[str, typer.Option(envvar="SKYMERE_AUTHOR", help="Who.")]
_Band = Annotated[str, typer.Option(help="Band that it was seen in; all when left out.")]
_Tile = Annotated[str | None, typer.Option(help="Only this tile; for an import, the tile whose pixels it is in.")]


class _What(StrEnum):
    border = "border"
    stars = "stars"
    blank = "blank"


_Role = Annotated[
    str | None,
    typer.Option(help="merge, manual, split, delete, bad, mask_border, mask_border_more, mask_all or sim."),
]


@edit_app.command("merge")
def merge(
    lake: LakeArgument,
    why: _Why,
    author: _Author,
    at: _At = None,
    radius: _Radius = None,
    regions: _Regions = None,
    band: _Band = "",
) -> None:
    """Make one source of all that the positions, or the circles around them, touch; of each shape of a file.

    Example: `skymere edit merge survey --at "150.1163 2.2059" --radius 0.6 --author Ada --why "one clumpy galaxy"`

    Example: `skymere edit merge survey --at "10:00:27.9 +2:12:21" --at "10:00:28.0 +2:12:21" --author Ada --why spiral`
    """
    together = [_placed(at, radius)] if regions is None else _of_file("merge", regions, at)
    _add(lake, "merge", together, author=author, why=why, band=band)


@edit_app.command("split")
def split(
    lake: LakeArgument,
    why: _Why,
    author: _Author,
    at: _At = None,
    radius: _Radius = None,
    regions: _Regions = None,
    band: _Band = "",
) -> None:
    """Part a source among two positions or more, or along the outline of a circle or of a shape of a file.

    Example: `skymere edit split survey --at "150.1163 2.2059" --at "150.1165 2.2060" --author Ada --why "two galaxies"`
    """
    together = [_placed(at, radius)] if regions is None else _of_file("split", regions, at)
    _add(lake, "split", together, author=author, why=why, band=band)


@edit_app.command("draw")
def draw(
    lake: LakeArgument,
    why: _Why,
    author: _Author,
    at: _At = None,
    radius: _Radius = None,
    regions: _Regions = None,
    label: Annotated[str, typer.Option(help="All circles together are one source of this label.")] = "",
    band: _Band = "",
) -> None:
    """Draw a new source at each position, over what is below; at each shape of a file, or each label of it.

    Example: `skymere edit draw survey --at "150.1163 2.2059" --radius 0.5 --author Ada --why "seen in IRAC only"`

    Example: `skymere edit draw survey --regions more.reg --author Ada --why "seen in IRAC only"`
    """
    if regions is None and radius is None:
        msg = "--radius: is missing, a source that is drawn has a size"
        raise InvalidInputError(msg)
    placed = _of_file("draw", regions, at) if regions is not None else _grouped("draw", _placed(at, radius, label))
    _add(lake, "manual", placed, author=author, why=why, band=band)


@edit_app.command("delete")
def delete(
    lake: LakeArgument,
    why: _Why,
    author: _Author,
    at: _At = None,
    radius: _Radius = None,
    regions: _Regions = None,
    band: _Band = "",
) -> None:
    """Take away all sources at the positions, or that the circles around them or the shapes of a file touch.

    Example: `skymere edit delete survey --at "150.1163 2.2059" --author Ada --why "ghost of the bright star"`
    """
    placed = _of_file("delete", regions, at) if regions is not None else _grouped("delete", _placed(at, radius))
    _add(lake, "delete", placed, author=author, why=why, band=band)


@edit_app.command("mask")
def mask(
    lake: LakeArgument,
    why: _Why,
    author: _Author,
    at: _At = None,
    radius: _Radius = None,
    regions: _Regions = None,
    band: Annotated[str, typer.Option(help="Band in which the pixels are bad; all when left out.")] = "",
) -> None:
    """Call the pixels of circles around positions, or of the shapes of a file, bad: nothing is found or measured there.

    Example: `skymere edit mask survey --at "150.1163 2.2059" --radius 2 --band f160w --author Ada --why "satellite"`
    """
    if regions is None and radius is None:
        msg = "--radius: is missing, bad pixels are an area"
        raise InvalidInputError(msg)
    placed = _of_file("mask", regions, at) if regions is not None else _grouped("mask", _placed(at, radius))
    _add(lake, "bad", placed, author=author, why=why, band=band, is_strict=False)


@edit_app.command("undo")
def undo(
    lake: LakeArgument,
    edit_ids: Annotated[list[str], typer.Argument(help="Names of edits, see `skymere edit list`.", metavar="EDIT...")],
    why: _Why,
    author: _Author,
) -> None:
    """Take edits back: their rows stay, and later detections go without them.

    Example: `skymere edit undo survey 3f2a9c01 --author Ada --why "two galaxies after all"`
    """
    from skymere.lake import Lake, retract_edits

    rows = retract_edits(Lake.open(lake), edit_ids, author=author, reason=why)
    for name in rows["edit_id"].unique(maintain_order=True):
        console.print(f"{name}: taken back; the next run of the plan detects without it", soft_wrap=True)


@edit_app.command("list")
def list_edits(lake: LakeArgument, tile: _Tile = None, role: _Role = None) -> None:
    """Show all edits with who, when and why, and what came of them when the tile was last detected.

    Example: `skymere edit list survey --role merge`
    """
    from skymere.lake import Lake, region_rows

    opened = Lake.open(lake)
    rows = _of_role(region_rows(opened, tile), role)
    if rows.is_empty():
        console.print(f"{lake}: no regions", soft_wrap=True)
        return
    told = rows.group_by("edit_id", maintain_order=True).agg(
        pl.first("tile", "role", "band"),
        pl.len().alias("regions"),
        pl.first("created", "author", "reason", "is_retracted"),
    )
    outcomes = _outcomes(opened, sorted(set(told["tile"])))
    print_frame(told.join(outcomes, on="edit_id", how="left", maintain_order="left").drop("is_retracted"))


@edit_app.command("import")
def import_regions(
    lake: LakeArgument,
    path: Annotated[Path, typer.Argument(help="DS9 file.", metavar="FILE")],
    why: _Why,
    author: _Author,
    role: _Role = None,
    image: Annotated[
        Path | None, typer.Option(help="FITS image that shapes in image or physical pixels were drawn on.")
    ] = None,
    tile: _Tile = None,
    band: _Band = "",
) -> None:
    """Take a region file in; what it is for is said by its name (merged_segments.reg, det_manual.reg, *-bad.reg, ...).

    Example: `skymere edit import survey merged_segments.reg --author Ada --why "over-deblended galaxies"`

    Example: `skymere edit import survey wfc3-f160w-bad.reg --band f160w --author Ada --why "spikes and borders"`
    """
    from skymere.io import physical_cards, read_grid
    from skymere.regions import read_regions, to_sky

    known = role or _role_of(path)
    grid = None if image is None else read_grid(image)
    shapes = read_regions(path, header=None if image is None else physical_cards(image))
    if grid is not None:
        shapes = [to_sky(shape, grid) for shape in shapes]
    groups = _grouped(_kind(known), shapes)
    _add(lake, known, groups, author=author, why=why, band=band, tile=tile, is_strict=False)


@edit_app.command("export")
def export_regions(
    lake: LakeArgument,
    path: Annotated[Path, typer.Argument(help="DS9 file; it is replaced.", metavar="FILE")],
    role: _Role = None,
    tile: _Tile = None,
) -> None:
    """Write regions that were not taken back as a DS9 file; an import of it gives the same regions.

    Example: `skymere edit export survey det_manual.reg --role manual`
    """
    from skymere.lake import Lake, region_rows, regions_from_rows
    from skymere.regions import write_regions

    rows = _of_role(region_rows(Lake.open(lake), tile), role or _role_of(path)).filter(~pl.col("is_retracted"))
    write_regions(regions_from_rows(rows), path)
    console.print(f"{path}: {rows.height} regions", soft_wrap=True)


@edit_app.command("propose")
def propose(
    lake: LakeArgument,
    what: Annotated[_What, typer.Argument(help="border, stars or blank.")],
    band: Annotated[str, typer.Option(help="Band.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="DS9 file to look at.")] = None,
    save: Annotated[bool, typer.Option("--save", help="Keep them in the lake; needs --author and --why.")] = False,
    author: Annotated[str, typer.Option(envvar="SKYMERE_AUTHOR", help="Who keeps them.")] = "",
    why: Annotated[str, typer.Option(help="Why, in words.")] = "",
    tile: Annotated[str | None, typer.Option(help="Tile; the only one when left out.")] = None,
    saturation: Annotated[float | None, typer.Option(help="Saturated above this [unit of the mosaic]; stars.")] = None,
    margin: Annotated[float, typer.Option(help="Margin along the border [pix]; border.")] = 10.0,
    radius: Annotated[float, typer.Option(help="Radius of an aperture [pix]; blank.")] = 10.0,
    number: Annotated[int, typer.Option(help="Largest number of apertures; blank.")] = 200,
) -> None:
    """Propose masks of the border or of bright stars, or apertures on blank sky, as a file to look at or as rows.

    Example: `skymere edit propose survey border --band f160w -o mask_border.reg`

    Example: `skymere edit propose survey blank --band f160w --radius 8 --save --author Ada --why "noise of f160w"`
    """
    from skymere.lake import Lake, add_regions
    from skymere.pipeline import PROPOSED_ROLES, propose_regions
    from skymere.regions import write_regions
    from skymere.segmentation import BlankParams

    if output is None and not save:
        msg = "-o, --save: one of the two is needed"
        raise InvalidInputError(msg)
    opened = Lake.open(lake)
    tiles = sorted(opened.live_runs("mosaic"))
    if tile is None and len(tiles) != 1:
        msg = f"--tile: is missing, the lake has mosaics of {tiles}"
        raise InvalidInputError(msg)
    blank = BlankParams(radius_pix=radius, n_apertures=number)
    shapes = propose_regions(
        opened, tile or tiles[0], band, what.value, saturation=saturation, margin_pix=margin, blank=blank
    )
    if output is not None:
        write_regions(shapes, output)
        console.print(f"{output}: {len(shapes)} regions", soft_wrap=True)
    if save:
        role = PROPOSED_ROLES[what.value]
        groups = [[shape] for shape in shapes]
        rows = add_regions(opened, role, groups, author=author, reason=why, band=band, tile=tile or tiles[0])
        console.print(f"{lake}: {rows.height} rows of role {role}", soft_wrap=True)


def _placed(at: Sequence[str] | None, radius: float | None, text: str = "") -> "list[Region]":
    """Return a point, or a circle, at each position."""
    from skymere.regions import Circle, Point

    if not at:
        msg = "--at: is missing, give positions or a file with --regions"
        raise InvalidInputError(msg)
    places = [_position(word) for word in at]
    if radius is None:
        return [Point(centre=place, text=text) for place in places]
    return [Circle(centre=place, radius=radius, text=text) for place in places]


def _position(text: str) -> tuple[float, float]:
    """Return ``ra, dec`` [deg] of a position in degrees or sexagesimal."""
    from astropy.coordinates import SkyCoord

    words = text.replace(",", " ").split()
    try:
        ra, dec = words
        try:
            return float(ra), float(dec)
        except ValueError:
            place = SkyCoord(ra, dec, unit=("hourangle", "deg"), frame="icrs")
            return float(place.ra.deg), float(place.dec.deg)
    except ValueError as error:
        rule = "it must be 'RA DEC' in degrees, or as '10:00:28.6 +2:12:21'"
        msg = f"--at: {text!r} is not allowed, {rule}"
        raise InvalidInputError(msg) from error


def _of_file(kind: "EditKind", path: Path, at: Sequence[str] | None) -> "list[list[Region]]":
    from skymere.regions import read_regions

    if at:
        msg = "--at, --regions: only one of the two is allowed"
        raise InvalidInputError(msg)
    return _grouped(kind, read_regions(path))


def _grouped(kind: "EditKind", shapes: "Sequence[Region]") -> "list[list[Region]]":
    from skymere.segmentation import edits_from_regions

    return [list(edit.regions) for edit in edits_from_regions(kind, shapes)]


def _kind(role: str) -> "EditKind":
    from skymere.lake import REPLAYED

    return REPLAYED.get(role, "mask")


def _add(
    lake: str,
    role: str,
    groups: "list[list[Region]]",
    *,
    author: str,
    why: str,
    band: str,
    tile: str | None = None,
    is_strict: bool = True,
) -> None:
    from skymere.lake import Lake, add_regions

    opened: Lake = Lake.open(lake)
    rows = add_regions(opened, role, groups, author=author, reason=why, band=band, tile=tile, is_strict=is_strict)
    told = rows.group_by("edit_id", maintain_order=True).agg(
        pl.first("tile", "role"), pl.len().alias("regions"), pl.first("status", "before", "after", "message")
    )
    print_frame(told)
    console.print("the next run of the plan, under a new release name, detects with them", soft_wrap=True)


def _of_role(rows: pl.DataFrame, role: str | None) -> pl.DataFrame:
    from skymere.lake import ROLES

    if role is None:
        return rows
    if role not in ROLES:
        msg = f"--role: {role!r} is not allowed, it must be one of {list(ROLES)}"
        raise InvalidInputError(msg)
    return rows.filter(pl.col("role") == role)


def _role_of(path: Path) -> str:
    """Return what a file is for, from the names that the deblending pipeline uses."""
    stem = path.stem.replace("-", "_")
    endings: Mapping[str, str] = {
        "merged_segments": "merge",
        "det_manual": "manual",
        "mask_border_more": "mask_border_more",
        "mask_border": "mask_border",
        "mask_all": "mask_all",
        "bad": "bad",
        "sim": "sim",
    }
    for ending, role in endings.items():
        if stem == ending or stem.endswith(f"_{ending}"):
            return role
    msg = f"--role: is missing, the name {path.name!r} does not say what the regions are for"
    raise InvalidInputError(msg)


def _outcomes(opened: "Lake", tiles: Sequence[str]) -> pl.DataFrame:
    """Return ``edit_id, status, message`` of the last detection of tiles."""
    from skymere.lake import region_rows, replay_outcomes

    rows: list[tuple[str, str, str]] = []
    for tile in tiles:
        try:
            rows += [(o.edit_id, o.status, o.reason) for o in replay_outcomes(opened, tile)]
        except NotFoundError:
            continue
    taken = region_rows(opened).filter("is_retracted")
    told = {
        name: ("taken back", f"{who}: {why}")
        for name, who, why in taken.select("edit_id", "retracted_by", "retracted_why").iter_rows()
    }
    kept = [row for row in rows if row[0] not in told]
    schema = ["edit_id", "status", "message"]
    return pl.DataFrame(
        [*kept, *((name, *words) for name, words in told.items())],
        schema=dict.fromkeys(schema, pl.String),
        orient="row",
    ).unique("edit_id", keep="first", maintain_order=True)
