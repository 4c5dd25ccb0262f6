"""Fake galaxies with emission lines behind the grisms of a lake, and the redshifts and lines fitted to them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import NoDataError, NotFoundError
from skymere.grism import BeamModel, FittedModel, MultiBeam
from skymere.lake import Lake
from skymere.pipeline.grism_fits import FitTemplates, fit_sets, fitted_beams, model_of_row, stored_row, try_fit
from skymere.pipeline.injection.params import InjectParams
from skymere.pipeline.injection.randoms import draw_uniform, random_stream
from skymere.pipeline.injection.summary import Quantity
from skymere.pipeline.plan import Plan

__all__ = ["LINE_RATIOS", "RIGHT", "BeamWork", "beam_quantities", "inject_beam"]

# Fluxes of lines over that of H alpha, as in a star-forming galaxy without dust (Ha / Hb of case B).
LINE_RATIOS: Mapping[str, float] = {"Ha": 1.0, "OIII": 0.8, "OII": 0.9, "Hb": 0.35}
# A redshift is right within so much of 1 + z.
RIGHT = 0.002
_UNIT = 1e-17
# Flux density of AB magnitude 0 [erg / s / cm2 / Hz], and the speed of light [Angstrom / s].
_ZERO, _LIGHT = 10.0 ** (-0.4 * 48.6), 2.99792458e18


@dataclass(frozen=True, kw_only=True)
class BeamWork:
    """What a process needs to inject into beams.

    Parameters
    ----------
    plan : Plan
        Parameters of the fits.
    lake : Path
        The lake.
    params : InjectParams
        What is injected.
    hosts : tuple of int
        Sources whose beams are taken.
    """

    plan: Plan
    lake: Path
    params: InjectParams
    hosts: tuple[int, ...]

    @classmethod
    def of(cls, plan: Plan, lake: Lake, params: InjectParams) -> "BeamWork":
        """Return the work of a lake.

        Raises
        ------
        NotFoundError
            When the plan has no templates.
        NoDataError
            When no source has beams and a fit to them.
        """
        if not plan.redshifts.grism.templates:
            msg = "through: 'beams' is not allowed, the plan has no templates in the section redshifts.grism"
            raise NotFoundError(msg)
        fitted = lake.table("redshift").filter(pl.col("method") == "grism", pl.col("redshift_row").is_not_null())
        hosts = sorted(fitted.collect()["source_id"].to_list())
        if not hosts:
            msg = f"{lake.path}: no source has a redshift from beams, from which its own light is known"
            raise NoDataError(msg)
        return cls(plan=plan, lake=Path(str(lake.path)), params=params, hosts=tuple(hosts))


def inject_beam(work: BeamWork, number: int) -> pl.DataFrame:
    """Return what the fits say of one fake galaxy.

    Parameters
    ----------
    work : BeamWork
        Lake and parameters.
    number : int
        Which galaxy.

    Returns
    -------
    polars.DataFrame
        One row. ``status`` is ``found`` when the redshift is right within 0.002 (1 + z), else ``missed``, or ``failed``
        with the reason in ``message``.

    Notes
    -----
    The beams are those of a source of the lake without its own light (that of the fit in the lake): noise, flags and
    the light of neighbours that no model took stay. The galaxy has the shape of that source in the direct image, a
    spectrum flat in f_nu and lines of fixed ratios, dispersed as the grism does it, with the Poisson noise of its own
    electrons.
    """
    params, run = work.params, f"inject/{work.params.seed}/beams"
    lake = Lake.open(work.lake)
    sets = fit_sets(work.plan.redshifts.grism, work.plan.folder)
    host = work.hosts[int(draw_uniform(run, number, "host", 0, len(work.hosts)))]
    truth: dict[str, Any] = {
        "object": number,
        "host_id": host,
        "true_redshift": draw_uniform(run, number, "redshift", *params.redshift),
        "true_mag": draw_uniform(run, number, "mag", *params.mag),
        "true_line_flux": float(np.exp(draw_uniform(run, number, "line_flux", *np.log(params.line_flux)))),
        "is_on_source": False,
    }
    truth |= {f"true_flux_{name}": truth["true_line_flux"] * ratio for name, ratio in LINE_RATIOS.items()}
    blank: dict[str, Any] = {"message": "", "redshift": None, "redshift_err": None}
    blank |= {f"{column}_{name}": None for name in LINE_RATIOS for column in ("flux", "flux_err")}
    multibeam = _without_host(lake, host, sets)
    stamped = MultiBeam([_with_light(one, i, truth, sets, run) for i, one in enumerate(multibeam.beams)])
    fit = try_fit(stamped, sets, work.plan.redshifts.grism)
    if isinstance(fit, str):
        return _frame(truth | blank | {"status": "failed", "message": fit})
    z = float(fit.redshift.z_map)
    if not np.isfinite(z):
        return _frame(truth | blank | {"status": "missed", "message": fit.search.status})
    low, high = fit.redshift.z_percentiles[1], fit.redshift.z_percentiles[3]
    is_right = abs(z - truth["true_redshift"]) < RIGHT * (1 + truth["true_redshift"])
    measured: dict[str, Any] = {"redshift": z, "redshift_err": float(high - low) / 2}
    for row in fit.lines.iter_rows(named=True) if fit.lines.height else ():
        if row["line"] in LINE_RATIOS and row["status"] == "ok":
            measured |= {f"flux_{row['line']}": row["flux"] / _UNIT, f"flux_err_{row['line']}": row["flux_err"] / _UNIT}
    return _frame(truth | blank | measured | {"status": "found" if is_right else "missed"})


def _without_host(lake: Lake, host: int, sets: FitTemplates) -> MultiBeam:
    """Return the beams of a source without its own light."""
    row, arrays = stored_row(lake, host)
    model = model_of_row(row, arrays, sets)
    multibeam = fitted_beams(lake.beams(host), row)
    found = []
    for i, one in enumerate(multibeam.beams):
        light = _dispersed(one, model) * model.scales.get(one.grism_name, 1.0)
        if len(model.backgrounds) == multibeam.N:
            light = light + model.backgrounds[i]
        found.append(one.with_beam(replace(one.beam, sci=np.asarray(one.beam.sci - light, np.float32))))
    return MultiBeam(found)


def _dispersed(one: BeamModel, model: FittedModel) -> NDArray[np.float64]:
    light = one.compute_model(*model.continuum_spectrum())
    for name, (flux, _) in model.line_fluxes.items():
        if flux != 0.0:
            wave, shape = model.line_shape(name)
            light = light + flux * one.compute_model(wave, shape)
    return light


def _with_light(one: BeamModel, i: int, truth: Mapping[str, Any], sets: FitTemplates, run: str) -> BeamModel:
    """Return a beam with the light of a fake galaxy and its noise."""
    wave = np.linspace(0.2, 6.0, 2901)
    flat = _ZERO * 10.0 ** (-0.4 * truth["true_mag"]) * _LIGHT / (wave * 1e4) ** 2
    names = {line.name for line in sets.lines.lines}
    fluxes = {name: truth[f"true_flux_{name}"] * _UNIT for name in LINE_RATIOS if name in names}
    light = one.compute_model(wave, flat) + _dispersed(
        one, FittedModel(z=truth["true_redshift"], templates=sets.lines, coefficients=fluxes)
    )
    beam = one.beam
    own = np.maximum(light, 0.0) / beam.exptime if np.isfinite(beam.exptime) else np.zeros(light.shape)
    grain = random_stream(run, truth["object"], f"noise/{i}").standard_normal(light.shape)
    sci = np.asarray(beam.sci + light + np.sqrt(own) * grain, np.float32)
    # A pixel without an error has none after.
    err = np.where(beam.err > 0, np.hypot(beam.err, np.sqrt(own)), beam.err).astype(np.float32)
    return one.with_beam(replace(beam, sci=sci, err=err))


def _frame(row: Mapping[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([row], schema_overrides={k: pl.Float64 for k in row if "flux" in k or "redshift" in k})


def beam_quantities() -> Iterator[Quantity]:
    """Yield what is compared: redshifts that are right, and the fluxes of their lines."""
    yield Quantity(name="redshift", measured="redshift", error="redshift_err", truth="true_redshift", is_relative=False)
    for name in LINE_RATIOS:
        yield Quantity(
            name=f"flux_{name}", measured=f"flux_{name}", error=f"flux_err_{name}", truth=f"true_flux_{name}"
        )
