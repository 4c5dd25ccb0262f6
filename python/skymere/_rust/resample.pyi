from typing import final

import numpy as np
from numpy.typing import NDArray

@final
class Drizzler:
    def __new__(cls, shape: tuple[int, int], kernel: str, pixfrac: float, fillval: float) -> Drizzler: ...
    def add(
        self,
        data: NDArray[np.float32],
        pixmap: NDArray[np.float64],
        weight: NDArray[np.float32] | None,
        variance: NDArray[np.float32] | None,
        dq: NDArray[np.uint32] | None,
        value_scale: float,
        pixel_scale_ratio: float | None,
    ) -> None: ...
    @property
    def n_exposures(self) -> int: ...
    def read(
        self,
    ) -> tuple[
        NDArray[np.float32],
        NDArray[np.float32],
        NDArray[np.float32] | None,
        NDArray[np.int32],
        NDArray[np.uint32] | None,
    ]: ...
    def finish(
        self,
    ) -> tuple[
        NDArray[np.float32],
        NDArray[np.float32],
        NDArray[np.float32] | None,
        NDArray[np.int32],
        NDArray[np.uint32] | None,
    ]: ...

def blot(
    data: NDArray[np.float32],
    pixmap: NDArray[np.float64],
    interpolation: str,
    fillval: float,
) -> NDArray[np.float32]: ...
def pixel_scale_ratio(pixmap: NDArray[np.float64]) -> float: ...
