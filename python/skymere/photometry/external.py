"""Models that somebody gives as images, at the pixels of a band."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_image
from skymere.errors import InvalidInputError, NoOverlapError
from skymere.photometry.band import Band, jacobian
from skymere.photometry.effective import EffectivePsf
from skymere.photometry.models import Models
from skymere.photometry.params import PhotometryParams
from skymere.resample import DrizzleParams, Drizzler
from skymere.wcs import Grid

__all__ = ["ExternalModel", "ExternalModels"]

# Pixels of the grid that a model is drizzled to are no larger than those of the model over this, nor are there more of
# them along a pixel of the band.
_FINER, _FINEST = 1.0, 12


@dataclass(frozen=True, kw_only=True, eq=False)
class ExternalModel:
    """An image of a source that no PSF has blurred, placed on the sky.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx)
        Light in each pixel, in any unit: only its shape counts. It must be finite with a positive sum.
    wcs : astropy.wcs.WCS
        Celestial WCS of the pixels, of any size and direction.

    Raises
    ------
    InvalidInputError
        When a pixel is not finite, the sum is not positive or the WCS has no place on the sky.
    """

    data: ArrayLike
    wcs: WCS

    def __post_init__(self) -> None:
        data = as_image(self.data, "data")
        total = float(data.sum(dtype=float))
        if not (np.isfinite(total) and total > 0):
            msg = f"data: a sum of {total} is not allowed, the light of a model must be finite and positive"
            raise InvalidInputError(msg)
        shape = (data.shape[0], data.shape[1])
        object.__setattr__(self, "data", data)
        Grid(wcs=self.wcs, shape=shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class ExternalModels:
    """External models by ``source_id``."""

    by_id: Mapping[int, ExternalModel]

    def stamps(
        self,
        models: Models,
        band: Band,
        psf: EffectivePsf,
        params: PhotometryParams,
        shift: NDArray[np.float64],
    ) -> tuple[list[int], list[tuple[int, int, int, int]], NDArray[np.float32]]:
        """Return sources, windows ``(y0, x0, ny, nx)`` and values of the stamps of external models."""
        given: list[int] = []
        windows: list[tuple[int, int, int, int]] = []
        values: list[NDArray[np.float32]] = []
        for i in np.flatnonzero(models.kind == "external"):
            model = self.by_id.get(int(models.source_id[i]))
            if model is None or models.message[i]:
                continue
            try:
                stamp, y0, x0 = _stamp(model, band, psf, params, shift[i])
            except NoOverlapError as failure:
                models.message[i] = str(failure)
                continue
            if stamp.size:
                given.append(int(i))
                windows.append((y0, x0, stamp.shape[0], stamp.shape[1]))
                values.append(stamp.ravel())
        return given, windows, np.concatenate(values) if values else np.zeros(0, np.float32)


def _stamp(
    model: ExternalModel, band: Band, psf: EffectivePsf, params: PhotometryParams, shift: NDArray[np.float64]
) -> tuple[NDArray[np.float32], int, int]:
    """Return what the band's pixels show of a model of flux 1, and the first pixel of that window.

    Notes
    -----
    The model is drizzled to pixels of a part of the band's, which keeps its light, convolved with the PSF there, and
    looked at in the middle of the band's pixels. The response of the fine pixels is taken back, since the PSF holds
    that of a pixel of the band already (F52).
    """
    data = np.asarray(model.data)
    lit = np.argwhere(data != 0)
    (low_y, low_x), (high_y, high_x) = lit.min(axis=0), lit.max(axis=0) + 1
    data = data[low_y:high_y, low_x:high_x]
    x, y = _on_band(model, band, shift, np.array([low_x, high_x]) - 0.5, np.array([low_y, high_y]) - 0.5)
    steps = np.hypot(np.diff(x, axis=1), np.diff(y, axis=1)).mean() / data.shape[1]
    fineness = int(np.clip(np.ceil(_FINER / max(float(steps), 1e-3)), 1, _FINEST))
    s = psf.oversampling * int(np.ceil(fineness / psf.oversampling))
    reach = int(np.ceil(max(psf.image().shape) / 2 / psf.oversampling)) + 2
    x0, y0 = int(np.floor(x.min())) - reach, int(np.floor(y.min())) - reach
    nx, ny = int(np.ceil(x.max())) + reach + 1 - x0, int(np.ceil(y.max())) + reach + 1 - y0
    limit = 2 * params.max_stamp_pix + 1
    if nx > limit + 2 * reach or ny > limit + 2 * reach:
        sides = f"{nx - 2 * reach} x {ny - 2 * reach}"
        msg = f"external: {sides} pixels of the band are not allowed, at most 2 max_stamp_pix + 1 = {limit} are"
        raise NoOverlapError(msg)
    fine = _drizzled(model, band, shift, (low_y, low_x), data, (y0, x0), (ny, nx), s)
    stamp = _convolved(fine, psf, x0 + nx / 2, y0 + ny / 2, s)[::s, ::s] * (s * s / data.sum(dtype=float))
    top, bottom = max(0, -y0), max(0, min(ny, band.shape[0] - y0))
    left, right = max(0, -x0), max(0, min(nx, band.shape[1] - x0))
    inside = np.ascontiguousarray(stamp[top:bottom, left:right], np.float32)
    return inside, y0 + top, x0 + left


def _on_band(
    model: ExternalModel, band: Band, shift: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pixels of the band at a mesh of pixels of a model."""
    xx, yy = np.meshgrid(x, y)
    ra, dec = model.wcs.all_pix2world(xx.ravel(), yy.ravel(), 0)
    px, py = band.grid.pixels(ra, dec)
    middle = np.array([ra.mean()]), np.array([dec.mean()])
    move = jacobian(band.grid, *middle)[0] @ shift
    return (px + move[0]).reshape(xx.shape), (py + move[1]).reshape(yy.shape)


def _drizzled(
    model: ExternalModel,
    band: Band,
    shift: NDArray[np.float64],
    origin: tuple[int, int],
    data: NDArray[np.float32],
    first: tuple[int, int],
    shape: tuple[int, int],
    s: int,
) -> NDArray[np.float64]:
    """Return a model on pixels of a part of the band's; every s-th lies in a middle of the band's."""
    columns, rows = np.arange(data.shape[1]) + origin[1], np.arange(data.shape[0]) + origin[0]
    x, y = _on_band(model, band, shift, columns.astype(float), rows.astype(float))
    pixmap = np.stack([(x - first[1]) * s, (y - first[0]) * s], axis=-1)
    drizzler = Drizzler((shape[0] * s, shape[1] * s), params=DrizzleParams(fillval=0.0), context=False)
    drizzler.add(data, pixmap=np.ascontiguousarray(pixmap))
    found = drizzler.finish()
    # A mean of surface brightness where drops fall; the light of a pixel is that times its part that is covered.
    light = np.nan_to_num(found.data.astype(np.float64)) * found.weight
    return np.asarray(light * (data.sum(dtype=float) / light.sum()))


def _convolved(fine: NDArray[np.float64], psf: EffectivePsf, x: float, y: float, s: int) -> NDArray[np.float64]:
    """Convolve an image with the PSF at a place, both at so many pixels for each of the band."""
    image = _psf_at(psf, x, y)
    shape = tuple(n + m * s // psf.oversampling for n, m in zip(fine.shape, image.shape, strict=True))
    ky, kx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    # Of a PSF of coarser pixels the transform is repeated; what is beyond its own waves is not in the band.
    ratio = s // psf.oversampling
    within = (np.abs(ky * ratio) <= 0.5) & (np.abs(kx * ratio) <= 0.5)
    py, px = (np.arange(n) - (n - 1) / 2 for n in image.shape)
    waves_y = np.exp(-2j * np.pi * ky * ratio * py[None, :])
    waves_x = np.exp(-2j * np.pi * kx.T * ratio * px[None, :])
    response = (waves_y @ image @ waves_x.T) * within / np.maximum(np.sinc(ky) * np.sinc(kx), 0.4)
    return np.asarray(np.fft.irfft2(np.fft.rfft2(fine, shape) * response, shape)[: fine.shape[0], : fine.shape[1]])


def _psf_at(psf: EffectivePsf, x: float, y: float) -> NDArray[np.float64]:
    """Return the image of the PSF at a place, bilinear between its nodes."""

    def around(places: NDArray[np.float64], value: float) -> list[tuple[int, float]]:
        at = float(np.interp(value, places, np.arange(places.size)))
        first = min(int(at), places.size - 1)
        part = at - first
        return [(first, 1 - part), (min(first + 1, places.size - 1), part)]

    image = np.zeros_like(psf.image())
    for j, wy in around(psf.y, y):
        for i, wx in around(psf.x, x):
            image += wx * wy * psf.image(j * psf.x.size + i)
    return image
