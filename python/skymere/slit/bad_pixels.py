"""Bad pixels of slit spectra: bits of the instrument, tables, thresholds, borders, several exposures."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError
from skymere.instruments import DETECTOR_EDGES, JWST, NIRSPEC_BAD_BITS
from skymere.slit.flags import SLIT_FLAG_BITS

__all__ = [
    "BadPixelParams",
    "BadPixels",
    "bad_bits",
    "extra_bad_pixels",
    "find_bad_pixels",
    "grow_mask",
    "multiple_exposure_mask",
]

_Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class BadPixelParams:
    """Parameters of `find_bad_pixels`; the defaults are msaexp's.

    Parameters
    ----------
    bad_dq : tuple of str
        Names of the bits that make a pixel bad.
    dilate_failed_open : int
        By how many steps pixels of shutters stuck open are grown [pix].
    pad_border : int
        By how many steps pixels without wavelength are grown [pix].
    is_prism : bool
        Whether the limits for single pixels apply, which hold for the prism.
    max_value : float
        Prism: brighter pixels are bad, unless 5 % of all are [unit of the data].
    min_sn : float
        Prism: pixels below this many of their own sigma are bad [sigma].
    negative_threshold : float
        Pixels below this many of the median sigma are bad [sigma].
    noise_percentile, noise_factor : float
        Pixels whose variance of the read-out is more than this many times that percentile are bad.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    bad_dq: tuple[str, ...] = NIRSPEC_BAD_BITS
    dilate_failed_open: int = 1
    pad_border: int = 2
    is_prism: bool = True
    max_value: float = 10000.0
    min_sn: float = -3.0
    negative_threshold: float = -5.0
    noise_percentile: float = 99.5
    noise_factor: float = 10.0

    def __post_init__(self) -> None:
        for name in ("dilate_failed_open", "pad_border"):
            if getattr(self, name) < 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be 0 or more"
                raise InvalidInputError(msg)
        if not 0 <= self.noise_percentile <= 100:
            msg = f"noise_percentile: {self.noise_percentile} is not allowed, it must be in [0, 100]"
            raise InvalidInputError(msg)
        for name in ("min_sn", "negative_threshold"):
            if not getattr(self, name) < 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be negative"
                raise InvalidInputError(msg)
        bad_bits(self.bad_dq)


@dataclass(frozen=True, kw_only=True, eq=False)
class BadPixels:
    """Which pixels are bad, and why.

    Parameters
    ----------
    flags : ndarray, uint32, shape (n, ny, nx)
        Bits of `SLIT_FLAG_BITS`; 0 for good pixels.
    n_flagged : mapping of str to int
        Pixels with each bit that occurs.
    """

    flags: NDArray[np.uint32]
    n_flagged: Mapping[str, int]

    @property
    def mask(self) -> _Mask:
        """True = do not use."""
        return np.asarray(self.flags != 0)


def bad_bits(names: tuple[str, ...], dq_bits: Mapping[str, int] = JWST) -> int:
    """Return the sum of named bits.

    Parameters
    ----------
    names : tuple of str
        Names of bits.
    dq_bits : mapping of str to int, optional
        All bits by name.

    Raises
    ------
    InvalidInputError
        When a name is none of them.
    """
    if unknown := [name for name in names if name not in dq_bits]:
        msg = f"names: {unknown} are no DQ bits, they must be some of {sorted(dq_bits)}"
        raise InvalidInputError(msg)
    return sum({dq_bits[name] for name in names})


def grow_mask(mask: ArrayLike, *, n_steps: int = 1) -> _Mask:
    """Return a mask grown to the four neighbours of its pixels, several times over.

    Parameters
    ----------
    mask : array_like, bool, shape (..., ny, nx)
        True = set; images are grown one by one.
    n_steps : int, optional
        How often.

    Raises
    ------
    InvalidInputError
        When the number is negative.
    """
    if n_steps < 0:
        msg = f"n_steps: {n_steps} is not allowed, it must be 0 or more"
        raise InvalidInputError(msg)
    out = np.array(mask, np.bool_)
    for _ in range(n_steps):
        grown = out.copy()
        grown[..., 1:, :] |= out[..., :-1, :]
        grown[..., :-1, :] |= out[..., 1:, :]
        grown[..., :, 1:] |= out[..., :, :-1]
        grown[..., :, :-1] |= out[..., :, 1:]
        out = grown
    return out


def extra_bad_pixels(frame: ArrayLike, *, x0: int, y0: int, shape: tuple[int, int], mask_edges: bool = True) -> _Mask:
    """Return the bad pixels of a cutout out of a table of the whole detector.

    Parameters
    ----------
    frame : array_like, uint32, shape (n_rows, n_columns)
        Bits of every pixel of the detector, `BadPixelTable.frame`; any bit is bad.
    x0, y0 : int
        First column and row of the cutout, 0-based [pix].
    shape : tuple of int
        ``(ny, nx)`` of the cutout.
    mask_edges : bool, optional
        Whether columns and rows beyond `DETECTOR_EDGES` are bad.

    Raises
    ------
    InvalidInputError
        When the cutout is not inside the detector.
    """
    table = np.asarray(as_array(frame, "frame", np.uint32, shape=(None, None)))
    if not (0 <= x0 <= table.shape[1] - shape[1] and 0 <= y0 <= table.shape[0] - shape[0]):
        msg = f"x0, y0: {x0}, {y0} are not allowed, a cutout of {shape} must be inside the detector of {table.shape}"
        raise InvalidInputError(msg)
    bad = np.asarray(table[y0 : y0 + shape[0], x0 : x0 + shape[1]] != 0)
    if mask_edges:
        rows, columns = (np.arange(n) + first for n, first in zip(shape, (y0, x0), strict=True))
        (y_low, y_high), (x_low, x_high) = DETECTOR_EDGES
        bad = bad | ((rows < y_low) | (rows > y_high))[:, None] | ((columns < x_low) | (columns > x_high))
    return bad


def find_bad_pixels(
    sci: ArrayLike,
    var_rnoise: ArrayLike,
    var_poisson: ArrayLike,
    dq: ArrayLike,
    wavelength: ArrayLike,
    *,
    dq_bits: Mapping[str, int] = JWST,
    known: Mapping[str, ArrayLike] | None = None,
    params: BadPixelParams | None = None,
) -> BadPixels:
    """Find the bad pixels of the exposures of a slit.

    Parameters
    ----------
    sci : array_like, float32, shape (n, ny, nx) [unit]
        Data as the pipeline has them.
    var_rnoise, var_poisson : array_like, float32, shape (n, ny, nx) [unit^2]
        Their variances.
    dq : array_like, uint32, shape (n, ny, nx)
        Bits of the instrument.
    wavelength : array_like, float64, shape (n, ny, nx) [um]
        Wavelengths; NaN outside of the slit.
    dq_bits : mapping of str to int, optional
        Name of each bit.
    known : mapping of str to array_like, bool, shape (n, ny, nx), optional
        Pixels that are bad for another reason, a name of `SLIT_FLAG_BITS`; True = bad.
    params : BadPixelParams, optional
        What counts as bad.

    Returns
    -------
    BadPixels
        A reason for every bad pixel. Limits of noise are those of the pixels that are good up to there, in all
        exposures; with none left they flag nothing.

    Raises
    ------
    InvalidInputError
        When the shapes differ, or a name of ``bad_dq`` or ``known`` is none of the bits.
    """
    params, known = params or BadPixelParams(), known or {}
    if unknown := sorted(set(known) - set(SLIT_FLAG_BITS)):
        msg = f"known: {unknown} are no reasons, they must be some of {sorted(SLIT_FLAG_BITS)}"
        raise InvalidInputError(msg)
    data = np.asarray(sci)
    if data.ndim != 3:
        msg = f"sci: shape {data.shape} is not allowed, it must be (any, any, any)"
        raise InvalidInputError(msg)
    planes = [
        as_array(plane, name, dtype, shape=data.shape)
        for plane, name, dtype in (
            (var_rnoise, "var_rnoise", data.dtype),
            (var_poisson, "var_poisson", data.dtype),
            (dq, "dq", np.uint32),
            (wavelength, "wavelength", np.float64),
        )
    ]
    read, photons, bits, waves = (np.asarray(plane) for plane in planes)
    flags = np.zeros(data.shape, np.uint32)

    def flag(reason: str, bad: _Mask) -> None:
        flags[bad] |= np.uint32(SLIT_FLAG_BITS[reason])

    flag("dq", (bits & np.uint32(bad_bits(params.bad_dq, dq_bits))) != 0)
    for reason, mask in known.items():
        flag(reason, np.asarray(as_array(mask, f"known[{reason!r}]", np.bool_, shape=data.shape)))
    if "msa_failed_open" in params.bad_dq and params.dilate_failed_open:
        is_open = (bits & np.uint32(dq_bits["msa_failed_open"])) != 0
        flag("failed_open", grow_mask(is_open, n_steps=params.dilate_failed_open) & ~is_open)
    flag("no_data", ~np.isfinite(data) | (data == 0))
    _flag_by_value(data, read, photons, flags, params)
    if params.pad_border:
        flag("border", grow_mask(~np.isfinite(waves), n_steps=params.pad_border))
    n_flagged = {name: int(((flags & np.uint32(bit)) != 0).sum()) for name, bit in SLIT_FLAG_BITS.items()}
    return BadPixels(flags=flags, n_flagged={name: n for name, n in n_flagged.items() if n})


def _flag_by_value(
    data: NDArray[np.generic],
    read: NDArray[np.generic],
    photons: NDArray[np.generic],
    out_flags: NDArray[np.uint32],
    params: BadPixelParams,
) -> None:
    """Flag what is too bright, too negative or too noisy among the pixels that are good so far."""

    def flag(reason: str, bad: NDArray[np.generic]) -> None:
        out_flags[bad] |= np.uint32(SLIT_FLAG_BITS[reason])

    with np.errstate(invalid="ignore"):
        variance = np.asarray(read + photons)  # type: ignore[operator]
        if params.is_prism:
            good = out_flags == 0
            # Where many pixels are that bright it is the source.
            if good.any() and np.percentile(data[good], 95) < params.max_value:
                flag("too_bright", data > params.max_value)  # type: ignore[operator]
            flag("too_negative", data < params.min_sn * np.sqrt(variance))
        good = (out_flags == 0) & np.isfinite(variance)
        if not good.any():
            return
        flag("too_negative", data < params.negative_threshold * np.sqrt(np.median(variance[good])))
        good = (out_flags == 0) & np.isfinite(read)
        if good.any():
            flag("noisy", read > params.noise_factor * np.percentile(read[good], params.noise_percentile))


def multiple_exposure_mask(bad: ArrayLike) -> _Mask:
    """Return the pixels that are bad in most exposures of a group, so that they count as bad in all.

    Parameters
    ----------
    bad : array_like, bool, shape (n, ny, nx)
        Bad pixels of each exposure, True = bad.

    Returns
    -------
    ndarray, bool, shape (ny, nx)
        True where at least ``2 floor(n / 3)`` exposures are bad, but not all; False everywhere for n < 3.

    Raises
    ------
    InvalidInputError
        When it is not a stack of images.
    """
    masks = np.asarray(as_array(bad, "bad", np.bool_, shape=(None, None, None)))
    n = len(masks)
    if n < 3:
        return np.zeros(masks.shape[1:], np.bool_)
    n_bad = masks.sum(axis=0)
    return np.asarray((n_bad >= 2 * (n // 3)) & (n_bad < n))
