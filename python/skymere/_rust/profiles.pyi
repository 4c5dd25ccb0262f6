from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

_Fits: TypeAlias = tuple[
    NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64], list[str]
]
_SceneFits: TypeAlias = tuple[_Fits, NDArray[np.float64], list[int], list[list[int]], NDArray[np.float32]]
_Words: TypeAlias = dict[str, Any]

def draw_stamps(
    rows: NDArray[np.float64],
    n_rows: list[int],
    psf: _Words | None,
    enclosed: float,
    max_half: int,
) -> tuple[list[NDArray[np.float64]], list[tuple[int, int]], list[str]]: ...
def fit_scene(
    data: NDArray[np.float32],
    variance: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    labels: NDArray[np.int32],
    psf: _Words,
    plans: list[_Words],
    fits: _Words,
    scene: _Words,
) -> _SceneFits: ...
def fit_stamps(
    data: NDArray[np.float32],
    variance: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    psf: _Words,
    start: NDArray[np.float64],
    fits: _Words,
) -> tuple[_Fits, NDArray[np.float64]]: ...
def render_convolved(
    sources: NDArray[np.float64],
    psf: _Words,
    shape: tuple[int, int],
) -> NDArray[np.float64]: ...
def render_integrated(sources: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]: ...
