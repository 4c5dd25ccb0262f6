"""Thumbnails at any positions, drizzled from the original exposures."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere.datamodels import EXPOSURE_COLUMNS, Exposure, SegmentationMap, Thumbnail
from skymere.errors import InvalidInputError, SkymereError
from skymere.instruments import is_dispersed
from skymere.mosaic.exposure_list import ExposureList
from skymere.mosaic.stamps import position_table
from skymere.mosaic.thumbnail_band import BandStack, ExposureState, state_of
from skymere.psf import PsfSource
from skymere.resample import Geometry
from skymere.segmentation import labels_on_grid
from skymere.wcs import Grid

__all__ = ["ThumbnailParams", "Thumbnails", "thumbnails"]

# Positions of one strip of the sky come one after the other, so that they share exposures.
_STRIP_DEG = 2.0 / 60.0
_BYTES_PER_PIXEL = 24


@dataclass(frozen=True, kw_only=True)
class ThumbnailParams:
    """How thumbnails are made.

    Parameters
    ----------
    ignore_dq : tuple of str
        Names of DQ bits that count as good.
    sky : str
        What is subtracted from an exposure: ``given``, its ``sky``; ``auto``, that where it is not 0, and else the
        clipped mode of its good pixels; ``none``.
    subtract_median : bool
        Subtract the median of the thumbnail, too, which is recorded and can be added again.
    weight : str
        What `BandThumbnail.weight` is: ``inverse_variance_with_sources`` or ``inverse_variance`` of the background
        alone. Exposures are always combined with that of the background.
    memory_mb : float
        What the sums of the thumbnails that are being made may take [MB].

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    ignore_dq: tuple[str, ...] = ()
    sky: Literal["auto", "given", "none"] = "auto"
    subtract_median: bool = False
    weight: Literal["inverse_variance_with_sources", "inverse_variance"] = "inverse_variance_with_sources"
    memory_mb: float = 256.0

    def __post_init__(self) -> None:
        for name, allowed in (
            ("sky", ("auto", "given", "none")),
            ("weight", ("inverse_variance_with_sources", "inverse_variance")),
        ):
            if getattr(self, name) not in allowed:
                msg = f"{name}: {getattr(self, name)!r} is not allowed, it must be one of {', '.join(allowed)}"
                raise InvalidInputError(msg)
        if not 0 < self.memory_mb < np.inf:
            msg = f"memory_mb: {self.memory_mb} is not allowed, it must be positive"
            raise InvalidInputError(msg)


PsfChoice = PsfSource | Mapping[str, PsfSource] | Callable[[Exposure], PsfSource]


def thumbnails(
    exposures: Sequence[Exposure] | ExposureList,
    positions: ArrayLike | pl.DataFrame,
    *,
    geometry: Geometry,
    filters: Iterable[str] | None = None,
    segmentation: SegmentationMap | None = None,
    psf: PsfChoice | None = None,
    params: ThumbnailParams | None = None,
    known: pl.DataFrame | None = None,
) -> "Thumbnails":
    """Drizzle thumbnails of any positions from the original exposures, which stay as they are.

    Parameters
    ----------
    exposures : sequence of Exposure, or ExposureList
        Of any bands. Of a list only those that look at a position are read, each once for some thousand positions
        around it.
    positions : array_like, float64, shape (n, 2) [deg], or polars.DataFrame
        ``ra, dec``; a table may also have the number of the source, as in `cutouts`.
    geometry : Geometry
        The pixels, kernel and pixfrac of all planes of all bands; none is changed for any filter.
    filters : iterable of str, optional
        Bands that are wanted, in any case of letters; all but grisms when not given.
    segmentation : SegmentationMap, optional
        On any grid; see `skymere.segmentation.labels_on_grid`.
    psf : Psf, PsfGrid, formula, mapping of str to these, or callable, optional
        PSF of the exposures; of each band; or what gives it for an exposure.
    params : ThumbnailParams, optional
        Sky, weights, memory.
    known : polars.DataFrame, optional
        Exposures that are known to exist, with ``exposure_id, band, ny, nx, wcs``, as an `ExposureList` has
        them. Those that overlap but are not in ``exposures`` are listed as left out.

    Returns
    -------
    Thumbnails
        Makes a thumbnail when it is asked for the next one, so that memory does not grow with their number.

    Raises
    ------
    InvalidInputError
        When a position is not on the sky, a column is missing, no exposure is of a wanted filter, or the segmentation
        has no grid.

    Notes
    -----
    Exposures e with the background's variance ``v_e`` [(electron / s)^2 of an output pixel], the square of the median
    of their errors, are combined with ``w = 1 / v_e``, so that sources do not change the PSF:
    ``D_i = sum_p a_ip w_p d_p / W_i, W_i = sum_p a_ip w_p`` over the pixels p of all exposures with the shares a of
    their drops [1]_. W is the inverse variance of large areas: pixels of noise ``1 / sqrt(W)``, were they independent,
    would have the noise that the sum over an area really has. The weight of all noise is ``W_i / q_i`` with the
    weighted mean q of ``v_p / v_e``, and the variance of pixel i alone is ``sum_p (a_ip w_p)^2 v_p / W_i^2``. The ratio
    of both is R^2, with R of [2]_ for the kernel ``square`` and many dithers, and 1 for ``point``. So in blank sky the
    rms of ``data sqrt(weight)`` is 1 / R.

    References
    ----------
    .. [1] Fruchter & Hook 2002, PASP 114, 144, equations 4 and 5.
    .. [2] Casertano et al. 2000, AJ 120, 2747, equations A19 and A20.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.datamodels import Exposure
    >>> from skymere.mosaic import thumbnails
    >>> from skymere.resample import Geometry
    >>> from skymere.wcs import Grid
    >>> camera = Grid.tangent(150.0, 2.0, shape=(64, 64), scale_arcsec=0.128)
    >>> flat, good = np.ones(camera.shape, np.float32), np.zeros(camera.shape, np.uint32)
    >>> one = Exposure(exposure_id="a", data=flat, error=flat, dq=good, wcs=camera.wcs, exptime=9.0, band="f140w")
    >>> square = Geometry(kernel="square", pixfrac=1.0, size=2.0)
    >>> [made.status for made in thumbnails([one], [[150.0, 2.0], [151.0, 2.0]], geometry=square)]
    ['ok', 'no_overlap']
    """
    return Thumbnails(
        exposures=ExposureList.of(exposures),
        positions=positions,
        geometry=geometry,
        filters=filters,
        segmentation=segmentation,
        psf=psf,
        params=params or ThumbnailParams(),
        known=known,
    )


class Thumbnails(Iterable[Thumbnail]):
    """Thumbnails that are made one after the other; see `thumbnails`.

    They come in an order in which each exposure is read few times; `Thumbnail.row` says which position one is of.
    """

    def __init__(
        self,
        *,
        exposures: ExposureList,
        positions: ArrayLike | pl.DataFrame,
        geometry: Geometry,
        filters: Iterable[str] | None,
        segmentation: SegmentationMap | None,
        psf: PsfChoice | None,
        params: ThumbnailParams,
        known: pl.DataFrame | None,
    ) -> None:
        if segmentation is not None and segmentation.grid is None:
            msg = "segmentation: it has no grid, so its pixels cannot be found on another one"
            raise InvalidInputError(msg)
        self.exposures, self.geometry, self.params = exposures, geometry, params
        self._segmentation, self._psf = segmentation, psf
        self.ra, self.dec, self.source_ids = position_table(positions)
        images = tuple(band for band in exposures.bands if not is_dispersed(band))
        self.filters = images if filters is None else tuple(dict.fromkeys(name.lower() for name in filters))
        missing = [name for name in self.filters if name not in exposures.table["band"].to_list() or is_dispersed(name)]
        if missing or not self.filters:
            have = sorted(set(exposures.table["band"].to_list()))
            msg = f"filters: {missing or list(self.filters)} are not allowed, images are needed and there are {have}"
            raise InvalidInputError(msg)
        self._known = None if known is None else _unlisted(known, exposures)
        self._corners = _outlines(geometry, self.ra, self.dec)

    def __len__(self) -> int:
        return len(self.ra)

    def plan(self) -> pl.DataFrame:
        """Return the exposures that overlap each position, without reading a pixel.

        Returns
        -------
        polars.DataFrame
            ``row, source_id, exposure_id, band, is_used, reason``: a row for each exposure of any filter whose pixels
            share sky with the thumbnail.
        """
        parts = []
        for found, lists in ((self.exposures, True), (self._known, False)):
            for i in range(0 if found is None else len(found)):
                assert found is not None
                hit, _ = self._overlap(found, i)
                rows = np.flatnonzero(hit)
                reason = self._reason(found.table.row(i, named=True)) if lists else "it was not given"
                about = {"exposure_id": found.table["exposure_id"][i], "band": found.table["band"][i]}
                parts += [{"row": int(k), **about, "is_used": not reason, "reason": reason} for k in rows]
        ids = pl.DataFrame({"row": range(len(self)), "source_id": self.source_ids}, schema_overrides={"row": pl.Int64})
        schema = {"row": pl.Int64, **{k: EXPOSURE_COLUMNS[k] for k in ("exposure_id", "band", "is_used", "reason")}}
        planned = pl.DataFrame(parts, schema=schema).join(ids, on="row", how="left")
        return planned.select("row", "source_id", "exposure_id", "band", "is_used", "reason").sort(
            "row", "band", "exposure_id"
        )

    def __iter__(self) -> Iterator[Thumbnail]:
        states: dict[int, ExposureState] = {}
        for rows in self._chunks():
            yield from self._make(rows, states)

    def _chunks(self) -> Iterator[NDArray[np.intp]]:
        ny, nx = self.geometry.shape
        planes = (2 + 1 + 2 * (self._psf is not None)) * len(self.filters)
        n = max(1, int(self.params.memory_mb * 1e6 / (ny * nx * planes * _BYTES_PER_PIXEL)))
        strip = np.floor(self.dec / _STRIP_DEG).astype(np.int64)
        # Back and forth, so that the end of one strip is beside the begin of the next one.
        along = np.where(strip % 2 == 0, self.ra, -self.ra)
        order = np.lexsort((along, strip))
        for first in range(0, len(order), n):
            yield order[first : first + n]

    def _make(self, rows: NDArray[np.intp], states: dict[int, ExposureState]) -> Iterator[Thumbnail]:
        """Yield the thumbnails of some positions; each exposure is read once."""
        grids = {int(k): self.geometry.grid(float(self.ra[k]), float(self.dec[k])) for k in rows}
        stacks: dict[tuple[int, str], BandStack] = {}
        listed: dict[int, list[dict[str, Any]]] = {int(k): [] for k in rows}
        for i in range(len(self.exposures)):
            hit, quads = self._overlap(self.exposures, i, rows)
            if not hit.any():
                continue
            about = self.exposures.table.row(i, named=True)
            band, reason = about["band"], self._reason(about)
            exposure: Exposure | None = None
            if not reason:
                try:
                    exposure = self.exposures[i]
                    if i not in states:
                        states[i] = state_of(exposure, sky=self.params.sky, ignore=self.params.ignore_dq)
                    source = self._source(exposure)
                except SkymereError as error:
                    exposure, reason = None, str(error)
            for k, quad in zip(rows[hit].tolist(), quads[hit], strict=True):
                why, sky = reason, None
                if exposure is not None:
                    stack = stacks.get((k, band)) or self._stack(grids[k], float(self.ra[k]), float(self.dec[k]))
                    why = stack.add(exposure, states[i], quad, source=source, ignore=self.params.ignore_dq)
                    sky = states[i].sky
                    if not why:
                        stacks[k, band] = stack
                listed[k].append(
                    {
                        "exposure_id": about["exposure_id"],
                        "band": band,
                        "is_used": not why,
                        "reason": why,
                        "exptime": about.get("exptime"),
                        "sky": sky,
                    }
                )
        self._list_unknown(rows, listed)
        for k in rows.tolist():
            mine = {band: stacks.pop((k, band)) for band in self.filters if (k, band) in stacks}
            yield self._finish(k, grids[k], mine, listed[k])

    def _list_unknown(self, rows: NDArray[np.intp], listed: dict[int, list[dict[str, Any]]]) -> None:
        """List exposures that overlap and were not given."""
        for i in range(0 if self._known is None else len(self._known)):
            assert self._known is not None
            hit, _ = self._overlap(self._known, i, rows)
            about = self._known.table.row(i, named=True)
            for k in rows[hit].tolist():
                listed[k].append(
                    {
                        "exposure_id": about["exposure_id"],
                        "band": about["band"],
                        "is_used": False,
                        "reason": "it was not given",
                        "exptime": about.get("exptime"),
                        "sky": None,
                    }
                )

    def _overlap(
        self, exposures: ExposureList, i: int, rows: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Return which positions an exposure looks at, and their outlines on its pixels."""
        corners = self._corners if rows is None else self._corners[rows]
        if not exposures.table["wcs"][i]:
            return np.zeros(len(corners), bool), np.full((len(corners), 4, 2), np.nan)
        quads = exposures.quads(i, corners[..., 0], corners[..., 1])
        return exposures.overlapping(i, quads), quads

    def _reason(self, about: Mapping[str, Any]) -> str:
        """Return why an exposure is not used; empty when it is."""
        if about["status"] != "ok":
            return f"{about['status']}: {about.get('message') or ''}".rstrip(": ")
        if is_dispersed(about["band"]):
            return "it is no image but shows spectra"
        if about["band"] not in self.filters:
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

    def _stack(self, grid: Grid, ra: float, dec: float) -> BandStack:
        return BandStack(grid, ra, dec, params=self.geometry.drizzle, has_psf=self._psf is not None)

    def _finish(self, k: int, grid: Grid, stacks: Mapping[str, BandStack], listed: list[dict[str, Any]]) -> Thumbnail:
        ra, dec = float(self.ra[k]), float(self.dec[k])
        x, y = grid.pixels(np.array([ra]), np.array([dec]))
        about: dict[str, Any] = {"status": "ok", "message": ""}
        bands, labels = [], None
        try:
            for band, stack in stacks.items():
                bands.append(stack.finish(band, weight=self.params.weight, subtract_median=self.params.subtract_median))
            if self._segmentation is not None:
                labels = labels_on_grid(self._segmentation, grid, target=self.source_ids[k])
        except SkymereError as error:
            about = {"status": "failed", "message": str(error)}
        if not bands and about["status"] == "ok":
            n = len(listed)
            what = f"{n} exposures overlap, none has a good pixel there" if n else "no exposure overlaps"
            about = {"status": "no_overlap", "message": what}
        return Thumbnail(
            row=k,
            source_id=self.source_ids[k],
            label=self.source_ids[k],
            ra=ra,
            dec=dec,
            x=float(x[0]),
            y=float(y[0]),
            grid=grid,
            bands=tuple(bands),
            segmentation=labels,
            kernel=self.geometry.kernel,
            pixfrac=float(self.geometry.pixfrac),
            geometry_sha256=self.geometry.digest,
            exposures=pl.DataFrame(listed, schema=dict(EXPOSURE_COLUMNS)),
            **about,
        )


def _called(choice: Any, exposure: Exposure) -> PsfSource:
    found: PsfSource = choice(exposure)
    return found


def _unlisted(known: pl.DataFrame, exposures: ExposureList) -> ExposureList:
    """Return the known exposures that are not among the given ones."""
    given = exposures.table["exposure_id"].implode()

    def load(row: dict[str, Any]) -> Exposure:
        msg = f"known: the pixels of {row['exposure_id']} are not at hand"
        raise InvalidInputError(msg)

    return ExposureList(known.filter(~pl.col("exposure_id").is_in(given)), load)


def _outlines(geometry: Geometry, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the outer corners ``(n, 4, 2)`` ``ra, dec`` [deg] of the grids of positions."""
    if isinstance(geometry.wcs, Grid):
        return np.broadcast_to(geometry.wcs.corners(), (len(ra), 4, 2))
    ny, nx = geometry.shape
    half = 0.5 * np.deg2rad(geometry.pixscale / 3600.0) * np.array([[-nx, -ny], [nx, -ny], [nx, ny], [-nx, ny]])
    angle = np.deg2rad(geometry.rotation_deg)
    # x points west where north is up.
    east = -np.cos(angle) * half[:, 0] + np.sin(angle) * half[:, 1]
    north = np.sin(angle) * half[:, 0] + np.cos(angle) * half[:, 1]
    a0, d0 = np.deg2rad(ra)[:, np.newaxis], np.deg2rad(dec)[:, np.newaxis]
    # Inverse of the gnomonic projection (Calabretta & Greisen 2002, section 5.1.3).
    below = np.cos(d0) - north * np.sin(d0)
    a = a0 + np.arctan2(east, below)
    d = np.arctan2(np.sin(d0) + north * np.cos(d0), np.hypot(east, below))
    return np.stack([np.rad2deg(a) % 360.0, np.rad2deg(d)], axis=-1)
