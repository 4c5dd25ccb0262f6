"""Stamps of many sources at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake.arrays import ArrayGroup
from skymere.lake.ragged import read_plane
from skymere.lake.schemas import load_schema
from skymere.wcs import Grid

if TYPE_CHECKING:
    from skymere.lake.asking import LakeQueries

__all__ = ["LARGE", "LARGEST_PIX", "PLANES", "SIZE_CLASSES", "Cutouts", "read_cutouts"]

SIZE_CLASSES = (64, 128, 256, 512)
# Size class of stamps larger than those, each of its own size, and the group of their arrays.
LARGE = 0
_LARGE_GROUP = "large"
LARGEST_PIX = 8 * SIZE_CLASSES[-1]
PLANES = ("sci", "wht", "seg")
_OUTSIDE: Mapping[str, float] = {"sci": np.nan, "wht": 0.0, "seg": 0}
_DTYPE: Mapping[str, type[np.generic]] = {"sci": np.float32, "wht": np.float32, "seg": np.int32}


@dataclass(frozen=True, kw_only=True, eq=False)
class Cutouts:
    """Stamps of sources, in the order in which they were asked for.

    Parameters
    ----------
    source_id : ndarray, int64, shape (n,)
        The sources.
    data : mapping of (band, plane) to ndarray, shape (n, size, size), or list of ndarray, shape (size, size)
        Pixels: ``sci`` float32 [units], ``wht`` float32, ``seg`` int32. An array when all stamps have one size.
        A band that a source does not have is NaN in ``sci`` and 0 in ``wht``.
    units : mapping of (band, plane) to str
        FITS unit.
    cards : tuple of mapping
        FITS WCS cards of each band that each source has.
    origin : mapping of band to ndarray, int64, shape (n, 2)
        First pixel ``(y0, x0)`` of each stamp on the grid of the band.
    size : ndarray, int64, shape (n,)
        Side of each stamp [pix].
    """

    source_id: NDArray[np.int64]
    data: Mapping[tuple[str, str], Any]
    units: Mapping[tuple[str, str], str]
    cards: tuple[Mapping[str, Mapping[str, Any]], ...]
    origin: Mapping[str, NDArray[np.int64]]
    size: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.source_id)

    def __getitem__(self, key: tuple[str, str]) -> Any:
        """Return the pixels of ``band, plane``."""
        if key not in self.data:
            msg = f"key: {key!r} was not read, it must be one of {list(self.data)}"
            raise NotFoundError(msg)
        return self.data[key]

    def grid(self, i: int, band: str) -> Grid:
        """Return WCS and shape of stamp ``i`` in a band: the grid of the band's mosaic from ``origin`` on."""
        if band not in self.cards[i]:
            msg = f"band: source {self.source_id[i]} has no WCS in {band!r}, only in {list(self.cards[i])}"
            raise NotFoundError(msg)
        side = int(self.size[i])
        y0, x0 = (int(v) for v in self.origin[band][i])
        return Grid.from_cards(self.cards[i][band], (side, side)).cutout(y0, x0, (side, side))

    def wcs(self, i: int, band: str) -> Any:
        """Return the `astropy.wcs.WCS` of stamp ``i`` in a band."""
        return self.grid(i, band).wcs


def read_cutouts(
    lake: "LakeQueries", ids: ArrayLike, *, bands: Sequence[str], planes: Sequence[str], size_pix: int | None
) -> Cutouts:
    """Read stamps; see `Lake.cutouts`."""
    given = np.asarray(ids)
    wanted = as_array(given if given.size else given.astype(np.int64), "ids", np.int64, shape=(None,)).astype(np.int64)
    _check_names(bands, planes, size_pix)
    rows = _locate(lake, wanted)
    is_large = pl.col("size_class") == LARGE
    stored = rows.select(pl.when(is_large).then("wanted_pix").otherwise("size_class")).to_series()
    sizes = stored.to_numpy().astype(np.int64)
    sides = sizes if size_pix is None else np.full(len(wanted), size_pix, np.int64)
    batch = _Batch(bands, planes, sides, shift=(sizes - sides) // 2)
    for (tile, run, size), group in rows.group_by("tile", "run_id", "size_class", maintain_order=True):
        arrays = lake.arrays("cutout", str(tile), str(run))
        name = _LARGE_GROUP if size == LARGE else f"px{size}"
        batch.read(arrays, name, group["position"].to_numpy(), group["cutout_row"].to_numpy())
    return batch.finish(wanted)


class _Batch:
    """Stamps that are being read, tile by tile."""

    def __init__(
        self, bands: Sequence[str], planes: Sequence[str], sides: NDArray[np.int64], *, shift: NDArray[np.int64]
    ) -> None:
        n = len(sides)
        self.bands, self.planes, self.sides, self.shift = bands, planes, sides, shift
        self.one_size = len(set(sides.tolist())) <= 1
        self.data: dict[tuple[str, str], Any] = {}
        self.units: dict[tuple[str, str], str] = {}
        self.cards: tuple[dict[str, Any], ...] = tuple({} for _ in range(n))
        self.origin = {band: np.zeros((n, 2), np.int64) for band in bands}
        self.seen: set[str] = set()

    def read(self, arrays: ArrayGroup, size_class: str, at: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Read the stamps of one tile and size class; ``at`` are their places in the batch."""
        for band in self.bands:
            here = f"{size_class}/{band}"
            if f"{here}/sci" not in arrays:
                continue
            self.seen.add(band)
            self.origin[band][at] = arrays[f"{here}/origin"].rows(rows) + self.shift[at, np.newaxis]
            cards = arrays.attributes(here).get("wcs")
            for i in at.tolist() if cards is not None else ():
                self.cards[i][band] = cards
            for plane in self.planes:
                path = f"{size_class}/seg" if plane == "seg" else f"{here}/{plane}"
                self.units[band, plane] = arrays[path].unit
                self._keep((band, plane), at, _stamps(arrays, path, rows))

    def finish(self, ids: NDArray[np.int64]) -> Cutouts:
        missing = [band for band in self.bands if band not in self.seen]
        if missing and len(ids):
            msg = f"bands: no cutout of these sources has a band of {missing}"
            raise NotFoundError(msg)
        names = [(band, plane) for band in self.bands for plane in self.planes]
        return Cutouts(
            source_id=ids,
            data={name: self.data[name] if name in self.data else self._blank(name[1]) for name in names},
            units=self.units,
            cards=self.cards,
            origin=self.origin,
            size=self.sides,
        )

    def _keep(self, name: tuple[str, str], at: NDArray[np.int64], stamps: Sequence[NDArray[Any]]) -> None:
        """Put stamps in their places; an array with all of them is theirs as it is."""
        is_whole = self.one_size and not self.shift.any() and np.array_equal(at, np.arange(len(self.sides)))
        if is_whole and isinstance(stamps, np.ndarray):
            self.data[name] = stamps
            return
        if name not in self.data:
            self.data[name] = self._blank(name[1])
        self._place(self.data[name], at, stamps)

    def _blank(self, plane: str) -> Any:
        fill, dtype = _OUTSIDE[plane], _DTYPE[plane]
        if self.one_size:
            side = int(self.sides[0]) if len(self.sides) else 0
            return np.full((len(self.sides), side, side), fill, dtype)
        return [np.full((side, side), fill, dtype) for side in self.sides.tolist()]

    def _place(self, out: Any, at: NDArray[np.int64], stamps: Sequence[NDArray[Any]]) -> None:
        """Copy stamps to their places, cut (positive shift) or inside a border (negative shift)."""
        for i, stamp in zip(at.tolist(), stamps, strict=True):
            side, have, shift = out[i].shape[0], stamp.shape[0], int(self.shift[i])
            a, b = max(shift, 0), max(-shift, 0)
            n = min(have - a, side - b)
            out[i][b : b + n, b : b + n] = stamp[a : a + n, a : a + n]


def _stamps(arrays: ArrayGroup, path: str, rows: NDArray[np.int64]) -> Sequence[NDArray[Any]]:
    """Return stamps of one size class: one array, or a sequence of those that are each of their own size."""
    if not path.startswith(_LARGE_GROUP):
        return cast("Sequence[NDArray[Any]]", arrays[path].rows(rows))
    return read_plane(arrays, load_schema("cutout").array(path), rows)


def _locate(lake: "LakeQueries", ids: NDArray[np.int64]) -> pl.DataFrame:
    """Return tile, run and row of each source, in order."""
    wanted = pl.DataFrame({"source_id": ids, "position": np.arange(len(ids))})
    found = lake.table("cutout").filter(pl.col("source_id").is_in(wanted["source_id"].unique().implode())).collect()
    rows = wanted.join(found, on="source_id", how="left", maintain_order="left")
    lost = rows.filter(pl.col("tile").is_null())["source_id"]
    if lost.len():
        msg = f"ids: {lost.len()} of {len(ids)} sources have no cutout, the first is {lost[0]}"
        raise NotFoundError(msg)
    return rows


def _check_names(bands: Sequence[str], planes: Sequence[str], size_pix: int | None) -> None:
    if isinstance(bands, str) or not bands:
        msg = f"bands: {bands!r} is not allowed, it must be a list of one or more bands"
        raise InvalidInputError(msg)
    wrong = [plane for plane in planes if plane not in PLANES]
    if isinstance(planes, str) or not planes or wrong:
        msg = f"planes: {planes!r} is not allowed, it must be a list of one or more of {PLANES}"
        raise InvalidInputError(msg)
    if size_pix is not None and not 1 <= size_pix <= LARGEST_PIX:
        msg = f"size_pix: {size_pix} is not allowed, it must be between 1 and {LARGEST_PIX}"
        raise InvalidInputError(msg)
