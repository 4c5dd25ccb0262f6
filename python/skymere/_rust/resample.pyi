import numpy as np
from numpy.typing import NDArray

def add(
    out_mean: NDArray[np.float64],
    out_context: NDArray[np.int32],
    out_variance: NDArray[np.float64] | None,
    out_dq: NDArray[np.uint32] | None,
    data: NDArray[np.float32],
    pixmap: NDArray[np.float64],
    weight: NDArray[np.float32] | None,
    variance: NDArray[np.float32] | None,
    dq: NDArray[np.uint32] | None,
    value_scale: float,
    pixel_scale_ratio: float | None,
    kernel: str,
    pixfrac: float,
    index: int,
    first: tuple[int, int],
    n_columns: int,
) -> None: ...
def weighted_mean(
    mean: NDArray[np.float64],
    fillval: float,
    out_data: NDArray[np.float32],
    out_weight: NDArray[np.float32],
) -> None: ...
def mean_variance(
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
    fillval: float,
    out_variance: NDArray[np.float32],
) -> None: ...
def add_sum_variances(
    out_variance: NDArray[np.float64],
    boxes: NDArray[np.int64],
    factors: NDArray[np.float64],
    total_weight: NDArray[np.float32],
    data: NDArray[np.float32],
    pixmap: NDArray[np.float64],
    weight: NDArray[np.float32] | None,
    variance: NDArray[np.float32],
    value_scale: float,
    pixel_scale_ratio: float | None,
    kernel: str,
    pixfrac: float,
) -> None: ...
def lag_sums(
    boxes: NDArray[np.int64],
    box_classes: NDArray[np.uint8],
    scales: NDArray[np.float64],
    classes: NDArray[np.uint8],
    n_classes: int,
    reach: int,
    total_weight: NDArray[np.float32],
    data: NDArray[np.float32],
    pixmap: NDArray[np.float64],
    weight: NDArray[np.float32] | None,
    variance: NDArray[np.float32],
    value_scale: float,
    pixel_scale_ratio: float | None,
    kernel: str,
    pixfrac: float,
) -> NDArray[np.float64]: ...
def lag_products(
    boxes: NDArray[np.int64],
    box_classes: NDArray[np.uint8],
    scales: NDArray[np.float64],
    classes: NDArray[np.uint8],
    n_classes: int,
    reach: int,
    image: NDArray[np.float32],
) -> NDArray[np.float64]: ...
def blot(
    data: NDArray[np.float32],
    pixmap: NDArray[np.float64],
    interpolation: str,
    sinscl: float,
    fillval: float,
) -> NDArray[np.float32]: ...
def pixel_scale_ratio(pixmap: NDArray[np.float64]) -> float: ...
