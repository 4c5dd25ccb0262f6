"""Models that somebody gives as images, at the pixels of a band."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_image
from skymere.errors import InvalidInputError
from skymere.photometry.band import Band
from skymere.photometry.effective import EffectivePsf
from skymere.photometry.models import Models
from skymere.photometry.params import PhotometryParams
from skymere.resample import DrizzleParams, Drizzler
from skymere.wcs import Grid, pixel_jacobian

__all__ = ["ExternalModel", "ExternalModels", "ExternalStamps"]

# Pixels of the grid that a model is drizzled to are no larger than those of the model over this, nor are there more of
# them along a pixel of the band.
_FINER, _FINEST = 1.0, 12
# Windows of a wide model that are tried, each with sides of 0.8 of those before.
_N_WINDOWS = 30


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
class ExternalStamps:
    """Stamps of external models: whose they are, their windows ``(y0, x0, ny, nx)``, and their pixels in a row."""

    given: list[int]
    windows: list[tuple[int, int, int, int]]
    planes: NDArray[np.float32]
    """Rows of values and of derivatives by moves along x and y."""


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
    ) -> ExternalStamps:
        """Return the stamps of those of the models that are external; what is wrong with one is its message."""
        given: list[int] = []
        windows: list[tuple[int, int, int, int]] = []
        planes = [np.zeros((3, 0), np.float32)]
        for i in np.flatnonzero(models.kind == "external"):
            model = self.by_id.get(int(models.source_id[i]))
            if models.message[i]:
                continue
            if not isinstance(model, ExternalModel):
                models.message[i] = f"external: {type(model).__name__} is not allowed, it must be an ExternalModel"
                continue
            try:
                found = _stamp(model, band, psf, params, shift[i])
            except InvalidInputError as failure:
                models.message[i] = str(failure)
                continue
            if found is None:
                continue
            stamp, y0, x0 = found
            given.append(int(i))
            windows.append((y0, x0, stamp.shape[1], stamp.shape[2]))
            planes.append(stamp.reshape(3, -1))
        return ExternalStamps(given=given, windows=windows, planes=np.concatenate(planes, axis=1))


def _stamp(
    model: ExternalModel, band: Band, psf: EffectivePsf, params: PhotometryParams, shift: NDArray[np.float64]
) -> tuple[NDArray[np.float32], int, int] | None:
    """Return what the band's pixels show of a model of flux 1, its derivatives, and the first pixel of that window.

    None when it lies outside of the image.

    Notes
    -----
    The model is drizzled to pixels of a part of the band's, which keeps its light, convolved with the PSF there, and
    looked at in the middle of the band's pixels. The response of the fine pixels is taken back, since the PSF holds
    that of a pixel of the band already (F52).
    """
    whole = np.asarray(model.data)
    # A model may be wider than stamps are: its light beyond stays in the flux, as that of a profile does.
    reach = int(np.ceil(max(psf.image().shape) / 2 / psf.oversampling)) + 2
    for rows, columns in _windows(whole, params):
        data = whole[rows[0] : rows[1], columns[0] : columns[1]]
        x, y = _on_band(model, band, shift, np.array(columns) - 0.5, np.array(rows) - 0.5)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return None
        if max(float(np.ptp(x)), float(np.ptp(y))) <= 2 * params.max_stamp_pix + 1:
            break
    else:
        msg = f"external: pixels of {np.ptp(x):.0f} x {np.ptp(y):.0f} of the band are not allowed, they are too large"
        raise InvalidInputError(msg)
    steps = np.hypot(np.diff(x, axis=1), np.diff(y, axis=1)).mean() / data.shape[1]
    fineness = int(np.clip(np.ceil(_FINER / max(float(steps), 1e-3)), 1, _FINEST))
    s = psf.oversampling * int(np.ceil(fineness / psf.oversampling))
    x0, y0 = int(np.floor(x.min())) - reach, int(np.floor(y.min())) - reach
    nx, ny = int(np.ceil(x.max())) + reach + 1 - x0, int(np.ceil(y.max())) + reach + 1 - y0
    top, bottom = max(0, -y0), max(0, min(ny, band.shape[0] - y0))
    left, right = max(0, -x0), max(0, min(nx, band.shape[1] - x0))
    if top >= bottom or left >= right:
        return None
    fine = _drizzled(model, band, shift, (rows[0], columns[0]), data, (y0, x0), (ny, nx), s)
    scale = s * s / whole.sum(dtype=float)
    drawn = _convolved(fine, psf, x0 + nx / 2, y0 + ny / 2, s)[:, ::s, ::s] * scale
    return np.ascontiguousarray(drawn[:, top:bottom, left:right], np.float32), y0 + top, x0 + left


def _windows(data: NDArray[np.float32], params: PhotometryParams) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield windows of rows and columns: all that is lit, then smaller ones around the middle of the light.

    The second one holds the part of the light that stamps hold; the next ones are those that fit into a stamp.
    """
    lit = np.argwhere(data != 0)
    (low_y, low_x), (high_y, high_x) = lit.min(axis=0), lit.max(axis=0) + 1
    yield (int(low_y), int(high_y)), (int(low_x), int(high_x))
    edges = []
    tail = (1 - params.light_in_stamp) / 4
    for axis in (1, 0):
        light = np.cumsum(np.abs(data).sum(axis=axis, dtype=float))
        edges.append(np.searchsorted(light, np.array([tail, 0.5, 1 - tail]) * light[-1]) + np.array([0, 0, 1]))
    for part in 0.8 ** np.arange(_N_WINDOWS):
        rows, columns = (
            (int(mid - np.ceil(part * (mid - low))), int(mid + max(1, np.ceil(part * (high - mid)))))
            for low, mid, high in edges
        )
        yield rows, columns


def _on_band(
    model: ExternalModel, band: Band, shift: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pixels of the band at a mesh of pixels of a model."""
    xx, yy = np.meshgrid(x, y)
    ra, dec = model.wcs.all_pix2world(xx.ravel(), yy.ravel(), 0)
    px, py = band.grid.pixels(ra, dec)
    middle = np.array([ra.mean()]), np.array([dec.mean()])
    move = pixel_jacobian(band.grid, *middle)[0] @ shift
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
    return np.asarray(light * (data.sum(dtype=float) / light.sum()) if light.sum() else light)


def _convolved(fine: NDArray[np.float64], psf: EffectivePsf, x: float, y: float, s: int) -> NDArray[np.float64]:
    """Return an image behind the PSF at a place, and its derivatives by moves along x and y [pix of the band].

    All have so many pixels for each of the band.
    """
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
    spectrum = np.fft.rfft2(fine, shape) * response
    planes = [
        np.fft.irfft2(spectrum * by, shape)[: fine.shape[0], : fine.shape[1]]
        # A source that moves by a pixel of the band moves by s fine ones.
        for by in (1.0, -2j * np.pi * s * kx, -2j * np.pi * s * ky)
    ]
    return np.stack(planes)


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
