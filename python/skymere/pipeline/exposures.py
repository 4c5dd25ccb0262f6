"""Exposures out of the lake: with the coordinates that hold, and with their sky and flags where they are known.

All stages read exposures here, so that all of them see the same coordinates: those that people gave, else those that
the stage ``align`` found, else those of the header.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Exposure
from skymere.lake import ArrayGroup, Lake
from skymere.pipeline.owners import owner_of
from skymere.wcs import pixels_to_sky, wcs_from_cards

__all__ = [
    "FlaggedExposures",
    "StoredExposures",
    "exposure_inputs",
    "exposure_of",
    "exposure_rows",
    "flagged_exposures",
    "group_name",
    "load_exposure",
    "load_flagged",
    "outline_of",
    "place_of",
    "usable_exposures",
]

_PLACE = ("wcs", "wcs_sha256", "ra", "dec", "footprint")


def group_name(tile: str, band: str) -> str:
    """Return the name under which products of the exposures of a band that touch a tile are published."""
    return f"{tile}.{band}"


def place_of(wcs: Any, shape: tuple[int, int]) -> dict[str, Any]:
    """Return ``ra, dec`` [deg] of the middle of an image, and its ``footprint``.

    Parameters
    ----------
    wcs : astropy.wcs.WCS or APE-14 object
        Its coordinates.
    shape : tuple of int
        ``(ny, nx)``.
    """
    ny, nx = shape
    # The outer corners, and the middle.
    x, y = np.array([0.0, 1.0, 1.0, 0.0, 0.5]) * nx - 0.5, np.array([0.0, 0.0, 1.0, 1.0, 0.5]) * ny - 0.5
    ra, dec = pixels_to_sky(wcs, x, y)
    outline = " ".join(f"{value:.8f}" for value in np.column_stack([ra, dec])[:4].ravel())
    return {"ra": float(ra[4]), "dec": float(dec[4]), "footprint": f"POLYGON ICRS {outline}"}


def outline_of(footprint: str) -> NDArray[np.float64]:
    """Return the corners ``(n, 2)`` ``ra, dec`` [deg] of a footprint."""
    return np.array(footprint.split()[2:], np.float64).reshape(-1, 2)


def exposure_rows(
    lake: Lake, names: Iterable[str] | None = None, *, methods: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return the rows of exposures, ordered by name, with the coordinates that hold.

    Parameters
    ----------
    lake : Lake
        The lake.
    names : iterable of str, optional
        Exposures; all when not given.
    methods : sequence of str, optional
        Only solutions of these methods count (``catalogue``, ``image``, ``manual``); all when not given.

    Notes
    -----
    What people decided (``manual``) goes before what was fitted.
    """
    rows, solutions = lake.table("exposure"), lake.table("wcs_solution")
    if names is not None:
        some = pl.col("exposure_id").is_in(list(names))
        rows, solutions = rows.filter(some), solutions.filter(some)
    active = solutions.filter(pl.col("is_active"), pl.col("status") == "ok", pl.col("method") != "header")
    if methods is not None:
        active = active.filter(pl.col("method").is_in(list(methods)))
    found = (
        active.sort(pl.col("method") != "manual", "solution_id")
        .unique("exposure_id", keep="first", maintain_order=True)
        .select("exposure_id", *(pl.col(name).alias(f"{name}_active") for name in _PLACE))
        .collect()
    )
    table = rows.sort("exposure_id").collect().join(found, on="exposure_id", how="left", maintain_order="left")
    is_moved = pl.col("wcs_active").is_not_null()
    moved = (pl.when(is_moved).then(pl.col(f"{name}_active")).otherwise(pl.col(name)).alias(name) for name in _PLACE)
    return _completed(table.with_columns(moved).drop(f"{name}_active" for name in _PLACE))


def _completed(rows: pl.DataFrame) -> pl.DataFrame:
    """Fill in what rows of older schemas, and solutions of people, do not say."""
    lacks_place = (pl.col("footprint").is_null() | pl.col("ra").is_null()) & (pl.col("status") == "ok")
    lacks_digest = pl.col("wcs_sha256").is_null() & (pl.col("status") == "ok")
    incomplete = rows.filter(lacks_place | lacks_digest).select("exposure_id", "wcs", "ny", "nx")
    if incomplete.is_empty():
        return rows
    filled = [
        {"exposure_id": name, "wcs_sha256": hashlib.sha256(cards.encode()).hexdigest()}
        | place_of(wcs_from_cards(json.loads(cards)), (ny, nx))
        for name, cards, ny, nx in incomplete.iter_rows()
    ]
    return rows.update(pl.DataFrame(filled), on="exposure_id", how="left")


def usable_exposures(lake: Lake, *, methods: Sequence[str] | None = None) -> pl.DataFrame:
    """Return the rows of the exposures that can be used; see `exposure_rows`."""
    return exposure_rows(lake, methods=methods).filter(pl.col("status") == "ok")


def exposure_inputs(rows: pl.DataFrame) -> list[dict[str, str]]:
    """Return what a run lists among its inputs when it reads exposures: their runs, and where they look.

    Parameters
    ----------
    rows : polars.DataFrame
        Of `exposure_rows`.
    """
    columns = rows.sort("exposure_id").select("exposure_id", "run_id", "wcs_sha256")
    return [{"uri": f"exposure/{name}", "run": run, "wcs_sha256": digest} for name, run, digest in columns.iter_rows()]


def load_exposure(lake: Lake, exposure_id: str, *, methods: Sequence[str] | None = None) -> Exposure:
    """Return an exposure as it was ingested, with the coordinates that hold; see `exposure_rows`."""
    row = exposure_rows(lake, [exposure_id], methods=methods).row(0, named=True)
    return exposure_of(row, lake.arrays("exposure", row["tile"]))


def exposure_of(row: Mapping[str, Any], arrays: ArrayGroup, rows: slice = slice(None)) -> Exposure:
    """Return an exposure, or some rows of its pixels, from its row of `exposure_rows` and its arrays."""
    described: dict[str, Any] = {
        name: row[name]
        for name in ("band", "unit", "exptime", "instrument", "detector", "read_noise", "path", "sha256")
    }
    for name in ("zero_point_ab", "native_scale_arcsec"):
        described[name] = float("nan") if row[name] is None else row[name]
    attributes = arrays.attributes()
    return Exposure(
        exposure_id=row["exposure_id"],
        data=arrays["sci"][rows],
        error=arrays["err"][rows],
        dq=arrays["dq"][rows],
        dq_bits=attributes["dq_bits"],
        # Lakes of before have neither: no chips, and no bit that does no harm.
        harmless_dq=tuple(attributes.get("harmless_dq", ())),
        group=attributes.get("group", ""),
        wcs=wcs_from_cards(json.loads(row["wcs"])),
        **described,
    )


class StoredExposures(Sequence[Exposure]):
    """Exposures as they were ingested, each loaded whenever it is asked for, so that memory holds one at a time."""

    def __init__(self, lake: Lake, names: Iterable[str], *, methods: Sequence[str] | None = None) -> None:
        self._names = list(names)
        known = exposure_rows(lake, self._names, methods=methods)
        self._rows = {row["exposure_id"]: row for row in known.iter_rows(named=True)}
        self._arrays = {name: lake.arrays("exposure", row["tile"]) for name, row in self._rows.items()}

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, i: int) -> Exposure: ...
    @overload
    def __getitem__(self, i: slice) -> list[Exposure]: ...
    def __getitem__(self, i: int | slice) -> Exposure | list[Exposure]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        name = self._names[i]
        return exposure_of(self._rows[name], self._arrays[name])


def flagged_exposures(lake: Lake, tile: str, band: str, names: Iterable[str] | None = None) -> Iterator[Exposure]:
    """Yield the exposures of a band that touch a tile, or those named, with the sky and flags that they have there.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile, band : str
        The tile, and the band.
    names : iterable of str, optional
        Some of the exposures.

    Yields
    ------
    Exposure
        One at a time, ordered by name.
    """
    group = group_name(tile, band)
    rows = lake.table("mask").filter(pl.col("tile") == group, pl.col("status") == "ok").sort("exposure_id").collect()
    if names is not None:
        rows = rows.filter(pl.col("exposure_id").is_in(list(names)))
    for row in rows.iter_rows(named=True):
        exposure = load_exposure(lake, row["exposure_id"])
        flags = lake.arrays("mask", group)[f"{row['exposure_id']}/mask"][...]
        yield replace(exposure, flags=flags, sky=row["sky"])


class FlaggedExposures:
    """The exposures of a band on a tile by name, with their sky and flags there; read whenever they are asked for.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile, band : str
        The tile, and the band.
    names : sequence of str
        Exposures; they are in the order of their names.
    """

    def __init__(self, lake: Lake, tile: str, band: str, names: Sequence[str]) -> None:
        group = group_name(tile, band)
        rows = lake.table("mask").filter(pl.col("tile") == group, pl.col("status") == "ok").collect()
        self._skies = dict(rows.select("exposure_id", "sky").iter_rows())
        known = exposure_rows(lake, [name for name in names if name in self._skies])
        self._rows = list(known.iter_rows(named=True))
        self._flags = lake.arrays("mask", group) if self._rows else {}
        self._arrays = [lake.arrays("exposure", row["tile"]) for row in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, k: int, rows: slice) -> Exposure:
        """Return an exposure with the pixels of some rows alone, and with the coordinates of all of it."""
        row = self._rows[k]
        exposure = exposure_of(row, self._arrays[k], rows)
        flags = self._flags[f"{row['exposure_id']}/mask"][rows]
        return replace(exposure, flags=flags, sky=self._skies[row["exposure_id"]])

    def __iter__(self) -> Iterator[Exposure]:
        return (self.read(k, slice(None)) for k in range(len(self)))


def load_flagged(lake: Lake, exposure_id: str) -> Exposure:
    """Return an exposure for readers that have no tile: with all flags that it has, and with one sky.

    Parameters
    ----------
    lake : Lake
        The lake.
    exposure_id : str
        The exposure.

    Returns
    -------
    Exposure
        Its flags are those of all tiles together, its sky is that of the tile that owns its middle. As it was ingested
        when no tile has compared it.
    """
    exposure = load_exposure(lake, exposure_id)
    mine = pl.col("exposure_id") == exposure_id, pl.col("status") == "ok"
    rows = lake.table("mask").filter(*mine).sort("tile").collect()
    if rows.is_empty():
        return exposure
    flags = np.zeros(exposure.shape, np.uint32)
    for group in rows["tile"]:
        flags |= lake.arrays("mask", group)[f"{exposure_id}/mask"][...]
    place = place_of(exposure.wcs, exposure.shape)
    owner = group_name(owner_of(lake, place["ra"], place["dec"]), exposure.band)
    # The middle may be in no tile, or in one that holds nothing else of the exposure.
    skies = dict(rows.select("tile", "sky").iter_rows())
    return replace(exposure, flags=flags, sky=skies.get(owner, rows["sky"][0]))
