"""A model of the sky without cosmic rays: single drizzles of all exposures, combined, and blotted back."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_mask
from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError, StorageError
from skymere.outliers.combine import combine_images
from skymere.outliers.params import CosmicRayParams, SecondPassParams
from skymere.resample import BlotParams, Drizzler, blot, covering_grid, pixel_scale_ratio
from skymere.wcs import Grid, pixel_map

__all__ = ["SkyModel", "build_mean_model", "build_sky_model", "single_drizzle"]

_BYTES = 5  # of a pixel of a single drizzle: its value and whether it is used


@dataclass(frozen=True, kw_only=True, eq=False)
class SkyModel:
    """What all exposures of a band show together.

    Parameters
    ----------
    data : ndarray, float32, shape (ny, nx) [electron / s / pix of the grid]
        Sky subtracted; 0 where no exposure is good, since the sky is the best guess there.
    grid : Grid
        Its pixels.
    """

    data: NDArray[np.float32]
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
        return blot(self.data, pixmap, params=params) * ratio + np.float32(exposure.sky)


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
    single = Drizzler(grid.shape, params=p.drizzle, context=False)
    _add(single, exposure, grid, ~bad, 1.0)
    drizzled = single.finish()
    covered = drizzled.weight > 0
    enough = p.min_weight_fraction * drizzled.weight[covered].mean() if covered.any() else 0.0
    return drizzled.data, ~covered | (drizzled.weight < enough)


def build_sky_model(
    exposures: Sequence[Exposure],
    *,
    grid: Grid | None = None,
    masks: Sequence[ArrayLike] | None = None,
    ignore: Iterable[str] = (),
    params: CosmicRayParams | None = None,
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
    exptime, sky, read_noise = [], [], []
    with _Singles(len(exposures), grid.shape, p.memory_mb) as singles:
        for k, exposure in enumerate(exposures):
            if exposure.unit != "electron / s":
                msg = f"exposures: unit {exposure.unit!r} of {exposure.exposure_id} is not 'electron / s'"
                raise InvalidInputError(msg)
            bad = exposure.mask(ignore=keep) if masks is None else masks[k]
            singles.put(*single_drizzle(exposure, grid, mask=bad, params=p))
            exptime.append(exposure.exptime)
            sky.append(exposure.sky)
            read_noise.append(exposure.read_noise)
        data = np.empty(grid.shape, np.float32)
        # Rows within `grow` of a block decide about minmed in it.
        margin = p.minmed.grow if p.combine.endswith("minmed") else 0
        for y0, y1, first, stack, unused in singles.blocks(margin):
            combined = combine_images(stack, unused, exptime=exptime, sky=sky, read_noise=read_noise, params=p)
            data[y0:y1] = combined[y0 - first : y1 - first]
    data[~np.isfinite(data)] = 0.0
    return SkyModel(data=data, grid=grid)


def build_mean_model(
    exposures: Sequence[Exposure],
    masks: Iterable[ArrayLike],
    *,
    instead: SkyModel,
    params: CosmicRayParams | None = None,
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
    """
    p = params or CosmicRayParams()
    factor = (p.second or SecondPassParams()).pixel_scale
    grid = instead.grid.rescaled(factor)
    together = Drizzler(grid.shape, params=p.drizzle, context=False)
    for exposure, mask in zip(exposures, masks, strict=True):
        _add(together, exposure, grid, ~as_mask(mask, "masks", shape=exposure.shape), exposure.exptime)
    drizzled = together.finish()
    data, empty = drizzled.data, ~(drizzled.weight > 0)
    if empty.any():
        y, x = np.nonzero(empty)
        # The nearest pixel of the other model, per pixel of this one.
        at = tuple(
            np.minimum(((v + 0.5) * factor).astype(np.intp), n - 1)
            for v, n in zip((y, x), instead.data.shape, strict=True)
        )
        data[empty] = instead.data[at] * np.float32(factor**2)
    return SkyModel(data=data, grid=grid)


def _add(out: Drizzler, exposure: Exposure, grid: Grid, good: NDArray[np.bool_], weight: float) -> None:
    """Drizzle the good pixels of an exposure, sky subtracted."""
    pixmap = pixel_map(exposure.wcs, grid.wcs, exposure.shape)
    ratio = _scale_ratio(exposure, grid, pixmap)
    out.add(
        exposure.data - np.float32(exposure.sky),
        pixmap,
        weight=good * np.float32(weight),
        value_scale=ratio**2,
        pixel_scale_ratio=ratio,
    )


class _Singles:
    """Single drizzles, in memory or in a nameless file, to be read in blocks of rows."""

    def __init__(self, n: int, shape: tuple[int, int], memory_mb: float) -> None:
        self._shape = shape
        self._n = n
        budget = memory_mb * 1e6
        self._rows = max(1, min(shape[0], int(budget // (n * shape[1] * _BYTES))))
        self._kept: list[tuple[NDArray[np.float32], NDArray[np.bool_]]] | None = []
        if n * shape[0] * shape[1] * _BYTES > budget:
            self._kept = None
            try:
                self._file = tempfile.TemporaryFile(prefix="skymere-")  # noqa: SIM115 (closed on exit)
            except OSError as error:
                msg = f"{tempfile.gettempdir()}: no file can be made there: {error.strerror}"
                raise StorageError(msg) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept is None:
            self._file.close()

    def put(self, data: NDArray[np.float32], unused: NDArray[np.bool_]) -> None:
        """Append an image."""
        if self._kept is not None:
            self._kept.append((data, unused))
            return
        try:
            self._file.write(data.data)
            self._file.write(unused.data)
        except OSError as error:
            msg = f"{tempfile.gettempdir()}: single drizzles cannot be written there: {error.strerror}"
            raise StorageError(msg) from error

    def blocks(self, margin: int) -> Iterator[tuple[int, int, int, NDArray[np.float32], NDArray[np.bool_]]]:
        """Yield first and last row of each block, the first row that it holds, its images and what they lack.

        The memory of a block is that of the one before it.
        """
        ny, nx = self._shape
        most = self._n * min(self._rows + 2 * margin, ny) * nx
        values, bad = np.empty(most, np.float32), np.empty(most, bool)
        for y0 in range(0, ny, self._rows):
            y1 = min(y0 + self._rows, ny)
            first, last = max(y0 - margin, 0), min(y1 + margin, ny)
            shape = (self._n, last - first, nx)
            n = int(np.prod(shape))
            stack, unused = values[:n].reshape(shape), bad[:n].reshape(shape)
            for k in range(self._n):
                if self._kept is not None:
                    stack[k], unused[k] = (plane[first:last] for plane in self._kept[k])
                else:
                    start = k * ny * nx * _BYTES
                    self._read(start + first * nx * 4, stack[k])
                    self._read(start + ny * nx * 4 + first * nx, unused[k])
            yield y0, y1, first, stack, unused

    def _read(self, position: int, out: NDArray[Any]) -> None:
        self._file.seek(position)
        self._file.readinto(out.view(np.uint8).data)
