"""Pixel maps: output ``(x, y)`` of every pixel of an image."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere._rust import wcs as _wcs
from skymere.errors import InvalidInputError
from skymere.wcs.tan import Transform, as_tan, check_same_sky, pixel_transform

__all__ = ["SampledMap", "pixel_map", "sample_pixel_map", "stepped_pixel_map"]

_FIRST_STEP_PIX = 64.0
_LAST_STEP_PIX = 4.0
_MIN_NODES = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class SampledMap:
    """A pixel map that was interpolated between nodes.

    Parameters
    ----------
    pixmap : ndarray, float64, shape (ny, nx, 2) [pix]
        Output ``(x, y)`` of every input pixel; NaN where there is none.
    max_error_pix : float
        Largest measured distance from the exact map [output pix]; 0 where every pixel was evaluated.
    step_pix : float
        Distance of the nodes; 1 where every pixel was evaluated [pix].
    """

    pixmap: NDArray[np.float64]
    max_error_pix: float
    step_pix: float


def pixel_map(
    from_wcs: Any,
    to_wcs: Any,
    shape: tuple[int, int],
    *,
    tolerance_pix: float = 1e-3,
    rows: slice = slice(None),
) -> NDArray[np.float64]:
    """Return the output ``(x, y)`` of every pixel of an input image.

    TAN coordinates of astropy, with SIP and with look-up tables (D2IM, NPOL) or without, are evaluated exactly for
    every pixel, without Python. Any others (TPV, other projections, gwcs) are sampled as `sample_pixel_map` does.

    Parameters
    ----------
    from_wcs, to_wcs : astropy.wcs.WCS or APE-14 object
        Coordinates of the input and of the output, both with their distortion.
    shape : tuple of int
        ``(ny, nx)`` of the input.
    tolerance_pix : float, optional
        Largest error of a sampled map [output pix].
    rows : slice, optional
        Rows of the input that are wanted, without a step; they have the bits of the whole map.

    Returns
    -------
    pixmap : ndarray, float64, shape (ny, nx, 2) [pix]
        0-based positions; NaN where a pixel has none.

    Raises
    ------
    InvalidInputError
        When a WCS, the shape or the tolerance is not allowed.

    Notes
    -----
    A pixel offset ``(u, v)`` becomes ``(u + f, v + g)`` with the SIP polynomials f and g [1]_; the tangent planes of
    the two images are related by a rotation of the sphere, so that linear part, projection, deprojection and inverse
    linear part are together one projective 3 x 3 matrix [2]_. Tables of the detector (D2IM) are bilinear and come
    before SIP, those of a filter (NPOL, in headers CPDIS) are added to it at the same pixel [3]_. The distortion of
    ``to_wcs`` is inverted by Newton's iteration with the derivatives of SIP.

    References
    ----------
    .. [1] Shupe et al. 2005, ADASS XIV, ASP 347, 491, equations 1 to 3.
    .. [2] Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3.
    .. [3] Hack et al. 2012, TSR 2012-01, "Distortion correction in HST FITS files".

    Examples
    --------
    >>> from skymere.wcs import Grid, pixel_map
    >>> fine = Grid.tangent(150.0, 2.0, shape=(200, 200), scale_arcsec=0.06)
    >>> coarse = Grid.tangent(150.0, 2.0, shape=(100, 100), scale_arcsec=0.12)
    >>> pixel_map(coarse.wcs, fine.wcs, coarse.shape)[0, 0].round(3).tolist()
    [0.5, 0.5]
    """
    shape = _checked_shape(shape)
    _check_tolerance(tolerance_pix)
    check_same_sky(from_wcs, to_wcs)
    tan_from, tan_to = as_tan(from_wcs), as_tan(to_wcs)
    first, end, _ = rows.indices(shape[0])
    if tan_from is not None and tan_to is not None:
        return tan_from.pixel_map(tan_to, (max(end - first, 0), shape[1]), first)
    return sample_pixel_map(pixel_transform(from_wcs, to_wcs), shape, tolerance_pix=tolerance_pix).pixmap[first:end]


def sample_pixel_map(transform: Transform, shape: tuple[int, int], *, tolerance_pix: float = 1e-3) -> SampledMap:
    """Return a pixel map interpolated between as few exact positions as a tolerance allows.

    Parameters
    ----------
    transform : callable
        ``transform(x, y) -> (x, y)`` of float64 arrays: input to output positions [pix], as `pixel_transform` makes.
    shape : tuple of int
        ``(ny, nx)`` of the input.
    tolerance_pix : float, optional
        Largest measured error [output pix].

    Returns
    -------
    SampledMap
        The map, its measured error and the distance of its nodes.

    Raises
    ------
    InvalidInputError
        When the shape or the tolerance is not allowed.

    Notes
    -----
    Nodes from the first to the last pixel are joined by Lagrange cubics. The error is measured against `transform`
    at the centre of every cell and at one more position in it, different from cell to cell, so that kinks of
    look-up tables are met. The distance of the nodes is halved from 64 pixels until the error is within the
    tolerance; below 4 pixels every pixel is evaluated.

    Examples
    --------
    >>> from skymere.wcs import sample_pixel_map
    >>> sampled = sample_pixel_map(lambda x, y: (2 * x, y + 1e-6 * x * x), (500, 500), tolerance_pix=1e-6)
    >>> sampled.step_pix > 60
    True
    """
    shape = _checked_shape(shape)
    _check_tolerance(tolerance_pix)
    step = _FIRST_STEP_PIX
    while step >= _LAST_STEP_PIX and min(shape) > 2 * _MIN_NODES:
        sampled = _sample(transform, shape, step)
        if sampled.max_error_pix <= tolerance_pix:
            return sampled
        step /= 2
    y, x = np.indices(shape, dtype=np.float64)
    return SampledMap(pixmap=np.stack(transform(x, y), axis=-1), max_error_pix=0.0, step_pix=1.0)


def stepped_pixel_map(from_wcs: Any, to_wcs: Any, shape: tuple[int, int], *, step: int = 10) -> NDArray[np.float64]:
    """Return AstroDrizzle's pixel map: exact at FITS pixels 0, ``step``, 2 ``step`` ..., bilinear between.

    Parameters
    ----------
    from_wcs, to_wcs, shape
        As in `pixel_map`.
    step : int, optional
        AstroDrizzle's ``stepsize`` [pix].

    Returns
    -------
    pixmap : ndarray, float64, shape (ny, nx, 2) [pix]
        0-based positions; for WFC3/IR up to 1.4e-3 output pixels off the exact map.

    Raises
    ------
    InvalidInputError
        When a WCS, the shape or the step is not allowed.

    Examples
    --------
    >>> from skymere.wcs import Grid, stepped_pixel_map
    >>> fine = Grid.tangent(150.0, 2.0, shape=(200, 200), scale_arcsec=0.06)
    >>> coarse = Grid.tangent(150.0, 2.0, shape=(100, 100), scale_arcsec=0.12)
    >>> stepped_pixel_map(coarse.wcs, fine.wcs, coarse.shape)[0, 0].round(3).tolist()
    [0.5, 0.5]
    """
    shape = _checked_shape(shape)
    if step < 1:
        msg = f"step: {step} is not allowed, it must be at least 1"
        raise InvalidInputError(msg)
    y, x = (np.arange(-1.0, n + step, step) for n in shape)
    transform = pixel_transform(from_wcs, to_wcs)
    nodes = np.stack(transform(*np.meshgrid(x, y)), axis=-1)
    return _wcs.interpolate_to_pixels(nodes, (-1.0, -1.0), (float(step), float(step)), shape, "linear")


def _checked_shape(shape: tuple[int, int]) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) < 1:
        msg = f"shape: {shape} is not allowed, it must be two positive numbers (ny, nx)"
        raise InvalidInputError(msg)
    return int(shape[0]), int(shape[1])


def _check_tolerance(tolerance_pix: float) -> None:
    if not tolerance_pix > 0:
        msg = f"tolerance_pix: {tolerance_pix} is not allowed, it must be positive"
        raise InvalidInputError(msg)


def _sample(transform: Transform, shape: tuple[int, int], step: float) -> SampledMap:
    """Return the map with nodes about ``step`` apart, the first and the last pixel among them."""
    n_nodes = [max(_MIN_NODES, int(np.ceil((n - 1) / step)) + 1) for n in shape]
    y, x = (np.linspace(0.0, n - 1.0, m) for n, m in zip(shape, n_nodes, strict=True))
    nodes = np.stack(transform(*np.meshgrid(x, y)), axis=-1)
    steps = (float(y[1]), float(x[1]))
    points = _check_points(n_nodes, steps)
    between = _wcs.interpolate_to_points(nodes, (0.0, 0.0), steps, points, "cubic")
    exact = np.stack(transform(points[:, 0], points[:, 1]), axis=-1)
    error = float(np.hypot(*(between - exact).T).max())
    pixmap = _wcs.interpolate_to_pixels(nodes, (0.0, 0.0), steps, shape, "cubic")
    return SampledMap(pixmap=pixmap, max_error_pix=error if np.isfinite(error) else np.inf, step_pix=max(steps))


def _check_points(n_nodes: list[int], steps: tuple[float, float]) -> NDArray[np.float64]:
    """Return ``(n, 2)`` positions: the centre of each cell and one that differs from cell to cell (Roberts' R2)."""
    j, i = (k.ravel() for k in np.indices([m - 1 for m in n_nodes]))
    k = np.arange(j.size)
    wandering = np.column_stack([i + (k * 0.7548776662466927) % 1.0, j + (k * 0.5698402909980532) % 1.0])
    centres = np.column_stack([i + 0.5, j + 0.5])
    return np.concatenate([centres, wandering]) * (steps[1], steps[0])
