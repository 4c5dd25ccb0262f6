"""The PSF of a band at the pixels of its image, at the places where it is known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError, NoDataError
from skymere.photometry.band import jacobian
from skymere.psf import GaussianPsf, MoffatPsf, Psf, PsfGrid, measure_shape
from skymere.psf.sampled import pixel_nodes
from skymere.wcs import Grid

__all__ = ["BandPsf", "EffectivePsf", "effective_psf"]

BandPsf = Psf | PsfGrid | GaussianPsf | MoffatPsf | ArrayLike
"""What a PSF may be."""

# Below this full width an image does not say what is between its pixels [pix].
_RESOLVED_FWHM_PIX = 2.6
# Sums of a PSF that holds a part of the light; a little more than 1 for the noise of those made of stars.
_SUMS = (0.5, 1.05)
_MAX_OFFSET_PIX = 1.0
# Full width of what a pixel adds: that of a Gaussian of its variance.
_PIXEL_FWHM = 2.3548 / np.sqrt(12.0)
# Formulas end where this part of their light is outside, or at so many full widths.
_FORMULA_LOSS, _FORMULA_REACH = 1e-3, 12.0
# Formulas get one more place along an axis where the pixels of the sky's grid differ more than this.
_SAME_PIXELS = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class EffectivePsf:
    """Images with the response of the band's pixel, below each other, at the nodes of a grid of places."""

    images: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    oversampling: int
    fwhm_pix: float

    def image(self, node: int = 0) -> NDArray[np.float64]:
        """Return the image of a node."""
        n = self.images.shape[0] // (self.x.size * self.y.size)
        return self.images[node * n : (node + 1) * n]

    def moved(self, y0: int, x0: int) -> "EffectivePsf":
        """Return the PSF of the window whose first pixel is ``[y0, x0]``."""
        return EffectivePsf(
            images=self.images,
            x=self.x - x0,
            y=self.y - y0,
            oversampling=self.oversampling,
            fwhm_pix=self.fwhm_pix,
        )

    @property
    def warning(self) -> str:
        """What is to be said about its sampling; empty when there is nothing."""
        if self.fwhm_pix * self.oversampling >= _RESOLVED_FWHM_PIX:
            return ""
        return (
            f"psf: a full width of {self.fwhm_pix * self.oversampling:.2f} of its pixels does not say what is between "
            f"them; give one with {_RESOLVED_FWHM_PIX} pixels or more (oversampled)"
        )


def effective_psf(psf: BandPsf, grid: Grid, *, has_pixel: bool) -> EffectivePsf:
    """Return a PSF as the kernels take it.

    Parameters
    ----------
    psf : Psf, PsfGrid, GaussianPsf, MoffatPsf or array_like
        See `skymere.photometry.forced_photometry`.
    grid : Grid
        Of the band.
    has_pixel : bool
        Whether an array holds the response of the pixel.

    Raises
    ------
    InvalidInputError
        When it is empty, not finite, of another sum than a part of the light, or far off its middle.
    """
    if isinstance(psf, PsfGrid):
        return _of_nodes([(node, None) for node in psf.psfs], psf.x, psf.y)
    if isinstance(psf, Psf):
        return _of_nodes([(psf, None)], (0.0,), (0.0,))
    if isinstance(psf, GaussianPsf | MoffatPsf):
        return _of_formula(psf, grid)
    image = np.ascontiguousarray(psf, np.float64)
    if image.ndim != 2 or image.size == 0:
        msg = f"psf: shape {image.shape} is not allowed, it must be an image"
        raise InvalidInputError(msg)
    return _of_nodes([(Psf(data=image.astype(np.float32), has_pixel=has_pixel), image)], (0.0,), (0.0,))


def _of_nodes(
    nodes: list[tuple[Psf, NDArray[np.float64] | None]], x: tuple[float, ...], y: tuple[float, ...]
) -> EffectivePsf:
    fwhm = min(_checked(psf) for psf, _ in nodes)
    first = nodes[0][0]
    wanted = int(np.ceil(_RESOLVED_FWHM_PIX / fwhm - 1e-6))
    oversampling = max(1, min(wanted, int(first.oversampling + 1e-6)))
    images = [_at_pixels(psf, exact, oversampling) for psf, exact in nodes]
    return EffectivePsf(
        images=np.ascontiguousarray(np.concatenate(images)),
        x=np.array(x, np.float64),
        y=np.array(y, np.float64),
        oversampling=oversampling,
        fwhm_pix=fwhm,
    )


def _checked(psf: Psf) -> float:
    """Return the full width, with that of the pixel [pix of the band], of a PSF that can be used."""
    data = psf.data.astype(np.float64)
    total = float(data.sum())
    if not np.isfinite(data).all() or not _SUMS[0] <= total <= _SUMS[1]:
        msg = (
            f"psf: shape {data.shape} with sum {total} is not allowed, its sum must be the part of the light that it "
            f"holds, from {_SUMS[0]} to {_SUMS[1]}; skymere.psf.Psf.normalised() makes it so"
        )
        raise InvalidInputError(msg)
    try:
        shape = measure_shape(psf.data)
    except NoDataError as failure:
        msg = f"psf: shape {data.shape} is not allowed, it must have a peak: {failure}"
        raise InvalidInputError(msg) from None
    offset = float(np.hypot(shape.x - psf.x, shape.y - psf.y)) / psf.oversampling
    if offset > _MAX_OFFSET_PIX:
        msg = (
            f"psf: a centroid {offset:.2f} pixels from its source's place, x = {psf.x:g}, y = {psf.y:g}, is "
            f"not allowed, at most {_MAX_OFFSET_PIX} are"
        )
        raise InvalidInputError(msg)
    fwhm = shape.fwhm / psf.oversampling
    return fwhm if psf.has_pixel else float(np.hypot(fwhm, _PIXEL_FWHM))


def _at_pixels(psf: Psf, exact: NDArray[np.float64] | None, oversampling: int) -> NDArray[np.float64]:
    """Return a PSF with the pixel's response, at so many pixels for each of the band, in the middle of its image."""
    middle = tuple((n - 1) / 2 for n in psf.shape)
    data = psf.data.astype(np.float64) if exact is None else exact
    if psf.oversampling == oversampling and (psf.y, psf.x) == middle:
        return data if psf.has_pixel else with_pixel(data, oversampling)
    room = min(psf.x, psf.y, psf.shape[1] - 1 - psf.x, psf.shape[0] - 1 - psf.y)
    reach = int(room / psf.oversampling * oversampling)
    offsets = np.arange(-reach, reach + 1, dtype=np.float64) / oversampling
    return np.asarray(psf.pixels(offsets[None, :], offsets[:, None]) / oversampling**2)


def with_pixel(data: NDArray[np.float64], oversampling: int) -> NDArray[np.float64]:
    """Return an image convolved with a pixel of ``oversampling`` of its own, of the same shape."""
    shape = tuple(2 * n for n in data.shape)
    ky, kx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    response = np.sinc(ky * oversampling) * np.sinc(kx * oversampling)
    convolved = np.fft.irfft2(np.fft.rfft2(data, shape) * response, shape)
    return np.asarray(convolved[: data.shape[0], : data.shape[1]])


def _of_formula(psf: GaussianPsf | MoffatPsf, grid: Grid) -> EffectivePsf:
    """Return a formula of the sky at the pixels of the band, at several places where these change over the image."""
    ny, nx = grid.shape
    places = [np.linspace(0.0, n - 1.0, 3) for n in (nx, ny)]
    x, y = (p.ravel() for p in np.meshgrid(*places))
    jacobians = jacobian(grid, *grid.sky(x, y))
    middle = jacobians[4]
    if float(np.abs(jacobians - middle).max()) < _SAME_PIXELS * float(np.abs(middle).max()):
        places, jacobians = [np.zeros(1), np.zeros(1)], middle[None]
    narrowest = psf.fwhm_arcsec * np.sqrt(psf.axis_ratio) * float(np.sqrt(np.abs(np.linalg.det(middle))))
    fwhm = float(np.hypot(narrowest, _PIXEL_FWHM))
    oversampling = max(1, int(np.ceil(_RESOLVED_FWHM_PIX / fwhm)))
    reach = int(np.ceil(_formula_reach(psf) * float(np.linalg.norm(middle, 2)) * oversampling))
    offsets = np.arange(-reach, reach + 1, dtype=np.float64) / oversampling
    steps, weights = pixel_nodes(6)
    images = []
    for one in jacobians:
        back = np.linalg.inv(one)
        image = np.zeros((offsets.size, offsets.size))
        for i, dy in enumerate(steps):
            for j, dx in enumerate(steps):
                px, py = np.meshgrid(offsets + dx, offsets + dy)
                sky = np.einsum("ij,j...->i...", back, np.stack([px, py]))
                image += weights[i, j] * psf.sky_density(*sky)
        images.append(image * np.abs(np.linalg.det(back)) / oversampling**2)
    return EffectivePsf(
        images=np.concatenate(images), x=places[0], y=places[1], oversampling=oversampling, fwhm_pix=fwhm
    )


def _formula_reach(psf: GaussianPsf | MoffatPsf) -> float:
    """Return the radius beyond which little light is left [arcsec]."""
    stretch = psf.fwhm_arcsec / np.sqrt(psf.axis_ratio)
    if isinstance(psf, GaussianPsf):
        return float(stretch * np.sqrt(np.log2(1 / _FORMULA_LOSS)) / 2)
    width = stretch / (2 * np.sqrt(2 ** (1 / psf.beta) - 1))
    reach = width * np.sqrt(_FORMULA_LOSS ** (1 / (1 - psf.beta)) - 1)
    return float(min(reach, _FORMULA_REACH * stretch))
