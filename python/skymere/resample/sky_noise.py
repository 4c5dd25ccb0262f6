"""The noise covariance of a mosaic as it is measured on blank sky."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_mask
from skymere._rust import resample as _resample
from skymere.background import BackgroundParams, BlockBackground, estimate_background_blocks
from skymere.datamodels import WINDOW_PIX, Mosaic, NoiseCovariance, StoredMosaic, Window, windows_of
from skymere.errors import NoDataError
from skymere.resample.covariance import NoiseParams
from skymere.resample.noise_kernels import symmetric
from skymere.resample.position import box_mean, cells_with, highest
from skymere.resample.ranks import median_of_parts

__all__ = ["measure_noise"]

_BOX_PIX = 64
_LEAST_PIXELS = 100
# Sources are looked for in the mean over this box and grown by as much.
_SMOOTH_PIX = 5


def measure_noise(
    mosaic: Mosaic | StoredMosaic,
    noise: NoiseCovariance,
    *,
    mask: ArrayLike | None = None,
    params: NoiseParams | None = None,
) -> NoiseCovariance:
    """Return a noise covariance with what is measured on blank sky.

    Parameters
    ----------
    mosaic : Mosaic or StoredMosaic
        The image; one that is stored is read window by window.
    noise : NoiseCovariance
        What was predicted for it; its class map is not looked at when the mosaic that is stored has classes.
    mask : array_like, bool, shape (ny, nx), optional
        True = no sky; without it sources are found by their mean over 5 x 5 pixels.
    params : NoiseParams, optional
        Limit of sources, mesh of the background.

    Returns
    -------
    NoiseCovariance
        The same with ``measured``.

    Raises
    ------
    InvalidInputError
        When a shape does not fit.

    Notes
    -----
    ``sum r_i r_j / sum s_i s_j`` over the pairs of sky pixels at each distance whose first one is of the class, with
    the data r less the background and the predicted sigma s.
    """
    params = NoiseParams() if params is None else params
    stored = StoredMosaic.of(mosaic)
    given = None if mask is None else as_mask(mask, "mask", shape=stored.shape)
    class_map = noise.class_map if stored.noise_class is None else stored.noise_class
    sky = _BlankSky(stored, given, params)
    n, reach = len(noise.classes), noise.reach_pix
    above, below = np.zeros_like(noise.kernels), np.zeros_like(noise.kernels)
    n_pixels = np.zeros(n, np.int64)
    for window in windows_of(stored.shape):
        wide = window.widened(reach, stored.shape)
        classes = np.ascontiguousarray(class_map[wide.slices], np.uint8)
        residual, sigma = sky.pixels(wide)
        core = window.within(wide)
        cells = [cells_with((classes[core] == k) & (sigma[core] > 0), _BOX_PIX) for k in range(n)]
        n_pixels += [number.sum() for _, number in cells]
        boxes = np.concatenate([found for found, _ in cells])
        boxes[:, :2] += np.subtract(window.origin, wide.origin)
        of_class = np.repeat(np.arange(n, dtype=np.uint8), [len(found) for found, _ in cells])
        pairs = partial(_resample.lag_products, boxes, of_class, np.ones(len(boxes)), classes, n, reach)
        above += pairs(residual)
        below += pairs(sigma)
    above, below = symmetric(above), symmetric(below)
    enough = (n_pixels >= _LEAST_PIXELS)[:, np.newaxis, np.newaxis] & (below > 0)
    measured = np.full_like(noise.kernels, np.nan)
    np.divide(above, below, out=measured, where=enough)
    return replace(noise, measured=measured)


class _BlankSky:
    """The blank sky of a mosaic, made window by window."""

    def __init__(self, mosaic: StoredMosaic, mask: NDArray[np.bool_] | None, params: NoiseParams) -> None:
        self._mosaic, self._mask, self._params = mosaic, mask, params
        self._mesh = BackgroundParams(box_size=params.background_pix)
        # The level without sources, and the width of the sky, decide what a source is.
        self._first: BlockBackground | None = None
        self._width = np.float32(0)
        if mask is None:
            self._first = self._level(self._bad)
            if self._first is not None:
                middle, n = median_of_parts(self._smooth_sky)
                self._width = np.float32(1.4826) * middle if n else np.float32(0)
        self._last = self._level(self._blank)

    def pixels(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the data less their background, and the predicted sigma; both 0 where there is no blank sky."""
        bad = self._blank(window)
        sigma = np.where(bad, np.float32(0), self._sigma(window, self._bad(window)))
        if self._last is None:
            return np.zeros(window.shape, np.float32), sigma
        return self._residual(window, bad, self._last), sigma

    def _bad(self, window: Window) -> NDArray[np.bool_]:
        """Return the pixels of which nothing is known."""
        planes = (self._mosaic.data, self._mosaic.weight, self._mosaic.variance)
        data, weight, variance = (np.asarray(plane[window.slices]) for plane in planes)
        return np.asarray(~((weight > 0) & np.isfinite(data) & (variance > 0)))

    def _blank(self, window: Window) -> NDArray[np.bool_]:
        """Return the pixels that are no blank sky."""
        bad = self._bad(window)
        if self._mask is not None:
            return bad | self._mask[window.slices]
        if self._first is None:
            return bad
        wide = window.widened(_SMOOTH_PIX, self._mosaic.shape)
        smooth, _ = self._smooth(wide)
        return np.asarray(bad | highest(np.abs(smooth) > self._limit, 2 * _SMOOTH_PIX + 1)[window.within(wide)])

    @property
    def _limit(self) -> np.float32:
        return np.float32(self._params.sky_sigma) * self._width

    def _smooth_sky(self) -> Iterator[NDArray[np.float32]]:
        for window in windows_of(self._mosaic.shape):
            smooth, known = self._smooth(window)
            yield np.abs(smooth[known])

    def _smooth(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the mean signal in sigma over a few pixels, and where there is a sigma."""
        assert self._first is not None
        wide = window.widened(_SMOOTH_PIX // 2, self._mosaic.shape)
        bad = self._bad(wide)
        residual, sigma = self._residual(wide, bad, self._first), self._sigma(wide, bad)
        scaled = np.divide(residual, sigma, out=np.zeros_like(residual), where=sigma > 0)
        core = window.within(wide)
        return box_mean(scaled, _SMOOTH_PIX)[core], sigma[core] > 0

    def _sigma(self, window: Window, bad: NDArray[np.bool_]) -> NDArray[np.float32]:
        variance = np.asarray(self._mosaic.variance[window.slices])
        return np.sqrt(np.where(bad, np.float32(0), variance), dtype=np.float32)

    def _residual(self, window: Window, bad: NDArray[np.bool_], level: BlockBackground) -> NDArray[np.float32]:
        """Return the data less their background, 0 for bad pixels."""
        data = np.asarray(self._mosaic.data[window.slices])
        return np.where(bad, np.float32(0), data - level.level(*window.slices))

    def _level(self, bad: Callable[[Window], NDArray[np.bool_]]) -> BlockBackground | None:
        """Return the background of the pixels that are not bad; None when there is none."""

        def read(rows: slice, columns: slice) -> dict[str, NDArray[Any]]:
            window = Window((rows.start, rows.stop), (columns.start, columns.stop))
            return {"data": np.asarray(self._mosaic.data[window.slices]), "mask": bad(window)}

        try:
            return estimate_background_blocks(read, self._mosaic.shape, side=WINDOW_PIX[0], params=self._mesh)
        except NoDataError:
            return None
