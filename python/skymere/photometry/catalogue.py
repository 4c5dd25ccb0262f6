"""Catalogues with one row for each source and columns for each band, for programs that want them so."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from skymere.errors import InvalidInputError
from skymere.io import write_fast, write_tables
from skymere.photometry.calibration import CalibrationFactor
from skymere.photometry.filters import FilterWavelengths, filter_table

__all__ = ["bands_of", "wide_catalogue", "write_catalogue", "write_fast_catalogue"]

_UNIT = "uJy"
_ERRORS = ("flux_err", "err_formal", "err_sim")
_UNITS = {"ra": "deg", "dec": "deg", "effective_um": "um", "low_um": "um", "high_um": "um", "pivot_um": "um"}


def wide_catalogue(
    fluxes: pl.DataFrame,
    *,
    sources: pl.DataFrame | None = None,
    method: str = "model",
    error_floor: float | Mapping[str, float] = 0.0,
    calibration: Mapping[str, float | CalibrationFactor] | None = None,
) -> pl.DataFrame:
    """Return a catalogue with one row for each source and the fluxes of all bands.

    Parameters
    ----------
    fluxes : polars.DataFrame
        One row for each source and band, as in `schemas/flux`: ``source_id, band, flux`` [uJy], its errors
        ``err_formal, err_sim, flux_err`` [uJy], of which one is enough, and ``unit`` or ``zero_point_ab`` [mag]. Rows
        whose ``status`` is not ok are null.
    sources : polars.DataFrame, optional
        ``source_id`` and any other columns, as ``ra, dec``, ``z_spec``, that come first; sources without a flux are
        kept, and such as are only in ``fluxes`` come last.
    method : str, optional
        Rows of another ``method`` are left out, where there is such a column.
    error_floor : float or mapping of str to float, optional
        Least error as a part of the flux, of all bands or by band; none by default.
    calibration : mapping of str to float or CalibrationFactor, optional
        Factors by band that fluxes and errors are multiplied with; none are applied unless given.

    Returns
    -------
    polars.DataFrame
        ``source_id``, the columns of ``sources``, and for each band in the order of ``fluxes`` ``flux_{band},
        flux_err_{band}`` [uJy], and ``error_floor_{band}, calibration_{band}``, what was done to them.

    Raises
    ------
    InvalidInputError
        When columns are missing, fluxes are not known in uJy, a source has two rows of a band, or a band or a number is
        not allowed.

    Notes
    -----
    ``flux = c F`` and ``flux_err = max(c err_formal, c err_sim, c flux_err, floor |flux|)`` with what is known of these
    (B9.1, where the floor is always 0.1 and hides S/N above 10). ``calibration`` holds c times the factor that
    ``fluxes`` was multiplied with already, ``error_floor`` the larger of the floor and the one it has already. The
    error of c is common to all sources of a band, and not added to theirs.

    Examples
    --------
    >>> import polars as pl
    >>> from skymere.photometry import wide_catalogue
    >>> long = pl.DataFrame(
    ...     {"source_id": [1, 1, 2], "band": ["f160w", "ch1", "ch1"], "unit": ["uJy"] * 3,
    ...      "flux": [2.0, 5.0, 1.0], "err_formal": [0.1, 0.2, 0.2], "err_sim": [0.1, 0.4, 0.1]}
    ... )
    >>> wide_catalogue(long).select("source_id", "flux_ch1", "flux_err_ch1").rows()
    [(1, 5.0, 0.4), (2, 1.0, 0.2)]
    """
    long = _checked(fluxes, method)
    bands = long["band"].unique(maintain_order=True).to_list()
    floors = error_floor if isinstance(error_floor, Mapping) else dict.fromkeys(bands, float(error_floor))
    factors = {
        band: one.factor if isinstance(one, CalibrationFactor) else float(one)
        for band, one in (calibration or {}).items()
    }
    _require_bands(floors, bands, "error_floor", least=0.0)
    _require_bands(factors, bands, "calibration", least=None)
    wide = _rows(long, sources)
    for band in bands:
        floor, factor = float(floors.get(band, 0.0)), factors.get(band, 1.0)
        one = _of_band(long.filter(pl.col("band") == band), band, floor, factor)
        wide = wide.join(one, on="source_id", how="left", maintain_order="left")
    return wide


def bands_of(catalogue: pl.DataFrame) -> list[str]:
    """Return the bands of a wide catalogue, in their order.

    Parameters
    ----------
    catalogue : polars.DataFrame
        As `wide_catalogue` gives it.
    """
    begin = "flux_err_"
    return [name.removeprefix(begin) for name in catalogue.columns if name.startswith(begin)]


def write_catalogue(
    catalogue: pl.DataFrame, path: str | Path, *, filters: Mapping[str, FilterWavelengths] | None = None
) -> None:
    """Write a wide catalogue as a FITS table with units.

    Parameters
    ----------
    catalogue : polars.DataFrame
        As `wide_catalogue` gives it.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.
    filters : mapping of str to FilterWavelengths, optional
        Wavelengths of its bands: a second table ``FILTERS``, in the order of the bands of the first.

    Raises
    ------
    InvalidInputError
        When the catalogue has no bands, or a filter is of none of them.
    StorageError
        When the file cannot be written.
    """
    bands = _some_bands(catalogue)
    units = _UNITS | {f"{kind}_{band}": _UNIT for band in bands for kind in ("flux", "flux_err")}
    tables = {"CATALOGUE": catalogue}
    if filters is not None:
        _require_known(filters, bands, "filters")
        tables["FILTERS"] = filter_table({band: filters[band] for band in bands if band in filters})
    write_tables(tables, path, units=units)


def write_fast_catalogue(
    catalogue: pl.DataFrame, path: str | Path, *, filter_ids: Mapping[str, int] | None = None
) -> Path:
    """Write a wide catalogue as FAST and EAZY read it.

    Parameters
    ----------
    catalogue : polars.DataFrame
        As `wide_catalogue` gives it.
    path : path-like
        The catalogue, ``*.cat``; its ``.translate`` comes to stand beside it.
    filter_ids : mapping of str to int, optional
        Number of the filter of a band in the file of filters; bands without one are not used by FAST.

    Returns
    -------
    path
        The ``.translate`` file.

    Raises
    ------
    InvalidInputError
        When the catalogue has no bands, a filter is of none of them, or its number is not at least 1; or as
        `skymere.io.write_fast` says.
    StorageError
        When a file cannot be written.

    Notes
    -----
    See `skymere.io.write_fast`; fluxes are in uJy, so that ``AB_ZEROPOINT`` is 23.9 (B9.3).
    """
    bands = _some_bands(catalogue)
    filter_ids = filter_ids or {}
    _require_known(filter_ids, bands, "filter_ids")
    for band, number in filter_ids.items():
        if not number >= 1:
            msg = f"filter_ids: {number} of band {band!r} is not allowed, filters are counted from 1"
            raise InvalidInputError(msg)
    columns = {band: (f"flux_{band}", f"flux_err_{band}") for band in bands}
    return write_fast(catalogue.rename({"source_id": "id"}), path, columns=columns, filter_ids=filter_ids)


def _checked(fluxes: pl.DataFrame, method: str) -> pl.DataFrame:
    """Return the rows of a method, with fluxes in uJy."""
    missing = [name for name in ("source_id", "band", "flux") if name not in fluxes.columns]
    if missing or not set(_ERRORS) & set(fluxes.columns):
        msg = f"fluxes: columns {', '.join(missing) or ' or '.join(_ERRORS)} are missing, it has {fluxes.columns}"
        raise InvalidInputError(msg)
    long = fluxes.filter(pl.col("method") == method) if "method" in fluxes.columns else fluxes
    if long.is_empty():
        methods = fluxes["method"].unique().to_list() if "method" in fluxes.columns else []
        msg = f"fluxes: none of its {fluxes.height} rows is of the method {method!r}, it has {methods}"
        raise InvalidInputError(msg)
    if "status" in long.columns:
        numbers = [name for name in ("flux", *_ERRORS) if name in long.columns]
        long = long.with_columns(pl.when(pl.col("status") == "ok").then(pl.col(name)).alias(name) for name in numbers)
    _require_microjansky(long)
    twice = long.filter(pl.struct("source_id", "band").is_duplicated())
    if twice.height:
        source, band = twice.select("source_id", "band").row(0)
        msg = f"fluxes: source {source} has more than one row of band {band!r}, one for each source and band is allowed"
        raise InvalidInputError(msg)
    return long


def _require_microjansky(long: pl.DataFrame) -> None:
    """Raise where fluxes are in the unit of an image whose zero point nobody knows (B9.3)."""
    if "unit" in long.columns:
        wrong = long.filter(pl.col("unit").ne_missing(_UNIT))
        what = "unit {!r}"
    elif "zero_point_ab" in long.columns:
        wrong = long.filter(pl.col("flux").is_not_null() & ~pl.col("zero_point_ab").is_finite().fill_null(value=False))
        what = "zero_point_ab {}"
    else:
        msg = "fluxes: it says neither unit nor zero_point_ab, a column of one is needed to know that fluxes are in uJy"
        raise InvalidInputError(msg)
    if wrong.height:
        band, value = wrong.select("band", "unit" if "unit" in long.columns else "zero_point_ab").row(0)
        msg = (
            f"fluxes: {what.format(value)} of band {band!r} is not allowed, fluxes must be in uJy: measure the band "
            "with its zero point, or multiply its fluxes and errors with uJy per unit"
        )
        raise InvalidInputError(msg)


def _require_bands(values: Mapping[str, float], bands: list[str], name: str, *, least: float | None) -> None:
    _require_known(values, bands, name)
    for band, value in values.items():
        allowed = 0.0 < value < float("inf") if least is None else least <= value < float("inf")
        if not allowed:
            what = "positive" if least is None else f"at least {least:g}"
            msg = f"{name}: {value} of band {band!r} is not allowed, it must be {what}"
            raise InvalidInputError(msg)


def _require_known(named: Mapping[str, object], bands: list[str], name: str) -> None:
    unknown = [band for band in named if band not in bands]
    if unknown:
        msg = f"{name}: band {unknown[0]!r} is not one of {', '.join(bands)}"
        raise InvalidInputError(msg)


def _some_bands(catalogue: pl.DataFrame) -> list[str]:
    bands = bands_of(catalogue)
    if not bands or "source_id" not in catalogue.columns:
        msg = f"catalogue: source_id and a flux_err_{{band}} are needed, it has {', '.join(catalogue.columns)}"
        raise InvalidInputError(msg)
    return bands


def _rows(long: pl.DataFrame, sources: pl.DataFrame | None) -> pl.DataFrame:
    """Return the sources of the catalogue with what is known of them, in their order."""
    measured = long.select("source_id").unique(maintain_order=True)
    if sources is None:
        return measured.sort("source_id")
    if "source_id" not in sources.columns or sources["source_id"].is_duplicated().any():
        msg = f"sources: it must have a source_id in each row, no two of them alike; its columns are {sources.columns}"
        raise InvalidInputError(msg)
    made = [f"flux_{band}" for band in long["band"].unique()]
    if taken := [name for name in made if name in sources.columns]:
        msg = f"sources: column {taken[0]!r} is not allowed, the catalogue has it from fluxes"
        raise InvalidInputError(msg)
    first = sources.select("source_id", pl.exclude("source_id")).cast({"source_id": long.schema["source_id"]})
    more = measured.join(first, on="source_id", how="anti", maintain_order="left").sort("source_id")
    return pl.concat([first, more], how="diagonal")


def _of_band(rows: pl.DataFrame, band: str, floor: float, factor: float) -> pl.DataFrame:
    """Return flux and error of a band, and what was done to them."""
    errors = [pl.col(name).cast(pl.Float64).fill_nan(None) * factor for name in _ERRORS if name in rows.columns]
    flux = pl.col("flux").cast(pl.Float64).fill_nan(None) * factor
    known = pl.max_horizontal(*errors)
    before = {name: pl.col(name) if name in rows.columns else pl.lit(None) for name in ("error_floor", "calibration")}
    return rows.select(
        "source_id",
        flux.alias(f"flux_{band}"),
        # A floor is no error where none is known.
        pl.when(known.is_not_null() & flux.is_not_null())
        .then(pl.max_horizontal(known, flux.abs() * floor))
        .alias(f"flux_err_{band}"),
        pl.max_horizontal(before["error_floor"].cast(pl.Float64).fill_null(0.0), pl.lit(floor)).alias(
            f"error_floor_{band}"
        ),
        (before["calibration"].cast(pl.Float64).fill_null(1.0) * factor).alias(f"calibration_{band}"),
    )
