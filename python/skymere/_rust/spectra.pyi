from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

def bsplines(
    places: NDArray[np.float64], n_functions: int, degree: int, limits: tuple[float, float]
) -> NDArray[np.float64]: ...

@final
class Igm:
    def __new__(cls, lines: list[tuple[float, tuple[float, float, float], tuple[float, float]]]) -> Igm: ...
    def nodes(self, low: float, high: float) -> list[float]: ...
    def transmission(self, wave: NDArray[np.float64], z: float) -> NDArray[np.float64]: ...

@final
class Problem:
    def __new__(
        cls,
        edges: NDArray[np.float64],
        flux: NDArray[np.float64],
        covariance: NDArray[np.float64],
        is_used: NDArray[np.bool_],
        *,
        fixed: NDArray[np.float64],
        tables: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
        lines: list[tuple[list[float], list[float], tuple[float, float], float | None]],
        resolution: tuple[NDArray[np.float64], NDArray[np.float64]],
        scale_disp: float,
        vel_width: float,
        igm: Igm | None,
        is_bounded: list[bool],
        prior: list[float],
    ) -> Problem: ...
    def scan(self, redshifts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
    def fit(
        self, z: float
    ) -> tuple[
        float,
        NDArray[np.float64],
        NDArray[np.bool_],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.float64],
    ]: ...

class _Objects(Protocol):
    @property
    def grid(self) -> NDArray[np.float64]: ...
    @property
    def flux(self) -> NDArray[np.float64]: ...
    @property
    def variance(self) -> NDArray[np.float64]: ...
    @property
    def level(self) -> NDArray[np.float64]: ...
    @property
    def nodes(self) -> NDArray[np.float64]: ...
    @property
    def template_error(self) -> NDArray[np.float64]: ...

def band_fluxes(
    wave: NDArray[np.float64],
    flux: NDArray[np.float64],
    *,
    transmission: NDArray[np.float64],
    filters: list[tuple[NDArray[np.float64], NDArray[np.float64], float]],
    redshifts: NDArray[np.float64],
) -> NDArray[np.float64]: ...
def photoz_scan(given: _Objects) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def photoz_fit(given: _Objects, i_z: list[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def photoz_predict(
    given: _Objects, other: NDArray[np.float64], probability: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
