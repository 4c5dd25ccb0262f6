"""Sources of an exposure for astrometry: stars and galaxies with centroids and their errors."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from skymere._arrays import as_image, as_mask
from skymere._rust import align as _rust
from skymere.background import BackgroundParams, estimate_background
from skymere.errors import InvalidInputError

__all__ = ["FindParams", "find_sources"]

_COLUMNS = ("x", "y", "x_err", "y_err", "flux", "peak", "snr", "window_pix", "sharpness", "roundness")


@dataclass(frozen=True, kw_only=True)
class FindParams:
    """How sources are found.

    Parameters
    ----------
    fwhm_pix : float
        Full width at half maximum of the Gaussian that is fitted around every pixel [pix].
    n_sigma : float
        Half side of the square of that fit, in units of the Gaussian's sigma; at least 2 pixels.
    threshold : float
        Least amplitude of the fit in units of its error.
    separation_pix : int
        Of the fits within so many pixels along each axis only the best is a source.
    min_window_pix, max_window_pix : float
        Sigma of the smallest and the largest Gaussian window of a centroid [pix]. In a narrower window the centroids
        of undersampled stars depend on where in a pixel they are.
    peak, flux, sharpness, roundness : tuple of float
        Least and largest allowed value; see `find_sources`.
    n_brightest : int, optional
        Keep so many; all when not given.
    background : BackgroundParams
        Mesh of the sky that is subtracted.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    fwhm_pix: float = 2.5
    n_sigma: float = 1.5
    threshold: float = 5.0
    separation_pix: int = 2
    min_window_pix: float = 1.3
    max_window_pix: float = 5.0
    peak: tuple[float, float] = (-np.inf, np.inf)
    flux: tuple[float, float] = (0.0, np.inf)
    sharpness: tuple[float, float] = (-np.inf, np.inf)
    roundness: tuple[float, float] = (-np.inf, np.inf)
    n_brightest: int | None = None
    background: BackgroundParams = field(default_factory=BackgroundParams)

    def __post_init__(self) -> None:
        for name in ("fwhm_pix", "n_sigma", "threshold", "min_window_pix", "max_window_pix"):
            if not 0 < getattr(self, name) < np.inf:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        if self.max_window_pix < self.min_window_pix:
            msg = f"max_window_pix: {self.max_window_pix} is not allowed, it must be at least {self.min_window_pix}"
            raise InvalidInputError(msg)
        if self.separation_pix < 1:
            msg = f"separation_pix: {self.separation_pix} is not allowed, it must be at least 1"
            raise InvalidInputError(msg)
        if self.n_brightest is not None and self.n_brightest < 1:
            msg = f"n_brightest: {self.n_brightest} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        for name in ("peak", "flux", "sharpness", "roundness"):
            low, high = getattr(self, name)
            if not low <= high:
                msg = f"{name}: {(low, high)} is not allowed, it must be a smaller and a larger number"
                raise InvalidInputError(msg)


def find_sources(
    data: ArrayLike, *, error: ArrayLike | None = None, mask: ArrayLike | None = None, params: FindParams | None = None
) -> pl.DataFrame:
    """Return the stars and galaxies of an image with centroids for astrometry.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx) [unit]
        The image, sky included; pixels that are not finite are not used.
    error : array_like, float32, shape (ny, nx) [unit], optional
        1 sigma of ``data``; the rms of the sky when not given.
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use.
    params : FindParams, optional
        Kernel, threshold and limits.

    Returns
    -------
    polars.DataFrame
        By decreasing flux: ``x, y`` [pix], ``x_err, y_err`` [pix], ``flux`` (of a Gaussian with the window's content)
        and ``peak`` (of the central pixel) without sky [unit], ``snr`` of the fit, ``window_pix`` (sigma of the
        centroid's window), ``sharpness`` ((peak - mean around it) / amplitude of the fit; large for cosmic rays) and
        ``roundness`` ((xx - yy) / (xx + yy)).

    Raises
    ------
    InvalidInputError
        When the shapes differ.
    NoDataError
        When no pixel is good.

    Notes
    -----
    A Gaussian plus a constant is fitted by least squares to the good pixels around every pixel [1]_; local maxima of
    its signal to noise are sources. The centroid is that in a Gaussian window whose sigma follows the source's own
    [2]_: for a Gaussian source on sky noise no other weight gives a smaller error. Bad pixels in the window take the
    value opposite to them.

    References
    ----------
    .. [1] Stetson 1987, PASP 99, 191, equations 1 to 3.
    .. [2] Bernstein & Jarvis 2002, AJ 123, 583, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.align import find_sources
    >>> y, x = np.indices((64, 64))
    >>> star = 100 * np.exp(-0.5 * ((x - 30.25) ** 2 + (y - 40.5) ** 2) / 1.5**2)
    >>> found = find_sources(star + np.random.default_rng(1).normal(0, 0.1, star.shape))
    >>> found.select("x", "y").row(0, named=True)["x"].__round__(2)
    30.25
    """
    params = params or FindParams()
    image = as_image(data, "data")
    shape = (image.shape[0], image.shape[1])
    bad = None if mask is None else as_mask(mask, "mask", shape=shape)
    sky = estimate_background(image, mask=bad, params=params.background)
    found = _rust.find(
        image - sky.level,
        sky.rms if error is None else as_image(error, "error", shape=shape),
        bad,
        fwhm_pix=params.fwhm_pix,
        n_sigma=params.n_sigma,
        threshold=params.threshold,
        separation_pix=params.separation_pix,
        min_window_pix=params.min_window_pix,
        max_window_pix=params.max_window_pix,
    )
    table = pl.DataFrame(dict(zip(_COLUMNS, found.T, strict=True)))
    kept = table.filter(*(_between(name, getattr(params, name)) for name in ("peak", "flux", "sharpness", "roundness")))
    return kept if params.n_brightest is None else kept.head(params.n_brightest)


def _between(name: str, limits: tuple[Any, Any]) -> pl.Expr:
    return pl.col(name).is_between(*limits)
