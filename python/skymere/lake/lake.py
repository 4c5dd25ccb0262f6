"""The lake: one folder with every array and every table of a survey."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Self

import polars as pl
from numpy.typing import ArrayLike

from skymere import __version__
from skymere.datamodels import Sliceable
from skymere.errors import ConflictError, InvalidInputError, NotFoundError
from skymere.lake.asking import read_release
from skymere.lake.cells import WIDTH_PIX, HealpixTiles
from skymere.lake.exchange import LakeExchange
from skymere.lake.files import check_put_if_absent, put_if_absent
from skymere.lake.gates import Gate
from skymere.lake.identity import Identity, identify
from skymere.lake.layout import Layout, check_name
from skymere.lake.moments import pins_of_run
from skymere.lake.run import Run
from skymere.lake.stores import Place, at
from skymere.lake.tasks import LakeTasks
from skymere.lake.tiles import NamedTile, Tiles, TileSet, tiles_from_json
from skymere.lake.upkeep import LakeUpkeep

__all__ = ["Lake"]


class Lake(LakeExchange, LakeUpkeep, LakeTasks):
    """One folder with every array and every table of a survey; made by `create` or `open`.

    Questions (`table`, `cone`, `sql`, `history`, `provenance`) stand in ``asking.py``, `cutouts` and `beams` in
    ``pixels.py``, exports and imports in ``exchange.py``, `gc`, `fsck` and `compact` in ``upkeep.py``, `commit`,
    `tasks` and `accept` in ``tasks.py``; making, opening, publishing and releasing are here.

    Attributes
    ----------
    path : pathlib.Path or ObjectPath
        The folder, or the place in an object store.
    tiles : Tiles or HealpixTiles
        Its tiles, by name.
    pinned : str or None
        Release at which it was opened; such a lake can only be read.
    """

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
        pins = {} if release is None else read_release(layout, release)
        return cls(layout, tiles_from_json(config), pinned=release, pins=pins)

    def at_run(self, run: str) -> Self:
        """Return the lake as it was while a tile last showed a run and all that it was made of; it can only be read.

        Parameters
        ----------
        run : str
            Identifier of the run, or its first characters; the table ``run`` has those that were replaced, too.

        Raises
        ------
        NotFoundError
            When there is not exactly one such run, or `gc` has removed what it made.
        InvalidInputError
            When the lake was opened at a release.

        Notes
        -----
        Versions are those of whole tables: other tiles are shown as they were at the same time.

        Examples
        --------
        >>> lake.at_run("19c7cc00").table("source").collect()  # doctest: +SKIP
        """
        self._check_writable()
        row = self._run(run)
        pins = pins_of_run(self, self._layout, row)
        found = type(self)(self._layout, self.tiles, pinned=f"run {row['run_id']}", pins=pins)
        try:
            found.table(row["product"]).filter(pl.col("tile") == row["tile"]).collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            msg = f"run {row['run_id']!r}: its rows are gone, gc has removed what a later run replaced"
            raise NotFoundError(msg) from error
        return found

    def identify(
        self, tile: str, segmentation: Sliceable, *, labels: ArrayLike, ra: ArrayLike, dec: ArrayLike
    ) -> Identity:
        """Return identifiers for the sources of a tile, inherited where they were published before.

        Parameters
        ----------
        tile : str
            The tile.
        segmentation : array, int32, shape (ny, nx)
            New segmentation; anything that gives a window when sliced.
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
        return identify(self, tile, segmentation, labels=labels, ra=ra, dec=dec)

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
        defer: bool = False,
        gates: Sequence[Gate] = (),
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
        defer : bool, optional
            Leave the commit to `commit`, which takes the products of many runs at once: `Run.publish` then answers
            ``pending``, and `Run.pendings` is what to hand over.
        gates : sequence of Gate, optional
            Rules that hold the product, and with it all others of the same work (`Run.beside`); only with ``defer``. A
            run that the same gates have held already says so in `Run.held` and need not be made again.

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
            defer=defer,
            gates=gates,
        )

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
        schemas = {name: self.schema(name).version_text for name in self.names()}
        pin = {"tables": tables, "schemas": schemas, "created": datetime.now(UTC).isoformat(timespec="seconds")}
        try:
            put_if_absent(self._layout.release(name), json.dumps(pin, indent=1).encode())
        except ConflictError as error:
            msg = f"release: {name!r} exists already; releases never change, choose another name than {self.releases()}"
            raise ConflictError(msg) from error
        return tables
