"""Photometry at given positions."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._rust import segmentation as _rust
from skymere.datamodels import Mosaic, SegmentationMap
from skymere.errors import InvalidInputError
from skymere.segmentation.planes import MeasureImage, parts_of

__all__ = ["ApertureFlux", "Neighbours", "aperture_flux", "check_neighbours", "kron_radius"]

Neighbours = Literal["mirror", "blank", "keep"]


def check_neighbours(neighbours: str) -> None:
    """Raise unless it says what pixels of other sources count.

    Raises
    ------
    InvalidInputError
        When it is another word.
    """
    if neighbours not in {"mirror", "blank", "keep"}:
        msg = f"neighbours: {neighbours!r} is not allowed, it must be 'mirror', 'blank' or 'keep'"
        raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class ApertureFlux:
    """What apertures hold; one entry per aperture.

    Parameters
    ----------
    flux : ndarray, float64, shape (n,) [unit, or uJy when the zero point is known]
        Sum of the pixels, each times its overlap; NaN where no pixel counts.
    flux_err : ndarray, float64, shape (n,) [as flux]
        Its standard deviation.
    foreign, bad, missing : ndarray, float64, shape (n,)
        Fractions of the area that belong to other sources, that are bad or outside, and that nothing stood in for.
    """

    flux: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    foreign: NDArray[np.float64]
    bad: NDArray[np.float64]
    missing: NDArray[np.float64]


def _rows(numbers: tuple[ArrayLike, ...], label: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return rows of ``numbers = (x, y, a, b, theta)``, theta in radians, and the owners."""
    try:
        columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in numbers))
        owner = np.broadcast_to(np.asarray(label, dtype=np.int32), columns[0].shape)
    except ValueError as error:
        msg = f"x, y, a, b, theta, label: they must be numbers or lists of one length ({error})"
        raise InvalidInputError(msg) from error
    if columns[0].ndim != 1:
        msg = f"x: {columns[0].ndim} dimensions are not allowed, it must be a number or a list"
        raise InvalidInputError(msg)
    rows = np.column_stack(columns)
    if not bool(np.all(np.isfinite(rows)) and np.all(rows[:, 2:4] > 0)):
        msg = "x, y, a, b, theta: all must be finite, and the axes positive"
        raise InvalidInputError(msg)
    rows[:, 4] = np.deg2rad(rows[:, 4])
    return np.ascontiguousarray(rows), np.ascontiguousarray(owner)


def aperture_flux(
    image: Mosaic | MeasureImage,
    x: ArrayLike,
    y: ArrayLike,
    *,
    a: ArrayLike,
    b: ArrayLike | None = None,
    theta: ArrayLike = 0.0,
    segmentation: SegmentationMap | None = None,
    label: ArrayLike = 0,
    neighbours: Neighbours = "mirror",
) -> ApertureFlux:
    """Return the flux in elliptical apertures, with exact overlap of pixels and apertures.

    Parameters
    ----------
    image : Mosaic or MeasureImage
        Background-subtracted image with its errors.
    x, y : array_like, float64, shape (n,) [pix]
        Centres, 0-based.
    a : array_like, float64, shape (n,) [pix]
        Semi-major axis, or radius.
    b : array_like, float64, shape (n,), optional [pix]
        Semi-minor axis; ``a`` when absent.
    theta : array_like, float64, shape (n,), optional [deg]
        Angle of the major axis from x towards y.
    segmentation : SegmentationMap, optional
        Which pixels belong to other sources.
    label : array_like, int32, shape (n,), optional
        Source that each aperture belongs to.
    neighbours : str, optional
        What pixels of other sources count: ``mirror``, what the pixel opposite to the centre counts (SExtractor's
        MASK_TYPE CORRECT); ``blank``, nothing; ``keep``, their own value. Bad pixels are mirrored.

    Raises
    ------
    InvalidInputError
        When a number is not allowed or the shapes differ.

    Notes
    -----
    ``flux = sum u d`` and ``flux_err^2 = R^2 sum u^2 s^2`` with noise correlation ``R``; ``u`` is the overlap of a
    pixel and that of the pixel opposite to it where it stands in for that one. Where the mosaic has its noise
    covariance C, ``flux_err^2 = sum_ij u_i u_j C_ij`` (see `skymere.datamodels.NoiseCovariance.sum_variance`).

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.segmentation import MeasureImage, aperture_flux
    >>> image = MeasureImage(data=np.ones((31, 31), np.float32), error=1.0)
    >>> round(float(aperture_flux(image, 15.0, 15.0, a=5.0).flux[0] / np.pi / 25), 9)
    1.0
    """
    check_neighbours(neighbours)
    rows, owner = _rows((x, y, a, a if b is None else b, theta), label)
    parts = parts_of(image, "image", shape=None if segmentation is None else segmentation.shape)
    labels = None if segmentation is None else segmentation.labels
    flux, error, foreign, bad, missing = _rust.sum_apertures(parts, labels, rows, owner, neighbours=neighbours)
    return ApertureFlux(
        flux=flux * parts.scale, flux_err=error * parts.scale, foreign=foreign, bad=bad, missing=missing
    )


def kron_radius(
    image: Mosaic | MeasureImage,
    x: ArrayLike,
    y: ArrayLike,
    *,
    a: ArrayLike,
    b: ArrayLike,
    theta: ArrayLike = 0.0,
    extent: float = 6.0,
    segmentation: SegmentationMap | None = None,
    label: ArrayLike = 0,
    neighbours: Neighbours = "mirror",
) -> NDArray[np.float64]:
    """Return the first moment of the light's elliptical radius, in units of the ellipse.

    Parameters
    ----------
    image : Mosaic or MeasureImage
        Background-subtracted image.
    x, y, a, b, theta, segmentation, label, neighbours
        As in `aperture_flux`.
    extent : float, optional
        Radius, in units of the ellipse, up to which pixels count.

    Returns
    -------
    ndarray, float64, shape (n,)
        ``sum r I / sum I``; NaN where a sum is not positive.

    Raises
    ------
    InvalidInputError
        When a number is not allowed or the shapes differ.

    References
    ----------
    Kron 1980, ApJS 43, 305.
    """
    check_neighbours(neighbours)
    if not 0 < extent < np.inf:
        msg = f"extent: {extent} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    rows, owner = _rows((x, y, a, b, theta), label)
    parts = parts_of(image, "image", shape=None if segmentation is None else segmentation.shape)
    labels = None if segmentation is None else segmentation.labels
    return _rust.kron_radii(parts, labels, rows, owner, extent=extent, neighbours=neighbours)
