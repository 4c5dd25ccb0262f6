"""Cutouts on the pixel grid of their mosaic."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere.datamodels import Mosaic, SegmentationMap
from skymere.errors import InvalidInputError
from skymere.psf import Psf, PsfGrid
from skymere.segmentation import labels_on_grid
from skymere.wcs import Grid

__all__ = ["BandCutout", "Cutout", "column_numbers", "cut_window", "cutouts", "position_table"]

# Names under which tables of others have the number of a source.
_ID_NAMES = ("label", "id", "number", "source_id", "segment_id")


@dataclass(frozen=True, kw_only=True, eq=False)
class Cutout:
    """A window of an image.

    Parameters
    ----------
    data : ndarray, shape (size, size)
        Pixels; NaN (0 for integers) outside the image.
    origin : tuple of int
        ``(y0, x0)`` of the first pixel on the parent's grid; may be negative.
    coverage : float
        Fraction of the window that lies inside the parent.
    """

    data: NDArray[np.generic]
    origin: tuple[int, int]
    coverage: float


def cut_window(image: NDArray[np.generic], x: float, y: float, *, size_pix: int) -> Cutout:
    """Cut a square window around a position.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Parent image.
    x, y : float
        Centre, 0-based [pix]; the pixel that holds it is pixel ``size_pix // 2`` of the window.
    size_pix : int
        Side of the window [pix].

    Raises
    ------
    InvalidInputError
        When the size or the position is not allowed.
    """
    if size_pix < 1 or not (np.isfinite(x) and np.isfinite(y)):
        msg = f"size_pix, x, y: {size_pix}, {x}, {y} are not allowed, the size must be positive and the position finite"
        raise InvalidInputError(msg)
    y0, x0 = int(np.floor(y + 0.5)) - size_pix // 2, int(np.floor(x + 0.5)) - size_pix // 2
    blank = np.nan if image.dtype.kind == "f" else 0
    window = np.full((size_pix, size_pix), blank, image.dtype)
    ny, nx = image.shape
    ya, yb = max(y0, 0), min(y0 + size_pix, ny)
    xa, xb = max(x0, 0), min(x0 + size_pix, nx)
    inside = max(yb - ya, 0) * max(xb - xa, 0)
    if inside:
        window[ya - y0 : yb - y0, xa - x0 : xb - x0] = image[ya:yb, xa:xb]
    return Cutout(data=window, origin=(y0, x0), coverage=inside / size_pix**2)


@dataclass(frozen=True, kw_only=True, eq=False)
class BandCutout:
    """A piece of a mosaic around a position, on the pixels of the mosaic.

    Parameters
    ----------
    band : str
        Band of the mosaic.
    ra, dec : float
        The position [deg].
    x, y : float
        The position on the pixels of the cutout, 0-based; within half a pixel of the middle.
    label : int or None
        Number of the source, where it is known.
    grid : Grid
        WCS and shape of the cutout.
    origin : tuple of int
        ``(y0, x0)`` of its first pixel on the mosaic; may be negative.
    data : ndarray, float32, shape (size, size) [unit of the mosaic]
        NaN outside of the mosaic.
    weight : ndarray, float32, shape (size, size)
        0 outside of the mosaic.
    segmentation : ndarray, int32, shape (size, size), or None
        Labels; 0 is sky, and what lies outside of the segmentation.
    psf : Psf or None
        At the position.
    coverage : float
        Fraction of the pixels that are in the mosaic, finite and of positive weight.
    """

    band: str
    ra: float
    dec: float
    x: float
    y: float
    label: int | None
    grid: Grid
    origin: tuple[int, int]
    data: NDArray[np.float32]
    weight: NDArray[np.float32]
    segmentation: NDArray[np.int32] | None
    psf: Psf | None
    coverage: float


def cutouts(
    mosaic: Mosaic,
    positions: ArrayLike | pl.DataFrame,
    *,
    size_arcsec: float,
    segmentation: SegmentationMap | None = None,
    psf: Psf | PsfGrid | None = None,
) -> list[BandCutout]:
    """Cut a band around positions, on its own pixels; pixels are copied, never interpolated.

    Parameters
    ----------
    mosaic : Mosaic
        One band, of any scale, rotation and flip.
    positions : array_like, float64, shape (n, 2) [deg], or polars.DataFrame
        ``ra, dec``; a table may also have the number of the source, as ``label``, ``id``, ``number``, ``source_id`` or
        ``segment_id``, in any case of letters.
    size_arcsec : float
        Side of the cutouts, rounded up to whole pixels [arcsec].
    segmentation : SegmentationMap, optional
        On any grid; it is brought to the pixels of the band by `labels_on_grid`, where the number of the source is
        known with the source first.
    psf : Psf or PsfGrid, optional
        On the pixels of the mosaic; of a grid the one at the position.

    Returns
    -------
    list of BandCutout
        One for each position, in their order; of ``coverage`` 0 where the mosaic has nothing.

    Raises
    ------
    InvalidInputError
        When the size is not positive, a position is not on the sky, a column is missing or a value in it no number, or
        the segmentation has no grid.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.datamodels import Mosaic
    >>> from skymere.mosaic import cutouts
    >>> from skymere.wcs import Grid
    >>> grid = Grid.tangent(30.0, 5.0, shape=(80, 80), scale_arcsec=0.1)
    >>> plane = np.ones((80, 80), np.float32)
    >>> one = np.ones((1, 80, 80), np.int32)
    >>> image = Mosaic(
    ...     band="r", grid=grid, data=plane, weight=plane, variance=plane, context=one, exposure_ids=("a",)
    ... )
    >>> cutouts(image, [[30.0, 5.0]], size_arcsec=2.0)[0].data.shape
    (20, 20)
    """
    if not (size_arcsec > 0 and np.isfinite(size_arcsec)):
        msg = f"size_arcsec: {size_arcsec} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    ra, dec, labels = position_table(positions)
    x, y = mosaic.grid.pixels(ra, dec)
    size = int(np.ceil(size_arcsec / mosaic.grid.scale_arcsec - 1e-9))
    found = []
    for i, label in enumerate(labels):
        if not (np.isfinite(x[i]) and np.isfinite(y[i])):
            msg = f"positions: {ra[i]}, {dec[i]} is not on the sky around the mosaic"
            raise InvalidInputError(msg)
        data = cut_window(mosaic.data, x[i], y[i], size_pix=size)
        weight = np.nan_to_num(cut_window(mosaic.weight, x[i], y[i], size_pix=size).data, nan=0.0)
        y0, x0 = data.origin
        grid = mosaic.grid.cutout(y0, x0, (size, size))
        found.append(
            BandCutout(
                band=mosaic.band,
                ra=float(ra[i]),
                dec=float(dec[i]),
                x=float(x[i]) - x0,
                y=float(y[i]) - y0,
                label=label,
                grid=grid,
                origin=data.origin,
                data=np.asarray(data.data, np.float32),
                weight=np.asarray(weight, np.float32),
                segmentation=None if segmentation is None else labels_on_grid(segmentation, grid, target=label),
                psf=psf.at(float(x[i]), float(y[i])) if isinstance(psf, PsfGrid) else psf,
                coverage=float(np.mean(np.isfinite(data.data) & (weight > 0))),
            )
        )
    return found


def column_numbers(column: pl.Series, dtype: type[pl.Float64 | pl.Int64]) -> pl.Series:
    """Return the numbers of a column, which may be written as text.

    Raises
    ------
    InvalidInputError
        When one is missing, or none of that kind.
    """
    kind = "whole number" if dtype == pl.Int64 else "number"
    try:
        found = column.cast(dtype, strict=False)
        is_bad = found.is_null()
        if column.dtype.is_float():
            is_bad |= (found != column).fill_null(value=True)
    except pl.exceptions.PolarsError as error:
        msg = f"positions: column {column.name} of {column.dtype} is not allowed, each row must be a {kind}"
        raise InvalidInputError(msg) from error
    if is_bad.any():
        row = is_bad.arg_true()[0]
        msg = f"positions: {column.name} {column[row]!r} in row {row} is not allowed, it must be a {kind}"
        raise InvalidInputError(msg)
    return found


def position_table(
    positions: ArrayLike | pl.DataFrame,
) -> tuple[NDArray[np.float64], NDArray[np.float64], Sequence[int | None]]:
    """Return right ascensions, declinations and the numbers of the sources."""
    if isinstance(positions, pl.DataFrame):
        names = {name.lower(): name for name in reversed(positions.columns)}
        missing = [name for name in ("ra", "dec") if name not in names]
        if missing:
            msg = f"positions: columns {missing} are missing from {positions.columns}"
            raise InvalidInputError(msg)
        ra, dec = (column_numbers(positions[names[name]], pl.Float64).to_numpy() for name in ("ra", "dec"))
        known = next((names[name] for name in _ID_NAMES if name in names), None)
        labels = [None] * len(ra) if known is None else column_numbers(positions[known], pl.Int64).to_list()
    else:
        try:
            pairs = np.atleast_2d(np.asarray(positions, np.float64))
        except (TypeError, ValueError) as error:
            msg = f"positions: {type(positions).__name__} is not allowed, it must be numbers, ra and dec [deg]: {error}"
            raise InvalidInputError(msg) from None
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            msg = f"positions: shape {pairs.shape} is not allowed, it must be (n, 2), ra and dec [deg]"
            raise InvalidInputError(msg)
        ra, dec = pairs.T
        labels = [None] * len(ra)
    bad = np.flatnonzero(~(np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90)))
    if bad.size:
        msg = f"positions: {ra[bad[0]]}, {dec[bad[0]]} in row {bad[0]} is not allowed, it must be on the sky"
        raise InvalidInputError(msg)
    return ra, dec, labels
