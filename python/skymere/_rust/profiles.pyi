import numpy as np
from numpy.typing import NDArray

def render_convolved(
    sources: NDArray[np.float64], psf: NDArray[np.float64], has_pixel: bool, shape: tuple[int, int]
) -> NDArray[np.float64]: ...
def render_integrated(sources: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]: ...
