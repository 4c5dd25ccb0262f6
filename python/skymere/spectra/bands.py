"""Which columns of a catalogue hold the fluxes of which filters."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.spectra.filters import UJY_PER_FLAMBDA, Filter, FilterSet

__all__ = ["Band", "match_photometry", "read_translate", "read_zeropoints"]

_Array = NDArray[np.float64]
Unit = Literal["uJy", "nJy", "mJy", "Jy", "ab_zeropoint", "flambda", "ab_mag"]
_UJY = {"uJy": 1.0, "nJy": 1e-3, "mJy": 1e3, "Jy": 1e6}
_AB_UJY = 23.9
"""AB magnitude of 1 uJy."""
_TERM = re.compile(r"([FE])(\d+)")


@dataclass(frozen=True, kw_only=True)
class Band:
    """A filter, and the columns of a catalogue that hold its fluxes.

    Parameters
    ----------
    filter : Filter
        The curve.
    flux, flux_err : str
        Columns of the flux and its error, 1 sigma.
    unit : str
        Of both: ``uJy``, ``nJy``, ``mJy``, ``Jy``; ``ab_zeropoint``: f_nu of which 1 is of magnitude ``ab_zeropoint``;
        ``flambda``: f_lambda at the pivot wavelength [erg/s/cm2/Angstrom]; ``ab_mag``: AB magnitudes.
    ab_zeropoint : float
        See ``unit``.
    err_scale : float
        By which errors are multiplied.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    filter: Filter
    flux: str
    flux_err: str
    unit: Unit = "uJy"
    ab_zeropoint: float = _AB_UJY
    err_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit):
            msg = f"unit: {self.unit!r} of {self.name} is not allowed, it must be one of {', '.join(get_args(Unit))}"
            raise InvalidInputError(msg)
        if not np.isfinite(self.ab_zeropoint) or not 0 < self.err_scale < np.inf:
            msg = f"ab_zeropoint, err_scale: {self.ab_zeropoint}, {self.err_scale} of {self.name} are not allowed"
            raise InvalidInputError(msg)

    @property
    def name(self) -> str:
        """The name of its filter."""
        return self.filter.name

    def read(self, catalog: Any) -> tuple[_Array, _Array]:
        """Return flux and error of all rows of a catalogue [uJy]; NaN and infinite where it was not measured.

        Parameters
        ----------
        catalog : polars.DataFrame, astropy Table or mapping
            Columns by name.

        Raises
        ------
        NotFoundError
            When it has no such column.
        InvalidInputError
            When a column does not hold numbers.
        """
        flux, err = (read_column(catalog, name, f"filter {self.name}") for name in (self.flux, self.flux_err))
        is_good = np.isfinite(flux) & np.isfinite(err) & (err > 0)
        if self.unit == "ab_mag":
            value = 10 ** (-0.4 * (np.where(is_good, flux, np.nan) - _AB_UJY))
            err = err * value * np.log(10) / 2.5
        elif self.unit == "flambda":
            scale = UJY_PER_FLAMBDA * self.filter.pivot**2
            value, err = flux * scale, err * scale
        else:
            scale = 10 ** (-0.4 * (self.ab_zeropoint - _AB_UJY)) if self.unit == "ab_zeropoint" else _UJY[self.unit]
            value, err = flux * scale, err * scale
        return np.where(is_good, value, np.nan), np.where(is_good, err * self.err_scale, np.inf)


def column_names(catalog: Any) -> list[str]:
    """Return the names of a catalogue's columns."""
    for name in ("colnames", "columns"):
        if hasattr(catalog, name):
            return [str(one) for one in getattr(catalog, name)]
    return [str(one) for one in catalog]


def read_column(catalog: Any, name: str, what: str) -> _Array:
    """Return a column as float64, NaN where it is empty."""
    names = column_names(catalog)
    if name not in names:
        msg = f"catalog: column {name!r} of {what} does not exist; there are {', '.join(names)}"
        raise NotFoundError(msg)
    values = catalog[name]
    if hasattr(values, "filled") and hasattr(values, "mask"):
        values = np.ma.filled(np.ma.asarray(values).astype(np.float64), np.nan)
    try:
        return np.ascontiguousarray(np.asarray(values), dtype=np.float64)
    except (TypeError, ValueError):
        msg = f"catalog: column {name!r} of {what} is not allowed, it must hold numbers"
        raise InvalidInputError(msg) from None


def read_translate(
    path: str | Path, *, filters: FilterSet, unit: Unit = "ab_zeropoint", ab_zeropoint: float = 25.0
) -> tuple[Band, ...]:
    """Read which columns hold which filters from a ``.translate`` file of eazy.

    Parameters
    ----------
    path : path-like
        Lines ``column F205`` (flux) and ``column E205`` (error), with the number of the filter; an error may have a
        factor behind it. A table ``column, trans, error`` when the name ends in ``csv``.
    filters : FilterSet
        The filters that the numbers mean, as `read_filters` gives them of eazy's file.
    unit : str, optional
        Unit of the fluxes.
    ab_zeropoint : float, optional
        eazy's ``PRIOR_ABZP``.

    Returns
    -------
    tuple of Band
        In the order of the file.

    Raises
    ------
    NotFoundError
        When the file does not exist, or it means a filter that does not.
    FormatError
        When a flux has no error, or a factor is not a number.
    """
    terms: dict[tuple[str, str], tuple[str, float]] = {}
    for row in _rows(Path(path)):
        # Columns of a filter may be told apart by a letter behind its number.
        match = _TERM.match(row[1])
        if match:
            try:
                terms[match.group(1), row[1][1:]] = (row[0], float(row[2]) if len(row) > 2 else 1.0)
            except ValueError:
                msg = f"{path}: {row[2]!r} of {row[0]} is not allowed, it must be a number"
                raise FormatError(msg) from None
    found = []
    for (kind, number), (column, _) in terms.items():
        if kind == "F":
            if ("E", number) not in terms:
                msg = f"{path}: F{number} ({column}) has no error, a line 'column E{number}' is needed"
                raise FormatError(msg)
            err, scale = terms["E", number]
            one = filters.number(int(re.sub(r"\D", "", number)))
            found.append(
                Band(filter=one, flux=column, flux_err=err, unit=unit, ab_zeropoint=ab_zeropoint, err_scale=scale)
            )
    return tuple(found)


def read_zeropoints(path: str | Path, *, filters: FilterSet) -> dict[str, float]:
    """Read factors of fluxes from a ``zphot.zeropoint`` file of eazy.

    Parameters
    ----------
    path : path-like
        Lines ``F205 1.1``.
    filters : FilterSet
        The filters that the numbers mean.

    Returns
    -------
    dict of str to float
        Factor by the name of the filter, for `fit_photoz`.

    Raises
    ------
    NotFoundError
        When the file or a filter does not exist.
    FormatError
        When a factor is not a positive number.
    """
    found = {}
    for row in _rows(Path(path)):
        match = _TERM.fullmatch(row[0])
        if match and match.group(1) == "F":
            try:
                factor = float(row[1])
            except ValueError:
                factor = np.nan
            if not 0 < factor < np.inf:
                msg = f"{path}: {row[1]!r} of {row[0]} is not allowed, it must be a positive number"
                raise FormatError(msg)
            found[filters.number(int(match.group(2))).name] = factor
    return found


def _rows(path: Path) -> list[list[str]]:
    """Words of each line that has two or more."""
    if not path.is_file():
        msg = f"{path}: no such file"
        raise NotFoundError(msg)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        rows = [[word.strip() for word in row if word.strip()] for row in csv.reader(text.splitlines())]
    else:
        rows = [line.split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [row for row in rows if len(row) > 1]


def match_photometry(
    ra: Any, dec: Any, *, catalog: Any, radius_arcsec: float = 0.5, columns: Sequence[str] = ("ra", "dec")
) -> tuple[NDArray[np.int64], _Array]:
    """Return which row of a catalogue of fluxes is nearest to each position.

    Parameters
    ----------
    ra, dec : array_like, float64, shape (n,) [deg]
        The positions.
    catalog : polars.DataFrame, astropy Table or mapping
        Columns by name.
    radius_arcsec : float, optional
        Further away is no match [arcsec].
    columns : sequence of str, optional
        Its columns of right ascension and declination [deg].

    Returns
    -------
    row : ndarray, int64, shape (n,)
        Row of the nearest; -1 when none is within the radius.
    separation : ndarray, float64, shape (n,) [arcsec]
        Its distance; infinite when there is none.

    Raises
    ------
    InvalidInputError
        When the radius is not positive, or lengths differ.
    NotFoundError
        When the catalogue has no such column.
    """
    if not 0 < radius_arcsec < np.inf:
        msg = f"radius_arcsec: {radius_arcsec} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    wanted_ra, wanted_dec = (np.atleast_1d(np.asarray(value, np.float64)) for value in (ra, dec))
    if wanted_ra.shape != wanted_dec.shape or wanted_ra.ndim != 1:
        msg = f"ra, dec: shapes {wanted_ra.shape} and {wanted_dec.shape} are not allowed, they must be the same"
        raise InvalidInputError(msg)
    place_ra, place_dec = (read_column(catalog, name, "positions") for name in columns)
    order = np.argsort(place_dec, kind="stable")
    radius = radius_arcsec / 3600.0
    sorted_dec = place_dec[order]
    first = np.searchsorted(sorted_dec, wanted_dec - radius, side="left")
    last = np.searchsorted(sorted_dec, wanted_dec + radius, side="right")
    row, separation = np.full(wanted_ra.shape, -1, np.int64), np.full(wanted_ra.shape, np.inf)
    for i, (low, high) in enumerate(zip(first, last, strict=True)):
        near = order[low:high]
        d_ra, d_dec = np.radians(place_ra[near] - wanted_ra[i]), np.radians(place_dec[near] - wanted_dec[i])
        across = np.cos(np.radians(place_dec[near])) * np.cos(np.radians(wanted_dec[i])) * np.sin(d_ra / 2) ** 2
        away = np.degrees(2 * np.arcsin(np.sqrt(np.sin(d_dec / 2) ** 2 + across))) * 3600.0
        if away.size and np.nanmin(away, initial=np.inf) <= radius_arcsec:
            row[i], separation[i] = near[np.nanargmin(away)], np.nanmin(away)
    return row, separation


def check_zeropoints(zeropoints: Mapping[str, float] | None, bands: Sequence[Band]) -> _Array:
    """Return the factor of each band."""
    names = [band.name for band in bands]
    for name, factor in (zeropoints or {}).items():
        if name not in names:
            msg = f"zeropoints: filter {name!r} is not in the catalogue; there are {', '.join(names)}"
            raise NotFoundError(msg)
        if not 0 < factor < np.inf:
            msg = f"zeropoints: {factor} of {name} is not allowed, it must be positive"
            raise InvalidInputError(msg)
    return np.array([(zeropoints or {}).get(name, 1.0) for name in names], np.float64)
