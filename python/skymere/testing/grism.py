"""Exposures of a grism with known truth: GalSim profiles dispersed on a grid much finer than the pixels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere.datamodels import ANGSTROM, Beam, GrismConfig, GrismOrder
from skymere.errors import InvalidInputError

__all__ = ["GrismScene", "GrismSceneParams", "simulate_grism"]

_Array = NDArray[np.float64]
# Steps of light within a fine column.
_N_STEPS = 4
_COLUMNS = ("id", "x", "y", "flux", "radius_pix", "sersic_n", "q", "pa_deg")


@dataclass(frozen=True, kw_only=True)
class GrismSceneParams:
    """What `simulate_grism` makes.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the frame.
    oversampling : int
        Fine pixels in a pixel, 5 or more.
    psf_fwhm_pix : float
        Width of the PSF (Moffat, beta 3) [pix].
    segment_level : float
        Pixels above this part of a source's peak belong to its segment.
    stamp_pix : int
        Half width of the image of a source that is dispersed [pix].
    sky : float
        Sky of a pixel of the grism exposure [e/s], whose noise is in the error; it is subtracted.
    read_noise : float
        Sigma of the read-out of an exposure [e].
    exptime : float
        Exposure time [s].
    direct_noise : float
        Sigma of a pixel of the direct image [e/s].
    orders : tuple of str
        Orders that are drawn.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    shape: tuple[int, int] = (100, 320)
    oversampling: int = 8
    psf_fwhm_pix: float = 1.1
    segment_level: float = 0.01
    stamp_pix: int = 24
    sky: float = 1.2
    read_noise: float = 12.0
    exptime: float = 1100.0
    direct_noise: float = 0.0
    orders: tuple[str, ...] = ("A",)

    def __post_init__(self) -> None:
        for name, least in (("oversampling", 5), ("stamp_pix", 4)):
            if getattr(self, name) < least:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be {least} or more"
                raise InvalidInputError(msg)
        for name in ("psf_fwhm_pix", "exptime"):
            if not getattr(self, name) > 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        for name in ("sky", "read_noise", "direct_noise"):
            if not getattr(self, name) >= 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be 0 or more"
                raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class GrismScene:
    """A direct frame, a frame through the grism, and the truth behind them.

    Parameters
    ----------
    direct : ndarray, float32, shape (ny, nx) [e/s]
        The direct image with its noise.
    noiseless : ndarray, float32, shape (ny, nx) [e/s]
        The same without.
    segmentation : ndarray, int32, shape (ny, nx)
        Labels: the brightest source of each pixel.
    truth : mapping of int to ndarray, float64, shape (ny, nx) [e/s]
        What every source gives through the grism.
    sci, err : ndarray, float32, shape (ny, nx) [e/s]
        All of it with noise, and 1 sigma of that.
    catalog : DataFrame
        The sources.
    config : GrismConfig
        The grism.
    params : GrismSceneParams
        What was asked for.
    """

    direct: NDArray[np.float32]
    noiseless: NDArray[np.float32]
    segmentation: NDArray[np.int32]
    truth: Mapping[int, _Array]
    sci: NDArray[np.float32]
    err: NDArray[np.float32]
    catalog: pl.DataFrame
    config: GrismConfig
    params: GrismSceneParams

    def beam(self, source_id: int, *, order: str = "A", size: int = 20, contam: ArrayLike | None = None) -> Beam:
        """Return the beam of a source, which must lie wholly in the frame.

        Parameters
        ----------
        source_id : int
            The source.
        order : str, optional
            Its order.
        size : int, optional
            Half width of the direct image [pix].
        contam : array_like, float32, shape (ny, nx) [e/s], optional
            Light of other sources in the frame; none when not given.

        Raises
        ------
        InvalidInputError
            When there is no such source, or its beam is not in the frame.
        """
        rows = self.catalog.filter(pl.col("id") == source_id)
        if rows.height != 1:
            msg = f"source_id: {source_id} is not allowed, there are {self.catalog['id'].to_list()}"
            raise InvalidInputError(msg)
        x, y = rows["x"][0], rows["y"][0]
        one = self.config.order(order)
        column, line = round(x) + 1, round(y) + 1
        rows_at, columns_at = slice(line - size, line + size), slice(column - size, column + size)
        spectrum = slice(columns_at.start + one.first, columns_at.stop + one.end)
        ny, nx = self.direct.shape
        starts, ends = (rows_at.start, columns_at.start, spectrum.start), (rows_at.stop, columns_at.stop, spectrum.stop)
        if min(starts) < 0 or ends[0] > ny or max(ends[1:]) > nx:
            msg = f"source_id: the beam of {source_id} is not wholly in the frame of {ny} x {nx} pixels"
            raise InvalidInputError(msg)
        zero = np.zeros(self.direct.shape, np.float32)
        around = zero if contam is None else np.asarray(contam, np.float32)
        return Beam(
            source_id=source_id,
            order=order,
            direct=self.direct[rows_at, columns_at],
            segmentation=self.segmentation[rows_at, columns_at],
            sci=self.sci[rows_at, spectrum],
            err=self.err[rows_at, spectrum],
            dq=np.zeros((2 * size, spectrum.stop - spectrum.start), np.uint32),
            contam=around[rows_at, spectrum],
            origin=(rows_at.start, columns_at.start),
            grism_origin=(rows_at.start, spectrum.start),
            center_offset=(x - (column - 1), y - (line - 1)),
            grism=self.config.name,
            parent="simulated",
            exptime=self.params.exptime,
        )


def simulate_grism(
    sources: pl.DataFrame,
    spectra: Mapping[int, tuple[ArrayLike, ArrayLike]],
    config: GrismConfig,
    *,
    params: GrismSceneParams | None = None,
    seed: int | Sequence[int] = 1,
) -> GrismScene:
    """Simulate an exposure of a grism and its direct image.

    Parameters
    ----------
    sources : DataFrame
        Columns ``id``, ``x``, ``y`` (0-based [pix]), ``flux`` in the direct image [e/s], ``radius_pix`` (half light; 0
        for a point), ``sersic_n``, ``q`` and ``pa_deg`` (from x to y); perhaps ``stamp_pix``, instead of that of the
        parameters.
    spectra : mapping of int to (array_like, array_like)
        Wavelengths [um] and flux densities [erg/s/cm2/A] of every source by id.
    config : GrismConfig
        The grism.
    params : GrismSceneParams, optional
        Frame, PSF and noise.
    seed : int or sequence of int, optional
        Seed of the noise.

    Returns
    -------
    GrismScene
        Frames with truth.

    Raises
    ------
    InvalidInputError
        When a column or a spectrum is missing.

    Notes
    -----
    Every source is drawn with its PSF by GalSim on fine pixels; its light ``f S dl`` is laid along the trace on such
    pixels, both are convolved, and fine pixels are summed. Nothing is taken from the operators with which beams are
    modelled but the trace, wavelengths and sensitivity of the configuration.
    """
    import galsim

    params = GrismSceneParams() if params is None else params
    missing = [name for name in _COLUMNS if name not in sources.columns]
    if missing:
        msg = f"sources: columns {missing} are missing, it has {sources.columns}"
        raise InvalidInputError(msg)
    without = [one for one in sources["id"] if one not in spectra]
    if without:
        msg = f"spectra: those of {without} are missing"
        raise InvalidInputError(msg)
    rng = np.random.default_rng(seed)
    direct, brightest = np.zeros(params.shape), np.zeros(params.shape)
    labels = np.zeros(params.shape, np.int32)
    truth, total = {}, np.zeros(params.shape)
    for row in sources.iter_rows(named=True):
        psf = galsim.Moffat(beta=3.0, fwhm=params.psf_fwhm_pix)
        profile = psf if row["radius_pix"] <= 0 else galsim.Convolve(_galaxy(row), psf)
        window, image = _onto(params.shape, *_drawn(profile, row, params, fine=1))
        direct[window] += row["flux"] * image
        bright = row["flux"] * image
        mine = (image > params.segment_level * image.max(initial=0.0)) & (bright > brightest[window])
        labels[window][mine], brightest[window][mine] = row["id"], bright[mine]
        frame = np.zeros(params.shape)
        fine = _drawn(profile, row, params, fine=params.oversampling) if params.orders else None
        for name in params.orders:
            window, light = _dispersed(fine, row, spectra[row["id"]], config.order(name), params)
            frame[window] += light
            total[window] += light
        truth[int(row["id"])] = frame
    variance = (np.maximum(total, 0.0) + params.sky) / params.exptime + (params.read_noise / params.exptime) ** 2
    noise = rng.standard_normal(params.shape)
    noisy = direct + params.direct_noise * rng.standard_normal(params.shape)
    return GrismScene(
        direct=noisy.astype(np.float32),
        noiseless=direct.astype(np.float32),
        segmentation=labels,
        truth=truth,
        sci=(total + noise * np.sqrt(variance)).astype(np.float32),
        err=np.sqrt(variance).astype(np.float32),
        catalog=sources,
        config=config,
        params=params,
    )


def _galaxy(row: Mapping[str, Any]) -> Any:
    import galsim

    profile = galsim.Sersic(n=row["sersic_n"], half_light_radius=row["radius_pix"], trunc=6 * row["radius_pix"])
    return profile.shear(q=row["q"], beta=row["pa_deg"] * galsim.degrees)


def _drawn(profile: Any, row: Mapping[str, Any], params: GrismSceneParams, *, fine: int) -> tuple[_Array, int, int]:
    """Return the image of a source of flux 1 on fine pixels; the pixel in which it begins."""
    column, line = math.floor(row["x"] + 0.5), math.floor(row["y"] + 0.5)
    half = int(row.get("stamp_pix") or params.stamp_pix)
    n = (2 * half + 1) * fine
    offset = ((row["x"] - column) * fine, (row["y"] - line) * fine)
    image = profile.drawImage(nx=n, ny=n, scale=1 / fine, offset=offset, dtype=float).array
    return image, line - half, column - half


def _onto(shape: tuple[int, int], image: _Array, line: int, column: int) -> tuple[tuple[slice, slice], _Array]:
    """Return the window of a frame that an image covers which begins at a pixel, and the part of the image in it."""
    y0, x0 = min(max(line, 0), shape[0]), min(max(column, 0), shape[1])
    y1, x1 = max(min(line + image.shape[0], shape[0]), y0), max(min(column + image.shape[1], shape[1]), x0)
    return (slice(y0, y1), slice(x0, x1)), image[y0 - line : y1 - line, x0 - column : x1 - column]


def _dispersed(
    drawn: tuple[_Array, int, int] | None,
    row: Mapping[str, Any],
    spectrum: tuple[ArrayLike, ArrayLike],
    order: GrismOrder,
    params: GrismSceneParams,
) -> tuple[tuple[slice, slice], _Array]:
    """Return the window of the frame with an order of a source of which an image on fine pixels is given."""
    from scipy.signal import fftconvolve

    fine = params.oversampling
    step = 1.0 / (fine * _N_STEPS)
    borders = np.arange(order.first - 0.5, order.end - 0.5 + 0.5 * step, step)
    # Places count from 1, as those of configurations.
    place = order.place(row["x"] + 1, row["y"] + 1)
    wave_at = order.compiled.trace(place, borders)[1]
    middle = 0.5 * (borders[1:] + borders[:-1])
    dy, _ = order.compiled.trace(place, middle)
    at = np.unique(np.concatenate([np.asarray(spectrum[0], float) / ANGSTROM, order.wavelength, wave_at]))
    f = np.interp(at * ANGSTROM, np.asarray(spectrum[0]), np.asarray(spectrum[1]), left=0.0, right=0.0)
    product = f * np.interp(at, order.wavelength, order.sensitivity, left=0.0, right=0.0)
    below = np.concatenate([[0.0], np.cumsum(0.5 * (product[1:] + product[:-1]) * np.diff(at))])
    light = np.abs(np.diff(np.interp(wave_at, at, below)))
    lit = light != 0
    if drawn is None or not lit.any():
        return _onto(params.shape, np.zeros((0, 0)), 0, 0)
    # Light lies between the middles of fine pixels: it is shared among the four around it, along and across.
    top = math.floor(dy[lit].min()) - 1
    x, x_parts = _shared((middle[lit] - (order.first - 1)) * fine)
    y, y_parts = _shared((dy[lit] - top) * fine)
    n_x, n_y = (order.end - order.first + 2) * fine, int(y.max() // fine + 1) * fine
    along = np.zeros(n_y * n_x)
    for k in range(4):
        for j in range(4):
            along += np.bincount(y[k] * n_x + x[j], light[lit] * y_parts[k] * x_parts[j], n_y * n_x)
    image, line, column = drawn
    spread = fftconvolve(image, along.reshape(n_y, n_x))
    ny, nx = (-(-n // fine) for n in spread.shape)
    spread = np.pad(spread, ((0, ny * fine - spread.shape[0]), (0, nx * fine - spread.shape[1])))
    summed = spread.reshape(ny, fine, nx, fine).sum(axis=(1, 3))
    return _onto(params.shape, summed, line + top, column + order.first - 1)


def _shared(places: _Array) -> tuple[NDArray[np.int64], _Array]:
    """Return the four pixels around places and their parts, of Lagrange's cubic through them, both of shape (4, n)."""
    left = np.floor(places).astype(np.int64)
    t = places - left
    parts = [
        -t * (t - 1) * (t - 2) / 6,
        (t + 1) * (t - 1) * (t - 2) / 2,
        -(t + 1) * t * (t - 2) / 2,
        (t + 1) * t * (t - 1) / 6,
    ]
    return left + np.arange(-1, 3)[:, None], np.stack(parts)
