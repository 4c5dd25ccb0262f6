"""Spectra in one dimension from FITS files."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from astropy import units
from numpy.typing import NDArray

from skymere.datamodels import Spectrum1D
from skymere.errors import FormatError, InvalidInputError
from skymere.io.extensions import read_extensions

__all__ = ["read_spectrum"]

_COLUMNS = {"wave": units.um, "flux": units.uJy, "err": units.uJy}


def read_spectrum(path: str | Path, *, resolution: pl.DataFrame | None = None) -> Spectrum1D:
    """Read a combined spectrum.

    Parameters
    ----------
    path : path-like
        A ``.spec.fits`` of `skymere.slit.write_slit_spectrum` or of msaexp: a table SPEC1D with ``wave``, ``flux`` and
        ``err`` in units that are wavelengths and f_nu (um and uJy when not said), maybe ``wave_mean`` and
        ``wave_spread``, and maybe an extension COVAR with the covariance of each pixel with itself and those after it
        [uJy2].
    resolution : polars.DataFrame, optional
        Columns ``wavelength`` [um] and ``resolution``, as `read_dispersion` gives them.

    Returns
    -------
    Spectrum1D
        At the mean wavelengths of its pixels, ``wave_mean``, where the file has them; with the covariance where it has
        that, whose diagonal then is ``err``; ``source_id`` and ``grating`` are SRCNAME and GRATING. Pixels without flux
        are masked: NaN, or 0 in files of msaexp.

    Raises
    ------
    NotFoundError, StorageError
        When it cannot be read.
    FormatError
        When it is something else.
    InvalidInputError
        When ``resolution`` lacks a column.
    """
    path = Path(path)
    found, cards = read_extensions(path)
    table: Any = found.get("SPEC1D")
    if not isinstance(table, pl.DataFrame) or (missing := [name for name in _COLUMNS if name not in table.columns]):
        what = f"its table SPEC1D has no {', '.join(missing)}" if isinstance(table, pl.DataFrame) else "no table SPEC1D"
        msg = f"{path}: {what}; it holds {list(found)}"
        raise FormatError(msg)
    values = {name: _in_unit(table, name, cards, path) for name in _COLUMNS}
    wave, flux, err = (values[name] for name in _COLUMNS)
    if "wave_mean" in table.columns:
        wave = _in_unit(table, "wave_mean", cards, path)
    spread = _in_unit(table, "wave_spread", cards, path) if "wave_spread" in table.columns else None
    covariance: Any = found.get("COVAR")
    if covariance is not None:
        covariance = np.asarray(covariance, np.float64)
        if covariance.ndim != 2 or covariance.shape[0] != wave.size:
            msg = f"{path}: COVAR of shape {covariance.shape} is not that of {wave.size} pixels"
            raise FormatError(msg)
        err = np.sqrt(covariance[:, 0])
    try:
        return Spectrum1D(
            wave=wave,
            flux=flux,
            err=err,
            resolution=None if resolution is None else _at(resolution, wave),
            mask=~np.isfinite(flux) | (flux == 0.0),
            covariance=covariance,
            spread=spread,
            source_id=str(cards.get("SRCNAME", "")).strip(),
            grating=str(cards.get("GRATING", "")).strip(),
        )
    except InvalidInputError as error:
        if "resolution" in str(error):
            raise
        msg = f"{path}: {error}"
        raise FormatError(msg) from error


def _in_unit(table: pl.DataFrame, name: str, cards: dict[str, Any], path: Path) -> NDArray[np.float64]:
    """Return a column in the unit of `Spectrum1D`."""
    values = table[name].to_numpy().astype(np.float64)
    number = next((key[5:] for key, v in cards.items() if key.startswith("TTYPE") and str(v).strip() == name), "")
    said = str(cards.get(f"TUNIT{number}", "")).strip()
    if not said:
        return values
    try:
        return np.asarray(values * float(units.Unit(said).to(_COLUMNS[name.partition("_")[0]])), np.float64)
    except (ValueError, units.UnitConversionError) as error:
        msg = f"{path}: the unit {said!r} of {name} is not allowed, it must be one of {_COLUMNS[name].physical_type}"
        raise FormatError(msg) from error


def _at(table: pl.DataFrame, wave: NDArray[np.float64]) -> NDArray[np.float64]:
    if missing := [name for name in ("wavelength", "resolution") if name not in table.columns]:
        msg = f"resolution: columns {table.columns} are not allowed, {', '.join(missing)} are missing"
        raise InvalidInputError(msg)
    power = np.interp(wave, table["wavelength"].to_numpy(), table["resolution"].to_numpy())
    return np.asarray(power, np.float64)
