from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def stamp_ellipse(
    centre: Sequence[float], to_unit: Sequence[Sequence[float]], inner: float, shape: tuple[int, int], membership: str
) -> tuple[int, int, NDArray[np.bool_]]: ...
def stamp_box(
    centre: Sequence[float], to_unit: Sequence[Sequence[float]], shape: tuple[int, int], membership: str
) -> tuple[int, int, NDArray[np.bool_]]: ...
def stamp_polygon(
    vertices: Sequence[Sequence[float]], shape: tuple[int, int], membership: str
) -> tuple[int, int, NDArray[np.bool_]]: ...
def outlines(mask: NDArray[np.bool_], tolerance: float) -> list[list[list[float]]]: ...
