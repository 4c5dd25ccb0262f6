import numpy as np
from numpy.typing import NDArray

def estimate_pedestal(
    data: NDArray[np.float32], mask: NDArray[np.bool_], n_clip: int, clip_sigma: tuple[float, float]
) -> tuple[float, float, int]: ...
