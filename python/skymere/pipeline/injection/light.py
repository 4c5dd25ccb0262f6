"""The light of fake sources on the pixels of an image, and the noise that comes with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import NoiseCovariance
from skymere.pipeline.injection.randoms import random_stream
from skymere.profiles import render_sersic
from skymere.psf import Psf, PsfGrid
from skymere.wcs import Grid

__all__ = ["FakeLight", "add_light", "fake_light", "image_angle", "own_noise", "poisson_factor"]

# Stamps reach so many half-light radii that 0.5 % of the light, or less, is further out, and no further than this.
_FURTHEST = 40.0
# Pixels of which the sources' own noise is read off, in units of the noise, and how many it takes.
_BRIGHT, _FEWEST = 10.0, 100


@dataclass(frozen=True, kw_only=True, eq=False)
class FakeLight:
    """What fake sources add to an image.

    Parameters
    ----------
    stamps : list of ndarray, float64, shape (h, w) [unit of the image]
        Of each source; empty when all of it is beside the image.
    corners : list of (int, int)
        Row and column of the first pixel of each stamp.
    x, y : ndarray, float64, shape (n,) [pix]
        Centres on the image.
    fluxes : ndarray, float64, shape (n,) [unit of the image]
        All of the light.
    """

    stamps: list[NDArray[np.float64]]
    corners: list[tuple[int, int]]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    fluxes: NDArray[np.float64]

    def window(self, i: int) -> tuple[slice, slice]:
        """Return the rows and columns of a stamp."""
        (y0, x0), (h, w) = self.corners[i], self.stamps[i].shape
        return slice(y0, y0 + h), slice(x0, x0 + w)


def fake_light(
    fakes: pl.DataFrame, grid: Grid, psf: Psf | PsfGrid, *, fluxes: NDArray[np.float64], psf_has_pixel: bool = True
) -> FakeLight:
    """Return the light of fake sources behind a PSF.

    Parameters
    ----------
    fakes : polars.DataFrame
        With ``ra, dec, true_r_eff`` [arcsec], ``true_sersic_index, true_axis_ratio, true_pa`` [deg].
    grid : Grid
        Pixels of the image.
    psf : Psf or PsfGrid
        Its PSF.
    fluxes : ndarray, float64, shape (n,) [unit of the image]
        Total fluxes.
    psf_has_pixel : bool, optional
        Whether a PSF that is an array holds the pixel's response.
    """
    ra, dec = fakes["ra"].to_numpy(), fakes["dec"].to_numpy()
    x, y = grid.pixels(ra, dec)
    angle = image_angle(grid, ra, dec, fakes["true_pa"].to_numpy())
    r_eff = fakes["true_r_eff"].to_numpy() / grid.scale_arcsec
    index, ratio = fakes["true_sersic_index"].to_numpy(), fakes["true_axis_ratio"].to_numpy()
    stamps, corners = [], []
    for i in range(fakes.height):
        here = psf.at(float(x[i]), float(y[i])) if isinstance(psf, PsfGrid) else psf
        reach = min(_FURTHEST, 2.5 + 2.5 * index[i] ** 1.9)
        half = int(np.ceil(reach * r_eff[i] + max(here.shape) / 2 / here.oversampling)) + 2
        x0, y0 = max(0, int(x[i]) - half), max(0, int(y[i]) - half)
        x1, y1 = min(grid.shape[1], int(x[i]) + half + 1), min(grid.shape[0], int(y[i]) + half + 1)
        corners.append((y0, x0))
        is_on = -0.5 <= x[i] <= grid.shape[1] - 0.5 and -0.5 <= y[i] <= grid.shape[0] - 0.5
        if not is_on:
            stamps.append(np.zeros((0, 0)))
            continue
        drawn = render_sersic(
            (y1 - y0, x1 - x0),
            x=x[i] - x0,
            y=y[i] - y0,
            flux=fluxes[i],
            re=r_eff[i],
            n=index[i],
            q=ratio[i],
            pa=angle[i],
            psf=here,
            psf_has_pixel=psf_has_pixel,
        )
        stamps.append(drawn)
    return FakeLight(stamps=stamps, corners=corners, x=x, y=y, fluxes=fluxes)


def image_angle(
    grid: Grid, ra: NDArray[np.float64], dec: NDArray[np.float64], pa: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return position angles (north through east) as angles from +y of an image, counter-clockwise [deg]."""
    step = 0.1 / 3600.0
    x0, y0 = grid.pixels(ra, dec)
    turn = np.deg2rad(pa)
    x1, y1 = grid.pixels(ra + step * np.sin(turn) / np.cos(np.deg2rad(dec)), dec + step * np.cos(turn))
    return np.asarray(np.rad2deg(np.arctan2(-(x1 - x0), y1 - y0)), np.float64)


def poisson_factor(data: NDArray[Any], variance: NDArray[Any], weight: NDArray[Any]) -> float:
    """Return k of the sources' own variance ``k data / weight``, as the bright pixels of a mosaic have it.

    Parameters
    ----------
    data, variance, weight : ndarray, shape (ny, nx)
        Planes of a mosaic.

    Returns
    -------
    float
        0 when fewer than 100 pixels are 10 sigma bright, or their variance is not above that of the sky.
    """
    covered = (weight > 0) & np.isfinite(data) & np.isfinite(variance) & (variance > 0)
    signal = np.where(covered, data / np.sqrt(np.where(covered, variance, 1.0)), 0.0)
    sky, bright = covered & (np.abs(signal) < 2.0), covered & (signal > _BRIGHT)
    if np.count_nonzero(bright) < _FEWEST or not sky.any():
        return 0.0
    scaled = np.asarray(variance, np.float64) * weight
    excess = scaled[bright] - np.median(scaled[sky])
    return max(0.0, float(excess.sum() / np.asarray(data, np.float64)[bright].sum()))


def own_noise(
    shape: tuple[int, int], noise: NoiseCovariance | None, *, run: str, i_object: int, draw: str
) -> NDArray[np.float64]:
    """Return noise of variance 1, correlated as that of a mosaic, for the stamp of a source.

    Parameters
    ----------
    shape : tuple of int
        Of the stamp.
    noise : NoiseCovariance, optional
        Of the mosaic; independent pixels when None.
    run, i_object, draw : str, int, str
        What it is for; see `random_stream`.

    Notes
    -----
    White noise filtered with the root of the transform of the correlation in the interior of the mosaic; what that
    transform has below zero, as kernels are cut, is left out.
    """
    stream = random_stream(run, i_object, draw)
    if noise is None:
        return stream.standard_normal(shape)
    kernel = noise.kernels[0]
    n = kernel.shape[0] // 2
    wide = (shape[0] + 2 * n, shape[1] + 2 * n)
    around = np.zeros(wide)
    rows, columns = (np.arange(-n, n + 1) % size for size in wide)
    around[np.ix_(rows, columns)] = kernel
    power = np.maximum(np.fft.fft2(around).real, 0.0)
    root = np.sqrt(power / power.mean())
    field = np.fft.ifft2(np.fft.fft2(stream.standard_normal(wide)) * root).real
    return np.asarray(field[: shape[0], : shape[1]], np.float64)


def add_light(
    planes: Mapping[str, NDArray[Any]],
    light: FakeLight,
    *,
    factor: float,
    noise: NoiseCovariance | None,
    run: str,
    numbers: NDArray[np.int64],
    band: str,
) -> None:
    """Add fake sources to the planes ``sci`` and ``var`` of a mosaic, in place, with their own noise."""
    for i, (stamp, number) in enumerate(zip(light.stamps, numbers, strict=True)):
        if not stamp.size:
            continue
        window = light.window(i)
        weight = planes["wht"][window]
        own = np.where(weight > 0, factor * np.maximum(stamp, 0.0) / np.where(weight > 0, weight, 1.0), 0.0)
        grain = own_noise(stamp.shape, noise, run=run, i_object=int(number), draw=f"noise/{band}")
        planes["sci"][window] += (stamp + np.sqrt(own) * grain).astype(np.float32)
        planes["var"][window] += own.astype(np.float32)
