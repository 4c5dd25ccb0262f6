"""All sources of an image fitted together with their neighbours."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_mask
from skymere._rust import profiles as _rust
from skymere.errors import InvalidInputError
from skymere.profiles.fit import FitParams
from skymere.profiles.response import response_of
from skymere.profiles.table import profile_table
from skymere.psf import Psf

__all__ = ["SceneFit", "SceneParams", "fit_scene"]


@dataclass(frozen=True, kw_only=True)
class SceneParams:
    """Parameters of `fit_scene`.

    Parameters
    ----------
    fits : FitParams
        Of every source.
    min_half_pix : float
        Least half side of a stamp [pix]: by default 1.5 arcsec of pixels of 0.06 arcsec.
    half_radii : float
        Half side in units of ``sqrt(area / pi)`` of the segment. Stamps grow until they hold their own source.
    model_reach : float
        Models are drawn, and subtracted before fainter sources are fitted, in windows of so many sides of the stamp.
    max_members : int
        Most sources that are fitted together: the brightest of those on the stamp.
    n_passes : int
        How often all groups are fitted: from the second time on with the models of all others subtracted.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    fits: FitParams = field(default_factory=FitParams)
    min_half_pix: float = 25.0
    half_radii: float = 2.0
    model_reach: float = 3.0
    max_members: int = 8
    n_passes: int = 1

    def __post_init__(self) -> None:
        least = {"min_half_pix": 5.0, "half_radii": 1.0, "model_reach": 1.0, "max_members": 1, "n_passes": 1}
        for name, lowest in least.items():
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= lowest):
                msg = f"{name}: {value} is not allowed, it must be {lowest:g} or more"
                raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneFit:
    """What `fit_scene` found.

    Parameters
    ----------
    table : polars.DataFrame
        A row for each segment, in the order of the labels: ``label``, ``group`` (label of the brightest source of those
        that were fitted together), ``n_group``, and the columns of `fit_sersic` with ``x``, ``y`` on the image;
        ``chi2``, ``dof``, ``sky`` and counts are those of the group.
    model : ndarray, float32, shape (ny, nx)
        Sum of the models, without the sky.
    residual : ndarray, float32, shape (ny, nx)
        The data less the model.
    """

    table: pl.DataFrame
    model: NDArray[np.float32]
    residual: NDArray[np.float32]


def fit_scene(
    data: ArrayLike,
    error: ArrayLike,
    *,
    labels: ArrayLike,
    psf: Psf | ArrayLike,
    psf_has_pixel: bool = True,
    mask: ArrayLike | None = None,
    params: SceneParams | None = None,
) -> SceneFit:
    """Fit a Sersic profile to every segment of an image, together with its neighbours, the brightest first.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx)
        An image without its background; what is left of it is fitted on every stamp.
    error : array_like, float32, shape (ny, nx), or float [unit of the data]
        1 sigma; pixels without a positive and finite one do not count.
    labels : array_like, int32, shape (ny, nx)
        The segment of each pixel, 0 = sky.
    psf : Psf or array_like, float64, shape (py, px)
        Point-spread function, as in `render_sersic`.
    psf_has_pixel : bool, optional
        Whether an array holds the response of a pixel.
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use.
    params : SceneParams, optional
        Stamps, groups, bounds.

    Returns
    -------
    SceneFit

    Raises
    ------
    InvalidInputError
        When shapes differ, labels are negative, or the PSF is no image of positive sum.

    Notes
    -----
    The stamp of a source has the half side ``max(min_half_pix, half_radii sqrt(area / pi))``. Neighbours whose segments
    lie on it are fitted alone, the others masked, and then all together from there; those that touch its edge are
    masked. Models of brighter groups are subtracted before; the second pass begins with the first one's results and
    subtracts the models of all others. A group waits for brighter ones whose windows reach its
    stamp and for nothing else, so results are the same for any number of threads. A source that cannot be fitted is a
    row with a status, and its neighbours are still fitted.
    """
    params = params or SceneParams()
    image = np.ascontiguousarray(np.asarray(data, np.float32))
    if image.ndim != 2 or 0 in image.shape:
        msg = f"data: shape {image.shape} is not allowed, it must be (ny, nx)"
        raise InvalidInputError(msg)
    segments = np.asarray(labels)
    if segments.shape != image.shape or segments.dtype.kind not in "iu" or (segments.size and segments.min() < 0):
        msg = (
            f"labels: {segments.dtype} of shape {segments.shape} is not allowed, it must be whole numbers from 0 on,"
            f" of shape {image.shape}"
        )
        raise InvalidInputError(msg)
    try:
        sigma = np.broadcast_to(np.asarray(error, np.float32), image.shape)
    except ValueError:
        msg = f"error: shape {np.shape(error)} is not allowed, it must be that of the data, {image.shape}"
        raise InvalidInputError(msg) from None
    response = response_of(psf, has_pixel=psf_has_pixel)
    found, label, group, n_group, model = _rust.fit_scene(
        image,
        np.where(sigma > 0, np.square(sigma), np.float32(0.0)),
        None if mask is None else as_mask(mask, "mask", shape=image.shape),
        np.ascontiguousarray(segments, np.int32),
        response.data,
        **response.keywords(),
        **params.fits.keywords(),
        sizes=(params.min_half_pix, params.half_radii, params.model_reach),
        max_members=params.max_members,
        n_passes=params.n_passes,
    )
    names = pl.DataFrame({"label": label, "group": group, "n_group": n_group})
    return SceneFit(
        table=pl.concat([names, profile_table(*found)], how="horizontal"), model=model, residual=image - model
    )
