"""A model of the sky without cosmic rays: single drizzles of all exposures, combined, and blotted back."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_mask
from skymere.datamodels import Exposure, ScratchPlanes, Sliceable, Window, windows_of
from skymere.errors import InvalidInputError
from skymere.outliers.combine import combine_images
from skymere.outliers.params import CosmicRayParams, SecondPassParams
from skymere.outliers.singles import Singles
from skymere.resample import BlotParams, Drizzler, blot, covering_grid, pixel_scale_ratio
from skymere.resample.reach import around, drop_reach_pix
from skymere.wcs import Grid, pixel_map

__all__ = ["SkyModel", "build_mean_model", "build_sky_model", "single_drizzle"]

# The widest interpolation is over 15 pixels.
_STENCIL_PIX = 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class SkyModel:
    """What all exposures of a band show together.

    Parameters
    ----------
    data : array, float32, shape (ny, nx) [electron / s / pix of the grid]
        Sky subtracted; 0 where no exposure is good, since the sky is the best guess there. Anything that gives a window
        when sliced.
    grid : Grid
        Its pixels.
    """

    data: Sliceable
    grid: Grid

    def blot(self, exposure: Exposure, *, params: BlotParams | None = None) -> NDArray[np.float32]:
        """Return what an exposure should show, its sky included (step 5).

        Parameters
        ----------
        exposure : Exposure
            With its ``sky``.
        params : BlotParams, optional
            Interpolation.

        Returns
        -------
        ndarray, float32, shape (ny, nx) [electron / s]
            On the pixels of the exposure.
        """
        pixmap = pixel_map(exposure.wcs, self.grid.wcs, exposure.shape)
        ratio = np.float32(_scale_ratio(exposure, self.grid, pixmap) ** -2)
        window = around(pixmap, self.grid.shape, _STENCIL_PIX)
        if window is None:
            # What is far away tells nothing but the value of nowhere.
            window = Window((0, 1), (0, 1))
        pixmap -= window.origin[::-1]
        return blot(self.data[window.slices], pixmap, params=params) * ratio + np.float32(exposure.sky)


def _scale_ratio(exposure: Exposure, grid: Grid, pixmap: NDArray[np.float64]) -> float:
    """Side of a pixel of the grid over the nominal side of one of the exposure."""
    ratio = grid.scale_arcsec / exposure.native_scale_arcsec
    return ratio if np.isfinite(ratio) else pixel_scale_ratio(pixmap)


def single_drizzle(
    exposure: Exposure, grid: Grid, *, mask: ArrayLike | None = None, params: CosmicRayParams | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Drizzle one exposure by itself (step 3).

    Parameters
    ----------
    exposure : Exposure
        In electron / s, with its ``sky``, which is subtracted.
    grid : Grid
        The output.
    mask : array_like, bool, shape of the exposure, optional
        True = do not use; the exposure's own `Exposure.mask` when not given.
    params : CosmicRayParams, optional
        ``drizzle`` and ``min_weight_fraction`` are used.

    Returns
    -------
    data : ndarray, float32, shape (ny, nx) [electron / s / pix of the grid]
        NaN where nothing fell.
    unused : ndarray, bool, shape (ny, nx)
        Pixels to which too little of the exposure contributed.
    """
    p = params or CosmicRayParams()
    bad = exposure.mask() if mask is None else as_mask(mask, "mask", shape=exposure.shape)
    data, unused = np.full(grid.shape, p.drizzle.fillval, np.float32), np.ones(grid.shape, bool)
    window, some, lacking = _single(exposure, grid, mask=bad, params=p)
    if window is not None:
        data[window.slices], unused[window.slices] = some, lacking
    return data, unused


def _single(
    exposure: Exposure, grid: Grid, *, mask: ArrayLike, params: CosmicRayParams
) -> tuple[Window | None, NDArray[np.float32], NDArray[np.bool_]]:
    """Return the window that an exposure touches, and what `single_drizzle` has there."""
    bad = as_mask(mask, "mask", shape=exposure.shape)
    pixmap = pixel_map(exposure.wcs, grid.wcs, exposure.shape)
    window = _footprint(pixmap, grid, params, _scale_ratio(exposure, grid, pixmap))
    if window is None:
        return None, np.empty((0, 0), np.float32), np.empty((0, 0), bool)
    single = Drizzler(grid.shape, params=params.drizzle, context=False, window=window.slices)
    _add(single, exposure, grid, ~bad, 1.0, pixmap)
    drizzled = single.finish()
    covered = drizzled.weight > 0
    enough = params.min_weight_fraction * drizzled.weight[covered].mean() if covered.any() else 0.0
    return window, drizzled.data, ~covered | (drizzled.weight < enough)


def build_sky_model(
    exposures: Sequence[Exposure],
    *,
    grid: Grid | None = None,
    masks: Sequence[ArrayLike] | None = None,
    ignore: Iterable[str] = (),
    params: CosmicRayParams | None = None,
    scratch: ScratchPlanes | None = None,
) -> SkyModel:
    """Combine the single drizzles of all exposures (steps 3 and 4).

    Parameters
    ----------
    exposures : sequence of Exposure
        Aligned exposures of one band with their ``sky``, in electron / s; taken one at a time.
    grid : Grid, optional
        Pixels of the model; a grid that covers all exposures at the detector's scale, or that of ``params``, when not
        given.
    masks : sequence of array_like, bool, optional
        Pixels not to use in each; the exposures' own `Exposure.mask` when None.
    ignore : iterable of str, optional
        Names of DQ bits that count as good in those.
    params : CosmicRayParams, optional
        How to drizzle and combine.
    scratch : ScratchPlanes, optional
        Where the model is kept when it needs more than ``memory_mb``; in memory when not given.

    Raises
    ------
    InvalidInputError
        When there is no exposure, one is not in electron / s, or there is one mask too few.
    StorageError
        When the single drizzles need a file and there is no room for it.
    """
    p = params or CosmicRayParams()
    if not exposures:
        msg = "exposures: at least one is needed"
        raise InvalidInputError(msg)
    if masks is not None and len(masks) != len(exposures):
        msg = f"masks: {len(masks)} masks are not allowed, there are {len(exposures)} exposures"
        raise InvalidInputError(msg)
    grid = grid or covering_grid(exposures, scale_arcsec=p.scale_arcsec, rotation_deg=p.rotation_deg)
    keep = tuple(ignore)
    exptime, sky, read_noise = (np.zeros(len(exposures)) for _ in range(3))
    with Singles(p.memory_mb) as singles:
        for k, exposure in enumerate(exposures):
            if exposure.unit != "electron / s":
                msg = f"exposures: unit {exposure.unit!r} of {exposure.exposure_id} is not 'electron / s'"
                raise InvalidInputError(msg)
            bad = exposure.mask(ignore=keep) if masks is None else masks[k]
            singles.put(*_single(exposure, grid, mask=bad, params=p))
            exptime[k], sky[k], read_noise[k] = exposure.exptime, exposure.sky, exposure.read_noise
        data = _plane("median", grid.shape, p, scratch)
        # Pixels within `grow` of a block decide about minmed in it.
        margin = p.minmed.grow if p.combine.endswith("minmed") else 0
        for block in singles.blocks(grid.shape, margin=margin):
            which = block.members
            combined = combine_images(
                block.values,
                block.unused,
                exptime=exptime[which].tolist(),
                sky=sky[which].tolist(),
                read_noise=read_noise[which].tolist(),
                params=p,
            )
            combined[~np.isfinite(combined)] = 0.0
            data[block.core.slices] = combined[block.core.within(block.window)]
    return SkyModel(data=data, grid=grid)


def build_mean_model(
    exposures: Sequence[Exposure],
    masks: Iterable[ArrayLike],
    *,
    instead: SkyModel,
    params: CosmicRayParams | None = None,
    scratch: ScratchPlanes | None = None,
) -> SkyModel:
    """Drizzle all exposures together, weighted by exposure time.

    Parameters
    ----------
    exposures : sequence of Exposure
        As for `build_sky_model`.
    masks : iterable of array_like, bool
        Pixels not to use in each, cosmic rays included; taken one at a time.
    instead : SkyModel
        What stands where nothing is left of any exposure; the model's pixels are ``second.pixel_scale`` of its pixels.
    params : CosmicRayParams, optional
        ``drizzle``, ``blot`` and ``second`` are used.
    scratch : ScratchPlanes, optional
        As for `build_sky_model`.
    """
    p = params or CosmicRayParams()
    factor = (p.second or SecondPassParams()).pixel_scale
    grid = instead.grid.rescaled(factor)
    ny, nx = grid.shape
    # The sums of w and w d lie side by side.
    sums = _plane("sums", (ny, 2 * nx), p, scratch, dtype=np.float64)
    for exposure, mask in zip(exposures, masks, strict=True):
        pixmap = pixel_map(exposure.wcs, grid.wcs, exposure.shape)
        window = _footprint(pixmap, grid, p, _scale_ratio(exposure, grid, pixmap))
        if window is None:
            continue
        at = _pairs(window)
        some = np.ascontiguousarray(sums[at]).reshape(*window.shape, 2)
        together = Drizzler(grid.shape, params=p.drizzle, context=False, window=window.slices, sums=some)
        _add(together, exposure, grid, ~as_mask(mask, "masks", shape=exposure.shape), exposure.exptime, pixmap)
        sums[at] = some.reshape(window.shape[0], -1)
    data = _plane("mean", grid.shape, p, scratch)
    for window in windows_of(grid.shape):
        some = np.ascontiguousarray(sums[_pairs(window)]).reshape(*window.shape, 2)
        drizzled = Drizzler(grid.shape, params=p.drizzle, context=False, window=window.slices, sums=some).finish()
        values, empty = drizzled.data, ~(drizzled.weight > 0)
        if empty.any():
            values[empty] = _nearest(instead, window, factor)[empty] * np.float32(factor**2)
        data[window.slices] = values
    return SkyModel(data=data, grid=grid)


def _plane(
    name: str, shape: tuple[int, int], p: CosmicRayParams, scratch: ScratchPlanes | None, dtype: Any = np.float32
) -> Any:
    """Return a plane of zeros: in memory, or in a file where it would need more memory than is allowed."""
    if scratch is None or shape[0] * shape[1] * np.dtype(dtype).itemsize <= p.memory_mb * 1e6:
        return np.zeros(shape, dtype)
    return scratch.plane(name, shape, dtype)


def _pairs(window: Window) -> tuple[slice, slice]:
    rows, columns = window.slices
    return rows, slice(2 * columns.start, 2 * columns.stop)


def _nearest(model: SkyModel, window: Window, factor: float) -> NDArray[np.float32]:
    """Return the nearest pixel of a model for each pixel of a window of another one, smaller by a factor."""
    y, x = (
        np.minimum(((np.arange(low, high) + 0.5) * factor).astype(np.intp), n - 1)
        for (low, high), n in zip((window.rows, window.columns), model.data.shape, strict=True)
    )
    part = model.data[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
    return np.asarray(part[np.ix_(y - y[0], x - x[0])], np.float32)


def _footprint(pixmap: NDArray[np.float64], grid: Grid, p: CosmicRayParams, ratio: float) -> Window | None:
    """Return the window of a grid that the drops of an exposure touch; None when there is none."""
    margin = drop_reach_pix(p.drizzle, ratio) + 1.0 / ratio + 2.0
    return around(pixmap, grid.shape, margin)


def _add(
    out: Drizzler,
    exposure: Exposure,
    grid: Grid,
    good: NDArray[np.bool_],
    weight: float,
    pixmap: NDArray[np.float64],
) -> None:
    """Drizzle the good pixels of an exposure, sky subtracted."""
    ratio = _scale_ratio(exposure, grid, pixmap)
    out.add(
        exposure.data - np.float32(exposure.sky),
        pixmap,
        weight=good * np.float32(weight),
        value_scale=ratio**2,
        pixel_scale_ratio=ratio,
    )
