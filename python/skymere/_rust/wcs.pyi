from typing import final

import numpy as np
from numpy.typing import NDArray

@final
class Tan:
    def __new__(
        cls,
        crval: tuple[float, float],
        crpix: tuple[float, float],
        matrix: list[list[float]],
        lonpole: float,
        sip: tuple[NDArray[np.float64], NDArray[np.float64], tuple[float, float]] | None,
    ) -> Tan: ...
    def sky(self, points: NDArray[np.float64]) -> NDArray[np.float64]: ...
    def pixels(self, sky: NDArray[np.float64]) -> NDArray[np.float64]: ...
    def map_points(self, to: Tan, points: NDArray[np.float64]) -> NDArray[np.float64]: ...
    def pixel_map(self, to: Tan, shape: tuple[int, int]) -> NDArray[np.float64]: ...

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
