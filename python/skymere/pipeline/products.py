"""Products out of the lake: what one stage stored, as the next one needs it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Mosaic, NoiseCovariance, SegmentationMap, Sliceable, StoredMosaic
from skymere.errors import NotFoundError
from skymere.lake import ArrayGroup, Lake
from skymere.psf import Psf, PsfGrid
from skymere.wcs import Grid

__all__ = [
    "MOSAIC_DQ",
    "SaturatedPixels",
    "detection_bands",
    "falls_on",
    "load_mosaics",
    "load_psf",
    "load_segmentation",
    "mosaic_rows",
    "saturated_pixels",
    "stored_mosaics",
    "tiles_with_mosaics",
]


# Bits of the array dq of mosaics.
MOSAIC_DQ: Mapping[str, int] = MappingProxyType({"saturated": 1})


def tiles_with_mosaics(lake: Lake) -> list[str]:
    """Return the tiles that have a usable mosaic in at least one band, sorted."""
    rows = lake.table("mosaic").filter(pl.col("status") == "ok").select(pl.col("tile").unique()).collect()
    return sorted(rows["tile"].to_list())


def mosaic_rows(lake: Lake, tile: str) -> pl.DataFrame:
    """Return the rows of the mosaics of a tile, ordered by band."""
    usable = (pl.col("tile") == tile) & (pl.col("status") == "ok")
    return lake.table("mosaic").filter(usable).sort("band").collect()


def load_mosaics(lake: Lake, tile: str, bands: Iterable[str] | None = None) -> list[Mosaic]:
    """Return the mosaics of a tile, in the order of the bands named; of all bands, ordered by name, when None."""
    rows = {row["band"]: row for row in mosaic_rows(lake, tile).iter_rows(named=True)}
    return [_mosaic(lake, tile, rows[band]) for band in (rows if bands is None else bands)]


def _mosaic(lake: Lake, tile: str, row: dict[str, Any]) -> Mosaic:
    band, arrays = row["band"], lake.arrays("mosaic", tile)
    return Mosaic(
        grid=arrays.grid(f"{band}/sci"),
        data=arrays[f"{band}/sci"][...],
        weight=arrays[f"{band}/wht"][...],
        variance=arrays[f"{band}/var"][...],
        context=arrays[f"{band}/ctx"][...],
        noise=_noise(arrays, band),
        params=json.loads(row["params"]),
        **_about(row),
    )


@dataclass(frozen=True)
class SaturatedPixels:
    """The saturated pixels of a mosaic, read window by window."""

    dq: Sliceable

    def window(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Return a window."""
        return np.asarray((self.dq[rows, columns] & np.uint32(MOSAIC_DQ["saturated"])) != 0)


def saturated_pixels(lake: Lake, tile: str, bands: Iterable[str]) -> dict[str, SaturatedPixels]:
    """Return where exposures of each band are saturated; without bands whose mosaics do not say it."""
    arrays = lake.arrays("mosaic", tile)
    return {band: SaturatedPixels(arrays[f"{band}/dq"]) for band in bands if f"{band}/dq" in arrays}


def stored_mosaics(lake: Lake, tile: str, bands: Iterable[str] | None = None) -> list[StoredMosaic]:
    """Return the mosaics of a tile as they are stored, to be read window by window; otherwise as `load_mosaics`."""
    rows = {row["band"]: row for row in mosaic_rows(lake, tile).iter_rows(named=True)}
    return [_stored(lake, tile, rows[band]) for band in (rows if bands is None else bands)]


def _stored(lake: Lake, tile: str, row: dict[str, Any]) -> StoredMosaic:
    band, arrays = row["band"], lake.arrays("mosaic", tile)
    has_noise = f"{band}/noise_kernel" in arrays
    noise = None
    if has_noise:
        kernel = arrays[f"{band}/noise_kernel"]
        nowhere = np.zeros((1, 1), np.uint8)
        noise = NoiseCovariance(kernels=kernel[...], class_map=nowhere, classes=tuple(kernel.attributes["classes"]))
    return StoredMosaic(
        grid=arrays.grid(f"{band}/sci"),
        data=arrays[f"{band}/sci"],
        weight=arrays[f"{band}/wht"],
        variance=arrays[f"{band}/var"],
        context=arrays[f"{band}/ctx"],
        noise=noise,
        noise_class=arrays[f"{band}/noise_class"] if has_noise else None,
        **_about(row),
    )


def _about(row: dict[str, Any]) -> dict[str, Any]:
    """Return what the row of a mosaic says about it."""
    return {
        "band": row["band"],
        "exposure_ids": tuple(json.loads(row["exposure_ids"])),
        "unit": row["unit"],
        "zero_point_ab": float("nan") if row["zero_point_ab"] is None else row["zero_point_ab"],
        "weight_kind": row["weight_kind"],
        "noise_correlation": row["noise_correlation"],
    }


def _noise(arrays: ArrayGroup, band: str) -> NoiseCovariance | None:
    """Return the noise covariance of a mosaic; None in lakes that are older than it."""
    if f"{band}/noise_kernel" not in arrays:
        return None
    kernel, measured = arrays[f"{band}/noise_kernel"], f"{band}/noise_measured"
    return NoiseCovariance(
        kernels=kernel[...],
        class_map=arrays[f"{band}/noise_class"][...],
        classes=tuple(kernel.attributes["classes"]),
        measured=arrays[measured][...] if measured in arrays else None,
        params=kernel.attributes["params"],
    )


def falls_on(mask: NDArray[np.bool_], grid: Grid, truth: pl.DataFrame, *, step: int = 1) -> pl.Series:
    """Return which rows with ``ra, dec`` fall on a True pixel of a mask that has every so many pixels of a grid."""
    x, y = grid.pixels(truth["ra"].to_numpy(), truth["dec"].to_numpy())
    ix, iy = np.rint(x / step).astype(int), np.rint(y / step).astype(int)
    inside = (ix >= 0) & (iy >= 0) & (ix < mask.shape[1]) & (iy < mask.shape[0])
    inside[inside] = mask[iy[inside], ix[inside]]
    return pl.Series(inside)


def detection_bands(lake: Lake, tile: str) -> list[str]:
    """Return the bands on whose stack the sources of a tile were detected."""
    bands = lake.table("segmentation").filter(pl.col("tile") == tile).select("bands").collect().item()
    return [str(band) for band in json.loads(bands)]


def load_segmentation(lake: Lake, tile: str) -> SegmentationMap:
    """Return the segmentation of a tile."""
    arrays = lake.arrays("segmentation", tile)
    return SegmentationMap(labels=arrays["label"][...], grid=arrays.grid("label"))


def load_psf(lake: Lake, tile: str, band: str) -> tuple[Psf | PsfGrid, str]:
    """Return the PSF of a mosaic, and its name; a grid when it is known at several places.

    Raises
    ------
    NotFoundError
        When there is none.
    """
    usable = (pl.col("tile") == tile) & (pl.col("band") == band) & (pl.col("status") == "ok")
    rows = lake.table("psf").filter(usable, pl.col("product") == "mosaic").sort("psf_row").collect()
    if rows.is_empty():
        msg = f"tile {tile}: band {band} has no PSF; the section psf of the plan makes them"
        raise NotFoundError(msg)
    planes = lake.psfs(rows)["data"]
    psfs = []
    for row, data in zip(rows.iter_rows(named=True), planes, strict=True):
        at = json.loads(row["params"]).get("source_at")
        middle = {"x": (row["nx"] - 1) / 2, "y": (row["ny"] - 1) / 2}
        x, y = at or (middle["x"], middle["y"])
        has_pixel = json.loads(row["params"]).get("psf_has_pixel", True)
        enclosed = row["enclosed"] if row["enclosed"] is not None else 1.0
        psfs.append(Psf(data=data, x=x, y=y, oversampling=row["oversampling"], has_pixel=has_pixel, enclosed=enclosed))
    n = round(len(psfs) ** 0.5)
    if n == 1 or n * n != len(psfs):
        return psfs[0], rows["psf_id"][0]
    places = rows.select("x", "y").to_numpy().reshape(n, n, 2)
    x, y = places[:, :, 0].mean(axis=0), places[:, :, 1].mean(axis=1)
    return PsfGrid(x=tuple(x), y=tuple(y), psfs=tuple(psfs)), rows["psf_id"][0]
