"""PSFs that are formulas, drawn at any scale."""

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.psf.axes import PixelAxes
from skymere.psf.models import GaussianMixturePsf, GaussianPsf, MoffatPsf, PsfFormula
from skymere.psf.sampled import Psf, pixel_nodes

__all__ = ["integrated", "sample_psf"]

_NODES = 8
# Pixels times nodes that are held at a time.
_BATCH = 2_000_000
# Gaussians end here [sigma]; a tenth of a millionth of the light is further out.
_GAUSSIAN_REACH = 6.0


def sample_psf(
    model: PsfFormula,
    *,
    scale_arcsec: float,
    shape: tuple[int, int],
    oversampling: float = 1.0,
    has_pixel: bool = True,
    pa_deg: float = 0.0,
    is_flipped: bool = False,
    renormalise: bool = True,
) -> Psf:
    """Draw a formula as a PSF on pixels.

    Parameters
    ----------
    model : GaussianPsf, MoffatPsf or GaussianMixturePsf
        What is drawn.
    scale_arcsec : float
        Side of a pixel of the band [arcsec].
    shape : tuple of int
        ``(ny, nx)`` of the image; where a side is even the source is in the middle between two pixels.
    oversampling : float, optional
        Pixels of the image per pixel of the band, along an axis.
    has_pixel : bool, optional
        Integrate over the pixels of the band; else the values are those of the formula.
    pa_deg, is_flipped
        How the pixels of the band lie on the sky; see `PixelAxes`. North is up and east left unless it says so.
    renormalise : bool, optional
        Make the sum 1 and say in ``lost`` what fell off the image; else the sum is what is on it, ``enclosed`` (B4.12).

    Returns
    -------
    Psf
        Within 1e-5 of its peak.

    Raises
    ------
    InvalidInputError
        When a number is not allowed, or the pixels of an image without the band's pixel are more than half of the
        narrowest FWHM: their values would not add up to the light.

    Notes
    -----
    A value is ``1 / s^2`` of the integral of the formula over a pixel of the band around the middle of a pixel of the
    image, s the oversampling: by Gauss-Legendre with 8 nodes on panels no wider than 2 sigma of the minor axis.

    Examples
    --------
    >>> from skymere.psf import MoffatPsf, sample_psf
    >>> psf = sample_psf(MoffatPsf(fwhm_arcsec=0.15, beta=2.5), scale_arcsec=0.06, shape=(41, 41))
    >>> round(float(psf.data.sum(dtype=float)), 5), psf.enclosed, round(psf.lost, 4)
    (1.0, 1.0, 0.0009)
    """
    if len(shape) != 2 or min(shape) < 1:
        msg = f"shape: {shape} is not allowed, it must be two positive numbers"
        raise InvalidInputError(msg)
    if not (np.isfinite(oversampling) and oversampling > 0):
        msg = f"oversampling: {oversampling} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    axes = PixelAxes(scale_arcsec=scale_arcsec, pa_deg=pa_deg, is_flipped=is_flipped)
    parts = _parts(model)
    narrow = min(one.fwhm_arcsec * np.sqrt(one.axis_ratio) for _, one in parts)
    if not has_pixel and narrow < 2 * scale_arcsec / oversampling:
        msg = (
            f"oversampling: {oversampling:g} is not allowed without the pixel, the least FWHM of {narrow:.3g} arcsec "
            f"needs {2 * scale_arcsec / narrow:.3g} or more"
        )
        raise InvalidInputError(msg)
    dy, dx = ((np.arange(n) - (n - 1) / 2) / oversampling for n in shape)
    xx, yy = np.meshgrid(dx, dy)
    if has_pixel:
        data = sum(f * integrated(one, axes, xx, yy) for f, one in parts)
    else:
        east, north = np.tensordot(axes.matrix, np.stack([xx, yy]), axes=1)
        data = model.sky_density(east, north) * scale_arcsec**2
    data = np.asarray(data) / oversampling**2
    light = min(float(data.sum()), 1.0)
    psf = Psf(
        data=data.astype(np.float32),
        oversampling=float(oversampling),
        has_pixel=has_pixel,
        enclosed=1.0 if renormalise else light,
        lost=1.0 - light if renormalise else 0.0,
    )
    return psf.normalised()


def _parts(model: PsfFormula) -> list[tuple[float, GaussianPsf | MoffatPsf]]:
    if isinstance(model, GaussianMixturePsf):
        return list(zip(model.fractions, model.components, strict=True))
    return [(1.0, model)]


def integrated(
    model: GaussianPsf | MoffatPsf, axes: PixelAxes, dx: NDArray[np.float64], dy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the light of a formula in pixels of the band.

    Parameters
    ----------
    model : GaussianPsf or MoffatPsf
        Of flux 1.
    axes : PixelAxes
        The pixels.
    dx, dy : ndarray, float64
        Middle of each pixel minus the source [pix], of one shape.
    """
    minor = model.fwhm_arcsec * np.sqrt(model.axis_ratio) / 2.3548 / axes.scale_arcsec
    major = minor / model.axis_ratio
    panels = max(1, int(np.ceil(1.0 / (2.0 * minor))))
    # Further out a wing changes on the scale of its distance, so that a pixel needs no panels.
    reach = 1.0 + max(3.0 / model.axis_ratio, _GAUSSIAN_REACH * major)
    near = np.hypot(dx, dy) < reach
    out = np.empty(dx.shape)
    for where, n_panels in ((near, panels), (~near, 1)):
        out[where] = _over_pixels(model, axes, dx[where], dy[where], n_panels)
    return out


def _over_pixels(
    model: GaussianPsf | MoffatPsf,
    axes: PixelAxes,
    dx: NDArray[np.float64],
    dy: NDArray[np.float64],
    n_panels: int,
) -> NDArray[np.float64]:
    steps, weights = pixel_nodes(_NODES)
    firsts = (np.arange(n_panels) + 0.5) / n_panels - 0.5
    places = (firsts[:, None] + steps / n_panels).ravel()
    weights = np.tile(weights, (n_panels, n_panels)) / n_panels**2
    batch = max(1, _BATCH // weights.size)
    out = np.empty(dx.shape)
    (east_x, east_y), (north_x, north_y) = axes.matrix
    for first in range(0, len(dx), batch):
        some = slice(first, first + batch)
        x, y = dx[some, None, None] + places, dy[some, None, None] + places[:, None]
        density = model.sky_density(east_x * x + east_y * y, north_x * x + north_y * y)
        out[some] = np.einsum("kij,ij->k", density, weights)
    return out * axes.scale_arcsec**2
