"""The sky of exposures of a grism: scaled images of the sky or a smooth model, and levels of columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_image, as_mask
from skymere.errors import InvalidInputError, NoDataError
from skymere.grism.frames_params import GrismSkyParams

__all__ = ["GrismSky", "fit_grism_sky"]

_ROUNDS = 8
_TO_SIGMA = 1.4826

_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class GrismSky:
    """The sky of an exposure.

    Parameters
    ----------
    background : ndarray, float32, shape (ny, nx) [e/s]
        What is subtracted, levels of columns included.
    level : float [e/s]
        Its median.
    level_err : float [e/s]
        1 sigma of the mean of the sky.
    coefficients : ndarray, float64, shape (n,)
        Factors of the images of the sky, or of the products of Legendre polynomials.
    columns : ndarray, float64, shape (nx,) [e/s]
        Levels of the columns beside that.
    scatter : float [e/s]
        Sigma of a pixel around it.
    n_pixels : int
        Pixels that were used.
    """

    background: NDArray[np.float32]
    level: float
    level_err: float
    coefficients: _Array
    columns: _Array
    scatter: float
    n_pixels: int


def fit_grism_sky(
    data: ArrayLike,
    *,
    error: ArrayLike,
    mask: ArrayLike | None = None,
    sources: ArrayLike | None = None,
    masters: Sequence[ArrayLike] = (),
    params: GrismSkyParams | None = None,
) -> GrismSky:
    """Return the sky of an exposure of a grism.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx) [e/s]
        The exposure with its sky.
    error : array_like, float32, shape (ny, nx) [e/s]
        1 sigma of it.
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use.
    sources : array_like, float32, shape (ny, nx), optional
        What sources are expected to give [e/s]; it is subtracted, and pixels with much of it are left out.
    masters : sequence of array_like, float32, shape (ny, nx), optional
        Images of the sky (zodiacal light, helium, scattered light), of any scale; a smooth model when there is none.
    params : GrismSkyParams, optional
        Limits, degree, and whether columns have levels.

    Returns
    -------
    GrismSky
        The sky.

    Raises
    ------
    InvalidInputError
        When shapes differ.
    NoDataError
        When no pixel is left.

    Notes
    -----
    ``data - sources = sum_k c_k M_k(x, y)`` is solved over all pixels that are left with the same weight, so that the
    noise of the data is not in the weights, and pixels beyond ``clip_sigma`` times the scatter (1.4826 times the median
    absolute deviation) are left out, until nothing changes. ``M_k`` are the masters or products
    ``P_i(x) P_j(y)``, ``i + j <= degree``, of Legendre polynomials. The level of a column is the mean of what is left.
    """
    params = GrismSkyParams() if params is None else params
    image = as_image(data, "data")
    shape = (image.shape[0], image.shape[1])
    sigma = as_image(error, "error", shape=shape)
    bad = np.zeros(shape, bool) if mask is None else as_mask(mask, "mask", shape=shape)
    good = ~bad & np.isfinite(image) & (sigma > 0)
    model = np.zeros(shape, np.float32) if sources is None else as_image(sources, "sources", shape=shape)
    good = _without_sources(good, model, sigma, params)
    basis = _basis(shape, masters, params.degree)
    left = image.astype(np.float64) - model
    if good.sum() <= len(basis):
        msg = f"mask: {int(good.sum())} pixels without sources are left, {len(basis) + 1} are needed for the sky"
        raise NoDataError(msg)
    used = good
    for _ in range(_ROUNDS):
        rows = np.stack([one[used] for one in basis])
        # Images that are the same share what they give.
        coefficients, *_ = np.linalg.lstsq(rows @ rows.T, rows @ left[used], rcond=None)
        residual = left - np.tensordot(coefficients, basis, axes=1)
        scatter = _TO_SIGMA * float(np.median(np.abs(residual[used])))
        kept = good & (np.abs(residual) <= params.clip_sigma * scatter)
        if np.array_equal(kept, used) or kept.sum() <= len(basis):
            break
        used = kept
    columns = np.zeros(shape[1])
    if params.columns:
        n = used.sum(axis=0)
        sums = np.where(used, residual, 0.0).sum(axis=0)
        columns = np.where(n >= params.min_column_pix, sums / np.maximum(n, 1), 0.0)
        scatter = _TO_SIGMA * float(np.median(np.abs((residual - columns)[used])))
    background = np.tensordot(coefficients, basis, axes=1) + columns
    n_used = int(used.sum())
    return GrismSky(
        background=background.astype(np.float32),
        level=float(np.median(background)),
        level_err=scatter / np.sqrt(n_used),
        coefficients=coefficients,
        columns=columns,
        scatter=scatter,
        n_pixels=n_used,
    )


def _without_sources(
    good: NDArray[np.bool_], model: NDArray[np.float32], sigma: NDArray[np.float32], params: GrismSkyParams
) -> NDArray[np.bool_]:
    """Return the pixels where little light of sources is expected."""
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(good, np.abs(model) / sigma, np.inf)
    if not good.any():
        return good
    limit = max(params.source_sigma, float(np.quantile(expected[good], params.min_fraction)))
    return np.asarray(expected <= limit, bool)


def _basis(shape: tuple[int, int], masters: Sequence[ArrayLike], degree: int) -> _Array:
    """Return the images whose sum is the sky, float64, shape (n, ny, nx)."""
    if masters:
        found = []
        for master in masters:
            one = as_image(master, "masters", shape=shape).astype(np.float64)
            scale = float(np.nanmedian(np.abs(one)))
            if not scale > 0:
                msg = f"masters: an image of the sky with a median of {scale} is not allowed, it must be positive"
                raise InvalidInputError(msg)
            found.append(np.nan_to_num(one / scale))
        return np.stack(found)
    y, x = (np.linspace(-1, 1, n) for n in shape)
    legendre = np.polynomial.legendre.legvander
    along, up = legendre(x, degree), legendre(y, degree)
    pairs = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    return np.stack([np.outer(up[:, j], along[:, i]) for i, j in pairs])
