"""Sersic profiles fitted to stamps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._rust import profiles as _rust
from skymere.errors import InvalidInputError
from skymere.profiles.component import Component, asked_rows
from skymere.profiles.pixels import ScaledPixels, scaled_pixels
from skymere.profiles.response import response_of
from skymere.profiles.table import profile_table
from skymere.psf import Psf

__all__ = ["FitParams", "Likelihood", "fit_sersic"]

Likelihood = Literal["gaussian", "poisson"]
Bounds = tuple[float, float]

_INFINITE: Bounds = (-float("inf"), float("inf"))
_GIVEN = ("x", "y", "flux", "r_eff_pix", "sersic_index", "ellipticity", "pa", "sky")


@dataclass(frozen=True, kw_only=True)
class FitParams:
    """Parameters of `fit_sersic` and of the other fits.

    Parameters
    ----------
    reach_pix : float
        How far the centre may lie from the start along each axis [pix].
    flux : tuple of float
        Lowest and highest flux [unit of the data]. As with all bounds, equal ones hold a parameter.
    r_eff_pix : tuple of float
        Of the half-light radius along the major axis [pix].
    sersic_index : tuple of float
        Of the index, within 0.1 to 10. ``(1, 1)`` is an exponential profile, ``(4, 4)`` a de Vaucouleurs one and
        ``(0.5, 0.5)`` a Gaussian.
    beta : tuple of float
        Of the exponent of Moffat profiles, within 1.1 to 20.
    ellipticity : tuple of float
        Of ``1 - b / a``.
    pa : tuple of float
        Of the angle of the major axis from +y, counter-clockwise, modulo half a turn [deg].
    sky : tuple of float
        Of the level of the sky; ``(0, 0)`` fits none.
    sky_slope : tuple of float
        Of its slopes along x and y [per pix]; by default the sky is flat.
    likelihood : str
        ``gaussian``: chi-square with the errors that are given; ``poisson``: Cash's statistic of counts, sky included;
        a model of less than 0.001 counts in a pixel is bent so that it stays positive.
    max_starts : int
        Starts that are tried where a fit is suspect: one that did not converge, ended on a bound or left a chi-square 4
        standard deviations above its degrees of freedom.
    max_evaluations : int
        Evaluations of the model for each start, so that no source can hold up the others.
    tolerance : float
        Change of chi-square that is foreseen for the next step when a fit has converged.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    reach_pix: float = 4.0
    flux: Bounds = _INFINITE
    r_eff_pix: Bounds = (0.01, 1000.0)
    sersic_index: Bounds = (0.1, 8.0)
    beta: Bounds = (1.2, 10.0)
    ellipticity: Bounds = (0.0, 0.95)
    pa: Bounds = (-90.0, 90.0)
    sky: Bounds = _INFINITE
    sky_slope: Bounds = (0.0, 0.0)
    likelihood: Likelihood = "gaussian"
    max_starts: int = 3
    max_evaluations: int = 100
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        least = {"r_eff_pix": 0.0, "sersic_index": 0.1, "beta": 1.1, "ellipticity": 0.0}
        most = {"sersic_index": 10.0, "beta": 20.0, "ellipticity": 0.99}
        for name in ("flux", "r_eff_pix", "sersic_index", "beta", "ellipticity", "pa", "sky", "sky_slope"):
            try:
                low, high = getattr(self, name)
            except TypeError:
                msg = f"{name}: {getattr(self, name)!r} is not allowed, it must be a lowest and a highest value"
                raise InvalidInputError(msg) from None
            lowest, highest = least.get(name, -np.inf), most.get(name, np.inf)
            if not (lowest <= low <= high <= highest) or (name == "r_eff_pix" and low <= 0):
                msg = f"{name}: bounds {(low, high)} are not allowed, they must rise within {lowest} to {highest}"
                raise InvalidInputError(msg)
        if self.likelihood not in get_args(Likelihood):
            msg = f"likelihood: {self.likelihood!r} is not allowed, it must be one of {', '.join(get_args(Likelihood))}"
            raise InvalidInputError(msg)
        for name in ("reach_pix", "max_starts", "max_evaluations", "tolerance"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                msg = f"{name}: {value} is not allowed, it must be positive"
                raise InvalidInputError(msg)
            if name.startswith("max_") and value != int(value):
                msg = f"{name}: {value} is not allowed, it must be a whole number"
                raise InvalidInputError(msg)

    @property
    def is_counts(self) -> bool:
        """Whether the data are counts."""
        return self.likelihood == "poisson"

    def bounds(self) -> dict[str, Bounds]:
        """Return the bounds of profiles by the names of their parameters."""
        names = ("flux", "r_eff_pix", "sersic_index", "beta", "ellipticity", "pa")
        return {name: getattr(self, name) for name in names}

    def sky_bounds(self, unit: float) -> list[Bounds]:
        """Return bounds of level and slopes of the sky in a unit."""
        return [(low / unit, high / unit) for low, high in (self.sky, self.sky_slope, self.sky_slope)]

    def keywords(self, unit: float, components: Sequence[Component] = (Component(),)) -> dict[str, Any]:
        """Return what the kernels take.

        Parameters
        ----------
        unit : float
            Unit of the data of the kernel.
        components : sequence of Component, optional
            Of every source without a plan of its own.
        """
        return {
            "asked": asked_rows(components, self.bounds(), unit),
            "reach": self.reach_pix,
            "sky": self.sky_bounds(unit),
            "is_poisson": self.is_counts,
            "n_starts": int(self.max_starts),
            "max_evaluations": int(self.max_evaluations),
            "tolerance": self.tolerance,
        }


def fit_sersic(
    data: ArrayLike,
    error: ArrayLike,
    *,
    psf: Psf | ArrayLike,
    psf_has_pixel: bool = True,
    mask: ArrayLike | None = None,
    sources: pl.DataFrame | Mapping[str, ArrayLike] | None = None,
    params: FitParams | None = None,
) -> pl.DataFrame:
    """Fit a Sersic profile behind a PSF, and the sky, to one stamp or to many.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx) or (n_stamps, ny, nx)
        Stamps with one source each.
    error : array_like, float32, same shape, or float [unit of the data]
        1 sigma; pixels without a positive and finite one do not count. For ``poisson`` only that matters.
    psf : Psf or array_like, float64, shape (py, px)
        Point-spread function, as in `render_sersic`.
    psf_has_pixel : bool, optional
        Whether an array holds the response of a pixel.
    mask : array_like, bool, same shape, optional
        True = do not use.
    sources : polars.DataFrame or mapping of array_like, optional
        Start values, a row for each stamp, with any of the columns ``x y flux r_eff_pix sersic_index ellipticity pa
        sky``. What is absent, null or NaN comes from the moments of the light near ``x, y``, or near the middle.
    params : FitParams, optional
        Bounds, likelihood and when to stop.

    Returns
    -------
    polars.DataFrame
        A row for each stamp: ``x y flux r_eff_pix sersic_index ellipticity pa sky`` [pix, unit of the data, deg] and
        the 1 sigma error of each as ``*_err`` (NaN where it was held or the pixels do not tell), ``intensity`` (surface
        brightness at ``r_eff``), ``sky_slope_x sky_slope_y``, ``chi2 dof n_evaluations is_converged``, ``bounds_hit``
        (names of the parameters that ended on a bound), ``covariance`` (10 x 10: the parameters in this order, then the
        slopes of the sky, 0 for what was held), ``status`` (``ok`` or ``failed``) and ``message``.

    Raises
    ------
    InvalidInputError
        When shapes differ, the PSF is no image of positive sum, or a column of the sources has another length.

    Notes
    -----
    Levenberg-Marquardt steps with the exact derivatives of the model, in the logarithms of size and index and the two
    components of the ellipticity. Errors are those of the curvature ``J^T W J``. A stamp that cannot be fitted is a row
    with a status, and results are the same for any number of threads.

    References
    ----------
    Marquardt 1963, SIAM J. Appl. Math. 11, 431. Nielsen 1999, IMM-REP-1999-05. Cash 1979, ApJ 228, 939.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.profiles import fit_sersic, render_sersic
    >>> y, x = np.mgrid[-15:16, -15:16]
    >>> psf = np.exp(-(x**2 + y**2) / 4.5) / (4.5 * np.pi)
    >>> image = render_sersic((51, 51), x=25.3, y=24.8, flux=100.0, re=5.0, n=2.0, q=0.6, pa=30.0, psf=psf)
    >>> fitted = fit_sersic(image, 0.01, psf=psf).row(0, named=True)
    >>> round(fitted["r_eff_pix"], 3), round(fitted["sersic_index"], 3), round(fitted["pa"], 2)
    (5.0, 2.0, 30.0)
    """
    params = params or FitParams()
    pixels = scaled_pixels(data, error, n_dims=(2, 3), is_counts=params.is_counts)
    found, _ = fit_stack(pixels, mask, _starts(sources, _n_stamps(pixels), pixels.unit), psf, psf_has_pixel, params)
    return profile_table(found, unit=pixels.unit)


def _n_stamps(pixels: ScaledPixels) -> int:
    return 1 if pixels.data.ndim == 2 else len(pixels.data)


def fit_stack(
    pixels: ScaledPixels,
    mask: ArrayLike | None,
    start: NDArray[np.float64],
    psf: Psf | ArrayLike,
    psf_has_pixel: bool,  # noqa: FBT001
    params: FitParams,
    *,
    components: Sequence[Component] = (Component(),),
    sky: list[Bounds] | None = None,
) -> tuple[Any, NDArray[np.float64]]:
    """Return what the kernel finds on stamps, and the covariance of all components of each."""
    shape = pixels.data.shape
    bad = None if mask is None else np.asarray(mask, np.bool_)
    if bad is not None:
        try:
            bad = np.broadcast_to(bad, shape).reshape(-1, *shape[-2:])
        except ValueError:
            msg = f"mask: shape {bad.shape} is not allowed, it must be that of the data, {shape}"
            raise InvalidInputError(msg) from None
    words = params.keywords(pixels.unit, components)
    return _rust.fit_stamps(
        pixels.data.reshape(-1, *shape[-2:]),
        pixels.variance.reshape(-1, *shape[-2:]),
        None if bad is None else np.ascontiguousarray(bad),
        response_of(psf, has_pixel=psf_has_pixel).keywords(),
        start,
        words if sky is None else words | {"sky": sky},
    )


def _starts(sources: pl.DataFrame | Mapping[str, ArrayLike] | None, n: int, unit: float) -> NDArray[np.float64]:
    """Return rows of start values in the order of the kernel, NaN where none is given."""
    rows = np.full((n, len(_GIVEN)), np.nan)
    given = {} if sources is None else sources
    names = given.columns if isinstance(given, pl.DataFrame) else list(given)
    for name in names:
        if name not in _GIVEN:
            if isinstance(given, pl.DataFrame):
                continue
            msg = f"sources: {name!r} is not allowed, columns are {', '.join(_GIVEN)}"
            raise InvalidInputError(msg)
        values = np.asarray(given[name], np.float64)
        if values.shape not in ((), (n,)):
            msg = f"sources: {name} has shape {values.shape}, it must be one value for each of the {n} stamps"
            raise InvalidInputError(msg)
        rows[:, _GIVEN.index(name)] = values
    rows[:, [_GIVEN.index("flux"), _GIVEN.index("sky")]] /= unit
    rows[:, _GIVEN.index("ellipticity")] = 1.0 - rows[:, _GIVEN.index("ellipticity")]
    rows[:, _GIVEN.index("pa")] = np.deg2rad(rows[:, _GIVEN.index("pa")] + 90.0)
    return rows
