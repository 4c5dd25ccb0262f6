from collections.abc import Sequence
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

class _NoiseParts(Protocol):
    @property
    def kernels(self) -> NDArray[np.float64]: ...
    @property
    def class_map(self) -> NDArray[np.uint8]: ...
    @property
    def weight(self) -> NDArray[np.float32] | None: ...

class _ImageParts(Protocol):
    @property
    def data(self) -> NDArray[np.float32]: ...
    @property
    def variance(self) -> NDArray[np.float32] | None: ...
    @property
    def mask(self) -> NDArray[np.bool_] | None: ...
    @property
    def saturated(self) -> NDArray[np.bool_] | None: ...
    @property
    def noise_correlation(self) -> float: ...
    @property
    def noise(self) -> _NoiseParts | None: ...
    @property
    def scale(self) -> float: ...

def label(mask: NDArray[np.uint8], connectivity: int) -> tuple[NDArray[np.int32], int]: ...
def label_and_tally(
    mask: NDArray[np.uint8], connectivity: int
) -> tuple[NDArray[np.int32], dict[str, NDArray[np.int64]]]: ...
def convolve(
    data: NDArray[np.float32],
    kernel: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    weight: NDArray[np.float32] | None,
) -> NDArray[np.float32]: ...
def filtered_noise(
    data: NDArray[np.float32],
    error: NDArray[np.float32] | None,
    sigma: float,
    mask: NDArray[np.bool_] | None,
    kernel: NDArray[np.float32] | None,
) -> float: ...
def negative_depths(
    data: NDArray[np.float32],
    error: NDArray[np.float32] | None,
    sigma: float,
    mask: NDArray[np.bool_] | None,
    kernel: NDArray[np.float32] | None,
    rows: list[list[int]],
) -> NDArray[np.float32]: ...
def sampled_rows(ny: int, nx: int) -> list[list[int]]: ...
def noise_of_depths(depths: NDArray[np.float32]) -> float: ...

@final
class Detector:
    def __new__(
        cls,
        ny: int,
        nx: int,
        kernel: NDArray[np.float32] | None,
        *,
        threshold: float,
        extent: float,
        is_filtered: bool,
        connectivity: int,
        min_area: int,
        deblend_levels: tuple[int, str, float, bool] | None,
        saddles: tuple[float, float] | None,
        sharp_kernel: NDArray[np.float32] | None,
        clean: float | None,
    ) -> Detector: ...
    def margin(self) -> tuple[int, int]: ...
    def add(
        self,
        data: NDArray[np.float32],
        error: NDArray[np.float32] | None,
        sigma: float,
        mask: NDArray[np.bool_] | None,
        origin: tuple[int, int],
        core: tuple[list[int], list[int]],
    ) -> None: ...
    def finish(self) -> Detected: ...

@final
class Detected:
    @property
    def n_sources(self) -> int: ...
    def labels(self, y0: int, x0: int, ny: int, nx: int) -> NDArray[np.int32]: ...

def deblend(
    data: NDArray[np.float32],
    labels: NDArray[np.int32],
    *,
    threshold: float,
    sigma: float,
    min_area: int,
    connectivity: int,
    deblend_levels: tuple[int, str, float, bool] | None,
    saddles: tuple[float, float] | None,
) -> tuple[NDArray[np.int32], int]: ...
def measure(
    labels: NDArray[np.int32],
    detection: _ImageParts,
    kernel: NDArray[np.float32] | None,
    bands: Sequence[_ImageParts],
    shapes: NDArray[np.float64] | None,
    wanted: NDArray[np.int32] | None,
    *,
    aperture_radii: Sequence[float],
    kron_factor: float,
    kron_min_radius: float,
    kron_extent: float,
    neighbours: str,
    is_extended: bool,
    has_moving_edges: bool,
) -> dict[str, Any]: ...
def sum_apertures(
    image: _ImageParts,
    labels: NDArray[np.int32] | None,
    apertures: NDArray[np.float64],
    owner: NDArray[np.int32],
    *,
    neighbours: str,
) -> list[NDArray[np.float64]]: ...
def kron_radii(
    image: _ImageParts,
    labels: NDArray[np.int32] | None,
    ellipses: NDArray[np.float64],
    owner: NDArray[np.int32],
    *,
    extent: float,
    neighbours: str,
) -> NDArray[np.float64]: ...
def extents(labels: NDArray[np.int32]) -> list[list[int]]: ...
def distance_to(mask: NDArray[np.bool_]) -> NDArray[np.float32]: ...
def farthest_places(
    distance: NDArray[np.float32], threshold: float, separation: float, n_places: int
) -> list[list[int]]: ...
def peak_first(
    data: NDArray[np.float32], *, threshold: float, reach: int, min_area: int
) -> tuple[NDArray[np.int32], NDArray[np.uintp], NDArray[np.uintp]]: ...
def filtered_snr(
    data: NDArray[np.float32],
    error: NDArray[np.float32] | None,
    sigma: float,
    mask: NDArray[np.bool_] | None,
    kernel: NDArray[np.float32] | None,
) -> NDArray[np.float32]: ...
def segment_sums(
    labels: NDArray[np.int32], data: NDArray[np.float32], variance: NDArray[np.float32]
) -> dict[str, Any]: ...
