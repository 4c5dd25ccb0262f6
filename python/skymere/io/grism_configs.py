"""Configurations of grisms: files of aXe and GRISMCONF, and the sensitivities that they name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import GrismConfig, GrismOrder
from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.instruments import ORDER_LETTERS, config_corrections, grism_turn
from skymere.io._open import open_fits
from skymere.io.exposures import file_digest
from skymere.io.packs import find_reference

__all__ = ["read_config"]

_LETTERS = "ABCDEFGHIJ"
# The wavelength that NIRISS grisms do not deflect [um], around whose place the filter wheel turns traces.
_PIVOT_UM = 1.047
_N_SAMPLES = 512
_PARAMETRIC_FAINTEST = 29.0
_WIDE_ZEROTH = 500
_Words = dict[str, list[str]]


def read_config(path: str | Path, *, corrected: bool = True) -> GrismConfig:
    """Read the configuration of a grism with the sensitivities that it names.

    Parameters
    ----------
    path : path-like
        A file of aXe or GRISMCONF; when there is none, it is looked for in the reference packs (``SKYMERE_PACKS``).
        Sensitivities are looked for beside it, then in the packs.
    corrected : bool, optional
        Whether what grizli 1.14.3 changes in a configuration of this name is changed here too: shifts along the
        dispersion of G141 and of early files of NIRISS, factors of faint orders, offsets of early files of NIRCam.

    Returns
    -------
    GrismConfig
        All orders.

    Raises
    ------
    NotFoundError
        When the file or a sensitivity is missing; the message names it and says where it was looked for.
    FormatError
        When a file is not what it should be.

    Examples
    --------
    >>> from skymere.io import read_config
    >>> config = read_config("G141.F140W.V4.32.conf")  # doctest: +SKIP
    >>> sorted(config.orders)  # doctest: +SKIP
    ['A', 'B', 'C', 'D', 'E', 'F', 'G']
    """
    found = Path(path)
    sources = []
    if not found.is_file():
        try:
            found, pack = find_reference(found.name if found.is_absolute() else found.as_posix())
        except NotFoundError as error:
            msg = f"configuration {path}: no such file, and {error}"
            raise NotFoundError(msg) from None
        sources.append(f"{pack.label} {pack.digest}")
    words = _read_words(found)
    sources.append(f"{found.name} {file_digest(found)}")
    reader = _Reader(found, words, corrected=corrected, sources=sources)
    orders = reader.parametric() if any(key.startswith("DISPX_") for key in words) else reader.polynomial()
    if not orders:
        msg = f"{found}: no order with a trace and wavelengths, it is no configuration of aXe or GRISMCONF"
        raise FormatError(msg)
    header = {key: " ".join(value) for key, value in words.items()}
    return GrismConfig(name=found.name, orders=orders, path=str(found), sources=tuple(sources), header=header)


def _read_words(path: Path) -> _Words:
    """Return the words of every line by the first; a repeated one counts where it stands last."""
    try:
        text = path.read_text(encoding="utf-8", errors="strict")
    except UnicodeDecodeError as error:
        msg = f"{path}: no text ({error.reason}), it is no configuration of aXe or GRISMCONF"
        raise FormatError(msg) from error
    words: _Words = {}
    for line in text.splitlines():
        parts = [] if line.startswith("#") or '"' in line else line.split(";")[0].split("#")[0].split()
        if parts:
            words[parts[0]] = parts[1:]
    return words


class _Reader:
    """Words of a file, and what they mean."""

    def __init__(self, path: Path, words: _Words, *, corrected: bool, sources: list[str]) -> None:
        self.path, self.words, self.sources = path, words, sources
        files = {key.removeprefix("SENSITIVITY_"): v[0] for key, v in words.items() if key.startswith("SENS") and v}
        name = path.as_posix() if corrected else "uncorrected"
        self.corrections = config_corrections(name, files)

    def numbers(self, key: str, missing: tuple[float, ...] | None = None) -> list[float]:
        if key not in self.words:
            if missing is not None:
                return list(missing)
            msg = f"{self.path}: {key} is missing"
            raise FormatError(msg)
        try:
            values = [float(word) for word in self.words[key]]
        except ValueError:
            values = []
        if not values:
            msg = f"{self.path}: {key} {' '.join(self.words[key])!r} is not allowed, it must be numbers"
            raise FormatError(msg)
        return values

    def series(self, key: str) -> list[list[float]]:
        """Return the coefficients of ``key_0``, ``key_1`` and so on."""
        rows: list[list[float]] = []
        while f"{key}_{len(rows)}" in self.words:
            rows.append(self.numbers(f"{key}_{len(rows)}"))
        return rows

    def sensitivity(self, order: str) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
        key = f"SENSITIVITY_{order}"
        if not self.words.get(key):
            msg = f"{self.path}: {key} is missing"
            raise FormatError(msg)
        name = self.words[key][0]
        path = self.path.parent / name
        if not path.is_file():
            try:
                path, pack = find_reference(name)
            except NotFoundError as error:
                msg = f"sensitivity {name} of order {order} of {self.path}: not in {self.path.parent}, and {error}"
                raise NotFoundError(msg) from None
            self.sources.append(f"{pack.label} {pack.digest}")
        with open_fits(path) as hdus:
            table = hdus[1].data
            wave, value = (np.array(table[column], np.float64) for column in ("WAVELENGTH", "SENSITIVITY"))
        self.sources.append(f"{path.name} {file_digest(path)}")
        return wave, value, str(path)

    def order(self, build: Callable[[], GrismOrder]) -> GrismOrder:
        try:
            return build()
        except InvalidInputError as error:
            msg = f"{self.path}: {error}"
            raise FormatError(msg) from error

    def polynomial(self) -> dict[str, GrismOrder]:
        orders = {}
        for name in _LETTERS:
            dydx, dldp = self.series(f"DYDX_{name}"), self.series(f"DLDP_{name}")
            if not dldp or not dydx:
                continue
            if self.corrections.wavelength_pixels and len(dldp) > 1:
                dldp[0] = _added(dldp[0], [self.corrections.wavelength_pixels * value for value in dldp[1]])
            wave, value, file = self.sensitivity(name)
            span = self.numbers(f"BEAM{name}")
            wheel = self.numbers("FWCPOS_REF", ())
            terms = {
                "reference": [self.numbers("XOFF", (0.0,))[0], self.numbers("YOFF", (0.0,))[0]],
                "x_offset": self.numbers(f"XOFF_{name}", (0.0,)),
                "y_offset": self.numbers(f"YOFF_{name}", (0.0,)),
                "dydx": dydx,
                "dldp": dldp,
                "degree": int(self.numbers(f"DYDX_ORDER_{name}", (len(dydx) - 1.0,))[0]),
                "wheel": wheel[0] if wheel else None,
            }
            orders[name] = self.order(
                lambda name=name, terms=terms, span=span, wave=wave, value=value, file=file: GrismOrder(  # type: ignore[misc]
                    name=name,
                    form="polynomial",
                    terms=terms,
                    first=int(min(span)),
                    end=int(max(span)),
                    wavelength=wave,
                    sensitivity=value * self.corrections.sensitivity.get(name, 1.0),
                    x_shift=self.corrections.x_shift.get(name, 0.0),
                    faintest_mag=self.numbers(f"MMAG_EXTRACT_{name}", (99.0,))[0],
                    file=file,
                )
            )
        return orders

    def parametric(self) -> dict[str, GrismOrder]:
        turn = grism_turn(self.path.as_posix())
        wheel = self.numbers("FWCPOS_REF", ())
        first_curve = [self.series(f"{axis}_+1") for axis in ("DISPX", "DISPY", "DISPL")]
        spans: dict[str, tuple[int, int]] = {}
        made: dict[str, dict[str, Any]] = {}
        for sign, name in ORDER_LETTERS.items():
            curve = [self.series(f"{axis}_{sign}") for axis in ("DISPX", "DISPY", "DISPL")]
            if not all(curve):
                continue
            wave, value, file = self.sensitivity(sign)
            # Sensitivities must fall to zero at their ends.
            value[:2] = value[-2:] = 0.0
            in_um = float(np.max(wave)) < 100.0
            t = np.linspace(0.0, 1.0, _N_SAMPLES)
            along = _curve(curve[turn.quarters % 2], turn.centre, t) * (1 if turn.quarters < 2 else -1)
            steps = np.round(along).astype(int)
            spans[name] = (int(steps.min()), int(steps.max()))
            made[name] = {
                "terms": {
                    "terms": curve,
                    "quarters": turn.quarters,
                    "centre": list(turn.centre),
                    "offset": None if self.corrections.y_offset is None else list(self.corrections.y_offset),
                    "wheel": (wheel[0], first_curve, _PIVOT_UM) if wheel and all(first_curve) else None,
                    "to_angstrom": 1e4 if in_um else 1.0,
                },
                "wavelength": wave * (1e4 if in_um else 1.0),
                "sensitivity": value * self.corrections.sensitivity.get(name, 1.0),
                "file": file,
            }
        if {"A", "B", "E"} <= set(spans) and spans["B"][1] - spans["B"][0] + 1 > _WIDE_ZEROTH:
            spans["B"] = (spans["E"][1] - 1, spans["A"][0])
        return {
            name: self.order(
                lambda name=name, words=words: GrismOrder(  # type: ignore[misc]
                    name=name,
                    form="parametric",
                    first=spans[name][0],
                    end=spans[name][1],
                    x_shift=self.corrections.x_shift.get(name, 0.0),
                    faintest_mag=_PARAMETRIC_FAINTEST,
                    **words,
                )
            )
            for name, words in made.items()
        }


def _added(one: list[float], other: list[float]) -> list[float]:
    """Return the sum of two polynomials of the place."""
    n = max(len(one), len(other))
    return [a + b for a, b in zip(one + [0.0] * (n - len(one)), other + [0.0] * (n - len(other)), strict=True)]


def _curve(rows: list[list[float]], place: tuple[float, float], t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a polynomial of t whose coefficients are polynomials of the place."""
    x, y = place
    degree = int((np.sqrt(1 + 8 * max(len(row) for row in rows)) - 1) / 2)
    powers = [x ** (d - k) * y**k for d in range(degree) for k in range(d + 1)]
    at = [float(np.dot(row, powers[: len(row)])) for row in rows]
    return np.asarray(np.polynomial.polynomial.polyval(t, at), np.float64)
