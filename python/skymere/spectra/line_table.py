"""Fluxes and equivalent widths of lines, with the continuum below them."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Spectrum1D
from skymere.spectra.params import RedshiftParams
from skymere.spectra.problem import FWHM_OVER_SIGMA, UNIT, Parts, flambda_per_ujy
from skymere.spectra.templates import LineComplex

__all__ = ["LIGHT_KM_S", "LINE_SCHEMA", "line_table"]

_Array = NDArray[np.float64]

LIGHT_KM_S = 299792.458

LINE_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "line": pl.String,
    "members": pl.List(pl.Float64),
    "shares": pl.List(pl.Float64),
    "blend": pl.List(pl.String),
    "status": pl.String,
    "wave_rest": pl.Float64,
    "wave": pl.Float64,
    "flux": pl.Float64,
    "flux_err": pl.Float64,
    "flux_uJy_um": pl.Float64,
    "flux_uJy_um_err": pl.Float64,
    "continuum": pl.Float64,
    "continuum_err": pl.Float64,
    "ew": pl.Float64,
    "ew_err": pl.Float64,
    "snr": pl.Float64,
}


def line_table(
    spectrum: Spectrum1D,
    valid: NDArray[np.bool_],
    parts: Parts,
    z: float,
    *,
    coefficients: _Array,
    covariance: _Array,
    is_used: NDArray[np.bool_],
    design: _Array,
    params: RedshiftParams,
) -> tuple[pl.DataFrame, _Array]:
    """Return the table of `RedshiftFit.lines` and the covariance of its fluxes.

    Parameters
    ----------
    spectrum : Spectrum1D
        The spectrum.
    valid : ndarray, bool, shape (n,)
        Pixels that were used.
    parts : Parts
        The templates.
    z : float
        The redshift.
    coefficients : ndarray, float64, shape (m,)
        Factors of the templates.
    covariance : ndarray, float64, shape (m, m)
        Their covariance.
    is_used : ndarray, bool, shape (m,)
        Whether each is determined.
    design : ndarray, float64, shape (m, n)
        The templates.
    params : RedshiftParams
        How it was fitted.

    Notes
    -----
    Equivalent widths at rest are ``F / (f_c (1 + z))`` with the continuum ``f_c`` at the strongest line, and
    ``var = (var_F - 2 E cov + E^2 var_c) / f_c^2`` with ``E = F / f_c``, from the joint covariance.
    """
    wave = spectrum.wave
    low, high = wave[valid][0], wave[valid][-1]
    used_smooth = np.flatnonzero(is_used[: parts.n_smooth])
    rows: list[list[Any]] = []
    chosen: list[tuple[int, float]] = []
    extents: list[tuple[_Array, _Array]] = []
    for i, line in enumerate(parts.lines, parts.n_smooth):
        observed = line.main * (1.0 + z)
        if not (line.z_range[0] < z <= line.z_range[1] and low <= observed <= high):
            continue
        # The smooth templates at the line, between the two pixels around it.
        at = np.clip(np.searchsorted(wave, observed), 1, len(wave) - 1)
        part = (observed - wave[at - 1]) / (wave[at] - wave[at - 1])
        below = (1 - part) * design[: parts.n_smooth, at - 1] + part * design[: parts.n_smooth, at]
        level = float(below @ coefficients[: parts.n_smooth])
        below = below[used_smooth]
        level_var = float(below @ covariance[np.ix_(used_smooth, used_smooth)] @ below)
        flux, variance = coefficients[i], covariance[i, i]
        cross = float(below @ covariance[used_smooth, i])
        width = flux / level if level > 0 else np.nan
        width_var = (variance - 2 * width * cross + width**2 * level_var) / level**2 if level > 0 else np.nan
        if not is_used[i]:
            status, flux = "undetermined", np.nan
        else:
            status = "at_bound" if params.non_negative != "none" and flux == 0 else "ok"
        err = np.sqrt(variance)
        in_ujy, to_angstrom = flambda_per_ujy(observed), 1e4 / (1.0 + z)
        values = [flux * UNIT, err * UNIT, flux / in_ujy, err / in_ujy, level / in_ujy, np.sqrt(level_var) / in_ujy]
        widths = [width * to_angstrom, np.sqrt(np.maximum(width_var, 0.0)) * to_angstrom]
        rows.append(
            [
                line.name,
                list(line.wave),
                list(line.parts),
                [],
                status,
                line.main,
                observed,
                *map(float, [*values, *widths, flux / err]),
            ]
        )
        chosen.append((i, observed))
        extents.append(_extents(line, spectrum, z, params))
    for k, row in enumerate(rows):
        row[3] = [rows[o][0] for o in range(len(rows)) if o != k and _overlap(extents[k], extents[o])]
    order = np.argsort([line_wave for _, line_wave in chosen], kind="stable")
    table = pl.DataFrame([rows[k] for k in order], schema=LINE_SCHEMA, orient="row")
    index = [chosen[k][0] for k in order]
    return table, covariance[np.ix_(index, index)] * UNIT**2


def _extents(line: LineComplex, spectrum: Spectrum1D, z: float, params: RedshiftParams) -> tuple[_Array, _Array]:
    """Return observed wavelengths and full widths at half maximum of the lines of a complex [um]."""
    wave = np.array(line.wave) * (1.0 + z)
    fwhm = line.fwhm_km_s if line.fwhm_km_s is not None else params.vel_width * FWHM_OVER_SIGMA
    power = np.full(wave.shape, np.inf)
    if spectrum.resolution is not None:
        power = np.interp(wave, spectrum.wave, spectrum.resolution) * params.scale_disp
    return wave, wave * np.hypot(fwhm / LIGHT_KM_S, 1.0 / power)


def _overlap(a: tuple[_Array, _Array], b: tuple[_Array, _Array]) -> bool:
    """Return whether a line of one is nearer to a line of the other than half of the sum of their widths."""
    apart = np.abs(np.subtract.outer(a[0], b[0]))
    return bool((apart < 0.5 * np.add.outer(a[1], b[1])).any())
