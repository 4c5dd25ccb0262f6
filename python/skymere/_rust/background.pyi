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
