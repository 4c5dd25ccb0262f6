from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from skymere._rust.spectra import Igm

_Array: TypeAlias = NDArray[np.float64]
_Curve: TypeAlias = tuple[_Array, _Array]

@final
class Law:
    @staticmethod
    def polynomial(
        *,
        reference: Sequence[float],
        x_offset: Sequence[float],
        y_offset: Sequence[float],
        dydx: Sequence[Sequence[float]],
        dldp: Sequence[Sequence[float]],
        degree: int,
        wheel: float | None,
    ) -> Law: ...
    @staticmethod
    def parametric(
        terms: Sequence[Sequence[Sequence[float]]],
        *,
        quarters: int,
        centre: Sequence[float],
        offset: Sequence[float] | None,
        wheel: tuple[float, Sequence[Sequence[Sequence[float]]], float] | None,
        to_angstrom: float,
    ) -> Law: ...

@final
class Order:
    def __new__(cls, law: Law, first: int, end: int, sensitivity: _Curve) -> Order: ...
    def trace(self, place: Mapping[str, Any], dx: _Array) -> tuple[_Array, _Array]: ...
    def integrals(self, wave: _Array) -> _Array: ...

@final
class Disperser:
    def __new__(
        cls,
        order: Order,
        place: Mapping[str, Any],
        image: NDArray[np.float32],
        labels: NDArray[np.int32],
        label: int,
        operator: str,
    ) -> Disperser: ...
    @property
    def first(self) -> int: ...
    def rows(self) -> tuple[NDArray[np.int64], _Array]: ...
    def light(self, spectrum: _Curve | None) -> _Array: ...
    def draw(self, light: _Array, shape: tuple[int, int], at: Sequence[int]) -> _Array: ...
    def matrix(
        self, at: Sequence[int], number: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], _Array]: ...

@final
class Bank:
    def __new__(
        cls,
        *,
        tables: Sequence[tuple[_Array, _Array, bool]],
        lines: Sequence[tuple[Sequence[Sequence[float]], bool]],
        igm: Igm | None,
    ) -> Bank: ...

@final
class Fit:
    def __new__(cls, beams: Sequence[Mapping[str, Any]]) -> Fit: ...
    @property
    def n_groups(self) -> int: ...
    def scan(
        self,
        bank: Bank,
        redshifts: _Array,
        *,
        bounds: Sequence[Sequence[float]],
        background: Sequence[Sequence[float]] | None,
        huber: float,
        has_covariance: bool,
        extra: tuple[Sequence[float], _Array] | None,
    ) -> tuple[_Array, _Array, _Array, NDArray[np.bool_], _Array, _Array, _Array, _Array]: ...

def render_frame(
    image: NDArray[np.float32],
    labels: NDArray[np.int32],
    orders: Sequence[Order],
    sources: Sequence[Mapping[str, Any]],
    operator: str,
) -> _Array: ...
