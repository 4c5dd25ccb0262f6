"""What goes out of a lake to other tools, and what comes in from them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from skymere.errors import InvalidInputError
from skymere.lake.astropy_tables import as_astropy
from skymere.lake.export_fits import write_catalogue, write_cutouts
from skymere.lake.export_hats import write_hats
from skymere.lake.export_spectra import write_spectra
from skymere.lake.export_votable import write_votable
from skymere.lake.files import all_fetched, digest
from skymere.lake.imports import publish_catalogue, read_catalogue
from skymere.lake.pixels import LakePixels
from skymere.lake.schemas import Column
from skymere.lake.tables import Outcome

__all__ = ["LakeExchange"]


class LakeExchange(LakePixels):
    """The exports and imports of `Lake`."""

    def to_astropy(self, table: str | pl.DataFrame | pl.LazyFrame, *, product: str = "source") -> Any:
        """Return rows as an `astropy.table.Table` with unit, UCD and description of every column.

        Parameters
        ----------
        table : str, polars.DataFrame or polars.LazyFrame
            Product, or rows of one.
        product : str, optional
            Product that says what the columns of a frame mean; columns that it does not have stay without unit.
        """
        frame, columns = self._rows(table, product)
        return as_astropy(frame, columns)

    def export_votable(
        self, table: str | pl.DataFrame | pl.LazyFrame, path: str | Path, *, product: str = "source"
    ) -> Path:
        """Write rows as a VOTable; returns the path. See `to_astropy` for ``table`` and ``product``.

        Raises
        ------
        StorageError
            When the file cannot be written.
        """
        name = table if isinstance(table, str) else product
        frame, columns = self._rows(table, product)
        units = {column.name: column.unit for column in columns}
        out, text = Path(path), self.schema(name).description
        write_votable(as_astropy(frame, columns), out, name=name, description=text, units=units)
        return out

    def export_fits(
        self,
        path: str | Path,
        *,
        table: str | pl.DataFrame | pl.LazyFrame | None = None,
        cutouts: ArrayLike | None = None,
        spectra: ArrayLike | None = None,
        product: str = "source",
        bands: Sequence[str] | None = None,
        size_pix: int | None = None,
    ) -> list[Path]:
        """Write a catalogue, or the cutouts or spectra of sources, as FITS; returns the paths.

        Parameters
        ----------
        path : path-like
            The file of a catalogue; the folder of cutouts or spectra, in which each source has ``<source_id>.fits`` or
            ``<source_id>_spectra.fits``.
        table : str, polars.DataFrame or polars.LazyFrame, optional
            Product, or rows of one.
        cutouts : array_like, int64, optional
            Values of ``source_id`` whose cutouts are wanted.
        spectra : array_like, int64, optional
            Values of ``source_id`` whose spectra are wanted, those of grism exposures and of slits.
        product : str, optional
            Product that says what the columns of a frame mean.
        bands : sequence of str, optional
            Bands of the cutouts; all when not given.
        size_pix : int, optional
            Side of the cutouts, see `cutouts`.

        Notes
        -----
        A cutout has, for band i, the extensions ``SCI,i`` (0 where there is no data), ``SIG,i`` (1 sigma, from the
        variance of the mosaic times its noise correlation R), ``WHT,i``, ``MSK,i`` (1 no data, 2 another source) and
        ``SEG,i``, all with the same WCS. EXPTIME, GAIN, NCOMBINE, MAGZPT and BUNIT are those that GALFIT needs:
        ``A) 12.fits[SCI,1]``, ``C) 12.fits[SIG,1]``, ``F) 12.fits[MSK,1]``.

        Raises
        ------
        InvalidInputError
            When not exactly one of ``table``, ``cutouts`` and ``spectra`` is given.
        NotFoundError
            When a source has no cutout, or no spectrum.
        StorageError
            When a file cannot be written.
        """
        if sum(given is not None for given in (table, cutouts, spectra)) != 1:
            msg = "table, cutouts, spectra: exactly one of the three must be given"
            raise InvalidInputError(msg)
        out = Path(path)
        if spectra is not None:
            return write_spectra(self, spectra, out)
        if table is None:
            return write_cutouts(self, np.asarray(cutouts), out, bands=bands, size_pix=size_pix)
        write_catalogue(self.to_astropy(table, product=product), out, name=table if isinstance(table, str) else product)
        return [out]

    def export_hats(
        self, name: str, folder: str | Path, *, margin_arcsec: float = 10.0, version: int | None = None
    ) -> Path:
        """Write a table as a HATS collection with a margin cache, for lsdb; returns the folder.

        Parameters
        ----------
        name : str
            Product with positions.
        folder : path-like
            New or empty folder. Its files are links to those of the lake where both are on one disk.
        margin_arcsec : float, optional
            At least so much of the neighbours is in the margin of each pixel [arcsec].
        version : int, optional
            Version of the table; the newest, or that of the release, when not given.

        Raises
        ------
        InvalidInputError
            When the table has no positions or the margin is not allowed.
        NoDataError
            When it has no rows.
        ConflictError
            When the folder is not empty.
        """
        self._check_positional(name)
        table = self._named(name)
        delta = self._delta(table, version)
        columns = self._columns(name, table.scan(delta).collect_schema().names())
        text = table.schema.description
        out, files = Path(folder), table.live(delta)
        with all_fetched(table.dataset, [file.path for file in files]) as dataset:
            write_hats(
                dataset, files, out, product=name, description=text, columns=columns, margin_arcsec=margin_arcsec
            )
        return out

    def import_catalogue(
        self,
        path: str | Path,
        name: str,
        *,
        key: str,
        ra: str = "ra",
        dec: str = "dec",
        units: Mapping[str, str] | None = None,
        frame: str = "icrs",
        columns: Sequence[str] | None = None,
    ) -> Outcome:
        """Take a catalogue in as a table of the lake; its columns keep their names.

        Parameters
        ----------
        path : path-like
            FITS, VOTable, ECSV or Parquet file.
        name : str
            Name of the table, of small letters, digits and ``_``. A later import of this name replaces its rows.
        key : str
            Column that identifies a row.
        ra, dec : str, optional
            Columns of the position.
        units : mapping of str to str, optional
            Units of columns, in place of those that the file says; the position must have one.
        frame : str, optional
            Frame of the position as astropy names it.
        columns : sequence of str, optional
            Columns to take besides key and position; all when not given.

        Returns
        -------
        str
            ``published``, or ``already`` when the table holds this very file.

        Notes
        -----
        The table gets ``ra, dec`` (ICRS, degrees) and ``_healpix_29`` beside its own columns, so `cone`, `box`,
        `crossmatch` and `sql` take it as they take any product. A position whose column is called so already, in small
        or large letters, is replaced by them, since tables do not tell ``RA`` from ``ra``.

        Raises
        ------
        InvalidInputError
            When a column is missing or cannot be kept, a unit is missing, or a position is.
        FormatError
            When the file cannot be read.
        SchemaError
            When a key is missing or stands twice.
        """
        self._check_writable()
        source = Path(path)
        declared = {"key": key, "ra": ra, "dec": dec, "units": dict(units or {}), "frame": frame}
        catalogue = read_catalogue(
            source, key=key, ra=ra, dec=dec, units=dict(units or {}), frame=frame, columns=columns
        )
        params = {**declared, "columns": None if columns is None else list(columns)}
        inputs = [{"uri": source.name, "sha256": digest(source)}]
        return publish_catalogue(self._layout, name, catalogue, inputs=inputs, params=params)

    def _rows(self, table: str | pl.DataFrame | pl.LazyFrame, product: str) -> tuple[pl.DataFrame, list[Column]]:
        name = table if isinstance(table, str) else product
        frame = self.table(table).collect() if isinstance(table, str) else table.lazy().collect()
        return frame, self._columns(name, frame.columns)
