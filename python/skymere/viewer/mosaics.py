"""The mosaics of a tile, as they are on the sky, at the resolution of a screen."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Mosaic
from skymere.errors import InvalidInputError, NoDataError, NotFoundError
from skymere.instruments import find_filter
from skymere.lake import ArrayGroup, Lake, StoredArray
from skymere.viewer.palette import OWN, rgb
from skymere.viewer.pictures import rgb_figure, weight_figure

__all__ = ["draw_mosaic", "draw_weights", "mosaic_figure", "weights_figure"]

# Rows of an image that are read together.
_ROWS = 1024
# Pixels of a picture along its longer side.
_SCREEN_PIX = 1600
_HEIGHT_PIX = 1240


def draw_mosaic(
    lake: Lake,
    tile: str | None = None,
    *,
    bands: Sequence[str] = (),
    has_outlines: bool = True,
    scale: float = 1.0,
    screen_pix: int = _SCREEN_PIX,
) -> Any:
    """Draw the mosaics of a tile: three bands in colour, with the outlines of segments in orange.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str, optional
        The tile; may be left out where only one has mosaics.
    bands : sequence of str, optional
        One to three bands from red to blue; the reddest, the middle and the bluest one when not given.
    has_outlines : bool, optional
        Draw the outlines of segments.
    scale : float, optional
        Factor of the brightness.
    screen_pix : int, optional
        Pixels along the longer side at most: of larger mosaics a level is read that was made for looking [pix].

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    NotFoundError
        When there is no such tile or band.
    InvalidInputError
        When a number is not positive, or there are more than three bands.
    """
    if not (0 < scale < math.inf and screen_pix > 0):
        msg = f"scale, screen_pix: {scale}, {screen_pix} are not allowed, they must be positive"
        raise InvalidInputError(msg)
    where, shown = _chosen(lake, tile, bands, most=3)
    arrays = lake.arrays("mosaic", where)
    shape = arrays[f"{shown[0]}/sci"].shape
    level = _level(arrays, shown, shape, screen_pix)
    images = [arrays[f"{band}/level{level}" if level else f"{band}/sci"][...] for band in shown]
    labels = None
    if has_outlines and where in lake.live_runs("segmentation"):
        labels = _thinned(lake.arrays("segmentation", where)["label"], 2**level)
        labels = labels[: images[0].shape[0], : images[0].shape[1]] if labels.shape != images[0].shape else labels
        labels = labels if labels.shape == images[0].shape else None
    words = f"{where}: {' '.join(shown)}" + (f", {2**level} x {2**level} pixels in one" if level else "")
    return rgb_figure(
        images,
        labels=labels,
        title=words + ("" if labels is None else ", segments outlined"),
        scale=scale,
        height_pix=_HEIGHT_PIX,
        outline=rgb(OWN),
        step=2**level,
    )


def mosaic_figure(mosaic: Mosaic, *, title: str = "", scale: float = 1.0) -> Any:
    """Draw a mosaic that was read from a file, in grey.

    Parameters
    ----------
    mosaic : Mosaic
        The mosaic.
    title : str, optional
        Text above it.
    scale : float, optional
        Factor of the brightness.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    InvalidInputError
        When the scale is not positive.
    """
    if not 0 < scale < math.inf:
        msg = f"scale: {scale} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    image = np.where(mosaic.covered, mosaic.data, np.float32(np.nan))
    step = math.ceil(max(image.shape) / _SCREEN_PIX)
    words = (title or mosaic.band) + (f", {step} x {step} pixels in one" if step > 1 else "")
    return rgb_figure([_mean(image, step)], title=words, scale=scale, height_pix=_HEIGHT_PIX, step=step)


def draw_weights(
    lake: Lake, tile: str | None = None, *, bands: Sequence[str] = (), screen_pix: int = _SCREEN_PIX
) -> Any:
    """Draw the weight maps of a tile side by side; sources seen in one were rejected.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str, optional
        The tile; may be left out where only one has mosaics.
    bands : sequence of str, optional
        Bands; all when not given.
    screen_pix : int, optional
        Pixels along the longer side at most: of larger maps every second, third ... pixel is shown [pix].

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    NotFoundError
        When there is no such tile or band.
    InvalidInputError
        When ``screen_pix`` is not positive.
    """
    if screen_pix <= 0:
        msg = f"screen_pix: {screen_pix} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    where, shown = _chosen(lake, tile, bands, most=None)
    arrays = lake.arrays("mosaic", where)
    step = math.ceil(max(arrays[f"{shown[0]}/wht"].shape) / screen_pix)
    maps = {band: _thinned(arrays[f"{band}/wht"], step) for band in shown}
    units = sorted({arrays[f"{band}/wht"].unit for band in shown})
    figure = weight_figure(maps, unit=" or ".join(units))
    figure.suptitle(where)
    return figure


def weights_figure(mosaic: Mosaic, *, title: str = "") -> Any:
    """Draw the weights of a mosaic that was read from a file.

    Parameters
    ----------
    mosaic : Mosaic
        The mosaic.
    title : str, optional
        Text above it.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.
    """
    unit = "s" if mosaic.weight_kind == "exposure_time" else mosaic.weight_kind.replace("_", " ")
    step = math.ceil(max(mosaic.shape) / _SCREEN_PIX)
    figure = weight_figure({mosaic.band: mosaic.weight[::step, ::step]}, unit=unit)
    figure.suptitle(title)
    return figure


def _chosen(lake: Lake, tile: str | None, bands: Sequence[str], *, most: int | None) -> tuple[str, list[str]]:
    """Return the tile and its bands, from red to blue."""
    usable = lake.table("mosaic").filter(pl.col("status") == "ok").select("tile", "band").unique().collect()
    tiles = sorted(usable["tile"].unique())
    if not tiles:
        msg = f"{lake.path}: no mosaic was published"
        raise NoDataError(msg)
    if tile is None and len(tiles) > 1:
        msg = f"tile: is missing, {lake.path} has mosaics of {_some(tiles)}"
        raise InvalidInputError(msg)
    where = tiles[0] if tile is None else tile
    have = usable.filter(pl.col("tile") == where)["band"].to_list()
    if not have:
        msg = f"tile: {where!r} has no mosaic in {lake.path}, it must be one of {_some(tiles)}"
        raise NotFoundError(msg)
    missing = [band for band in bands if band not in have]
    if missing:
        msg = f"bands: tile {where} has no mosaic in {', '.join(missing)}, it must be among {', '.join(sorted(have))}"
        raise NotFoundError(msg)
    if most is not None and len(bands) > most:
        msg = f"bands: {len(bands)} are not allowed, a picture has {most} at most"
        raise InvalidInputError(msg)
    ordered = list(bands) or sorted(have, key=_redness, reverse=True)
    if most is not None and len(ordered) > most:
        ordered = [ordered[0], ordered[len(ordered) // 2], ordered[-1]]
    return where, ordered


def _redness(band: str) -> tuple[float, str]:
    try:
        return find_filter(band).photplam, band
    except InvalidInputError:
        return math.inf, band


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} others" if len(names) > 8 else "")


def _level(arrays: ArrayGroup, bands: Sequence[str], shape: Sequence[int], screen_pix: int) -> int:
    """Return how many times the pixels are halved: the level that fits the screen, or the smallest there is."""
    level = 0
    while max(shape) > screen_pix * 2**level and all(f"{band}/level{level + 1}" in arrays for band in bands):
        level += 1
    return level


def _thinned(stored: StoredArray, step: int) -> NDArray[Any]:
    """Return every ``step``-th pixel of an image, without ever holding all of them."""
    if step == 1:
        return stored[...]
    rows = _ROWS // step * step or step
    parts = [stored[y : y + rows, 0 : stored.shape[1]][::step, ::step] for y in range(0, stored.shape[0], rows)]
    return np.concatenate(parts)


def _mean(image: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Return means over squares of ``step`` x ``step`` pixels."""
    if step == 1:
        return image
    ny, nx = (n // step for n in image.shape)
    squares = image[: ny * step, : nx * step].reshape(ny, step, nx, step)
    known = np.isfinite(squares)
    count = known.sum(axis=(1, 3))
    total = np.where(known, squares, 0.0).sum(axis=(1, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
