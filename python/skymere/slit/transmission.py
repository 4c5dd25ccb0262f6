"""Light that a slit lets through, for the width and the place of a source."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_floats
from skymere._rust import slit as _rust
from skymere.errors import InvalidInputError
from skymere.slit.profile import GaussianProfile, Profile, TableProfile

__all__ = ["slit_transmission"]


def slit_transmission(
    profile: Profile,
    wavelength: ArrayLike,
    *,
    size: float,
    x: float = 0.0,
    slit_width_pix: float = 0.2 / 0.10544,
    relative: bool = True,
) -> NDArray[np.float64]:
    """Return the part of a source's light that passes a slit.

    Parameters
    ----------
    profile : GaussianProfile or TableProfile
        The PSF; a table needs its ``transmission``.
    wavelength : array_like, float64 [um]
        Where.
    size : float [pix]
        Size of the source.
    x : float [slit width]
        Place of the source, from -0.5 to 0.5 within the slit.
    slit_width_pix : float [pix]
        Width of the slit, in pixels of the profile; a table has its own.
    relative : bool
        Divide by the transmission of a point in the middle of the slit.

    Returns
    -------
    ndarray, float64, shape as ``wavelength``
        Transmission.

    Raises
    ------
    InvalidInputError
        When a value is not allowed, or the table has no transmission.

    Notes
    -----
    For a Gaussian of width s, ``Phi((w / 2 - x) / s) - Phi((-w / 2 - x) / s)`` with the slit's width w. Tables are
    interpolated linearly in wavelength, size and ``|x|``; beyond their nodes the nearest one holds. What is relative is
    divided at the nodes, by the smallest size at the smallest ``x``.
    """
    wave = as_floats(wavelength, "wavelength")
    if not size >= 0 or not np.isfinite(x) or not slit_width_pix > 0:
        msg = (
            f"size, x, slit_width_pix: {size}, {x}, {slit_width_pix} are not allowed, "
            "they must be not negative, finite and positive"
        )
        raise InvalidInputError(msg)
    flat = np.ascontiguousarray(wave, dtype=np.float64).ravel()
    if isinstance(profile, TableProfile):
        return _table(profile, flat, size, abs(x), relative=relative).reshape(wave.shape)
    passed = _gaussian(profile, flat, size, x, slit_width_pix)
    if relative:
        passed = passed / _gaussian(profile, flat, 0.0, 0.0, slit_width_pix)
    return passed.reshape(wave.shape)


def _gaussian(
    profile: GaussianProfile, wave: NDArray[np.float64], size: float, x: float, width: float
) -> NDArray[np.float64]:
    """Integral over the slit: that over a pixel, with the slit as the unit of length."""
    trace, sizes = np.full((wave.size, 1), float(x)), np.full(wave.size, size / width)
    return _rust.evaluate_profile(profile.scaled(width).words(), wave.reshape(-1, 1, 1), trace, sizes).ravel()


def _table(
    profile: TableProfile, wave: NDArray[np.float64], size: float, x: float, *, relative: bool
) -> NDArray[np.float64]:
    if profile.transmission is None or profile.x is None:
        msg = "profile: a table without a transmission is not allowed"
        raise InvalidInputError(msg)
    (j, fs), (k, fx) = _place(profile.size, size), _place(profile.x, x)
    t = profile.transmission
    at_size = t[:, j] * (1 - fs) + t[:, min(j + 1, t.shape[1] - 1)] * fs
    nodes = at_size[:, k] * (1 - fx) + at_size[:, min(k + 1, t.shape[2] - 1)] * fx
    if relative:
        nodes = nodes / t[:, 0, 0]
    return np.interp(wave, profile.wave, nodes)


def _place(nodes: NDArray[np.float64], value: float) -> tuple[int, float]:
    at = float(np.interp(value, nodes, np.arange(nodes.size)))
    return int(at), at - int(at)
