"""Weights of pixels, and variances that do not follow their noise."""

from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array, as_floats
from skymere._rust import slit as _rust
from skymere.errors import InvalidInputError
from skymere.slit.grids import bin_edges

__all__ = ["limited_variance", "model_variance", "pixel_weights"]

WeightType = Literal["ivm", "poisson", "exptime", "exptime_bar", "mask"]
PoissonVariance = Literal["model", "data"]


def _columns(table: pl.DataFrame, names: list[str]) -> dict[str, NDArray[np.float64]]:
    missing = [name for name in names if name not in table.columns]
    if missing:
        msg = f"table: columns {table.columns} are not allowed, {', '.join(missing)} are missing"
        raise InvalidInputError(msg)
    return {name: np.ascontiguousarray(table[name].to_numpy(), dtype=np.float64) for name in names}


def pixel_weights(
    table: pl.DataFrame,
    *,
    weight_type: WeightType = "ivm",
    poisson: PoissonVariance = "model",
    wave_grid: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Return the weight of every row.

    Parameters
    ----------
    table : polars.DataFrame
        As `get_flat_diff_arrays` gives it.
    weight_type : str
        ``ivm``: 1 / variance of the read noise; ``poisson``: 1 / total variance; ``exptime``; ``exptime_bar``: exposure
        time times the squared throughput of the bar (column ``bar``); ``mask``: 1.
    poisson : str
        Variance for ``poisson``: of a ``model``, or of the ``data`` themselves, which makes fluxes too low (by 1.5 % at
        a signal of 5 sigma per column, by 7 % at 1 sigma) since low values then have high weights.
    wave_grid : array_like, float64, shape (n,) [um], optional
        Wavelengths of the spectrum; needed for the model.

    Returns
    -------
    ndarray, float64, shape (len(table),)
        Weights; 0 for rows without a positive finite variance.

    Raises
    ------
    InvalidInputError
        When a name is not known or a column missing.
    """
    for name, value, allowed in (
        ("weight_type", weight_type, get_args(WeightType)),
        ("poisson", poisson, get_args(PoissonVariance)),
    ):
        if value not in allowed:
            msg = f"{name}: {value!r} is not allowed, it must be one of {', '.join(allowed)}"
            raise InvalidInputError(msg)
    needed = {"exptime": ["exptime"], "exptime_bar": ["exptime", "bar"]}.get(weight_type, [])
    has = _columns(table, ["var_total", "var_rnoise", *needed])
    if weight_type == "ivm":
        weight = 1.0 / has["var_rnoise"]
    elif weight_type == "poisson":
        if poisson == "model" and wave_grid is None:
            msg = "wave_grid: None is not allowed with poisson='model'"
            raise InvalidInputError(msg)
        variance = has["var_total"] if wave_grid is None or poisson == "data" else model_variance(table, wave_grid)
        weight = 1.0 / variance
    elif weight_type == "exptime_bar":
        weight = has["exptime"] * has["bar"] ** 2
    else:
        weight = has["exptime"] if weight_type == "exptime" else np.ones(table.height)
    is_good = (has["var_total"] > 0) & np.isfinite(weight) & (weight > 0)
    return np.where(is_good, weight, 0.0)


def _running(sums: NDArray[np.float64], half_width: int) -> NDArray[np.float64]:
    """Return sums over windows of ``2 half_width + 1`` bins, shorter at the ends."""
    total = np.concatenate([np.zeros((sums.shape[0], 1)), np.cumsum(sums, axis=1)], axis=1)
    bins = np.arange(sums.shape[1])
    high = np.minimum(bins + half_width + 1, sums.shape[1])
    return np.asarray(total[:, high] - total[:, np.maximum(bins - half_width, 0)], dtype=np.float64)


def model_variance(
    table: pl.DataFrame,
    wave_grid: ArrayLike,
    *,
    y_range: tuple[float, float] = (-3.0, 3.0),
    n_flux: int = 2,
    n_noise: int = 15,
) -> NDArray[np.float64]:
    """Return the variance of every row that a smooth model of its light predicts.

    Parameters
    ----------
    table : polars.DataFrame
        As `get_flat_diff_arrays` gives it.
    wave_grid : array_like, float64, shape (n,) [um]
        Wavelengths of the spectrum.
    y_range : tuple of float [pix]
        Distances from the trace that count.
    n_flux, n_noise : int
        Half widths of the windows in which the flux, and the noise per flux, are averaged [bin].

    Returns
    -------
    ndarray, float64, shape (len(table),) [uJy2]
        Variances; ``var_total`` for rows outside of the grid.

    Notes
    -----
    The variance beyond the read noise is fitted, in windows of wavelength, by ``a + k |p| F``: a for the sky, and k per
    flux of the source, whose F is an average over neighbouring wavelengths. Single pixels hardly enter their own
    variance.
    """
    edges = bin_edges(wave_grid)
    has = _columns(table, ["sci", "var_total", "var_rnoise", "wave", "yslit", "profile", "pathloss"])
    inside = (has["yslit"] >= y_range[0]) & (has["yslit"] <= y_range[1])
    weight = np.where(inside, 1.0 / has["var_rnoise"], 0.0)
    wave, p = has["wave"], has["profile"]
    planes = np.stack([weight * p * has["sci"] / has["pathloss"], weight * p**2])
    number, squares = _running(_rust.bin_sums(wave, None, edges, planes), n_flux)
    flux = np.divide(number, squares, out=np.zeros_like(number), where=squares > 0)
    bins = np.searchsorted(edges, wave, side="right") - 1
    known = (bins >= 0) & (bins < flux.size)
    at = np.where(known, bins, 0)
    model = np.where(known, np.maximum(flux[at], 0.0), 0.0) * np.abs(p) * has["pathloss"]
    noise = has["var_total"] - has["var_rnoise"]
    ones = np.where(inside, 1.0, 0.0)
    planes = np.stack([ones, ones * model, ones * model**2, ones * noise, ones * noise * model])
    n, m, mm, q, qm = _running(_rust.bin_sums(wave, None, edges, planes), n_noise)
    spread = n * mm - m**2
    slope = np.divide(n * qm - m * q, spread, out=np.zeros_like(n), where=spread > 1e-12 * n * mm)
    slope = np.maximum(slope, 0.0)
    level = np.divide(q - slope * m, n, out=np.zeros_like(n), where=n > 0)
    predicted = has["var_rnoise"] + np.maximum(level[at] + slope[at] * model, 0.0)
    return np.where(known & (n[at] > 0), predicted, has["var_total"])


def limited_variance(variance: ArrayLike, valid: ArrayLike) -> NDArray[np.float64]:
    """Return variances of photons that are at most the second largest of the eight pixels around.

    Parameters
    ----------
    variance : array_like, float64, shape (n, ny, nx) [uJy2]
        Variances that follow the data.
    valid : array_like, bool, shape (n, ny, nx)
        True = good.

    Returns
    -------
    ndarray, float64, shape (n, ny, nx) [uJy2]
        Variances; those of pixels with fewer than two good neighbours are as they were.

    Raises
    ------
    InvalidInputError
        When the shapes differ.

    Notes
    -----
    A cosmic ray raises the variance that a pipeline gives for its photons, so it looks less significant than it is.
    """
    values = as_floats(variance, "variance", shape=(None, None, None))
    good = np.asarray(as_array(valid, "valid", np.bool_, shape=values.shape), np.bool_) & np.isfinite(values)
    around = np.pad(np.where(good, values, -np.inf), ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    ny, nx = values.shape[1:]
    first = np.full(values.shape, -np.inf)
    second = first.copy()
    for j in range(3):
        for i in range(3):
            if (j, i) != (1, 1):
                one = around[:, j : j + ny, i : i + nx]
                second = np.maximum(second, np.minimum(first, one))
                first = np.maximum(first, one)
    return np.where(np.isfinite(second), np.minimum(values, second), values)
