"""How the noise of a mosaic is correlated between its pixels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError

__all__ = ["NO_CLASS", "NoiseCovariance"]

NO_CLASS = 255
_SUBPIXELS = 8
# Pixels of stamps that are looked at together.
_STAMP_PIXELS = 4_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseCovariance:
    """How the noise of a mosaic is correlated between its pixels, by class of position.

    The covariance of pixels i and j, of classes c and d and variances ``s_i^2`` and ``s_j^2``, is
    ``s_i s_j (K_c + K_d) / 2`` with the kernels K at the distance ``j - i``. Variances are those of the mosaic, sources
    included.

    Parameters
    ----------
    kernels : ndarray, float64, shape (n_classes, 2 n + 1, 2 n + 1)
        Mean correlation of a pixel of the class with those around it, ``[class, dy, dx]``, predicted from the geometry
        of the exposures; 1 in the middle, symmetric.
    class_map : ndarray, uint8, shape (ny, nx)
        Class of every pixel; `NO_CLASS` where nothing contributed.
    classes : tuple of str
        Their names, in the order of ``kernels``.
    measured : ndarray, float64, shape of ``kernels``, or None
        The same, measured on blank sky in units of the predicted variance: in the middle the noise there is over the
        noise that was predicted, squared. NaN for a class with too little sky.
    params : mapping
        The parameters that it was made with.

    Raises
    ------
    InvalidInputError
        When the arrays do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.datamodels import NoiseCovariance
    >>> white = NoiseCovariance(kernels=np.ones((1, 1, 1)), class_map=np.zeros((50, 50), np.uint8), classes=("all",))
    >>> float(white.sum_variance(np.ones((5, 5)), np.full((5, 5), 4.0), y0=10, x0=10))
    100.0
    """

    kernels: NDArray[np.float64]
    class_map: NDArray[np.uint8]
    classes: tuple[str, ...] = ("interior", "edge", "hole", "edge_rim", "hole_rim")
    measured: NDArray[np.float64] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.classes)
        kernels: NDArray[Any] = as_array(self.kernels, "kernels", np.float64, shape=(n, None, None))
        side = kernels.shape[1]
        if kernels.shape[2] != side or side % 2 == 0:
            msg = f"kernels: shape {kernels.shape} is not allowed, the lags must form an odd square"
            raise InvalidInputError(msg)
        if not np.isfinite(kernels).all():
            msg = "kernels: values that are not finite are not allowed"
            raise InvalidInputError(msg)
        class_map: NDArray[Any] = as_array(self.class_map, "class_map", np.uint8, shape=(None, None))
        known = (class_map < n) | (class_map == NO_CLASS)
        if not known.all():
            msg = f"class_map: class {class_map[~known][0]} is not allowed, there are {n} classes and {NO_CLASS}"
            raise InvalidInputError(msg)
        object.__setattr__(self, "kernels", kernels)
        object.__setattr__(self, "class_map", class_map)
        object.__setattr__(self, "classes", tuple(self.classes))
        if self.measured is not None:
            measured = as_array(self.measured, "measured", np.float64, shape=kernels.shape)
            object.__setattr__(self, "measured", measured)
        object.__setattr__(self, "params", MappingProxyType(dict(self.params)))

    @property
    def reach_pix(self) -> int:
        """Largest distance of correlated pixels along an axis [pix]."""
        return int(self.kernels.shape[1]) // 2

    @property
    def large_area_factors(self) -> dict[str, float]:
        """R of each class: noise of large areas over that of independent pixels."""
        sums = np.sqrt(np.maximum(self.kernels.sum(axis=(1, 2)), 0.0))
        return {name: float(value) for name, value in zip(self.classes, sums, strict=True)}

    def sum_variance(
        self, weights: ArrayLike, variance: ArrayLike, *, y0: ArrayLike, x0: ArrayLike, weight: ArrayLike | None = None
    ) -> Any:
        """Return the variance of weighted sums of pixels, ``sum_i u_i D_i``.

        Parameters
        ----------
        weights : array_like, float64, shape (..., h, w)
            The factors u; several sums at a time on leading axes.
        variance : array_like, float64, shape (..., h, w) [unit^2]
            Variance of each pixel alone; a factor of 0 leaves a pixel out, whatever its variance is.
        y0, x0 : array_like of int, shape (...)
            Row and column of the stamps' first pixels in the mosaic. Pixels beyond the mosaic do not count.
        weight : array_like, float64, shape (..., h, w), optional
            The mosaic's weights W, of whose inverse the variance of the background is a multiple.

        Returns
        -------
        ndarray, float64, shape (...) [unit^2]
            Never negative.

        Raises
        ------
        InvalidInputError
            When a shape does not fit.

        Notes
        -----
        ``sum_ij u_i u_j C_ij (K_c(i)(j - i) + K_c(j)(j - i)) / 2`` with ``C_ij = s_i s_j``, or with the weights
        ``(s_i^2 W_i + s_j^2 W_j) / 2 / sqrt(W_i W_j)``: ``s^2 W`` changes with the sources' own noise, of which a pixel
        has the mean over the input it shares with others, ``1 / W`` with the number of exposures. `measure` uses the
        latter; under bright stars ``s_i s_j`` is up to 6 % low.
        """
        u = np.asarray(weights, dtype=np.float64)
        if u.ndim < 2:
            msg = f"weights: shape {u.shape} is not allowed, it must be (..., h, w)"
            raise InvalidInputError(msg)
        u, v = np.broadcast_arrays(u, np.asarray(variance, dtype=np.float64))
        spread = v if weight is None else 1.0 / np.asarray(weight, dtype=np.float64)
        v, spread = (np.where(u == 0.0, 1.0, values) for values in (v, spread))
        plain, noisy = u * np.sqrt(spread), u * v / np.sqrt(spread)
        classes = self._classes_at(np.asarray(y0), np.asarray(x0), u.shape)
        # One row of zeros, for pixels that are in no class.
        kernels = np.concatenate([self.kernels, np.zeros_like(self.kernels[:1])])
        is_out = classes == len(self.classes)
        plain, noisy = np.where(is_out, 0.0, plain), np.where(is_out, 0.0, noisy)
        h, w, n = *u.shape[-2:], self.reach_pix
        total = np.zeros(u.shape[:-2])
        for dy in range(-min(n, h - 1), min(n, h - 1) + 1):
            for dx in range(-min(n, w - 1), min(n, w - 1) + 1):
                here = np.s_[..., max(-dy, 0) : h - max(dy, 0), max(-dx, 0) : w - max(dx, 0)]
                there = np.s_[..., max(dy, 0) : h - max(-dy, 0), max(dx, 0) : w - max(-dx, 0)]
                factor = kernels[:, n + dy, n + dx][classes[here]]
                total += 0.5 * np.einsum("...ij,...ij->...", noisy[here] * factor, plain[there])
                total += 0.5 * np.einsum("...ij,...ij->...", plain[here] * factor, noisy[there])
        return np.maximum(total, 0.0)[()]

    def aperture_factor(self, radius_pix: ArrayLike, *, y: ArrayLike, x: ArrayLike) -> NDArray[np.float64]:
        """Return R of circular apertures: their noise over that of independent pixels of the same variance.

        Parameters
        ----------
        radius_pix, y, x : array_like, float64, shape (n,) [pix]
            Radii and centres; one radius may stand for all.

        Returns
        -------
        ndarray, float64, shape (n,)
            R for the classes of the pixels in each aperture; NaN where it has none.

        Notes
        -----
        ``R^2 = sum_c f_c R_c(r)^2`` with the fraction f of the aperture's pixels in each class, and
        ``R_c(r)^2 = sum_ij o_i o_j K_c(j - i) / sum_i o_i^2`` with the overlaps o of the circle.
        """
        radii, rows, columns = np.broadcast_arrays(
            *(np.atleast_1d(np.asarray(v, np.float64)) for v in (radius_pix, y, x))
        )
        out = np.full(radii.shape, np.nan)
        known = np.isfinite(rows) & np.isfinite(columns) & (radii > 0) & np.isfinite(radii)
        for radius in np.unique(radii[known]):
            overlap = _circle(float(radius))
            squares = np.maximum([_quadratic(overlap, kernel) for kernel in self.kernels], 0.0) / (overlap**2).sum()
            these = np.flatnonzero(known & (radii == radius))
            for part in np.array_split(these, len(these) * overlap.size // _STAMP_PIXELS + 1):
                out[part] = self._factors(overlap, squares, rows[part], columns[part])
        return out

    def _factors(
        self, overlap: NDArray[Any], squares: NDArray[Any], y: NDArray[np.float64], x: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return R of apertures of one radius, given its square in each class."""
        half = overlap.shape[0] // 2
        y0, x0 = (np.rint(v).astype(np.int64) - half for v in (y, x))
        classes = self._classes_at(y0, x0, (len(y), *overlap.shape))
        parts = np.stack([((classes == c) * overlap).sum(axis=(1, 2)) for c in range(len(self.classes))], axis=-1)
        whole = parts.sum(axis=1)
        return np.asarray(np.sqrt((parts @ squares) / np.where(whole > 0, whole, np.nan)), np.float64)

    def _classes_at(self, y0: NDArray[Any], x0: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.intp]:
        """Return the classes of the pixels of stamps; the number of classes for pixels in none."""
        ny, nx = self.class_map.shape
        rows = y0[..., np.newaxis, np.newaxis] + np.arange(shape[-2])[:, np.newaxis]
        columns = x0[..., np.newaxis, np.newaxis] + np.arange(shape[-1])
        inside = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
        found = self.class_map[np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1)].astype(np.intp)
        found = np.where(inside & (found != NO_CLASS), found, len(self.classes))
        return np.broadcast_to(found, shape)


def _circle(radius: float) -> NDArray[np.float64]:
    """Return the overlaps of a circle in the middle of a pixel with the pixels around it."""
    half = int(np.ceil(radius + 0.5))
    at = (np.arange((2 * half + 1) * _SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5 - half
    inside = np.hypot(at, at[:, np.newaxis]) < radius
    side = 2 * half + 1
    return np.asarray(inside.reshape(side, _SUBPIXELS, side, _SUBPIXELS).mean(axis=(1, 3)), np.float64)


def _quadratic(weights: NDArray[np.float64], kernel: NDArray[np.float64]) -> float:
    """Return ``sum_ij w_i w_j K(j - i)`` over a square stamp."""
    total, n, side = 0.0, kernel.shape[0] // 2, len(weights)
    wide = np.pad(weights, n)
    for (dy, dx), value in np.ndenumerate(kernel):
        total += float(value) * float(np.vdot(weights, wide[dy : dy + side, dx : dx + side]))
    return total
