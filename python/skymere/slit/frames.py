"""Frames of one source in one grating: plain arrays that the functions of this package take."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array, as_floats
from skymere.errors import InvalidInputError

__all__ = ["SlitFrames", "set_trace_coeffs", "update_trace_from_coeffs"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SlitFrames:
    """Cutouts of one slitlet in n exposures, on common rows and columns; wavelength grows along x.

    Parameters
    ----------
    data : array_like, float64, shape (n, ny, nx) [uJy]
        Fluxes, without the sky where a ``sky`` is given.
    variance : array_like, float64, shape (n, ny, nx) [uJy2]
        Variance of ``data``, the noise of sky and sources included.
    read_variance : array_like, float64, shape (n, ny, nx) [uJy2]
        Variance of the read noise.
    mask : array_like, bool, shape (n, ny, nx)
        True = do not use; pixels without finite data or variances are masked too.
    position : array_like, int64, shape (n,)
        Nod position of every exposure; the exposures of one position are a group.
    wavelength : array_like, float64, shape (n, ny, nx) [um]
        Vacuum wavelength of every pixel.
    base_coeffs : array_like, float64, shape (n, m) [pix]
        Polynomial of the trace's row, highest power first, of ``(x - nx / 2) / nx``.
    trace_coeffs : array_like, float64, shape (n, k) [pix], optional
        Polynomial that is added to it; 0 when not given.
    sky : array_like, float64, shape (n, ny, nx) [uJy], optional
        Sky that was subtracted.
    counted_mask : array_like, bool, shape (n, ny, nx), optional
        The mask before later flagging; only ``NodParams(negative_count="counted")`` asks for it. ``mask`` when not
        given.

    Raises
    ------
    InvalidInputError
        When shapes differ.
    """

    data: NDArray[np.float64]
    variance: NDArray[np.float64]
    read_variance: NDArray[np.float64]
    mask: NDArray[np.bool_]
    position: NDArray[np.int64]
    wavelength: NDArray[np.float64]
    base_coeffs: NDArray[np.float64]
    trace_coeffs: NDArray[np.float64] | None = None
    sky: NDArray[np.float64] | None = None
    counted_mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        data = as_floats(self.data, "data", shape=(None, None, None))
        shape = data.shape
        made: dict[str, NDArray[Any]] = {"data": data}
        for name in ("variance", "read_variance", "wavelength", "sky"):
            if getattr(self, name) is not None:
                made[name] = as_floats(getattr(self, name), name, shape=shape)
        given = np.asarray(as_array(self.mask, "mask", np.bool_, shape=shape), dtype=bool)
        is_finite = np.isfinite(data) & np.isfinite(made["variance"]) & np.isfinite(made["read_variance"])
        made["mask"] = given | ~is_finite
        made["counted_mask"] = made["mask"]
        if self.counted_mask is not None:
            made["counted_mask"] = as_array(self.counted_mask, "counted_mask", np.bool_, shape=shape)
        made["position"] = as_array(self.position, "position", np.int64, shape=shape[:1])
        base = as_floats(self.base_coeffs, "base_coeffs", shape=(shape[0], None))
        made["base_coeffs"] = base
        offsets = np.zeros_like(base) if self.trace_coeffs is None else self.trace_coeffs
        made["trace_coeffs"] = as_floats(offsets, "trace_coeffs", shape=(shape[0], None))
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of exposures, rows and columns."""
        n, ny, nx = self.data.shape
        return n, ny, nx

    @property
    def positions(self) -> tuple[int, ...]:
        """Nod positions, each once."""
        return tuple(int(p) for p in np.unique(self.position))

    @property
    def base_trace(self) -> NDArray[np.float64]:
        """Row of the trace without ``trace_coeffs``, float64, shape (n, nx) [pix]."""
        return self._polynomials(self.base_coeffs)

    @property
    def trace(self) -> NDArray[np.float64]:
        """Row of the trace, float64, shape (n, nx) [pix]."""
        assert self.trace_coeffs is not None
        return self.base_trace + self._polynomials(self.trace_coeffs)

    @property
    def yslit(self) -> NDArray[np.float64]:
        """Distance of every pixel from the trace, float64, shape (n, ny, nx) [pix]."""
        return np.arange(self.shape[1], dtype=float)[None, :, None] - self.trace[:, None, :]

    def is_at(self, position: int) -> NDArray[np.bool_]:
        """Return which exposures are at a position.

        Parameters
        ----------
        position : int
            One of ``positions``.

        Raises
        ------
        InvalidInputError
            When there is none.
        """
        found: NDArray[np.bool_] = np.asarray(self.position == position)
        if not found.any():
            msg = f"position: {position} is not allowed, it must be one of {self.positions}"
            raise InvalidInputError(msg)
        return found

    def with_trace(self, coeffs: ArrayLike, *, position: int | None = None) -> Self:
        """Return frames with another polynomial added to the trace.

        Parameters
        ----------
        coeffs : array_like, float64, shape (k,) [pix]
            Highest power first.
        position : int, optional
            Only for the exposures of this position; for all when not given.
        """
        row = as_floats(coeffs, "coeffs", shape=(None,))
        assert self.trace_coeffs is not None
        length = max(row.size, self.trace_coeffs.shape[1])
        # Shorter polynomials have no higher powers.
        coefficients = np.zeros((self.shape[0], length))
        coefficients[:, length - self.trace_coeffs.shape[1] :] = self.trace_coeffs
        chosen = np.ones(self.shape[0], dtype=bool) if position is None else self.is_at(position)
        coefficients[chosen] = np.concatenate([np.zeros(length - row.size), row])
        return replace(self, trace_coeffs=coefficients)

    def _polynomials(self, coeffs: NDArray[np.float64]) -> NDArray[np.float64]:
        nx = self.shape[2]
        place = (np.arange(nx, dtype=float) - nx / 2) / nx
        return np.array([np.polyval(one, place) for one in coeffs])


def set_trace_coeffs(
    x: ArrayLike, y: ArrayLike, *, n_columns: int, degree: int = 2
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return polynomials of traces and as many coefficients of 0 to be fitted.

    Parameters
    ----------
    x, y : array_like, float64, shape (n, m) [pix]
        Points of the trace of every exposure; those that are not finite are left out.
    n_columns : int
        Columns of the cutout.
    degree : int
        Degree of the polynomials.

    Returns
    -------
    base_coeffs, trace_coeffs : ndarray, float64, shape (n, degree + 1) [pix]
        Highest power first, of ``(x - n_columns / 2) / n_columns``.

    Raises
    ------
    InvalidInputError
        When an exposure has fewer points than coefficients.
    """
    xs = as_floats(x, "x", shape=(None, None))
    ys = as_floats(y, "y", shape=xs.shape)
    base = np.empty((xs.shape[0], degree + 1))
    for i, (xi, yi) in enumerate(zip((xs - n_columns / 2) / n_columns, ys, strict=True)):
        good = np.isfinite(xi + yi)
        if good.sum() <= degree:
            msg = f"x, y: {good.sum()} points of exposure {i} are not allowed, degree {degree} needs {degree + 1}"
            raise InvalidInputError(msg)
        base[i] = np.polyfit(xi[good], yi[good], degree)
    return base, np.zeros_like(base)


def update_trace_from_coeffs(
    base_coeffs: ArrayLike, trace_coeffs: ArrayLike, *, shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distances of pixels from their traces, and from the first exposure's trace without offsets.

    Parameters
    ----------
    base_coeffs, trace_coeffs : array_like, float64, shape (n, m) and (n, k) [pix]
        As `set_trace_coeffs` gives them.
    shape : tuple of int
        Rows and columns of the cutout.

    Returns
    -------
    yslit, yshutter : ndarray, float64, shape (n, ny, nx) [pix]
        Distances.
    """
    base = as_floats(base_coeffs, "base_coeffs", shape=(None, None))
    offset = as_floats(trace_coeffs, "trace_coeffs", shape=(base.shape[0], None))
    ny, nx = shape
    place = (np.arange(nx, dtype=float) - nx / 2) / nx
    traces = np.array([np.polyval(b, place) + np.polyval(t, place) for b, t in zip(base, offset, strict=True)])
    first = np.polyval(base[0], place)
    rows = np.arange(ny, dtype=float)[:, None]
    return rows - traces[:, None, :], np.repeat((rows - first)[None], len(base), axis=0)
