"""The same PSF on other pixels: cropped, moved, or with another number of pixels per pixel of the band."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.psf.sampled import Psf, measure_shape

__all__ = ["centred", "cropped", "density_at", "recentred", "resampled", "with_pixel"]

# The sinc that interpolates ends after so many pixels, in a Kaiser window of this beta; an endless one rings along rows
# and columns of real PSFs.
_REACH = 8
_KAISER = 8.0
# Sums below this part of the sum of absolute values cancel.
_CANCELLED = 1e-6
# Centroids are measured to this part of a pixel of the image.
_CENTRED = 1e-3


def cropped(psf: Psf, shape: tuple[int, int], *, renormalise: bool = True) -> Psf:
    """Return the part of a PSF around its source.

    Parameters
    ----------
    psf : Psf
        Any.
    shape : tuple of int
        ``(ny, nx)`` that are wanted [pix of the image]; a side that is longer than the image stays as it is.
    renormalise : bool, optional
        Keep the sum, and add what was cut off to ``lost``; else ``enclosed`` becomes less (B4.12).

    Raises
    ------
    InvalidInputError
        When a side is shorter than 3 pixels, or no light is left.

    Notes
    -----
    With the sums S before and S' after, ``1 - lost' = (1 - lost) S' / S``. Fluxes of a renormalised PSF are those
    in its stamp: they miss ``lost`` of the light of a source.

    Examples
    --------
    >>> from skymere.psf import MoffatPsf, cropped, sample_psf
    >>> psf = sample_psf(MoffatPsf(fwhm_arcsec=0.2), scale_arcsec=0.05, shape=(101, 101))
    >>> small = cropped(psf, (31, 31))
    >>> small.shape, round(float(small.data.sum(dtype=float)), 4), round(small.lost, 3)
    ((31, 31), 1.0, 0.003)
    """
    if len(shape) != 2 or min(shape) < 3:
        msg = f"shape: {shape} is not allowed, both sides must be at least 3 pixels"
        raise InvalidInputError(msg)
    (y0, ny), (x0, nx) = (
        _window(middle, wanted, n) for middle, wanted, n in zip((psf.y, psf.x), shape, psf.shape, strict=True)
    )
    box = (slice(y0, y0 + ny), slice(x0, x0 + nx))
    before, after = (float(a.sum(dtype=float)) for a in (psf.data, psf.data[box]))
    if not (before > 0 and after > 0):
        msg = f"shape: {shape} is not allowed, it leaves {after:g} of {before:g} of the light"
        raise InvalidInputError(msg)
    kept = min(after / before, 1.0)
    position = None if psf.position is None else (psf.position[0] + x0, psf.position[1] + y0)
    small = replace(
        psf,
        data=psf.data[box],
        error=None if psf.error is None else psf.error[box],
        x=psf.x - x0,
        y=psf.y - y0,
        position=position,
    )
    if not renormalise:
        return replace(small, enclosed=psf.enclosed * kept)
    return replace(small, lost=1.0 - (1.0 - psf.lost) * kept).normalised()


def _window(middle: float, wanted: int, n: int) -> tuple[int, int]:
    """Return the first pixel and the length of a window around a place."""
    length = min(wanted, n)
    return min(max(round(middle - (length - 1) / 2), 0), n - length), length


def recentred(psf: Psf, *, max_offset_pix: float = 0.5) -> Psf:
    """Return a PSF whose centroid is where its source is said to be.

    Parameters
    ----------
    psf : Psf
        Of a centroid that is a little off.
    max_offset_pix : float, optional
        A centroid further off cannot be repaired [pix of the band].

    Returns
    -------
    Psf
        On the same pixels, of the same sum; without ``error``, as its pixels are correlated now.

    Raises
    ------
    InvalidInputError
        When the centroid is too far off, or the limit is not positive.
    NoDataError
        When there is no peak.

    Notes
    -----
    The image is moved once, by ``P'(x) = sum_j P_j h(x - j)`` with the windowed sinc h of `resampled`, so far that the
    centroid, in a Gaussian window of the PSF's width, is within 0.001 pixels of the image.
    """
    if not max_offset_pix > 0:
        msg = f"max_offset_pix: {max_offset_pix} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    found = measure_shape(psf.data)
    off = np.array([found.x - psf.x, found.y - psf.y])
    far = float(np.hypot(*off)) / psf.oversampling
    if far > max_offset_pix:
        msg = (
            f"psf: its centroid x, y = {found.x:.2f}, {found.y:.2f} is {far:.2f} pixels of the band from the source at "
            f"{psf.x:g}, {psf.y:g}, beyond repair: at most {max_offset_pix:g} are allowed"
        )
        raise InvalidInputError(msg)
    moved = psf
    for _ in range(10):
        moved = replace(psf, data=_moved(psf, *off).astype(np.float32), error=None)
        found = measure_shape(moved.data, x=psf.x, y=psf.y)
        rest = np.array([found.x - psf.x, found.y - psf.y])
        if float(np.hypot(*rest)) < _CENTRED:
            break
        off = off + rest
    factor = float(psf.data.sum(dtype=float)) / float(moved.data.sum(dtype=float))
    return replace(moved, data=moved.data * np.float32(factor))


def _moved(psf: Psf, off_x: float, off_y: float) -> NDArray[np.float64]:
    ny, nx = psf.shape
    of_y, of_x = _weights(np.arange(ny) + off_y, ny), _weights(np.arange(nx) + off_x, nx)
    return np.asarray(of_y @ psf.data.astype(np.float64) @ of_x.T)


def _weights(places: NDArray[np.floating], n: int) -> NDArray[np.float64]:
    """Return the weights of n pixels at places between them, along an axis."""
    # Those of all pixels add up to 1, also where some of them are not on the image.
    around = places[:, None] - (np.floor(places)[:, None] + np.arange(-_REACH, _REACH + 2))
    total = _windowed_sinc(around).sum(axis=1, keepdims=True)
    return np.asarray(_windowed_sinc(places[:, None] - np.arange(n)) / total)


def _windowed_sinc(distance: NDArray[np.floating]) -> NDArray[np.float64]:
    inside = np.clip(1.0 - (distance / _REACH) ** 2, 0.0, None)
    return np.where(inside > 0, np.sinc(distance) * np.i0(_KAISER * np.sqrt(inside)) / np.i0(_KAISER), 0.0)


def centred(data: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an image whose middle is a pixel: an even side becomes one longer, moved by half a pixel.

    Parameters
    ----------
    data : ndarray, float64, shape (ny, nx)
        Image with its origin in the middle.
    """
    out = data
    for axis, n in enumerate(data.shape):
        if n % 2 == 0:
            weights = _weights(np.arange(n + 1) - 0.5, n)
            out = np.moveaxis(np.tensordot(weights, out, axes=(1, axis)), 0, axis)
    before, total = data.sum(), out.sum()
    # Where values cancel, their sum is rounding, and no ratio of such sums means anything.
    cancels = min(abs(before), abs(total)) <= _CANCELLED * np.abs(data).sum()
    return out if cancels else out * (before / total)


def density_at(psf: Psf, dx: NDArray[np.float64], dy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the light per detector pixel on a raster around the source, as `resampled` interpolates.

    Parameters
    ----------
    psf : Psf
        Any.
    dx, dy : ndarray, float64, shape (nx,), (ny,)
        Distances of columns and rows [detector pix].

    Returns
    -------
    ndarray, float64, shape (ny, nx)
        As `Psf.density` gives it; 0 outside of the image.
    """
    x, y = psf.x + dx * psf.oversampling, psf.y + dy * psf.oversampling
    ny, nx = psf.shape
    data = _weights(y, ny) @ psf.data.astype(np.float64) @ _weights(x, nx).T
    inside = ((y > -0.5) & (y < ny - 0.5))[:, None] & ((x > -0.5) & (x < nx - 0.5))
    return np.where(inside, data, 0.0) * psf.oversampling**2


def resampled(psf: Psf, oversampling: float) -> Psf:
    """Return a PSF with another number of pixels per pixel of the band.

    Parameters
    ----------
    psf : Psf
        Any.
    oversampling : float
        Pixels of the new image per pixel of the band, along an axis.

    Returns
    -------
    Psf
        With odd sides and the source in the middle pixel, on the largest raster inside of the image, without
        ``error``; ``enclosed`` is less by the light on the border that falls off.

    Raises
    ------
    InvalidInputError
        When the number is not allowed, or fewer than 3 x 3 pixels were left.

    Notes
    -----
    Values are ``P(x) = sum_j P_j h(x - j)`` along both axes with ``h(d) = sinc(d) I_0(8 sqrt(1 - (d / 8)^2)) / I_0(8)``
    [1]_, divided by the sum of the weights. Moffat profiles of a FWHM of 1.6, 2, 2.5, 3.5 and 5 pixels of the image are
    within 2e-2, 9e-3, 3e-3, 3e-4 and 5e-5 of the peak when the source is on a pixel, and 1e-1, 5e-2, 2e-2, 3e-3 and
    1e-4 when it is between four: images of less than 2.5 pixels do not say what is between their pixels.

    With ``has_pixel`` each of them holds the response of a whole pixel of the *band* before and after, so that coarser
    images are made by taking values, never by adding them up (B6, argument 3). An image in which each pixel holds its
    own light only is one of ``has_pixel=False`` seen through its small pixels.

    References
    ----------
    .. [1] Kaiser 1974, Proc. IEEE Int. Symp. Circuits and Systems, 20 (the window).

    Examples
    --------
    >>> from skymere.psf import MoffatPsf, resampled, sample_psf
    >>> psf = sample_psf(MoffatPsf(fwhm_arcsec=0.2), scale_arcsec=0.05, oversampling=3, shape=(150, 150))
    >>> one = resampled(psf, 1)
    >>> one.shape, (one.x, one.y)
    ((49, 49), (24.0, 24.0))
    """
    if not (np.isfinite(oversampling) and oversampling > 0):
        msg = f"oversampling: {oversampling} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    ratio = psf.oversampling / oversampling
    ny, nx = psf.shape
    # Half a pixel of the image beyond its last pixel's middle is still on it.
    rows = _reach(min(psf.y, ny - 1 - psf.y), ratio)
    columns = _reach(min(psf.x, nx - 1 - psf.x), ratio)
    if min(rows, columns) < 1:
        msg = f"oversampling: {oversampling} is not allowed, it leaves fewer than 3 x 3 pixels of {ny} x {nx}"
        raise InvalidInputError(msg)
    if ratio == 1 and (psf.y, psf.x) == (rows, columns) and psf.shape == (2 * rows + 1, 2 * columns + 1):
        return replace(psf, error=None)
    dy, dx = (np.arange(-n, n + 1) / oversampling for n in (rows, columns))
    data = density_at(psf, dx, dy) / oversampling**2
    of_y, of_x = _covered(psf.y, rows, ratio, ny), _covered(psf.x, columns, ratio, nx)
    total = float(psf.data.sum(dtype=float))
    part = min(float(of_y @ psf.data.astype(np.float64) @ of_x) / total, 1.0) if total > 0 else 1.0
    return replace(
        psf,
        data=data.astype(np.float32),
        x=float(columns),
        y=float(rows),
        oversampling=float(oversampling),
        enclosed=psf.enclosed * part,
        error=None,
        position=None,
    ).normalised()


def _reach(room: float, ratio: float) -> int:
    """Return how many new pixels of ``ratio`` old ones fit on each side of the source."""
    return int(np.floor((room + 0.5) / ratio - 0.5 + 1e-9))


def _covered(middle: float, n_new: int, ratio: float, n: int) -> NDArray[np.float64]:
    """Return which part of each of n pixels the new ones cover."""
    half = (n_new + 0.5) * ratio
    pixels = np.arange(n)
    return np.asarray(
        np.clip(np.minimum(pixels + 0.5, middle + half) - np.maximum(pixels - 0.5, middle - half), 0.0, 1.0)
    )


def with_pixel(psf: Psf) -> Psf:
    """Return the effective PSF: integrated over the band's pixel, once.

    Parameters
    ----------
    psf : Psf
        One with the pixel's response is given back as it is.

    Returns
    -------
    Psf
        On the same pixels, without ``error``.

    Notes
    -----
    ``P'(x) = integral of P over the pixel around x`` (F52), by Gauss-Legendre between the pixels as in `resampled`.
    """
    if psf.has_pixel:
        return psf
    steps, weights = np.polynomial.legendre.leggauss(max(6, int(np.ceil(psf.oversampling))))

    def over_pixel(n: int) -> NDArray[np.float64]:
        moved = (_weights(np.arange(n) + step / 2 * psf.oversampling, n) for step in steps)
        return np.asarray(sum(w / 2 * one for w, one in zip(weights, moved, strict=True)))

    data = over_pixel(psf.shape[0]) @ psf.data.astype(np.float64) @ over_pixel(psf.shape[1]).T
    return replace(psf, data=data.astype(np.float32), has_pixel=True, error=None).normalised()
