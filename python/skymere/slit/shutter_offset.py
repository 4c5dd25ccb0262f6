"""Where the shutters really are: an offset of their coordinate from what the bars do to the sky."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.datamodels import BarShadowTable
from skymere.errors import InvalidInputError
from skymere.instruments import PIXELS_PER_SHUTTER
from skymere.slit.bar_shadow import BarWrap, bar_throughput

__all__ = ["ShutterOffset", "ShutterOffsetParams", "fit_shutter_offset"]

_MIN_PIXELS = 64
_GOLDEN = (np.sqrt(5) - 1) / 2


@dataclass(frozen=True, kw_only=True)
class ShutterOffsetParams:
    """Parameters of `fit_shutter_offset`; the defaults are msaexp's.

    Parameters
    ----------
    max_sn : float
        A source with more S/N than this is not fitted.
    prior : tuple of float
        Mean and sigma of the offset [pix].
    reach : float
        Only pixels nearer to the middle than this count [shutter].
    width : float
        How far from the prior's mean the offset is sought, in its sigmas.
    tolerance : float
        Of the offset [pix].
    scale_variance : bool
        Variances are those of data with the shadow, as the residuals; False leaves them divided by it, as msaexp does.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    max_sn: float = 50.0
    prior: tuple[float, float] = (0.0, 0.05)
    reach: float = 1.4
    width: float = 6.0
    tolerance: float = 1e-5
    scale_variance: bool = True

    def __post_init__(self) -> None:
        for name in ("reach", "width", "tolerance"):
            if not getattr(self, name) > 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        if not self.prior[1] > 0:
            msg = f"prior: {self.prior} is not allowed, its sigma must be positive"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class ShutterOffset:
    """The offset of the coordinate of the shutters.

    Parameters
    ----------
    status : str
        ``ok``; ``bright_source``; ``too_few_pixels`` (fewer than 64); ``at_limit`` when the best is at the end of the
        range.
    offset, offset_err : float
        What is to be added to the coordinate, and 1 sigma with the prior [pix]; NaN when it was not fitted.
    chi2 : float
        Its chi2, with the prior.
    samples, sample_chi2 : ndarray, float64, shape (n,)
        Every offset that was tried, rising, and its chi2.
    n_pixels : int
        Pixels of the fit.
    """

    status: str
    offset: float
    offset_err: float
    chi2: float
    samples: NDArray[np.float64]
    sample_chi2: NDArray[np.float64]
    n_pixels: int


def fit_shutter_offset(
    sci: ArrayLike,
    variance: ArrayLike,
    sky2d: ArrayLike,
    bar: ArrayLike,
    shutter_y: ArrayLike,
    wavelength: ArrayLike,
    *,
    table: BarShadowTable,
    valid: ArrayLike | None = None,
    source_sn: float | None = None,
    wrap: BarWrap = "no",
    params: ShutterOffsetParams | None = None,
) -> ShutterOffset:
    """Fit an offset of the shutters to the shadow of the bars on the sky.

    Parameters
    ----------
    sci, variance : array_like, float64, any shape [uJy, uJy^2]
        Exposures with sky, divided by the shadow ``bar``, and their variances.
    sky2d : array_like, float64, shape of ``sci`` [uJy]
        The sky.
    bar, shutter_y, wavelength : array_like, float64, shape of ``sci``
        Throughput of the bars, place in shutters of the table without an offset, wavelength [um].
    table : BarShadowTable
        Throughput against place.
    valid : array_like, bool, shape of ``sci``, optional
        True = has sky alone.
    source_sn : float, optional
        S/N of the source: above ``max_sn`` nothing is fitted.
    wrap : {"auto", "yes", "no"}, optional
        See `bar_throughput`.
    params : ShutterOffsetParams, optional
        Prior and range.

    Raises
    ------
    InvalidInputError
        When the shapes differ.

    Notes
    -----
    Least ``sum (d b - s B(y + dy / 5))^2 / (v b^2) + (dy - m)^2 / w^2`` with the shadow b of the data d, the sky s, the
    table B and the prior (m, w). One pixel is a fifth of a shutter. The error is ``sqrt(2 / chi2'')``. Only pixels that
    the table covers for every offset of the range count, so chi2 has no steps.
    """
    params = params or ShutterOffsetParams()
    data = np.asarray(as_array(sci, "sci", np.float64), np.float64)
    noise, sky, old, place, wave = (
        np.asarray(as_array(value, name, np.float64, shape=data.shape), np.float64)
        for value, name in (
            (variance, "variance"),
            (sky2d, "sky2d"),
            (bar, "bar"),
            (shutter_y, "shutter_y"),
            (wavelength, "wavelength"),
        )
    )
    mean, width = params.prior
    low, high = mean - params.width * width, mean + params.width * width
    if source_sn is not None and source_sn > params.max_sn:
        return _not_fitted("bright_source", 0)

    def throughput(offset: float, use: NDArray[np.bool_]) -> NDArray[np.float64]:
        shadow = bar_throughput(
            place[use] + offset / PIXELS_PER_SHUTTER,
            None if table.wavelengths is None else wave[use],
            coefficients=table.coefficients,
            limits=table.limits,
            wavelengths=table.wavelengths,
            wrap=wrap,
        )
        return shadow.bar

    with np.errstate(invalid="ignore"):
        scale = np.where(params.scale_variance, old, 1.0)
        sigma = np.sqrt(noise) * scale
        use = np.isfinite(data * old * sky * wave) & (sigma > 0) & (np.abs(place) < params.reach)
    if valid is not None:
        use &= np.asarray(as_array(valid, "valid", np.bool_, shape=data.shape), np.bool_)
    for end in (low, high):
        use[use] = np.isfinite(throughput(end, use))
    n_pixels = int(use.sum())
    if n_pixels < _MIN_PIXELS:
        return _not_fitted("too_few_pixels", n_pixels)
    seen, clean, error = (data * old)[use], sky[use], sigma[use]
    tried: dict[float, float] = {}

    def chi2(offset: float) -> float:
        residual = (seen - clean * throughput(offset, use)) / error
        tried[offset] = float(residual @ residual + ((offset - mean) / width) ** 2)
        return tried[offset]

    # A grid finds the lowest valley, the golden section its bottom.
    grid = np.linspace(low, high, 25)
    best = int(np.argmin([chi2(float(offset)) for offset in grid]))
    left, right = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])
    inner = [right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)]
    values = [chi2(one) for one in inner]
    while right - left > params.tolerance:
        if values[0] < values[1]:
            right = inner[1]
            inner = [right - _GOLDEN * (right - left), inner[0]]
            values = [chi2(inner[0]), values[0]]
        else:
            left = inner[0]
            inner = [inner[1], left + _GOLDEN * (right - left)]
            values = [values[1], chi2(inner[1])]
    offset = min(tried, key=lambda one: tried[one])
    least = tried[offset]
    step = 0.1 * width
    curvature = (chi2(offset + step) - 2 * least + chi2(offset - step)) / step**2
    samples = np.array(sorted(tried))
    return ShutterOffset(
        status="at_limit" if best in (0, len(grid) - 1) else "ok",
        offset=offset,
        offset_err=float(np.sqrt(2 / curvature)) if curvature > 0 else np.nan,
        chi2=least,
        samples=samples,
        sample_chi2=np.array([tried[one] for one in samples]),
        n_pixels=n_pixels,
    )


def _not_fitted(status: str, n_pixels: int) -> ShutterOffset:
    nan, empty = float("nan"), np.empty(0)
    return ShutterOffset(
        status=status,
        offset=nan,
        offset_err=nan,
        chi2=nan,
        samples=empty,
        sample_chi2=empty,
        n_pixels=n_pixels,
    )
