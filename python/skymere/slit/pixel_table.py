"""Differences of nods as a table of pixels, ready to be resampled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_floats
from skymere.errors import InvalidInputError
from skymere.slit.frames import SlitFrames
from skymere.slit.nods import NodDifference, NodParams, make_diff_image
from skymere.slit.profile import Profile, evaluate_profile
from skymere.slit.sky_noise import SkyNoise
from skymere.slit.trace import TraceFit

__all__ = ["PixelTableParams", "RawNoise", "get_flat_diff_arrays", "raw_noise"]

ProfileOf = Literal["exposure", "group"]


@dataclass(frozen=True, kw_only=True)
class PixelTableParams:
    """What the rows of a table of pixels hold.

    Parameters
    ----------
    profile_of : str
        ``exposure``: the profile of the exposure less the mean of those that were subtracted, as the row is made;
        ``group``: that of the fitted difference, whatever the exposure, as msaexp 0.9.19.
    apply_mask : bool
        Leave out pixels that are masked or have no value; they have ``mask`` False otherwise.

    Raises
    ------
    InvalidInputError
        When a name is not known.
    """

    profile_of: ProfileOf = "exposure"
    apply_mask: bool = True

    def __post_init__(self) -> None:
        if self.profile_of not in get_args(ProfileOf):
            msg = f"profile_of: {self.profile_of!r} is not allowed, it must be one of {', '.join(get_args(ProfileOf))}"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class RawNoise:
    """The raw pixels that the rows of a table were made of.

    Parameters
    ----------
    position : ndarray, int64, shape (n,)
        Nod position of every exposure.
    variance : ndarray, float64, shape (n, ny * nx) [uJy2]
        Variance of every raw pixel.
    mask : ndarray, bool, shape (n, ny * nx)
        True = not in any mean.
    n_negative : ndarray, int64, shape (n, ny * nx)
        What the mean that was subtracted from an exposure was divided by; 0 = nothing was subtracted.
    wavelength : ndarray, float64, shape (n, ny * nx) [um]
        Wavelengths.
    sky : SkyNoise or None
        Errors of a sky that was subtracted, in units of the data; ``variance`` is without them.
    """

    position: NDArray[np.int64]
    variance: NDArray[np.float64]
    mask: NDArray[np.bool_]
    n_negative: NDArray[np.int64]
    wavelength: NDArray[np.float64]
    sky: SkyNoise | None = None


def raw_noise(frames: SlitFrames, *, nods: NodParams | None = None, sky: SkyNoise | None = None) -> RawNoise:
    """Return the raw pixels of frames and how their nods are subtracted.

    Parameters
    ----------
    frames : SlitFrames
        All exposures.
    nods : NodParams, optional
        How nods are subtracted.
    sky : SkyNoise, optional
        Errors of the sky that was subtracted before; the variances of ``frames`` must be without them then.

    Raises
    ------
    InvalidInputError
        When the sky has another shape.
    """
    n = frames.shape[0]
    if sky is not None and sky.weight.size != frames.data.size:
        msg = f"sky: weights of shape {sky.weight.shape} are not allowed, the frames have {frames.shape}"
        raise InvalidInputError(msg)
    counts = {p: make_diff_image(frames, position=p, params=nods).n_negative.ravel() for p in frames.positions}
    return RawNoise(
        position=frames.position,
        variance=np.where(frames.mask, 0.0, frames.variance).reshape(n, -1),
        mask=frames.mask.reshape(n, -1),
        n_negative=np.stack([counts[int(p)] for p in frames.position]),
        wavelength=frames.wavelength.reshape(n, -1),
        sky=sky,
    )


def get_flat_diff_arrays(
    frames: SlitFrames,
    *,
    exptime: ArrayLike,
    fits: Mapping[int, TraceFit] | None = None,
    profile: Profile | None = None,
    columns: Mapping[str, ArrayLike] | None = None,
    pathloss: ArrayLike | None = None,
    nods: NodParams | None = None,
    params: PixelTableParams | None = None,
) -> pl.DataFrame:
    """Return every pixel of every exposure, less the mean of the other nods, as a row.

    Parameters
    ----------
    frames : SlitFrames
        All exposures, with their traces.
    exptime : array_like, float64, shape (n,) [s]
        Exposure times.
    fits : mapping of int to TraceFit, optional
        Fit of every position; the profile is 1 when not given.
    profile : GaussianProfile or TableProfile, optional
        The profile of the fits; needed with them unless ``profile_of`` is ``group``.
    columns : mapping of str to array_like, float64, shape (n, ny, nx), optional
        Further columns, such as ``dwave_dx``, ``yshutter``, ``bar`` and ``normalization``.
    pathloss : array_like, float64, shape (n, ny, nx), optional
        Part of the light that passes, relative to a centred point source; 1 when not given.
    nods : NodParams, optional
        How nods are subtracted and masked.
    params : PixelTableParams, optional
        What the rows hold.

    Returns
    -------
    polars.DataFrame
        ``sci``, ``sky`` [uJy] (the mean that was subtracted, or the sky), ``var_total``, ``var_rnoise`` [uJy2],
        ``wave`` [um], ``yslit`` [pix], ``profile``, ``pathloss``, the further columns, ``exposure_index``,
        ``pixel_index`` (in the flattened cutout), ``position``, ``exptime`` [s].

    Raises
    ------
    InvalidInputError
        When shapes differ, or a fit is missing.
    """
    asked, how = params or PixelTableParams(), nods or NodParams()
    n, ny, nx = frames.shape
    seconds = as_floats(exptime, "exptime", shape=(n,))
    more = {name: as_floats(value, name, shape=frames.shape) for name, value in (columns or {}).items()}
    passed = np.ones(frames.shape)
    if pathloss is not None:
        passed = as_floats(pathloss, "pathloss", shape=frames.shape)
    yslit = frames.yslit
    tables = []
    for p in frames.positions:
        made = make_diff_image(frames, position=p, params=how)
        light = _profiles(frames, p, made, fits, profile, asked)
        has_negative = made.is_negative.any()
        for i in np.flatnonzero(made.is_positive):
            no_sky = np.zeros((ny, nx)) if frames.sky is None else frames.sky[i]
            values = {
                "sci": frames.data[i] - made.negative,
                "sky": made.negative if has_negative else no_sky,
                "var_total": frames.variance[i] + made.negative_variance,
                "var_rnoise": frames.read_variance[i] + made.negative_read_variance,
                "wave": frames.wavelength[i],
                "yslit": yslit[i],
                "profile": light[i],
                "pathloss": passed[i],
                **{name: value[i] for name, value in more.items()},
            }
            good = ~frames.mask[i] & ~made.mask
            for value in values.values():
                good &= np.isfinite(value)
            indices = {
                "exposure_index": np.full(ny * nx, i, dtype=np.int64),
                "pixel_index": np.arange(ny * nx, dtype=np.int64),
                "position": np.full(ny * nx, p, dtype=np.int64),
                "exptime": np.full(ny * nx, seconds[i]),
                "mask": good.ravel(),
            }
            table = pl.DataFrame({name: value.ravel() for name, value in values.items()} | indices)
            tables.append(table.filter(pl.col("mask")).drop("mask") if asked.apply_mask else table)
    return pl.concat(tables)


def _profiles(
    frames: SlitFrames,
    position: int,
    made: NodDifference,
    fits: Mapping[int, TraceFit] | None,
    profile: Profile | None,
    params: PixelTableParams,
) -> NDArray[np.float64]:
    """Profile of every exposure of a position, less what was subtracted."""
    if fits is None:
        return np.ones(frames.shape)
    if position not in fits:
        msg = f"fits: positions {tuple(fits)} are not allowed, {position} is missing"
        raise InvalidInputError(msg)
    fit = fits[position]
    if params.profile_of == "group":
        return np.broadcast_to(fit.profile, frames.shape)
    if profile is None:
        msg = "profile: None is not allowed with fits"
        raise InvalidInputError(msg)
    light = evaluate_profile(frames, profile, size=fit.size)
    negative = np.where(frames.mask | ~made.is_negative[:, None, None], 0.0, light).sum(axis=0)
    difference = light - negative / np.maximum(made.n_negative, 1)
    return np.asarray(np.maximum(difference, 0.0) if fit.force_positive else difference)
