import numpy as np
from numpy.typing import NDArray

def render_integrated(sources: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]: ...
