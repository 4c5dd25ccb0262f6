"""Wings of a PSF beyond its image, from a bright star."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_image, as_mask
from skymere.errors import InvalidInputError, NoDataError
from skymere.psf.sampled import Psf

__all__ = ["with_wings"]

# Rings are so wide, at least a pixel and this part of their radius, and need so many pixels.
_RING, _LEAST_PIXELS = 0.1, 8


def with_wings(
    psf: Psf,
    residual: ArrayLike,
    *,
    x: float,
    y: float,
    flux: float,
    from_pix: float,
    to_pix: float,
    mask: ArrayLike | None = None,
) -> Psf:
    """Return a PSF with what it misses of a star's light far from the middle: its image ends before the wings do.

    Parameters
    ----------
    psf : Psf
        As it was fitted to the star.
    residual : array_like, float32, shape (ny, nx) [unit of the band]
        The image less the star and all other sources, as `skymere.photometry.ForcedPhotometry.residual` is.
    x, y : float
        Where the star is on it [pix].
    flux : float
        Of the star, as it was fitted [unit of the band].
    from_pix, to_pix : float
        Wings are added from this radius on, and end there [pix of the band].
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use: other sources that are not fitted well.

    Returns
    -------
    Psf
        Of a sum of 1, its light within ``to_pix`` all the light, on an image that holds ``to_pix``.

    Raises
    ------
    InvalidInputError
        When an array has another shape, or a number is not allowed.
    NoDataError
        When a ring has too few pixels.

    Notes
    -----
    ``P'(r) = (P + w(|r|)) / sum(P + w)`` with the median of the residual over the flux in rings, ``w``, linear between
    their middles. The core stays; P ends at the largest circle on its image, from where on w is the star's light.
    Fluxes that are measured with it hold the light of the wings, and those of other PSFs do not. Stacked or modelled
    PSFs are often tapered to nothing at the edge of their image, where diffraction by an aperture D leaves
    ``2 lambda / (pi^2 D r)`` of the light beyond the radius r.

    References
    ----------
    King 1971, PASP 83, 199. Infante-Sainz et al. 2020, MNRAS 491, 5317, sect. 3: the outer part of a PSF from brighter
    stars, joined to the core.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.psf import MoffatPsf, cropped, sample_psf, with_wings
    >>> whole = sample_psf(MoffatPsf(fwhm_arcsec=0.4, beta=2.5), scale_arcsec=0.1, shape=(81, 81))
    >>> small = cropped(whole, (21, 21))
    >>> residual = 1000 * whole.data
    >>> residual[30:51, 30:51] -= 1000 * small.data
    >>> wide = with_wings(small, residual, x=40, y=40, flux=1000.0, from_pix=8, to_pix=30)
    >>> wide.shape, bool(np.abs(wide.data[30, 1:15] / whole.data[40, 11:25] - 1).max() < 0.1)
    ((61, 61), True)
    """
    image = as_image(residual, "residual")
    shape = (image.shape[0], image.shape[1])
    good = np.isfinite(image)
    if mask is not None:
        good &= ~as_mask(mask, "mask", shape=shape)
    if not 0 < from_pix < to_pix < np.inf:
        msg = f"from_pix, to_pix: {from_pix}, {to_pix} are not allowed, they must be positive and rise"
        raise InvalidInputError(msg)
    for name, value, is_allowed, rule in (
        ("flux", flux, 0 < flux < np.inf, "positive"),
        ("x", x, bool(np.isfinite(x)), "finite"),
        ("y", y, bool(np.isfinite(y)), "finite"),
    ):
        if not is_allowed:
            msg = f"{name}: {value} is not allowed, it must be {rule}"
            raise InvalidInputError(msg)
    s = psf.oversampling
    yy, xx = np.indices(shape, dtype=np.float64)
    # Beyond the largest circle the rings would be partly on the image of the PSF.
    full = min(psf.x, psf.y, psf.shape[1] - 1 - psf.x, psf.shape[0] - 1 - psf.y) / s
    distance = _distance(shape, x, y)
    beyond = np.where(distance > full, psf.density(xx - x, yy - y), 0.0)
    light = np.asarray(image / flux + beyond, np.float64)
    full = min(max(full, from_pix), to_pix)
    data, at_x, at_y = _padded(psf, int(np.ceil(to_pix * s)))
    on_psf = _distance(data.shape, at_x, at_y) / s
    data[on_psf > full] = 0.0
    for low, high in ((from_pix, full), (full, to_pix)):
        if low < high:
            radius, excess = _profile(light, distance, good, _edges(low, high))
            ring = (on_psf > low) & (on_psf <= high)
            data[ring] += np.interp(on_psf[ring], radius, excess) / s**2
    data /= data.sum()
    return replace(psf, data=data.astype(np.float32), x=at_x, y=at_y, enclosed=1.0, lost=0.0, position=None, error=None)


def _distance(shape: tuple[int, ...], x: float, y: float) -> NDArray[np.float64]:
    """Return distances of all pixels of an image from a place."""
    yy, xx = np.indices((shape[0], shape[1]), dtype=np.float64)
    return np.asarray(np.hypot(xx - x, yy - y), np.float64)


def _edges(first: float, last: float) -> list[float]:
    """Return edges of rings; what is left after the last whole one is part of it."""
    edges = [first]
    while edges[-1] < last:
        width = max(1.0, _RING * edges[-1])
        edges.append(last if last - edges[-1] < 1.5 * width else edges[-1] + width)
    return edges


def _profile(
    light: NDArray[np.float64], distance: NDArray[np.float64], good: NDArray[np.bool_], edges: list[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return radii and medians of rings."""
    radii, medians = [], []
    for low, high in pairwise(edges):
        ring = good & (distance > low) & (distance <= high)
        if ring.sum() < _LEAST_PIXELS:
            msg = f"residual: {ring.sum()} pixels from {low:.1f} to {high:.1f} of the star are too few for its wings"
            raise NoDataError(msg)
        radii.append(float(distance[ring].mean()))
        medians.append(float(np.median(light[ring])))
    return np.array(radii), np.array(medians)


def _padded(psf: Psf, half: int) -> tuple[NDArray[np.float64], float, float]:
    """Return the image of a PSF with at least so many pixels on all sides of its source, and where that is."""
    low_x, low_y = (max(0, half - int(np.floor(middle))) for middle in (psf.x, psf.y))
    high_x, high_y = (
        max(0, half - (n - 1 - int(np.ceil(middle)))) for n, middle in zip(psf.shape[::-1], (psf.x, psf.y), strict=True)
    )
    data = np.pad(psf.data.astype(np.float64), ((low_y, high_y), (low_x, high_x)))
    return data, psf.x + low_x, psf.y + low_y
