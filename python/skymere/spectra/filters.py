"""Filters: curves of throughput, sets of them, and their files."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_floats
from skymere._rust import spectra as _rust
from skymere.errors import FormatError, InvalidInputError, NotFoundError, StorageError

__all__ = ["UJY_PER_FLAMBDA", "Filter", "FilterSet", "read_filters"]

_Array = NDArray[np.float64]
Detector = Literal["photon", "energy"]
WaveUnit = Literal["Angstrom", "nm", "um"]
_UM_PER = {"Angstrom": 1e-4, "nm": 1e-3, "um": 1.0}

UJY_PER_FLAMBDA = 1e29 * 1e8 / 2.99792458e18
"""f_nu [uJy] of 1 erg/s/cm2/Angstrom at 1 um; it grows with the square of the wavelength."""

_HEAD = re.compile(r"^\s*\d+\s+(\S+).*lambda_c")
_CSV_WAVES: dict[str, WaveUnit] = {"wave_A": "Angstrom", "wave_nm": "nm", "wave_um": "um"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Filter:
    """The throughput of a filter, straight between its points and zero outside.

    Parameters
    ----------
    name : str
        What it is called.
    wave : ndarray, float64, shape (n,) [um]
        Wavelengths, rising.
    throughput : ndarray, float64, shape (n,)
        Part of the photons that is counted, in any unit.
    detector : str
        ``photon``: what is counted are photons; ``energy``: what is summed is their energy, as bolometers do.

    Raises
    ------
    InvalidInputError
        When wavelengths do not rise, or nothing gets through.

    Notes
    -----
    The flux density is ``int f_nu T dnu / nu / int T dnu / nu`` of photon counters, and that with ``T / wave`` in place
    of ``T`` of the others.

    References
    ----------
    Bessell & Murphy 2012, PASP 124, 140, eq. A12.
    """

    name: str
    wave: _Array
    throughput: _Array
    detector: Detector = "photon"

    def __post_init__(self) -> None:
        wave = as_floats(self.wave, "wave", shape=(None,))
        throughput = as_floats(self.throughput, "throughput", shape=wave.shape)
        if wave.size < 2 or not (wave[0] > 0 and np.isfinite(wave[-1]) and np.all(np.diff(wave) > 0)):
            msg = f"wave: {wave.size} values of {self.name} are not allowed, they must be positive and rise"
            raise InvalidInputError(msg)
        if not np.all(np.isfinite(throughput)) or not np.any(throughput > 0):
            msg = f"throughput: values of {self.name} are not allowed, they must be finite, and some positive"
            raise InvalidInputError(msg)
        if self.detector not in get_args(Detector):
            msg = f"detector: {self.detector!r} is not allowed, it must be one of {', '.join(get_args(Detector))}"
            raise InvalidInputError(msg)
        object.__setattr__(self, "wave", wave)
        object.__setattr__(self, "throughput", throughput)

    @property
    def counted(self) -> _Array:
        """What the photons weigh: the throughput, over the wavelength of detectors that sum energy."""
        return self.throughput if self.detector == "photon" else self.throughput / self.wave

    @property
    def norm(self) -> float:
        """The integral of throughput over wavelength, exact between the points."""
        return _log_integral(self.wave, self.counted)

    @property
    def pivot(self) -> float:
        """Pivot wavelength [um], with which flux densities per frequency and per wavelength are each other's."""
        left, right = self.wave[:-1], self.wave[1:]
        low, high = self.counted[:-1], self.counted[1:]
        first = np.sum((right - left) * (low * (2 * left + right) + high * (left + 2 * right)) / 6)
        return float(np.sqrt(first / self.norm))

    def refined(self, step: float) -> tuple[_Array, _Array]:
        """Return the same curve on its points and others, so that none are further apart than a step in ln(wave).

        Parameters
        ----------
        step : float
            Largest step.

        Returns
        -------
        wave : ndarray, float64, shape (m,) [um]
            The points.
        counted : ndarray, float64, shape (m,)
            What the photons weigh there.
        """
        n_parts = np.maximum(np.ceil(np.diff(np.log(self.wave)) / step), 1).astype(int)
        first = np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
        part = (np.arange(n_parts.sum()) - first) / np.repeat(n_parts, n_parts)
        wave = np.repeat(self.wave[:-1], n_parts) + part * np.repeat(np.diff(self.wave), n_parts)
        wave = np.append(wave, self.wave[-1])
        return wave, np.interp(wave, self.wave, self.counted)

    def flux(self, wave: ArrayLike, flux: ArrayLike) -> float:
        """Return the flux density of a spectrum in the filter [uJy].

        Parameters
        ----------
        wave : array_like, float64, shape (n,) [um]
            Wavelengths, rising; the spectrum is straight between them and 0 outside.
        flux : array_like, float64, shape (n,) [erg/s/cm2/Angstrom]
            f_lambda.

        Raises
        ------
        InvalidInputError
            When wavelengths do not rise, or lengths differ.
        """
        points = as_floats(wave, "wave", shape=(None,))
        values = as_floats(flux, "flux", shape=points.shape)
        if points.size < 2 or not np.all(np.diff(points) > 0):
            msg = f"wave: {points.size} values are not allowed, they must be at least 2 and rise"
            raise InvalidInputError(msg)
        found = _rust.band_fluxes(
            points,
            np.ascontiguousarray(values[None, :]),
            transmission=np.zeros((1, 0)),
            filters=[(self.wave, self.counted, self.norm)],
            redshifts=np.zeros(1),
        )
        return float(found[0, 0, 0]) * UJY_PER_FLAMBDA

    def coverage(self, low: float, high: float) -> float:
        """Return the part of the filter that is between two wavelengths [um], as a flat f_nu sees it.

        Parameters
        ----------
        low, high : float
            The wavelengths [um].
        """
        inside = (self.wave >= low) & (self.wave <= high)
        ends = [w for w in (low, high) if self.wave[0] < w < self.wave[-1]]
        wave = np.unique(np.concatenate([self.wave[inside], ends]))
        if wave.size < 2:
            return 0.0
        return _log_integral(wave, np.interp(wave, self.wave, self.counted)) / self.norm


def _log_integral(wave: _Array, counted: _Array) -> float:
    """Integral of a curve over ln(wave), exact for one that is straight between its points."""
    left, right = wave[:-1], wave[1:]
    slope = np.diff(counted) / (right - left)
    return float(np.sum((counted[:-1] - slope * left) * np.log(right / left) + slope * (right - left)))


@dataclass(frozen=True, kw_only=True, eq=False)
class FilterSet(Mapping[str, Filter]):
    """Filters by name.

    Parameters
    ----------
    filters : tuple of Filter
        Their order is the number that eazy gives them, from 1.

    Raises
    ------
    InvalidInputError
        When two have the same name.
    """

    filters: tuple[Filter, ...]

    def __post_init__(self) -> None:
        names = [one.name for one in self.filters]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            msg = f"filters: {', '.join(twice)} twice is not allowed"
            raise InvalidInputError(msg)

    def __getitem__(self, name: str) -> Filter:
        for one in self.filters:
            if one.name == name:
                return one
        msg = f"filter {name!r} does not exist; there are {', '.join(self) or 'none'}"
        raise NotFoundError(msg)

    def __contains__(self, name: object) -> bool:
        return any(one.name == name for one in self.filters)

    def __iter__(self) -> Iterator[str]:
        return (one.name for one in self.filters)

    def __len__(self) -> int:
        return len(self.filters)

    def number(self, number: int) -> Filter:
        """Return a filter by its number, from 1, as in eazy's files.

        Parameters
        ----------
        number : int
            The number.

        Raises
        ------
        NotFoundError
            When there are not so many.
        """
        if not 1 <= number <= len(self.filters):
            msg = f"filter number {number} does not exist; there are 1 to {len(self.filters)}"
            raise NotFoundError(msg)
        return self.filters[number - 1]


def read_filters(*paths: str | Path, wave_unit: WaveUnit = "Angstrom") -> FilterSet:
    """Read curves of throughput.

    Parameters
    ----------
    *paths : path-like
        Tables with the columns ``filter``, ``wave_A`` (or ``wave_nm``, ``wave_um``) and ``throughput`` (.csv); files
        as eazy's ``FILTER.RES``; or two columns of text, whose name is that of the file. Files of a pack of references
        come as ``pack.path(name)``, which checks their sums.
    wave_unit : str, optional
        Unit of wavelengths where the file does not say it: ``Angstrom``, ``nm`` or ``um``.

    Returns
    -------
    FilterSet
        In the order of files and lines. In files of eazy, a name that comes again gets its number added.

    Raises
    ------
    NotFoundError
        When a file does not exist.
    FormatError
        When it is none of these.
    InvalidInputError
        When the unit is not allowed, or two files hold the same filter.
    """
    if wave_unit not in _UM_PER:
        msg = f"wave_unit: {wave_unit!r} is not allowed, it must be one of {', '.join(_UM_PER)}"
        raise InvalidInputError(msg)
    found: list[Filter] = []
    for given in paths:
        path = Path(given)
        if not path.is_file():
            msg = f"{path}: no such file of filters"
            raise NotFoundError(msg)
        try:
            if path.suffix == ".csv":
                found += _read_csv(path)
            else:
                found += _read_text(path, wave_unit)
        except (InvalidInputError, ValueError, pl.exceptions.PolarsError) as error:
            msg = f"{path}: {error}"
            raise FormatError(msg) from error
    return FilterSet(filters=tuple(found))


def _read_csv(path: Path) -> list[Filter]:
    table = pl.read_csv(path)
    waves = [name for name in _CSV_WAVES if name in table.columns]
    if len(waves) != 1 or not {"filter", "throughput"} <= set(table.columns):
        msg = f"columns {', '.join(table.columns)} are not filter, wave_A and throughput"
        raise ValueError(msg)
    unit = _UM_PER[_CSV_WAVES[waves[0]]]
    return [
        Filter(name=str(name), wave=rows[waves[0]].to_numpy() * unit, throughput=rows["throughput"].to_numpy())
        for (name,), rows in table.group_by("filter", maintain_order=True)
    ]


def _read_text(path: Path, wave_unit: WaveUnit) -> list[Filter]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror or error}"
        raise StorageError(msg) from error
    heads = [i for i, line in enumerate(lines) if _HEAD.match(line)]
    if not heads:
        return [_curve(path.stem, lines, (0, 1), _UM_PER[wave_unit])]
    names: list[str] = []
    found = []
    for number, (first, last) in enumerate(zip(heads, [*heads[1:], len(lines)], strict=True), start=1):
        head = _HEAD.match(lines[first])
        name = head.group(1) if head else ""
        names.append(f"{name}#{number}" if name in names else name)
        found.append(_curve(names[-1], lines[first + 1 : last], (1, 2), _UM_PER[wave_unit]))
    return found


def _curve(name: str, lines: Sequence[str], columns: tuple[int, int], unit: float) -> Filter:
    rows = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if any(len(row) <= columns[1] for row in rows):
        msg = f"{name}: a line has fewer than {columns[1] + 1} columns"
        raise ValueError(msg)
    points = np.array([[float(row[c]) for c in columns] for row in rows], np.float64).reshape(-1, 2)
    # Some curves of eazy come with falling wavelengths, or with a wavelength twice: the first one counts.
    wave, first = np.unique(points[:, 0], return_index=True)
    return Filter(name=name, wave=wave * unit, throughput=points[first, 1])
