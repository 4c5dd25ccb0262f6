"""Pixels of many exposures on one grid of wavelength and distance from the trace."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_floats
from skymere._rust import slit as _rust
from skymere.errors import InvalidInputError
from skymere.slit.grids import bin_edges, pixfrac_steps, slit_edges
from skymere.slit.weights import WeightType, pixel_weights

__all__ = ["CombineParams", "Resampled", "SlitImage", "combine_pixels", "overlap_drizzle", "pseudo_drizzle"]

Method = Literal["pseudo", "drizzle"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Resampled:
    """Sums of a resampling.

    Parameters
    ----------
    num : ndarray, float64, shape (n_planes, ny, nx)
        Weighted sums; over ``den`` they are the resampled values.
    vnum : ndarray, float64, shape (ny, nx)
        Their variance.
    den : ndarray, float64, shape (ny, nx)
        Sums of the weights.
    ntot : ndarray, float64, shape (ny, nx)
        Number of pixels.
    """

    num: NDArray[np.float64]
    vnum: NDArray[np.float64]
    den: NDArray[np.float64]
    ntot: NDArray[np.float64]


def _vectors(length: int, **values: ArrayLike) -> list[NDArray[np.float64]]:
    return [as_floats(value, name, shape=(length,)) for name, value in values.items()]


def _planes(values: ArrayLike) -> NDArray[np.float64]:
    return as_floats(np.atleast_2d(np.asarray(values)), "values", shape=(None, None))


def pseudo_drizzle(
    x: ArrayLike,
    y: ArrayLike,
    values: ArrayLike,
    variance: ArrayLike,
    weight: ArrayLike,
    *,
    x_edges: ArrayLike,
    y_edges: ArrayLike,
    oversample: int = 4,
    pixfrac: float = 1.0,
    sample_axes: Literal["x", "y", "xy"] = "y",
) -> Resampled:
    """Return the mean of histograms whose bins are shifted.

    Parameters
    ----------
    x, y : array_like, float64, shape (n,)
        Places.
    values : array_like, float64, shape (n,) or (n_planes, n)
        Values; all planes have the same weights.
    variance, weight : array_like, float64, shape (n,)
        Variances and weights.
    x_edges, y_edges : array_like, float64, shape (nx + 1,) and (ny + 1,)
        Growing edges of the bins; the last bin holds its upper edge.
    oversample : int
        Number of shifts.
    pixfrac : float
        Shifts are spread over ``-pixfrac`` to ``pixfrac``, so a pixel covers about twice ``pixfrac`` bins.
    sample_axes : str
        Axes along which bins are shifted.

    Returns
    -------
    Resampled
        The sums.

    Raises
    ------
    InvalidInputError
        When lengths differ or edges do not grow.

    Notes
    -----
    A pixel split into fractions f adds ``f w^2 v`` to the variances, not ``f^2 w^2 v``: each pixel of the result has at
    least its own noise, and sums over pixels have less than their variances say. `overlap_drizzle` has the variances of
    drizzle.
    """
    planes = _planes(values)
    xs, ys, v, w = _vectors(planes.shape[1], x=x, y=y, variance=variance, weight=weight)
    if sample_axes not in ("x", "y", "xy"):
        msg = f"sample_axes: {sample_axes!r} is not allowed, it must be one of x, y, xy"
        raise InvalidInputError(msg)
    steps = pixfrac_steps(oversample, pixfrac)
    edges = []
    for name, given in (("x", x_edges), ("y", y_edges)):
        one = as_floats(given, f"{name}_edges", shape=(None,))
        if one.size < 2:
            msg = f"{name}_edges: {one.size} values are not allowed, they must be at least 2"
            raise InvalidInputError(msg)
        shifts = steps if name in sample_axes else np.zeros(1)
        edges.append(one + shifts[:, None] * np.gradient(one))
    num, vnum, den, ntot = _rust.pseudo_drizzle(xs, ys, planes, v, w, edges[0], edges[1])
    return Resampled(num=num, vnum=vnum, den=den, ntot=ntot)


def overlap_drizzle(
    x: ArrayLike,
    y: ArrayLike,
    values: ArrayLike,
    variance: ArrayLike,
    weight: ArrayLike,
    *,
    width: ArrayLike,
    height: ArrayLike,
    x_edges: ArrayLike,
    y_edges: ArrayLike,
) -> Resampled:
    """Return pixels shared among bins by the overlap of their areas.

    Parameters
    ----------
    x, y : array_like, float64, shape (n,)
        Places.
    values : array_like, float64, shape (n,) or (n_planes, n)
        Values; all planes have the same weights.
    variance, weight : array_like, float64, shape (n,)
        Variances and weights.
    width, height : array_like, float64, shape (n,) or scalar
        Sides of every pixel along x and y, shrunken by pixfrac.
    x_edges, y_edges : array_like, float64, shape (nx + 1,) and (ny + 1,)
        Growing edges of the bins.

    Returns
    -------
    Resampled
        The sums.

    Raises
    ------
    InvalidInputError
        When lengths differ or edges do not grow.

    Notes
    -----
    A fraction f of a pixel adds ``f w d`` to the sum, ``f w`` to the weight and ``f^2 w^2 v`` to the variance of the
    sum. Neighbouring bins share pixels, so their noise is correlated: variances of sums over bins are larger than the
    sums of variances. `extract_spectrum` has them all.

    References
    ----------
    Fruchter & Hook 2002, PASP 114, 144, eqs. 3 to 5.
    """
    planes = _planes(values)
    n = planes.shape[1]
    xs, ys, v, w = _vectors(n, x=x, y=y, variance=variance, weight=weight)
    sides = [np.broadcast_to(np.asarray(side, dtype=float), (n,)) for side in (width, height)]
    wide, high = _vectors(n, width=sides[0], height=sides[1])
    across = as_floats(x_edges, "x_edges", shape=(None,))
    along = as_floats(y_edges, "y_edges", shape=(None,))
    num, vnum, den, ntot = _rust.overlap_drizzle((xs, ys), (wide, high), planes, v, w, (across, along))
    return Resampled(num=num, vnum=vnum, den=den, ntot=ntot)


@dataclass(frozen=True, kw_only=True)
class CombineParams:
    """How pixels are put on a grid.

    Parameters
    ----------
    method : str
        ``pseudo``: `pseudo_drizzle`; ``drizzle``: `overlap_drizzle`, which needs the column ``dwave_dx``.
    oversample : int
        Shifts of the bins of ``pseudo``.
    pixfrac : float
        Shift of the bins of ``pseudo``, or side of the drops of ``drizzle`` over that of their pixels.
    weight_type : str
        See `pixel_weights`.
    poisson : str
        See `pixel_weights`.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    method: Method = "pseudo"
    oversample: int = 16
    pixfrac: float = 0.8
    weight_type: WeightType = "ivm"
    poisson: Literal["model", "data"] = "model"

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            msg = f"method: {self.method!r} is not allowed, it must be one of {', '.join(get_args(Method))}"
            raise InvalidInputError(msg)
        if self.oversample < 1 or not self.pixfrac > 0:
            msg = (
                f"oversample, pixfrac: {self.oversample}, {self.pixfrac} are not allowed, "
                "they must be at least 1 and positive"
            )
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class SlitImage:
    """A combined spectrum in two dimensions.

    Parameters
    ----------
    wave : ndarray, float64, shape (nx,) [um]
        Wavelengths.
    y_edges : ndarray, float64, shape (ny + 1,) [pix]
        Edges of the rows around the trace.
    sci, sky : ndarray, float64, shape (ny, nx) [uJy]
        Fluxes and what was subtracted; NaN without a pixel.
    wht : ndarray, float64, shape (ny, nx) [1/uJy2]
        Inverse variance, the noise of sources included; 0 without a pixel.
    profile : ndarray, float64, shape (ny, nx)
        The profile, resampled as the fluxes.
    n_pixels : ndarray, float64, shape (ny, nx)
        Number of pixels.
    den : ndarray, float64, shape (ny, nx), optional
        Sums of the weights of the pixels, 0 without a pixel; files do not hold them.
    """

    wave: NDArray[np.float64]
    y_edges: NDArray[np.float64]
    sci: NDArray[np.float64]
    sky: NDArray[np.float64]
    wht: NDArray[np.float64]
    profile: NDArray[np.float64]
    n_pixels: NDArray[np.float64]
    den: NDArray[np.float64] | None = None


def combine_pixels(
    tables: pl.DataFrame | Sequence[pl.DataFrame],
    wave_grid: ArrayLike,
    *,
    y_edges: ArrayLike | None = None,
    params: CombineParams | None = None,
) -> SlitImage:
    """Return a combined spectrum in two dimensions.

    Parameters
    ----------
    tables : polars.DataFrame or sequence of them
        As `get_flat_diff_arrays` gives them.
    wave_grid : array_like, float64, shape (nx,) [um]
        Wavelengths; `wavelength_grid`.
    y_edges : array_like, float64, shape (ny + 1,) [pix], optional
        Edges of the rows; those of `slit_edges` when not given.
    params : CombineParams, optional
        Method and weights.

    Raises
    ------
    InvalidInputError
        When a column is missing, or the grid does not grow.
    """
    asked = params or CombineParams()
    table = tables if isinstance(tables, pl.DataFrame) else pl.concat(list(tables), how="diagonal")
    grid = as_floats(wave_grid, "wave_grid", shape=(None,))
    rows = slit_edges() if y_edges is None else as_floats(y_edges, "y_edges", shape=(None,))
    weight = pixel_weights(table, weight_type=asked.weight_type, poisson=asked.poisson, wave_grid=grid)
    if asked.method == "drizzle" and "dwave_dx" not in table.columns:
        msg = f"tables: columns {table.columns} are not allowed, method 'drizzle' needs dwave_dx"
        raise InvalidInputError(msg)
    chosen = weight > 0
    names = ["sci", "sky", "profile", "pathloss", "var_total", "wave", "yslit"]
    has = {name: table[name].to_numpy()[chosen] for name in names}
    if "mask" in table.columns:
        good = table["mask"].to_numpy()[chosen]
        has, weight = {name: value[good] for name, value in has.items()}, weight[chosen][good]
    else:
        weight = weight[chosen]
    path = has["pathloss"]
    planes = np.stack([has["sci"] / path, has["sky"] / path, has["profile"]])
    variance = has["var_total"] / path**2
    edges = bin_edges(grid)
    if asked.method == "pseudo":
        sums = pseudo_drizzle(
            has["wave"],
            has["yslit"],
            planes,
            variance,
            weight,
            x_edges=edges,
            y_edges=rows,
            oversample=asked.oversample,
            pixfrac=asked.pixfrac,
        )
    else:
        width = table["dwave_dx"].to_numpy()[chosen]
        width = width[good] if "mask" in table.columns else width
        sums = overlap_drizzle(
            has["wave"],
            has["yslit"],
            planes,
            variance,
            weight,
            width=np.abs(width) * asked.pixfrac,
            height=asked.pixfrac,
            x_edges=edges,
            y_edges=rows,
        )
    is_covered = sums.den > 0
    sci, sky, profile = (np.divide(one, sums.den, out=np.full_like(one, np.nan), where=is_covered) for one in sums.num)
    spread = np.divide(sums.vnum, sums.den**2, out=np.full_like(sums.vnum, np.inf), where=is_covered)
    return SlitImage(
        wave=grid,
        y_edges=rows,
        sci=sci,
        sky=sky,
        wht=np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0),
        profile=profile,
        n_pixels=sums.ntot,
        den=sums.den,
    )
