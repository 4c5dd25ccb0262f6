"""Files of other tools into a lake: which they are, and who takes them in."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from skymere.errors import InvalidInputError, SkymereError
from skymere.lake import Lake
from skymere.pipeline.importing.grism_files import import_beams, import_objects
from skymere.pipeline.importing.images import import_mosaics, import_segmentation, tile_of, tiles_of_files
from skymere.pipeline.importing.kinds import ForeignFile, Kind, look_at
from skymere.pipeline.importing.slit_files import import_slit_spectra

__all__ = ["import_files"]

_OBJECTS = (Kind.full, Kind.spectra, Kind.stacks)
_SCHEMA = dict.fromkeys(("file", "product", "tile", "status", "message"), pl.String)


def import_files(
    lake: str | Path | Lake,
    paths: Sequence[str | Path],
    *,
    tile: str = "field",
    bands: Sequence[str] = (),
    conf: str = "",
    match_radius_arcsec: float = 0.3,
) -> pl.DataFrame:
    """Take products of other tools into a lake; what they are is seen by what they hold.

    Parameters
    ----------
    lake : path-like or Lake
        The lake; made when it is not there, with a tile for each grid of the images, or with those of HEALPix when
        there is none.
    paths : sequence of path-like
        Mosaics of DrizzlePac, ``det_seg.fits`` of qdeblend, ``beams.fits``, ``full.fits``, ``stack.fits`` and
        ``1D.fits`` of grizli, ``spec.fits`` of msaexp. They are not changed. An image ``NAME_sci.fits`` goes with its
        weights ``NAME_wht.fits``.
    tile : str, optional
        Name of the tile of a new lake.
    bands : sequence of str, optional
        Bands of the mosaics, in their order; those that their headers say when not given.
    conf : str, optional
        Folder of the grism configurations that beams name; those of packs when not given.
    match_radius_arcsec : float, optional
        A source of the lake within it lends its identifier to an object [arcsec].

    Returns
    -------
    polars.DataFrame
        ``file, product, tile, status, message`` of each file; ``status`` is ``ok`` or ``failed``. A file that fails
        does not hold up the others.

    Raises
    ------
    InvalidInputError
        When there is no file, or another number of bands than of mosaics.
    NotFoundError, StorageError, FormatError
        When a file is missing or unreadable, or is no product that is known; nothing is imported then.

    Notes
    -----
    Images go to the tile that has their pixels, objects to the tile that owns their place. A tile's other bands and
    other objects stay; an object that is there already is replaced. Sources of a segmentation are measured in all bands
    of its tile, as the stage ``measure`` does.
    """
    if not paths:
        msg = "files: none was given, it must be one or more"
        raise InvalidInputError(msg)
    if not match_radius_arcsec >= 0:
        msg = f"match_radius_arcsec: {match_radius_arcsec} is not allowed, it must be 0 or more"
        raise InvalidInputError(msg)
    files = look_at([Path(path) for path in dict.fromkeys(str(path) for path in paths)])
    by_kind = {kind: [one for one in files if one.kind is kind] for kind in Kind}
    mosaics = by_kind[Kind.mosaic]
    if bands and len(bands) != len(mosaics):
        msg = f"bands: {list(bands)} are not allowed, there must be one for each of {len(mosaics)} mosaics"
        raise InvalidInputError(msg)
    opened = lake if isinstance(lake, Lake) else _lake(Path(lake), files, tile)
    told = _import_images(opened, mosaics, list(bands) or [""] * len(mosaics), by_kind[Kind.segmentation])
    if by_kind[Kind.beams]:
        told += import_beams(opened, by_kind[Kind.beams], conf=conf)
    for kind in _OBJECTS:
        told += import_objects(opened, by_kind[kind], match_radius_arcsec=match_radius_arcsec)
    told += import_slit_spectra(opened, by_kind[Kind.slit_spectrum], match_radius_arcsec=match_radius_arcsec)
    order = {str(one.path): i for i, one in enumerate(files)}
    return pl.DataFrame(sorted(told, key=lambda row: order[row["file"]]), schema=_SCHEMA)


def _lake(path: Path, files: Sequence[ForeignFile], tile: str) -> Lake:
    if (path / "lake.json").exists():
        return Lake.open(path)
    tiles = tiles_of_files(files, tile)
    return Lake.create(path, tiles=tiles) if tiles else Lake.create(path, tiles="healpix", scale_arcsec=0.1)


def _import_images(
    lake: Lake, mosaics: Sequence[ForeignFile], bands: Sequence[str], maps: Sequence[ForeignFile]
) -> list[dict[str, str]]:
    told: list[dict[str, str]] = []
    by_tile: dict[str, list[tuple[ForeignFile, str]]] = {}
    for one, band in zip(mosaics, bands, strict=True):
        try:
            by_tile.setdefault(tile_of(lake, one), []).append((one, band))
        except SkymereError as error:
            told.append(_failed(one, "", error))
    for tile, some in by_tile.items():
        try:
            told += import_mosaics(lake, tile, [one for one, _ in some], [band for _, band in some])
        except SkymereError as error:
            told += [_failed(one, tile, error) for one, _ in some]
    for one in maps:
        try:
            told.append(import_segmentation(lake, tile_of(lake, one), one))
        except SkymereError as error:
            told.append(_failed(one, "", error))
    return told


def _failed(one: ForeignFile, tile: str, error: SkymereError) -> dict[str, str]:
    return one.told(tile, "failed", f"{type(error).__name__}: {error}")
