import numpy as np
from numpy.typing import NDArray

def find(
    data: NDArray[np.float32],
    error: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    *,
    fwhm_pix: float,
    n_sigma: float,
    threshold: float,
    separation_pix: int,
    min_window_pix: float,
    max_window_pix: float,
) -> NDArray[np.float64]: ...
def offset(
    first: NDArray[np.float64], second: NDArray[np.float64], radius: float, bin_size: float
) -> tuple[list[float], int, float, int, bool] | None: ...
def match_nearest(first: NDArray[np.float64], second: NDArray[np.float64], radius: float) -> NDArray[np.float64]: ...
def fit(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    weight: NDArray[np.float64],
    fitgeom: str,
    n_clip: int,
    sigma: float,
) -> tuple[
    list[list[float]],
    list[float],
    list[float],
    NDArray[np.bool_],
    NDArray[np.float64],
    list[float],
    float,
]: ...
def sample(
    data: NDArray[np.float32], mask: NDArray[np.bool_] | None, points: NDArray[np.float64]
) -> NDArray[np.float64]: ...
