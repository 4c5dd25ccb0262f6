"""Where the pixels of a frame of a grism are on the sky and in direct images: turned and padded exposures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from astropy.wcs import WCS
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from skymere.align import LinearMap, TangentPlane, corrected_wcs
from skymere.datamodels import Exposure, Mosaic, SegmentationMap
from skymere.errors import InvalidInputError
from skymere.resample import BlotParams, blot
from skymere.wcs import Grid, pixel_transform, pixels_to_sky, sample_pixel_map

__all__ = ["FrameGeometry", "wcs_from_partner"]

# Pixels of a mosaic that the interpolation looks at on either side.
_REACH_PIX = 3

_Array = NDArray[np.float64]
_NODES = 9


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameGeometry:
    """The pixels of a frame: those of an exposure, turned by quarters and padded.

    Parameters
    ----------
    wcs : astropy.wcs.WCS or APE-14 object
        Coordinates of the exposure as it was read.
    shape : tuple of int
        Its rows and columns.
    quarters : int
        Quarters by which it is turned, as `numpy.rot90` counts them.
    pad : tuple of int
        Rows and columns beyond it after the turn.
    """

    wcs: Any
    shape: tuple[int, int]
    quarters: int = 0
    pad: tuple[int, int] = (64, 256)

    @property
    def turned_shape(self) -> tuple[int, int]:
        """Rows and columns after the turn, without pad."""
        ny, nx = self.shape
        return (nx, ny) if self.quarters % 2 else (ny, nx)

    @property
    def padded_shape(self) -> tuple[int, int]:
        """Rows and columns of the frame."""
        ny, nx = self.turned_shape
        return ny + 2 * self.pad[0], nx + 2 * self.pad[1]

    def turned(self, plane: NDArray[Any], fill: float = 0) -> NDArray[Any]:
        """Return a plane of the exposure on the pixels of the frame."""
        around = ((self.pad[0],) * 2, (self.pad[1],) * 2)
        return np.ascontiguousarray(np.pad(np.rot90(plane, self.quarters), around, constant_values=fill))

    def to_exposure(self, x: _Array, y: _Array) -> tuple[_Array, _Array]:
        """Return pixels of the exposure of pixels of the frame, 0-based."""
        u, v = np.asarray(x, float) - self.pad[1], np.asarray(y, float) - self.pad[0]
        ny, nx = self.shape
        match self.quarters % 4:
            case 0:
                return u, v
            case 1:
                return nx - 1 - v, u
            case 2:
                return nx - 1 - u, ny - 1 - v
        return v, ny - 1 - u

    def from_exposure(self, x: _Array, y: _Array) -> tuple[_Array, _Array]:
        """Return pixels of the frame, without its pad, of pixels of the exposure, 0-based."""
        ny, nx = self.shape
        match self.quarters % 4:
            case 0:
                return x, y
            case 1:
                return y, nx - 1 - x
            case 2:
                return nx - 1 - x, ny - 1 - y
        return ny - 1 - y, x

    def sky(self, x: _Array, y: _Array) -> tuple[_Array, _Array]:
        """Return ``ra, dec`` [deg] of pixels of the frame."""
        return pixels_to_sky(self.wcs, *self.to_exposure(x, y))

    def pixmap(self, wcs: Any) -> _Array:
        """Return the place of every pixel of the frame in another image, float64, shape (ny, nx, 2)."""
        to_pixels = _sky_to_pixels(wcs)
        return sample_pixel_map(lambda x, y: to_pixels(*self.sky(x, y)), self.padded_shape).pixmap

    def blotted(self, direct: Mosaic | Exposure, *, scale_arcsec: float) -> NDArray[np.float32]:
        """Return a direct image on the pixels of the frame [e/s], 0 where there is none."""
        wcs = direct.grid.wcs if isinstance(direct, Mosaic) else direct.wcs
        data = direct.data
        own = direct.grid.scale_arcsec if isinstance(direct, Mosaic) else direct.native_scale_arcsec
        if isinstance(direct, Exposure):
            data = np.where(direct.mask(), np.float32(0), data - np.float32(direct.sky))
        factor = (scale_arcsec / own) ** 2 if np.isfinite(scale_arcsec / own) else 1.0
        return np.asarray(blot(np.nan_to_num(data), self.pixmap(wcs)) * np.float32(factor), np.float32)

    def covered(self, direct: Mosaic | Exposure) -> NDArray[np.bool_]:
        """Return the pixels of the frame at which a direct image has a good pixel."""
        if isinstance(direct, Mosaic):
            # What is interpolated beside the edge of a mosaic has the zeros beyond it in it.
            good, wcs = _eroded(direct.covered, _REACH_PIX), direct.grid.wcs
        else:
            good, wcs = ~direct.mask(), direct.wcs
        nearest = BlotParams(interpolation="nearest")
        return np.asarray(blot(good.astype(np.float32), self.pixmap(wcs), params=nearest) > 0, bool)

    def labels(self, segmentation: SegmentationMap | Sequence[SegmentationMap]) -> NDArray[np.int32]:
        """Return labels at the middle of every pixel of the frame; 0 outside of all segmentations.

        Where several have a label, it is that of the first.
        """
        if isinstance(segmentation, SegmentationMap):
            return self._labels(segmentation)
        out: NDArray[np.int32] = np.zeros(self.padded_shape, np.int32)
        for one in segmentation:
            out = np.where(out == 0, self._labels(one), out)
        return out

    def _labels(self, segmentation: SegmentationMap) -> NDArray[np.int32]:
        if segmentation.grid is None:
            msg = "segmentation: it has no grid, so its pixels cannot be found in a frame"
            raise InvalidInputError(msg)
        x, y = np.moveaxis(self.pixmap(segmentation.grid.wcs), -1, 0)
        # Rounded, because points on the edge of a pixel come back a little beside it.
        ix, iy = (np.floor(np.round(np.nan_to_num(p, nan=-9.0), 6) + 0.5).astype(np.int64) for p in (x, y))
        ny, nx = segmentation.shape
        inside = (ix >= 0) & (iy >= 0) & (ix < nx) & (iy < ny)
        out: NDArray[np.int32] = np.zeros(self.padded_shape, np.int32)
        out[inside] = segmentation.labels[iy[inside], ix[inside]]
        return out

    def places(self, ra: _Array, dec: _Array) -> pl.DataFrame:
        """Return places and the derivatives of the sky there.

        ``x, y`` [pix] of the frame without its pad, 0-based; ``cd1_1`` to ``cd2_2`` [deg / pix], east and north by x
        and y.
        """
        x, y = self.from_exposure(*_sky_to_pixels(self.wcs)(ra, dec))
        at_x, at_y = x + self.pad[1], y + self.pad[0]
        columns: dict[str, _Array] = {"x": x, "y": y}
        for axis, (dx, dy) in enumerate(((0.5, 0.0), (0.0, 0.5)), start=1):
            ra1, dec1 = self.sky(at_x + dx, at_y + dy)
            ra0, dec0 = self.sky(at_x - dx, at_y - dy)
            columns[f"cd1_{axis}"] = ((ra1 - ra0 + 180.0) % 360.0 - 180.0) * np.cos(np.deg2rad(dec))
            columns[f"cd2_{axis}"] = dec1 - dec0
        return pl.DataFrame(columns)


def _eroded(mask: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    """Return the pixels of a mask whose neighbours up to a distance along each axis are in it, too."""
    for axis in (0, 1):
        padded = np.pad(mask, [(n, n) if k == axis else (0, 0) for k in (0, 1)])
        mask = np.asarray(sliding_window_view(padded, 2 * n + 1, axis=axis).all(axis=-1), bool)
    return mask


def _sky_to_pixels(wcs: Any) -> Any:
    """Return the function from ``ra, dec`` [deg] to 0-based pixels, NaN where there is none."""
    if isinstance(wcs, WCS):
        return Grid(wcs=wcs, shape=(1, 1)).pixels
    return lambda ra, dec: tuple(np.asarray(p, np.float64) for p in wcs.world_to_pixel_values(ra, dec))


def wcs_from_partner(exposure: Exposure, partner: Exposure, *, nominal: Any = None) -> Any:
    """Return the coordinates of an exposure of a grism as those of its direct partner.

    Parameters
    ----------
    exposure : Exposure
        The exposure of the grism, with the coordinates of its header.
    partner : Exposure
        The direct exposure, aligned.
    nominal : astropy.wcs.WCS or APE-14 object, optional
        The coordinates of the partner before it was aligned; what became of them becomes of those of the exposure. When
        not given, the telescope did not move between the two, and the coordinates are those of the partner.

    Returns
    -------
    astropy.wcs.WCS or APE-14 object
        The coordinates.

    Notes
    -----
    A grism moves no star, but its spectra cannot be matched to a catalogue. The linear map in the tangent plane is the
    best one through ``aligned(nominal^-1(sky))`` of a net of pixels.
    """
    if nominal is None:
        return partner.wcs
    ny, nx = exposure.shape
    x, y = (p.ravel() for p in np.meshgrid(np.linspace(0, nx - 1, _NODES), np.linspace(0, ny - 1, _NODES)))
    before = pixels_to_sky(exposure.wcs, x, y)
    plane = TangentPlane.around(*before)
    after = pixels_to_sky(partner.wcs, *pixel_transform(exposure.wcs, nominal)(x, y))
    old, new = plane.of_sky(*before), plane.of_sky(*after)
    terms, *_ = np.linalg.lstsq(np.column_stack([old, np.ones(len(old))]), new, rcond=None)
    correction = LinearMap(matrix=np.asarray(terms[:2].T, np.float64), centre=np.zeros(2), shift=terms[2])
    return corrected_wcs(exposure.wcs, plane, correction)
