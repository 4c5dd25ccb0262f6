"""Which spectra of slits are fitted with a redshift, and how, as a plan asks for it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Spectrum1D
from skymere.errors import SkymereError
from skymere.io import Pack, read_dispersion
from skymere.lake import Lake
from skymere.pipeline.slit_plan import RedshiftsPlan
from skymere.spectra import RedshiftFit, Template, fit_redshift, grating_templates, prism_templates

__all__ = ["Dispersion", "chosen_spectra", "fit_slit_spectrum", "slit_dispersion", "slit_templates"]

Dispersion = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Wavelengths [um], and the resolving power there."""


def chosen_spectra(lake: Lake, plan: RedshiftsPlan) -> pl.DataFrame:
    """Return the spectrum of each source that is fitted, ordered by source."""
    order = {grating.lower(): k for k, grating in enumerate(plan.gratings)}
    table = lake.table("slit_spectrum").filter(
        pl.col("status") == "ok", pl.col("ra").is_not_null(), pl.col("grating").is_in(list(order))
    )
    rank = pl.col("grating").replace_strict(order, default=None, return_dtype=pl.Int64)
    chosen = table.with_columns(rank=rank).sort(
        "source_id", "rank", "snr", "spectrum_id", descending=[False, False, True, False]
    )
    return chosen.unique("source_id", keep="first", maintain_order=True).drop("meta").collect()


def slit_dispersion(pack: Pack, grating: str) -> Dispersion:
    """Return the resolving power of a grating.

    Raises
    ------
    NotFoundError
        When the pack does not have it.
    """
    table = read_dispersion(pack.path(f"jwst_nirspec_{grating}_disp.fits"))
    return table["wavelength"].to_numpy(), table["resolution"].to_numpy()


def slit_templates(plan: RedshiftsPlan, grating: str) -> tuple[Template, ...]:
    """Return what spectra of a grating are fitted with."""
    return (prism_templates if grating == "prism" else grating_templates)(n_splines=plan.n_splines)


def fit_slit_spectrum(
    plan: RedshiftsPlan, grating: str, arrays: Mapping[str, NDArray[Any]], dispersion: Dispersion
) -> RedshiftFit | str:
    """Return the fit to a spectrum, or why there is none.

    Parameters
    ----------
    plan : RedshiftsPlan
        The section.
    grating : str
        Lower case.
    arrays : mapping of str to ndarray
        What `skymere.datamodels.Spectrum1D` takes.
    dispersion : Dispersion
        From `slit_dispersion`.
    """
    try:
        known: Mapping[str, Any] = {**arrays, "resolution": np.interp(arrays["wave"], *dispersion)}
        spectrum = Spectrum1D(**known)
        return fit_redshift(spectrum, templates=slit_templates(plan, grating), z_range=plan.z_range, params=plan.params)
    except (SkymereError, np.linalg.LinAlgError) as error:
        return f"{type(error).__name__}: {error}"
