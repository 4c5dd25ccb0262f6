"""What a redshift fit returns."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.spectra.params import RedshiftParams
from skymere.spectra.templates import LineComplex, SplineContinuum, Template

__all__ = ["RedshiftFit"]

_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class RedshiftFit:
    """Redshift, model and lines of a spectrum.

    Parameters
    ----------
    status : str
        ``ok``; ``ambiguous`` when p(z) has a second peak; ``at_edge`` when the best redshift is an end of the grid;
        ``no_data`` when there are fewer pixels than the continuum needs: then numbers are NaN and tables empty.
    z : float
        Redshift of the highest p(z): of the least chi square, unless lines have a prior.
    z_err : float
        Half of the width of p(z) between its 16th and 84th percentile; from the curvature when there is no grid.
    percentiles : tuple of float
        2.5, 16, 50, 84 and 97.5 per cent of p(z) are below them.
    chi2 : float
        Chi square at ``z``, with the systematic error.
    n_pixels, n_parameters : int
        Pixels and templates that were used.
    delta_chi2 : float
        By how much all lines together lower chi square.
    z_grid : ndarray, float64, shape (n_z,)
        Redshifts that were tried, in rising order.
    chi2_grid : ndarray, float64, shape (n_z,)
        Chi square of each.
    pdf : ndarray, float64, shape (n_z,)
        p(z) for a flat prior between the ends of ``z_grid``, over which its integral is 1.
    model, continuum : ndarray, float64, shape (n,) [uJy]
        The best model with and without lines, at the pixels of the spectrum.
    err : ndarray, float64, shape (n,) [uJy]
        1 sigma that was used: with the systematic part; infinite for pixels that were not used.
    lines : polars.DataFrame
        A row for each line or complex that counts at ``z``: ``line``, ``members`` (wavelengths at rest [um] of its
        lines), ``shares`` (their parts in the flux), ``blend`` (other rows with a line nearer than half of the sum of
        both full widths at half maximum), ``status`` (``ok``, ``at_bound``, ``undetermined``), ``wave_rest``, ``wave``
        [um] of the strongest line, ``flux``, ``flux_err`` [erg/s/cm2], ``flux_uJy_um``, ``flux_uJy_um_err`` (the
        integral of f_nu over wavelength), ``continuum``, ``continuum_err`` [uJy], ``ew``, ``ew_err`` [Angstrom, rest
        frame], ``snr``.
    line_covariance : ndarray, float64, shape (n_lines, n_lines) [(erg/s/cm2)^2]
        Covariance of the fluxes in that table, the uncertainty of redshift and continuum included.
    coefficients : polars.DataFrame
        Factor of each template: ``template``, ``kind``, ``coefficient``, ``coefficient_err``; of lines in
        1e-18 erg/s/cm2, of splines in 1e-18 erg/s/cm2/um.
    templates : tuple
        What was fitted.
    params : RedshiftParams
        How.
    z_range : tuple of float
        Where.
    igm : str
        What absorbed on the way: ``none``, or where its coefficients are from.
    n_correlated : int
        Neighbours to one side with which the noise of a pixel is correlated.
    """

    status: str
    z: float
    z_err: float
    percentiles: tuple[float, ...]
    chi2: float
    n_pixels: int
    n_parameters: int
    delta_chi2: float
    z_grid: _Array
    chi2_grid: _Array
    pdf: _Array
    model: _Array
    continuum: _Array
    err: _Array
    lines: pl.DataFrame
    line_covariance: _Array
    coefficients: pl.DataFrame
    templates: tuple[Template, ...]
    params: RedshiftParams
    z_range: tuple[float, float]
    igm: str = "none"
    n_correlated: int = 0

    def describe(self) -> str:
        """Return the result, all settings and the systematic terms as text."""
        settings = ", ".join(f"{f.name} {getattr(self.params, f.name)}" for f in dataclasses.fields(self.params))
        splines = [f"{t.n_functions} by {t.along}" for t in self.templates if isinstance(t, SplineContinuum)]
        lines = [t.name for t in self.templates if isinstance(t, LineComplex)]
        n_tables = len(self.templates) - len(splines) - len(lines)
        noise = f"correlated over {self.n_correlated} neighbours" if self.n_correlated else "independent pixels"
        found = (
            f"z = {self.z:.5f} +- {self.z_err:.5f} ({self.status}), chi2 {self.chi2:.1f} of {self.n_pixels} pixels "
            f"and {self.n_parameters} parameters, {self.delta_chi2:.1f} less with lines"
        )
        return "\n".join(
            [
                found,
                f"systematic error: {self.params.sys_err:g} of the {self.params.sys_err_of}'s flux, in quadrature",
                f"noise: {noise}; absorption between galaxies: {self.igm}",
                f"redshifts {self.z_range[0]:g} to {self.z_range[1]:g}; {settings}",
                f"cubic splines: {'; '.join(splines) or 'none'}; tabulated templates: {n_tables}",
                f"lines: {', '.join(dict.fromkeys(lines)) or 'none'}",
            ]
        )
