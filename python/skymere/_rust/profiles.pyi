from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Fits: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], list[str]]

_SceneFits: TypeAlias = tuple[_Fits, NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]

def fit_scene(
    data: NDArray[np.float32],
    variance: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    labels: NDArray[np.int32],
    psf: NDArray[np.float64],
    *,
    centre: tuple[float, float],
    oversampling: int,
    has_pixel: bool,
    reach: float,
    bounds: tuple[list[tuple[float, float]], list[tuple[float, float]]],
    is_poisson: bool,
    n_starts: int,
    max_evaluations: int,
    tolerance: float,
    sizes: tuple[float, float, float],
    max_members: int,
    n_passes: int,
) -> _SceneFits: ...
def fit_stamps(
    data: NDArray[np.float32],
    variance: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    psf: NDArray[np.float64],
    start: NDArray[np.float64],
    *,
    centre: tuple[float, float],
    oversampling: int,
    has_pixel: bool,
    reach: float,
    bounds: tuple[list[tuple[float, float]], list[tuple[float, float]]],
    is_poisson: bool,
    n_starts: int,
    max_evaluations: int,
    tolerance: float,
) -> _Fits: ...
def render_convolved(
    sources: NDArray[np.float64],
    psf: NDArray[np.float64],
    centre: tuple[float, float],
    oversampling: int,
    has_pixel: bool,
    shape: tuple[int, int],
) -> NDArray[np.float64]: ...
def render_integrated(sources: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]: ...
