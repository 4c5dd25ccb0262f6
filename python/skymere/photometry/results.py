"""What forced photometry gives."""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError, NotFoundError
from skymere.photometry.params import PhotometryParams
from skymere.photometry.system import Solution

__all__ = ["FluxCovariance", "ForcedPhotometry", "Shift"]


@dataclass(frozen=True, kw_only=True, eq=False)
class FluxCovariance:
    """Covariances of fluxes of sources whose stamps overlap; those of other pairs are not kept.

    Parameters
    ----------
    source_id : ndarray, int64, shape (n,)
        Sources, in the order of the table.
    offset : ndarray, int64, shape (n + 1,)
        Where the pairs of each source begin.
    neighbour : ndarray, int64, shape (n_pairs,)
        ``source_id`` of the other source of each pair.
    covariance : ndarray, float64, shape (n_pairs,) [unit of the flux squared]
        Covariance of both fluxes. The variance of a flux is the square of ``err_formal``.
    """

    source_id: NDArray[np.int64]
    offset: NDArray[np.int64]
    neighbour: NDArray[np.int64]
    covariance: NDArray[np.float64]

    def of(self, source_id: int) -> dict[int, float]:
        """Return neighbours of a source with their covariances.

        Raises
        ------
        NotFoundError
            When there is no such source.
        """
        rows = np.flatnonzero(self.source_id == source_id)
        if not rows.size:
            msg = f"source_id: {source_id} is not one of the {self.source_id.size} sources"
            raise NotFoundError(msg)
        part = slice(self.offset[rows[0]], self.offset[rows[0] + 1])
        return dict(zip(self.neighbour[part].tolist(), self.covariance[part].tolist(), strict=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class Shift:
    """How far the band's sources lie from the models' positions, on the sky: to the east and to the north [arcsec].

    Parameters
    ----------
    method : str
        How it was found.
    coefficients : ndarray, float64, shape (2, n_terms) [arcsec]
        Of the powers of x and y, each from -1 to 1 over the image, to the east and to the north.
    covariance : ndarray, float64, shape (2 n_terms, 2 n_terms) [arcsec^2]
        Of the coefficients, those to the east first; NaN when the shift was given.
    powers : tuple of (int, int)
        Powers of x and y of the terms.
    anchors : tuple of int
        ``source_id`` of the sources that it was found from; empty when all were used.
    scatter_arcsec : float
        Scatter of several anchors around their mean [arcsec]; NaN when there are none.
    n_iterations : int
        Steps that were made.
    chi2_map : ndarray, float64, shape (n_steps, n_steps), optional
        Of ``grid``: chi square above its least, for steps to the north and to the east.
    width_arcsec : tuple of float
        Of ``grid``: how far to the east and to the north chi square has grown by 1 [arcsec]; NaN on the edge.
    warning : str
        What is to be said about it; empty when there is nothing.
    """

    method: str
    coefficients: NDArray[np.float64]
    covariance: NDArray[np.float64]
    powers: tuple[tuple[int, int], ...] = ((0, 0),)
    anchors: tuple[int, ...] = ()
    scatter_arcsec: float = float("nan")
    n_iterations: int = 0
    chi2_map: NDArray[np.float64] | None = None
    width_arcsec: tuple[float, float] = (float("nan"), float("nan"))
    warning: str = ""

    @property
    def arcsec(self) -> tuple[float, float]:
        """Shift to the east and to the north in the middle of the image [arcsec]."""
        return float(self.coefficients[0, 0]), float(self.coefficients[1, 0])

    @property
    def error_arcsec(self) -> tuple[float, float]:
        """1 sigma of the shift in the middle of the image [arcsec]."""
        n = self.coefficients.shape[1]
        return float(np.sqrt(self.covariance[0, 0])), float(np.sqrt(self.covariance[n, n]))

    def at(self, x: ArrayLike, y: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Return the shift at pixels of the image.

        Parameters
        ----------
        x, y : array_like, float64, shape (n,) [pix]
            Places, 0-based.
        shape : tuple of int
            ``(ny, nx)`` of the image.

        Returns
        -------
        ndarray, float64, shape (n, 2) [arcsec]
            To the east and to the north.
        """
        return basis(x, y, shape, self.powers) @ self.coefficients.T


def basis(
    x: ArrayLike, y: ArrayLike, shape: tuple[int, int], powers: tuple[tuple[int, int], ...]
) -> NDArray[np.float64]:
    """Return ``(n, n_terms)`` products of powers of x and y, each from -1 to 1 over the image."""
    u, v = (2 * np.atleast_1d(np.asarray(p, float)) / (max(n, 2) - 1) - 1 for p, n in ((x, shape[1]), (y, shape[0])))
    return np.array([u**i * v**j for i, j in powers], float).reshape(len(powers), u.size).T


@dataclass(frozen=True, kw_only=True, eq=False)
class ForcedPhotometry:
    """Fluxes of all sources of a band.

    Parameters
    ----------
    table : polars.DataFrame
        One row for each model, then those that were added, see `forced_photometry`.
    residual : ndarray, float32, shape (ny, nx) [unit of the image]
        Image minus all models and the background; where a pixel does not count, too.
    covariance : FluxCovariance
        Covariances of sources that overlap.
    background : ndarray, float64, shape (n_terms,) [unit of the image]
        Coefficients of the sky, for the powers of x and y of `PhotometryParams.background_degree`, each from -1 to 1.
    background_covariance : ndarray, float64, shape (n_terms, n_terms)
        Of these.
    shift : Shift
        How far the band's sources lie from the models' positions.
    noise_positions : ndarray, float64, shape (n_positions, 2) [deg]
        ``ra, dec`` of the blank places.
    error_accuracy : float
        Relative accuracy of ``err_sim``, 1 / sqrt(2 n); NaN without simulations.
    flux_mc : ndarray, float32, shape (n_sources, n_positions), optional
        What the noise of each blank place adds to each flux; NaN where it has too few pixels.
    unit : str
        Unit of the fluxes: ``uJy``, or that of the image when its zero point is unknown.
    warnings : tuple of str
        What is to be said about the whole.
    shift_residual : ndarray, float32, shape (ny, nx), optional [unit of the image]
        Image minus the fits of the anchors of the shift within their radius, NaN elsewhere; None without anchors.
    params : PhotometryParams
        The parameters.
    _solution, _scale, _unit, _noise_factor
        The system, for the methods; not part of the result.
    """

    table: pl.DataFrame
    residual: NDArray[np.float32]
    covariance: FluxCovariance
    background: NDArray[np.float64]
    background_covariance: NDArray[np.float64]
    shift: Shift
    noise_positions: NDArray[np.float64]
    error_accuracy: float
    unit: str
    params: PhotometryParams
    flux_mc: NDArray[np.float32] | None = None
    shift_residual: NDArray[np.float32] | None = None
    warnings: tuple[str, ...] = ()
    _solution: Solution = field(repr=False)
    _scale: float = field(repr=False)
    _unit: float = field(repr=False)
    _noise_factor: float = field(repr=False)

    def template(self, source_id: int) -> tuple[NDArray[np.float32], int, int]:
        """Return what the image shows of a source of flux 1, and the row and column of its first pixel.

        Parameters
        ----------
        source_id : int
            Which source.

        Raises
        ------
        NotFoundError
            When there is no such source, or it has no template.
        """
        stamp, y0, x0, _ = self._template(source_id)
        return stamp, y0, x0

    def _template(self, source_id: int) -> tuple[NDArray[np.float32], int, int, int]:
        rows = np.flatnonzero(self.table["source_id"].to_numpy() == source_id)
        window = self._solution.templates.window(int(rows[0])) if rows.size else None
        if window is None:
            msg = f"source_id: {source_id} has no template on the image"
            raise NotFoundError(msg)
        y0, x0, ny, nx = window
        row = int(rows[0])
        return self._solution.templates.values(row).reshape(ny, nx), y0, x0, row

    def without_others(self, source_id: int) -> tuple[NDArray[np.float32], int, int]:
        """Return the image minus all but one source on its stamp, and the row and column of its first pixel.

        Parameters
        ----------
        source_id : int
            Which source.

        Raises
        ------
        NotFoundError
            When there is no such source, or it has no template.
        """
        stamp, y0, x0, row = self._template(source_id)
        there = self.residual[y0 : y0 + stamp.shape[0], x0 : x0 + stamp.shape[1]]
        return there + np.float32(self._solution.flux[row] * self._unit) * stamp, y0, x0

    def sum_of(self, source_ids: Collection[int]) -> tuple[float, float]:
        """Return the flux of several sources together and its formal error: of the components of a galaxy, say.

        Parameters
        ----------
        source_ids : collection of int
            Which sources, each once.

        Returns
        -------
        flux, error : float [unit of the flux]
            NaN when one of them was not measured.

        Raises
        ------
        NotFoundError
            When there is no such source.
        InvalidInputError
            When one comes twice, or there are none.

        Notes
        -----
        The variance is ``sum_ij C_ij`` with the covariance C of the fluxes; sources whose stamps do not overlap have
        none that is kept.
        """
        ids = [int(one) for one in source_ids]
        if not ids or len(set(ids)) < len(ids):
            msg = f"source_ids: {ids} are not allowed, there must be some, each once"
            raise InvalidInputError(msg)
        covariances = {one: self.covariance.of(one) for one in ids}
        fluxes, errors = (
            dict(zip(self.table["source_id"], self.table[name], strict=True)) for name in ("flux", "err_formal")
        )
        if any(fluxes[one] is None or errors[one] is None for one in ids):
            return float("nan"), float("nan")
        variance = sum(errors[i] ** 2 + sum(covariances[i].get(j, 0.0) for j in ids if j != i) for i in ids)
        return float(sum(fluxes[one] for one in ids)), float(np.sqrt(variance))

    def chi2_of(self, difference: ArrayLike) -> float:
        """Return ``d^T C^-1 d`` with the whole covariance C of the fluxes, also of pairs that are not kept.

        Parameters
        ----------
        difference : array_like, float64, shape (n_sources,) [unit of the flux]
            d, in the order of the table; sources without a flux do not count.

        Raises
        ------
        InvalidInputError
            When it has another length.

        Notes
        -----
        C is that of the formal errors, with background and shift free: the inverse of C is the Schur complement of
        their part of the normal equations.
        """
        solved = self._solution.is_solved
        d = np.asarray(difference, np.float64)
        if d.shape != solved.shape:
            msg = f"difference: shape {d.shape} is not allowed, it must be {solved.shape}"
            raise InvalidInputError(msg)
        n, normal = d.size, self._solution.normal
        n_columns = self._solution.levels.size
        vector = np.concatenate([np.where(solved, d / self._scale, 0.0), np.zeros(n_columns)])
        product = normal.multiply(self._solution.templates, vector)
        found = float(vector @ product)
        if n_columns:
            columns = []
            for k in range(n_columns):
                unit = np.zeros(n + n_columns)
                unit[n + k] = 1.0
                columns.append(normal.multiply(self._solution.templates, unit)[n:])
            across = product[n:]
            found -= float(across @ np.linalg.lstsq(np.array(columns), across)[0])
        return found / self._noise_factor**2
