"""MSA metafiles: which shutters were open, and the sources that they were opened for."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from astropy.io import fits

from skymere.errors import FormatError, NotFoundError
from skymere.io._open import open_fits

__all__ = ["MsaMetafile", "read_msa_metafile"]

_SHUTTERS = {
    "slitlet_id": pl.Int64,
    "msa_metadata_id": pl.Int64,
    "shutter_quadrant": pl.Int64,
    "shutter_row": pl.Int64,
    "shutter_column": pl.Int64,
    "source_id": pl.Int64,
    "background": pl.String,
    "shutter_state": pl.String,
    "estimated_source_in_shutter_x": pl.Float64,
    "estimated_source_in_shutter_y": pl.Float64,
    "dither_point_index": pl.Int64,
    "primary_source": pl.String,
}
_SOURCES = {
    "program": pl.Int64,
    "source_id": pl.Int64,
    "source_name": pl.String,
    "alias": pl.String,
    "ra": pl.Float64,
    "dec": pl.Float64,
    "preimage_id": pl.String,
    "stellarity": pl.Float64,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class MsaMetafile:
    """The configurations of the micro-shutters of an observation.

    Parameters
    ----------
    shutters : polars.DataFrame
        A row for every shutter that was opened: ``slitlet_id``, ``msa_metadata_id``, ``dither_point_index``, its
        quadrant, row and column as the file calls them, ``source_id`` (0 without one), ``is_background``,
        ``is_open``, ``is_primary``, and ``x_position``, ``y_position`` of the source in it from its centre, in
        shutters (null without one).
    sources : polars.DataFrame
        ``source_id``, ``source_name``, ``alias``, ``program``, ``ra``, ``dec`` [deg], ``stellarity``.
    path : str
        The file.
    """

    shutters: pl.DataFrame
    sources: pl.DataFrame
    path: str = ""

    def shutter_state(self, slitlet_id: int, *, metadata_id: int, dither: int = 1) -> str:
        """Return the shutters of a slitlet as one letter each, as the pipeline writes them.

        ``x`` stands for the main shutter, that with the source or the middle one of a slitlet of sky, ``1`` for other
        open ones, ``0`` for closed ones between them.

        Parameters
        ----------
        slitlet_id : int
            Number of the slitlet.
        metadata_id : int
            Which configuration, MSAMETID of an exposure.
        dither : int, optional
            Number of the nod, PATT_NUM of an exposure.

        Raises
        ------
        NotFoundError
            When the configuration has no such slitlet.
        """
        rows = self.shutters.filter(
            (pl.col("slitlet_id") == slitlet_id)
            & (pl.col("msa_metadata_id") == metadata_id)
            & (pl.col("dither_point_index") == dither)
        ).sort("shutter_column")
        if rows.is_empty():
            msg = f"{self.path}: no slitlet {slitlet_id} in configuration {metadata_id}, dither {dither}"
            raise NotFoundError(msg)
        first, last = rows["shutter_column"][0], rows["shutter_column"][-1]
        letters = dict.fromkeys(range(first, last + 1), "0")
        with_source = rows.filter(~pl.col("is_background"))["shutter_column"].to_list()
        main = with_source[0] if with_source else first + (last - first) // 2
        for column, is_open in rows.select("shutter_column", "is_open").iter_rows():
            letters[column] = "1" if is_open else "0"
        letters[main] = "x"
        return "".join(letters.values())


def read_msa_metafile(path: str | Path) -> MsaMetafile:
    """Read an MSA metafile.

    Parameters
    ----------
    path : path-like
        A file ``*_msa.fits`` with the tables SHUTTER_INFO and SOURCE_INFO.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When it cannot be read, or is something else.

    Examples
    --------
    >>> from skymere.io import read_msa_metafile
    >>> read_msa_metafile("jw01345062001_01_msa.fits").sources.columns[:2]  # doctest: +SKIP
    ['source_id', 'source_name']
    """
    path = Path(path)
    with open_fits(path) as hdus:
        shutters, sources = _frame(hdus, "SHUTTER_INFO", _SHUTTERS, path), _frame(hdus, "SOURCE_INFO", _SOURCES, path)

    def from_centre(name: str) -> pl.Expr:
        # The file counts from the corner of the shutter; NaN stands for no source.
        return (pl.col(f"estimated_source_in_shutter_{name}").fill_nan(None) - 0.5).alias(f"{name}_position")

    return MsaMetafile(
        shutters=shutters.select(
            "slitlet_id",
            "msa_metadata_id",
            "dither_point_index",
            "shutter_quadrant",
            "shutter_row",
            "shutter_column",
            "source_id",
            (pl.col("background") == "Y").alias("is_background"),
            (pl.col("shutter_state").str.to_uppercase() == "OPEN").alias("is_open"),
            (pl.col("primary_source") == "Y").alias("is_primary"),
            from_centre("x"),
            from_centre("y"),
        ),
        sources=sources.select("source_id", "source_name", "alias", "program", "ra", "dec", "stellarity"),
        path=str(path),
    )


def _frame(hdus: fits.HDUList, name: str, schema: dict[str, type[pl.DataType]], path: Path) -> pl.DataFrame:
    if name not in hdus or not isinstance(hdus[name], fits.BinTableHDU):
        msg = f"{path}: table {name} is missing, it holds {[hdu.name for hdu in hdus[1:]]}"
        raise FormatError(msg)
    table = hdus[name].data
    there = {column.lower(): column for column in table.columns.names}
    if missing := [column for column in schema if column not in there]:
        msg = f"{path}: columns {missing} of {name} are missing, it has {sorted(there)}"
        raise FormatError(msg)
    columns = {}
    for column, dtype in schema.items():
        values = table[there[column]]
        if dtype == pl.String:
            columns[column] = pl.Series([str(value).strip() for value in values], dtype=pl.String)
        else:
            kind = np.int64 if dtype == pl.Int64 else np.float64
            columns[column] = pl.Series(np.asarray(values).astype(kind))
    return pl.DataFrame(columns)
