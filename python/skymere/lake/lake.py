"""The lake: one folder with every array and every table of a survey."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from skymere import __version__
from skymere._arrays import as_array
from skymere.errors import ConflictError, FormatError, InvalidInputError, NotFoundError
from skymere.lake.arrays import ArrayGroup
from skymere.lake.cells import WIDTH_PIX, HealpixTiles
from skymere.lake.compaction import Compaction, compact
from skymere.lake.content import content_hash
from skymere.lake.cutouts import Cutouts, read_cutouts
from skymere.lake.files import check_put_if_absent, put_if_absent, storage
from skymere.lake.fsck import Fault, check_lake
from skymere.lake.garbage import Garbage, collect, find_garbage
from skymere.lake.identity import Identity, identify
from skymere.lake.layout import Layout, check_name
from skymere.lake.majors import chosen, filled, stored
from skymere.lake.matching import crossmatch
from skymere.lake.migrations import migrate, migrated
from skymere.lake.ragged import Ragged, find_rows, read_ragged
from skymere.lake.run import Run
from skymere.lake.schemas import load_schema, products
from skymere.lake.sky import check_cone, cone_ranges, in_box, in_cone, in_ranges
from skymere.lake.stores import Place, at
from skymere.lake.tables import Outcome, Table, tables_on_disk
from skymere.lake.tiles import NamedTile, Tiles, TileSet, tiles_from_json

__all__ = ["Lake"]


class Lake:
    """One folder with every array and every table of a survey; made by `create` or `open`.

    Attributes
    ----------
    path : pathlib.Path or ObjectPath
        The folder, or the place in an object store.
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
        path: str | Place,
        *,
        tiles: Sequence[NamedTile] | Literal["healpix"],
        scale_arcsec: float | None = None,
        width_pix: int = WIDTH_PIX,
        storage_options: Mapping[str, str] | None = None,
    ) -> Self:
        """Make a lake in a new or empty folder.

        Parameters
        ----------
        path : str or Path
            The folder, or ``s3://bucket/prefix``.
        tiles : sequence of NamedTile or "healpix"
            Its tiles, by name, for one or a few fields; what they own must not overlap. Or one for each HEALPix cell
            of the sky: images on the tangent plane of the cell's centre, north up, with 10 arcsec of overlap.
        scale_arcsec : float, optional
            Pixel of HEALPix tiles, the finest scale of the survey [arcsec]; needed for them, and only for them.
        width_pix : int, optional
            HEALPix tiles are the largest that are at most so wide and high [pix].
        storage_options : mapping, optional
            How to reach an object store, as Polars and deltalake take it; see `open`.

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
        layout = Layout.create(at(path, storage_options), checked.to_json())
        return cls(layout, checked, pinned=None, pins={})

    @classmethod
    def open(
        cls, path: str | Place, release: str | None = None, *, storage_options: Mapping[str, str] | None = None
    ) -> Self:
        """Open a lake, as it is now or as it was at a release.

        Parameters
        ----------
        path : str or Path
            The folder, or ``s3://bucket/prefix``.
        release : str, optional
            Name of a release; the newest state when not given.
        storage_options : mapping, optional
            How to reach an object store, as Polars and deltalake take it, such as ``aws_endpoint_url`` or
            ``aws_region``. What is left open is taken from the environment.

        Raises
        ------
        NotFoundError
            When there is no such folder or release.
        FormatError
            When the folder is not a lake, or one of a newer skymere.
        StorageError
            When an object store cannot be reached, or has no put-if-absent.
        """
        layout, config = Layout.open(at(path, storage_options))
        if release is None:
            check_put_if_absent(layout.config_path)
        pins = {} if release is None else _read_release(layout, release)
        return cls(layout, tiles_from_json(config), pinned=release, pins=pins)

    def table(self, name: str, *, version: int | None = None, schema: int | None = None) -> pl.LazyFrame:
        """Return a table.

        Parameters
        ----------
        name : str
            Product, such as ``source``.
        version : int, optional
            Version of the table (see `history`); the newest, or that of the release, when not given.
        schema : int, optional
            Major version of the schema; the newest when not given. Rows of an older one are migrated while they are
            read; a version from which the rows were migrated holds what it held then.

        Returns
        -------
        polars.LazyFrame
            Its columns are those of the schema; without rows when nothing was published.

        Raises
        ------
        NotFoundError
            When there is no such product or version, or no migration.
        SchemaError
            When the table does not match its schema.
        FormatError
            When the rows are of a newer schema than this skymere knows.
        """
        table, major = chosen(self._layout, name, self._pinned_tables, schema)
        return migrated(table.scan(self._delta(table, version)), table, major)

    def migrate(self, name: str) -> Outcome:
        """Rewrite the rows of a product in the newest major version of its schema, in one commit.

        The table of the older version stays, also for releases; nobody can publish to it any more. Arrays, keys and
        the content hash stay as they are.

        Parameters
        ----------
        name : str
            Product.

        Returns
        -------
        str
            ``published``, or ``already`` when the rows are of the newest version.

        Raises
        ------
        NotFoundError
            When there is no such product or no migration.
        SchemaError
            When what the migration makes does not match the schema; the lake is unchanged.
        ConflictError
            When somebody changes the table at the same time; migrate again.
        """
        self._check_writable()
        return migrate(self._layout, name)

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
            self.table(table), load_schema(table).primary_key, right, radius_arcsec=radius_arcsec, keep=keep
        )

    def live_runs(self, product: str) -> dict[str, str]:
        """Return the run that each tile of a product shows."""
        table = stored(self._layout, product, self._pinned_tables)
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
        delta = self._delta(stored(self._layout, name, self._pinned_tables))
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
        tables = filled(tables_on_disk(self._layout))
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
        outside = re.search(r"\b(?:read|scan)_\w+\s*\(", re.sub(r"'[^']*'", "''", query), flags=re.IGNORECASE)
        if outside:
            msg = f"query: {outside.group()}...) is not allowed, only the lake's tables: {list(products())}"
            raise InvalidInputError(msg)
        try:
            frames = {product: self.table(product) for product in products()}
            asked = pl.SQLContext(frames, eager=False).execute(query)
            asked.collect_schema()
        except pl.exceptions.PolarsError as error:
            msg = f"query: {error}; the tables are {list(products())}"
            raise InvalidInputError(msg) from error
        return asked

    def gc(self, *, dry_run: bool = True, grace_days: float = 7.0) -> Garbage:
        """Look for files that nobody needs, and remove them when asked to.

        Kept is whatever the newest state or a release refers to (rows, their arrays, and the segmentation that live
        sources were measured on), what the newest state referred to at any time during the grace, and what was
        written during it. Publishers and readers may go on meanwhile.

        Parameters
        ----------
        dry_run : bool, optional
            Only look.
        grace_days : float, optional
            Must be longer than the longest run takes [d].

        Raises
        ------
        InvalidInputError
            When the grace is not positive, or the lake was opened at a release.
        StorageError
            When a file cannot be read or removed.
        """
        self._check_writable()
        pins = [self.released(name) for name in self.releases()]
        found = find_garbage(self._layout, pins, grace_days=grace_days)
        return found if dry_run else collect(self._layout, found, grace_days=grace_days)

    def fsck(self, *, hashes: bool = False) -> list[Fault]:
        """Look for damage: what the newest state and the releases refer to must be there and whole.

        Parameters
        ----------
        hashes : bool, optional
            Also read every file: arrays against the sha256 in their manifest, tables against their schema and log.

        Returns
        -------
        list of Fault
            Empty when all is well.
        """
        pins = {name: self.released(name) for name in self.releases()}
        return check_lake(self._layout, pins, hashes=hashes)

    def compact(self, name: str, *, target_mib: float = 64.0) -> Compaction:
        """Merge small Parquet files of a table, which many tiles leave behind; its rows stay the same.

        A merged file holds the rows of several tiles, of one pixel of the partition order where rows have positions.
        Publishing one of the tiles again writes the file anew without its rows. The small files stay until `gc`.

        Parameters
        ----------
        name : str
            Product.
        target_mib : float, optional
            Files below half of this are merged until they reach it [MiB].

        Raises
        ------
        InvalidInputError
            When the size is not positive, or the lake was opened at a release.
        NotFoundError
            When there is no such product.
        """
        self._check_writable()
        return compact(self._layout, name, target_mib=target_mib)

    def content_hash(self) -> str:
        """Return the sha256 of everything that the lake says, without times, hosts, attempts and runs."""
        live = {name: self.live_runs(name) for name in products()}
        return content_hash(self.table, lambda product, tile: self.arrays(product, tile, live[product][tile]), live)

    def beams(
        self,
        ids: ArrayLike | None = None,
        *,
        source_id: ArrayLike | None = None,
        order: int | None = None,
        planes: Sequence[str] | None = None,
    ) -> Ragged:
        """Return beams: dispersed light of sources, with all that their models need.

        Parameters
        ----------
        ids : array_like, int64, shape (n,), optional
            Values of ``beam_id``, in any order.
        source_id : array_like, int64, shape (n,), optional
            Sources whose beams are wanted, instead of ``ids``.
        order : int, optional
            Only this order.
        planes : sequence of str, optional
            Such as ``sci``, ``direct``, ``trace_wavelength``; all that every beam has when not given.

        Raises
        ------
        NotFoundError
            When a beam, a beam of one of the sources, or a plane is not there.
        """
        where = {"order": order}
        rows = find_rows(self, "beam", ids, key="beam_id", row="beam_row", source_id=source_id, where=where)
        return read_ragged(self, "beam", rows, row="beam_row", planes=planes)

    def slitlets(
        self,
        ids: ArrayLike | None = None,
        *,
        source_id: ArrayLike | None = None,
        grating: str | None = None,
        planes: Sequence[str] | None = None,
    ) -> Ragged:
        """Return slitlets by ``slitlet_id``, or those of sources and a grating; see `beams`."""
        where = {"grating": grating}
        rows = find_rows(self, "slitlet", ids, key="slitlet_id", row="slitlet_row", source_id=source_id, where=where)
        return read_ragged(self, "slitlet", rows, row="slitlet_row", planes=planes)

    def spectra(
        self,
        ids: ArrayLike | None = None,
        *,
        source_id: ArrayLike | None = None,
        grating: str | None = None,
        product: Literal["spectrum", "slit_spectrum"] = "spectrum",
        planes: Sequence[str] | None = None,
    ) -> Ragged:
        """Return spectra by ``spectrum_id``, or those of sources and a grating; see `beams`.

        ``product`` says whether those of grism exposures or those of slits are meant.
        """
        if product not in ("spectrum", "slit_spectrum"):
            msg = f"product: {product!r} has no spectra, it must be 'spectrum' or 'slit_spectrum'"
            raise InvalidInputError(msg)
        where = {"grating": grating}
        rows = find_rows(self, product, ids, key="spectrum_id", row="spectrum_row", source_id=source_id, where=where)
        return read_ragged(self, product, rows, row="spectrum_row", planes=planes)

    @property
    def _pinned_tables(self) -> Mapping[str, int] | None:
        return None if self.pinned is None else self._pins

    def _delta(self, table: Table, version: int | None = None) -> Any:
        if self.pinned is not None and version is None:
            if table.key not in self._pins:
                return None
            version = self._pins[table.key]
        return table.open(version)

    def _check_positional(self, name: str) -> None:
        if not load_schema(name).is_positional:
            have = [product for product in products() if load_schema(product).is_positional]
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
