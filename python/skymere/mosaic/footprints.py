"""What exposures cover of the sky: areas of outlines, distances, and figures that touch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.wcs import pixels_to_sky

__all__ = ["footprint_area", "outlines_overlap", "separation_deg", "shared_area"]

_EDGE_POINTS = 256


def footprint_area(wcs: Any, shape: tuple[int, int]) -> float:
    """Return the area of an image on the sky [arcmin^2].

    Parameters
    ----------
    wcs : astropy.wcs.WCS or APE-14 object
        Its coordinates, with their distortion.
    shape : tuple of int
        ``(ny, nx)``.

    Notes
    -----
    The outer edge, 256 points a side, in Lambert's equal-area projection around its middle.
    """
    ny, nx = shape
    t = np.arange(_EDGE_POINTS) / _EDGE_POINTS
    zero, one = np.zeros_like(t), np.ones_like(t)
    x = np.concatenate([t, one, 1 - t, zero]) * nx - 0.5
    y = np.concatenate([zero, t, one, 1 - t]) * ny - 0.5
    return _polygon_area(*_equal_area(*pixels_to_sky(wcs, x, y)))


def shared_area(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Area that two convex outlines share [arcmin^2], by cutting one along the sides of the other."""
    both = np.concatenate([one, other])
    x, y = _equal_area(both[:, 0], both[:, 1])
    points = np.column_stack([x, y])
    subject, clip = points[: len(one)], points[len(one) :]
    if _signed_area(clip) < 0:
        clip = clip[::-1]
    for a, b in zip(clip, np.roll(clip, -1, axis=0), strict=True):
        if not len(subject):
            return 0.0
        side = (b[0] - a[0]) * (subject[:, 1] - a[1]) - (b[1] - a[1]) * (subject[:, 0] - a[0])
        kept: list[NDArray[np.float64]] = []
        for k in range(len(subject)):
            after = (k + 1) % len(subject)
            if side[k] >= 0:
                kept.append(subject[k])
            if (side[k] >= 0) != (side[after] >= 0):
                part = side[k] / (side[k] - side[after])
                kept.append(subject[k] + part * (subject[after] - subject[k]))
        subject = np.array(kept).reshape(-1, 2)
    return abs(_signed_area(subject)) if len(subject) > 2 else 0.0


def _equal_area(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lambert's azimuthal equal-area projection around the mean of positions [arcmin]."""
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    vectors = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)
    middle = vectors.mean(axis=0)
    middle /= np.linalg.norm(middle)
    east = np.cross([0.0, 0.0, 1.0], middle) if abs(middle[2]) < 0.9 else np.cross([1.0, 0.0, 0.0], middle)
    east /= np.linalg.norm(east)
    axes = np.stack([east, np.cross(middle, east)])
    scale = np.sqrt(2.0 / (1.0 + vectors @ middle))
    x, y = (vectors @ axes.T * scale[:, np.newaxis]).T * np.rad2deg(1.0) * 60.0
    return x, y


def _polygon_area(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return abs(_signed_area(np.column_stack([x, y])))


def _signed_area(points: NDArray[np.float64]) -> float:
    x, y = (points - points.mean(axis=0)).T
    return float(0.5 * (x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


def separation_deg(ra0: float, dec0: float, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from a position [deg], by the haversine."""
    a, d, a0, d0 = np.deg2rad(ra), np.deg2rad(dec), np.deg2rad(ra0), np.deg2rad(dec0)
    h = np.sin((d - d0) / 2) ** 2 + np.cos(d) * np.cos(d0) * np.sin((a - a0) / 2) ** 2
    return np.asarray(2 * np.rad2deg(np.arcsin(np.sqrt(np.clip(h, 0, 1)))))


def outlines_overlap(quads: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which convex quadrangles ``(n, 4, 2)`` of pixels share area with an image of a shape."""
    ny, nx = shape
    frame = np.array([[-0.5, -0.5], [nx - 0.5, -0.5], [nx - 0.5, ny - 0.5], [-0.5, ny - 0.5]])
    # Two convex figures are apart when they are along the normal of a side of one of them.
    sides = np.roll(quads, -1, axis=1) - quads
    normals = np.stack([-sides[..., 1], sides[..., 0]], axis=-1)
    axes = np.concatenate([np.broadcast_to(np.eye(2), (len(quads), 2, 2)), normals], axis=1)
    hit = np.ones(len(quads), bool)
    for k in range(axes.shape[1]):
        mine = np.einsum("nij,nj->ni", quads, axes[:, k])
        theirs = np.einsum("ij,nj->ni", frame, axes[:, k])
        hit &= (mine.min(axis=1) < theirs.max(axis=1)) & (theirs.min(axis=1) < mine.max(axis=1))
    return hit
