from typing import final

import numpy as np
from numpy.typing import NDArray

def estimate_pedestal(
    data: NDArray[np.float32],
    mask: NDArray[np.bool_],
    *,
    statistic: str,
    bin_width: float,
    limits: tuple[float, float],
    n_clip: int,
    clip_sigma: tuple[float, float],
) -> tuple[float, float, int]: ...
def estimate(
    data: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    *,
    box_size: int,
    filter_size: int,
    filter_threshold: float,
    clip_sigma: float,
    min_good_fraction: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], float, float]: ...
def cells(
    data: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    *,
    box_size: int,
    clip_sigma: float,
    min_good_fraction: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def large_scale(
    data: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    *,
    half: int,
    method: str,
    min_good: int,
) -> NDArray[np.float32]: ...

@final
class Mesh:
    def __new__(
        cls,
        level: NDArray[np.float64],
        rms: NDArray[np.float64],
        ny: int,
        nx: int,
        *,
        box_size: int,
        filter_size: int,
        filter_threshold: float,
        min_good_fraction: float,
    ) -> Mesh: ...
    @property
    def level_global(self) -> float: ...
    @property
    def rms_global(self) -> float: ...
    def level(self, y0: int, x0: int, ny: int, nx: int) -> NDArray[np.float32]: ...
    def rms(self, y0: int, x0: int, ny: int, nx: int) -> NDArray[np.float32]: ...
