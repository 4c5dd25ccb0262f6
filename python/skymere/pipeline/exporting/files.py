"""A lake into files of other tools: which products, of which tiles and sources."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from skymere.errors import InvalidInputError, NotFoundError, SkymereError, StorageError
from skymere.lake import Lake
from skymere.pipeline.exporting.full_files import export_full_files
from skymere.pipeline.exporting.grism_files import export_beams, export_spectra, export_stacks
from skymere.pipeline.exporting.images import export_mosaics, export_segmentation
from skymere.pipeline.exporting.sources import labels_of
from skymere.slit import write_slit_spectrum

__all__ = ["EXPORTS", "export_files"]

_Objects = Callable[..., Iterator[tuple[int, Path]]]
_IMAGES: Mapping[str, tuple[str, Callable[[Lake, str, Path], Iterator[Path]]]] = {
    "mosaic": ("mosaic", export_mosaics),
    "segmentation": ("segmentation", export_segmentation),
}
_OBJECTS: Mapping[str, tuple[str, _Objects]] = {
    "beams": ("beam", export_beams),
    "full": ("line_map", export_full_files),
    "1D": ("spectrum", export_spectra),
    "stack": ("stack", export_stacks),
}
_SLIT = "spec"
#: What `export_files` writes.
EXPORTS = (*_IMAGES, *_OBJECTS, _SLIT)
_SCHEMA = {"file": pl.String, "product": pl.String, "tile": pl.String, "source_id": pl.Int64, "message": pl.String}


def export_files(
    lake: Lake,
    folder: str | Path,
    *,
    kinds: Collection[str] = (),
    tiles: Collection[str] = (),
    sources: Sequence[int] = (),
) -> pl.DataFrame:
    """Write products of a lake as files of other tools.

    Parameters
    ----------
    lake : Lake
        The lake; at a release, what that release shows.
    folder : path-like
        Where; made when it is not there. Files of the same names are replaced.
    kinds : collection of str, optional
        Some of `EXPORTS`: ``mosaic`` (``TILE-BAND_drz.fits`` of DrizzlePac), ``segmentation`` (``TILE/det_seg.fits``
        and ``det_cat.fits`` of qdeblend), ``beams``, ``full``, ``1D`` and ``stack`` (``TILE_00012.full.fits`` of
        grizli), ``spec`` (``prism-clear_NAME.spec.fits`` of msaexp); all that the lake has when not given.
    tiles : collection of str, optional
        Of these tiles; of all when not given. Spectra of slits belong to no tile.
    sources : sequence of int, optional
        Of these sources; of all when not given. Images are of no source and are not written then.

    Returns
    -------
    polars.DataFrame
        ``file, product, tile, source_id, message``: a row for each file; where one could not be written, ``file`` is
        empty and ``message`` says why.

    Raises
    ------
    InvalidInputError
        When a kind is none of these.
    NotFoundError
        When the lake has no such tile or source, or nothing of what is wanted.
    StorageError
        When the folder cannot be made.

    Notes
    -----
    Numbers in names of grizli's files are labels of the segmentation, which are unique in a tile.
    """
    if unknown := sorted(set(kinds) - set(EXPORTS)):
        msg = f"kinds: {unknown} are not allowed, they must be some of {list(EXPORTS)}"
        raise InvalidInputError(msg)
    wanted_kinds = [one for one in EXPORTS if not kinds or one in kinds]
    folder = Path(folder)
    rows: list[dict[str, Any]] = []
    for kind in wanted_kinds:
        rows += _of_kind(lake, folder, kind, tiles, list(sources))
    if not rows:
        what = f"tiles {sorted(tiles)}" if tiles else f"sources {list(sources)[:5]}" if sources else "any tile"
        msg = f"{lake.path}: has none of {wanted_kinds} of {what}"
        raise NotFoundError(msg)
    return pl.DataFrame(rows, schema=_SCHEMA)


def _of_kind(
    lake: Lake, folder: Path, kind: str, tiles: Collection[str], sources: Sequence[int]
) -> Iterator[dict[str, Any]]:
    wanted = pl.col("source_id").is_in(sources) if sources else pl.lit(value=True)
    if kind == _SLIT:
        if not tiles:
            yield from _slits(lake, folder, wanted)
        return
    product = (_IMAGES | _OBJECTS)[kind][0]  # type: ignore[operator]
    names = [name for name in sorted(lake.live_runs(product)) if not tiles or name in tiles]
    for tile in names:
        if kind in _IMAGES:
            if not sources:
                _made(folder)
                yield from _told(kind, tile, ((None, path) for path in _IMAGES[kind][1](lake, tile, folder)))
            continue
        its = pl.col("tile") == tile
        ids = lake.table(product).filter(its, wanted).select(pl.col("source_id").unique()).collect()
        if ids.is_empty():
            continue
        _made(folder)
        labels = labels_of(lake, ids["source_id"].to_list())
        name = partial(_name, folder, tile)
        yield from _told(kind, tile, _OBJECTS[kind][1](lake, tile, wanted, name, labels))


def _name(folder: Path, tile: str, number: int, ending: str) -> Path:
    return folder / f"{tile}_{number:05d}.{ending}"


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{folder}: cannot be made: {error.strerror}"
        raise StorageError(msg) from error


def _told(kind: str, tile: str, found: Iterator[tuple[int | None, Path]]) -> Iterator[dict[str, Any]]:
    for source_id, path in found:
        yield {"file": str(path), "product": kind, "tile": tile, "source_id": source_id, "message": ""}


def _slits(lake: Lake, folder: Path, wanted: pl.Expr) -> Iterator[dict[str, Any]]:
    table = lake.table("slit_spectrum").filter(pl.col("status") == "ok", wanted)
    rows = table.select("spectrum_id", "source_id", "group_id", "grating", "band").sort("group_id").collect()
    if rows.height:
        _made(folder)
    for row in rows.iter_rows(named=True):
        told = {"file": "", "product": _SLIT, "tile": "", "source_id": row["source_id"], "message": ""}
        try:
            (spectrum,) = lake.slit_spectra([row["spectrum_id"]])
        except SkymereError as error:
            yield told | {"message": f"{row['group_id']}: {error}"}
            continue
        source = str(spectrum.meta.get("SRCNAME", ("", ""))[0]) or str(row["source_id"])
        path = folder / f"{row['grating']}-{row['band']}_{source.replace('/', '_')}.spec.fits"
        write_slit_spectrum(spectrum, path)
        yield told | {"file": str(path)}
