"""Cosmic rays in dithered exposures: every exposure against a model of the sky made from all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_image, as_mask
from skymere._rust import outliers as _rust
from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError
from skymere.outliers.combine import MinmedParams, masked_median, masked_minmed
from skymere.resample import BlotParams, DrizzleParams, Drizzler, blot
from skymere.wcs import Grid, pixel_map

__all__ = ["CosmicRayParams", "compare_with_model", "flag_cosmic_rays", "grow_mask"]


@dataclass(frozen=True, kw_only=True)
class CosmicRayParams:
    """Parameters of `flag_cosmic_rays`; the defaults are AstroDrizzle's, but for ``core_scale``, which it has not.

    Parameters
    ----------
    combine : str
        How the model is combined from the single drizzles: ``minmed`` or ``median``.
    minmed : MinmedParams
        Thresholds of minmed.
    snr : tuple of float
        Thresholds of a seed and of a pixel beside one [sigma].
    scale : tuple of float
        How much of the model's steepness is added to them.
    core_scale : float
        How much of the steepness beyond three times the noise is added to both. It spares the cores of undersampled
        stars, which the model shows too faint; 0 gives AstroDrizzle's limits.
    grow : int
        Side of the box by which flagged pixels are grown [pix]; 1 = not at all.
    drizzle : DrizzleParams
        Kernel and pixfrac of the single drizzles.
    blot : BlotParams
        Interpolation of the model.
    scale_arcsec : float, optional
        Pixel of the single drizzles; the detector's own when None, since a finer one costs completeness.
    min_weight_fraction : float
        Pixels of a single drizzle whose weight is below this fraction of its mean weight are not used.
    """

    combine: Literal["minmed", "median"] = "minmed"
    minmed: MinmedParams = field(default_factory=MinmedParams)
    snr: tuple[float, float] = (3.5, 3.0)
    scale: tuple[float, float] = (1.2, 0.7)
    core_scale: float = 0.8
    grow: int = 1
    drizzle: DrizzleParams = field(default_factory=lambda: DrizzleParams(kernel="turbo", pixfrac=1.0))
    blot: BlotParams = field(default_factory=lambda: BlotParams(interpolation="poly5"))
    scale_arcsec: float | None = None
    min_weight_fraction: float = 0.3

    def __post_init__(self) -> None:
        if self.combine not in ("minmed", "median"):
            msg = f"combine: {self.combine!r} is not allowed, it must be 'minmed' or 'median'"
            raise InvalidInputError(msg)
        for name in ("snr", "scale"):
            pair = getattr(self, name)
            if len(pair) != 2 or min(pair) < 0:
                msg = f"{name}: {pair} is not allowed, it must be two numbers that are not negative"
                raise InvalidInputError(msg)
        if not self.core_scale >= 0:
            msg = f"core_scale: {self.core_scale} is not allowed, it must not be negative"
            raise InvalidInputError(msg)
        if self.grow < 1:
            msg = f"grow: {self.grow} is not allowed, it must be at least 1"
            raise InvalidInputError(msg)
        if not 0 <= self.min_weight_fraction < 1:
            msg = f"min_weight_fraction: {self.min_weight_fraction} is not allowed, it must be in [0, 1)"
            raise InvalidInputError(msg)


def grow_mask(mask: ArrayLike, *, side: int) -> NDArray[np.bool_]:
    """Return a mask dilated by a box.

    Parameters
    ----------
    mask : array_like, bool, shape (ny, nx)
        What to dilate.
    side : int
        Side of the box [pix]; 1 changes nothing.

    Raises
    ------
    InvalidInputError
        When ``side`` is below 1.
    """
    if side < 1:
        msg = f"side: {side} is not allowed, it must be at least 1"
        raise InvalidInputError(msg)
    return _rust.grow(as_mask(mask, "mask"), side)


def compare_with_model(
    data: ArrayLike, model: ArrayLike, *, exptime: float, read_noise: float, params: CosmicRayParams | None = None
) -> NDArray[np.bool_]:
    """Return the pixels of one exposure that a cosmic ray hit.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx) [electron / s]
        The exposure, sky included.
    model : array_like, float32, shape (ny, nx) [electron / s]
        What it should be, sky included; NaN where unknown, and nothing is flagged there.
    exptime : float
        Exposure time [s].
    read_noise : float
        Read noise [electron].
    params : CosmicRayParams, optional
        ``snr``, ``scale``, ``core_scale`` and ``grow`` are used.

    Raises
    ------
    InvalidInputError
        When the shapes differ or ``exptime`` is not positive.

    Notes
    -----
    With D the largest difference of a model pixel to its four neighbours and noise = sqrt(|model| t + RN^2) / t, a
    pixel is flagged when |data - model| > scale_2 D + snr_2 noise and some pixel of its 3 x 3 block has
    |data - model| > scale_1 D + snr_1 noise. To both limits core_scale max(D - 3 noise, 0) is added. The sky is in the
    model and enters the noise once; AstroDrizzle counts it twice.

    References
    ----------
    Gonzaga et al. 2012, The DrizzlePac Handbook, section 4.2.7.
    """
    p = params or CosmicRayParams()
    if not exptime > 0:
        msg = f"exptime: {exptime} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    image = as_image(data, "data")
    expected = as_image(model, "model", shape=image.shape)
    mask = _rust.flag_cosmic_rays(image, expected, exptime, read_noise, p.snr, p.scale, p.core_scale)
    return mask if p.grow == 1 else grow_mask(mask, side=p.grow)


def flag_cosmic_rays(
    exposures: Sequence[Exposure],
    *,
    masks: Sequence[ArrayLike] | None = None,
    params: CosmicRayParams | None = None,
) -> list[NDArray[np.bool_]]:
    """Return the cosmic rays of every exposure of one band.

    Each exposure is drizzled by itself, the drizzles are combined to a model of the sky, the model is blotted back into
    each exposure and compared with it.

    Parameters
    ----------
    exposures : sequence of Exposure
        Aligned exposures of one band, with their ``sky``.
    masks : sequence of array_like, bool, optional
        Pixels not to use in each; the exposures' own `Exposure.mask` when None.
    params : CosmicRayParams, optional
        How to combine and compare.

    Returns
    -------
    list of ndarray of bool, shape (ny, nx)
        True = hit; nothing is flagged in a single exposure.

    Raises
    ------
    InvalidInputError
        When there is no exposure, or one mask too few.
    """
    p = params or CosmicRayParams()
    if not exposures:
        msg = "exposures: at least one is needed"
        raise InvalidInputError(msg)
    bad = [e.mask() for e in exposures] if masks is None else [as_mask(m, "masks") for m in masks]
    if len(bad) != len(exposures):
        msg = f"masks: {len(bad)} masks are not allowed, there are {len(exposures)} exposures"
        raise InvalidInputError(msg)
    if len(exposures) == 1:
        return [np.zeros(exposures[0].shape, bool)]
    scale = p.scale_arcsec or exposures[0].native_scale_arcsec
    grid = Grid.covering(((e.wcs, e.shape) for e in exposures), scale_arcsec=scale)
    maps = [pixel_map(e.wcs, grid.wcs, e.shape) for e in exposures]
    model = _sky_model(exposures, bad, maps, grid, p)
    flagged = []
    for exposure, pixmap in zip(exposures, maps, strict=True):
        ratio = (exposure.native_scale_arcsec / scale) ** 2
        blotted = blot(model, pixmap, params=p.blot) * np.float32(ratio) + np.float32(exposure.sky)
        flagged.append(
            compare_with_model(
                exposure.data, blotted, exptime=exposure.exptime, read_noise=exposure.read_noise, params=p
            )
        )
    return flagged


def _sky_model(
    exposures: Sequence[Exposure],
    bad: Sequence[NDArray[np.bool_]],
    maps: Sequence[NDArray[np.float64]],
    grid: Grid,
    p: CosmicRayParams,
) -> NDArray[np.float32]:
    """Combine the single drizzles to one image without cosmic rays [electron / s per grid pixel], sky subtracted."""
    stack = np.empty((len(exposures), *grid.shape), np.float32)
    unused = np.empty(stack.shape, bool)
    for k, (exposure, mask, pixmap) in enumerate(zip(exposures, bad, maps, strict=True)):
        ratio = grid.scale_arcsec / exposure.native_scale_arcsec
        single = Drizzler(grid.shape, params=p.drizzle)
        single.add(
            exposure.data - np.float32(exposure.sky),
            pixmap,
            weight=(~mask).astype(np.float32),
            value_scale=ratio**2,
            pixel_scale_ratio=ratio,
        )
        drizzled = single.finish()
        covered = drizzled.weight > 0
        enough = p.min_weight_fraction * drizzled.weight[covered].mean() if covered.any() else 0.0
        stack[k] = drizzled.data
        unused[k] = ~covered | (drizzled.weight < enough)
    if p.combine == "median":
        model = masked_median(stack, unused)
    else:
        model = masked_minmed(
            stack,
            unused,
            exptime=[e.exptime for e in exposures],
            sky=[e.sky for e in exposures],
            read_noise=[e.read_noise for e in exposures],
            params=p.minmed,
        )
    # Where nothing is left the sky, which is subtracted here, is the best guess; NaN would spread in the blot.
    return np.where(np.isfinite(model), model, np.float32(0.0))
