"""One-dimensional spectra from tables of pixels, with the covariance of raw pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_floats
from skymere._rust import slit as _rust
from skymere.errors import InvalidInputError
from skymere.slit.grids import bin_edges
from skymere.slit.pixel_table import RawNoise
from skymere.slit.sky_noise import sky_covariance
from skymere.slit.weights import WeightType, pixel_weights

__all__ = ["ExtractParams", "SlitSpectrum", "extract_spectrum", "pixel_table_to_1d"]

Extraction = Literal["optimal", "boxcar"]
Share = Literal["centre", "overlap"]
_LEFT_OUT = 1e-3
_NEEDED = ("sci", "sky", "var_total", "var_rnoise", "wave", "yslit", "profile", "pathloss")


def _read(table: pl.DataFrame) -> dict[str, NDArray[np.float64]]:
    missing = [name for name in _NEEDED if name not in table.columns]
    if missing:
        msg = f"table: columns {table.columns} are not allowed, {', '.join(missing)} are missing"
        raise InvalidInputError(msg)
    names = [*_NEEDED, *(name for name in ("normalization", "dwave_dx") if name in table.columns)]
    return {name: np.ascontiguousarray(table[name].to_numpy(), dtype=np.float64) for name in names}


def _chosen(
    table: pl.DataFrame, has: dict[str, NDArray[np.float64]], y_range: tuple[float, float]
) -> NDArray[np.bool_]:
    good = np.isfinite(has["sci"] + has["var_rnoise"] + has["var_total"] + has["profile"])
    if "mask" in table.columns:
        good &= table["mask"].to_numpy()
    return good & (has["yslit"] >= y_range[0]) & (has["yslit"] <= y_range[1])


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b != 0)


def _spread(around: NDArray[np.float64], mean: NDArray[np.float64], square: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scatter around a wavelength, of the means of wavelengths and of their squares; 0 where unknown."""
    with np.errstate(invalid="ignore"):
        variance = square - 2 * around * mean + around**2
    return np.sqrt(np.maximum(np.nan_to_num(variance), 0.0))


def pixel_table_to_1d(
    table: pl.DataFrame,
    wave_grid: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    y_range: tuple[float, float] = (-3.0, 3.0),
) -> pl.DataFrame:
    """Return the optimal extraction and sums of a table of pixels, each in the bin of its centre.

    Parameters
    ----------
    table : polars.DataFrame
        As `get_flat_diff_arrays` gives it.
    wave_grid : array_like, float64, shape (n,) [um]
        Wavelengths.
    weight : array_like, float64, shape (len(table),), optional
        Weights; ``1 / var_rnoise`` when not given (msaexp's function takes the variance itself).
    y_range : tuple of float [pix]
        Distances from the trace that count.

    Returns
    -------
    polars.DataFrame
        ``wave`` [um], ``flux``, ``err`` [uJy], ``path_corr``, ``sky`` [uJy], ``npix``, ``norm_corr`` (with the column
        ``normalization``), ``flux_sum`` [uJy], ``profile_sum``, ``var_sum`` [uJy2]; NaN without a pixel. ``wave_mean``
        [um] is the mean wavelength of the light in the bin, that of its middle without a pixel, and ``wave_spread``
        [um] the scatter around it, 0 without a pixel.

    Raises
    ------
    InvalidInputError
        When a column is missing, lengths differ or the grid does not grow.

    Notes
    -----
    With the path loss t, ``flux = sum(d / t w p) / sum(w p^2)`` and its variance ``sum(v / t^2 w^2 p^2) / sum(w
    p^2)^2``: rows count as independent, which the differences of nods are not. `extract_spectrum` has the right errors.
    Pixels are as wide as bins, so a bin seldom holds light from its middle: ``flux`` is that at ``wave_mean = sum(w p^2
    wave) / sum(w p^2)``, up to half a bin beside it, and differently so along the spectrum. Lines are broader than on
    the pixels by the scatter of the wavelengths in a bin.

    References
    ----------
    Horne 1986, PASP 98, 609, eqs. 8 and 9.
    """
    has = _read(table)
    edges = bin_edges(wave_grid)
    w = 1.0 / has["var_rnoise"] if weight is None else as_floats(weight, "weight", shape=(table.height,))
    chosen = _chosen(table, has, y_range)
    d, p, t, v, w = (one[chosen] for one in (has["sci"], has["profile"], has["pathloss"], has["var_total"], w))
    planes = {
        "profile": p,
        "flux": d / t,
        "variance": v / t**2,
        "number": d * w * p,
        "with_path": d / t * w * p,
        "sky": has["sky"][chosen] / t * w * p**2,
        "noise": v / t**2 * w**2 * p**2,
        "count": np.ones_like(d),
        "squares": w * p**2,
        "wave": has["wave"][chosen] * w * p**2,
        "wave2": has["wave"][chosen] ** 2 * w * p**2,
    }
    if "normalization" in has:
        planes["without"] = d / has["normalization"][chosen] * w * p
    sums = _rust.bin_sums(has["wave"][chosen], None, edges, np.stack(list(planes.values())))
    s = dict(zip(planes, sums, strict=True))
    columns = {
        "wave": as_floats(wave_grid, "wave_grid", shape=(None,)),
        "flux": _ratio(s["with_path"], s["squares"]),
        "err": np.sqrt(_ratio(s["noise"], s["squares"] ** 2)),
        "path_corr": _ratio(s["with_path"], s["number"]),
        "sky": _ratio(s["sky"], s["squares"]),
        "npix": s["count"],
    }
    if "without" in s:
        columns["norm_corr"] = _ratio(s["number"], s["without"])
    columns |= {"flux_sum": s["flux"], "profile_sum": s["profile"], "var_sum": s["variance"]}
    mean = _ratio(s["wave"], s["squares"])
    columns["wave_mean"] = np.where(np.isfinite(mean), mean, columns["wave"])
    columns["wave_spread"] = _spread(mean, mean, _ratio(s["wave2"], s["squares"]))
    return pl.DataFrame(columns)


@dataclass(frozen=True, kw_only=True)
class ExtractParams:
    """How a spectrum is extracted.

    Parameters
    ----------
    method : str
        ``optimal``: weighted by the profile; ``boxcar``: the sum over ``y_range``, where
        the profile is not 0, over the sum of the profile.
    share : str
        ``centre``: a pixel belongs to the bin of its centre; ``overlap``: it is shared among bins by overlap, with the
        width ``pixfrac * dwave_dx``.
    pixfrac : float
        Width of the pixels that are shared.
    y_range : tuple of float [pix]
        Distances from the trace that count.
    weight_type, poisson : str
        See `pixel_weights`.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    method: Extraction = "optimal"
    share: Share = "centre"
    pixfrac: float = 1.0
    y_range: tuple[float, float] = (-3.0, 3.0)
    weight_type: WeightType = "ivm"
    poisson: Literal["model", "data"] = "model"

    def __post_init__(self) -> None:
        for name, allowed in (("method", get_args(Extraction)), ("share", get_args(Share))):
            if getattr(self, name) not in allowed:
                msg = f"{name}: {getattr(self, name)!r} is not allowed, it must be one of {', '.join(allowed)}"
                raise InvalidInputError(msg)
        if not self.y_range[0] < self.y_range[1] or not self.pixfrac > 0:
            msg = (
                f"y_range, pixfrac: {self.y_range}, {self.pixfrac} are not allowed, "
                "the range must grow and the width be positive"
            )
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class SlitSpectrum:
    """An extracted spectrum with its covariance.

    Parameters
    ----------
    wave : ndarray, float64, shape (n,) [um]
        Wavelengths.
    flux : ndarray, float64, shape (n,) [uJy]
        Fluxes; NaN without a pixel.
    covariance : ndarray, float64, shape (n, k) [uJy2]
        Covariance of every flux with itself and the ``k - 1`` after it; 0 where one has no pixel.
    n_pixels : ndarray, float64, shape (n,)
        Pixels in the bin.
    wave_mean : ndarray, float64, shape (n,) [um]
        Mean wavelength of the light in each bin: where ``flux`` is that of the source. It is the middle of the bin
        without a pixel, and where pixels are shared by overlap, which keeps the middle of their light.
    wave_spread : ndarray, float64, shape (n,), optional [um]
        Scatter of the wavelengths of the pixels in each bin around that: by so much lines are broader than on the
        pixels. None in spectra that do not tell.
    """

    wave: NDArray[np.float64]
    flux: NDArray[np.float64]
    covariance: NDArray[np.float64]
    n_pixels: NDArray[np.float64]
    wave_mean: NDArray[np.float64]
    wave_spread: NDArray[np.float64] | None = None

    @property
    def err(self) -> NDArray[np.float64]:
        """1 sigma of ``flux``, float64, shape (n,) [uJy]; NaN without a pixel."""
        return np.where(np.isfinite(self.flux), np.sqrt(self.covariance[:, 0]), np.nan)

    def sum_flux(self, coefficients: ArrayLike) -> tuple[float, float]:
        """Return a linear sum of fluxes and its 1 sigma.

        Parameters
        ----------
        coefficients : array_like, float64, shape (n,)
            Coefficients; bins without a pixel must have 0.

        Raises
        ------
        InvalidInputError
            When a bin without a pixel has a coefficient.
        """
        c = as_floats(coefficients, "coefficients", shape=self.wave.shape)
        is_known = np.isfinite(self.flux)
        if (c[~is_known] != 0).any():
            msg = "coefficients: bins without a pixel must have 0"
            raise InvalidInputError(msg)
        variance = 0.0
        for k in range(self.covariance.shape[1]):
            products = c[: c.size - k] * c[k:] * self.covariance[: c.size - k, k]
            variance += (1.0 if k == 0 else 2.0) * float(products.sum())
        return float((c * np.where(is_known, self.flux, 0.0)).sum()), float(np.sqrt(max(variance, 0.0)))


def _sky_covariance(
    raw: RawNoise,
    table: pl.DataFrame,
    wave: NDArray[np.float64],
    width: NDArray[np.float64] | None,
    coefficient: NDArray[np.float64],
    edges: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return what the sky of a group adds to the covariance of sums over the rows of its table."""
    exposure, pixel = table["exposure_index"].to_numpy(), table["pixel_index"].to_numpy()
    count = raw.n_negative[exposure, pixel]

    def project(planes: NDArray[np.float64]) -> NDArray[np.float64]:
        subtracted = np.zeros((len(planes), coefficient.size))
        for j in range(len(raw.position)):
            is_in = (raw.position[exposure] != raw.position[j]) & ~raw.mask[j, pixel] & (count > 0)
            subtracted[:, is_in] += planes[:, j, pixel[is_in]]
        rows = coefficient * (planes[:, exposure, pixel] - subtracted / np.maximum(count, 1))
        return _rust.bin_sums(wave, width, edges, np.ascontiguousarray(rows))

    assert raw.sky is not None
    return sky_covariance(raw.sky, raw.wavelength, raw.variance, project, edges.size - 1)


def _as_band(bands: list[NDArray[np.float64]], skies: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the sum of bands and of whole matrices as one band."""
    n = bands[0].shape[0]
    width = max(band.shape[1] for band in bands)
    if skies:
        total = np.sum(skies, axis=0)
        size = np.sqrt(np.sum([band[:, 0] for band in bands], axis=0) + np.abs(np.diag(total)))
        size = np.where(size > 0, size, np.inf)
        relative = np.abs(total) / size / size[:, None]
        # What is left out changes the variance of any sum by at most a thousandth of the sum of its parts.
        left_out = [float(np.diag(relative, k).max()) for k in range(n)]
        beyond = np.cumsum(left_out[::-1])[::-1]
        width = max(width, int((2 * beyond > _LEFT_OUT).sum()))
    out = np.zeros((n, width))
    for band in bands:
        out[:, : band.shape[1]] += band
    for k in range(width if skies else 0):
        out[: n - k, k] += np.diag(total, k)
    return out


def extract_spectrum(
    tables: pl.DataFrame | Sequence[pl.DataFrame],
    noise: RawNoise | Sequence[RawNoise],
    wave_grid: ArrayLike,
    *,
    params: ExtractParams | None = None,
) -> SlitSpectrum:
    """Return a spectrum whose covariance is that of the raw pixels.

    Parameters
    ----------
    tables : polars.DataFrame or sequence of them
        One table for each group of exposures whose nods were subtracted from each other, as `get_flat_diff_arrays`
        gives it.
    noise : RawNoise or sequence of them
        The raw pixels of each table, as `raw_noise` gives them.
    wave_grid : array_like, float64, shape (n,) [um]
        Wavelengths.
    params : ExtractParams, optional
        Method, weights and sharing.

    Raises
    ------
    InvalidInputError
        When numbers of tables and noises differ, a column is missing or the grid does not grow.

    Notes
    -----
    Every flux is a linear sum over rows, and every row ``d_i - sum_j d_j / m`` of raw pixels, so the fluxes are ``L d``
    with the covariance ``L V L^T`` of raw pixels, which are independent. A raw pixel that is added at one nod and
    subtracted at the others, or that is shared among bins, enters with all its coefficients: taken as independent rows,
    errors come out too small by 1.2 to 1.4 where the negative traces are used or bins share pixels. Of a sky ``A c``
    that was fitted to raw pixels, ``c = H d``, and subtracted, it is ``(L - L A H) V (L - L A H)^T``; of one out of
    spectra of the background see `sky_covariance`. The weights, and the trace behind the profile, count as known.

    References
    ----------
    Horne 1986, PASP 98, 609, eqs. 8 and 9, for the coefficients.
    """
    asked = params or ExtractParams()
    groups = [tables] if isinstance(tables, pl.DataFrame) else list(tables)
    noises = [noise] if isinstance(noise, RawNoise) else list(noise)
    if len(groups) != len(noises) or not groups:
        msg = f"noise: {len(noises)} are not allowed, there must be one for each of {len(groups)} tables"
        raise InvalidInputError(msg)
    grid = as_floats(wave_grid, "wave_grid", shape=(None,))
    edges = bin_edges(grid)
    parts = []
    for table in groups:
        has = _read(table)
        if asked.share == "overlap" and "dwave_dx" not in has:
            msg = f"tables: columns {table.columns} are not allowed, share='overlap' needs dwave_dx"
            raise InvalidInputError(msg)
        weight = pixel_weights(table, weight_type=asked.weight_type, poisson=asked.poisson, wave_grid=grid)
        chosen = _chosen(table, has, asked.y_range) & (weight > 0)
        path, p = has["pathloss"][chosen], has["profile"][chosen]
        # sum(c d) / sum(c path p) for both: c = w p / path is Horne's.
        # A box has no place for pixels whose profile was cut to 0: their light is subtracted from other nods.
        c = weight[chosen] * p / path if asked.method == "optimal" else np.where(p != 0, 1.0 / path, 0.0)
        width = (
            np.ascontiguousarray(np.abs(has["dwave_dx"][chosen]) * asked.pixfrac) if asked.share == "overlap" else None
        )
        wave = has["wave"][chosen]
        unit = c * path * p
        planes = np.stack([c * has["sci"][chosen], unit, np.ones_like(c), unit * wave, unit * wave**2])
        parts.append((table.filter(chosen), wave, width, c, _rust.bin_sums(wave, width, edges, planes)))
    number, unit, n_pixels, moment, square = np.sum([part[-1] for part in parts], axis=0)
    mean = grid if asked.share == "overlap" else _ratio(moment, unit)
    bands = [
        _rust.raw_covariance(
            wave,
            width,
            edges,
            np.ascontiguousarray(c),
            np.ascontiguousarray(table["exposure_index"].to_numpy(), dtype=np.int64),
            np.ascontiguousarray(table["pixel_index"].to_numpy(), dtype=np.int64),
            raw.position,
            raw.variance,
            raw.mask,
            raw.n_negative,
        )
        for (table, wave, width, c, _), raw in zip(parts, noises, strict=True)
    ]
    skies = [
        _sky_covariance(raw, table, wave, width, c, edges)
        for (table, wave, width, c, _), raw in zip(parts, noises, strict=True)
        if raw.sky is not None
    ]
    covariance = _as_band(bands, skies)
    scale = np.divide(1.0, unit, out=np.zeros_like(unit), where=unit != 0)
    for k in range(covariance.shape[1]):
        covariance[: grid.size - k, k] *= scale[: grid.size - k] * scale[k:]
    return SlitSpectrum(
        wave=grid,
        flux=_ratio(number, unit),
        covariance=covariance,
        n_pixels=n_pixels,
        wave_mean=np.where(np.isfinite(mean), mean, grid),
        wave_spread=_spread(mean, _ratio(moment, unit), _ratio(square, unit)),
    )
