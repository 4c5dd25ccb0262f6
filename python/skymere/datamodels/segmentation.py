"""Which pixel belongs to which source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere._arrays import as_array
from skymere.wcs import Grid

__all__ = ["SegmentationMap"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationMap:
    """Which pixel belongs to which source.

    Parameters
    ----------
    labels : ndarray, int32, shape (ny, nx)
        Label of the source of each pixel; 0 is sky.
    grid : Grid, optional
        WCS and shape; None for a bare array.
    params : mapping
        The parameters that it was made with.
    """

    labels: NDArray[np.int32]
    grid: Grid | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (None, None) if self.grid is None else self.grid.shape
        object.__setattr__(self, "labels", as_array(self.labels, "labels", np.int32, shape=shape))
        object.__setattr__(self, "params", MappingProxyType(dict(self.params)))

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)``."""
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def ids(self) -> NDArray[np.int32]:
        """The labels that occur, increasing, without 0."""
        found: NDArray[np.int32] = np.unique(self.labels)
        return np.asarray(found[found != 0], dtype=np.int32)

    @property
    def n_sources(self) -> int:
        """Number of labels that occur."""
        return int(self.ids.size)
