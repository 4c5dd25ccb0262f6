"""Where the pixels of beams lie on a grid of the sky."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skymere.datamodels import ANGSTROM, Beam, Thumbnail
from skymere.datamodels.thumbnails import BandThumbnail
from skymere.errors import InvalidInputError
from skymere.grism.beam import BeamModel
from skymere.grism.multibeam import MultiBeam
from skymere.psf import PsfSource, render_psf_at
from skymere.resample import DrizzleParams, Drizzler, Geometry
from skymere.wcs import Grid, pixel_transform

__all__ = ["BeamOnSky", "beams_on_sky", "drizzle_direct", "drizzle_segmentation"]

_Array = NDArray[np.float64]
# Pixels around what a grid needs of a cutout, whose drops may reach it; Lanczos reaches 3.
_MARGIN = 4
_EDGE_POINTS = 16


class BeamOnSky:
    """The direct image of a beam, and with it each wavelength, on a grid of the sky.

    Light of wavelength w that the direct image shows at (x, y) falls on column ``x + d(w)`` and row ``y + t(w)`` of the
    spectrum, ``d`` counted from its first column: the WCS of the direct image, moved by (d, t), holds for that
    wavelength.
    """

    def __init__(self, beam: BeamModel, grid: Grid) -> None:
        if beam.wcs is None:
            msg = f"multibeam: {beam.beam.label} has no coordinates of the sky"
            raise InvalidInputError(msg)
        self.beam, self.grid = beam, grid
        self._to_grid = pixel_transform(beam.wcs, grid.wcs)
        self._to_beam = pixel_transform(grid.wcs, beam.wcs)
        offset = np.arange(beam.order.first, beam.order.end, dtype=np.float64)
        rows, wave = beam.order.compiled.trace(beam.place, offset)
        rising = np.argsort(wave)
        self._wave, self._column, self._row = wave[rising] * ANGSTROM, rising.astype(np.float64), rows[rising]

    def shift(self, wave: float) -> tuple[float, float] | None:
        """Return columns and rows by which light of a wavelength [um] is moved; None beyond the order."""
        if not self._wave[0] <= wave <= self._wave[-1]:
            return None
        return float(np.interp(wave, self._wave, self._column)), float(np.interp(wave, self._wave, self._row))

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a place of the grid is on the direct image [pix]."""
        across, along = self._to_beam(np.array([x]), np.array([y]))
        return float(across[0]), float(along[0])

    def around(self) -> tuple[slice, slice]:
        """Return rows and columns of the detector that may reach the grid, whether or not the cutout has them."""
        low = np.floor(self._outline[0]).astype(int) - _MARGIN
        high = np.ceil(self._outline[1]).astype(int) + _MARGIN + 1
        return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))

    @cached_property
    def _outline(self) -> _Array:
        """First and last place of the grid on the direct image, ((x, y), (x, y)) [pix]."""
        ny, nx = self.grid.shape
        t = np.linspace(-0.5, 1.0, _EDGE_POINTS)
        x = np.concatenate([t * nx, t * nx, np.full(t.size, -0.5), np.full(t.size, nx - 0.5)])
        y = np.concatenate([np.full(t.size, -0.5), np.full(t.size, ny - 0.5), t * ny, t * ny])
        x, y = self._to_beam(np.clip(x, -0.5, nx - 0.5), np.clip(y, -0.5, ny - 0.5))
        return np.array([[np.nanmin(x), np.nanmin(y)], [np.nanmax(x), np.nanmax(y)]])

    def window(self, shift: tuple[float, float], shape: tuple[int, int]) -> tuple[slice, slice] | None:
        """Return rows and columns of a cutout that may reach the grid; None when there are less than 2 x 2."""
        low = np.floor(self._outline[0] + shift).astype(int) - _MARGIN
        high = np.ceil(self._outline[1] + shift).astype(int) + _MARGIN + 1
        x0, x1, y0, y1 = max(low[0], 0), min(high[0], shape[1]), max(low[1], 0), min(high[1], shape[0])
        return None if x1 - x0 < 2 or y1 - y0 < 2 else (slice(int(y0), int(y1)), slice(int(x0), int(x1)))

    def pixmap(self, window: tuple[slice, slice], shift: tuple[float, float] = (0.0, 0.0)) -> _Array:
        """Return places on the grid of the pixels of a window, float64, shape (ny, nx, 2) [pix]."""
        rows, columns = window
        y, x = np.meshgrid(
            np.arange(rows.start, rows.stop) - shift[1],
            np.arange(columns.start, columns.stop) - shift[0],
            indexing="ij",
        )
        return np.stack(self._to_grid(x, y), axis=-1)

    @cached_property
    def _grid_on_beam(self) -> tuple[_Array, _Array]:
        y, x = np.indices(self.grid.shape, dtype=np.float64)
        return self._to_beam(x, y)

    def inside(self, shift: tuple[float, float], shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return which pixels of the grid lie within a cutout, bool, shape (ny, nx)."""
        x, y = self._grid_on_beam[0] + shift[0], self._grid_on_beam[1] + shift[1]
        return (x >= -0.5) & (x <= shape[1] - 0.5) & (y >= -0.5) & (y <= shape[0] - 0.5)

    @cached_property
    def nominal_ratio(self) -> float:
        """Side of a pixel of the grid over that of a pixel of the detector, of the linear parts of both."""
        assert self.beam.wcs is not None
        return float(self.grid.scale_arcsec / Grid(wcs=self.beam.wcs, shape=(1, 1)).scale_arcsec)

    @cached_property
    def local_ratio(self) -> float:
        """The same at the source, with distortions."""
        x, y = self.beam.centroid
        step = np.array([0.5, -0.5, 0.0, 0.0])
        u, v = self._to_grid(x + step, y + step[[2, 3, 0, 1]])
        area = float(abs((u[0] - u[1]) * (v[2] - v[3]) - (u[2] - u[3]) * (v[0] - v[1])))
        return 1.0 / math.sqrt(area)


def beams_on_sky(multibeam: MultiBeam, geometry: Geometry) -> tuple[Grid, tuple[BeamOnSky, ...]]:
    """Return the grid of a geometry around a source, and its beams there.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    geometry : Geometry
        Pixels, kernel and drop.

    Raises
    ------
    InvalidInputError
        When a beam has no coordinates.
    """
    grid = geometry.grid(*multibeam.position)
    return grid, tuple(BeamOnSky(one, grid) for one in multibeam.beams)


def drizzle_segmentation(multibeam: MultiBeam, *, geometry: Geometry) -> NDArray[np.int32]:
    """Return the segmentation of the beams on the grid of a geometry.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    geometry : Geometry
        The pixels; its kernel does not count.

    Returns
    -------
    ndarray, int32, shape (ny, nx)
        Labels; 0 is sky.

    Raises
    ------
    InvalidInputError
        When a beam has no coordinates.

    Notes
    -----
    Each label is drizzled by itself with whole pixels (``square``, pixfrac 1), the source first; the others fill what
    it left, in rising order. So no pixel has a label that is not in the beams.
    """
    _, placed = beams_on_sky(multibeam, geometry)
    return segmentation_of(placed, multibeam.source_id)


def segmentation_of(placed: tuple[BeamOnSky, ...], source_id: int) -> NDArray[np.int32]:
    """Return the segmentation of beams that are placed on a grid; see `drizzle_segmentation`."""
    grid = placed[0].grid
    out = np.zeros(grid.shape, np.int32)
    parts: dict[int, Drizzler] = {}
    for one in placed:
        labels = one.beam.beam.segmentation
        window = one.window((0.0, 0.0), labels.shape)
        if window is None:
            continue
        part, pixmap = labels[window], one.pixmap(window)
        for label in np.unique(part[part != 0]):
            mine = part == label
            box = tuple(slice(max(int(at.min()) - 1, 0), int(at.max()) + 2) for at in np.nonzero(mine))
            drizzler = parts.setdefault(int(label), Drizzler(grid.shape, params=_WHOLE, context=False))
            drizzler.add(np.ones(mine[box].shape, np.float32), pixmap[box], weight=mine[box].astype(np.float32))
    for label in sorted(parts, key=lambda label: (label != source_id, label)):
        out[(parts[label].finish().weight > 0) & (out == 0)] = label
    return out


_WHOLE = DrizzleParams(kernel="square", pixfrac=1.0, fillval=0.0)


def drizzle_direct(
    multibeam: MultiBeam, *, geometry: Geometry, psf: Mapping[str, PsfSource] | None = None
) -> Thumbnail:
    """Return the direct images that beams carry, drizzled to a geometry.

    Where the exposures themselves are at hand, `skymere.mosaic.thumbnails` makes better ones: direct images of beams
    may have been blotted from a mosaic, and their weight tells nothing of noise.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    geometry : Geometry
        Pixels, kernel and drop.
    psf : mapping of str to PSF, optional
        PSF of the exposures behind the direct images of each filter: a star at the source is drawn into each of them
        and drizzled as they are. A PSF that changes over the detector is taken where the beam lies on it.

    Returns
    -------
    Thumbnail
        One band for each direct filter with the weight ``coverage``, and the segmentation. Direct images are in
        electron / s: those of beams in f_lambda are divided by what their headers say of one electron / s.

    Raises
    ------
    InvalidInputError
        When a beam has no coordinates.
    """
    grid, placed = beams_on_sky(multibeam, geometry)
    ra, dec = multibeam.position
    bands: dict[str, Drizzler] = {}
    photometry: dict[str, tuple[float, float]] = {}
    for one in placed:
        photflam, photplam, unit = _photometry(one.beam.beam)
        image = one.beam.beam.direct / np.float32(unit)
        window = one.window((0.0, 0.0), (image.shape[0], image.shape[1]))
        if window is None:
            continue
        name = one.beam.beam.direct_filter.lower()
        drizzler = bands.setdefault(name, Drizzler(grid.shape, params=geometry.drizzle, context=False))
        photometry.setdefault(name, (photflam, photplam))
        ratio = one.nominal_ratio
        drizzler.add(
            image[window],
            one.pixmap(window),
            weight=(image[window] != 0).astype(np.float32),
            value_scale=ratio**2,
            pixel_scale_ratio=ratio,
        )
    finished = {name: drizzler.finish() for name, drizzler in bands.items()}
    x, y = grid.pixels(np.array([ra]), np.array([dec]))
    stars = {
        name: drizzle_star(placed, name, source, (float(x[0]), float(y[0])), geometry=geometry)
        for name, source in (psf or {}).items()
        if name in finished
    }
    return Thumbnail(
        source_id=multibeam.source_id,
        label=multibeam.source_id,
        ra=ra,
        dec=dec,
        x=float(x[0]),
        y=float(y[0]),
        grid=grid,
        bands=tuple(
            BandThumbnail(
                band=name,
                data=np.where(one.weight > 0, one.data, np.float32(np.nan)),
                weight=one.weight,
                weight_kind="coverage",
                psf=stars.get(name),
                photflam=photometry[name][0],
                photplam=photometry[name][1],
                coverage=float(np.mean(one.weight > 0)),
            )
            for name, one in finished.items()
        ),
        segmentation=segmentation_of(placed, multibeam.source_id),
        kernel=geometry.kernel,
        pixfrac=float(geometry.pixfrac),
        geometry_sha256=geometry.digest,
    )


def drizzle_star(
    placed: tuple[BeamOnSky, ...], band: str, source: PsfSource, at: tuple[float, float], *, geometry: Geometry
) -> NDArray[np.float32] | None:
    """Return a star of flux 1, drawn into the direct images of a filter and drizzled as they are.

    Parameters
    ----------
    placed : tuple of BeamOnSky
        The beams.
    band : str
        Filter, lower case; all its beams count alike.
    source : Psf, PsfGrid or formula
        PSF of the exposures.
    at : tuple of float
        ``(x, y)`` of the star on the grid [pix].
    geometry : Geometry
        Kernel and drop.

    Returns
    -------
    ndarray, float32, shape (ny, nx), or None
        With the sum of the light that falls on the grid; None when no beam has the filter.
    """
    mine = [one for one in placed if one.beam.beam.direct_filter.lower() == band]
    if not mine:
        return None
    ny, nx = mine[0].grid.shape
    drizzler = Drizzler((ny, nx), params=replace(geometry.drizzle, fillval=0.0), context=False)
    light = []
    for one in mine:
        rows, columns = window = one.around()
        pixmap = one.pixmap(window)
        x, y = one.place(*at)
        yy, xx = np.mgrid[rows, columns].astype(np.float64)
        row, column = one.beam.beam.origin
        stamp = render_psf_at(source, one.beam.wcs, x, y, xx - x, yy - y, place=(x + column, y + row))
        inside = (np.abs(pixmap - [(nx - 1) / 2, (ny - 1) / 2]) < [nx / 2, ny / 2]).all(axis=-1)
        light.append(float(stamp[inside].sum()))
        # A flat-fielded pixel shows flux x nominal / true area.
        flat = (one.local_ratio / one.nominal_ratio) ** 2
        ratio = one.nominal_ratio
        drizzler.add((stamp * flat).astype(np.float32), pixmap, value_scale=ratio**2, pixel_scale_ratio=ratio)
    data = np.nan_to_num(drizzler.finish().data, nan=0.0)
    total = float(data.sum(dtype=float))
    return data * np.float32(max(light) / total) if total > 0 else None


def _photometry(beam: Beam) -> tuple[float, float, float]:
    """Return the flux of one electron / s, the pivot wavelength [Angstrom], and one electron / s of the direct image.

    A direct image is in f_lambda, in units of ``PHOTFLAM``, or of ``REFFLAM`` where that is said; files with a
    ``PHOTFLAM`` of 1 are in electron / s and do not say what it is.
    """
    header = fits.Header.fromstring(beam.headers.get("direct", ""), sep="\n")
    unit, pivot = header.get("REFFLAM", header.get("PHOTFLAM", 1.0)), header.get("PHOTPLAM", np.nan)
    is_known = isinstance(unit, float) and 0 < unit < 1
    return float(unit) if is_known else np.nan, float(pivot), float(unit) if is_known else 1.0
