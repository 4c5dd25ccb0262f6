"""The PSF of a band at the pixels of its image, at the places where it is known."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError, NoDataError
from skymere.psf import (
    GaussianMixturePsf,
    GaussianPsf,
    MoffatPsf,
    Psf,
    PsfGrid,
    PsfLimits,
    recentred,
    require_psf,
    resampled,
    with_pixel,
)
from skymere.psf.given import check_psf
from skymere.psf.sampled import RESOLVED_FWHM_PIX, pixel_nodes
from skymere.wcs import Grid, pixel_jacobian

__all__ = ["BandPsf", "EffectivePsf", "effective_psf"]

BandPsf = Psf | PsfGrid | GaussianPsf | MoffatPsf | GaussianMixturePsf | ArrayLike
"""What a PSF may be."""

# Sums of a PSF that holds a part of the light; a little more than 1 for the noise of those made of stars.
_SUMS = (0.5, 1.05)
# A centroid this far from the middle does not matter; beyond the limit there is no repair [pix of the band].
_CENTRED_PIX, _REPAIRABLE_PIX = 0.02, 0.5
# Full width of what a pixel adds: that of a Gaussian of its variance.
_PIXEL_FWHM = 2.3548 / np.sqrt(12.0)
# Formulas end where this part of their light is outside, or at so many full widths.
_FORMULA_LOSS, _FORMULA_REACH = 1e-3, 12.0
# Formulas get one more place along an axis where the pixels of the sky's grid differ more than this.
_SAME_PIXELS = 1e-3
# Least number of places along a pixel over which a formula is integrated, and their number in a full width of it.
_N_NODES, _NODES_PER_FWHM = 6, 6.0


@dataclass(frozen=True, kw_only=True, eq=False)
class EffectivePsf:
    """Images with the response of the band's pixel, below each other, at the nodes of a grid of places."""

    images: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    oversampling: int
    fwhm_pix: float
    offset_pix: float = 0.0
    """How far the centroid was from the middle before it was moved there [pix of the band]."""

    def image(self, node: int = 0) -> NDArray[np.float64]:
        """Return the image of a node."""
        n = self.images.shape[0] // (self.x.size * self.y.size)
        return self.images[node * n : (node + 1) * n]

    def moved(self, y0: int, x0: int) -> "EffectivePsf":
        """Return the PSF of the window whose first pixel is ``[y0, x0]``."""
        return replace(self, x=self.x - x0, y=self.y - y0)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be said about its sampling and its centre."""
        said = []
        if self.fwhm_pix * self.oversampling < RESOLVED_FWHM_PIX:
            said.append(
                f"psf: a full width of {self.fwhm_pix * self.oversampling:.2f} of its pixels does not say what is "
                f"between them; give one with {RESOLVED_FWHM_PIX} pixels or more (oversampled)"
            )
        if self.offset_pix:
            said.append(
                f"psf: its centroid was {self.offset_pix:.3f} pixels from its source's place, and was moved there"
            )
        return tuple(said)


def effective_psf(psf: BandPsf, grid: Grid, *, has_pixel: bool) -> EffectivePsf:
    """Return a PSF as the kernels take it.

    Parameters
    ----------
    psf : Psf, PsfGrid, GaussianPsf, MoffatPsf, GaussianMixturePsf or array_like
        See `skymere.photometry.forced_photometry`.
    grid : Grid
        Of the band.
    has_pixel : bool
        Whether an array holds the response of the pixel.

    Raises
    ------
    InvalidInputError
        When it is empty, not finite, of another sum than a part of the light, or off its middle beyond repair.
    """
    if isinstance(psf, PsfGrid):
        return _of_nodes(list(psf.psfs), psf.x, psf.y)
    if isinstance(psf, Psf):
        return _of_nodes([psf], (0.0,), (0.0,))
    if isinstance(psf, GaussianPsf | MoffatPsf | GaussianMixturePsf):
        return _of_formula(psf, grid)
    image = np.ascontiguousarray(psf, np.float64)
    if image.ndim != 2 or image.size == 0:
        msg = f"psf: shape {image.shape} is not allowed, it must be an image"
        raise InvalidInputError(msg)
    return _of_nodes([_of_array(image, has_pixel=has_pixel)], (0.0,), (0.0,))


def _of_array(image: NDArray[np.float64], *, has_pixel: bool) -> Psf:
    """Return an array as a PSF: the middle of an even side is between two pixels, or in the one behind (F27)."""
    psf = Psf(data=image.astype(np.float32), has_pixel=has_pixel)
    sides = image.shape[1], image.shape[0]
    if not (0 in (sides[0] % 2, sides[1] % 2) and np.isfinite(image).all() and image.sum() > 0):
        return psf
    try:
        found = check_psf(psf)
    except (InvalidInputError, NoDataError):
        return psf
    x, y = (
        min(((n - 1) / 2, float(n // 2)), key=lambda middle, at=at: abs(middle - at))  # type: ignore[misc]
        for n, at in zip(sides, (found.x, found.y), strict=True)
    )
    return replace(psf, x=x, y=y)


def _of_nodes(nodes: list[Psf], x: tuple[float, ...], y: tuple[float, ...]) -> EffectivePsf:
    checked = [_checked(psf) for psf in nodes]
    fwhm = min(one[1] for one in checked)
    wanted = int(np.ceil(RESOLVED_FWHM_PIX / fwhm - 1e-6))
    oversampling = max(1, min(wanted, int(nodes[0].oversampling + 1e-6)))
    return EffectivePsf(
        images=np.ascontiguousarray(np.concatenate([_at_pixels(one[0], oversampling) for one in checked])),
        x=np.array(x, np.float64),
        y=np.array(y, np.float64),
        oversampling=oversampling,
        fwhm_pix=fwhm,
        offset_pix=max(one[2] for one in checked),
    )


def _checked(psf: Psf) -> tuple[Psf, float, float]:
    """Return a PSF that can be used, its full width with that of the pixel, and how far it was moved [pix of the band].

    Raises
    ------
    InvalidInputError
        When it cannot be used.
    """
    limits = PsfLimits(max_offset_pix=float("inf"), min_coverage=0.0, min_side_fwhm=1.0)
    try:
        require_psf(psf, limits=limits)
        found = check_psf(psf, limits=limits)
    except NoDataError as failure:
        msg = f"psf: shape {psf.shape} is not allowed: {failure}"
        raise InvalidInputError(msg) from None
    if not _SUMS[0] <= found.sum <= _SUMS[1]:
        msg = (
            f"psf: shape {psf.shape} with sum {found.sum} is not allowed, its sum must be the part of the light that "
            f"it holds, from {_SUMS[0]} to {_SUMS[1]}; skymere.psf.Psf.normalised() makes it so"
        )
        raise InvalidInputError(msg)
    usable = replace(psf, enclosed=found.sum)
    is_off = found.offset_pix > _CENTRED_PIX
    if is_off:
        usable = recentred(usable, max_offset_pix=_REPAIRABLE_PIX)
    fwhm = found.fwhm_pix if psf.has_pixel else float(np.hypot(found.fwhm_pix, _PIXEL_FWHM))
    return usable, fwhm, found.offset_pix if is_off else 0.0


def _at_pixels(psf: Psf, oversampling: int) -> NDArray[np.float64]:
    """Return a PSF with the pixel's response, at so many pixels for each of the band, in the middle of its image."""
    effective = with_pixel(psf)
    middle = tuple((n - 1) / 2 for n in psf.shape)
    if psf.oversampling != oversampling or (psf.y, psf.x) != middle:
        effective = resampled(effective, oversampling)
    return effective.data.astype(np.float64)


def _of_formula(psf: GaussianPsf | MoffatPsf | GaussianMixturePsf, grid: Grid) -> EffectivePsf:
    """Return a formula of the sky at the pixels of the band, at several places where these change over the image."""
    ny, nx = grid.shape
    places = [np.linspace(0.0, n - 1.0, 3) for n in (nx, ny)]
    x, y = (p.ravel() for p in np.meshgrid(*places))
    jacobians = pixel_jacobian(grid, *grid.sky(x, y))
    middle = jacobians[4]
    if float(np.abs(jacobians - middle).max()) < _SAME_PIXELS * float(np.abs(middle).max()):
        places, jacobians = [np.zeros(1), np.zeros(1)], middle[None]
    components = psf.components if isinstance(psf, GaussianMixturePsf) else (psf,)
    per_arcsec = float(np.sqrt(np.abs(np.linalg.det(middle))))
    narrowest = min(one.fwhm_arcsec * np.sqrt(one.axis_ratio) for one in components) * per_arcsec
    fwhm = float(np.hypot(narrowest, _PIXEL_FWHM))
    oversampling = max(1, int(np.ceil(RESOLVED_FWHM_PIX / fwhm)))
    farthest = max(_formula_reach(one) for one in components)
    reach = int(np.ceil(farthest * float(np.linalg.norm(middle, 2)) * oversampling))
    offsets = np.arange(-reach, reach + 1, dtype=np.float64) / oversampling
    steps, weights = pixel_nodes(max(_N_NODES, int(np.ceil(_NODES_PER_FWHM / narrowest))))
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
