"""The sky behind a slit: the global spectrum of a visit, and a spline fitted to pixels that have only sky."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError
from skymere.io import find_reference, read_sky_spectrum
from skymere.slit.bsplines import bspline_basis
from skymere.slit.flags import SLIT_FLAG_BITS
from skymere.slit.sky_noise import SkyNoise

__all__ = ["SkyFit", "SkyParams", "SkySpectrum", "estimate_sky", "global_sky"]

_Array = NDArray[np.float64]
_Mask = NDArray[np.bool_]
_MIN_PIXELS = 64
_MIN_WEIGHT = 1e-4  # of the sum of the best known function; functions with less are left out


@dataclass(frozen=True, kw_only=True, eq=False)
class SkySpectrum:
    """A spectrum of the sky.

    Parameters
    ----------
    wavelength : ndarray, float64, shape (n,) [um]
        Wavelengths, rising.
    flux : ndarray, float64, shape (n,) [uJy / pix]
        Sky of a pixel.
    file : str
        Where it is from.
    pack, digest : str
        The reference pack, and its sha256.
    """

    wavelength: _Array
    flux: _Array
    file: str = ""
    pack: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        if self.wavelength.ndim != 1 or len(self.wavelength) < 2 or self.flux.shape != self.wavelength.shape:
            msg = f"flux: shape {self.flux.shape} is not allowed with wavelengths of shape {self.wavelength.shape}"
            raise InvalidInputError(msg)
        if not (np.diff(self.wavelength) > 0).all():
            msg = "wavelength: it is not allowed to fall"
            raise InvalidInputError(msg)

    def at(self, wavelength: ArrayLike) -> _Array:
        """Return the sky at some wavelengths; NaN where it is not known.

        Parameters
        ----------
        wavelength : array_like, float64, any shape [um]
            Wavelengths.
        """
        places = np.asarray(wavelength, np.float64)
        return np.asarray(np.interp(places, self.wavelength, self.flux, left=np.nan, right=np.nan))


@dataclass(frozen=True, kw_only=True)
class SkyParams:
    """Parameters of `estimate_sky`; the defaults are msaexp's but for ``spline_clip``.

    Parameters
    ----------
    mask_yslit : tuple of (float, float)
        Distances from the trace where sources are [pix].
    min_bar : float or None
        Least throughput of the bars.
    var_percentiles : tuple of float or None
        Only variances between these percentiles; a negative one leaves out that many pixels at its end.
    df : int
        Functions of the spline; with a known sky they multiply it. 0 for a number, below 0 for the known sky as it is.
    high_clip : float
        Pixels above are no sky [uJy].
    outlier_threshold : float or None
        Pixels farther from the model than this are flagged [sigma].
    absolute_threshold : float or None
        After a first fit pixels farther from it than this are left out [uJy].
    flag_clipped : bool
        With an ``outlier_threshold`` flag what a negative percentile leaves out too.
    spline_clip : float
        For the table along the grid, see `bspline_basis`; 1e-4 is msaexp, whose table and ``sky2d`` so differ by 2e-4.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    mask_yslit: tuple[tuple[float, float], ...] = ((-4.5, 4.5),)
    min_bar: float | None = 0.95
    var_percentiles: tuple[float, float] | None = (-5.0, -5.0)
    df: int = 51
    high_clip: float = 0.8
    outlier_threshold: float | None = 7.0
    absolute_threshold: float | None = 0.2
    flag_clipped: bool = True
    spline_clip: float = 0.0

    def __post_init__(self) -> None:
        if 0 < self.df < 4:
            msg = f"df: {self.df} is not allowed, it must be at least 4, or 0 or less for no spline"
            raise InvalidInputError(msg)
        for name in ("outlier_threshold", "absolute_threshold"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                msg = f"{name}: {value} is not allowed, it must be positive or None"
                raise InvalidInputError(msg)
        if self.var_percentiles is not None and not all(p <= 100 for p in self.var_percentiles):
            msg = f"var_percentiles: {self.var_percentiles} are not allowed, they must not be above 100"
            raise InvalidInputError(msg)
        if not all(low < high for low, high in self.mask_yslit):
            msg = f"mask_yslit: {self.mask_yslit} are not allowed, each must rise"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class SkyFit:
    """The sky that was fitted.

    Parameters
    ----------
    status : str
        ``ok``, or ``too_few_pixels`` (fewer than 64), with NaN for the sky.
    wavelength : ndarray, float64, shape (n,) [um]
        The grid.
    model, model_err : ndarray, float64, shape (n,) [uJy / pix]
        The sky, NaN beyond the wavelengths of the pixels that were fitted, and 1 sigma.
    coefficients : ndarray, float64, shape (m,)
        Of the functions that are kept.
    covariance : ndarray, float64, shape (m, m)
        Theirs, from the variances of the pixels.
    kept : ndarray, bool, shape (df,)
        Functions of the spline that have pixels.
    sky2d, var_sky : ndarray, float64, shape of the data [uJy, uJy^2]
        The sky of each pixel and its variance, NaN where the model is.
    mask : ndarray, bool, shape of the data
        True = was fitted.
    flags : ndarray, uint32, shape of the data
        The bit ``sky_outlier`` of `SLIT_FLAG_BITS`.
    n_pixels, n_outliers : int
        How many.
    noise : SkyNoise or None
        What `sky_covariance` needs to follow its errors; None for a sky that was not fitted.
    """

    status: str
    wavelength: _Array
    model: _Array
    model_err: _Array
    coefficients: _Array
    covariance: _Array
    kept: _Mask
    sky2d: _Array
    var_sky: _Array
    mask: _Mask
    flags: NDArray[np.uint32]
    n_pixels: int
    n_outliers: int
    noise: SkyNoise | None = None


def global_sky(visit: str) -> SkySpectrum:
    """Return the sky of a visit out of the reference packs.

    Parameters
    ----------
    visit : str
        The visit, or a name that begins with it: ``jw01345062001_03101_00001_nrs2``. The file is ``{visit}_sky.csv``.

    Raises
    ------
    NotFoundError
        When no pack has it; the message says where it was looked for.
    FormatError
        When it is no such table.
    """
    path, pack = find_reference(f"{visit.split('_', maxsplit=1)[0]}_sky.csv")
    table = read_sky_spectrum(path)
    return SkySpectrum(
        wavelength=table["wave"].cast(pl.Float64).to_numpy(),
        flux=table["flux"].cast(pl.Float64).to_numpy(),
        file=path.name,
        pack=pack.label,
        digest=pack.digest,
    )


def _variance_limits(variances: _Array, percentiles: tuple[float, float]) -> tuple[float, float]:
    """Return between which variances the sky is sought."""
    ordered = np.sort(variances)
    low, high = (
        float(np.percentile(ordered, p)) if p >= 0 else float(ordered[min(int(-p), ordered.size - 1) * side])
        for p, side in zip(percentiles, (1, -1), strict=True)
    )
    return low, high


def _sky_pixels(
    good: _Mask, total: _Array, distance: _Array, light: _Array, params: SkyParams
) -> tuple[_Mask, _Mask, _Mask]:
    """Return the pixels beside sources, those of them to fit, and those to be flagged for their variances."""
    good = good.copy()
    clipped = np.zeros(good.shape, np.bool_)
    with np.errstate(invalid="ignore"):
        for low, high in params.mask_yslit:
            good &= ~((distance > low) & (distance < high))
        use = good if params.min_bar is None else good & (light > params.min_bar)
    if params.var_percentiles is None or use.sum() < _MIN_PIXELS:
        return good, use.copy(), clipped
    least, most = _variance_limits(total[good], params.var_percentiles)
    inside = (total > least) & (total < most)
    if params.flag_clipped and params.outlier_threshold is not None and min(params.var_percentiles) < 0:
        clipped = good & ~inside
    return good, use & inside, clipped


def estimate_sky(
    sci: ArrayLike,
    var_rnoise: ArrayLike,
    var_total: ArrayLike,
    wavelength: ArrayLike,
    yslit: ArrayLike,
    bar: ArrayLike,
    *,
    grid: ArrayLike,
    valid: ArrayLike | None = None,
    known_sky: SkySpectrum | None = None,
    params: SkyParams | None = None,
) -> SkyFit:
    """Fit the sky of a slit to the pixels that have only sky.

    Parameters
    ----------
    sci, var_rnoise, var_total : array_like, float64, any shape [uJy, uJy^2]
        Exposures with sky, divided by the shadow of the bars; variance of the read-out, and all of it.
    wavelength, yslit, bar : array_like, float64, shape of ``sci`` [um, pix]
        Wavelength, distance from the trace, throughput of the bars.
    grid : array_like, float64, shape (n,) [um]
        Wavelengths at which the model is tabulated; knots of the spline are even along its entries.
    valid : array_like, bool, shape of ``sci``, optional
        True = good.
    known_sky : SkySpectrum, optional
        What the spline multiplies, `global_sky`; msaexp takes ``df=7`` then.
    params : SkyParams, optional
        Which pixels are sky, and how free it is.

    Returns
    -------
    SkyFit
        The sky.

    Raises
    ------
    InvalidInputError
        When shapes differ, the grid does not rise, or ``df`` is negative without a known sky.

    Notes
    -----
    ``s(w) = k(w) sum_j c_j B_j(i(w))`` with the place i(w) along the grid, by least squares with weights
    ``1 / var_rnoise``, which do not depend on the data and so do not bias it. With these weights W and the variances V
    the covariance is ``(A'WA)^-1 A'WVWA (A'WA)^-1``; msaexp keeps ``(A'WA)^-1``, which is right without photons only.
    """
    params = params or SkyParams()
    data = np.asarray(as_array(sci, "sci", np.float64), np.float64)
    read, total, wave, distance, light = (
        np.asarray(as_array(value, name, np.float64, shape=data.shape), np.float64)
        for value, name in (
            (var_rnoise, "var_rnoise"),
            (var_total, "var_total"),
            (wavelength, "wavelength"),
            (yslit, "yslit"),
            (bar, "bar"),
        )
    )
    grid_waves = np.asarray(as_array(grid, "grid", np.float64, shape=(None,)), np.float64)
    spline = _Spline(params, grid_waves)
    if params.df < 0 and known_sky is None:
        msg = f"df: {params.df} is not allowed without a known sky"
        raise InvalidInputError(msg)
    known = np.ones(data.shape) if known_sky is None else known_sky.at(wave)
    with np.errstate(invalid="ignore"):
        good = np.isfinite(data) & np.isfinite(wave) & np.isfinite(distance) & (read > 0) & (total > 0)
        good &= data < params.high_clip
    if valid is not None:
        good &= np.asarray(as_array(valid, "valid", np.bool_, shape=data.shape), np.bool_)
    good, use, clipped = _sky_pixels(good, total, distance, light, params)
    use &= np.isfinite(known)
    if use.sum() < _MIN_PIXELS:
        return spline.nothing(data.shape, int(use.sum()))
    basis = spline.basis(wave) * known.reshape(-1, 1)
    kept, coefficients = _fit(basis, data, read, use, params.df)
    if params.absolute_threshold is not None:
        residual = np.abs(data - (basis[:, kept] @ coefficients).reshape(data.shape))
        with np.errstate(invalid="ignore"):
            use &= ~(residual > params.absolute_threshold)
        if use.sum() < _MIN_PIXELS:
            return spline.nothing(data.shape, int(use.sum()))
        kept, coefficients = _fit(basis, data, read, use, params.df)
    covariance = _covariance(basis[:, kept], read, total, use, params.df)
    sky2d, var_sky = _evaluate(basis[:, kept], coefficients, covariance)
    sky2d, var_sky = sky2d.reshape(data.shape), var_sky.reshape(data.shape)
    on_grid = spline.basis(grid_waves, params.spline_clip)[:, kept]
    if known_sky is not None:
        on_grid = on_grid * known_sky.at(grid_waves)[:, None]
    model, var_model = _evaluate(on_grid, coefficients, covariance)
    first, last = wave[use].min(), wave[use].max()
    for places, arrays in ((wave, (sky2d, var_sky)), (grid_waves, (model, var_model))):
        unknown = ~((places >= first) & (places <= last))
        for array in arrays:
            array[unknown] = np.nan
    outlier = clipped
    if params.outlier_threshold is not None:
        with np.errstate(invalid="ignore"):
            outlier = outlier | (good & (np.abs(data - sky2d) > params.outlier_threshold * np.sqrt(total)))
    return SkyFit(
        status="ok",
        wavelength=grid_waves,
        model=model,
        model_err=np.sqrt(var_model),
        coefficients=coefficients,
        covariance=covariance,
        kept=kept,
        sky2d=sky2d,
        var_sky=var_sky,
        mask=use,
        flags=np.where(outlier, np.uint32(SLIT_FLAG_BITS["sky_outlier"]), np.uint32(0)),
        n_pixels=int(use.sum()),
        n_outliers=int(outlier.sum()),
        noise=_noise(basis[:, kept], read, total, use, params.df),
    )


class _Spline:
    """The functions of the sky along the entries of a grid."""

    def __init__(self, params: SkyParams, grid: _Array) -> None:
        if grid.size < 2 or not (np.diff(grid) > 0).all():
            msg = "grid: it must have two or more wavelengths that rise"
            raise InvalidInputError(msg)
        self.params, self.grid = params, grid
        self.places = np.arange(grid.size) / grid.size

    def basis(self, wavelength: _Array, clip: float = 0.0) -> _Array:
        """Return the functions at some wavelengths, shape (n, df)."""
        if self.params.df <= 0:
            return np.ones((wavelength.size, 1))
        at = np.interp(wavelength.ravel(), self.grid, self.places)
        return bspline_basis(at, n_functions=self.params.df, limits=(0.0, 1.0), clip=clip)

    def nothing(self, shape: tuple[int, ...], n_pixels: int) -> SkyFit:
        """Return the fit of too few pixels."""
        n = max(self.params.df, 1)
        return SkyFit(
            status="too_few_pixels",
            wavelength=self.grid,
            model=np.full(self.grid.size, np.nan),
            model_err=np.full(self.grid.size, np.nan),
            coefficients=np.empty(0),
            covariance=np.empty((0, 0)),
            kept=np.zeros(n, np.bool_),
            sky2d=np.full(shape, np.nan),
            var_sky=np.full(shape, np.nan),
            mask=np.zeros(shape, np.bool_),
            flags=np.zeros(shape, np.uint32),
            n_pixels=n_pixels,
            n_outliers=0,
        )


def _fit(basis: _Array, data: _Array, read: _Array, use: _Mask, df: int) -> tuple[_Mask, _Array]:
    """Return which functions have pixels, and their coefficients."""
    rows = use.ravel()
    weight = np.abs(basis[rows]).sum(axis=0)
    kept = weight > _MIN_WEIGHT * weight.max()
    if df < 0:
        return kept, np.ones(1)
    sigma = np.sqrt(read.ravel()[rows])
    coefficients = np.linalg.lstsq(basis[rows][:, kept] / sigma[:, None], data.ravel()[rows] / sigma, rcond=None)[0]
    return kept, np.asarray(coefficients, np.float64)


def _covariance(basis: _Array, read: _Array, total: _Array, use: _Mask, df: int) -> _Array:
    """Return the covariance of the coefficients; a sky that was taken as it is has none."""
    if df < 0:
        return np.zeros((1, 1))
    rows = use.ravel()
    weighted = basis[rows] / np.sqrt(read.ravel()[rows])[:, None]
    inverse = np.linalg.pinv(weighted.T @ weighted, hermitian=True)
    excess = (total.ravel()[rows] / read.ravel()[rows])[:, None]
    return np.asarray(inverse @ (weighted.T @ (excess * weighted)) @ inverse)


def _noise(basis: _Array, read: _Array, total: _Array, use: _Mask, df: int) -> SkyNoise | None:
    """Return what the errors of the sky follow from; a sky that was taken as it is has none."""
    if df < 0:
        return None
    functions = basis.reshape(*use.shape, -1)
    weight = np.divide(1.0, read, out=np.zeros_like(read), where=use)
    return SkyNoise(basis=functions, design=functions, weight=weight, variance=total)


def _evaluate(basis: _Array, coefficients: _Array, covariance: _Array) -> tuple[_Array, _Array]:
    """Return a model and its variance."""
    return basis @ coefficients, np.maximum(np.einsum("ij,ij->i", basis @ covariance, basis), 0.0)
