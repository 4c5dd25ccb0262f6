"""What photometric redshifts return."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere._rust import spectra as _rust
from skymere.errors import InvalidInputError
from skymere.spectra.bands import Band
from skymere.spectra.filters import Filter
from skymere.spectra.photoz_params import PhotozParams
from skymere.spectra.template_fluxes import ExcessNodes, Transmission, template_fluxes
from skymere.spectra.templates import TabulatedTemplate

__all__ = ["PhotozFit"]

_Array = NDArray[np.float64]
# Redshifts with less than this part of the largest p(z) are left out of means.
_LEAST_PART = 1e-8


@dataclass(frozen=True, kw_only=True, eq=False)
class Objects:
    """What the kernel takes: fluxes of templates and of objects."""

    grid: _Array
    flux: _Array
    variance: _Array
    level: _Array
    nodes: _Array
    template_error: _Array

    @classmethod
    def of(
        cls,
        flux: _Array,
        flux_err: _Array,
        *,
        level: _Array,
        sys_err: float,
        grid: _Array,
        nodes: _Array,
        template_error: _Array,
    ) -> "Objects":
        """Add systematic errors."""
        is_good = np.isfinite(flux_err)
        # What was not measured has no level: 0 times infinity is no number.
        level = np.where(is_good, np.maximum(np.nan_to_num(level), 0.0), 0.0)
        return cls(
            grid=grid,
            flux=np.ascontiguousarray(np.where(is_good, flux, 0.0)),
            variance=np.ascontiguousarray(np.where(is_good, flux_err, np.inf) ** 2 + (sys_err * level) ** 2),
            level=np.ascontiguousarray(level),
            nodes=np.ascontiguousarray(nodes),
            template_error=template_error,
        )


def grid_of(
    templates: Sequence[TabulatedTemplate],
    filters: Sequence[Filter],
    z_grid: _Array,
    excess: _Array,
    igm: Transmission | None,
) -> _Array:
    """Return fluxes of templates, shape (n_nodes, n_z, n_templates, n_filters)."""
    nodes = [template_fluxes(templates, filters=filters, z_grid=z_grid, mw_ebv=float(one), igm=igm) for one in excess]
    return np.ascontiguousarray(np.stack(nodes))


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotozFit:
    """Photometric redshifts of a catalogue.

    Parameters
    ----------
    table : polars.DataFrame
        One row for each object: ``row``, ``id`` when there was one; ``status``; ``z_map``, the redshift of the largest
        p(z); ``z_025``, ``z_160``, ``z_500``, ``z_840``, ``z_975``, below which that much of p(z) is; ``i_z``, the
        nearest of the grid; ``chi2`` there; ``z_chi2`` and ``chi2_min`` of the least chi square, without prior;
        ``n_filters``. Status: ``ok``; ``unresolved``, p(z) is narrower than the grid, percentiles are those of a step;
        ``at_edge``, the best redshift is an end of the grid; ``few_filters``; ``no_template``, none has flux in the
        measured filters; ``no_prior``, the prior excludes all that chi square allows. Numbers are null where there is
        no fit.
    z_grid : ndarray, float64, shape (n_z,)
        Redshifts.
    chi2_grid : ndarray, float64, shape (n, n_z)
        Least chi square at each; no rows without ``has_pdf``.
    pdf : ndarray, float64, shape (n, n_z)
        p(z); its integral over ``z_grid`` is 1, or all is NaN where there is no fit. No rows without ``has_pdf``.
    coefficients : ndarray, float64, shape (n, n_templates)
        Factors of the templates at ``z_grid[i_z]``: the observed f_lambda is ``sum(a template(wave / (1 + z)))``
        erg/s/cm2/Angstrom.
    model : ndarray, float64, shape (n, n_filters) [uJy]
        Fluxes of the best combination, behind the dust of the Milky Way, as measured ones.
    flux, flux_err : ndarray, float64, shape (n, n_filters) [uJy]
        Measured fluxes and their errors, with zeropoints, without systematic error; NaN and infinite where they were
        not measured.
    level : ndarray, float64, shape (n, n_filters) [uJy]
        To which systematic errors are relative.
    mw_ebv : ndarray, float64, shape (n,) [mag]
        Colour excess of the Milky Way.
    bands : tuple of Band
        The filters and their columns.
    templates : tuple of TabulatedTemplate
        What was combined.
    template_error : ndarray, float64, shape (n_z, n_filters)
        Relative error of the templates; no rows without one.
    igm : callable or None
        Transmission between the galaxies.
    params : PhotozParams
        How it was fitted.
    """

    table: pl.DataFrame
    z_grid: _Array
    chi2_grid: _Array
    pdf: _Array
    coefficients: _Array
    model: _Array
    flux: _Array
    flux_err: _Array
    level: _Array
    mw_ebv: _Array
    bands: tuple[Band, ...]
    templates: tuple[TabulatedTemplate, ...]
    template_error: _Array
    igm: Transmission | None
    params: PhotozParams

    def prior(self, row: int) -> tuple[_Array, _Array]:
        """Return ``(z, p)`` of one object, as priors of other fits are.

        Parameters
        ----------
        row : int
            Its row.

        Raises
        ------
        InvalidInputError
            When there is no such row, or p(z) was not kept.
        """
        self._need_pdf()
        if not 0 <= row < self.table.height:
            msg = f"row: {row} is not allowed, it must be in 0 to {self.table.height - 1}"
            raise InvalidInputError(msg)
        return self.z_grid, self.pdf[row]

    def spectrum(self, row: int) -> tuple[_Array, _Array]:
        """Return the best combination of one object, without absorption and dust between it and us.

        Parameters
        ----------
        row : int
            Its row.

        Returns
        -------
        wave : ndarray, float64, shape (m,) [um]
            Observed wavelengths.
        flux : ndarray, float64, shape (m,) [erg/s/cm2/Angstrom]
            f_lambda.

        Raises
        ------
        InvalidInputError
            When there is no such row.
        """
        if not 0 <= row < self.table.height:
            msg = f"row: {row} is not allowed, it must be in 0 to {self.table.height - 1}"
            raise InvalidInputError(msg)
        rest = np.unique(np.concatenate([one.wave for one in self.templates]))
        flux = sum(
            factor * np.interp(rest, one.wave, one.flux, left=0.0, right=0.0)
            for factor, one in zip(self.coefficients[row], self.templates, strict=True)
        )
        i_z = self.table["i_z"][row]
        z = np.nan if i_z is None else self.z_grid[i_z]
        return rest * (1 + z), np.asarray(flux, np.float64)

    def synthetic_fluxes(self, filters: Sequence[Filter], *, is_dereddened: bool = False) -> pl.DataFrame:
        """Return the fluxes that the fit expects in filters, measured or not.

        Parameters
        ----------
        filters : sequence of Filter
            Any filters.
        is_dereddened : bool, optional
            Without the dust of the Milky Way before them.

        Returns
        -------
        polars.DataFrame
            ``row``, ``filter``, ``flux``, ``flux_err`` [uJy], ``is_synthetic``, which is always true. Null where there
            is no fit.

        Raises
        ------
        InvalidInputError
            When p(z) was not kept, or there are no filters.

        Notes
        -----
        The mean over p(z) of the best combination at each z. Its variance is the mean of the variance that the measured
        fluxes leave to the templates of the combination, and the variance over p(z) of the best combination.
        """
        self._need_pdf()
        n, excess = self.table.height, ExcessNodes.covering(self.mw_ebv)
        grid = self._grid([band.filter for band in self.bands], excess.ebv)
        other = self._grid(filters, np.zeros_like(excess.ebv) if is_dereddened else excess.ebv)
        width = np.gradient(self.z_grid)
        means, errors = np.full((n, len(filters)), np.nan), np.full((n, len(filters)), np.nan)
        for start in range(0, n, self.params.block_rows):
            rows = slice(start, start + self.params.block_rows)
            part = np.nan_to_num(self.pdf[rows] * width)
            part = np.where(part > _LEAST_PART * part.max(axis=1, keepdims=True), part, 0.0)
            total = part.sum(axis=1, keepdims=True)
            objects = Objects.of(
                self.flux[rows],
                self.flux_err[rows],
                level=self.level[rows],
                sys_err=self.params.sys_err,
                grid=grid,
                nodes=excess.factors(self.mw_ebv[rows]),
                template_error=self.template_error,
            )
            share = np.ascontiguousarray(part / np.where(total > 0, total, 1.0))
            mean, variance = _rust.photoz_predict(objects, other, share)
            means[rows] = np.where(total > 0, mean, np.nan)
            errors[rows] = np.where(total > 0, np.sqrt(variance), np.nan)
        return pl.DataFrame(
            {
                "row": np.repeat(self.table["row"].to_numpy(), len(filters)),
                "filter": [one.name for _ in range(n) for one in filters],
                "flux": means.ravel(),
                "flux_err": errors.ravel(),
                "is_synthetic": np.ones(n * len(filters), bool),
            }
        ).with_columns(pl.col("flux", "flux_err").fill_nan(None))

    def _grid(self, filters: Sequence[Filter], excess: _Array) -> _Array:
        return grid_of(self.templates, filters, self.z_grid, excess, self.igm)

    def _need_pdf(self) -> None:
        if self.pdf.shape[0] != self.table.height:
            msg = "has_pdf: False is not allowed here, p(z) of the objects was not kept"
            raise InvalidInputError(msg)
