"""Rows and arrays of the products of slits: ``slitlet``, ``pixel_table`` and ``slit_spectrum``."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Slitlet
from skymere.lake import Run, write_ragged
from skymere.lake.forms import table_dtypes
from skymere.lake.slits import describe_slitlet, describe_spectrum, raw_planes
from skymere.pipeline.slit_units import SlitMember, SlitUnit, short_name, stable_id
from skymere.pipeline.slit_work import UnitResult
from skymere.slit import SLIT_FLAG_BITS, CombinedSpectrum, SlitGroup, cross_section

__all__ = [
    "fitted_width",
    "item_rows",
    "spectrum_columns",
    "spectrum_planes",
    "write_pixels",
    "write_slitlets",
    "write_spectra",
]

_F4, _F8 = np.dtype(np.float32), np.dtype(np.float64)
_PLANES: Mapping[str, tuple[str, Any]] = {
    "sci": ("sci", _F4),
    "var_rnoise": ("var_rnoise", _F4),
    "var_poisson": ("var_poisson", _F4),
    "var_sky": ("var_sky", _F4),
    "var_total": ("var_total", _F4),
    "sky": ("sky_background", _F4),
    "dq": ("dq", np.dtype(np.uint32)),
    "flags": ("flags", np.dtype(np.uint32)),
    "mask": ("mask", np.dtype(np.uint8)),
    "bkg_mask": ("bkg_mask", np.dtype(np.uint8)),
    "xslit": ("xslit", _F8),
    "yslit": ("yslit", _F8),
    "yslit_orig": ("yslit_orig", _F8),
    "ypix": ("ypix", _F8),
    "wavelength": ("wave", _F8),
    "dwave_dx": ("dwave_dx", _F8),
    "bar": ("bar", _F4),
    "orig_bar": ("orig_bar", _F4),
    "phot_corr": ("phot_corr", _F4),
    "pathloss_corr": ("pathloss_corr", _F4),
}
_TRACES = {"xtr": "xtr", "ytr": "ytr", "wtr": "wtr"}
_POINTS: Mapping[str, tuple[str, Any]] = {
    "wavelength": ("wave", _F8),
    "flux": ("flux", _F4),
    "flux_err": ("err", _F4),
    "sky": ("sky", _F4),
    "path_corr": ("path_corr", _F4),
    "norm_corr": ("norm_corr", _F4),
    "npix": ("npix", np.dtype(np.int32)),
    "flux_sum": ("flux_sum", _F4),
    "profile_sum": ("profile_sum", _F4),
    "var_sum": ("var_sum", _F4),
    "resolution": ("resolution", _F4),
    "wavelength_mean": ("wave_mean", _F8),
    "wavelength_spread": ("wave_spread", _F8),
}


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def write_slitlets(run: Run, results: Sequence[UnitResult]) -> None:
    """Publish the slitlets of units: as files have them, corrected, and with the traces that were fitted.

    Parameters
    ----------
    run : Run
        A run of the product ``slitlet``.
    results : sequence of UnitResult
        The units.
    """
    rows: list[dict[str, Any]] = []
    planes: dict[str, dict[str, list[NDArray[Any]]]] = {}

    def add(axis: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        for name, array in arrays.items():
            planes.setdefault(axis, {}).setdefault(name, []).append(array)

    n = 0
    units: list[str] = []
    bits: dict[str, int] = {}
    for result in results:
        names = {id(one): name for name, one in result.slits.items()}
        where = {
            names[id(one)]: (key, group, i) for key, group in result.groups.items() for i, one in enumerate(group.slits)
        }
        for member in result.unit.members:
            row = _member_row(result.unit, member)
            found = where.get((member.path, member.slit_name))
            if found is None:
                why = result.faults.get((member.path, member.slit_name), result.message)
                rows.append(row | {"status": "failed", "message": why})
                continue
            key, group, i = found
            one = group.slits[i]
            rows.append(row | _slitlet_row(key, group, i) | {"status": "ok", "slitlet_row": n})
            add("pixel", _planes(group, i))
            add("raw", raw_planes(one))
            add("slope", {"wavelength_slope": one.geometry.wavelength_slope})
            add("trace", {name: np.asarray(getattr(group, of)[i], _F8) for name, of in _TRACES.items()})
            add("base", {"base_coeffs": np.asarray(group.base_coeffs[i], _F8)})
            add("coeffs", {"trace_coeffs": np.asarray(group.trace_coeffs[i], _F8)})
            units.append(one.unit)
            bits = dict(one.dq_bits)
            n += 1
    good = [row for row in rows if row["status"] == "ok"]
    run.write("slitlet_id", np.array([row["slitlet_id"] for row in good], np.int64))
    run.write("source_id", np.array([row["source_id"] for row in good], np.int64))
    # One unit stands for an array; that of each slitlet is in its row.
    unit = units[0] if len(set(units)) == 1 else ""
    variances = dict.fromkeys(("raw_var_rnoise", "raw_var_poisson", "raw_var_flat"), f"({unit})^2" if unit else "")
    for axis in planes.values():
        write_ragged(run, axis, unit={"raw_sci": unit, **variances})
    run.annotate("", {"dq_bits": bits, "flag_bits": dict(SLIT_FLAG_BITS)})
    run.publish(run.frame(rows))


def _member_row(unit: SlitUnit, member: SlitMember) -> dict[str, Any]:
    """Return what is known of a slit without its pixels."""
    return {
        "source_id": unit.source_id,
        "slitlet_id": stable_id("slitlet", member.exposure_id, member.slit_name, unit.source_name, *member.told_apart),
        "ra": _finite(unit.ra),
        "dec": _finite(unit.dec),
        "exposure_id": member.exposure_id,
        "group_id": unit.name,
        "source_name": short_name(unit.source_name),
        "grating": unit.grating,
        "band": unit.filter,
        "slit_name": member.slit_name,
        "is_background": not math.isfinite(unit.ra),
        "is_reference": False,
        "ny": 0,
        "nx": 0,
        "x0": 0,
        "y0": 0,
        "undo_barshadow": 0,
        "path": member.path,
        "sha256": member.sha256,
        "wcs": "{}",
        "meta": "{}",
        "flags": 0,
    }


def _slitlet_row(key: str, group: SlitGroup, i: int) -> dict[str, Any]:
    """Return what a group says of one of its exposures."""
    one: Slitlet = group.slits[i]
    exposure, place, source = one.exposure, one.place, one.source
    ny, nx = group.sh
    applied = group.applied.row(i, named=True)
    meta = {
        "slitlet": describe_slitlet(one),
        "state": {name: value for name, value in group.meta.items() if isinstance(value, bool | int | str)},
        "status": group.meta["status"],
        "applied": {name: value for name, value in applied.items() if isinstance(value, bool | int | str)},
    }
    scale = group.slit_pixel_scale
    with np.errstate(all="ignore"):
        normalization = group.normalization[i][group.mask[i]]
    return {
        "group_id": short_name(key),
        "program": exposure.program[:16],
        "instrument": exposure.instrument[:32],
        "detector": exposure.detector[:32],
        "lamp_mode": exposure.lamp_mode[:32],
        "quadrant": place.quadrant or None,
        "shutter_state": place.shutter_state[:64],
        "position_number": exposure.position_number or None,
        "y_index": _finite(round(exposure.y_offset / scale, 1)),
        "x_offset": _finite(exposure.x_offset),
        "y_offset": _finite(exposure.y_offset),
        "x_position": _finite(source.x_position),
        "y_position": _finite(source.y_position),
        "is_background": one.is_background,
        "is_reference": bool(group.unp.keys[i] == group.calc_reference_exposure),
        "exptime": _finite(exposure.exptime),
        "pa": _finite(exposure.position_angle),
        "ny": ny,
        "nx": nx,
        "x0": place.x0,
        "y0": place.y0,
        "pixel_area_sr": _finite(one.pixel_area_sr),
        "pixel_scale_arcsec": _finite(scale),
        "shutter_scale": _finite(group.slit_shutter_scale),
        "shutter_offset": _finite(float(group.meta["shutter_offset"])),
        "normalization": _finite(float(np.median(normalization))) if normalization.size else None,
        "undo_barshadow": int(group.prepare.undo_barshadow),
        "n_valid": int(group.mask[i].sum()),
        "meta": json.dumps(meta, sort_keys=True),
    }


def _planes(group: SlitGroup, i: int) -> dict[str, NDArray[Any]]:
    """Return the corrected arrays of an exposure."""
    made = {
        name: np.asarray(np.asarray(getattr(group, attribute))[i], dtype).reshape(group.sh)
        for name, (attribute, dtype) in _PLANES.items()
    }
    return made | {"var": made["var_rnoise"] + made["var_poisson"]}


def write_pixels(run: Run, results: Sequence[UnitResult]) -> None:
    """Publish the tables of pixels of the units that have a spectrum.

    Parameters
    ----------
    run : Run
        A run of the product ``pixel_table``.
    results : sequence of UnitResult
        The units.
    """
    frames = [_pixel_rows(one.unit, one) for one in results if one.spectrum is not None]
    run.publish(run.fit(pl.concat(frames)) if frames else run.frame([]))


def _pixel_rows(unit: SlitUnit, result: UnitResult) -> pl.DataFrame:
    spectrum = result.spectrum
    assert spectrum is not None
    known = _slitlets_in(result)
    exposures = pl.DataFrame(
        {
            "exposure_index": np.arange(len(known)),
            "exposure_id": [member.exposure_id for member, _ in known],
            "slitlet_id": [_member_row(unit, member)["slitlet_id"] for member, _ in known],
            "group_id": [short_name(key) for _, key in known],
        }
    )
    return (
        spectrum.pixels.join(exposures, on="exposure_index", how="left", maintain_order="left")
        .rename({"wave": "wavelength", "pathloss": "path_loss", "pixel_index": "pixel"})
        .with_columns(
            source_id=pl.lit(unit.source_id, pl.Int64),
            grating=pl.lit(unit.grating),
            mask=pl.lit(True),  # noqa: FBT003
        )
    )


def _slitlets_in(result: UnitResult) -> list[tuple[SlitMember, str]]:
    """Return the slits of a spectrum in the order in which its pixels count exposures, and their groups."""
    by_name = {(member.path, member.slit_name): member for member in result.unit.members}
    names = {id(one): name for name, one in result.slits.items()}
    return [(by_name[names[id(one)]], key) for key in result.members for one in result.groups[key].slits]


def write_spectra(run: Run, results: Sequence[UnitResult], *, weight_type: str) -> None:
    """Publish the combined spectra of units; one that has none is a row with the reason.

    Parameters
    ----------
    run : Run
        A run of the product ``slit_spectrum``.
    results : sequence of UnitResult
        The units.
    weight_type : str
        Weights of the combination.
    """
    rows: list[dict[str, Any]] = []
    planes: dict[str, dict[str, list[NDArray[Any]]]] = {}
    for result in results:
        row = _spectrum_row(result) | {"weight_kind": weight_type}
        if result.spectrum is not None:
            row["spectrum_row"] = len(planes.get("point", {}).get("flux", []))
            slitlets = [_member_row(result.unit, member)["slitlet_id"] for member, _ in _slitlets_in(result)]
            for axis, arrays in spectrum_planes(result.spectrum, slitlets).items():
                for name, array in arrays.items():
                    planes.setdefault(axis, {}).setdefault(name, []).append(array)
        rows.append(row)
    good = [row for row in rows if row["status"] == "ok"]
    run.write("spectrum_id", np.array([row["spectrum_id"] for row in good], np.int64))
    run.write("source_id", np.array([row["source_id"] for row in good], np.int64))
    for axis_planes in planes.values():
        write_ragged(run, axis_planes)
    run.publish(run.frame(rows), items=item_rows(results))


def fitted_width(group: SlitGroup) -> tuple[float, float]:
    """Return the fitted width of the source of a group, 1 sigma, and its error [pix]; NaN without a fit."""
    if not group.fit:
        return math.nan, math.nan
    fit = next(iter(group.fit.values()))
    joint = None if group.traces is None else group.traces.joint
    return float(fit["sigma"]), float((fit["result"] if joint is None else joint).size_err)


def _spectrum_row(result: UnitResult) -> dict[str, Any]:
    unit, spectrum = result.unit, result.spectrum
    row = {
        "source_id": unit.source_id,
        "spectrum_id": stable_id("slit_spectrum", unit.source_name, unit.grating, unit.filter),
        "ra": _finite(unit.ra),
        "dec": _finite(unit.dec),
        "grating": unit.grating,
        "band": unit.filter,
        "group_id": unit.name,
        "status": result.status,
        "message": result.message,
        "n_slitlets": 0,
        "n_wavelength": 0,
        "flags": 0,
        "meta": "{}",
    }
    if spectrum is None:
        return row
    group = result.groups[result.members[0]]
    fit = next(iter((group.fit or {}).values()))
    size, size_err = fitted_width(group)
    return row | {
        "exptime": _finite(float(spectrum.meta["EXPTIME"][0])),
        **spectrum_columns(spectrum),
        "profile_sigma": _finite(size),
        "profile_sigma_err": _finite(size_err),
        "trace_offset": _finite(float(fit["trace_coeffs"][-1])),
    }


def spectrum_columns(spectrum: CombinedSpectrum) -> dict[str, Any]:
    """Return what a combined spectrum alone says of its row in ``slit_spectrum``.

    Parameters
    ----------
    spectrum : CombinedSpectrum
        The spectrum.
    """
    known = np.isfinite(spectrum.flux) & (spectrum.err > 0)
    edges = spectrum.image.y_edges
    middle = {}
    if known.any():
        middle = {
            "wavelength_min": float(spectrum.wave[known][0]),
            "wavelength_max": float(spectrum.wave[known][-1]),
            "snr": float(np.median(spectrum.flux[known] / spectrum.err[known])),
        }
    return {
        "n_slitlets": spectrum.slits.height,
        "n_wavelength": spectrum.wave.size,
        **middle,
        "y_start": float(0.5 * (edges[0] + edges[1])),
        "y_step": float(edges[1] - edges[0]),
        "meta": json.dumps(describe_spectrum(spectrum)),
    }


def spectrum_planes(spectrum: CombinedSpectrum, slitlet_ids: Sequence[int] = ()) -> dict[str, dict[str, NDArray[Any]]]:
    """Return the arrays of a spectrum by the axes that they lie on.

    Parameters
    ----------
    spectrum : CombinedSpectrum
        The spectrum.
    slitlet_ids : sequence of int
        The slitlets that it is of.
    """
    image, table = spectrum.image, spectrum.table
    points = {}
    for name, (column, dtype) in _POINTS.items():
        unknown = 1.0 if column.endswith("_corr") else np.nan
        values = table[column].to_numpy() if column in table.columns else np.full(spectrum.wave.size, unknown)
        points[name] = np.nan_to_num(values).astype(dtype) if name == "npix" else values.astype(dtype)
    section = cross_section(image)
    return {
        "point": points,
        "image": {
            "sci": image.sci.astype(_F4),
            "wht": image.wht.astype(_F4),
            "profile": image.profile.astype(_F4),
            "background": image.sky.astype(_F4),
            "image_npix": image.n_pixels.astype(_F4),
        },
        "cross": {
            "cross_y": section["pix"].to_numpy(),
            "cross_flux": section["profile"].to_numpy().astype(_F4),
            "cross_profile": section["pfit"].to_numpy().astype(_F4),
        },
        "covariance": {"covariance": np.asarray(spectrum.covariance, _F8)},
        "member": {"slitlet_id": np.array(slitlet_ids, np.int64)},
    }


def item_rows(results: Sequence[UnitResult]) -> pl.DataFrame:
    """Return how it went for each unit as rows of ``run_item``.

    Parameters
    ----------
    results : sequence of UnitResult
        The units.
    """
    wanted = table_dtypes("run_item")
    schema = {name: wanted[name] for name in wanted if name not in ("run_id", "stage", "tile")}
    rows = [
        {
            "item": one.unit.name,
            "status": one.status,
            "error_class": one.error_class,
            "message": one.message,
            "seconds": one.seconds,
            "peak_memory": None,
        }
        for one in results
    ]
    return pl.DataFrame(rows, schema=schema)
