"""Fake sources behind the slits of a lake, and the redshifts, lines and sizes that come out of their spectra."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Slitlet
from skymere.errors import NoDataError, NotFoundError, SkymereError
from skymere.io import Pack
from skymere.lake import Lake
from skymere.pipeline.injection.params import InjectParams
from skymere.pipeline.injection.randoms import draw_uniform
from skymere.pipeline.injection.slit_light import Emission, add_to_slits, light_on_files, line_widths
from skymere.pipeline.injection.summary import Quantity
from skymere.pipeline.plan import Plan
from skymere.pipeline.slit_fits import (
    Dispersion,
    chosen_spectra,
    fit_slit_spectrum,
    slit_dispersion,
    slit_templates,
)
from skymere.pipeline.slit_plan import plan_pack
from skymere.pipeline.slit_rows import fitted_width
from skymere.slit import CombinedSpectrum, SlitExtraction, SlitGroup, extract_spectra
from skymere.spectra import LineComplex, RedshiftFit

__all__ = ["LINE_RATIOS", "RIGHT", "SlitWork", "inject_slit", "slit_quantities", "too_large"]

# Fluxes of lines over that of H alpha, as in a star-forming galaxy without dust (Ha / Hb of case B), with [NII] at a
# third of it. Spectra in which these are one line have their sum.
LINE_RATIOS: Mapping[str, float] = {"Ha": 1.0, "NII": 1 / 3, "Ha+NII": 4 / 3, "OIII": 0.8, "OII": 0.9, "Hb": 0.35}
# A redshift is right within so much of 1 + z.
RIGHT = 0.002
_UNIT = 1e-17
# Half-light radius of a Gaussian of sigma 1.
_HALF = float(np.sqrt(2 * np.log(2)))
# Sources lie so far from the trace of the slit's own at most [pix].
_OFFSET = 0.15
# Points of a spectrum that are nearer than this to a line are no continuum [sigma of the line].
_NEAR = 6.0
# Larger half-light radii are beyond what widths of sources are fitted with [arcsec].
_LARGEST = 0.2


@dataclass(frozen=True, kw_only=True, eq=False)
class SlitWork:
    """What a process needs to inject into slits.

    Parameters
    ----------
    plan : Plan
        Parameters of combination, extraction and fits.
    lake : Path
        The lake.
    params : InjectParams
        What is injected.
    hosts : tuple of (int, str, str)
        Identifier, grating and filter of the sources whose slits are taken.
    """

    plan: Plan
    lake: Path
    params: InjectParams
    hosts: tuple[tuple[int, str, str], ...]

    @classmethod
    def of(cls, plan: Plan, lake: Lake, params: InjectParams) -> "SlitWork":
        """Return the work of a lake.

        Raises
        ------
        NotFoundError
            When the plan has no slits.
        NoDataError
            When no source has a spectrum of slits and a redshift.
        """
        if not plan.slits.files:
            msg = "through: 'slits' is not allowed, the plan has no files in the section slits"
            raise NotFoundError(msg)
        is_fitted = (pl.col("method") == "slit") & pl.col("redshift_row").is_not_null()
        fitted = set(lake.table("redshift").filter(is_fitted).collect()["source_id"].to_list())
        rows = chosen_spectra(lake, plan.redshifts).select("source_id", "grating", "band")
        hosts = tuple(row for row in rows.iter_rows() if row[0] in fitted)
        if not hosts:
            msg = f"{lake.path}: no source has a redshift from slits, from which its own light is known"
            raise NoDataError(msg)
        return cls(plan=plan, lake=Path(str(lake.path)), params=params, hosts=hosts)


def too_large(params: InjectParams) -> str:
    """Return what is to be kept in mind of the sizes that are asked for; empty when they can be fitted."""
    if params.size_arcsec[1] <= _LARGEST:
        return ""
    return (
        f"size_arcsec: {params.size_arcsec} reaches beyond {_LARGEST} arcsec: wider sources reach into the other nods, "
        "and their widths are not fitted"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Host:
    """The slits of a source without its own light, where a source is in them, and the noise of its spectrum."""

    slits: list[Slitlet]
    groups: list[SlitGroup]
    err: NDArray[np.float64]
    pack: Pack
    dispersion: Dispersion
    lines: Mapping[str, LineComplex]


def inject_slit(work: SlitWork, number: int) -> pl.DataFrame:
    """Return what combination, extraction and fit make of one fake source.

    Parameters
    ----------
    work : SlitWork
        Lake and parameters.
    number : int
        Which source.

    Returns
    -------
    polars.DataFrame
        One row. ``status`` is ``found`` when the redshift is right within 0.002 (1 + z), else ``missed``, or ``failed``
        with the reason in ``message``.

    Notes
    -----
    The slits are those of a source of the lake without its own light (that of the fit to its spectrum): noise, sky and
    bad pixels stay. The source is a Gaussian behind the PSF, follows the nods, loses the light that the slit cuts off,
    and has a spectrum flat in f_nu with lines of fixed ratios and the Poisson noise of its own light.
    """
    params, run = work.params, f"inject/{work.params.seed}/slits"
    at = int(draw_uniform(run, number, "host", 0, len(work.hosts)))
    source_id, grating, _ = work.hosts[at]
    mag = draw_uniform(run, number, "mag", *params.mag)
    line_flux = float(np.exp(draw_uniform(run, number, "line_flux", *np.log(params.line_flux))))
    truth: dict[str, Any] = {
        "object": number,
        "host_id": source_id,
        "grating": grating,
        "true_redshift": draw_uniform(run, number, "redshift", *params.redshift),
        "true_mag": mag,
        "true_r_eff": float(np.exp(draw_uniform(run, number, "r_eff", *np.log(params.size_arcsec)))),
        "true_offset": draw_uniform(run, number, "offset", -_OFFSET, _OFFSET),
        "true_line_flux": line_flux,
        "true_flux_continuum": 10.0 ** (-0.4 * (mag - 23.9)),
        "is_on_source": False,
    }
    truth |= {f"true_flux_{name}": line_flux * ratio for name, ratio in LINE_RATIOS.items()}
    measured = _measured(work, at, truth, run)
    blank: dict[str, Any] = dict.fromkeys(("redshift", "redshift_err", "r_eff", "r_eff_err", "flux_continuum"))
    blank |= dict.fromkeys(f"{kind}_{name}" for name in LINE_RATIOS for kind in ("flux", "flux_err"))
    return _frame(truth | blank | {"message": ""} | measured)


def _measured(work: SlitWork, at: int, truth: Mapping[str, Any], run: str) -> dict[str, Any]:
    """Return what is measured of a fake source, and its status."""
    plan, (_, grating, filter_name) = work.plan, work.hosts[at]
    host = _host(work, at)
    if isinstance(host, str):
        return {"status": "failed", "message": host}
    emission = _emission(truth, host.lines)
    light: dict[str, NDArray[np.float64]] = {}
    for group in host.groups:
        size = truth["true_r_eff"] / _HALF / group.slit_pixel_scale
        stamps = light_on_files(
            group,
            emission,
            size=size,
            offset=truth["true_offset"],
            dispersion=host.dispersion,
            params=plan.redshifts.params,
        )
        light |= {one.exposure.exposure_id: stamp for one, stamp in zip(group.slits, stamps, strict=True)}
    slits = add_to_slits(host.slits, light, run=run, i_object=truth["object"])
    try:
        made = extract_spectra(slits, pack=host.pack, **plan.slits.arguments())
    except (SkymereError, np.linalg.LinAlgError) as error:
        return {"status": "failed", "message": f"{type(error).__name__}: {error}"}
    spectrum = made.spectra.get(f"{grating}-{filter_name}")
    if spectrum is None:
        return {"status": "failed", "message": _why(made)}
    group = made.groups[made.members[f"{grating}-{filter_name}"][0]]
    to_arcsec = _HALF * group.slit_pixel_scale
    width, width_err = fitted_width(group)
    found: dict[str, Any] = {"r_eff": to_arcsec * width, "r_eff_err": to_arcsec * width_err}
    found["flux_continuum"] = _continuum(spectrum, emission, host, work)
    fit = _fit(work, grating, spectrum, host.dispersion)
    if isinstance(fit, str):
        return found | {"status": "failed", "message": fit}
    if not np.isfinite(fit.z):
        return found | {"status": "missed", "message": fit.status}
    z = truth["true_redshift"]
    low, high = fit.percentiles[1], fit.percentiles[3]
    found |= {"redshift": fit.z, "redshift_err": (high - low) / 2}
    for row in fit.lines.filter(pl.col("status") == "ok").iter_rows(named=True):
        name = row["line"]
        if name in LINE_RATIOS:
            found |= {f"flux_{name}": row["flux"] / _UNIT, f"flux_err_{name}": row["flux_err"] / _UNIT}
    return found | {"status": "found" if abs(fit.z - z) < RIGHT * (1 + z) else "missed"}


@lru_cache(maxsize=16)
def _host(work: SlitWork, at: int) -> _Host | str:
    """Return the slits of a source without its own light, or why that cannot be told."""
    plan, (source_id, grating, filter_name) = work.plan, work.hosts[at]
    pack = plan_pack(plan.slits, plan.folder)
    dispersion = slit_dispersion(plan_pack(plan.redshifts, plan.folder), grating)
    every = Lake.open(work.lake).raw_slitlets(source_id=[source_id], grating=grating)
    slits = [one for one in every if one.exposure.filter.lower() == filter_name]
    name = f"{grating}-{filter_name}"
    try:
        made = extract_spectra(slits, pack=pack, **plan.slits.arguments())
    except (SkymereError, np.linalg.LinAlgError) as error:
        return f"the source of these slits: {type(error).__name__}: {error}"
    if name not in made.spectra:
        return f"the source of these slits: {_why(made)}"
    spectrum = made.spectra[name]
    fit = _fit(work, grating, spectrum, dispersion)
    if isinstance(fit, str) or not np.isfinite(fit.z):
        return f"the source of these slits: {fit if isinstance(fit, str) else fit.status}"
    groups = [made.groups[key] for key in made.members[name]]
    templates = slit_templates(plan.redshifts, grating)
    lines = {one.name: one for one in templates if isinstance(one, LineComplex)}
    clean = {
        one.exposure.exposure_id: one
        for group in groups
        for one in _without_source(group, _own_emission(spectrum, fit, lines), dispersion, work)
    }
    # What is in no spectrum stays out: no place of a source is known there.
    kept = [clean[one.exposure.exposure_id] for one in slits if one.exposure.exposure_id in clean]
    return _Host(
        slits=kept,
        groups=groups,
        err=spectrum.err,
        pack=pack,
        dispersion=dispersion,
        lines={key: lines[key] for key in LINE_RATIOS if key in lines},
    )


def _own_emission(spectrum: CombinedSpectrum, fit: RedshiftFit, lines: Mapping[str, LineComplex]) -> Emission:
    known = np.isfinite(fit.continuum)
    rows = fit.lines.filter(pl.col("status") == "ok")
    own = {lines[name]: flux for name, flux in rows.select("line", "flux").iter_rows()}
    return Emission(
        wave=spectrum.wave_mean[known], continuum=np.asarray(fit.continuum[known]), lines=own, redshift=fit.z
    )


def _without_source(group: SlitGroup, emission: Emission, dispersion: Dispersion, work: SlitWork) -> list[Slitlet]:
    """Return the slits of a group without the light of their source; variances keep its photons, whose noise stays."""
    width, _ = fitted_width(group)
    light = light_on_files(
        group, emission, size=width, offset=0.0, dispersion=dispersion, params=work.plan.redshifts.params
    )
    return [
        replace(one, sci=np.asarray(one.sci - own, np.float32)) for one, own in zip(group.slits, light, strict=True)
    ]


def _emission(truth: Mapping[str, Any], lines: Mapping[str, LineComplex]) -> Emission:
    wave = np.array([0.1, 10.0])
    return Emission(
        wave=wave,
        continuum=np.full(wave.shape, truth["true_flux_continuum"]),
        lines={line: truth[f"true_flux_{name}"] * _UNIT for name, line in lines.items()},
        redshift=truth["true_redshift"],
    )


def _continuum(spectrum: CombinedSpectrum, emission: Emission, host: _Host, work: SlitWork) -> float | None:
    """Return the mean of a spectrum between the lines, weighted by the noise of the slits without the source."""
    widths = line_widths(spectrum.wave, host.dispersion, work.plan.redshifts.params) * spectrum.wave
    used = np.isfinite(spectrum.flux) & np.isfinite(host.err) & (host.err > 0)
    step = np.gradient(spectrum.wave)
    for line in emission.lines:
        for rest in line.wave:
            used &= np.abs(spectrum.wave - rest * (1 + emission.redshift)) > _NEAR * np.hypot(widths, step)
    if not used.any():
        return None
    return float(np.average(spectrum.flux[used], weights=host.err[used] ** -2))


def _fit(work: SlitWork, grating: str, spectrum: CombinedSpectrum, dispersion: Dispersion) -> RedshiftFit | str:
    arrays: dict[str, Any] = {
        "wave": spectrum.wave_mean,
        "spread": spectrum.wave_spread,
        "flux": spectrum.flux,
        "err": spectrum.err,
        "covariance": spectrum.covariance,
    }
    return fit_slit_spectrum(work.plan.redshifts, grating, arrays, dispersion)


def _why(made: SlitExtraction) -> str:
    rows = made.status.filter(pl.col("status") != "ok").select("group", "status", "message").iter_rows()
    return "; ".join(f"{group}: {status}: {message}" for group, status, message in rows)


def _frame(row: Mapping[str, Any]) -> pl.DataFrame:
    floats = ("flux", "redshift", "r_eff")
    return pl.DataFrame([row], schema_overrides={k: pl.Float64 for k in row if any(name in k for name in floats)})


def slit_quantities() -> Iterator[Quantity]:
    """Yield what is compared: redshifts that are right, the fluxes of lines, continua and sizes.

    Continua and sizes have a bias and no pulls: what the noise adds to those of the source whose slits are taken has
    gone with its light.
    """
    yield Quantity(name="redshift", measured="redshift", error="redshift_err", truth="true_redshift", is_relative=False)
    for name in LINE_RATIOS:
        yield Quantity(
            name=f"flux_{name}", measured=f"flux_{name}", error=f"flux_err_{name}", truth=f"true_flux_{name}"
        )
    yield Quantity(name="flux_continuum", measured="flux_continuum", truth="true_flux_continuum")
    yield Quantity(name="r_eff", measured="r_eff", truth="true_r_eff")
