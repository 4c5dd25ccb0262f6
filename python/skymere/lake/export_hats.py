"""A version of a table as a HATS collection with a margin cache, which lsdb opens.

The Parquet files are hard links to those of the lake where both are on one disk: HATS readers take every file of a
pixel's folder, so they must never look at the live one, which also has replaced and unpublished files.
"""

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from cdshealpix.nested import neighbours
from numpy.typing import NDArray

from skymere import __version__
from skymere.errors import ConflictError, InvalidInputError, NoDataError
from skymere.lake.files import storage
from skymere.lake.forms import arrow_schema, polars_schema
from skymere.lake.layout import PARTITION_ORDER, TableFile, sky_folder
from skymere.lake.schemas import Column
from skymere.lake.sky import CELL_ARCSEC, DEEP
from skymere.lake.votable import votable

__all__ = ["write_hats"]

_SHIFT = 2 * (DEEP - PARTITION_ORDER)


@dataclass
class _Catalogue:
    """One of the two catalogues of a collection while it is written."""

    folder: Path
    columns: Sequence[Column]
    lengths: Mapping[str, int]
    rows: dict[int, int] = field(default_factory=dict)

    def path(self, pixel: int, name: str) -> Path:
        """Return the place of a file, and count the pixel."""
        self.rows.setdefault(pixel, 0)
        path = self.folder / "dataset" / sky_folder(pixel) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, pixel: int, name: str, frame: pl.DataFrame) -> None:
        """Write rows of a pixel."""
        path = self.path(pixel, name)
        frame.write_parquet(path, compression="zstd", arrow_schema=arrow_schema(self.columns, self.lengths))
        self.rows[pixel] += frame.height

    def finish(self, product: str, description: str, properties: Mapping[str, Any]) -> None:
        """Write what stands beside the rows."""
        schema = arrow_schema(self.columns, self.lengths)
        words = {
            "IVOA.VOTable-Parquet.version": "1.0",
            "IVOA.VOTable-Parquet.content": votable(product, description, self.columns, self.lengths),
        }
        pq.write_metadata(
            schema.with_metadata({**(schema.metadata or {}), **words}), self.folder / "dataset" / "_common_metadata"
        )
        lines = ["Norder,Npix", *(f"{PARTITION_ORDER},{pixel}" for pixel in sorted(self.rows))]
        (self.folder / "partition_info.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        _write_properties(
            self.folder / "hats.properties",
            {
                **properties,
                "hats_nrows": sum(self.rows.values()),
                "hats_col_ra": "ra",
                "hats_col_dec": "dec",
                "hats_col_healpix": "_healpix_29",
                "hats_col_healpix_order": DEEP,
                "hats_npix_suffix": "/",
                "hats_order": PARTITION_ORDER,
                "hats_builder": f"skymere {__version__}",
                "hats_creation_date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MUTC"),
                "hats_version": "v1.0",
            },
        )


def write_hats(
    dataset: Path,
    files: Sequence[TableFile],
    folder: Path,
    *,
    product: str,
    description: str,
    columns: Sequence[Column],
    margin_arcsec: float,
) -> None:
    """Write a collection; see `Lake.export_hats`.

    ``files`` are the live files of the version, ``columns`` all that any of them has.
    """
    if not (np.isfinite(margin_arcsec) and 0 < margin_arcsec <= 3600):
        msg = f"margin_arcsec: {margin_arcsec} is not allowed, it must be above 0 and at most 3600"
        raise InvalidInputError(msg)
    # A merged file holds the rows of several tiles, and is one file.
    each = {file.path: file for file in files}.values()
    filled = [(file, n) for file in each if (n := pq.read_metadata(dataset / file.path).num_rows)]
    if not filled:
        msg = f"table {product!r} has no rows, and HATS has no catalogue without any"
        raise NoDataError(msg)
    with storage(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            msg = f"{folder} is not empty; a collection can only be written to a new or empty folder"
            raise ConflictError(msg)
        staged = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        try:
            _write(staged, dataset, filled, product, description, columns, margin_arcsec)
            if folder.exists():
                folder.rmdir()
            staged.rename(folder)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def _write(
    folder: Path,
    dataset: Path,
    filled: Sequence[tuple[TableFile, int]],
    product: str,
    description: str,
    columns: Sequence[Column],
    margin_arcsec: float,
) -> None:
    lengths = _lengths(dataset, filled, columns)
    main = _Catalogue(folder / product, columns, lengths)
    margin_name = f"{product}_margin"
    margin = _Catalogue(folder / margin_name, columns, lengths)
    names = [column.name for column in columns]
    beyond: dict[int, list[pl.DataFrame]] = {}
    for file, n_rows in filled:
        source = dataset / file.path
        pixel = int(file.folder.rpartition("Npix=")[2])
        if pq.read_schema(source).names == names:
            _link(source, main.path(pixel, Path(file.path).name))
            main.rows[pixel] += n_rows
        else:
            main.write(pixel, Path(file.path).name, _whole(source, columns))
        index = pl.read_parquet(source, columns=["_healpix_29"])["_healpix_29"].to_numpy()
        near = _near_pixels(index, margin_arcsec)
        if near:
            frame = _whole(source, columns)
            for other, rows in near.items():
                beyond.setdefault(other, []).append(frame[rows])
    for pixel in list(main.rows):
        parts = beyond.get(pixel, [pl.DataFrame(schema=_whole(dataset / filled[0][0].path, columns).schema)])
        margin.write(pixel, "margin.parquet", pl.concat(parts).sort("_healpix_29"))
    main.finish(product, description, {"obs_collection": product, "dataproduct_type": "object"})
    about = {
        "obs_collection": margin_name,
        "dataproduct_type": "margin",
        "hats_primary_table_url": product,
        "hats_margin_threshold": margin_arcsec,
    }
    margin.finish(product, description, about)
    _write_properties(
        folder / "collection.properties",
        {
            "obs_collection": f"{product}_collection",
            "hats_primary_table_url": product,
            "all_margins": margin_name,
            "default_margin": margin_name,
        },
    )


def _lengths(dataset: Path, filled: Sequence[tuple[TableFile, int]], columns: Sequence[Column]) -> dict[str, int]:
    """Return the longest text of each column, from what the files say about themselves."""
    lengths = {column.name: column.length or 1 for column in columns if column.is_text}
    for file, _ in filled:
        found = pq.read_schema(dataset / file.path).metadata or {}
        for name, length in lengths.items():
            lengths[name] = max(length, int(found.get(f"table::len::{name}".encode(), b"1")))
    return lengths


def _whole(source: Path, columns: Sequence[Column]) -> pl.DataFrame:
    """Return the rows of a file with all columns; bands that it lacks are null."""
    frame = pl.read_parquet(source)
    dtypes = polars_schema(columns)
    return frame.with_columns(
        pl.lit(None, dtype=t).alias(n) for n, t in dtypes.items() if n not in frame.columns
    ).select(*dtypes)


def _near_pixels(index: NDArray[np.int64], margin_arcsec: float) -> dict[int, NDArray[np.int64]]:
    """Return the rows that are within the margin of each other pixel of the partition.

    A row counts for every pixel that its cell, or a cell around it, is in; cells are two to four times the margin
    wide, so nothing within the margin is left out, and some rows a little beyond are taken in too.
    """
    order = max(PARTITION_ORDER, min(DEEP, int(np.floor(np.log2(CELL_ARCSEC / (2.0 * margin_arcsec))))))
    cells, member = np.unique(index >> 2 * (DEEP - order), return_inverse=True)
    beside = np.asarray(neighbours(cells.astype(np.uint64), order))
    parents = np.where(beside >= 0, beside >> 2 * (order - PARTITION_ORDER), -1)
    own = cells >> 2 * (order - PARTITION_ORDER)
    found = {}
    for pixel in np.unique(parents[(parents >= 0) & (parents != own[:, None])]).tolist():
        touches = (parents == pixel).any(axis=1) & (own != pixel)
        found[pixel] = np.flatnonzero(touches[member])
    return found


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Another disk, or one without hard links.
        shutil.copyfile(source, target)


def _write_properties(path: Path, properties: Mapping[str, Any]) -> None:
    lines = [f"{key}={value}" for key, value in properties.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
