"""Pixels of sources out of a lake: stamps, beams, slitlets, spectra."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from skymere.datamodels import Slitlet
from skymere.errors import InvalidInputError, NotFoundError, SkymereError
from skymere.lake.arrays import StoredArray
from skymere.lake.asking import LakeQueries
from skymere.lake.cutouts import Cutouts, read_cutouts
from skymere.lake.ragged import Ragged, find_rows, read_ragged

if TYPE_CHECKING:
    from skymere.grism import BeamParams, MultiBeam
    from skymere.slit import CombinedSpectrum

__all__ = ["LakePixels"]


class LakePixels(LakeQueries):
    """The pixels that `Lake` gives for sources; for those of a whole tile see `LakeQueries.arrays`."""

    def cutouts(
        self,
        ids: ArrayLike,
        bands: Sequence[str],
        planes: Sequence[str] = ("sci",),
        size_pix: int | None = None,
    ) -> Cutouts:
        """Return stamps of sources.

        Parameters
        ----------
        ids : array_like, int64, shape (n,)
            Values of ``source_id``, in any order.
        bands : sequence of str
            Filters.
        planes : sequence of str, optional
            ``sci``, ``wht`` or ``seg``.
        size_pix : int, optional
            Side of all stamps: larger ones are cut, smaller ones get a border (NaN, weight 0, label 0). As they are
            stored when not given.

        Raises
        ------
        NotFoundError
            When a source has no cutout, or none of them has a band.
        InvalidInputError
            When bands, planes or the size are not allowed.
        """
        return read_cutouts(self, ids, bands=bands, planes=planes, size_pix=size_pix)

    def mosaic(self, tile: str, band: str, plane: str = "sci") -> StoredArray:
        """Return an image of a tile, of which a window reads only the chunks that it touches.

        Parameters
        ----------
        tile : str
            The tile, or the id of an image on a grid of its own.
        band : str
            Filter.
        plane : str, optional
            ``sci``, ``wht``, ``var``, ``ctx`` or a level such as ``level1``.

        Raises
        ------
        NotFoundError
            When there is no such tile, band or plane.

        Examples
        --------
        >>> lake.mosaic("field", "f140w")[100:200, 300:400]  # doctest: +SKIP
        """
        arrays = self.arrays("mosaic", tile)
        if f"{band}/{plane}" not in arrays:
            msg = f"band, plane: tile {tile!r} has no {band}/{plane}, it must be one of {sorted(arrays)}"
            raise NotFoundError(msg)
        return arrays[f"{band}/{plane}"]

    def bands(self, ids: ArrayLike) -> list[str]:
        """Return the bands in which any of some sources has a cutout, sorted.

        Parameters
        ----------
        ids : array_like, int64, shape (n,)
            Values of ``source_id``.

        Raises
        ------
        NotFoundError
            When none of them has a cutout.
        """
        wanted = np.atleast_1d(np.asarray(ids)).tolist()
        rows = self.table("cutout").filter(pl.col("source_id").is_in(wanted)).select(pl.col("tile").unique()).collect()
        groups = [self.arrays("cutout", tile) for tile in rows["tile"]]
        found = {path.split("/")[1] for group in groups for path in group if path.endswith("/sci")}
        if not found:
            msg = f"ids: {len(wanted)} of {len(wanted)} sources have no cutout"
            raise NotFoundError(msg)
        return sorted(found)

    @overload
    def beams(
        self,
        ids: int,
        *,
        order: int | None = None,
        params: "BeamParams | None" = None,
        has_actions: bool = True,
    ) -> "MultiBeam": ...
    @overload
    def beams(
        self,
        ids: ArrayLike | None = None,
        *,
        source_id: ArrayLike | None = None,
        order: int | None = None,
        planes: Sequence[str] | None = None,
    ) -> Ragged: ...
    def beams(
        self,
        ids: ArrayLike | None = None,
        *,
        source_id: ArrayLike | None = None,
        order: int | None = None,
        planes: Sequence[str] | None = None,
        params: "BeamParams | None" = None,
        has_actions: bool = True,
    ) -> "Ragged | MultiBeam":
        """Return beams: dispersed light of sources, with all that their models need.

        Parameters
        ----------
        ids : int or array_like, int64, shape (n,), optional
            One number: the source whose `skymere.grism.MultiBeam` is wanted. Several: values of ``beam_id``, in any
            order, whose planes are wanted.
        source_id : array_like, int64, shape (n,), optional
            Sources whose beams are wanted, instead of ``ids``.
        order : int, optional
            Only this order.
        planes : sequence of str, optional
            Such as ``sci``, ``direct``, ``trace_wavelength``; all that every beam has when not given.
        params : BeamParams, optional
            Of a `MultiBeam`: masks, weights and the operator; those that it was stored with when not given.
        has_actions : bool, optional
            Of a `MultiBeam`: whether the rows of ``beam_action`` that were not taken back are done to it.

        Returns
        -------
        Ragged or MultiBeam
            A `MultiBeam` of one source, from which every chi square is that of the one that was stored, to the last
            bit.

        Raises
        ------
        NotFoundError
            When a beam, a beam of one of the sources, or a plane is not there; or beams are older than schema 1.1.0,
            which has all that a `MultiBeam` needs.
        NoDataError
            When actions leave no beam of a `MultiBeam`.

        Examples
        --------
        >>> fit_redshift(lake.beams(12), templates="templates", z_range=(0.05, 3.4)).z_map  # doctest: +SKIP
        """
        where = {"order": order}
        if isinstance(ids, int | np.integer):
            return self._multibeam(int(ids), where, params=params, has_actions=has_actions)
        rows = find_rows(self, "beam", ids, key="beam_id", row="beam_row", source_id=source_id, where=where)
        return read_ragged(self, "beam", rows, row="beam_row", planes=planes)

    def _multibeam(
        self, source_id: int, where: Mapping[str, Any], *, params: "BeamParams | None", has_actions: bool
    ) -> "MultiBeam":
        from skymere.lake.beam_actions import edited_beams

        rows = find_rows(self, "beam", None, key="beam_id", row="beam_row", source_id=[source_id], where=where)
        ((_, found),) = edited_beams(self, rows, params=params, has_actions=has_actions)
        if isinstance(found, SkymereError):
            raise found
        return found

    def slitlets(
        self,
        ids: ArrayLike | None = None,
        *,
        source_id: ArrayLike | None = None,
        grating: str | None = None,
        planes: Sequence[str] | None = None,
    ) -> Ragged:
        """Return slitlets by ``slitlet_id``, or those of sources and a grating; see `beams`."""
        where = {"grating": grating}
        rows = find_rows(self, "slitlet", ids, key="slitlet_id", row="slitlet_row", source_id=source_id, where=where)
        return read_ragged(self, "slitlet", rows, row="slitlet_row", planes=planes)

    def spectra(
        self,
        ids: ArrayLike | None = None,
        *,
        source_id: ArrayLike | None = None,
        grating: str | None = None,
        product: Literal["spectrum", "slit_spectrum"] = "spectrum",
        planes: Sequence[str] | None = None,
    ) -> Ragged:
        """Return spectra by ``spectrum_id``, or those of sources and a grating; see `beams`.

        ``product`` says whether those of grism exposures or those of slits are meant.
        """
        if product not in ("spectrum", "slit_spectrum"):
            msg = f"product: {product!r} has no spectra, it must be 'spectrum' or 'slit_spectrum'"
            raise InvalidInputError(msg)
        where = {"grating": grating}
        rows = find_rows(self, product, ids, key="spectrum_id", row="spectrum_row", source_id=source_id, where=where)
        return read_ragged(self, product, rows, row="spectrum_row", planes=planes)

    def raw_slitlets(
        self, ids: ArrayLike | None = None, *, source_id: ArrayLike | None = None, grating: str | None = None
    ) -> list[Slitlet]:
        """Return slitlets as their files had them, with the coordinates that were evaluated; no file is opened.

        Parameters
        ----------
        ids : array_like, int64, shape (n,), optional
            Values of ``slitlet_id``; in this order.
        source_id : array_like, int64, shape (n,), optional
            All slitlets of these sources instead.
        grating : str, optional
            Of this grating alone.

        Raises
        ------
        NotFoundError
            When there is none, or they were stored before schema 1.1.0.

        Examples
        --------
        >>> group = SlitGroup(lake.raw_slitlets(source_id=[12], grating="prism"), "12")  # doctest: +SKIP
        """
        from skymere.lake.slits import slitlets_of_rows

        where = {"grating": grating}
        rows = find_rows(self, "slitlet", ids, key="slitlet_id", row="slitlet_row", source_id=source_id, where=where)
        return slitlets_of_rows(self, rows)

    def slit_spectra(
        self, ids: ArrayLike | None = None, *, source_id: ArrayLike | None = None, grating: str | None = None
    ) -> "list[CombinedSpectrum]":
        """Return combined spectra of slits, with their covariances, images and pixels.

        Parameters
        ----------
        ids : array_like, int64, shape (n,), optional
            Values of ``spectrum_id``; in this order.
        source_id : array_like, int64, shape (n,), optional
            All spectra of these sources instead.
        grating : str, optional
            Of this grating alone.

        Raises
        ------
        NotFoundError
            When there is none, or they were stored before schema 1.1.0.

        Notes
        -----
        Numbers have the precision of the schema; the covariance and wavelengths are those of the fit to the last bit.

        Examples
        --------
        >>> (spectrum,) = lake.slit_spectra(source_id=[12], grating="prism")  # doctest: +SKIP
        >>> plot_summary(spectrum).savefig("12.png")  # doctest: +SKIP
        """
        from skymere.lake.slits import spectra_of_rows

        where = {"grating": grating}
        rows = find_rows(
            self, "slit_spectrum", ids, key="spectrum_id", row="spectrum_row", source_id=source_id, where=where
        )
        return spectra_of_rows(self, rows)

    def psfs(self, rows: pl.DataFrame) -> Ragged:
        """Return images of PSFs, for rows of the table ``psf`` with the status ok."""
        return read_ragged(self, "psf", rows, row="psf_row")

    def models(self, rows: pl.DataFrame) -> Ragged:
        """Return images of models, for rows of the table ``model`` with the status ok."""
        return read_ragged(self, "model", rows, row="model_row")
