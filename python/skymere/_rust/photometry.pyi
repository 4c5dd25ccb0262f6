from typing import final

import numpy as np
from numpy.typing import NDArray

@final
class Drawer:
    def __new__(
        cls,
        psf: NDArray[np.float64],
        psf_x: NDArray[np.float64],
        psf_y: NDArray[np.float64],
        shape: tuple[int, int],
        *,
        oversampling: int,
        enclosed: float,
        max_half: int,
    ) -> Drawer: ...
    def windows(self, rows: NDArray[np.float64]) -> list[list[int]]: ...
    def templates(
        self,
        rows: NDArray[np.float64],
        owners: list[int],
        n_sources: int,
        *,
        has_moves: bool,
        given: list[int],
        windows: list[tuple[int, int, int, int]],
        values: NDArray[np.float32],
        by_x: NDArray[np.float32],
        by_y: NDArray[np.float32],
    ) -> Templates: ...
    def shape_variances(
        self,
        templates: Templates,
        rows: NDArray[np.float64],
        owners: list[int],
        *,
        variance: NDArray[np.float64],
        pairs: NDArray[np.float64],
        border: NDArray[np.float64],
        powers: list[tuple[int, int]],
        planes: NDArray[np.float32] | None,
        weight: NDArray[np.float32],
        fluxes: NDArray[np.float64],
        covariances: NDArray[np.float64],
    ) -> NDArray[np.float64]: ...

@final
class Templates:
    def light(self) -> NDArray[np.float64]: ...
    def window(self, source: int) -> list[int] | None: ...
    def values(self, source: int) -> NDArray[np.float32]: ...
    def offsets(self) -> NDArray[np.uint64]: ...
    def neighbours(self) -> NDArray[np.uint32]: ...
    def model(
        self,
        fluxes: NDArray[np.float64],
        powers: list[tuple[int, int]],
        planes: NDArray[np.float32] | None,
        levels: NDArray[np.float64],
        first: int,
        n_rows: int,
    ) -> NDArray[np.float64]: ...
    def moved(self, by_x: NDArray[np.float64], by_y: NDArray[np.float64]) -> NDArray[np.float32]: ...
    def simulate(
        self,
        variance: NDArray[np.float64],
        pairs: NDArray[np.float64],
        border: NDArray[np.float64],
        powers: list[tuple[int, int]],
        planes: NDArray[np.float32] | None,
        noise: NDArray[np.float32],
        weight: NDArray[np.float32],
        places: list[tuple[float, float]],
        positions: list[tuple[float, float]],
        radius: float,
    ) -> NDArray[np.float32]: ...
    def fits(
        self, fluxes: NDArray[np.float64], residual: NDArray[np.float32], weight: NDArray[np.float32]
    ) -> NDArray[np.float64]: ...

@final
class Normal:
    def __new__(cls, templates: Templates, n_columns: int) -> Normal: ...
    def add(
        self,
        templates: Templates,
        data: NDArray[np.float32],
        weight: NDArray[np.float32],
        powers: list[tuple[int, int]],
        planes: NDArray[np.float32] | None,
        first: int,
    ) -> None: ...
    def diagonal(self) -> NDArray[np.float64]: ...
    def pairs(self) -> NDArray[np.float64]: ...
    def right(self) -> NDArray[np.float64]: ...
    def multiply(self, templates: Templates, vector: NDArray[np.float64]) -> NDArray[np.float64]: ...

@final
class Factor:
    def __new__(cls, normal: Normal, templates: Templates, active: NDArray[np.bool_]) -> Factor: ...
    @property
    def failed(self) -> list[int]: ...
    def solve(self, right: NDArray[np.float64]) -> NDArray[np.float64]: ...
    def inverse(
        self, n_pairs: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
