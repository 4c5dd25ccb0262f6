"""Stamps of a source in every band: pixels, weights, labels, models and what these leave."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.errors import NotFoundError
from skymere.lake import ArrayGroup, StoredArray
from skymere.viewer.source_rows import SourcePlace, SourceRows
from skymere.viewer.stretch import sky_noise
from skymere.wcs import Grid

__all__ = ["BandStamps", "source_stamps"]

# Images of low resolution are shown with so many pixels at least.
_LEAST_PIX = 16
# Two grids are the same when they put a source on the same place of a pixel.
_SAME_PIX = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class BandStamps:
    """What one band shows of a source; what the lake does not have is None.

    Parameters
    ----------
    band : str
        Filter.
    scale_arcsec : float
        Side of a pixel [arcsec].
    sci, weight : ndarray, float32, shape (n, n), optional
        Pixels and weights of the mosaic.
    labels : ndarray, int32, shape (n, n), optional
        Segments.
    model, residual : ndarray, float32, shape (n, n), optional
        Models of all sources, and what they leave of the image.
    unit : str
        FITS unit.
    """

    band: str
    scale_arcsec: float
    sci: NDArray[np.float32] | None = None
    weight: NDArray[np.float32] | None = None
    labels: NDArray[np.int32] | None = None
    model: NDArray[np.float32] | None = None
    residual: NDArray[np.float32] | None = None
    unit: str = ""

    @property
    def noise(self) -> float:
        """1 sigma of a pixel of the sky, from pixels outside of all segments where there are enough [unit]."""
        if self.sci is None:
            return sky_noise(self.residual) if self.residual is not None else 1.0
        outside = self.sci[self.labels == 0] if self.labels is not None else self.sci
        known = outside[np.isfinite(outside)]
        return sky_noise(known if known.size > 100 else self.sci)

    @property
    def size_arcsec(self) -> float:
        """Side of the stamps [arcsec]."""
        shown = self.sci if self.sci is not None else self.residual
        return 0.0 if shown is None else shown.shape[0] * self.scale_arcsec


def source_stamps(
    rows: SourceRows, source_id: int, *, bands: Sequence[str] | None = None, size_pix: int | None = None
) -> list[BandStamps]:
    """Return the stamps of a source in every band that the lake has of it.

    Parameters
    ----------
    rows : SourceRows
        Tables of the source.
    source_id : int
        The source.
    bands : sequence of str, optional
        Only these, in this order; those with cutouts, then those with residuals of fluxes alone, when not given.
    size_pix : int, optional
        Side of the stamps [pix of the mosaics]; as they are stored when not given.

    Raises
    ------
    NotFoundError
        When the source is not there, or has nothing to show in one of ``bands``.
    """
    place = rows.place(source_id)
    found = {one.band: one for one in _with_cutouts(rows, place, bands, size_pix)}
    widest = max((one.size_arcsec for one in found.values()), default=6.0)
    for one in _of_fluxes_alone(rows, place, widest):
        if one.band not in found and (bands is None or one.band in bands):
            found[one.band] = one
    missing = [band for band in bands or () if band not in found]
    if missing:
        have = ", ".join(sorted(found)) if bands is None else ", ".join(_cutout_bands(rows, source_id)) or "none"
        msg = f"bands: source {source_id} has no cutout and no residual in {', '.join(missing)}, cutouts are in {have}"
        raise NotFoundError(msg)
    return list(found.values()) if bands is None else [found[band] for band in bands]


def _cutout_bands(rows: SourceRows, source_id: int) -> list[str]:
    """Return bands with cutouts, sorted; none when the source has no cutout."""
    if rows.of("cutout", source_id).is_empty():
        return []
    try:
        return rows.lake.bands([source_id])
    except NotFoundError:
        return []


def _with_cutouts(
    rows: SourceRows, place: SourcePlace, bands: Sequence[str] | None, size_pix: int | None
) -> list[BandStamps]:
    known = [band for band in _cutout_bands(rows, place.source_id) if bands is None or band in bands]
    if not known:
        return []
    cut = rows.lake.cutouts([place.source_id], known, ("sci", "wht", "seg"), size_pix)
    made = []
    for band in known:
        sci, weight, labels = (cut[band, plane][0] for plane in ("sci", "wht", "seg"))
        if band not in cut.cards[0]:
            # Sources that were cut together may have other bands.
            continue
        y0, x0 = (int(v) for v in cut.origin[band][0])
        scale = cut.grid(0, band).scale_arcsec
        model, residual = _models(rows, place, band, (y0, x0, sci.shape[0]), whole=cut.cards[0][band])
        if model is None and residual is not None:
            model = sci - residual
        parts = {"sci": sci, "weight": weight, "labels": labels, "model": model, "residual": residual}
        made.append(BandStamps(band=band, scale_arcsec=scale, unit=cut.units[band, "sci"], **parts))
    return made


def _models(
    rows: SourceRows, place: SourcePlace, band: str, window: tuple[int, int, int], *, whole: Any
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Return windows of the models of a band and of what they leave: of its fluxes, else of its profiles."""
    for product in ("flux", "profile"):
        arrays = rows.arrays(product, place.tile)
        path = f"{band}/residual"
        if arrays is None or path not in arrays or not _is_same_grid(arrays, path, whole, place):
            continue
        model = _window(arrays[f"{band}/model"], *window) if f"{band}/model" in arrays else None
        return model, _window(arrays[path], *window)
    return None, None


def _is_same_grid(arrays: ArrayGroup, path: str, cards: Any, place: SourcePlace) -> bool:
    if place.ra is None or place.dec is None or "wcs" not in arrays.attributes(path.partition("/")[0]):
        return False
    theirs = arrays.grid(path)
    mine = Grid.from_cards(cards, theirs.shape)
    at = np.array([place.ra]), np.array([place.dec])
    there, here = (np.array(one.pixels(*at), np.float64) for one in (theirs, mine))
    return bool(np.all(np.abs(there - here) < _SAME_PIX))


def _of_fluxes_alone(rows: SourceRows, place: SourcePlace, size_arcsec: float) -> list[BandStamps]:
    """Return what is left of images whose pixels are not in the lake, files of other resolution."""
    arrays = rows.arrays("flux", place.tile)
    if arrays is None or place.ra is None or place.dec is None:
        return []
    made = []
    for path in sorted(arrays):
        band, _, plane = path.partition("/")
        if plane != "residual" or "wcs" not in arrays.attributes(band):
            continue
        grid = arrays.grid(path)
        n = max(round(size_arcsec / grid.scale_arcsec), _LEAST_PIX)
        x, y = (float(v[0]) for v in grid.pixels(np.array([place.ra]), np.array([place.dec])))
        pixels = _window(arrays[path], round(y) - n // 2, round(x) - n // 2, n)
        if np.isfinite(pixels).any():
            made.append(BandStamps(band=band, scale_arcsec=grid.scale_arcsec, residual=pixels, unit=arrays[path].unit))
    return made


def _window(stored: StoredArray, y0: int, x0: int, n: int) -> NDArray[np.float32]:
    """Return ``n`` by ``n`` pixels of an image from a corner on; NaN beyond its border."""
    out = np.full((n, n), np.nan, np.float32)
    ny, nx = stored.shape
    rows, columns = (slice(max(a, 0), min(a + n, end)) for a, end in ((y0, ny), (x0, nx)))
    if rows.start < rows.stop and columns.start < columns.stop:
        out[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0] = stored[rows, columns]
    return out
