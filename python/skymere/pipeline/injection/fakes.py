"""Fake sources: what they are, and where on a tile."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import NoDataError
from skymere.lake import Lake
from skymere.pipeline.injection.params import InjectParams
from skymere.pipeline.injection.randoms import draw_uniform
from skymere.pipeline.searched import searched_pixels
from skymere.wcs import Grid

__all__ = ["Copy", "draw_fakes", "usable_place"]

# Objects are numbered by copy and place; no copy of a tile has so many places.
_PLACES = 1 << 32

Copy = tuple[str, int, pl.DataFrame]
"""Tile, number of the copy, and the fake sources that are put into it."""


def usable_place(lake: Lake, tile: str, bands: list[str]) -> NDArray[np.bool_]:
    """Return the pixels of a tile that every band has and on which sources were looked for."""
    arrays = lake.arrays("mosaic", tile)
    found = searched_pixels(lake, tile)
    for band in bands:
        found &= arrays[f"{band}/wht"][...] > 0
    return found


def draw_fakes(
    lake: Lake, usable: dict[str, NDArray[np.bool_]], params: InjectParams, *, bands: list[str], band: str
) -> Iterator[Copy]:
    """Yield copies of tiles with their fake sources, until there are as many sources as wanted.

    Parameters
    ----------
    lake : Lake
        Its tiles.
    usable : dict of str to ndarray of bool, shape (ny, nx)
        By tile, pixels on which sources may be put.
    params : InjectParams
        What they are.
    bands : list of str
        Bands that have fluxes.
    band : str
        That of the magnitudes.

    Raises
    ------
    NoDataError
        When no tile has a place.
    """
    left, copy = params.n, 0
    while left > 0:
        before = left
        for tile, mask in usable.items():
            found = _of_copy(lake, tile, mask, copy, params, bands=bands, band=band).head(left)
            if found.height:
                yield tile, copy, found
                left -= found.height
            if left <= 0:
                return
        if left == before and copy > 10:
            msg = f"spacing_arcsec: the tiles {list(usable)} have no place for a source with {params.spacing_arcsec}"
            raise NoDataError(msg)
        copy += 1


def _of_copy(
    lake: Lake,
    tile: str,
    usable: NDArray[np.bool_],
    copy: int,
    params: InjectParams,
    *,
    bands: list[str],
    band: str,
) -> pl.DataFrame:
    run = f"inject/{params.seed}/{tile}"
    number, x, y = _places(usable, lake.tiles[tile].grid, copy, params, run)
    ra, dec = lake.tiles[tile].grid.sky(x, y)
    own = lake.tiles[tile].owns(ra, dec)
    if params.n_per_tile:
        order = np.array([draw_uniform(run, int(i), "is_taken") for i in number])
        allowed = np.sort(order[own])[: params.n_per_tile]
        own &= np.isin(order, allowed)
    rows = [
        {"object": int(i), "ra": float(a), "dec": float(d), "x": float(u), "y": float(v)}
        | _shape(run, int(i), params)
        | {"true_mag": draw_uniform(run, int(i), "mag", *params.mag)}
        for i, a, d, u, v in zip(number[own], ra[own], dec[own], x[own], y[own], strict=True)
    ]
    if not rows:
        return pl.DataFrame()
    mags = {b: pl.col("true_mag") + params.colours.get(b, 0.0) - params.colours.get(band, 0.0) for b in bands}
    return pl.DataFrame(rows).with_columns(
        pl.lit(tile).alias("tile"),
        pl.lit(copy).alias("copy"),
        *((10.0 ** (-0.4 * (mag - 23.9))).alias(f"true_flux_{b}") for b, mag in mags.items()),
    )


def _shape(run: str, i: int, params: InjectParams) -> dict[str, float]:
    log_size, log_index = (np.log(limits) for limits in (params.size_arcsec, params.sersic_index))
    return {
        "true_r_eff": float(np.exp(draw_uniform(run, i, "r_eff", *log_size))),
        "true_sersic_index": float(np.exp(draw_uniform(run, i, "sersic_index", *log_index))),
        "true_axis_ratio": draw_uniform(run, i, "axis_ratio", *params.axis_ratio),
        "true_pa": draw_uniform(run, i, "pa", 0.0, 180.0),
    }


def _places(
    usable: NDArray[np.bool_], grid: Grid, copy: int, params: InjectParams, run: str
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return numbers and pixels of the places of a copy: a grid whose origin is another one in each copy."""
    step = params.spacing_arcsec / grid.scale_arcsec
    ny, nx = usable.shape
    first_x, first_y = (draw_uniform(run, copy * _PLACES, name, 0.0, step) for name in ("first_x", "first_y"))
    n_x, n_y = int(nx / step) + 1, int(ny / step) + 1
    i_y, i_x = (index.ravel() for index in np.mgrid[:n_y, :n_x])
    number = copy * _PLACES + 1 + i_y.astype(np.int64) * n_x + i_x
    jitter = [[draw_uniform(run, int(i), name, -0.25, 0.25) for i in number] for name in ("jitter_x", "jitter_y")]
    x = first_x + (i_x + np.array(jitter[0])) * step
    y = first_y + (i_y + np.array(jitter[1])) * step
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    inside = (column >= 0) & (row >= 0) & (column < nx) & (row < ny)
    inside[inside] = usable[row[inside], column[inside]]
    return number[inside], x[inside], y[inside]
