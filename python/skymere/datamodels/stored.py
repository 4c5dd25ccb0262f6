"""A mosaic that stays where it is stored and is read window by window."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels.mosaic import Mosaic
from skymere.datamodels.noise import NoiseCovariance
from skymere.errors import InvalidInputError
from skymere.wcs import Grid

__all__ = ["Sliceable", "StoredMosaic"]


class Sliceable(Protocol):
    """What gives a window of itself: an array, a Zarr array, a memory map."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return a window."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredMosaic:
    """A `skymere.datamodels.Mosaic` whose planes are read when they are looked at.

    Parameters
    ----------
    band, grid, exposure_ids, unit, zero_point_ab, weight_kind, noise_correlation
        As in `Mosaic`.
    data, weight, variance : array, float32, shape (ny, nx)
        Anything that gives a window when sliced.
    context : array, int32, shape (n_planes, ny, nx)
        The same.
    noise_class : array, uint8, shape (ny, nx), optional
        Class of position of every pixel.
    noise : NoiseCovariance, optional
        Kernels and names of the classes; its own class map is not looked at.
    bad : array, bool, shape (ny, nx), optional
        Pixels that windows do not have (True), see `without_pixels`.

    Raises
    ------
    InvalidInputError
        When the arrays differ in shape.
    """

    band: str
    grid: Grid
    data: Sliceable
    weight: Sliceable
    variance: Sliceable
    context: Sliceable
    exposure_ids: tuple[str, ...]
    unit: str = "electron / s"
    zero_point_ab: float = float("nan")
    weight_kind: Any = "exposure_time"
    noise_correlation: float = 1.0
    noise_class: Sliceable | None = None
    noise: NoiseCovariance | None = None
    bad: Sliceable | None = None

    def __post_init__(self) -> None:
        shapes = {name: tuple(getattr(self, name).shape)[-2:] for name in ("data", "weight", "variance", "context")}
        if set(shapes.values()) != {self.grid.shape}:
            msg = f"shapes {shapes} of band {self.band} are not allowed, they must be {self.grid.shape}"
            raise InvalidInputError(msg)

    @classmethod
    def of(cls, mosaic: "Mosaic | StoredMosaic") -> "StoredMosaic":
        """Return the same with a mosaic in memory as its store."""
        if isinstance(mosaic, StoredMosaic):
            return mosaic
        names = ("band", "grid", "data", "weight", "variance", "context", "exposure_ids", "unit", "zero_point_ab")
        given = {name: getattr(mosaic, name) for name in (*names, "weight_kind", "noise_correlation", "noise")}
        return cls(**given, noise_class=None if mosaic.noise is None else mosaic.noise.class_map)

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)``."""
        return self.grid.shape

    def window(self, rows: slice, columns: slice) -> Mosaic:
        """Read a window, without a step."""
        y0, y1, _ = rows.indices(self.shape[0])
        x0, x1, _ = columns.indices(self.shape[1])
        at = slice(y0, y1), slice(x0, x1)

        def pixels(plane: Sliceable, *, dtype: Any = np.float32) -> NDArray[Any]:
            return np.ascontiguousarray(plane[at], dtype)

        noise = None
        if self.noise is not None and self.noise_class is not None:
            noise = NoiseCovariance(
                kernels=self.noise.kernels,
                class_map=pixels(self.noise_class, dtype=np.uint8),
                classes=self.noise.classes,
                params=self.noise.params,
            )
        data = pixels(self.data)
        if self.bad is not None:
            data = np.where(self.bad[at], np.float32(np.nan), data)
        return Mosaic(
            band=self.band,
            grid=self.grid.cutout(y0, x0, (y1 - y0, x1 - x0)),
            data=data,
            weight=pixels(self.weight),
            variance=pixels(self.variance),
            context=np.ascontiguousarray(self.context[:, at[0], at[1]], np.int32),
            exposure_ids=self.exposure_ids,
            unit=self.unit,
            zero_point_ab=self.zero_point_ab,
            weight_kind=self.weight_kind,
            noise_correlation=self.noise_correlation,
            noise=noise,
        )
