"""Slits out of a lake as the objects of their rooms: slitlets as files had them, and combined spectra."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import SlitExposure, SlitGeometry, Slitlet, SlitPlace, SlitSource
from skymere.errors import NotFoundError
from skymere.lake.ragged import read_ragged

if TYPE_CHECKING:
    from skymere.lake.asking import LakeQueries
    from skymere.slit import CombinedSpectrum

__all__ = [
    "RAW_PLANES",
    "describe_slitlet",
    "describe_spectrum",
    "raw_planes",
    "slitlets_of_rows",
    "spectra_of_rows",
]

# Planes of a slitlet as its file has it, by the name of the array; the coordinates are those of its geometry.
RAW_PLANES: Mapping[str, str] = {
    "raw_sci": "sci",
    "raw_var_rnoise": "var_rnoise",
    "raw_var_poisson": "var_poisson",
    "raw_var_flat": "var_flat",
    "raw_dq": "dq",
    "raw_wavelength": "wavelength",
    "raw_bar": "bar",
    "raw_pathloss_ps": "pathloss_ps",
    "raw_pathloss_un": "pathloss_un",
}
_OPTIONAL = ("var_flat", "bar", "pathloss_ps", "pathloss_un")
_SIMPLE = ("pixel_area_sr", "unit", "is_fixed_slit", "is_background", "has_extended_calibration")
_PARTS = {"source": SlitSource, "place": SlitPlace, "exposure": SlitExposure}
_SCALES = ("pixel_scale_arcsec", "shutter_scale")
_TABLE = {
    "wave": "wavelength",
    "flux": "flux",
    "err": "flux_err",
    "path_corr": "path_corr",
    "sky": "sky",
    "npix": "npix",
    "norm_corr": "norm_corr",
    "flux_sum": "flux_sum",
    "profile_sum": "profile_sum",
    "var_sum": "var_sum",
    "resolution": "resolution",
    "wave_mean": "wavelength_mean",
    "wave_spread": "wavelength_spread",
}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: a number that is not finite is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def describe_slitlet(slitlet: Slitlet) -> dict[str, Any]:
    """Return all of a slitlet but its arrays and its file, JSON.

    Parameters
    ----------
    slitlet : Slitlet
        The slitlet.
    """
    parts = {
        name: {f.name: getattr(getattr(slitlet, name), f.name) for f in dataclasses.fields(kind)}
        for name, kind in _PARTS.items()
    }
    return {
        **{name: _plain(fields) for name, fields in parts.items()},
        **{name: getattr(slitlet, name) for name in _SIMPLE},
        "geometry": {name: getattr(slitlet.geometry, name) for name in _SCALES},
        "has": [name for name in _OPTIONAL if getattr(slitlet, name) is not None],
    }


def raw_planes(slitlet: Slitlet) -> dict[str, NDArray[Any]]:
    """Return the arrays of a slitlet by their names in the lake; NaN stands for one that the file lacks.

    Parameters
    ----------
    slitlet : Slitlet
        The slitlet.
    """
    blank = np.full(slitlet.shape, np.nan, np.float32)
    planes = {name: getattr(slitlet, attribute) for name, attribute in RAW_PLANES.items()}
    return {name: blank if plane is None else plane for name, plane in planes.items()} | {
        "raw_wave": slitlet.geometry.wavelength,
        "raw_slit_y": slitlet.geometry.slit_y,
    }


def slitlets_of_rows(lake: "LakeQueries", rows: pl.DataFrame) -> list[Slitlet]:
    """Return slitlets as their files had them, for rows of the table ``slitlet``.

    Parameters
    ----------
    lake : LakeQueries
        The lake.
    rows : polars.DataFrame
        Rows with the status ok.

    Raises
    ------
    NotFoundError
        When a row is older than schema 1.1.0, which has what files say.
    """
    if rows.is_empty():
        return []
    planes = [*RAW_PLANES, "raw_wave", "raw_slit_y", "wavelength_slope"]
    read = read_ragged(lake, "slitlet", rows, row="slitlet_row", planes=planes)
    found = []
    for i, row in enumerate(rows.iter_rows(named=True)):
        told = json.loads(row["meta"]).get("slitlet")
        if told is None:
            msg = f"slitlet {row['slitlet_id']}: run {row['run_id']} has not stored what the file says"
            raise NotFoundError(msg)
        found.append(_slitlet(told, row, read[i], read.attributes[i]))
    return found


def _slitlet(
    told: Mapping[str, Any], row: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]
) -> Slitlet:
    parts: dict[str, Any] = {name: kind(**_numbers(told[name])) for name, kind in _PARTS.items()}
    planes: dict[str, Any] = {
        attribute: arrays[name]
        for name, attribute in RAW_PLANES.items()
        if attribute not in _OPTIONAL or attribute in told["has"]
    }
    geometry = SlitGeometry(
        wavelength=arrays["raw_wave"],
        slit_y=arrays["raw_slit_y"],
        wavelength_slope=arrays["wavelength_slope"],
        **told["geometry"],
    )
    return Slitlet(
        **planes,
        **parts,
        **{name: told[name] for name in _SIMPLE},
        geometry=geometry,
        dq_bits=about["dq_bits"],
        path=row["path"],
        sha256=row["sha256"],
    )


def _numbers(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with NaN where JSON had null."""
    return {name: float("nan") if value is None else value for name, value in fields.items()}


def describe_spectrum(spectrum: "CombinedSpectrum") -> dict[str, Any]:
    """Return header cards, exposures and names of columns of a combined spectrum, JSON.

    Parameters
    ----------
    spectrum : CombinedSpectrum
        The spectrum.
    """
    cards = {key: [_plain(value), comment] for key, (value, comment) in spectrum.meta.items()}
    return {
        "cards": cards,
        "slits": {name: _plain(spectrum.slits[name].to_list()) for name in spectrum.slits.columns},
        "types": {name: str(kind) for name, kind in spectrum.slits.schema.items()},
        "columns": spectrum.table.columns,
    }


def spectra_of_rows(lake: "LakeQueries", rows: pl.DataFrame) -> list["CombinedSpectrum"]:
    """Return combined spectra with their pixels, for rows of the table ``slit_spectrum``.

    Parameters
    ----------
    lake : LakeQueries
        The lake.
    rows : polars.DataFrame
        Rows with the status ok.

    Raises
    ------
    NotFoundError
        When a row is older than schema 1.1.0, which has covariances.
    """
    read = read_ragged(lake, "slit_spectrum", rows, row="spectrum_row")
    if "covariance" not in read.planes and rows.height:
        msg = "slit_spectrum: these rows have no covariance; they are older than schema 1.1.0"
        raise NotFoundError(msg)
    return [_spectrum(lake, row, read[i]) for i, row in enumerate(rows.iter_rows(named=True))]


def _spectrum(lake: "LakeQueries", row: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> "CombinedSpectrum":
    from skymere.slit import CombinedSpectrum, SlitImage

    told = json.loads(row["meta"])
    known = {name: np.asarray(arrays[plane], np.float64) for name, plane in _TABLE.items() if plane in arrays}
    table = pl.DataFrame({name: known[name] for name in told["columns"]})
    ny = arrays["sci"].shape[0]
    image = SlitImage(
        wave=known["wave"],
        y_edges=row["y_start"] + row["y_step"] * (np.arange(ny + 1) - 0.5),
        sci=np.asarray(arrays["sci"], np.float64),
        sky=np.asarray(arrays["background"], np.float64),
        wht=np.asarray(arrays["wht"], np.float64),
        profile=np.asarray(arrays["profile"], np.float64),
        n_pixels=np.asarray(arrays["image_npix"], np.float64),
    )
    return CombinedSpectrum(
        wave=known["wave"],
        wave_mean=known.get("wave_mean", known["wave"]),
        wave_spread=known.get("wave_spread"),
        flux=known["flux"],
        covariance=arrays["covariance"],
        n_pixels=known["npix"],
        table=table,
        image=image,
        slits=_slits(told),
        pixels=_pixels(lake, row, [int(one) for one in arrays["slitlet_id"]]),
        meta={key: (value, comment) for key, (value, comment) in told["cards"].items()},
    )


def _slits(told: Mapping[str, Any]) -> pl.DataFrame:
    """Return the table of exposures with the types that it had."""
    kinds = {name: getattr(pl, kind) for name, kind in told["types"].items()}
    return pl.DataFrame(told["slits"], schema=kinds)


def _pixels(lake: "LakeQueries", row: Mapping[str, Any], slitlets: list[int]) -> pl.DataFrame:
    """Return the table of pixels of a spectrum with the names that the functions of `skymere.slit` take."""
    found = lake.table("pixel_table").filter(
        pl.col("source_id") == row["source_id"],
        pl.col("grating") == row["grating"],
        pl.col("slitlet_id").is_in(slitlets),
    )
    names = {"wavelength": "wave", "path_loss": "pathloss", "pixel": "pixel_index"}
    wanted = pl.col(
        "sci", "sky", "var_total", "var_rnoise", "wave", "yslit", "profile", "pathloss", "dwave_dx", "yshutter", "bar",
        "normalization", "exposure_index", "pixel_index", "exptime", "exposure_id", "slitlet_id",
    )  # fmt: skip
    return found.rename(names).select(wanted).sort("exposure_index", "pixel_index").collect()
