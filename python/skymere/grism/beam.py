"""A beam with its model: the direct image through the grism."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_floats
from skymere._rust import grism as _grism
from skymere.datamodels import ANGSTROM, Beam, GrismOrder
from skymere.errors import InvalidInputError
from skymere.grism.params import BeamParams, Operator
from skymere.io import beam_position, beam_wcs
from skymere.spectra import milky_way_extinction

__all__ = ["BeamModel", "ColumnOperator"]

_FAINT = 0.05
_RESIDUAL_SIGMA = 5.0
_GROWTH = 2
_NO_VARIANCE = np.float32(1e30)

_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnOperator:
    """The matrix A from the light of the columns of a beam to its pixels, column after column (CSC).

    Parameters
    ----------
    starts : ndarray, int64, shape (n_columns + 1,)
        Where the entries of each column begin.
    rows : ndarray, int64, shape (n,)
        Pixels of the entries: their place among the pixels that were asked for.
    values : ndarray, float64, shape (n,)
        Part of the column's light in the pixel.
    shape : tuple of int
        Pixels and columns.
    """

    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    values: _Array
    shape: tuple[int, int]

    def dot(self, light: ArrayLike) -> _Array:
        """Return the pixels of columns with some light.

        Parameters
        ----------
        light : array_like, float64, shape (n_columns,) [e/s]
            Light of the columns.
        """
        columns = np.repeat(np.arange(self.shape[1]), np.diff(self.starts))
        given = as_floats(light, "light", shape=(self.shape[1],))
        sums = np.bincount(self.rows, self.values * given[columns], minlength=self.shape[0])
        return sums.astype(np.float64)

    def toarray(self) -> _Array:
        """Return all entries, float64, shape (pixels, columns), column after column in memory."""
        n, n_columns = self.shape
        at = np.repeat(np.arange(n_columns) * n, np.diff(self.starts)) + self.rows
        sums = np.bincount(at, self.values, minlength=n * n_columns).astype(np.float64)
        return sums.reshape(n_columns, n).T


class BeamModel:
    """A `Beam` and how its source is dispersed.

    Parameters
    ----------
    beam : Beam
        The cutouts.
    order : GrismOrder
        Its spectral order.
    params : BeamParams, optional
        Masks, weights and the operator.
    from_trace : bool, optional
        Whether the order was made of the file's own TRACE, for want of a configuration.

    Raises
    ------
    InvalidInputError
        When the segmentation does not hold the source.

    Attributes
    ----------
    order, bare_order : GrismOrder
        The order behind the dust of the Milky Way, and as it was given.

    Notes
    -----
    With T the direct image of the source, divided by its sum, the model is
    ``M(x, y) = int f(l) S(l) T(x - dx(l), y - dy(l)) dl``: columns k of light ``c_k`` that each put the moved image on
    the detector, ``M = A c``.

    The operator ``grizli`` takes ``c_k = <f>_k int_k S dl`` with the mean of f in pixel k, moves the image by k whole
    columns and splits it linearly over two rows. The operator ``spline`` moves the cubic spline through the image,
    along (``c_k = int f S B3(k - dx(l)) dl``) and across.
    """

    def __init__(
        self, beam: Beam, order: GrismOrder, *, params: BeamParams | None = None, from_trace: bool = False
    ) -> None:
        self.params = BeamParams() if params is None else params
        self.beam, self.bare_order, self.from_trace = beam, order, from_trace
        self.order = _behind_dust(order, self.params.mw_ebv)
        mine = beam.segmentation == beam.source_id
        if not mine.any():
            msg = f"segmentation: no pixel of {beam.label} has the label {beam.source_id}"
            raise InvalidInputError(msg)
        # A pixel without a value has no light.
        self._direct = np.where(np.isfinite(beam.direct), beam.direct, np.float32(0))
        self.total_flux = float(self._direct[mine].sum()) or 1.0
        x, y = beam.detector_position
        self.place = order.place(x, y, fwcpos=beam.fwcpos, x_shift=beam.x_shift, y_shift=beam.y_shift)
        self._disperser = self._dispersed(self._direct, self.params.operator)

    def with_beam(self, beam: Beam) -> "BeamModel":
        """Return the model of other cutouts of the same order, with the same parameters.

        Parameters
        ----------
        beam : Beam
            The cutouts.
        """
        return BeamModel(beam, self.bare_order, params=self.params, from_trace=self.from_trace)

    @property
    def disperser(self) -> Any:
        """The source and its columns as kernels take them."""
        return self._disperser

    @property
    def at(self) -> list[int]:
        """Where the direct image would be in the cutout without dispersion."""
        return self._at

    def _dispersed(self, image: NDArray[np.float32], operator: Operator) -> Any:
        beam = self.beam
        return _grism.Disperser(self.order.compiled, self.place, image, beam.segmentation, beam.source_id, operator)

    @property
    def grism_name(self) -> str:
        """Name by which beams are grouped: the grism, of NIRISS the blocking filter."""
        beam = self.beam
        return beam.pupil if beam.instrument == "NIRISS" and beam.pupil.startswith("G") else beam.grism

    @property
    def sci(self) -> NDArray[np.float32]:
        """Data [e/s]."""
        return self.beam.sci

    @property
    def err(self) -> NDArray[np.float32]:
        """Error of the data without `BeamParams.sys_err` [e/s]."""
        return self.beam.err

    @cached_property
    def contam(self) -> NDArray[np.float32]:
        """Light of other sources, 0 where it is not known, float32, shape (ny, nx) [e/s]."""
        return np.where(np.isfinite(self.beam.contam), self.beam.contam, np.float32(0))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the spectrum."""
        return self.beam.sci.shape[0], self.beam.sci.shape[1]

    @cached_property
    def wcs(self) -> Any:
        """Coordinate system of the direct image, astropy.wcs.WCS; None when its file has none."""
        return beam_wcs(self.beam)

    @cached_property
    def sky_position(self) -> tuple[float, float] | None:
        """Right ascension and declination [deg] that the file states; None when it does not."""
        return beam_position(self.beam)

    @cached_property
    def centroid(self) -> tuple[float, float]:
        """Column and row of the middle of the source's light in the direct image, 0-based [pix]."""
        labels = self.beam.segmentation == self.beam.source_id
        light = np.where(labels, np.maximum(self._direct, 0), 0).astype(np.float64)
        light = light if light.sum() > 0 else labels.astype(np.float64)
        y, x = np.indices(light.shape)
        return float((light * x).sum() / light.sum()), float((light * y).sum() / light.sum())

    @cached_property
    def _columns_of_light(self) -> tuple[_Array, _Array]:
        """Rows from the middle of the light and its wavelengths [Angstrom] in every column of the cutout."""
        dx = np.arange(self.shape[1]) + self.order.first - self.centroid[0]
        dy, wave = self.order.compiled.trace(self.place, dx)
        return dy, wave

    @cached_property
    def grizli_columns(self) -> tuple[_Array, _Array]:
        """The same as grizli has it, which takes the middle of the cutout less XCENTER for the place of the source."""
        beam = self.beam
        first = self.order.first - (beam.direct.shape[1] // 2 - 1)
        dx = np.arange(self.shape[1]) + first + beam.center_offset[0]
        dy, wave = self.order.compiled.trace(self.place, dx)
        return dy, wave

    @property
    def _columns(self) -> tuple[_Array, _Array]:
        return self.grizli_columns if self.params.wavelengths == "grizli" else self._columns_of_light

    @property
    def wave_of_light(self) -> _Array:
        """Mean wavelength of the source's light in every column, float64, shape (nx,) [um]."""
        return self._columns_of_light[1] * ANGSTROM

    @property
    def trace_of_light(self) -> _Array:
        """Row of the middle of the source's light in every column, 0-based, float64, shape (nx,) [pix]."""
        return self._columns_of_light[0] + self.centroid[1]

    @property
    def wave(self) -> _Array:
        """Wavelength of every column, by `BeamParams.wavelengths`, float64, shape (nx,) [um]."""
        return self._columns[1] * ANGSTROM

    @property
    def trace(self) -> _Array:
        """Row of the trace from the source in every column, float64, shape (nx,) [pix]."""
        return self._columns[0]

    @cached_property
    def sensitivity(self) -> _Array:
        """Sensitivity integrated over every column, float64, shape (nx,) [e/s per erg/s/cm2/A]."""
        return self.sensitivity_at(self._columns[1])

    def sensitivity_at(self, wave: _Array) -> _Array:
        """Return the sensitivity integrated over columns, float64, shape (n,) [e/s per erg/s/cm2/A].

        Parameters
        ----------
        wave : ndarray, float64, shape (n,) [Angstrom]
            Their wavelengths.
        """
        order = np.argsort(wave)
        out = np.empty_like(wave)
        out[order] = self.order.compiled.integrals(np.ascontiguousarray(wave[order]))
        return out

    def light(self, wavelength: ArrayLike | None = None, flux: ArrayLike | None = None) -> _Array:
        """Return the light of a spectrum in every column of the operator, float64, shape (n_columns,) [e/s].

        Parameters
        ----------
        wavelength : array_like, float64, shape (n,) [um], optional
            In rising order; a spectrum of 1 erg/s/cm2/A everywhere when not given.
        flux : array_like, float64, shape (n,) [erg/s/cm2/A], optional
            Flux densities, straight between wavelengths and zero outside.

        Raises
        ------
        InvalidInputError
            When wavelengths do not rise, or lengths differ.
        """
        if wavelength is None or flux is None:
            return np.asarray(self._disperser.light(None), np.float64)
        wave = as_floats(wavelength, "wavelength", shape=(None,)) / ANGSTROM
        return np.asarray(self._disperser.light((wave, as_floats(flux, "flux", shape=wave.shape))), np.float64)

    def compute_model(
        self,
        wavelength: ArrayLike | None = None,
        flux: ArrayLike | None = None,
        *,
        image: ArrayLike | None = None,
    ) -> _Array:
        """Return the spectrum on the pixels of the beam.

        Parameters
        ----------
        wavelength : array_like, float64, shape (n,) [um], optional
            In rising order; a spectrum of 1 erg/s/cm2/A everywhere when not given.
        flux : array_like, float64, shape (n,) [erg/s/cm2/A], optional
            Flux densities of the whole source, straight between wavelengths and zero outside.
        image : array_like, float32, shape of the direct image, optional
            Another image of the source, whose sum within the segment is divided out.

        Returns
        -------
        ndarray, float64, shape (ny, nx) [e/s]
            The model.

        Raises
        ------
        InvalidInputError
            When wavelengths do not rise, shapes differ, or the image is zero within the segment.
        """
        disperser, total = self._disperser, self.total_flux
        if image is not None:
            given = np.ascontiguousarray(image, np.float32)
            if given.shape != self.beam.direct.shape:
                msg = f"image: shape {given.shape} is not allowed, it must be {self.beam.direct.shape}"
                raise InvalidInputError(msg)
            total = float(given[self.beam.segmentation == self.beam.source_id].sum())
            if not total > 0:
                msg = f"image: a sum of {total} within the segment is not allowed, it must be positive"
                raise InvalidInputError(msg)
            disperser = self._dispersed(given, self.params.operator)
        return np.asarray(disperser.draw(self.light(wavelength, flux) / total, self.shape, self._at), np.float64)

    @property
    def _at(self) -> list[int]:
        """Where the direct image would be in the cutout without dispersion."""
        return [0, -self.order.first]

    @cached_property
    def flat(self) -> _Array:
        """Model of a spectrum of 1 erg/s/cm2/A, float64, shape (ny, nx) [e/s]."""
        return self.compute_model()

    def column_operator(self, mask: ArrayLike | None = None) -> ColumnOperator:
        """Return the matrix from the light of the columns to the pixels that are fitted.

        Parameters
        ----------
        mask : array_like, bool, shape (ny, nx), optional
            Pixels that the matrix has rows for (True = has); all of `fit_mask` when not given.

        Returns
        -------
        ColumnOperator
            ``operator.dot(beam.light(wavelength, flux))`` is `compute_model` at these pixels.

        Raises
        ------
        InvalidInputError
            When the shape of the mask is another.
        """
        wanted = self.fit_mask if mask is None else np.asarray(mask, bool)
        if wanted.shape != self.shape:
            msg = f"mask: shape {wanted.shape} is not allowed, it must be {self.shape}"
            raise InvalidInputError(msg)
        number = np.where(wanted, np.cumsum(wanted).reshape(self.shape) - 1, -1)
        starts, rows, values = self._disperser.matrix(self._at, np.ascontiguousarray(number, np.int64))
        shape = int(wanted.sum()), starts.size - 1
        return ColumnOperator(starts=starts, rows=rows, values=values / self.total_flux, shape=shape)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Pixels without data or contamination, True = do not use, bool, shape (ny, nx)."""
        beam = self.beam
        known = np.isfinite(beam.sci) & np.isfinite(beam.contam)
        return np.asarray((beam.dq != 0) | ~(beam.err > 0) | (beam.sci == 0) | ~known, bool)

    @cached_property
    def cleaned(self) -> NDArray[np.float32]:
        """Data without contamination, float32, shape (ny, nx) [e/s]."""
        return self.beam.sci - self.contam

    @cached_property
    def _data_ivar(self) -> NDArray[np.float32]:
        variance = np.where(self.mask, _NO_VARIANCE, self.beam.err**2)
        return np.where(self.mask, np.float32(0), 1 / variance)

    @cached_property
    def ivar(self) -> _Array:
        """Inverse variance with `BeamParams.sys_err`, 0 where there is no data, float64, shape (ny, nx)."""
        with np.errstate(divide="ignore"):
            total = 1.0 / (1.0 / self._data_ivar.astype(np.float64) + (self.params.sys_err * self.cleaned) ** 2)
        return np.where(self.mask, 0.0, total)

    @cached_property
    def weight(self) -> _Array:
        """Factor of the weight beside contamination, ``exp(-fcontam |contam| sqrt(ivar))``, float64, shape (ny, nx)."""
        return np.asarray(np.exp(-self.params.fcontam * np.abs(self.contam) * np.sqrt(self.ivar)), np.float64)

    def _whole_model(self, spectrum: tuple[_Array, _Array] | None) -> _Array:
        """Return the model of whole columns, which does not swing around zero beside the source."""
        whole = self._dispersed(self._direct, "grizli")
        return np.asarray(whole.draw(whole.light(spectrum) / self.total_flux, self.shape, self._at), np.float64)

    @cached_property
    def _whole_flat(self) -> _Array:
        return self._whole_model(None)

    @cached_property
    def fit_mask(self) -> NDArray[np.bool_]:
        """Pixels that are fitted, True = fit, bool, shape (ny, nx); the same for all operators."""
        params, flat = self.params, self._whole_flat
        fit = ~self.mask & (self._data_ivar != 0) & (flat > params.min_mask * flat.max())
        if params.min_sens > 0:
            low = (self.sensitivity < params.min_sens * self.sensitivity.max()).astype(np.float64)
            if low.any():
                order = np.argsort(self.wave)
                light = self._whole_model((self._columns[1][order], low[order]))
                fit &= ~(light > 0).any(axis=0)
        if params.mask_resid:
            residual = np.abs(self.cleaned - flat) * np.sqrt(self._data_ivar)
            fit &= ~((flat < _FAINT * flat.max()) & (residual > _RESIDUAL_SIGMA))
        return np.asarray(fit & ~self._contaminated, bool)

    @property
    def _contaminated(self) -> NDArray[np.bool_]:
        """Pixels where contamination rules, and those around."""
        root = np.sqrt(self._data_ivar)
        high, low = self.params.contam_sn_mask
        bad = (self.contam * root > high) & (self._whole_flat * self.total_flux * root < low)
        grown = np.pad(bad, _GROWTH)
        ny, nx = bad.shape
        steps = range(2 * _GROWTH + 1)
        return np.asarray(np.any([grown[j : j + ny, i : i + nx] for j in steps for i in steps], axis=0), bool)

    def optimal_extract(self, data: ArrayLike | None = None) -> tuple[_Array, _Array, _Array]:
        """Return the optimally weighted sum of each column.

        Parameters
        ----------
        data : array_like, float, shape (ny, nx) [e/s], optional
            What is extracted; the data without contamination when not given.

        Returns
        -------
        ndarray, float64, shape (nx,) [um]
            Mean wavelength of the source's light in each column.
        ndarray, float64, shape (nx,) [e/s]
            Light of the column; NaN where no pixel counts.
        ndarray, float64, shape (nx,) [e/s]
            1 sigma.

        Raises
        ------
        InvalidInputError
            When the shape of the data is another.
        """
        from skymere.grism.extract import extract_beam

        return extract_beam(self, None if data is None else np.asarray(data))

    def header(self) -> Mapping[str, Any]:
        """Return what the model was made of: operator, order, whether the file's TRACE stood in."""
        return {
            "operator": self.params.operator,
            "order": self.order.name,
            "sensitivity": self.order.file,
            "from_trace": self.from_trace,
        }


def _behind_dust(order: GrismOrder, mw_ebv: float) -> GrismOrder:
    """Return an order that is less sensitive by the dust of the Milky Way."""
    if mw_ebv == 0:
        return order
    passed = 10 ** (-0.4 * mw_ebv * milky_way_extinction(order.wavelength * ANGSTROM))
    return replace(order, sensitivity=order.sensitivity * passed)
