"""What the flaggers of slit exposures share: the reasons, the result, and stacks with or without a cutout's shape."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError

__all__ = ["SLIT_OUTLIER_BITS", "SlitOutliers"]

_Array = NDArray[np.float64]
_Mask = NDArray[np.bool_]

SLIT_OUTLIER_BITS: Mapping[str, int] = MappingProxyType(
    {
        name: 1 << bit
        for bit, name in enumerate(
            (
                "profile_high",  # brighter than the profile across the trace allows
                "profile_low",
                "stack_high",  # the median of the exposures sticks out of its neighbours
                "stack_low",
                "cold_pixel",  # low in several exposures
                "hot_exposures",  # high in several exposures
                "percentile",  # above the level that percentiles of the trace extrapolate to
                "local_high",  # above the same place in the other exposures
                "local_low",
                "beside_trace",  # brighter than the trace itself
                "grown",  # beside an outlier
            ),
            start=16,
        )
    }
)


@dataclass(frozen=True, kw_only=True, eq=False)
class SlitOutliers:
    """What a flagger found.

    Parameters
    ----------
    flags : ndarray, uint32, shape of the data
        Bits of `SLIT_OUTLIER_BITS`.
    n_flagged : mapping of str to int
        Pixels with each bit that occurs, those that were not valid before included.
    status : str
        ``ok``, or ``too_few_pixels`` when there was nothing to go by and nothing was flagged.
    limits : mapping of str to float
        Levels that followed from the data.
    curves : mapping of str to ndarray, float64, shape (m,)
        Limits that run along a coordinate, and that coordinate: ``yslit`` or ``wavelength``, ``high``, ``low`` and what
        they come from.
    """

    flags: NDArray[np.uint32]
    n_flagged: Mapping[str, int]
    status: str
    limits: Mapping[str, float]
    curves: Mapping[str, _Array] = field(default_factory=dict, repr=False)

    @property
    def mask(self) -> _Mask:
        """True = do not use."""
        return np.asarray(self.flags != 0)


class Stack:
    """The exposures of a slit as float64, shape ``(n, n_pixels)``, and the way back."""

    def __init__(self, data: ArrayLike, shape: tuple[int, int] | None) -> None:
        values = np.asarray(as_array(data, "data", np.float64))
        if values.ndim not in (2, 3):
            msg = f"data: shape {values.shape} is not allowed, it must be (n, ny, nx) or (n, n_pixels)"
            raise InvalidInputError(msg)
        if values.ndim == 3 and shape not in (None, values.shape[1:]):
            msg = f"shape: {shape} is not allowed, it must be {values.shape[1:]}"
            raise InvalidInputError(msg)
        self.given = values.shape
        self._image = values.shape[1:] if values.ndim == 3 else shape
        if self._image is not None and values.ndim == 2 and self._image[0] * self._image[1] != values.shape[1]:
            msg = f"shape: {shape} is not allowed, it must have {values.shape[1]} pixels"
            raise InvalidInputError(msg)
        self.data: _Array = values.reshape(values.shape[0], -1)

    @property
    def image(self) -> tuple[int, int]:
        """Shape of a cutout."""
        if self._image is None:
            msg = f"shape: it is needed for data of shape {self.given}"
            raise InvalidInputError(msg)
        return self._image[0], self._image[1]

    def array(self, value: ArrayLike, name: str) -> _Array:
        """Return another array of the stack."""
        array = np.asarray(as_array(value, name, np.float64, shape=self.given), np.float64)
        return array.reshape(self.data.shape)

    def mask(self, value: ArrayLike | None, *others: _Array) -> _Mask:
        """Return the valid pixels with finite data and finite other arrays."""
        good = np.isfinite(self.data)
        if value is not None:
            good &= np.asarray(as_array(value, "valid", np.bool_, shape=self.given), np.bool_).reshape(good.shape)
        for other in others:
            good &= np.isfinite(other)
        return good

    def images(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return arrays as images."""
        return np.ascontiguousarray(values.reshape(-1, *self.image))

    def found(
        self,
        reasons: Mapping[str, _Mask],
        *,
        status: str = "ok",
        limits: Mapping[str, float] | None = None,
        curves: Mapping[str, _Array] | None = None,
    ) -> SlitOutliers:
        """Return the result of masks; a mask of one exposure is for all of them."""
        flags = np.zeros(self.data.shape, np.uint32)
        for name, mask in reasons.items():
            flags |= np.where(mask.reshape(-1, self.data.shape[1]), np.uint32(SLIT_OUTLIER_BITS[name]), np.uint32(0))
        counts = {name: int(((flags & np.uint32(SLIT_OUTLIER_BITS[name])) != 0).sum()) for name in reasons}
        return SlitOutliers(
            flags=flags.reshape(self.given),
            n_flagged=MappingProxyType({name: count for name, count in counts.items() if count}),
            status=status,
            limits=MappingProxyType(dict(limits or {})),
            curves=MappingProxyType(dict(curves or {})),
        )

    def too_few(self) -> SlitOutliers:
        """Return the result of a flagger that had nothing to go by."""
        return self.found({}, status="too_few_pixels")


def grow_plus(masks: _Mask, times: int = 1) -> _Mask:
    """Return masks of shape (n, ny, nx) with the four neighbours of their pixels."""
    for _ in range(times):
        padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
        masks = masks | padded[:, :-2, 1:-1] | padded[:, 2:, 1:-1] | padded[:, 1:-1, :-2] | padded[:, 1:-1, 2:]
    return masks


def has_neighbours(masks: _Mask) -> _Mask:
    """Return the pixels of masks of shape (n, ny, nx) that have a set one among their four neighbours."""
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    near = padded[:, :-2, 1:-1] | padded[:, 2:, 1:-1] | padded[:, 1:-1, :-2] | padded[:, 1:-1, 2:]
    return np.asarray(masks & near)


def check_range(name: str, value: tuple[float, float]) -> None:
    """Raise an error when a range does not rise."""
    if not (len(value) == 2 and value[0] < value[1]):
        msg = f"{name}: {value} is not allowed, it must rise"
        raise InvalidInputError(msg)
