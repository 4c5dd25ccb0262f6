"""The lake: one folder with every array and every table of a survey."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from skymere import __version__
from skymere._arrays import as_array
from skymere.errors import ConflictError, FormatError, InvalidInputError, NotFoundError
from skymere.lake.arrays import MANIFEST, ArrayGroup
from skymere.lake.astropy_tables import as_astropy
from skymere.lake.cells import WIDTH_PIX, HealpixTiles
from skymere.lake.content import content_hash
from skymere.lake.cutouts import Cutouts, read_cutouts
from skymere.lake.export_fits import write_catalogue, write_cutouts
from skymere.lake.export_hats import write_hats
from skymere.lake.export_votable import write_votable
from skymere.lake.files import digest, put_if_absent, storage
from skymere.lake.history import difference
from skymere.lake.identity import Identity, identify
from skymere.lake.imports import ExternalTable, external_schema, externals, publish_external, read_catalogue
from skymere.lake.layout import Layout, TableFile, check_name
from skymere.lake.matching import crossmatch
from skymere.lake.provenance import Provenance, trace
from skymere.lake.run import Run
from skymere.lake.schemas import Column, Schema, load_schema, products
from skymere.lake.sky import check_cone, cone_ranges, in_box, in_cone, in_ranges
from skymere.lake.sql import tables_of
from skymere.lake.tables import Outcome, Table
from skymere.lake.tiles import NamedTile, Tiles, TileSet, tiles_from_json

__all__ = ["Lake"]


class Lake:
    """One folder with every array and every table of a survey; made by `create` or `open`.

    Attributes
    ----------
    path : pathlib.Path
        The folder.
    tiles : Tiles or HealpixTiles
        Its tiles, by name.
    pinned : str or None
        Release at which it was opened; such a lake can only be read.
    """

    def __init__(self, layout: Layout, tiles: TileSet, *, pinned: str | None, pins: Mapping[str, int]) -> None:
        self.path = layout.root
        self.tiles = tiles
        self.pinned = pinned
        self._layout = layout
        self._pins = pins

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        tiles: Sequence[NamedTile] | Literal["healpix"],
        scale_arcsec: float | None = None,
        width_pix: int = WIDTH_PIX,
    ) -> Self:
        """Make a lake in a new or empty folder.

        Parameters
        ----------
        path : str or Path
            The folder.
        tiles : sequence of NamedTile or "healpix"
            Its tiles, by name, for one or a few fields; what they own must not overlap. Or one for each HEALPix cell
            of the sky: images on the tangent plane of the cell's centre, north up, with 10 arcsec of overlap.
        scale_arcsec : float, optional
            Pixel of HEALPix tiles, the finest scale of the survey [arcsec]; needed for them, and only for them.
        width_pix : int, optional
            HEALPix tiles are the largest that are at most so wide and high [pix].

        Raises
        ------
        InvalidInputError
            When the folder holds something else, or the tiles are not allowed.
        ConflictError
            When there is a lake already.
        StorageError
            When the folder cannot be written.
        """
        if (tiles == "healpix") != (scale_arcsec is not None) or (isinstance(tiles, str) and tiles != "healpix"):
            msg = (
                f"tiles: {tiles!r} with scale_arcsec {scale_arcsec} is not allowed, it must be a list of NamedTile "
                "without a scale, or 'healpix' with one"
            )
            raise InvalidInputError(msg)
        checked: TileSet
        if isinstance(tiles, str):
            checked = HealpixTiles.fitting(float(scale_arcsec or 0.0), width_pix=width_pix)
        else:
            checked = Tiles(list(tiles))
        layout = Layout.create(Path(path).absolute(), checked.to_json())
        return cls(layout, checked, pinned=None, pins={})

    @classmethod
    def open(cls, path: str | Path, release: str | None = None) -> Self:
        """Open a lake, as it is now or as it was at a release.

        Parameters
        ----------
        path : str or Path
            The folder.
        release : str, optional
            Name of a release; the newest state when not given.

        Raises
        ------
        NotFoundError
            When there is no such folder or release.
        FormatError
            When the folder is not a lake, or one of a newer skymere.
        """
        layout, config = Layout.open(Path(path).absolute())
        pins = {} if release is None else _read_release(layout, release)
        return cls(layout, tiles_from_json(config), pinned=release, pins=pins)

    def table(self, name: str, *, version: int | None = None) -> pl.LazyFrame:
        """Return a table.

        Parameters
        ----------
        name : str
            Product, such as ``source``.
        version : int, optional
            Version of the table (see `history`); the newest, or that of the release, when not given.

        Returns
        -------
        polars.LazyFrame
            Its columns are those of the schema; without rows when nothing was published.

        Raises
        ------
        NotFoundError
            When there is no such product or version.
        SchemaError
            When the table does not match its schema.
        """
        table = self._named(name)
        return table.scan(self._delta(table, version))

    def schema(self, name: str) -> Schema:
        """Return the schema of a product or an imported catalogue.

        Raises
        ------
        NotFoundError
            When there is no such table.
        """
        return self._named(name).schema

    def names(self) -> list[str]:
        """Return the names of all tables: the products, then the imported catalogues."""
        return [*products(), *externals(self._layout)]

    def cone(self, name: str, ra: float, dec: float, *, radius_arcsec: float) -> pl.LazyFrame:
        """Return the rows of a table within an angle of a position.

        Parameters
        ----------
        name : str
            Product with positions, such as ``source``.
        ra, dec : float
            Centre, ICRS [deg].
        radius_arcsec : float
            Largest separation, inclusive [arcsec].

        Raises
        ------
        InvalidInputError
            When the cone has no meaning or the table has no positions.
        """
        check_cone(ra, dec, radius_arcsec)
        self._check_positional(name)
        near = in_ranges(cone_ranges(ra, dec, radius_arcsec))
        return self.table(name).filter(near).filter(in_cone("ra", "dec", ra, dec, radius_arcsec=radius_arcsec))

    def box(self, name: str, *, ra: tuple[float, float], dec: tuple[float, float]) -> pl.LazyFrame:
        """Return the rows of a table between two meridians and two parallels, borders included.

        Parameters
        ----------
        name : str
            Product with positions, such as ``source``.
        ra : tuple of float
            Western and eastern border, ICRS [deg]; ``(359, 1)`` or ``(-1, 1)`` goes across RA 0.
        dec : tuple of float
            Southern and northern border, ICRS [deg].

        Raises
        ------
        InvalidInputError
            When the box has no meaning or the table has no positions.
        """
        within = in_box("ra", "dec", ra_range=ra, dec_range=dec)
        self._check_positional(name)
        return self.table(name).filter(within)

    def crossmatch(
        self,
        table: str,
        other: str | pl.LazyFrame | pl.DataFrame,
        *,
        radius_arcsec: float,
        keep: Literal["all", "nearest"] = "all",
    ) -> pl.LazyFrame:
        """Return the pairs of rows of two tables that are close to each other.

        Parameters
        ----------
        table : str
            Product with positions, such as ``source``.
        other : str, polars.LazyFrame or polars.DataFrame
            Product, or any table with ``ra, dec``, ICRS [deg].
        radius_arcsec : float
            Largest separation, inclusive [arcsec].
        keep : {"all", "nearest"}, optional
            Every pair, or only the nearest partner of each row of ``table``.

        Returns
        -------
        polars.LazyFrame
            Columns of ``table``, then those of ``other`` (with ``_other`` where the name is taken), then
            ``separation_arcsec``; by key of ``table``, the nearest first.

        Raises
        ------
        InvalidInputError
            When the radius has no meaning or a table has no positions.

        Examples
        --------
        >>> lake.crossmatch("source", spectra, radius_arcsec=0.3, keep="nearest").collect()  # doctest: +SKIP
        """
        check_cone(0.0, 0.0, radius_arcsec)
        for name in [table, *([other] if isinstance(other, str) else [])]:
            self._check_positional(name)
        right = self.table(other) if isinstance(other, str) else other.lazy()
        return crossmatch(
            self.table(table), self.schema(table).primary_key, right, radius_arcsec=radius_arcsec, keep=keep
        )

    def live_runs(self, product: str) -> dict[str, str]:
        """Return the run that each tile of a product shows."""
        table = self._named(product)
        return {file.tile: file.run for file in table.live(self._delta(table))}

    def live_run(self, product: str, tile: str) -> str:
        """Return the run that a tile of a product shows.

        Raises
        ------
        NotFoundError
            When nothing was published for it.
        """
        runs = self.live_runs(product)
        if tile not in runs:
            msg = f"tile: nothing of {product!r} was published for {tile!r}, only for {sorted(runs)}"
            raise NotFoundError(msg)
        return runs[tile]

    def reference(self, product: str, tile: str) -> dict[str, str]:
        """Return what a run lists among its inputs when it reads this product of a tile."""
        return {"uri": f"{product}/{tile}", "run": self.live_run(product, tile)}

    def arrays(self, product: str, tile: str, run: str | None = None) -> ArrayGroup:
        """Return the arrays of a product and a tile.

        Parameters
        ----------
        product, tile : str
            Which.
        run : str, optional
            Run that made them; the one that the tile shows when not given.

        Raises
        ------
        NotFoundError
            When there are none.
        """
        if not load_schema(product).arrays:
            have = [name for name in products() if load_schema(name).arrays]
            msg = f"product: {product!r} has no arrays, it must be one of {have}"
            raise NotFoundError(msg)
        return ArrayGroup(self._layout.arrays(product, tile, run or self.live_run(product, tile)))

    def cutouts(
        self,
        ids: ArrayLike,
        *,
        bands: Sequence[str],
        planes: Sequence[str] = ("sci",),
        size_pix: int | None = None,
    ) -> Cutouts:
        """Return stamps of sources.

        Parameters
        ----------
        ids : array_like, int64, shape (n,)
            Values of ``source_id``, in any order.
        bands : sequence of str
            Filters.
        planes : sequence of str, optional
            ``sci``, ``wht`` or ``seg``.
        size_pix : int, optional
            Side of all stamps: larger ones are cut, smaller ones get a border (NaN, weight 0, label 0). As they are
            stored when not given.

        Raises
        ------
        NotFoundError
            When a source has no cutout, or none of them has a band.
        InvalidInputError
            When bands, planes or the size are not allowed.
        """
        return read_cutouts(self, ids, bands=bands, planes=planes, size_pix=size_pix)

    def identify(
        self, tile: str, segmentation: ArrayLike, *, labels: ArrayLike, ra: ArrayLike, dec: ArrayLike
    ) -> Identity:
        """Return identifiers for the sources of a tile, inherited where they were published before.

        Parameters
        ----------
        tile : str
            The tile.
        segmentation : array_like, int32, shape (ny, nx)
            New segmentation.
        labels : array_like, int32, shape (n,)
            Labels of the sources that will be published.
        ra, dec : array_like, float64, shape (n,)
            Their positions, ICRS [deg].

        Notes
        -----
        A new source is called after the place where it was first published: `_healpix_29`, plus 1 until free.

        Raises
        ------
        InvalidInputError
            When the segmentation has another shape than the published one.
        """
        image = as_array(segmentation, "segmentation", np.int32, shape=(None, None)).astype(np.int32, copy=False)
        return identify(self, tile, image, labels=labels, ra=ra, dec=dec)

    def run(
        self,
        *,
        stage: str,
        tile: str,
        product: str,
        inputs: Sequence[Any],
        params: Mapping[str, Any],
        code_version: str | None = None,
        on_event: Callable[[str], None] | None = None,
    ) -> Run:
        """Return the context manager that publishes a product of a tile: the only way to write.

        Parameters
        ----------
        stage : str
            Stage of the pipeline.
        tile : str
            Tile; for products of an exposure or a group its id.
        product : str
            What is published.
        inputs : sequence
            What is read, JSON; see `reference`. Files as ``{"uri": ..., "sha256": ...}``.
        params : mapping
            Parameters, JSON.
        code_version : str, optional
            Version of the code; that of skymere when not given.
        on_event : callable, optional
            Called with the name of each step: ``staged``, ``sealed``, ``rows_written``, ``committed``, ``recorded``.

        Raises
        ------
        InvalidInputError
            When a name is not allowed, or the lake was opened at a release.
        NotFoundError
            When there is no such product or tile.

        Examples
        --------
        >>> work = {"stage": "detect", "tile": "field", "product": "segmentation"}
        >>> with lake.run(**work, inputs=[], params={}) as run:  # doctest: +SKIP
        ...     if not run.already:
        ...         run.write("label", labels)
        ...         run.publish(rows)
        """
        self._check_writable()
        return Run(
            self._layout,
            self.tiles,
            stage=stage,
            tile=tile,
            product=product,
            inputs=inputs,
            params=params,
            code_version=__version__ if code_version is None else code_version,
            on_event=on_event,
        )

    def history(self, name: str) -> list[dict[str, Any]]:
        """Return the versions of a table, newest first.

        Each has ``version``, ``timestamp`` [ms since 1970], ``operation``, ``run`` and ``schema``.
        """
        delta = self._delta(self._named(name))
        entries = [] if delta is None else delta.history()
        keys = ("version", "timestamp", "operation", "run", "schema")
        return [{key: entry.get(key) for key in keys} for entry in entries]

    def releases(self) -> list[str]:
        """Return the names of the releases, sorted."""
        return sorted(path.stem for path in self._layout.releases.glob("[!.]*.json"))

    def release(self, name: str) -> dict[str, int]:
        """Give the present state a name for ever; returns the version of each table.

        Raises
        ------
        ConflictError
            When the name is taken.
        InvalidInputError
            When the name is not allowed, or the lake was opened at a release.
        """
        self._check_writable()
        check_name("release", name)
        tables = self.versions()
        schemas = {product: load_schema(product).version_text for product in products()}
        pin = {"tables": tables, "schemas": schemas, "created": datetime.now(UTC).isoformat(timespec="seconds")}
        try:
            put_if_absent(self._layout.release(name), json.dumps(pin, indent=1).encode())
        except ConflictError as error:
            msg = f"release: {name!r} exists already; releases never change, choose another name than {self.releases()}"
            raise ConflictError(msg) from error
        return tables

    def versions(self) -> dict[str, int]:
        """Return the version of each table that has rows, as a release would pin them now."""
        tables = [self._named(name) for name in self.names()]
        deltas = {table.key: self._delta(table) for table in tables}
        return {key: delta.version() for key, delta in deltas.items() if delta is not None}

    def released(self, name: str) -> dict[str, int]:
        """Return the version of each table that a release pins.

        Raises
        ------
        NotFoundError
            When there is no such release.
        """
        return _read_release(self._layout, name)

    def sql(self, query: str) -> pl.LazyFrame:
        """Ask the tables of the lake in SQL.

        Parameters
        ----------
        query : str
            One SELECT of Polars' SQL; its tables are the products.

        Raises
        ------
        InvalidInputError
            When the query is not understood, or calls a table function, which could read any file.

        Examples
        --------
        >>> lake.sql("select count(*) as n from source").collect()  # doctest: +SKIP
        """
        allowed = self.names()
        frames = {name: self.table(name) for name in tables_of(query, allowed)}
        try:
            asked = pl.SQLContext(frames, eager=False).execute(query)
            asked.collect_schema()
        except pl.exceptions.PolarsError as error:
            msg = f"query: {error}; the tables are {allowed}"
            raise InvalidInputError(msg) from error
        return asked

    def diff(self, name: str, old: int, new: int) -> pl.DataFrame:
        """Return the rows that differ between two versions of a table.

        Parameters
        ----------
        name : str
            Product.
        old, new : int
            Versions, see `history`.

        Returns
        -------
        polars.DataFrame
            The key, ``change`` (``added``, ``removed`` or ``changed``), and ``columns``, the names of those that
            changed. Columns that differ between equal lakes (runs, times, hosts) do not count.

        Raises
        ------
        NotFoundError
            When there is no such product or version.
        """
        table = self._named(name)
        files = [{f.path for f in table.live(self._delta(table, version))} for version in (old, new)]
        tiles = {TableFile.parse(path).tile for path in files[0] ^ files[1]}
        some = pl.col("tile").is_in(sorted(tiles))
        frames = [self.table(name, version=version).filter(some) for version in (old, new)]
        return difference(*frames, table.schema)

    def provenance(self, name: str, key: Any) -> Provenance:
        """Return where a row comes from, as a tree down to the files of the exposures.

        Parameters
        ----------
        name : str
            Product.
        key : int, str or mapping
            Value of the first column of its key, such as a ``source_id``; or all of them, by name.

        Raises
        ------
        NotFoundError
            When there is not exactly one such row.

        Examples
        --------
        >>> print(lake.provenance("source", 1234))  # doctest: +SKIP
        """
        return trace(self, name, key)

    def array_folder(self, product: str, tile: str, run: str) -> str:
        """Return the folder of sealed arrays inside the lake; empty when there are none."""
        folder = self._layout.arrays(product, tile, run)
        return str(folder.relative_to(self.path)) if (folder / MANIFEST).is_file() else ""

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
        out = Path(path)
        text = self.schema(name).description
        write_votable(self.to_astropy(table, product=product), out, name=name, description=text)
        return out

    def export_fits(
        self,
        path: str | Path,
        *,
        table: str | pl.DataFrame | pl.LazyFrame | None = None,
        cutouts: ArrayLike | None = None,
        product: str = "source",
        bands: Sequence[str] | None = None,
        size_pix: int | None = None,
    ) -> list[Path]:
        """Write a catalogue, or the cutouts of sources, as FITS; returns the paths.

        Parameters
        ----------
        path : path-like
            The file of a catalogue; the folder of cutouts, in which each source has ``<source_id>.fits``.
        table : str, polars.DataFrame or polars.LazyFrame, optional
            Product, or rows of one.
        cutouts : array_like, int64, optional
            Values of ``source_id``; either these or a table.
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
            When both or none of ``table`` and ``cutouts`` are given.
        NotFoundError
            When a source has no cutout.
        StorageError
            When a file cannot be written.
        """
        if (table is None) == (cutouts is None):
            msg = "table, cutouts: one of the two must be given, and not both"
            raise InvalidInputError(msg)
        out = Path(path)
        if table is None:
            return write_cutouts(self, np.asarray(cutouts), out, bands=bands, size_pix=size_pix)
        write_catalogue(
            self.to_astropy(table, product=product), out, name=table if isinstance(table, str) else product
        )
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
        write_hats(
            table.dataset, files, out, product=name, description=text, columns=columns, margin_arcsec=margin_arcsec
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
        `crossmatch` and `sql` take it as they take any product.

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
        table = ExternalTable(self._layout, external_schema(self._layout, name, catalogue))
        params = {**declared, "columns": None if columns is None else list(columns)}
        inputs = [{"uri": source.name, "sha256": digest(source)}]
        return publish_external(self._layout, table, catalogue.frame, inputs=inputs, params=params)

    def content_hash(self) -> str:
        """Return the sha256 of everything that the lake says, without times, hosts, attempts and runs."""
        live = {name: self.live_runs(name) for name in products()}
        return content_hash(self.table, lambda product, tile: self.arrays(product, tile, live[product][tile]), live)

    def _delta(self, table: Table, version: int | None = None) -> Any:
        if self.pinned is not None and version is None:
            if table.key not in self._pins:
                return None
            version = self._pins[table.key]
        return table.open(version)

    def _named(self, name: str) -> Table:
        """Return the table of a product or an imported catalogue."""
        if name in products():
            return Table(self._layout, name)
        known = externals(self._layout)
        if name not in known:
            msg = f"product {name!r} has no schema, it must be one of {[*products(), *known]}"
            raise NotFoundError(msg)
        return ExternalTable(self._layout, known[name])

    def _columns(self, name: str, names: Sequence[str]) -> list[Column]:
        """Return what the columns of a table mean, in their order."""
        schema = self.schema(name)
        known = {column.name: column for column in schema.expand(schema.bands(names))}
        return [known[column] for column in names if column in known]

    def _rows(
        self, table: str | pl.DataFrame | pl.LazyFrame, product: str
    ) -> tuple[pl.DataFrame, list[Column]]:
        name = table if isinstance(table, str) else product
        frame = self.table(table).collect() if isinstance(table, str) else table.lazy().collect()
        return frame, self._columns(name, frame.columns)

    def _check_positional(self, name: str) -> None:
        if not self.schema(name).is_positional:
            have = [product for product in self.names() if self.schema(product).is_positional]
            msg = f"name: table {name!r} has no index of positions, it must be one of {have}"
            raise InvalidInputError(msg)

    def _check_writable(self) -> None:
        if self.pinned is not None:
            msg = f"the lake was opened at release {self.pinned!r} and can only be read; open it without a release"
            raise InvalidInputError(msg)


def _read_release(layout: Layout, name: str) -> dict[str, int]:
    check_name("release", name)
    path = layout.release(name)
    if not path.is_file():
        have = sorted(p.stem for p in layout.releases.glob("[!.]*.json"))
        msg = f"release: {name!r} does not exist, it must be one of {have}"
        raise NotFoundError(msg)
    try:
        with storage(path):
            pins = json.loads(path.read_bytes())["tables"]
        return {str(key): int(version) for key, version in pins.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} is not the pin of a release: {error!r}"
        raise FormatError(msg) from error
