"""The noise covariance of a mosaic, predicted from its exposures: a kernel for each class of position."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from skymere._rust import resample as _resample
from skymere.datamodels import Exposure, Mosaic, NoiseCovariance, Sliceable, Window, windows_of
from skymere.errors import InvalidInputError, NoDataError
from skymere.resample.covariance import NoiseParams, drizzle_params_of, inputs_of
from skymere.resample.drizzle import DrizzleParams, Drizzler, kernel_name
from skymere.resample.inputs import DrizzleInput
from skymere.resample.position import CLASSES, PhaseSteps, cells_with, position_classes, position_reach
from skymere.resample.reach import drop_reach_pix

__all__ = ["PHASE_RATIO", "NoiseClasses", "NoiseKernels", "concentration_input", "predict_noise", "symmetric"]

PHASE_RATIO = 0.75
"""Output over input pixel from which on the phases of the grids make a pattern that apertures see."""

_CELL_PIX = 8


def predict_noise(
    exposures: Iterable[Exposure], mosaic: Mosaic, *, params: NoiseParams | None = None
) -> NoiseCovariance:
    """Return the noise covariance of a mosaic, predicted from the geometry of its exposures.

    Parameters
    ----------
    exposures : iterable of Exposure
        Those that the mosaic was made of, as they were: a list or another iterable that begins anew.
    mosaic : Mosaic
        From `drizzle`.
    params : NoiseParams, optional
        Classes and cells.

    Returns
    -------
    NoiseCovariance
        Kernels of the classes interior, edge, hole, and of the rims of edges and holes, where few drops contribute. A
        class without pixels has the kernel of the first one that has some. On output pixels about as large as the
        detector's the interior has several parts.

    Raises
    ------
    InvalidInputError
        When the exposures are not those of the mosaic, or can be gone through only once.

    Notes
    -----
    ``C_ij = sum_p a_pi a_pj w_p^2 v_p / (W_i W_j)`` is summed over pairs of pixels in the cells of a class, each cell
    divided by its mean variance, and ``K(j - i)`` is that over the same sum of ``s_i s_j``. So a kernel gives the
    sums of pixels in its class their variance in the mean.

    Turned grids make a pattern: where a pixel coincides with one of each exposure its noise is high and its own,
    where it lies between them it is low and shared with neighbours; sums of pixels have the same noise in both. On
    pixels as large as the detector's the pattern is wider than apertures, and the interior is divided by
    ``sum_p a_p^2 w_p / sum_p a_p w_p``, to which the variance is proportional.

    References
    ----------
    .. [1] Casertano et al. 2000, AJ 120, 2747, appendix.
    """
    params = NoiseParams() if params is None else params
    if iter(exposures) is exposures:
        msg = "exposures: an iterator is not allowed, it must be a list or another iterable that begins anew"
        raise InvalidInputError(msg)
    drizzle = drizzle_params_of(mosaic)
    concentration = _concentration(exposures, mosaic, drizzle)
    kernels: NoiseKernels | None = None
    class_map = np.empty(mosaic.shape, np.uint8)
    for given in inputs_of(exposures, mosaic):
        if kernels is None:
            ratio = given.pixel_scale_ratio
            classes = NoiseClasses(
                mosaic.weight, drizzle=drizzle, ratio=ratio, params=params, concentration=concentration
            )
            for window in windows_of(mosaic.shape):
                class_map[window.slices] = classes.window(window)
            kernels = NoiseKernels(
                mosaic.weight, mosaic.variance, class_map, classes.names, drizzle=drizzle, ratio=ratio, params=params
            )
        kernels.add(given)
    if kernels is None:
        msg = "exposures: at least one exposure is needed"
        raise InvalidInputError(msg)
    return NoiseCovariance(
        kernels=kernels.finish(), class_map=class_map, classes=kernels.names, params={"noise": asdict(params)}
    )


def concentration_input(given: DrizzleInput) -> DrizzleInput:
    """Return what is drizzled so that variance times weight is ``sum_p a_p^2 w_p / sum_p a_p w_p`` in every pixel."""
    w = given.weight * np.float32(given.value_scale**2)
    return replace(given, variance=np.divide(1.0, w, out=np.zeros_like(w), where=w > 0))


def _concentration(exposures: Iterable[Exposure], mosaic: Mosaic, drizzle: DrizzleParams) -> NDArray[np.float32] | None:
    """Return the concentration of every pixel; None where output pixels are small."""
    drizzler = Drizzler(mosaic.grid.shape, params=drizzle, context=False)
    for given in inputs_of(exposures, mosaic):
        if given.pixel_scale_ratio < PHASE_RATIO:
            return None
        drizzler.add(**vars(concentration_input(given)))
    image = drizzler.finish()
    return None if image.variance is None else np.nan_to_num(image.variance) * image.weight


class NoiseClasses:
    """The class of position of every pixel of a mosaic, made window by window.

    Parameters
    ----------
    weight : array, float32, shape (ny, nx)
        Weight of the mosaic; anything that gives a window when sliced.
    drizzle : DrizzleParams
        How the mosaic was drizzled.
    ratio : float
        Side of a pixel of the mosaic over that of one of the exposures.
    params : NoiseParams
        What makes an edge or a hole.
    concentration : array, float32, shape (ny, nx), optional
        By which the interior is divided; see `predict_noise`.

    Attributes
    ----------
    names : tuple of str
        Names of the classes.
    """

    def __init__(
        self,
        weight: Sliceable,
        *,
        drizzle: DrizzleParams,
        ratio: float,
        params: NoiseParams,
        concentration: Sliceable | None = None,
    ) -> None:
        self._weight, self._shape = weight, (int(weight.shape[0]), int(weight.shape[1]))
        self._how = {
            "smooth_pix": round(params.smooth_pix / ratio),
            "hole_pix": round(params.hole_pix / ratio),
            "reach_pix": max(drop_reach_pix(drizzle, ratio), 1),
        }
        self._drop = params.weight_drop
        self._phases = None
        if concentration is not None:
            self._phases = PhaseSteps.find(self._positions, concentration, self._shape, step=params.phase_step)
        self.names = CLASSES if self._phases is None else self._phases.names

    def window(self, window: Window) -> NDArray[np.uint8]:
        """Return the classes of a window, uint8; `NO_CLASS` where nothing contributed."""
        classes = self._positions(window)
        return classes if self._phases is None else self._phases.divided(classes, window)

    def _positions(self, window: Window) -> NDArray[np.uint8]:
        wide = window.widened(position_reach(**self._how), self._shape)
        weight = np.asarray(self._weight[wide.slices], np.float32)
        return np.ascontiguousarray(position_classes(weight, drop=self._drop, **self._how)[window.within(wide)])


class NoiseKernels:
    """The sums over pairs of pixels from which kernels are made; memory holds windows of the mosaic.

    Parameters
    ----------
    weight, variance : array, float32, shape (ny, nx)
        Of the mosaic; anything that gives a window when sliced.
    class_map : array, uint8, shape (ny, nx)
        The classes, the same.
    names : tuple of str
        Their names.
    drizzle : DrizzleParams
        How the mosaic was drizzled.
    ratio : float
        Side of a pixel of the mosaic over that of one of the first exposure.
    params : NoiseParams
        How many cells are looked at.
    """

    def __init__(
        self,
        weight: Sliceable,
        variance: Sliceable,
        class_map: Sliceable,
        names: tuple[str, ...],
        *,
        drizzle: DrizzleParams,
        ratio: float,
        params: NoiseParams,
    ) -> None:
        self.names = names
        self._weight, self._variance, self._classes = weight, variance, class_map
        self._drizzle = drizzle
        self._shape = (int(weight.shape[0]), int(weight.shape[1]))
        self._reach = drop_reach_pix(drizzle, ratio)
        self._sums = np.zeros((len(names), 2 * self._reach + 1, 2 * self._reach + 1))
        self._boxes, self._box_classes, self._scales = self._chosen(params)

    def _chosen(self, params: NoiseParams) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.float64]]:
        """Return cells of each class, chosen at random, their classes, and the inverse of their mean variance."""
        totals = np.zeros(len(self.names), np.int64)
        for _, found in self._cells():
            totals += [len(boxes) for boxes, _ in found]
        rng = np.random.default_rng(params.seed)
        wanted = [
            np.sort(rng.choice(n, params.n_cells, replace=False)) if n > params.n_cells else np.arange(n)
            for n in totals.tolist()
        ]
        parts: list[list[tuple[NDArray[np.int64], NDArray[np.float64]]]] = [[] for _ in self.names]
        done = np.zeros(len(self.names), np.int64)
        for sigma, found in self._cells():
            for k, (boxes, counts) in enumerate(found):
                here = wanted[k][(wanted[k] >= done[k]) & (wanted[k] < done[k] + len(boxes))] - done[k]
                done[k] += len(boxes)
                parts[k].append((boxes[here], counts[here] / sigma.squares(k, boxes[here])))
        chosen = [np.concatenate([one for one, _ in part]) for part in parts]
        scales = [np.concatenate([one for _, one in part]) for part in parts]
        classes = np.repeat(np.arange(len(self.names), dtype=np.uint8), [len(v) for v in scales])
        return np.concatenate(chosen), classes, np.concatenate(scales)

    def _cells(self) -> Iterator[tuple["_Variances", list[tuple[NDArray[np.int64], NDArray[np.int64]]]]]:
        """Yield the variances of each window, and the cells with pixels of each class and how many each has."""
        for window in windows_of(self._shape):
            classes = np.asarray(self._classes[window.slices])
            sigma = self._sigma(window)
            found = []
            for k in range(len(self.names)):
                boxes, counts = cells_with((classes == k) & (sigma > 0), _CELL_PIX)
                boxes[:, :2] += window.origin
                found.append((boxes, counts))
            yield _Variances(classes, sigma, window), found

    def _sigma(self, window: Window) -> NDArray[np.float32]:
        return np.asarray(np.sqrt(np.nan_to_num(np.asarray(self._variance[window.slices])), dtype=np.float32))

    def add(self, given: DrizzleInput) -> None:
        """Add the covariances that an exposure brings; drops that are larger than those before widen the kernels.

        Parameters
        ----------
        given : DrizzleInput
            All of the exposure; its pixel map is used up.
        """
        reach = drop_reach_pix(self._drizzle, given.pixel_scale_ratio)
        if reach > self._reach:
            more = reach - self._reach
            self._sums, self._reach = np.pad(self._sums, ((0, 0), (more, more), (more, more))), reach
        margin = self._reach + 1.0 / given.pixel_scale_ratio + 2.0
        with np.errstate(invalid="ignore"):
            low, high = (found(given.pixmap.reshape(-1, 2), axis=0)[::-1] for found in (np.fmin.reduce, np.fmax.reduce))
        first, last = self._boxes[:, :2], self._boxes[:, :2] + self._boxes[:, 2:]
        near = ((last >= low - margin) & (first <= high + margin)).all(axis=1)
        if not near.any():
            return
        window = self._around(near)
        y0, x0 = window.origin
        given.pixmap[...] -= (x0, y0)
        self._sums += _resample.lag_sums(
            self._boxes[near] - (y0, x0, 0, 0),
            self._box_classes[near],
            self._scales[near],
            np.ascontiguousarray(self._classes[window.slices], np.uint8),
            len(self.names),
            self._reach,
            np.ascontiguousarray(self._weight[window.slices], np.float32),
            given.data,
            given.pixmap,
            given.weight,
            given.variance,
            given.value_scale,
            given.pixel_scale_ratio,
            kernel_name(self._drizzle),
            self._drizzle.pixfrac,
        )

    def _around(self, which: NDArray[np.bool_]) -> Window:
        """Return the window that holds some cells and what is correlated with them."""
        first, last = self._boxes[which, :2].min(axis=0), (self._boxes[which, :2] + self._boxes[which, 2:]).max(axis=0)
        window = Window((int(first[0]), int(last[0])), (int(first[1]), int(last[1])))
        return window.widened(self._reach + 2, self._shape)

    def finish(self) -> NDArray[np.float64]:
        """Return the kernels, float64, shape (n_classes, 2 n + 1, 2 n + 1).

        Raises
        ------
        NoDataError
            When no pixel has a variance.
        """
        products = np.zeros_like(self._sums)
        for window in windows_of(self._shape):
            inside = (self._boxes[:, :2] >= window.origin) & (self._boxes[:, :2] < np.add(window.origin, window.shape))
            here = np.asarray(inside.all(axis=1))
            if not here.any():
                continue
            wide = self._around(here)
            products += _resample.lag_products(
                self._boxes[here] - (*wide.origin, 0, 0),
                self._box_classes[here],
                self._scales[here],
                np.ascontiguousarray(self._classes[wide.slices], np.uint8),
                len(self.names),
                self._reach,
                self._sigma(wide),
            )
        above, below = symmetric(self._sums), symmetric(products)
        # A pair that is never seen together has no covariance in any cell.
        kernels = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
        middle = kernels[:, self._reach, self._reach]
        if not middle.any():
            msg = "mosaic: no pixel has a variance"
            raise NoDataError(msg)
        for k in np.flatnonzero(middle == 0):
            kernels[k] = kernels[np.flatnonzero(middle)[0]]
        return kernels


class _Variances:
    """Sums of variances in the cells of a window."""

    def __init__(self, classes: NDArray[np.uint8], sigma: NDArray[np.float32], window: Window) -> None:
        self._classes, self._sigma, self._window = classes, sigma, window

    def squares(self, k: int, boxes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sum of the variances of the pixels of a class in some cells."""
        y0, x0 = self._window.origin
        sums = []
        for y, x, h, w in boxes:
            at = slice(y - y0, y - y0 + h), slice(x - x0, x - x0 + w)
            known = (self._classes[at] == k) & (self._sigma[at] > 0)
            sums.append((np.where(known, self._sigma[at], np.float32(0)) ** 2).sum(dtype=float))
        return np.array(sums, np.float64)


def symmetric(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of kernels and their reflections at the middle: pairs have no order."""
    return np.asarray(0.5 * (sums + sums[:, ::-1, ::-1]))
