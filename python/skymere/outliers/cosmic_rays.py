"""Cosmic rays in dithered exposures: every exposure against a model of the sky made from all of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_image, as_mask
from skymere._rust import outliers as _rust
from skymere.datamodels import Exposure, ScratchPlanes
from skymere.errors import InvalidInputError
from skymere.outliers.params import CosmicRayParams
from skymere.outliers.sky_model import SkyModel, build_mean_model, build_sky_model
from skymere.wcs import Grid

__all__ = [
    "CosmicRays",
    "compare_exposure",
    "compare_with_model",
    "flag_cosmic_rays",
    "grow_mask",
    "iter_cosmic_rays",
    "trail_mask",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class CosmicRays:
    """The cosmic rays of one exposure.

    Parameters
    ----------
    mask : ndarray, bool, shape (ny, nx)
        True = hit.
    model : ndarray, float32, shape (ny, nx) [electron / s]
        What the exposure should show, sky included.
    """

    mask: NDArray[np.bool_]
    model: NDArray[np.float32]

    def cleaned(self, exposure: Exposure) -> Exposure:
        """Return a new exposure in which the hit pixels have the value of the model; the old one stays as it is."""
        return replace(exposure, data=np.where(self.mask, self.model, exposure.data))


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


def trail_mask(mask: ArrayLike, *, length: int, direction: int = 1) -> NDArray[np.bool_]:
    """Return a mask with the tails that charge leaves behind on its way to the amplifier.

    Parameters
    ----------
    mask : array_like, bool, shape (ny, nx)
        What leaves a tail.
    length : int
        Length of the tails [pix].
    direction : int, optional
        1 towards higher rows (an amplifier at row 0), -1 towards lower ones.

    Raises
    ------
    InvalidInputError
        When the length is negative or the direction neither 1 nor -1.
    """
    if length < 0 or direction not in (1, -1):
        msg = f"length, direction: {length}, {direction} are not allowed: not negative, and 1 or -1"
        raise InvalidInputError(msg)
    return _rust.trail(as_mask(mask, "mask"), length, direction == 1)


def compare_with_model(
    data: ArrayLike,
    model: ArrayLike,
    *,
    exptime: float,
    read_noise: float,
    error: ArrayLike | None = None,
    params: CosmicRayParams | None = None,
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
    error : array_like, float32, shape (ny, nx) [electron / s], optional
        1 sigma of ``data``, needed and used when ``params.noise`` is ``error``; one that is not finite counts as 0.
    params : CosmicRayParams, optional
        ``snr``, ``scale``, ``core_scale``, ``noise``, ``grow`` and those of CTE tails are used.

    Raises
    ------
    InvalidInputError
        When the shapes differ, ``exptime`` is not positive, or errors are needed and not given.

    Notes
    -----
    With D the largest difference of a model pixel to its four neighbours and ``noise = sqrt(|model| t + RN^2) / t``, a
    pixel is flagged when ``|data - model| > scale_2 D + snr_2 noise`` and some pixel of its 3 x 3 block has
    ``|data - model| > scale_1 D + snr_1 noise``. To both limits ``core_scale max(D - 3 noise, 0)`` is added. The sky
    is in the model and enters the noise once; AstroDrizzle counts it twice. With ``noise="error"`` and
    ``core_scale=0`` this is the test of stcal.

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
    if p.noise == "error" and error is None:
        msg = "error: None is not allowed with noise='error', the errors of the exposure are needed"
        raise InvalidInputError(msg)
    mask = _rust.flag_cosmic_rays(
        image,
        expected,
        as_image(error, "error", shape=image.shape) if p.noise == "error" and error is not None else None,
        exptime=exptime,
        read_noise=read_noise,
        snr=p.snr,
        scale=p.scale,
        core_scale=p.core_scale,
    )
    if p.grow > 1:
        mask = grow_mask(mask, side=p.grow)
    return mask if p.cte_grow == 0 else trail_mask(mask, length=p.cte_grow, direction=p.cte_direction)


def flag_cosmic_rays(
    exposures: Sequence[Exposure],
    *,
    masks: Sequence[ArrayLike] | None = None,
    params: CosmicRayParams | None = None,
) -> list[NDArray[np.bool_]]:
    """Return the cosmic rays of every exposure of one band.

    Each exposure is drizzled by itself, the drizzles are combined to a model of the sky, the model is blotted back into
    each exposure and compared with it. In a second pass the model is what all exposures show together without the
    pixels that were found.

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
    return [found.mask for found in iter_cosmic_rays(exposures, masks=masks, params=params)]


def iter_cosmic_rays(
    exposures: Sequence[Exposure],
    *,
    grid: Grid | None = None,
    masks: Sequence[ArrayLike] | None = None,
    ignore: Iterable[str] = (),
    params: CosmicRayParams | None = None,
) -> Iterator[CosmicRays]:
    """Yield the cosmic rays of every exposure, one at a time, so that memory does not grow with their number.

    Parameters
    ----------
    exposures : sequence of Exposure
        Aligned exposures of one band, with their ``sky``. Each is asked for several times and may be read from a file
        then.
    grid : Grid, optional
        Pixels of the single drizzles and their combination; see `build_sky_model`.
    masks : sequence of array_like, bool, optional
        Pixels not to use in each; the exposures' own `Exposure.mask` when None.
    ignore : iterable of str, optional
        Names of DQ bits that count as good in those.
    params : CosmicRayParams, optional
        How to combine and compare.

    Raises
    ------
    InvalidInputError
        When there is no exposure, or one mask too few.
    """
    p = params or CosmicRayParams()
    if len(exposures) == 1 and (masks is None or len(masks) == 1):
        yield CosmicRays(mask=np.zeros(exposures[0].shape, bool), model=exposures[0].data)
        return
    keep = tuple(ignore)
    with ScratchPlanes() as scratch:
        model = build_sky_model(exposures, grid=grid, masks=masks, ignore=keep, params=p, scratch=scratch)
        if p.second is not None:
            found, first = replace(p, grow=1, cte_grow=0), model
            bad = (e.mask(ignore=keep) for e in exposures) if masks is None else (as_mask(m, "masks") for m in masks)
            hit = (m | compare_exposure(e, first, params=found).mask for e, m in zip(exposures, bad, strict=True))
            model = build_mean_model(exposures, hit, instead=first, params=p, scratch=scratch)
        for exposure in exposures:
            yield compare_exposure(exposure, model, params=p.last)


def compare_exposure(exposure: Exposure, model: SkyModel, *, params: CosmicRayParams | None = None) -> CosmicRays:
    """Return the cosmic rays of an exposure, given a model of the sky (steps 5 and 6).

    Parameters
    ----------
    exposure : Exposure
        In electron / s, with its ``sky``.
    model : SkyModel
        What all exposures show together.
    params : CosmicRayParams, optional
        How to blot and compare.
    """
    p = params or CosmicRayParams()
    blotted = model.blot(exposure, params=p.blot)
    hits = compare_with_model(
        exposure.data,
        blotted,
        exptime=exposure.exptime,
        read_noise=exposure.read_noise,
        error=exposure.error,
        params=p,
    )
    return CosmicRays(mask=hits, model=blotted)
