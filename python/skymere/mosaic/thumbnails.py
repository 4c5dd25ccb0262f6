"""Thumbnails at any positions, drizzled from the original exposures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from skymere._workers import work_in_order
from skymere.datamodels import EXPOSURE_COLUMNS, Exposure, SegmentationMap, Thumbnail
from skymere.errors import InvalidInputError
from skymere.instruments import is_dispersed
from skymere.mosaic.exposure_list import ExposureList
from skymere.mosaic.stamps import position_table
from skymere.mosaic.thumbnail_filters import check_merged
from skymere.mosaic.thumbnail_maker import NOT_GIVEN, Places, PsfChoice, ThumbnailMaker, outlines, overlap
from skymere.mosaic.thumbnail_params import ThumbnailParams
from skymere.resample import Geometry
from skymere.wcs import Grid, wcs_cards, wcs_from_cards

__all__ = ["Thumbnails", "thumbnails"]

# Positions of one strip of the sky come one after the other, so that they share exposures.
_STRIP_DEG = 2.0 / 60.0
# Thumbnails on their way between processes, of what the sums may take.
_PARTS_AHEAD = 1


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
    merged: Mapping[str, Iterable[str]] | None = None,
    sizes: ArrayLike | None = None,
    n_workers: int = 1,
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
        PSF of the exposures; of each filter, None for one without; or what gives it for an exposure.
    params : ThumbnailParams, optional
        Sky, weights, memory.
    known : polars.DataFrame, optional
        Exposures that are known to exist, with ``exposure_id, band, ny, nx, wcs``, as an `ExposureList` has
        them. Those that overlap but are not in ``exposures`` are listed as left out.
    merged : mapping of str to iterable of str, optional
        Filters that are shown as one band, under its name, such as `alike_filters` finds them; names of filters that
        are not wanted do not count.
    sizes : array_like, float64, shape (n,) [arcsec], optional
        Side of each thumbnail in place of that of the geometry, such as of `source_sizes`; the geometry of each, by
        `Thumbnail.geometry_sha256`, differs in nothing else.
    n_workers : int, optional
        Processes, in each of which all libraries use one thread; with 1 all is done here. They are started anew
        (``spawn``), so a script needs ``if __name__ == "__main__":``. Results have the same bits and order.

    Returns
    -------
    Thumbnails
        Makes a thumbnail when it is asked for the next one, so that memory does not grow with their number.

    Raises
    ------
    InvalidInputError
        When a position is not on the sky, a column is missing, no exposure is of a wanted filter, or the segmentation
        has no grid; when sizes are not allowed, a filter is to be in two bands, or what is given cannot be sent to
        processes.
    InternalError
        When a worker died.

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

    Of merged filters all data are brought to the AB zero point of the first exposure that is used, ``d_p`` and ``v_e``
    with it: the band shows the mean of f_nu, each filter weighted by its inverse variance. Its pivot wavelength is the
    mean of theirs with the same weights.

    An oversampled PSF is what infinitely many dithers would show on pixels of ``1 / N`` of the side: the star is
    drawn as if each exposure was repeated at all parts of a pixel beside itself, and drizzled with the same kernel.

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
        merged=merged,
        sizes=sizes,
        n_workers=n_workers,
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
        merged: Mapping[str, Iterable[str]] | None,
        sizes: ArrayLike | None,
        n_workers: int,
    ) -> None:
        if segmentation is not None and segmentation.grid is None:
            msg = "segmentation: it has no grid, so its pixels cannot be found on another one"
            raise InvalidInputError(msg)
        if n_workers < 1:
            msg = f"n_workers: {n_workers} is not allowed, it must be at least 1"
            raise InvalidInputError(msg)
        self.exposures, self.geometry, self.params, self.n_workers = exposures, geometry, params, n_workers
        self.ra, self.dec, self.source_ids = position_table(positions)
        self._places = Places(
            rows=np.arange(len(self.ra)),
            ra=self.ra,
            dec=self.dec,
            source_ids=self.source_ids,
            sizes=_checked_sizes(sizes, geometry, len(self.ra)),
        )
        images = tuple(band for band in exposures.bands if not is_dispersed(band))
        self.filters = images if filters is None else tuple(dict.fromkeys(name.lower() for name in filters))
        missing = [name for name in self.filters if name not in exposures.table["band"].to_list() or is_dispersed(name)]
        if missing or not self.filters:
            have = sorted(set(exposures.table["band"].to_list()))
            msg = f"filters: {missing or list(self.filters)} are not allowed, images are needed and there are {have}"
            raise InvalidInputError(msg)
        self._maker = ThumbnailMaker(
            exposures=exposures,
            geometry=geometry,
            shown=check_merged(merged, self.filters),
            segmentation=segmentation,
            psf=psf,
            params=params,
            known=None if known is None else _unlisted(known, exposures),
        )

    def __len__(self) -> int:
        return len(self.ra)

    def geometries(self) -> list[Geometry]:
        """Return the geometry of each position."""
        return [self._maker.geometry_of(self._places, k) for k in range(len(self))]

    def plan(self) -> pl.DataFrame:
        """Return the exposures that overlap each position, without reading a pixel.

        Returns
        -------
        polars.DataFrame
            ``row, source_id, exposure_id, band, is_used, reason``: a row for each exposure of any filter whose pixels
            share sky with the thumbnail.
        """
        parts = []
        corners = outlines(self.geometry, self._places)
        for found, lists in ((self.exposures, True), (self._maker.known, False)):
            for i in range(0 if found is None else len(found)):
                assert found is not None
                hit, _ = overlap(found, i, corners)
                rows = np.flatnonzero(hit)
                reason = self._maker.reason(found.table.row(i, named=True)) if lists else NOT_GIVEN
                about = {"exposure_id": found.table["exposure_id"][i], "band": found.table["band"][i]}
                parts += [{"row": int(k), **about, "is_used": not reason, "reason": reason} for k in rows]
        ids = pl.DataFrame({"row": range(len(self)), "source_id": self.source_ids}, schema_overrides={"row": pl.Int64})
        schema = {"row": pl.Int64, **{k: EXPOSURE_COLUMNS[k] for k in ("exposure_id", "band", "is_used", "reason")}}
        planned = pl.DataFrame(parts, schema=schema).join(ids, on="row", how="left")
        return planned.select("row", "source_id", "exposure_id", "band", "is_used", "reason").sort(
            "row", "band", "exposure_id"
        )

    def __iter__(self) -> Iterator[Thumbnail]:
        if self.n_workers == 1:
            for part in self._chunks():
                yield from self._maker.make(part)
            return
        made = work_in_order(
            _make,
            self._chunks(),
            shared=self._maker,
            n_workers=self.n_workers,
            most=self.n_workers + _PARTS_AHEAD,
            # astropy pickles fewer digits than a WCS has.
            reducers={WCS: _reduced_wcs},
        )
        for part in made:
            yield from part

    def _chunks(self) -> Iterator[Places]:
        places = self._places
        strip = np.floor(places.dec / _STRIP_DEG).astype(np.int64)
        # Back and forth, so that the end of one strip is beside the begin of the next one.
        along = np.where(strip % 2 == 0, places.ra, -places.ra)
        order = np.lexsort((along, strip))
        # All that wait have their room, too.
        n_held = 1 if self.n_workers == 1 else self.n_workers + _PARTS_AHEAD
        most = -(-len(order) // self.n_workers)
        room = self.params.memory_mb * 1e6 / n_held
        memory = self._maker.memory(places)[order]
        first, used = 0, 0.0
        for k, need in enumerate(memory):
            if k > first and (used + need > room or k - first >= most):
                yield places.part(order[first:k])
                first, used = k, 0.0
            used += float(need)
        if first < len(order):
            yield places.part(order[first:])


def _make(maker: ThumbnailMaker, places: Places) -> list[Thumbnail]:
    return list(maker.make(places))


def _reduced_wcs(wcs: WCS) -> tuple[Any, ...]:
    return wcs_from_cards, (wcs_cards(wcs),)


def _checked_sizes(sizes: ArrayLike | None, geometry: Geometry, n: int) -> NDArray[np.float64] | None:
    if sizes is None:
        return None
    if isinstance(geometry.wcs, Grid):
        msg = "sizes: are not allowed with a geometry of given pixels (wcs), which have their size"
        raise InvalidInputError(msg)
    found = np.asarray(sizes, np.float64)
    if found.shape != (n,):
        msg = f"sizes: shape {found.shape} is not allowed, there are {n} positions"
        raise InvalidInputError(msg)
    bad = np.flatnonzero(~(np.isfinite(found) & (found > 0)))
    if bad.size:
        msg = f"sizes: {found[bad[0]]} in row {bad[0]} is not allowed, it must be positive [arcsec]"
        raise InvalidInputError(msg)
    return found


def _unlisted(known: pl.DataFrame, exposures: ExposureList) -> ExposureList:
    """Return the known exposures that are not among the given ones."""
    given = exposures.table["exposure_id"].implode()
    return ExposureList(known.filter(~pl.col("exposure_id").is_in(given)), _not_at_hand)


def _not_at_hand(row: dict[str, Any]) -> Exposure:
    msg = f"known: the pixels of {row['exposure_id']} are not at hand"
    raise InvalidInputError(msg)
