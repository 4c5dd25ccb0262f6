"""Making thumbnails of positions that lie together: each exposure is read once for all of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import EXPOSURE_COLUMNS, Exposure, SegmentationMap, Thumbnail
from skymere.errors import InvalidInputError, SkymereError
from skymere.instruments import is_dispersed
from skymere.mosaic.exposure_list import ExposureList
from skymere.mosaic.thumbnail_band import BandStack, ExposureState, state_of
from skymere.mosaic.thumbnail_params import ThumbnailParams
from skymere.psf import PsfSource
from skymere.resample import Geometry
from skymere.segmentation import labels_on_grid
from skymere.wcs import Grid

__all__ = ["NOT_GIVEN", "Places", "PsfChoice", "ThumbnailMaker", "outlines", "overlap"]

NOT_GIVEN = "it was not given"

PsfChoice = PsfSource | Mapping[str, PsfSource | None] | Callable[[Exposure], PsfSource]

_Read = tuple[Exposure, ExposureState, PsfSource | None]
# Sums of data (mean, weight, variance), of the excess, and pixels that are passed on [bytes].
_BYTES_PER_PIXEL, _PLANES = 24, 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """Positions of which thumbnails are wanted.

    Parameters
    ----------
    rows : ndarray, int64, shape (n,)
        Which of the list they are.
    ra, dec : ndarray, float64, shape (n,) [deg]
        Where.
    source_ids : sequence of int or None
        Numbers of the sources.
    sizes : ndarray, float64, shape (n,), or None [arcsec]
        Sides of the thumbnails; that of the geometry when None.
    """

    rows: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    source_ids: Sequence[int | None]
    sizes: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, which: NDArray[np.intp]) -> "Places":
        """Return some of them."""
        return Places(
            rows=self.rows[which],
            ra=self.ra[which],
            dec=self.dec[which],
            source_ids=[self.source_ids[k] for k in which.tolist()],
            sizes=None if self.sizes is None else self.sizes[which],
        )


class ThumbnailMaker:
    """What thumbnails of any positions are made of.

    Parameters
    ----------
    exposures : ExposureList
        The exposures.
    geometry : Geometry
        Pixels, kernel and pixfrac.
    shown : mapping of str to str
        Filters that are wanted, and the band in which each is shown.
    segmentation : SegmentationMap or None
        On any grid.
    psf : PSF, mapping of str to PSF, callable or None
        PSF of the exposures.
    params : ThumbnailParams
        Sky, weights, memory.
    known : ExposureList or None
        Exposures that are known and not given.
    """

    def __init__(
        self,
        *,
        exposures: ExposureList,
        geometry: Geometry,
        shown: Mapping[str, str],
        segmentation: SegmentationMap | None,
        psf: PsfChoice | None,
        params: ThumbnailParams,
        known: ExposureList | None,
    ) -> None:
        self.exposures, self.geometry, self.params, self.known = exposures, geometry, params, known
        self._segmentation, self._psf = segmentation, psf
        self._shown = dict(shown)
        self.bands = tuple(dict.fromkeys(self._shown.values()))
        self._states: dict[int, ExposureState] = {}

    def geometry_of(self, places: Places, k: int) -> Geometry:
        """Return the geometry of a position, which differs in its size only."""
        return self.geometry if places.sizes is None else replace(self.geometry, size=float(places.sizes[k]))

    def memory(self, places: Places) -> NDArray[np.float64]:
        """Return what the sums of each thumbnail take [bytes]."""
        n_pixels = np.full(len(places), float(np.prod(self.geometry.shape)))
        if places.sizes is not None:
            n_pixels = np.rint(places.sizes / self.geometry.pixscale) ** 2
        fine = self.params.psf_oversample**2 if self.params.psf_oversample > 1 else 0
        planes = _PLANES + (2 + 2 * fine) * (self._psf is not None)
        return np.asarray(n_pixels * planes * len(self.bands) * _BYTES_PER_PIXEL)

    def make(self, places: Places) -> Iterator[Thumbnail]:
        """Yield the thumbnails of positions in their order; each exposure is read once."""
        n = len(places)
        grids = [self.geometry_of(places, k).grid(float(places.ra[k]), float(places.dec[k])) for k in range(n)]
        corners = outlines(self.geometry, places)
        stacks: dict[tuple[int, str], BandStack] = {}
        listed: list[list[dict[str, Any]]] = [[] for _ in range(n)]
        for i in range(len(self.exposures)):
            hit, quads = overlap(self.exposures, i, corners)
            if not hit.any():
                continue
            about = self.exposures.table.row(i, named=True)
            found, reason = self._read(i, about)
            for k, quad in zip(np.flatnonzero(hit).tolist(), quads[hit], strict=True):
                why, sky = reason, None
                if found is not None:
                    exposure, state, source = found
                    shown = self._shown[about["band"]]
                    stack = stacks.get((k, shown)) or self._stack(grids[k], places, k, shown)
                    why, sky = stack.add(exposure, state, quad, source=source, ignore=self.params.ignore_dq), state.sky
                    if not why:
                        stacks[k, shown] = stack
                listed[k].append(_listed(about, why, sky))
        for i in range(0 if self.known is None else len(self.known)):
            assert self.known is not None
            hit, _ = overlap(self.known, i, corners)
            about = self.known.table.row(i, named=True)
            for k in np.flatnonzero(hit).tolist():
                listed[k].append(_listed(about, NOT_GIVEN))
        for k in range(n):
            mine = {band: stacks.pop((k, band)) for band in self.bands if (k, band) in stacks}
            yield self._finish(places, k, grids[k], mine, listed[k])

    def _read(self, i: int, about: Mapping[str, Any]) -> tuple[_Read | None, str]:
        """Return an exposure with its sky, noise and PSF, or why it is not used."""
        reason = self.reason(about)
        if reason:
            return None, reason
        try:
            exposure = self.exposures[i]
            if i not in self._states:
                self._states[i] = state_of(exposure, sky=self.params.sky, ignore=self.params.ignore_dq)
            return (exposure, self._states[i], self._source(exposure)), ""
        except SkymereError as error:
            return None, str(error)

    def reason(self, about: Mapping[str, Any]) -> str:
        """Return why an exposure is not used; empty when it is."""
        if about["status"] != "ok":
            return f"{about['status']}: {about.get('message') or ''}".rstrip(": ")
        if is_dispersed(about["band"]):
            return "it is no image but shows spectra"
        if about["band"] not in self._shown:
            return "its filter was not asked for"
        return ""

    def _source(self, exposure: Exposure) -> PsfSource | None:
        chosen = self._psf
        if isinstance(chosen, Mapping):
            if exposure.band not in chosen:
                msg = f"psf: there is none for {exposure.band!r}, only for {sorted(chosen)}"
                raise InvalidInputError(msg)
            return chosen[exposure.band]
        return chosen if chosen is None or isinstance(chosen, get_args(PsfSource)) else _called(chosen, exposure)

    def _stack(self, grid: Grid, places: Places, k: int, shown: str) -> BandStack:
        return BandStack(
            grid,
            float(places.ra[k]),
            float(places.dec[k]),
            params=self.geometry.drizzle,
            has_psf=self._psf is not None,
            psf_oversample=self.params.psf_oversample,
            is_merged=sum(one == shown for one in self._shown.values()) > 1,
        )

    def _finish(
        self, places: Places, k: int, grid: Grid, stacks: Mapping[str, BandStack], listed: list[dict[str, Any]]
    ) -> Thumbnail:
        ra, dec = float(places.ra[k]), float(places.dec[k])
        x, y = grid.pixels(np.array([ra]), np.array([dec]))
        about: dict[str, Any] = {"status": "ok", "message": ""}
        bands, labels = [], None
        try:
            for band, stack in stacks.items():
                bands.append(stack.finish(band, weight=self.params.weight, subtract_median=self.params.subtract_median))
            if self._segmentation is not None:
                labels = labels_on_grid(self._segmentation, grid, target=places.source_ids[k])
        except SkymereError as error:
            about = {"status": "failed", "message": str(error)}
        if not bands and about["status"] == "ok":
            n = len(listed)
            what = f"{n} exposures overlap, none has a good pixel there" if n else "no exposure overlaps"
            about = {"status": "no_overlap", "message": what}
        return Thumbnail(
            row=int(places.rows[k]),
            source_id=places.source_ids[k],
            label=places.source_ids[k],
            ra=ra,
            dec=dec,
            x=float(x[0]),
            y=float(y[0]),
            grid=grid,
            bands=tuple(bands),
            segmentation=labels,
            kernel=self.geometry.kernel,
            pixfrac=float(self.geometry.pixfrac),
            geometry_sha256=self.geometry_of(places, k).digest,
            exposures=pl.DataFrame(listed, schema=dict(EXPOSURE_COLUMNS)),
            **about,
        )


def overlap(
    exposures: ExposureList, i: int, corners: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which outlines an exposure looks at, and all of them on its pixels."""
    if not exposures.table["wcs"][i]:
        return np.zeros(len(corners), bool), np.full((len(corners), 4, 2), np.nan)
    quads = exposures.quads(i, corners[..., 0], corners[..., 1])
    return exposures.overlapping(i, quads), quads


def _listed(about: Mapping[str, Any], why: str, sky: float | None = None) -> dict[str, Any]:
    return {
        "exposure_id": about["exposure_id"],
        "band": about["band"],
        "is_used": not why,
        "reason": why,
        "exptime": about.get("exptime"),
        "sky": sky,
    }


def _called(choice: Any, exposure: Exposure) -> PsfSource:
    found: PsfSource = choice(exposure)
    return found


def outlines(geometry: Geometry, places: Places) -> NDArray[np.float64]:
    """Return the outer corners ``(n, 4, 2)`` ``ra, dec`` [deg] of the grids of positions."""
    if isinstance(geometry.wcs, Grid):
        return np.broadcast_to(geometry.wcs.corners(), (len(places), 4, 2))
    n_pixels = np.full(len(places), geometry.shape[0], np.float64)
    if places.sizes is not None:
        n_pixels = np.rint(places.sizes / geometry.pixscale)
    half = 0.5 * np.deg2rad(geometry.pixscale / 3600.0) * n_pixels[:, np.newaxis]
    across, along = half * [-1.0, 1.0, 1.0, -1.0], half * [-1.0, -1.0, 1.0, 1.0]
    angle = np.deg2rad(geometry.rotation_deg)
    # x points west where north is up.
    east = -np.cos(angle) * across + np.sin(angle) * along
    north = np.sin(angle) * across + np.cos(angle) * along
    a0, d0 = np.deg2rad(places.ra)[:, np.newaxis], np.deg2rad(places.dec)[:, np.newaxis]
    # Inverse of the gnomonic projection (Calabretta & Greisen 2002, section 5.1.3).
    below = np.cos(d0) - north * np.sin(d0)
    a = a0 + np.arctan2(east, below)
    d = np.arctan2(np.sin(d0) + north * np.cos(d0), np.hypot(east, below))
    return np.stack([np.rad2deg(a) % 360.0, np.rad2deg(d)], axis=-1)
