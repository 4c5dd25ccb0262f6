"""How the noise covariance of a mosaic is found, and the exact variance of any sum of its pixels."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array, as_image
from skymere._rust import resample as _resample
from skymere.datamodels import Exposure, Mosaic
from skymere.errors import InvalidInputError
from skymere.resample.drizzle import DrizzleParams, kernel_name
from skymere.resample.inputs import DrizzleInput, drizzle_input

__all__ = ["NoiseParams", "SumVariance", "drizzle_params_of", "inputs_of", "predict_sums"]


@dataclass(frozen=True, kw_only=True)
class NoiseParams:
    """How the noise covariance of a mosaic is found.

    Parameters
    ----------
    n_cells : int
        Cells of 8 x 8 pixels in which the covariance of each class is averaged, at most; they are chosen at random.
    seed : int
        Of that choice.
    smooth_pix : float
        Side of the box in which weights are averaged before gaps and edges are looked for [input pix].
    hole_pix : float
        Widest gap that is a hole [input pix].
    weight_drop : float
        Relative drop of the averaged weight that makes an edge or a hole.
    phase_step : float
        Relative step of the variance between the parts of the interior, on output pixels about as large as the
        detector's.
    measure : bool
        Whether the covariance is measured on blank sky as well.
    sky_sigma : float
        Pixels whose mean over 5 x 5 is farther from the sky are sources, with 5 pixels around them [sigma].
    background_pix : int
        Side of the mesh whose background is subtracted before the measurement [pix].

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    n_cells: int = 256
    seed: int = 1
    smooth_pix: float = 3.0
    hole_pix: float = 8.0
    weight_drop: float = 0.1
    phase_step: float = 0.1
    measure: bool = True
    sky_sigma: float = 4.0
    background_pix: int = 128

    def __post_init__(self) -> None:
        for name in ("n_cells", "smooth_pix", "hole_pix", "phase_step", "sky_sigma", "background_pix"):
            if not 0 < getattr(self, name) < np.inf:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        if not 0 < self.weight_drop < 1:
            msg = f"weight_drop: {self.weight_drop} is not allowed, it must be between 0 and 1"
            raise InvalidInputError(msg)


class SumVariance:
    """The exact variance of weighted sums of drizzled pixels, from the exposures that were drizzled.

    Exposures are added one at a time as to a `Drizzler`, with the same arguments; memory does not grow with them.

    Parameters
    ----------
    weight : array_like, float32, shape (ny, nx)
        Weight of the finished image.
    sums : sequence of (int, int, array_like)
        For each sum the row and column of a stamp's first pixel, and the factors u of the stamp's pixels, float64,
        shape (h, w). Stamps may not reach beyond the image.
    params : DrizzleParams, optional
        Those that the image was made with.

    Raises
    ------
    InvalidInputError
        When a stamp does not fit.

    Notes
    -----
    Output pixels are ``D_i = sum_p a_pi w_p d_p / W_i`` over the pixels p of all exposures, whose noise is
    independent. So the variance of ``sum_i u_i D_i`` is ``sum_p v_p (w_p sum_i a_pi u_i / W_i)^2``; pairs of output
    pixels need not be looked at.

    References
    ----------
    .. [1] Casertano et al. 2000, AJ 120, 2747, appendix.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.resample import Drizzler, SumVariance
    >>> y, x = np.indices((8, 8), dtype=float)
    >>> exposure = {"data": np.ones((8, 8)), "pixmap": np.stack([2 * x + 0.5, 2 * y + 0.5], axis=-1)}
    >>> drizzler = Drizzler((16, 16))
    >>> drizzler.add(**exposure, variance=np.ones((8, 8)))
    >>> image = drizzler.finish()
    >>> found = SumVariance(image.weight, [(4, 4, np.ones((2, 2)))])
    >>> found.add(**exposure, variance=np.ones((8, 8)))
    >>> float(found.variance[0]), float(image.variance[4:6, 4:6].sum())
    (16.0, 4.0)
    """

    def __init__(
        self,
        weight: ArrayLike,
        sums: Sequence[tuple[int, int, ArrayLike]],
        *,
        params: DrizzleParams | None = None,
    ) -> None:
        self.params = DrizzleParams() if params is None else params
        self._weight = as_image(weight, "weight")
        stamps = [as_array(u, f"sums[{k}]", np.float64, shape=(None, None)) for k, (_, _, u) in enumerate(sums)]
        corners = [(y0, x0) for y0, x0, _ in sums]
        boxes = [(*corner, *u.shape) for corner, u in zip(corners, stamps, strict=True)]
        self._boxes = np.array(boxes, np.int64).reshape(-1, 4)
        ny, nx = self._weight.shape
        ends = self._boxes[:, :2] + self._boxes[:, 2:]
        beyond = (self._boxes[:, :2] < 0).any(axis=1) | (ends > [ny, nx]).any(axis=1)
        if beyond.any():
            k = int(np.flatnonzero(beyond)[0])
            msg = f"sums[{k}]: the stamp {tuple(boxes[k])} (y0, x0, h, w) is not on the image of {ny} x {nx} pixels"
            raise InvalidInputError(msg)
        self._factors = np.concatenate([u.ravel() for u in stamps]) if stamps else np.empty(0)
        self.variance: NDArray[np.float64] = np.zeros(len(stamps))

    def add(
        self,
        data: ArrayLike,
        pixmap: ArrayLike,
        *,
        variance: ArrayLike,
        weight: ArrayLike | None = None,
        value_scale: float = 1.0,
        pixel_scale_ratio: float | None = 1.0,
    ) -> None:
        """Add an exposure; see `Drizzler.add`. The arrays must not change during the call.

        Raises
        ------
        InvalidInputError
            When arrays do not fit together or a number is not allowed.
        NoDataError
            When the ratio is to be measured and the map has no finite pixels.
        """
        out = self.variance.copy()
        image = as_image(data, "data")
        _resample.add_sum_variances(
            out,
            self._boxes,
            self._factors,
            self._weight,
            image,
            as_array(pixmap, "pixmap", np.float64, shape=(*image.shape, 2)),  # type: ignore[arg-type]
            None if weight is None else as_image(weight, "weight", shape=image.shape),
            as_image(variance, "variance", shape=image.shape),
            value_scale,
            pixel_scale_ratio,
            kernel_name(self.params),
            self.params.pixfrac,
        )
        self.variance = out


def predict_sums(
    exposures: Iterable[Exposure], mosaic: Mosaic, sums: Sequence[tuple[int, int, ArrayLike]]
) -> NDArray[np.float64]:
    """Return the exact variance of weighted sums of a mosaic's pixels.

    Parameters
    ----------
    exposures : iterable of Exposure
        Those that the mosaic was made of, as they were.
    mosaic : Mosaic
        From `drizzle`.
    sums : sequence of (int, int, array_like)
        As those of `SumVariance`.

    Returns
    -------
    ndarray, float64, shape (n,) [unit^2]
        Variances, from the exposures' errors.

    Raises
    ------
    InvalidInputError
        When the exposures are not those of the mosaic, or a stamp does not fit.
    """
    found = SumVariance(mosaic.weight, sums, params=drizzle_params_of(mosaic))
    for given in inputs_of(exposures, mosaic):
        found.add(**vars(given))
    return found.variance


def drizzle_params_of(mosaic: Mosaic) -> DrizzleParams:
    """Return the parameters that a mosaic was drizzled with."""
    names = ("kernel", "pixfrac", "lanczos")
    missing = [name for name in names if name not in mosaic.params]
    if missing:
        msg = f"mosaic: its params lack {missing[0]!r}, so it was not made by drizzle; they have {list(mosaic.params)}"
        raise InvalidInputError(msg)
    return DrizzleParams(**{name: mosaic.params[name] for name in names})


def inputs_of(exposures: Iterable[Exposure], mosaic: Mosaic) -> Iterator[DrizzleInput]:
    """Yield what was drizzled of each exposure."""
    ids = []
    ignore = tuple(mosaic.params.get("ignore", ()))
    for exposure in exposures:
        ids.append(exposure.exposure_id)
        yield drizzle_input(exposure, mosaic.grid, weight=mosaic.weight_kind, ignore=ignore)
    if tuple(ids) != mosaic.exposure_ids:
        msg = f"exposures: {ids} are not those of the mosaic, {list(mosaic.exposure_ids)}"
        raise InvalidInputError(msg)
