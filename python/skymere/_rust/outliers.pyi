import numpy as np
from numpy.typing import NDArray

def lacosmic(
    data: NDArray[np.float32],
    variance: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    background: NDArray[np.float32] | None,
    *,
    sigma: float,
    sigma_near: float,
    contrast: float,
    saturation: float,
    n_rounds: int,
    fill: str,
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]: ...
def low_pixels(
    data: NDArray[np.float32], sigma: float, n_clip: int, clip_sigma: float, bin_width: float
) -> NDArray[np.bool_]: ...
def combine(
    stack: NDArray[np.float32],
    mask: NDArray[np.bool_],
    *,
    statistic: str,
    n_low: int,
    n_high: int,
    limits: tuple[float, float],
    all_if_none: bool,
) -> NDArray[np.float32]: ...
def minmed(
    stack: NDArray[np.float32],
    mask: NDArray[np.bool_],
    *,
    exptime: NDArray[np.float64],
    sky: NDArray[np.float64],
    read_noise: NDArray[np.float64],
    n_sigma_low: float,
    n_sigma_near: float,
    grow: int,
    limits: tuple[float, float],
    all_if_none: bool,
) -> NDArray[np.float32]: ...
def flag_cosmic_rays(
    data: NDArray[np.float32],
    model: NDArray[np.float32],
    error: NDArray[np.float32] | None,
    *,
    exptime: float,
    read_noise: float,
    snr: tuple[float, float],
    scale: tuple[float, float],
    core_scale: float,
) -> NDArray[np.bool_]: ...
def trail(mask: NDArray[np.bool_], length: int, upwards: bool) -> NDArray[np.bool_]: ...
def grow(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]: ...
def running_ranks(values: NDArray[np.float64], size: int, ranks: list[int]) -> NDArray[np.float64]: ...
def local_outliers(
    data: NDArray[np.float64],
    variance: NDArray[np.float64],
    wavelength: NDArray[np.float64],
    yslit: NDArray[np.float64],
    valid: NDArray[np.bool_],
    *,
    threshold: float,
    threshold_single: float,
    relative_error: float,
    position_error: float,
    interpolation_error: float,
    sharp_threshold: float,
    sharp_ratio: float,
) -> NDArray[np.int8]: ...
