from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

_Pair: TypeAlias = tuple[float, float]
_Table: TypeAlias = tuple[NDArray[np.float32], _Pair, _Pair, _Pair]
_Tables: TypeAlias = tuple[_Table | None, _Table | None]

@final
class Tan:
    def __new__(
        cls,
        crval: _Pair,
        crpix: _Pair,
        matrix: list[list[float]],
        lonpole: float,
        *,
        sip: tuple[NDArray[np.float64], NDArray[np.float64], _Pair] | None,
        detector: _Tables,
        residual: _Tables,
    ) -> Tan: ...
    def sky(self, points: NDArray[np.float64]) -> NDArray[np.float64]: ...
    def pixels(self, sky: NDArray[np.float64]) -> NDArray[np.float64]: ...
    def map_points(self, to: Tan, points: NDArray[np.float64]) -> NDArray[np.float64]: ...
    def pixel_map(self, to: Tan, shape: tuple[int, int], first_row: int) -> NDArray[np.float64]: ...

def interpolate_to_pixels(
    nodes: NDArray[np.float64],
    origin: tuple[float, float],
    step: tuple[float, float],
    shape: tuple[int, int],
    interpolation: str,
) -> NDArray[np.float64]: ...
def interpolate_to_points(
    nodes: NDArray[np.float64],
    origin: tuple[float, float],
    step: tuple[float, float],
    points: NDArray[np.float64],
    interpolation: str,
) -> NDArray[np.float64]: ...
