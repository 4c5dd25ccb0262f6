"""Sums of profiles fitted to one source."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from skymere.profiles.component import Component, asked_rows, sky_of
from skymere.profiles.fit import FitParams, fit_stack
from skymere.profiles.pixels import scaled_pixels
from skymere.profiles.table import joint_covariance, table_of_kinds
from skymere.psf import Psf

__all__ = ["fit_components"]


def fit_components(
    data: ArrayLike,
    error: ArrayLike,
    *,
    psf: Psf | ArrayLike,
    components: Sequence[Component],
    psf_has_pixel: bool = True,
    mask: ArrayLike | None = None,
    params: FitParams | None = None,
) -> pl.DataFrame:
    """Fit the sum of some profiles behind a PSF, and the sky, to the image of one source.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx)
        Image of the source.
    error : array_like, float32, shape (ny, nx), or float [unit of the data]
        1 sigma; pixels without a positive and finite one do not count.
    psf : Psf or array_like, float64, shape (py, px)
        Point-spread function, as in `render_sersic`.
    components : sequence of Component
        Profiles, of any kinds, and at most one sky. Without one the sky is as ``params`` say.
    psf_has_pixel : bool, optional
        Whether an array holds the response of a pixel.
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use.
    params : FitParams, optional
        Bounds that a component does not have itself, likelihood and when to stop.

    Returns
    -------
    polars.DataFrame
        A row for each profile, in their order: ``component`` (its number, skies counted), ``kind``, the columns of
        `fit_sersic` with ``beta beta_err`` of Moffat profiles, and ``joint_covariance``: the parameters ``x y flux
        r_eff_pix sersic_index (or beta) ellipticity pa`` of every row, then ``sky sky_slope_x sky_slope_y``; 0 for what
        was held. ``chi2``, ``dof``, the sky and counts are those of all. A point has no shape (NaN) and the size 0.

    Raises
    ------
    InvalidInputError
        When shapes differ, the PSF cannot be used, there is no profile, or one shares the centre of none before it.

    Notes
    -----
    As `fit_sersic`. Sizes that are not given begin as multiples of the source's, in the order of the components: the
    first smaller, the last larger, and other ways where the fit is suspect; fluxes begin as least squares says.

    References
    ----------
    Peng et al. 2002, AJ 124, 266, sect. 3: sums of components behind a PSF.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.profiles import Component, fit_components, render
    >>> y, x = np.mgrid[-15:16, -15:16]
    >>> psf = np.exp(-(x**2 + y**2) / 4.5) / (4.5 * np.pi)
    >>> disc = {"x": 30.3, "y": 29.8, "flux": 200.0, "r_eff_pix": 6.0, "ellipticity": 0.4, "pa": 30.0}
    >>> star = {"flux": 40.0}
    >>> parts = [Component(kind="exponential", start=disc), Component(kind="point", start=star, centre_of=0)]
    >>> image = render((61, 60), parts, psf=psf)
    >>> parts = [Component(kind="exponential"), Component(kind="point", centre_of=0)]
    >>> fit_components(image, 0.01, psf=psf, components=parts)["flux"].round(1).to_list()
    [200.0, 40.0]
    """
    params = params or FitParams()
    pixels = scaled_pixels(data, error, n_dims=(2,), is_counts=params.is_counts)
    rows = asked_rows(components, params.bounds(), pixels.unit)
    sky = sky_of(components, params.sky, pixels.unit)
    start = np.array([[*rows[0][3], np.nan if sky is None else sky[0]]])
    found, covariance = fit_stack(
        pixels,
        mask,
        start,
        psf,
        psf_has_pixel,
        params,
        components=components,
        sky=None if sky is None else sky[1],
    )
    numbers = [i for i, one in enumerate(components) if not one.is_sky]
    table = table_of_kinds(found, [components[i].kind for i in numbers], unit=pixels.unit)
    joint = joint_covariance(covariance, len(numbers), pixels.unit)
    return table.select(
        pl.Series("component", numbers, dtype=pl.Int32),
        pl.all(),
        joint_covariance=pl.Series(np.repeat(joint[None], len(numbers), axis=0)),
    )
