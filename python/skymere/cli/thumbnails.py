"""``skymere thumbnails``: images of any positions, drizzled from the exposures."""

import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from skymere.cli._print import console, print_frame
from skymere.cli.edit import _position
from skymere.cli.imaging import OverwriteOption, _check_outputs, _StoredMasks
from skymere.cli.thumbnail_options import PictureOptions, draw, read_bands, read_merged, read_sizes
from skymere.errors import InvalidInputError, NoDataError, NotFoundError

if TYPE_CHECKING:
    import polars as pl

    from skymere.datamodels import SegmentationMap, Thumbnail
    from skymere.lake import Lake
    from skymere.mosaic import ExposureList, ThumbnailParams, Thumbnails
    from skymere.resample import Geometry

__all__ = ["read_geometry", "thumbnails"]

_TABLE = "thumbnails.parquet"
# Positions whose exposures are shown one by one.
_FEW = 20
_ID_NAMES = ("label", "id", "number", "source_id", "segment_id")


def thumbnails(
    exposures: Annotated[
        list[Path] | None,
        typer.Argument(help="Exposures (FLT-like FITS), folders of them, a list (Parquet) or a groups file (YAML)."),
    ] = None,
    positions: Annotated[
        Path | None, typer.Option(help="Catalogue with ra, dec [deg] and id, label or number (Parquet, CSV, FITS).")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(help="Position instead: 'RA DEC' in degrees, or sexagesimal (hours, degrees); may be repeated."),
    ] = None,
    geometry: Annotated[
        str,
        typer.Option(
            help="TOML file with kernel, pixfrac, pixscale, size; a full.fits (its first LINE extension); or a preset."
        ),
    ] = "lines-1",
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for what is written.")] = Path("thumbnails"),
    root: Annotated[str, typer.Option(help="First part of the names of files.")] = "skymere",
    filters: Annotated[str, typer.Option(help="Wanted filters, with commas between; else all.")] = "",
    segmentation: Annotated[Path | None, typer.Option(help="Segmentation with coordinates (FITS).")] = None,
    psf: Annotated[bool, typer.Option("--psf", help="Drizzle the PSF with the same geometry, too.")] = False,
    psf_source: Annotated[
        str,
        typer.Option(
            help="Where it comes from: stars of the exposures, gaussian:FWHM, moffat:FWHM:BETA [arcsec], grid:FILE "
            "(STDPSF) or image:FILE; {band} stands for the filter."
        ),
    ] = "stars",
    psf_oversample: Annotated[
        int, typer.Option(help="Write the PSF on so many times smaller pixels, too, as PSFOVER; 1 for none.")
    ] = 1,
    merge: Annotated[
        list[str] | None,
        typer.Option(
            help="Filters shown as one band, NAME=FILTER,FILTER; may be repeated. Or a number: filters of one camera "
            "whose pivot wavelengths differ by no more than this part."
        ),
    ] = None,
    auto_size: Annotated[
        bool,
        typer.Option(
            "--auto-size",
            help="Size each thumbnail to the bounding box of its source: columns x_min, x_max, y_min, y_max (or those "
            "of grizli or SExtractor), else its segment.",
        ),
    ] = False,
    size_limits: Annotated[
        tuple[float, float], typer.Option(help="Least and largest size of --auto-size [arcsec].")
    ] = (4.0, 15.0),
    box_scale: Annotated[
        float | None, typer.Option(help="Side of the pixels of boxes without a --segmentation [arcsec].")
    ] = None,
    ids: Annotated[str, typer.Option(help="Numbers of sources, with commas between, or a file with one a line.")] = "",
    where: Annotated[str, typer.Option(help="Condition on the columns of the catalogue, in SQL.")] = "",
    from_lake: Annotated[
        Path | None, typer.Option(help="Lake whose exposures, and if no positions are given sources, are taken.")
    ] = None,
    with_beams: Annotated[
        bool, typer.Option("--with-beams", help="Of the sources of a lake, only those with beams of grisms.")
    ] = False,
    masks: Annotated[Path | None, typer.Option(help="Folder with masks of `skymere crmask`.")] = None,
    sky: Annotated[str, typer.Option(help="auto, given or none; see `skymere.mosaic.ThumbnailParams`.")] = "auto",
    subtract_median: Annotated[
        bool, typer.Option("--subtract-median", help="Subtract the median of each thumbnail; IMGMED has it.")
    ] = False,
    weight: Annotated[
        str, typer.Option(help="What WHT is: inverse_variance_with_sources or inverse_variance.")
    ] = "inverse_variance_with_sources",
    flam: Annotated[bool, typer.Option("--flam", help="Write 1e-20 erg/s/cm2/A instead of electron/s.")] = False,
    pictures: Annotated[bool, typer.Option("--pictures", help="Draw each thumbnail in colour, too.")] = False,
    rgb: Annotated[
        str,
        typer.Option(help="One to three bands of the pictures, from red to blue, with commas between; implies them."),
    ] = "",
    rgb_scale: Annotated[float, typer.Option(help="Factor of the brightness of pictures.")] = 1.0,
    rgb_height: Annotated[int, typer.Option(help="Height of pictures [pix].")] = 1240,
    workers: Annotated[int, typer.Option(help="Processes that make thumbnails.")] = 1,
    overwrite: OverwriteOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the exposures that overlap each position; write nothing.")
    ] = False,
) -> None:
    """Drizzle thumbnails of any positions from the exposures: `ROOT_ID.thumb.fits` with SCI, WHT, VAR, PSF and SEG.

    Every plane of every filter has the pixels, kernel and pixfrac of the geometry. `thumbnails.parquet` says for each
    object and filter what was made, its coverage, and how many exposures were used or left out; each file lists
    them. Exposures are never changed. A file that was made from the same inputs stays and is called unchanged.

    Example: `skymere thumbnails flt/ --positions phot.fits --where "mag_auto < 22" --geometry j0332_00152.full.fits`

    Example: `skymere thumbnails --from-lake demo/lake --ids 12,15 --filters f125w,f160w --psf --dry-run`
    """
    from skymere.mosaic import ThumbnailParams

    if not exposures and from_lake is None:
        msg = "EXPOSURES: none is not allowed, name files, folders or a list, or a lake with --from-lake"
        raise InvalidInputError(msg)
    shape = read_geometry(geometry)
    lake, listed = _exposures(exposures or [], from_lake, masks)
    table = _chosen(_positions(positions, at, lake), ids, where)
    if with_beams:
        table = _with_beams(table, lake)
    wanted = [name.strip() for name in filters.split(",") if name.strip()] or None
    params = ThumbnailParams(
        sky=sky,  # type: ignore[arg-type]
        subtract_median=subtract_median,
        weight=weight,  # type: ignore[arg-type]
        psf_oversample=psf_oversample,
    )
    of_lake = lake if positions is None and not at and segmentation is None else None
    labels = None if segmentation is None else _segmentation(segmentation)
    merged = read_merged(merge or [], listed)
    colours = read_bands(rgb, [*listed.bands, *(merged or {})])
    job = _Job(
        lake=of_lake,
        exposures=listed,
        table=table,
        geometry=shape,
        filters=wanted,
        params=params,
        segmentation=segmentation,
        labels=labels,
        psf_source=psf_source if psf else "",
        merged=merged,
        sizes=read_sizes(table, of_lake, labels, box_scale, size_limits) if auto_size else None,
        n_workers=workers,
    )
    look = PictureOptions(bands=colours, scale=rgb_scale, height_pix=rgb_height) if pictures or rgb else None
    planned = job.plan()
    if dry_run:
        _show(planned, table.height)
        return
    names = job.names()
    paths = [output / f"{root}_{name}.thumb.fits" for name in names]
    digests = job.digests(planned, flam=flam)
    todo = _to_do(paths, digests, overwrite=overwrite)
    _check_outputs([output / _TABLE], overwrite=True)
    rows: list[dict[str, Any]] = []
    for one in job.make(todo):
        made = replace(one, bands=tuple(band.in_flam() for band in one.bands)) if flam else one
        path = ""
        if made.bands:
            _write(made, paths[one.row], digests[one.row], look)
            path = str(paths[one.row])
        rows += [row | {"path": path} for row in made.rows()]
    rows += [_unchanged(k, job, paths[k]) for k in range(table.height) if k not in set(todo)]
    _finish(rows, output / _TABLE)


@dataclass(kw_only=True, eq=False)
class _Job:
    """What is to be made of what."""

    lake: "Lake | None"
    exposures: "ExposureList"
    table: "pl.DataFrame"
    geometry: "Geometry"
    filters: list[str] | None
    params: "ThumbnailParams"
    segmentation: Path | None
    labels: "SegmentationMap | None"
    psf_source: str
    merged: "Mapping[str, Sequence[str]] | None"
    sizes: "NDArray[np.float64] | None"
    n_workers: int

    def _options(self) -> dict[str, Any]:
        return {"geometry": self.geometry, "filters": self.filters, "params": self.params, "merged": self.merged}

    @cached_property
    def _asked(self) -> "Thumbnails":
        from skymere.mosaic import thumbnails as make

        return make(self.exposures, _as_positions(self.table), sizes=self.sizes, **self._options())

    def plan(self) -> "pl.DataFrame":
        return self._asked.plan()

    @cached_property
    def geometries(self) -> list[str]:
        """Digests of the geometry of each position."""
        return [one.digest for one in self._asked.geometries()]

    def names(self) -> list[str]:
        """Return a name for each position: its number, or its coordinates where it has none."""
        name = next((one for one in ("source_id", *_ID_NAMES) if one in self.table.columns), None)
        if name is not None:
            found = [str(value) for value in self.table[name].to_list()]
        else:
            found = [f"{ra:.6f}{dec:+.6f}" for ra, dec in self.table.select("ra", "dec").iter_rows()]
        twice = next((one for one in found if found.count(one) > 1), None) if len(set(found)) < len(found) else None
        if twice is not None:
            msg = f"--positions: {twice} is there more than once, files need different names"
            raise InvalidInputError(msg)
        return found

    def digests(self, planned: "pl.DataFrame", *, flam: bool) -> list[str]:
        """Return for each position a digest of all that its file is made from."""
        import skymere
        from skymere.io import file_digest

        content = dict(zip(*(self.exposures.table[name].to_list() for name in ("exposure_id", "sha256")), strict=True))
        common = {
            "version": skymere.__version__,
            "merged": {name: list(some) for name, some in (self.merged or {}).items()},
            "params": asdict(self.params),
            "filters": self.filters,
            "psf": self.psf_source,
            "segmentation": file_digest(self.segmentation) if self.segmentation else "",
            "flam": flam,
        }
        looking: dict[int, list[tuple[str, str, str]]] = {}
        for row, name, reason in planned.select("row", "exposure_id", "reason").iter_rows():
            looking.setdefault(row, []).append((name, content.get(name, ""), reason))
        places = self.table.select("ra", "dec").rows()
        return [
            hashlib.sha256(
                json.dumps([common, self.geometries[k], place, looking.get(k, [])], sort_keys=True).encode()
            ).hexdigest()
            for k, place in enumerate(places)
        ]

    def make(self, todo: Sequence[int]) -> "Iterator[Thumbnail]":
        """Yield the thumbnails of some rows of the table."""
        from skymere.mosaic import thumbnails as make
        from skymere.pipeline import lake_thumbnails

        part = self.table[list(todo)]
        if part.is_empty():
            return
        sizes = None if self.sizes is None else self.sizes[list(todo)]
        options = self._options() | {"psf": self._psf(), "n_workers": self.n_workers, "sizes": sizes}
        if self.lake is not None:
            made: Iterable[Thumbnail] = lake_thumbnails(self.lake, part, exposures=self.exposures, **options)
        else:
            made = make(self.exposures, _as_positions(part), segmentation=self.labels, **options)
        for one in made:
            yield replace(one, row=int(todo[one.row]))

    def _psf(self) -> Any:
        if not self.psf_source:
            return None
        from skymere.instruments import is_dispersed
        from skymere.mosaic import named_psf

        images = [band for band in self.exposures.bands if not is_dispersed(band)]
        bands = images if self.filters is None else [name.lower() for name in self.filters]
        where = "--psf-source"
        return {band: named_psf(self.psf_source, band, exposures=self.exposures, where=where) for band in bands}


def _show(planned: "pl.DataFrame", n_positions: int) -> None:
    """Print the exposures that overlap: for each of a few positions, or else how many positions each overlaps."""
    import polars as pl

    if n_positions > _FEW:
        by = ["exposure_id", "band", "is_used", "reason"]
        planned = planned.group_by(by).agg(pl.len().alias("n_positions")).sort("band", "exposure_id")
    print_frame(planned, f"Exposures that overlap {n_positions} positions")
    used = planned.filter("is_used")
    console.print(f"{used['exposure_id'].n_unique()} exposures would be used", soft_wrap=True)


def _as_positions(table: "pl.DataFrame") -> "pl.DataFrame":
    """Return the columns that say where and what; sources of a lake by their labels."""
    names = {name.lower(): name for name in reversed(table.columns)}
    known = next((names[name] for name in _ID_NAMES if name in names), None)
    return table.select([names[name] for name in ("ra", "dec") if name in names] + ([known] if known else []))


def read_geometry(text: str) -> "Geometry":
    """Return the geometry that an option names: a preset, a TOML file, or that of a FITS file."""
    from skymere.resample import GEOMETRIES, Geometry

    if text in GEOMETRIES:
        return Geometry.preset(text)
    path = Path(text)
    if not path.is_file():
        msg = f"--geometry: {text!r} is no file and no preset, which are {', '.join(GEOMETRIES)}"
        raise NotFoundError(msg)
    if path.suffix != ".toml":
        return Geometry.from_fits(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"--geometry: {path}: {error}"
        raise InvalidInputError(msg) from error
    return Geometry.from_pline(table.get("pline", table))


def _exposures(paths: Sequence[Path], from_lake: Path | None, masks: Path | None) -> "tuple[Lake | None, ExposureList]":
    from skymere.lake import Lake
    from skymere.mosaic import ExposureList, read_groups
    from skymere.pipeline import lake_exposures

    prepare = None if masks is None else _StoredMasks(masks)
    if from_lake is not None:
        if paths or masks is not None:
            msg = "--from-lake: is not allowed together with exposures or --masks; the lake has them"
            raise InvalidInputError(msg)
        opened = Lake.open(from_lake)
        return opened, lake_exposures(opened)
    if len(paths) == 1 and paths[0].suffix == ".parquet":
        return None, ExposureList.from_parquet(paths[0], prepare=prepare)
    files: list[str | Path] = []
    for path in paths:
        if path.suffix in (".yaml", ".yml", ".npy"):
            files += [path.parent / name for listed in read_groups(path).values() for name in listed]
        else:
            files.append(path)
    return None, ExposureList.from_files(files, prepare=prepare)


def _positions(path: Path | None, at: Sequence[str] | None, lake: "Lake | None") -> "pl.DataFrame":
    import polars as pl

    from skymere.io import read_table

    if path is not None and at:
        msg = "--at, --positions: only one of the two is allowed"
        raise InvalidInputError(msg)
    if at:
        return pl.DataFrame([_position(text) for text in at], schema=["ra", "dec"], orient="row")
    if path is not None:
        return read_table(path)
    if lake is None:
        msg = "--positions: a catalogue, or --at, is needed, unless sources of a lake are meant"
        raise InvalidInputError(msg)
    return lake.table("source").sort("source_id").collect()


def _with_beams(table: "pl.DataFrame", lake: "Lake | None") -> "pl.DataFrame":
    """Return the sources of a lake that have beams."""
    if lake is None or "source_id" not in table.columns:
        msg = "--with-beams: is not allowed here, it is for sources of a lake, --from-lake"
        raise InvalidInputError(msg)
    beams = lake.table("beam").select("source_id").unique().collect()
    return table.join(beams, on="source_id", how="semi", maintain_order="left")


def _chosen(table: "pl.DataFrame", ids: str, where: str) -> "pl.DataFrame":
    """Return the rows that --ids and --where leave."""
    import polars as pl

    if where:
        try:
            table = table.filter(pl.sql_expr(where))
        except (pl.exceptions.PolarsError, TypeError) as error:
            msg = f"--where: {where!r} is not allowed for columns {table.columns}: {error}"
            raise InvalidInputError(msg) from error
    if ids:
        text = Path(ids).read_text(encoding="utf-8") if Path(ids).is_file() else ids
        try:
            numbers = [int(word) for word in text.replace(",", " ").split()]
        except ValueError as error:
            msg = f"--ids: {ids!r} is not allowed, it must be whole numbers with commas between, or a file with them"
            raise InvalidInputError(msg) from error
        names = {name.lower(): name for name in table.columns}
        name = next((names[one] for one in ("source_id", *_ID_NAMES) if one in names), None)
        if name is None:
            msg = f"--ids: the catalogue has no column {', '.join(_ID_NAMES)}, only {table.columns}"
            raise InvalidInputError(msg)
        missing = sorted(set(numbers) - set(table[name].cast(pl.Int64).to_list()))
        if missing:
            msg = f"--ids: {missing[:5]} are not in the catalogue"
            raise NotFoundError(msg)
        table = table.filter(pl.col(name).cast(pl.Int64).is_in(numbers))
    if table.is_empty():
        msg = "--positions: no row is left"
        raise NoDataError(msg)
    lower = {name: name.lower() for name in table.columns if name.lower() in ("ra", "dec", *_ID_NAMES)}
    return table.rename(lower) if len(set(lower.values())) == len(lower) else table


def _segmentation(path: Path) -> "SegmentationMap":
    from skymere.datamodels import SegmentationMap
    from skymere.io import read_labels

    labels, grid = read_labels(path)
    return SegmentationMap(labels=labels, grid=grid)


def _to_do(paths: Sequence[Path], digests: Sequence[str], *, overwrite: bool) -> list[int]:
    """Return the rows whose files are to be made; those of the same inputs are there already."""
    from skymere.io import thumbnail_inputs

    todo = [k for k, (path, digest) in enumerate(zip(paths, digests, strict=True)) if thumbnail_inputs(path) != digest]
    _check_outputs([paths[k] for k in todo], overwrite=overwrite)
    return todo


def _write(made: "Thumbnail", path: Path, digest: str, look: PictureOptions | None) -> None:
    from skymere.io import write_thumbnail

    write_thumbnail(made, path, inputs_sha256=digest)
    if look is not None:
        draw(made, path, look)


def _unchanged(k: int, job: _Job, path: Path) -> dict[str, Any]:
    row = job.table.row(k, named=True)
    number = next((row[name] for name in ("source_id", *_ID_NAMES) if name in row), None)
    about = {"row": k, "source_id": None if number is None else int(number), "ra": row["ra"], "dec": row["dec"]}
    return about | {"status": "unchanged", "message": "", "geometry_sha256": job.geometries[k], "path": str(path)}


def _finish(rows: list[dict[str, Any]], path: Path) -> None:
    """Write and print the table of statuses."""
    import polars as pl

    from skymere.lake import write_whole

    frame = pl.DataFrame(rows, infer_schema_length=None).sort("row")
    with write_whole(path) as staged:
        frame.write_parquet(staged)
    names = ("row", "source_id", "status", "band", "coverage", "n_exposures", "n_left_out", "message")
    print_frame(frame.select([name for name in names if name in frame.columns]).head(40), "Thumbnails")
    counts = ", ".join(f"{n} {what}" for what, n in frame.unique("row")["status"].value_counts(sort=True).iter_rows())
    console.print(f"{path}: {counts}", soft_wrap=True, markup=False)
