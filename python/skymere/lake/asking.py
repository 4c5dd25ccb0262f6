"""What a lake answers: tables, places in the sky, SQL, versions, releases, and where a row comes from."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import polars as pl

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.lake.arrays import ArrayGroup, is_sealed
from skymere.lake.content import content_hash
from skymere.lake.externals import external_table, externals
from skymere.lake.files import storage
from skymere.lake.history import difference, difference_of_runs
from skymere.lake.layout import Layout, check_name
from skymere.lake.majors import chosen, filled, stored
from skymere.lake.matching import crossmatch
from skymere.lake.migrations import migrated
from skymere.lake.provenance import Provenance, trace
from skymere.lake.schemas import Column, Schema, load_schema, products
from skymere.lake.sky import check_cone, cone_ranges, in_box, in_cone, in_ranges
from skymere.lake.sql import tables_of
from skymere.lake.tables import Table, tables_on_disk
from skymere.lake.tiles import TileSet

__all__ = ["LakeQueries", "read_release"]


class LakeQueries:
    """The questions that `Lake` answers; nothing here writes.

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

    def names(self) -> list[str]:
        """Return the names of all tables: the products, then the imported catalogues."""
        return [*products(), *externals(self._layout)]

    def schema(self, name: str) -> Schema:
        """Return the schema of a product or an imported catalogue.

        Raises
        ------
        NotFoundError
            When there is no such table.
        """
        return load_schema(name) if name in products() else self._named(name).schema

    def table(self, name: str, version: int | None = None, schema: int | None = None) -> pl.LazyFrame:
        """Return a table.

        Parameters
        ----------
        name : str
            Product, such as ``source``.
        version : int, optional
            Version of the table (see `history`); the newest, or that of the release, when not given.
        schema : int, optional
            Major version of the schema of a product; the newest when not given. Rows of an older one are migrated
            while they are read; a version from which the rows were migrated holds what it held then.

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
        if name not in products():
            table = self._named(name)
            return table.scan(self._delta(table, version))
        table, major = chosen(self._layout, name, self._pinned_tables, schema)
        return migrated(table.scan(self._delta(table, version)), table, major)

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

    def versions(self) -> dict[str, int]:
        """Return the version of each table that has rows, as a release would pin them now."""
        tables = [table for product in products() for table in filled(tables_on_disk(self._layout, product))]
        tables += [self._named(name) for name in externals(self._layout)]
        deltas = {table.key: self._delta(table) for table in tables}
        return {key: delta.version() for key, delta in deltas.items() if delta is not None}

    def history(self, name: str) -> list[dict[str, Any]]:
        """Return the versions of a table, newest first.

        Each has ``version``, ``timestamp`` [ms since 1970], ``operation``, ``run`` (several, with a space between them,
        when they were committed together) and ``schema``.
        """
        delta = self._delta(self._named(name))
        entries = [] if delta is None else delta.history()
        keys = ("version", "timestamp", "operation", "run", "schema")
        return [{key: entry.get(key) for key in keys} for entry in entries]

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
        # An attempt never changes its rows, whichever file they were merged into.
        parts = [{(p.tile, p.run, p.attempt) for p in table.live(self._delta(table, v))} for v in (old, new)]
        tiles = {tile for tile, _, _ in parts[0] ^ parts[1]}
        some = pl.col("tile").is_in(sorted(tiles))
        before, after = (self.table(name, version=version).filter(some) for version in (old, new))
        return difference(before, after, table.schema)

    def diff_runs(self, old: str, new: str) -> pl.DataFrame:
        """Return what two runs do not have in common: parameters, inputs, code.

        Parameters
        ----------
        old, new : str
            Identifiers of runs, or their first characters; the table ``run`` has those that were replaced, too.

        Returns
        -------
        polars.DataFrame
            ``what`` (``parameter``, ``input`` or ``run``, such as its code), ``name``, ``old`` and ``new``, null
            where a run has none. Names of parameters have their section in front, inputs the run or digest read.

        Raises
        ------
        NotFoundError
            When there is not exactly one such run.

        Examples
        --------
        >>> lake.diff_runs("19c7cc00", "0d8a2a2c")  # doctest: +SKIP
        """
        return difference_of_runs(self._run(old), self._run(new))

    def _run(self, name: str) -> Mapping[str, Any]:
        rows = self.table("run").filter(pl.col("run_id").str.starts_with(name)).collect()
        if not name or rows["run_id"].n_unique() != 1:
            found = ", ".join(sorted(set(rows["run_id"]))[:5]) if name and rows.height else "none"
            msg = f"run {name!r}: there must be one run whose identifier begins so, there is: {found}"
            raise NotFoundError(msg)
        return rows.row(0, named=True)

    def releases(self) -> list[str]:
        """Return the names of the releases, sorted."""
        return sorted(path.stem for path in self._layout.releases.glob("[!.]*.json"))

    def released(self, name: str) -> dict[str, int]:
        """Return the version of each table that a release pins.

        Raises
        ------
        NotFoundError
            When there is no such release.
        """
        return read_release(self._layout, name)

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
        if not self.schema(product).arrays:
            have = [name for name in products() if load_schema(name).arrays]
            msg = f"product: {product!r} has no arrays, it must be one of {have}"
            raise NotFoundError(msg)
        return ArrayGroup(self._layout.arrays(product, tile, run or self.live_run(product, tile)))

    def array_folder(self, product: str, tile: str, run: str) -> str:
        """Return the folder of sealed arrays inside the lake; empty when there are none."""
        folder = self._layout.arrays(product, tile, run)
        return f"arrays/{product}/{tile}/{folder.name}" if is_sealed(folder) else ""

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

    def content_hash(self, name: str | None = None) -> str:
        """Return the sha256 of everything that the lake says, without times, hosts, attempts and runs.

        Parameters
        ----------
        name : str, optional
            Of this product alone.

        Raises
        ------
        NotFoundError
            When there is no such table.

        Notes
        -----
        Over decoded arrays in a fixed order and rows sorted by their keys, without the columns that a schema names in
        ``skymere:not_content`` and without tasks that failed or were held.
        """
        live = {one: self.live_runs(one) for one in (self.names() if name is None else [name])}
        arrays = lambda product, tile: self.arrays(product, tile, live[product][tile])  # noqa: E731
        return content_hash(self.table, self.schema, arrays, live)

    def _delta(self, table: Table, version: int | None = None) -> Any:
        if self.pinned is not None and version is None:
            if table.key not in self._pins:
                return None
            version = self._pins[table.key]
        return table.open(version)

    def _named(self, name: str) -> Table:
        """Return the table that holds the rows of a product or an imported catalogue."""
        if name in products():
            return stored(self._layout, name, self._pinned_tables)
        return external_table(self._layout, name, pins=self._pinned_tables)

    @property
    def _pinned_tables(self) -> Mapping[str, int] | None:
        return None if self.pinned is None else self._pins

    def _columns(self, name: str, names: Sequence[str]) -> list[Column]:
        """Return what the columns of a table mean, in their order."""
        schema = self.schema(name)
        known = {column.name: column for column in schema.expand(schema.bands(names))}
        return [known[column] for column in names if column in known]

    def _check_positional(self, name: str) -> None:
        if not self.schema(name).is_positional:
            have = [product for product in self.names() if self.schema(product).is_positional]
            msg = f"name: table {name!r} has no index of positions, it must be one of {have}"
            raise InvalidInputError(msg)

    def _check_writable(self) -> None:
        if self.pinned is not None:
            msg = f"the lake was opened at release {self.pinned!r} and can only be read; open it without a release"
            raise InvalidInputError(msg)


def read_release(layout: Layout, name: str) -> dict[str, int]:
    """Return the version of each table that a release pins."""
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
