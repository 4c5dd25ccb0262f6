"""Mosaics and segmentations of other tools as products of a tile."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from skymere.background import BackgroundParams
from skymere.datamodels import Mosaic, SegmentationMap
from skymere.errors import InvalidInputError, NotFoundError
from skymere.io import open_fits, read_band, read_grid, read_labels
from skymere.lake import Lake, NamedTile, Run, n_levels, pyramid
from skymere.mosaic import subtract_background
from skymere.pipeline.attempts import run_task
from skymere.pipeline.importing.kinds import ForeignFile, Kind
from skymere.pipeline.plan import Plan, SurveyPlan
from skymere.pipeline.products import mosaic_rows
from skymere.pipeline.stages import measure
from skymere.pipeline.task import as_params
from skymere.resample import noise_correlation
from skymere.wcs import Grid

__all__ = ["import_mosaics", "import_segmentation", "tile_of", "tiles_of_files"]

_STAGE = "import"
_PIX = 1e-3


def tiles_of_files(files: Sequence[ForeignFile], name: str) -> list[NamedTile]:
    """Return a tile for each grid that images have: ``NAME``, ``NAME-2`` ...

    Parameters
    ----------
    files : sequence of ForeignFile
        Mosaics and segmentations among others.
    name : str
        Name of the first.
    """
    grids: list[Grid] = []
    for one in files:
        if one.kind in (Kind.mosaic, Kind.segmentation):
            grid = read_grid(one.path)
            if not any(_is_same(grid, other) for other in grids):
                grids.append(grid)
    return [NamedTile(name if i == 0 else f"{name}-{i + 1}", grid) for i, grid in enumerate(grids)]


def _is_same(one: Grid, other: Grid) -> bool:
    """Whether two grids have the same pixels."""
    if one.shape != other.shape:
        return False
    ny, nx = one.shape
    x, y = (each.ravel() for each in np.meshgrid([0.0, (nx - 1) / 2, nx - 1.0], [0.0, (ny - 1) / 2, ny - 1.0]))
    found = other.pixels(*one.sky(x, y))
    return bool(np.abs(np.stack(found) - np.stack([x, y])).max() < _PIX)


def tile_of(lake: Lake, one: ForeignFile) -> str:
    """Return the tile whose pixels an image has.

    Parameters
    ----------
    lake : Lake
        The lake.
    one : ForeignFile
        The image.

    Raises
    ------
    InvalidInputError
        When no tile has them.
    """
    grid = read_grid(one.path)
    near = lake.tiles.touching(grid.corners())
    for name in near:
        if _is_same(grid, lake.tiles[name].grid):
            return name
    told = ", ".join(f"{name} of {lake.tiles[name].grid.shape}" for name in near[:5]) or "none that it touches"
    msg = (
        f"{one.path}: its {grid.shape} pixels are those of no tile of {lake.path}, which has {told}; "
        "images of one grid go into a lake of their own, or must be drizzled to a tile's grid"
    )
    raise InvalidInputError(msg)


def import_mosaics(lake: Lake, tile: str, files: Sequence[ForeignFile], bands: Sequence[str]) -> list[dict[str, Any]]:
    """Publish mosaics as those of a tile; its other bands stay.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str
        The tile.
    files : sequence of ForeignFile
        Mosaics on its grid.
    bands : sequence of str
        Name of each; empty = what the file says.

    Returns
    -------
    list of dict
        ``file``, ``product``, ``tile``, ``status`` and ``message`` of each file.

    Raises
    ------
    InvalidInputError
        When two files are of one band.
    """
    read = [
        _with_noise(read_band(one.path, weight=one.weight, band=band), one.path)
        for one, band in zip(files, bands, strict=True)
    ]
    names = [one.band for one in read]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        msg = f"files: band {twice[0]!r} of tile {tile!r} is there twice, a tile has one mosaic of a band; name them"
        raise InvalidInputError(msg)
    before = [row for row in mosaic_rows(lake, tile).iter_rows(named=True) if row["band"] not in names]
    live = lake.live_runs("mosaic").get(tile)
    inputs = [
        *({"uri": one.path.name, "sha256": one.sha256} for one in files),
        *([{"uri": f"mosaic/{tile}", "run": live}] if before and live else []),
    ]
    with lake.run(stage=_STAGE, tile=tile, product="mosaic", inputs=inputs, params={"bands": names}) as run:
        if run.already:
            return [one.told(tile, "ok", "already there") for one in files]
        rows = [_write(run, one, file.path) for one, file in zip(read, files, strict=True)]
        rows += [_keep(run, lake, tile, row) for row in before]
        run.publish(run.frame(rows))
    return [one.told(tile, "ok", f"band {name}") for one, name in zip(files, names, strict=True)]


def _with_noise(mosaic: Mosaic, path: Path) -> Mosaic:
    """Return a mosaic with what its file does not say of its noise: the variance of the sky, as its weight goes, and R.

    Raises
    ------
    NoDataError
        When no cell of the mesh of the background has enough pixels.
    """
    if np.isfinite(mosaic.variance[mosaic.weight > 0]).any():
        return mosaic
    _, k = subtract_background(mosaic, params=BackgroundParams())
    variance = np.full(mosaic.shape, np.nan, np.float32)
    np.divide(k, mosaic.weight, out=variance, where=mosaic.weight > 0)
    return replace(mosaic, variance=variance, noise_correlation=_correlation(path))


def _correlation(path: Path) -> float:
    """Return R of the drops that AstroDrizzle writes into headers; 1 where they are not told."""
    keys = ("D001PIXF", "D001SCAL", "D001ISCL")
    with open_fits(path) as hdus:
        said = [next((hdu.header[key] for hdu in hdus if key in hdu.header), None) for key in keys]
    numbers = [float(one) for one in said if isinstance(one, int | float) and one > 0]
    if len(numbers) < len(keys):
        return 1.0
    pixfrac, scale, native = numbers
    return noise_correlation(pixfrac, scale / native)


def _write(run: Run, mosaic: Mosaic, path: Path) -> dict[str, Any]:
    band, grid, unit = mosaic.band, mosaic.grid, mosaic.unit
    weight = np.where(np.isfinite(mosaic.data), mosaic.weight, np.float32(0.0))
    planes = {
        "sci": (np.where(weight > 0, mosaic.data, np.float32(np.nan)), unit),
        "wht": (weight, "s" if mosaic.weight_kind == "exposure_time" else ""),
        "var": (mosaic.variance, f"({unit})2"),
        "ctx": (mosaic.context, None),
    }
    for name, (plane, its) in planes.items():
        run.write(f"{band}/{name}", plane, unit=its)
    for i, level in enumerate(pyramid(planes["sci"][0], weight, levels=n_levels(grid.shape)), start=1):
        run.write(f"{band}/level{i}", level, unit=unit)
    run.annotate(band, {"wcs": grid.cards(), "file": path.name})
    noise = mosaic.noise
    if noise is not None:
        about = {"classes": list(noise.classes), "params": as_params(noise.params)}
        run.write(f"{band}/noise_class", noise.class_map)
        run.write(f"{band}/noise_kernel", noise.kernels, attributes=about)
        if noise.measured is not None:
            run.write(f"{band}/noise_measured", noise.measured)
    ny, nx = grid.shape
    ra, dec = grid.sky(np.array([(nx - 1) / 2]), np.array([(ny - 1) / 2]))
    is_time = mosaic.weight_kind == "exposure_time"
    return {
        "band": band,
        "status": "ok",
        "message": "",
        "ra": float(ra[0]),
        "dec": float(dec[0]),
        "ny": ny,
        "nx": nx,
        "scale_arcsec": grid.scale_arcsec,
        "unit": unit,
        "zero_point_ab": mosaic.zero_point_ab if np.isfinite(mosaic.zero_point_ab) else None,
        "weight_kind": mosaic.weight_kind,
        "noise_correlation": mosaic.noise_correlation,
        "n_exposures": len(mosaic.exposure_ids),
        "exposure_ids": json.dumps(list(mosaic.exposure_ids)),
        "exptime": float(weight.max()) if is_time else None,
        "n_covered": int(np.count_nonzero(weight > 0)),
        "params": json.dumps(as_params(mosaic.params), sort_keys=True),
        "wcs": json.dumps(grid.cards(), sort_keys=True),
        "footprint": grid.outline(),
    }


def _keep(run: Run, lake: Lake, tile: str, row: dict[str, Any]) -> dict[str, Any]:
    """Write a band that the tile has again, with the bits that it has; returns its row."""
    arrays, band = lake.arrays("mosaic", tile), row["band"]
    for path in [one for one in arrays if one.startswith(f"{band}/")]:
        its = arrays[path]
        about = {key: value for key, value in its.attributes.items() if key in ("classes", "params")}
        run.write(path, its[...], unit=its.unit or None, attributes=about or None)
    run.annotate(band, dict(arrays.attributes(band)))
    return {name: value for name, value in row.items() if name not in ("tile", "run_id")}


def import_segmentation(lake: Lake, tile: str, one: ForeignFile) -> dict[str, Any]:
    """Publish a segmentation as that of a tile, and measure its sources in all bands.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str
        The tile; it has mosaics.
    one : ForeignFile
        The file.

    Returns
    -------
    dict
        ``file``, ``product``, ``tile``, ``status`` and ``message``.

    Raises
    ------
    NotFoundError
        When the tile has no mosaic.
    """
    bands = mosaic_rows(lake, tile)["band"].to_list()
    if not bands:
        msg = f"{one.path}: tile {tile!r} has no mosaic to measure its sources on; import mosaics first"
        raise NotFoundError(msg)
    grid = lake.tiles[tile].grid
    labels = SegmentationMap(labels=read_labels(one.path)[0], grid=grid)
    inputs = [lake.reference("mosaic", tile), {"uri": one.path.name, "sha256": one.sha256}]
    with lake.run(stage=_STAGE, tile=tile, product="segmentation", inputs=inputs, params={}) as run:
        if not run.already:
            run.annotate("", {"wcs": grid.cards(), "file": one.path.name, "excluded": {}, "coverage": {}})
            run.write("label", labels.labels)
            ny, nx = labels.shape
            row = {
                "status": "ok",
                "message": "",
                "bands": json.dumps(bands),
                "n_sources": labels.n_sources,
                "n_pixels": int(np.count_nonzero(labels.labels)),
                "ny": ny,
                "nx": nx,
                "params": "{}",
            }
            run.publish(run.frame([row]))
    for task in measure.tasks(Plan(survey=SurveyPlan(exposures=())), lake):
        if task.tile == tile:
            run_task(measure.STAGE, task, lake)
    n = lake.table("source").filter(pl.col("tile") == tile).select(pl.len()).collect().item()
    return one.told(tile, "ok", f"{n} sources measured in {', '.join(bands)}")
