from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

_Planes: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

def make_difference(
    data: NDArray[np.float64],
    sky: NDArray[np.float64] | None,
    variance: NDArray[np.float64],
    read_variance: NDArray[np.float64],
    mask: NDArray[np.bool_],
    negative_mask: NDArray[np.bool_],
    is_positive: Sequence[bool],
    single_variances: bool,
) -> dict[str, Any]: ...
def evaluate_profile(
    profile: Mapping[str, Any],
    wavelength: NDArray[np.float64],
    trace: NDArray[np.float64],
    size: NDArray[np.float64],
) -> NDArray[np.float64]: ...
def fit_difference(
    difference: NDArray[np.float64],
    variance: NDArray[np.float64],
    weight_variance: NDArray[np.float64],
    exposures: Mapping[str, Any],
    is_positive: Sequence[bool],
    is_negative: Sequence[bool],
    profile: Mapping[str, Any],
    starts: Sequence[Sequence[float]],
    params: Mapping[str, Any],
) -> dict[str, Any]: ...
def fit_frames(
    data: NDArray[np.float64],
    variance: NDArray[np.float64],
    exposures: Mapping[str, Any],
    sky: str,
    profile: Mapping[str, Any],
    starts: Sequence[Sequence[float]],
    params: Mapping[str, Any],
) -> dict[str, Any]: ...
def pseudo_drizzle(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    values: NDArray[np.float64],
    variance: NDArray[np.float64],
    weight: NDArray[np.float64],
    x_edges: NDArray[np.float64],
    y_edges: NDArray[np.float64],
) -> _Planes: ...
def overlap_drizzle(
    centre: tuple[NDArray[np.float64], NDArray[np.float64]],
    width: tuple[NDArray[np.float64], NDArray[np.float64]],
    values: NDArray[np.float64],
    variance: NDArray[np.float64],
    weight: NDArray[np.float64],
    edges: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> _Planes: ...
def bin_sums(
    wavelength: NDArray[np.float64],
    width: NDArray[np.float64] | None,
    edges: NDArray[np.float64],
    values: NDArray[np.float64],
) -> NDArray[np.float64]: ...
def raw_covariance(
    wavelength: NDArray[np.float64],
    width: NDArray[np.float64] | None,
    edges: NDArray[np.float64],
    coefficient: NDArray[np.float64],
    exposure: NDArray[np.int64],
    pixel: NDArray[np.int64],
    position: NDArray[np.int64],
    variance: NDArray[np.float64],
    mask: NDArray[np.bool_],
    n_negative: NDArray[np.int64],
) -> NDArray[np.float64]: ...
