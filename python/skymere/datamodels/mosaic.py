"""One image of one band on an undistorted grid, combined from exposures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skymere._arrays import as_array, as_image
from skymere.datamodels.noise import NoiseCovariance
from skymere.errors import InvalidInputError
from skymere.wcs import Grid

__all__ = ["Mosaic", "WeightKind"]

WeightKind = Literal["exposure_time", "inverse_variance", "inverse_variance_with_sources"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mosaic:
    """One image of one band on an undistorted grid, combined from exposures.

    Parameters
    ----------
    band : str
        Filter, lower case.
    grid : Grid
        WCS and shape.
    data : ndarray, float32, shape (ny, nx) [unit]
        Weighted mean of the exposures, sky subtracted; NaN where nothing contributed.
    weight : ndarray, float32, shape (ny, nx)
        Sum of the weights; ``weight_kind`` says what they are ([s] for exposure times).
    variance : ndarray, float32, shape (ny, nx) [unit^2]
        Variance of each pixel alone, sources included; neighbours are correlated, see ``noise_correlation``.
    context : ndarray, int32, shape (n_planes, ny, nx)
        Bit ``k % 32`` of plane ``k // 32`` is set where exposure ``k`` contributed.
    exposure_ids : tuple of str
        The exposures, in the order of the context bits.
    unit : str
        FITS unit of ``data``.
    zero_point_ab : float
        AB magnitude of one unit of ``data``.
    weight_kind : str
        ``exposure_time``, ``inverse_variance`` (background only) or ``inverse_variance_with_sources``.
    noise_correlation : float
        R of Casertano et al. (2000): noise in large areas over that of independent pixels of this variance.
    noise : NoiseCovariance, optional
        How the noise of neighbours is correlated.
    params : mapping
        The parameters that it was made with.

    Raises
    ------
    InvalidInputError
        When the arrays differ in shape.
    """

    band: str
    grid: Grid
    data: NDArray[np.float32]
    weight: NDArray[np.float32]
    variance: NDArray[np.float32]
    context: NDArray[np.int32]
    exposure_ids: tuple[str, ...]
    unit: str = "electron / s"
    zero_point_ab: float = float("nan")
    weight_kind: WeightKind = "exposure_time"
    noise_correlation: float = 1.0
    noise: NoiseCovariance | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.grid.shape
        for name in ("data", "weight", "variance"):
            object.__setattr__(self, name, as_image(getattr(self, name), name, shape=shape))
        object.__setattr__(self, "context", as_array(self.context, "context", np.int32, shape=(None, *shape)))
        if self.noise is not None and self.noise.class_map.shape != tuple(shape):
            msg = f"noise: class_map of shape {self.noise.class_map.shape} is not allowed, it must be {tuple(shape)}"
            raise InvalidInputError(msg)
        object.__setattr__(self, "params", MappingProxyType(dict(self.params)))

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)``."""
        return self.grid.shape

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Pixels to which at least one exposure contributed."""
        return np.asarray(self.weight > 0)

    @property
    def microjansky_per_unit(self) -> float:
        """Flux density of one unit of ``data`` [uJy]."""
        return float(10.0 ** (-0.4 * (self.zero_point_ab - 23.9)))
