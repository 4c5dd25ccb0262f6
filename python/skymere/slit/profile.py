"""How the light of a source spreads across a slit."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_floats
from skymere._rust import slit as _rust
from skymere.errors import InvalidInputError
from skymere.slit.frames import SlitFrames

__all__ = ["GaussianProfile", "Profile", "TableProfile", "check_growing", "evaluate_profile"]


def check_growing(values: NDArray[np.float64], name: str) -> None:
    """Raise an error when nodes do not grow."""
    if values.size == 0 or not np.isfinite(values).all() or (np.diff(values) <= 0).any():
        first = values.min(initial=np.inf)
        msg = f"{name}: {values.size} values from {first} are not allowed, they must be finite and grow"
        raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class GaussianProfile:
    """A Gaussian integrated over pixels; its size is the width of the source, in quadrature with that of the PSF.

    Parameters
    ----------
    wave : array_like, float64, shape (m,) [um]
        Nodes of the PSF's width; beyond them the nearest one holds.
    fwhm_pix : array_like, float64, shape (m,) [pix]
        Full width at half maximum of the PSF along the slit.
    fwhm_per_sigma : float
        Full width of one sigma; msaexp's 2.35.
    wing : tuple of float, optional
        A second Gaussian: its amplitude, its width over that of the first, and its offset [pix]. Its light comes on top
        of the unit integral.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    wave: NDArray[np.float64]
    fwhm_pix: NDArray[np.float64]
    fwhm_per_sigma: float = 2.35
    wing: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        wave = as_floats(self.wave, "wave", shape=(None,))
        fwhm = as_floats(self.fwhm_pix, "fwhm_pix", shape=wave.shape)
        check_growing(wave, "wave")
        if not (fwhm > 0).all() or not np.isfinite(fwhm).all():
            msg = f"fwhm_pix: {float(fwhm.min())} is not allowed, widths must be positive"
            raise InvalidInputError(msg)
        if not self.fwhm_per_sigma > 0:
            msg = f"fwhm_per_sigma: {self.fwhm_per_sigma} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if self.wing is not None and not (len(self.wing) == 3 and np.isfinite(self.wing).all() and self.wing[1] > 0):
            msg = f"wing: {self.wing} is not allowed, it must be an amplitude, a positive scale and an offset"
            raise InvalidInputError(msg)
        object.__setattr__(self, "wave", wave)
        object.__setattr__(self, "fwhm_pix", fwhm)

    def psf_sigma(self, wavelength: ArrayLike) -> NDArray[np.float64]:
        """Return the width of the PSF, float64 [pix].

        Parameters
        ----------
        wavelength : array_like, float64 [um]
            Where.
        """
        fwhm: NDArray[np.float64] = np.interp(np.asarray(wavelength, dtype=float), self.wave, self.fwhm_pix)
        return np.asarray(fwhm / self.fwhm_per_sigma)

    def scaled(self, unit_pix: float) -> Self:
        """Return the profile in another unit of length.

        Parameters
        ----------
        unit_pix : float [pix]
            The unit.
        """
        wing = None if self.wing is None else (self.wing[0], self.wing[1], self.wing[2] / unit_pix)
        return replace(self, fwhm_pix=self.fwhm_pix / unit_pix, wing=wing)

    def words(self) -> dict[str, Any]:
        """Return the profile as the kernels take it."""
        return {
            "psf_wave": self.wave,
            "psf_fwhm": self.fwhm_pix,
            "fwhm_per_sigma": self.fwhm_per_sigma,
            "wing": None if self.wing is None else tuple(map(float, self.wing)),
            "table": None,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class TableProfile:
    """A tabulated profile, interpolated linearly in distance, wavelength and size.

    Parameters
    ----------
    values : array_like, float64, shape (n_y, n_wave, n_size)
        Light in a pixel over all light; values that are not finite are 0, and wavelengths without any finite value at
        the first size are left out.
    y : array_like, float64, shape (n_y,) [pix]
        Distance from the trace; there is no light beyond.
    wave : array_like, float64, shape (n_wave,) [um]
        Wavelength; beyond it the nearest node holds.
    size : array_like, float64, shape (n_size,)
        Size of the source, as the table defines it; beyond it the nearest node holds.
    transmission : array_like, float64, shape (n_wave, n_size, n_x), optional
        Light that passes the slit.
    x : array_like, float64, shape (n_x,), optional
        Offset from the slit's centre that ``transmission`` is given for [shutter].

    Raises
    ------
    InvalidInputError
        When shapes differ, or nodes do not grow.
    """

    values: NDArray[np.float64]
    y: NDArray[np.float64]
    wave: NDArray[np.float64]
    size: NDArray[np.float64]
    transmission: NDArray[np.float64] | None = None
    x: NDArray[np.float64] | None = field(default=None)

    def __post_init__(self) -> None:
        values = as_floats(self.values, "values", shape=(None, None, None))
        made = {}
        for name, length in (("y", values.shape[0]), ("wave", values.shape[1]), ("size", values.shape[2])):
            made[name] = as_floats(getattr(self, name), name, shape=(length,))
        has_values = np.isfinite(values[:, :, 0]).any(axis=0)
        made["wave"] = np.ascontiguousarray(made["wave"][has_values])
        made["values"] = np.nan_to_num(values[:, has_values], nan=0.0, posinf=0.0, neginf=0.0)
        if self.transmission is not None:
            if self.x is None:
                msg = "x: None is not allowed with a transmission"
                raise InvalidInputError(msg)
            made["x"] = as_floats(self.x, "x", shape=(None,))
            shape = (values.shape[1], values.shape[2], made["x"].size)
            passed = as_floats(self.transmission, "transmission", shape=shape)
            made["transmission"] = np.ascontiguousarray(passed[has_values])
        for name in ("y", "wave", "size", "x"):
            if name in made:
                check_growing(made[name], name)
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def words(self) -> dict[str, Any]:
        """Return the profile as the kernels take it."""
        nothing = np.ones(1)
        table = {"values": self.values, "y": self.y, "wave": self.wave, "size": self.size}
        return {"psf_wave": nothing, "psf_fwhm": nothing, "fwhm_per_sigma": 1.0, "wing": None, "table": table}


Profile = GaussianProfile | TableProfile


def evaluate_profile(frames: SlitFrames, profile: Profile, *, size: ArrayLike) -> NDArray[np.float64]:
    """Return the profile in every pixel of every exposure.

    Parameters
    ----------
    frames : SlitFrames
        Where the traces are.
    profile : GaussianProfile or TableProfile
        The profile.
    size : array_like, float64, scalar or shape (n,) [pix]
        Size of the source, one for each exposure or for all.

    Returns
    -------
    ndarray, float64, shape (n, ny, nx)
        Light in the pixel over all light of its column; NaN without a wavelength.

    Notes
    -----
    A Gaussian's is ``[erf((y + 1/2) / sqrt(2) s) - erf((y - 1/2) / sqrt(2) s)] / 2`` with ``s^2 = s_psf^2 + size^2``.
    """
    sizes = np.broadcast_to(np.asarray(size, dtype=float), (frames.shape[0],))
    return _rust.evaluate_profile(profile.words(), frames.wavelength, frames.trace, np.ascontiguousarray(sizes))
