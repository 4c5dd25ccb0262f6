"""A point-spread function as an image, and its shape."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_image
from skymere.errors import InvalidInputError, NoDataError
from skymere.resample import blot

__all__ = ["RESOLVED_FWHM_PIX", "Psf", "PsfShape", "measure_shape", "pixel_nodes"]

_N_ANGLES = 72
# Below this full width an image does not say what is between its pixels [pix].
RESOLVED_FWHM_PIX = 2.6


@dataclass(frozen=True, kw_only=True)
class PsfShape:
    """Where a PSF lies on its image and how wide it is.

    Parameters
    ----------
    x, y : float
        Centroid, in a Gaussian window of the PSF's own width [pix of the image].
    fwhm : float
        Full width at half maximum of the mean profile around it [pix of the image].
    ellipticity : float
        1 - b / a of the second moments in that window.
    """

    x: float
    y: float
    fwhm: float
    ellipticity: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Psf:
    """A PSF as an image.

    Parameters
    ----------
    data : ndarray, float32, shape (ny, nx)
        Values with the sum ``enclosed``: for ``oversampling`` s, 1 / s^2 of what a pixel of the detector at that place
        shows of a source of flux 1.
    x, y : float
        Where the source is on the image [pix of the image]; the middle when not given.
    oversampling : float
        Pixels of the image per pixel of the detector or mosaic, along an axis.
    has_pixel : bool
        Whether the values hold the pixel's response already (an effective PSF); if not, they must be integrated over
        the pixel. A PSF that is convolved with the pixel twice is too broad (F52).
    enclosed : float
        Light on the image over all light, positive.
    n_stars : int or None
        Stars that it was made of.
    position : tuple of int or None
        ``(x, y)`` of the first pixel of the image on the mosaic that it was drizzled for; None when there is none.
    error : ndarray, float32, shape (ny, nx), optional
        1 sigma of ``data``.
    lost : float
        Part of the light that fell off the image and was given back to it by a renormalisation; 0 when ``enclosed``
        tells all (B4.12).

    Raises
    ------
    InvalidInputError
        When the image is not two-dimensional or a number is not allowed.
    """

    data: NDArray[np.float32]
    x: float = field(default=float("nan"))
    y: float = field(default=float("nan"))
    oversampling: float = 1.0
    has_pixel: bool = True
    enclosed: float = 1.0
    n_stars: int | None = None
    position: tuple[int, int] | None = None
    error: NDArray[np.float32] | None = None
    lost: float = 0.0

    def __post_init__(self) -> None:
        data = as_image(self.data, "data")
        object.__setattr__(self, "data", data)
        for name, n in (("x", data.shape[1]), ("y", data.shape[0])):
            if np.isnan(getattr(self, name)):
                object.__setattr__(self, name, (n - 1) / 2)
        if not (np.isfinite(self.oversampling) and self.oversampling > 0):
            msg = f"oversampling: {self.oversampling} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if not (np.isfinite(self.enclosed) and self.enclosed > 0):
            msg = f"enclosed: {self.enclosed} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if not 0 <= self.lost < 1:
            msg = f"lost: {self.lost} is not allowed, it must be at least 0 and below 1"
            raise InvalidInputError(msg)

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)`` of the image."""
        return self.data.shape[0], self.data.shape[1]

    def normalised(self) -> "Psf":
        """Return the same PSF with the sum that ``enclosed`` says.

        Raises
        ------
        NoDataError
            When its sum is not positive.
        """
        total = float(self.data.sum(dtype=float))
        if not (np.isfinite(total) and total > 0):
            msg = f"data: a sum of {total} cannot be normalised"
            raise NoDataError(msg)
        factor = np.float32(self.enclosed / total)
        error = None if self.error is None else self.error * factor
        return replace(self, data=self.data * factor, error=error)

    def density(self, dx: ArrayLike, dy: ArrayLike) -> NDArray[np.float64]:
        """Return the light per detector pixel at distances from the source; 0 outside of the image.

        Parameters
        ----------
        dx, dy : array_like, float64
            Distances [detector pix].

        Returns
        -------
        ndarray, float64
            What a pixel there shows of a source of flux 1, when ``has_pixel``; else what its middle shows, per area of
            a pixel. Quintic interpolation.
        """
        x, y = np.broadcast_arrays(np.asarray(dx, np.float64), np.asarray(dy, np.float64))
        places = np.stack([self.x + x * self.oversampling, self.y + y * self.oversampling], axis=-1)
        flat = places.reshape(1, -1, 2)
        return blot(self.data, flat).astype(np.float64).reshape(x.shape) * self.oversampling**2

    def pixels(self, dx: ArrayLike, dy: ArrayLike) -> NDArray[np.float64]:
        """Return what detector pixels at distances from a source of flux 1 show.

        Parameters
        ----------
        dx, dy : array_like, float64
            Middle of the pixel minus the source [detector pix].
        """
        if self.has_pixel:
            return self.density(dx, dy)
        # Gauss-Legendre; half as many nodes as the pixel holds pixels of the image would do for a smooth PSF.
        steps, weights = pixel_nodes(max(6, int(np.ceil(self.oversampling))))
        x, y = np.asarray(dx, np.float64)[..., None, None], np.asarray(dy, np.float64)[..., None, None]
        return np.asarray((self.density(x + steps, y + steps[:, None]) * weights).sum(axis=(-2, -1)))

    def measure(self) -> PsfShape:
        """Return centroid, FWHM and ellipticity on the image; see `measure_shape`."""
        return measure_shape(self.data, x=self.x, y=self.y)


def pixel_nodes(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the n places along an axis, and the n x n weights, of the integral over a pixel."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return nodes / 2, np.outer(weights, weights) / 4


def measure_shape(data: ArrayLike, *, x: float | None = None, y: float | None = None) -> PsfShape:
    """Measure where a PSF, or a star without sky, lies on an image and how wide it is.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx)
        The image; NaN counts as 0.
    x, y : float, optional
        About where it is [pix]; the brightest pixel when not given.

    Raises
    ------
    NoDataError
        When there is no light at that place.

    Notes
    -----
    The centroid is that in a Gaussian window with the FWHM of the profile. The profile is the mean over circles around
    it of the image's quintic interpolation; its half maximum is that of the value in the centre.
    """
    image = np.nan_to_num(as_image(data, "data"), nan=0.0, posinf=0.0, neginf=0.0)
    if x is None or y is None:
        row, column = np.unravel_index(int(np.argmax(image)), image.shape)
        x, y = float(column), float(row)
    yy, xx = np.indices(image.shape, dtype=np.float64)
    fwhm = _fwhm(image, x, y)
    ratio = 1.0
    for _ in range(50):
        sigma2 = (fwhm / 2.3548) ** 2
        window = np.exp(-0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / sigma2) * image
        total = window.sum()
        if not total > 0:
            msg = f"data: no light around x = {x:.2f}, y = {y:.2f}"
            raise NoDataError(msg)
        # The window halves the distance of a Gaussian of its own width, hence the factor 2.
        step_x, step_y = 2 * ((xx - x) * window).sum() / total, 2 * ((yy - y) * window).sum() / total
        x, y = x + float(np.clip(step_x, -1, 1)), y + float(np.clip(step_y, -1, 1))
        moments = [((xx - x) ** 2 * window).sum(), ((yy - y) ** 2 * window).sum(), ((xx - x) * (yy - y) * window).sum()]
        mxx, myy, mxy = (m / total for m in moments)
        spread = np.hypot(mxx - myy, 2 * mxy)
        ratio = float(np.sqrt(max(mxx + myy - spread, 0.0) / max(mxx + myy + spread, 1e-30)))
        if abs(step_x) + abs(step_y) < 1e-6:
            break
    return PsfShape(x=x, y=y, fwhm=_fwhm(image, x, y), ellipticity=1.0 - ratio)


def _fwhm(image: NDArray[np.float32], x: float, y: float) -> float:
    """Full width of the mean profile at half of the central value."""
    angles = np.arange(_N_ANGLES) * (2 * np.pi / _N_ANGLES)
    radii = np.arange(0.0, max(image.shape) / 2, 0.05)
    places = np.stack([x + radii[:, None] * np.cos(angles), y + radii[:, None] * np.sin(angles)], axis=-1)
    profile = blot(image, places).astype(np.float64).mean(axis=1)
    below = np.flatnonzero(profile < profile[0] / 2)
    if not profile[0] > 0 or not below.size:
        msg = f"data: no peak at x = {x:.2f}, y = {y:.2f}"
        raise NoDataError(msg)
    i = int(below[0])
    part = (profile[i - 1] - profile[0] / 2) / (profile[i - 1] - profile[i])
    return float(2 * (radii[i - 1] + part * 0.05))
