"""What is drawn over an image, in its pixels: sources, segments, regions, exposures, beams and slits of a window."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError, NotFoundError, SkymereError
from skymere.lake import region_rows, regions_from_rows
from skymere.viewer.web.answers import plain
from skymere.viewer.web.catalogue import Catalogue
from skymere.viewer.web.levels import TILE_PIX
from skymere.viewer.web.outlines import (
    outline_of_beam,
    outline_of_footprint,
    outlines_of_region,
    outlines_of_slitlet,
)
from skymere.viewer.web.png import png_of_indices
from skymere.viewer.web.reading import LakeReader
from skymere.viewer.web.scaling import LABEL_COLOURS, colour_of_labels
from skymere.wcs import Grid

__all__ = ["DEEPEST_SEGMENTS", "OVERLAYS", "Overlays", "View"]

MOST_SOURCES = 5000
_MOST_OUTLINES = 1500
# Outlines of segments are read at full resolution: beyond this level there would be too much to read, and to see.
DEEPEST_SEGMENTS = 3


@dataclass(frozen=True, kw_only=True)
class View:
    """A window of an image.

    Parameters
    ----------
    tile : str
        Tile, or id of an image on a grid of its own.
    run : str
        Run of the mosaic.
    band : str
        A band of it.
    x0, y0, x1, y1 : float
        Window, 0-based pixels.
    """

    tile: str
    run: str
    band: str
    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        numbers = (self.x0, self.y0, self.x1, self.y1)
        if not (all(math.isfinite(one) for one in numbers) and self.x0 < self.x1 and self.y0 < self.y1):
            msg = f"x0, y0, x1, y1: {numbers} are not allowed, they must be numbers with x0 < x1 and y0 < y1"
            raise InvalidInputError(msg)


class Overlays:
    """What lies over the images of a lake.

    Parameters
    ----------
    reader : LakeReader
        The lake.
    catalogue : Catalogue
        Its tables.
    """

    def __init__(self, reader: LakeReader, catalogue: Catalogue) -> None:
        self._reader = reader
        self._catalogue = catalogue

    def grid(self, view: View) -> Grid:
        """Return the pixels of the image."""
        return self._reader.image(view.tile, view.run, view.band).grid

    def sources(self, view: View, where: str = "") -> dict[str, Any]:
        """Return the sources in a window that a condition chooses, at most 5000 of them.

        Parameters
        ----------
        view : View
            The window.
        where : str, optional
            Condition on the columns of ``source``.

        Returns
        -------
        dict
            ``source_id``; ``x, y`` [pix]; ``a, b, theta`` [pix, pix, deg]: the Kron ellipse on the grid of the tile,
            null on another; ``n``: how many there are, the brightest of which are given.
        """
        grid = self.grid(view)
        dtypes = self._reader.lake.table("source").collect_schema()
        flux = next((name for name in dtypes if name.startswith("flux_auto_") and "_err" not in name), None)
        names = ["source_id", "tile", "ra", "dec", "a", "b", "theta", "kron_radius", *([flux] if flux else [])]
        found = self._near("source", grid, view, where).select(names).collect()
        x, y = grid.pixels(found["ra"].to_numpy(), found["dec"].to_numpy())
        inside = (x >= view.x0) & (x <= view.x1) & (y >= view.y0) & (y <= view.y1)
        found = found.with_columns(x=pl.Series(x), y=pl.Series(y)).filter(pl.Series(inside))
        n = found.height
        if n > MOST_SOURCES:
            found = found.sort(flux or "source_id", descending=flux is not None, nulls_last=True).head(MOST_SOURCES)
        kron = pl.when(pl.col("tile") == view.tile).then(pl.col("kron_radius"))
        ellipses = found.select(a=pl.col("a") * kron, b=pl.col("b") * kron, theta="theta").to_dict(as_series=False)
        return {
            "n": n,
            "source_id": [str(one) for one in found["source_id"]],
            "x": plain(found["x"]),
            "y": plain(found["y"]),
            **plain(ellipses),
        }

    def regions(self, view: View) -> dict[str, Any]:
        """Return what people drew that reaches into a window, with who drew it and why; not what was taken back."""
        rows = region_rows(self._reader.lake).filter(~pl.col("is_retracted"))
        shapes = list(zip(rows.iter_rows(named=True), regions_from_rows(rows), strict=True))
        return self._outlines(
            view,
            (
                ({"kind": row["role"], "id": row["edit_id"], "text": _label(row)}, outlines_of_region(region))
                for row, region in shapes
            ),
        )

    def exposures(self, view: View) -> dict[str, Any]:
        """Return the outlines of the exposures that were combined to the image."""
        lake = self._reader.lake
        mosaics = lake.table("mosaic").filter(pl.col("tile") == view.tile, pl.col("band") == view.band).collect()
        names = {name for text in mosaics["exposure_ids"] for name in json.loads(text or "[]")}
        rows = lake.table("exposure").filter(pl.col("exposure_id").is_in(sorted(names))).collect()
        return self._outlines(
            view,
            (
                (
                    {"kind": row["band"], "id": row["exposure_id"], "text": row["exposure_id"]},
                    _some(outline_of_footprint(row["footprint"])),
                )
                for row in rows.sort("exposure_id").iter_rows(named=True)
            ),
        )

    def beams(self, view: View) -> dict[str, Any]:
        """Return where the light of the beams of the sources in a window falls."""
        wanted = ("source_id", "exposure_id", "grating", "order", "ra", "dec", "direct_wcs")
        pixels = ("x0", "y0", "nx", "ny", "x_source", "y_source")
        rows = self._near("beam", self.grid(view), view, "").select(*wanted, *pixels).head(_MOST_OUTLINES).collect()
        return self._outlines(
            view,
            (
                (
                    {
                        "kind": row["grating"],
                        "id": str(row["source_id"]),
                        "text": f"{row['grating']} {row['exposure_id']} order {row['order']}",
                    },
                    _some(outline_of_beam(row)),
                )
                for row in rows.iter_rows(named=True)
            ),
        )

    def slits(self, view: View) -> dict[str, Any]:
        """Return the shutters of the slitlets in a window."""
        columns = (
            "source_id",
            "source_name",
            "grating",
            "ra",
            "dec",
            "pa",
            "shutter_state",
            "x_position",
            "y_position",
        )
        rows = self._reader.lake.table("slitlet").filter(~pl.col("is_background")).select(columns).unique().collect()
        return self._outlines(
            view,
            (
                (
                    {"kind": row["grating"], "id": str(row["source_id"]), "text": row["source_name"]},
                    outlines_of_slitlet(row),
                )
                for row in rows.sort("source_id").iter_rows(named=True)
            ),
        )

    def at(self, view: View, x: float, y: float) -> dict[str, Any]:
        """Return what is at a pixel: its position, its values in all bands, its segment and the source of that."""
        reader = self._reader
        grid = self.grid(view)
        ra, dec = (float(one[0]) for one in grid.sky(np.array([x]), np.array([y])))
        i, j = math.floor(y + 0.5), math.floor(x + 0.5)
        if not (0 <= i < grid.shape[0] and 0 <= j < grid.shape[1]):
            return {"ra": plain(ra), "dec": plain(dec)}
        arrays = reader.group("mosaic", view.tile, view.run)
        paths = [path for path in arrays if path.endswith("/sci") and arrays[path].shape == grid.shape]
        values = {path.rpartition("/")[0]: float(arrays[path][i, j]) for path in paths}
        label, source = self._segment(view, grid, i, j)
        found: dict[str, Any] = plain({"ra": ra, "dec": dec, "values": values, "label": label, "source_id": source})
        return found

    def find(self, text: str) -> dict[str, Any]:
        """Return where a source or a position is: the tile that shows it, and its pixel there.

        Parameters
        ----------
        text : str
            A ``source_id``, or ``RA DEC`` in degrees or sexagesimal (hours, degrees).

        Raises
        ------
        InvalidInputError
            When it is neither.
        NotFoundError
            When there is no such source, or no image shows the place.
        """
        words = text.replace(",", " ").split()
        source = ""
        if len(words) == 1:
            ra, dec = self._place_of(words[0])
            source = words[0]
        else:
            ra, dec = _position(text, words)
        found = []
        for image in self._reader.images():
            grid = self._reader.image(image["tile"], image["run"], image["bands"][0]["band"]).grid
            x, y = (float(one[0]) for one in grid.pixels(np.array([ra]), np.array([dec])))
            if -0.5 <= x < grid.shape[1] - 0.5 and -0.5 <= y < grid.shape[0] - 0.5:
                tile = image["tile"]
                tiles = self._reader.lake.tiles
                is_owner = tile in tiles and bool(tiles[tile].owns(np.array([ra]), np.array([dec]))[0])
                found.append((not is_owner, tile, x, y))
        if not found:
            msg = f"find: no image of the lake shows ra {ra}, dec {dec}"
            raise NotFoundError(msg)
        _, tile, x, y = min(found)
        return {"tile": tile, "x": x, "y": y, "ra": ra, "dec": dec, "source_id": source}

    def _place_of(self, word: str) -> tuple[float, float]:
        try:
            source = int(word)
        except ValueError as error:
            msg = f"find: {word!r} is not allowed, it must be a source_id, or RA DEC"
            raise InvalidInputError(msg) from error
        for product in ("source", "slit_spectrum", "slitlet"):
            rows = self._reader.lake.table(product).filter(pl.col("source_id") == source).select("ra", "dec").collect()
            rows = rows.drop_nulls()
            if rows.height:
                return float(rows["ra"][0]), float(rows["dec"][0])
        msg = f"find: no table of the lake has a place of source {source}"
        raise NotFoundError(msg)

    def segments(self, tile: str, run: str, level: int, x: int, y: int) -> bytes:
        """Return a PNG of the outlines of segments on a tile of a level, at most level 3.

        Raises
        ------
        InvalidInputError
            When there is no such level or tile.
        """
        labels = self._reader.group("segmentation", tile, run)["label"]
        step = 1 << max(level, 0)
        ny, nx = (-(-n // step) for n in labels.shape)
        y0, x0 = y * TILE_PIX, x * TILE_PIX
        if not (0 <= level <= DEEPEST_SEGMENTS and 0 <= y0 < ny and 0 <= x0 < nx):
            msg = f"tile: {x}, {y} of level {level} is not there; levels go to {DEEPEST_SEGMENTS}"
            raise InvalidInputError(msg)
        high, wide = min(TILE_PIX, ny - y0), min(TILE_PIX, nx - x0)
        # One pixel more on each side, so that outlines go on across tiles.
        box = [max(0, (y0 - 1) * step), (y0 + high + 1) * step, max(0, (x0 - 1) * step), (x0 + wide + 1) * step]
        seen = labels[box[0] : box[1], box[2] : box[3]][::step, ::step]
        edge = np.zeros(seen.shape, bool)
        for axis in (0, 1):
            differs = np.diff(seen, axis=axis) != 0
            ahead, behind = (slice(None),) * axis + (slice(1, None),), (slice(None),) * axis + (slice(None, -1),)
            edge[ahead] |= differs
            edge[behind] |= differs
        colour = colour_of_labels(np.where(edge, seen, 0))
        first = (int(y0 > 0), int(x0 > 0))
        colour = colour[first[0] : first[0] + high, first[1] : first[1] + wide]
        return png_of_indices(colour[::-1], LABEL_COLOURS, opacity=np.array([0], np.uint8))

    def segmentation(self, tile: str, shape: tuple[int, int]) -> str:
        """Return the run of the segmentation of a tile, empty when there is none on the pixels of its image."""
        run = self._reader.runs("segmentation").get(tile, "")
        if not run or self._reader.group("segmentation", tile, run)["label"].shape != shape:
            return ""
        return run

    def _segment(self, view: View, grid: Grid, i: int, j: int) -> tuple[int | None, str | None]:
        run = self.segmentation(view.tile, grid.shape)
        if not run:
            return None, None
        label = int(self._reader.group("segmentation", view.tile, run)["label"][i, j])
        if not label:
            return 0, None
        mine = pl.col("tile") == view.tile, pl.col("label") == label, pl.col("segmentation_run") == run
        rows = self._reader.lake.table("source").filter(*mine).select("source_id").collect()
        return label, str(rows["source_id"][0]) if rows.height else None

    def _near(self, table: str, grid: Grid, view: View, where: str) -> pl.LazyFrame:
        """Return the rows around a window that a condition chooses."""
        lake = self._reader.lake
        x = np.clip(np.array([view.x0, view.x1, view.x1, view.x0]), -0.5, grid.shape[1] - 0.5)
        y = np.clip(np.array([view.y0, view.y0, view.y1, view.y1]), -0.5, grid.shape[0] - 0.5)
        middle = grid.sky(x.mean(keepdims=True), y.mean(keepdims=True))
        ra, dec = float(middle[0][0]), float(middle[1][0])
        corners = grid.sky(x, y)
        radius = 1.01 * max(_distance(ra, dec, *place) for place in zip(*corners, strict=True)) + 1e-3
        near = lake.cone(table, ra, dec, radius_arcsec=min(radius, 180.0 * 3600.0))
        condition = self._catalogue.condition(table, where)
        return near if condition is None else near.filter(condition.expr)

    def _outlines(
        self, view: View, items: Iterable[tuple[Mapping[str, str], Iterable[NDArray[np.float64]]]]
    ) -> dict[str, Any]:
        """Return the outlines that reach into a window, in pixels."""
        grid = self.grid(view)
        found: list[dict[str, Any]] = []
        n = 0
        for words, outlines in items:
            try:
                places = list(outlines)
            except SkymereError:
                # What cannot be drawn is no reason to draw nothing.
                continue
            for outline in places:
                x, y = grid.pixels(outline[:, 0], outline[:, 1])
                if not (np.isfinite(x).all() and np.isfinite(y).all()):
                    continue
                if x.max() < view.x0 or x.min() > view.x1 or y.max() < view.y0 or y.min() > view.y1:
                    continue
                n += 1
                if n <= _MOST_OUTLINES:
                    found.append({**words, "x": plain(np.round(x, 2)), "y": plain(np.round(y, 2))})
        return {"n": n, "outlines": found}


OVERLAYS: Mapping[str, Callable[[Overlays, View], dict[str, Any]]] = {
    "regions": Overlays.regions,
    "exposures": Overlays.exposures,
    "beams": Overlays.beams,
    "slits": Overlays.slits,
}


def _label(row: Mapping[str, Any]) -> str:
    words = [row["role"], row["text"], f"{row['author']}: {row['reason']}"]
    return " - ".join(word for word in words if word)


def _some(outline: NDArray[np.float64] | None) -> list[NDArray[np.float64]]:
    return [] if outline is None else [outline]


def _position(text: str, words: list[str]) -> tuple[float, float]:
    """Return a position [deg]."""
    from astropy.coordinates import SkyCoord

    try:
        if len(words) == 2 and ":" not in text:
            ra, dec = (float(word) for word in words)
        else:
            place = SkyCoord(text, unit=("hourangle", "deg"), frame="icrs")
            ra, dec = float(place.ra.deg), float(place.dec.deg)
    except ValueError as error:
        msg = f"find: {text!r} is not allowed, it must be a source_id, or RA DEC in degrees or as 10:00:28.6 +2:12:21"
        raise InvalidInputError(msg) from error
    if not (math.isfinite(ra) and -90 <= dec <= 90):
        msg = f"find: {text!r} is not on the sky"
        raise InvalidInputError(msg)
    return ra, dec


def _distance(ra: float, dec: float, other_ra: float, other_dec: float) -> float:
    """Return the angle between two positions [arcsec]."""
    a, b = math.radians(dec), math.radians(other_dec)
    half = math.radians(other_ra - ra) / 2.0
    square = math.sin((b - a) / 2.0) ** 2 + math.cos(a) * math.cos(b) * math.sin(half) ** 2
    return 3600.0 * math.degrees(2.0 * math.asin(min(1.0, math.sqrt(square))))
