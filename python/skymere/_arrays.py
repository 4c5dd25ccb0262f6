"""From whatever a user passes to what the kernels take: native-endian, C-ordered arrays of the documented dtype."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from skymere.errors import InvalidInputError

__all__ = ["as_array", "as_floats", "as_image", "as_mask"]


def as_array(
    value: ArrayLike,
    name: str,
    dtype: DTypeLike,
    *,
    shape: Sequence[int | None] | None = None,
) -> NDArray[np.generic]:
    """Return ``value`` as a native, C-ordered array of ``dtype``; a view where that is possible.

    Parameters
    ----------
    value : array_like
        What the user passed.
    name : str
        Name of the argument, for the error.
    dtype : dtype
        Wanted dtype; floats and integers become floats, integers become integers that can hold their values.
    shape : sequence of int or None, optional
        Wanted shape; None stands for any length.

    Raises
    ------
    InvalidInputError
        When the value is not an array of that kind, or of another shape.
    """
    wanted = np.dtype(dtype)
    array = np.asarray(value)
    if not (
        np.can_cast(array.dtype, wanted, casting="same_kind") or (array.dtype.kind in "ui" and wanted.kind in "uif")
    ):
        msg = f"{name}: dtype {array.dtype} cannot be used as {wanted}"
        raise InvalidInputError(msg)
    if wanted.kind in "ui" and array.dtype != wanted and array.size:
        low, high = int(array.min()), int(array.max())
        if low < np.iinfo(wanted).min or high > np.iinfo(wanted).max:
            msg = f"{name}: values from {low} to {high} cannot be used as {wanted}"
            raise InvalidInputError(msg)
    if shape is not None:
        fits = array.ndim == len(shape) and all(
            want is None or have == want for have, want in zip(array.shape, shape, strict=True)
        )
        if not fits:
            text = ", ".join("any" if want is None else str(want) for want in shape)
            msg = f"{name}: shape {array.shape} is not allowed, it must be ({text})"
            raise InvalidInputError(msg)
    return np.ascontiguousarray(array, dtype=wanted)


def as_floats(value: ArrayLike, name: str, *, shape: Sequence[int | None] | None = None) -> NDArray[np.float64]:
    """Return ``value`` as a float64 array; see `as_array`."""
    return as_array(value, name, np.float64, shape=shape)  # type: ignore[return-value]


def as_image(value: ArrayLike, name: str, *, shape: tuple[int, int] | None = None) -> NDArray[np.float32]:
    """Return ``value`` as a float32 image ``[y, x]``; see `as_array`."""
    return as_array(value, name, np.float32, shape=shape or (None, None))  # type: ignore[return-value]


def as_mask(value: ArrayLike, name: str, *, shape: tuple[int, int] | None = None) -> NDArray[np.bool_]:
    """Return ``value`` as a bool mask ``[y, x]``, True = do not use; see `as_array`."""
    return as_array(value, name, np.bool_, shape=shape or (None, None))  # type: ignore[return-value]
