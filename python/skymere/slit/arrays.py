"""The exposures of a slit as corrected arrays, and what was done to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from skymere.slit.stuck_shutters import StuckShutters

__all__ = ["AppliedCorrections", "SlitArrays"]

_Array = NDArray[np.float64]
_Image = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class AppliedCorrections:
    """What was applied to one exposure: a row of typed columns.

    Parameters
    ----------
    exposure_id : str
        The exposure.
    status : str
        ``ok``, or ``no_data`` when no pixel is left.
    frame : str
        The exposure whose shutters and trace it follows.
    bar_shadow : str
        ``none`` where there are no bars or the pipeline did not correct, ``pipeline`` left as it was, ``replaced``.
    bar_mode : str
        ``wave`` or ``flat`` when replaced, else empty.
    n_shutters : int
        Open shutters that the shadow stands for.
    bar_offset : int
        By how many shutters the table was moved.
    is_wrapped : bool
        The middle of the table stands for every shutter.
    pathloss_removed, pathloss_applied : str
        See `PathLoss`.
    extended_calibration : bool
        Whether sensitivities of the extended range were applied.
    detector_correction, fixed_slit_correction : bool
        What was in it.
    quadrant_correction : int
        The same; 0 for none.
    slit_flat, normalization : bool
        Whether the flat field and the mean response were applied.
    n_hot : int
        Hot pixels and pixels of pluses that were found.
    hot_is_refused : bool
        They were too many to be hot pixels.
    wavelength_shift : float
        Median shift of the wavelengths for the source's place across the slit [pix].
    stuck_shutters : tuple of int
        Shutters that were left out.
    n_flagged : mapping of str to int
        Pixels with each bit of `SLIT_FLAG_BITS` that occurs.
    pack, pack_digest : str
        The reference tables.
    """

    exposure_id: str
    status: str = "ok"
    frame: str = ""
    bar_shadow: str = "none"
    bar_mode: str = ""
    n_shutters: int = 0
    bar_offset: int = 0
    is_wrapped: bool = False
    pathloss_removed: str = ""
    pathloss_applied: str = ""
    extended_calibration: bool = False
    detector_correction: bool = False
    fixed_slit_correction: bool = False
    quadrant_correction: int = 0
    slit_flat: bool = False
    normalization: bool = False
    n_hot: int = 0
    hot_is_refused: bool = False
    wavelength_shift: float = 0.0
    stuck_shutters: tuple[int, ...] = ()
    n_flagged: Mapping[str, int] = field(default_factory=dict)
    pack: str = ""
    pack_digest: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class SlitArrays:
    """The exposures of a slit on their common cutout, corrected.

    Parameters
    ----------
    sci : ndarray, float32, shape (n, ny, nx) [uJy]
        Flux of each pixel, sky included; NaN where a pixel is bad of itself.
    var_rnoise, var_poisson : ndarray, float32, shape (n, ny, nx) [uJy^2]
        Variances.
    dq : ndarray, uint32, shape (n, ny, nx)
        Bits of the instrument, as read.
    flags : ndarray, uint32, shape (n, ny, nx)
        Bits of `SLIT_FLAG_BITS`; 0 for valid pixels.
    bkg_mask : ndarray, bool, shape (n, ny, nx)
        True = valid before shadows and shutters count.
    wavelength, dwave_dx : ndarray, float64, shape (n, ny, nx) [um, um / pix]
        Wavelength and dispersion.
    slit_y : ndarray, float64, shape (ny, nx)
        Coordinate along the slit of the exposure that is the frame.
    shutter_y : ndarray, float64, shape (ny, nx)
        The same in shutters.
    yslit : ndarray, float64, shape (n, ny, nx) [pix]
        Distance from the trace.
    bar : ndarray, float64, shape (n, ny, nx)
        Throughput of the bars that the data are divided by.
    orig_bar : ndarray, float32, shape (n, ny, nx)
        The pipeline's.
    phot_corr, pathloss_corr : ndarray, float32, shape (n, ny, nx)
        Factor from surface brightness to flux with all calibrations, and its part for the path loss.
    normalization : ndarray, float64, shape (n, ny, nx)
        Factor of the mean response.
    xtr, ytr, wtr : ndarray, float64, shape (n, nx) [pix, pix, um]
        Traces.
    base_coeffs : ndarray, float64, shape (n, 3) [pix]
        Polynomials of the traces.
    pixel_scale_arcsec, shutter_scale : float
        Scales of the frame.
    frame : int
        Which exposure is the frame.
    shutters : StuckShutters or None
        S/N of the shutters, where it was measured.
    applied : tuple of AppliedCorrections
        What was done, of each exposure.
    """

    sci: _Image
    var_rnoise: _Image
    var_poisson: _Image
    dq: NDArray[np.uint32]
    flags: NDArray[np.uint32]
    bkg_mask: NDArray[np.bool_]
    wavelength: _Array
    dwave_dx: _Array
    slit_y: _Array
    shutter_y: _Array
    yslit: _Array
    bar: _Array
    orig_bar: _Image
    phot_corr: _Image
    pathloss_corr: _Image
    normalization: _Array
    xtr: _Array
    ytr: _Array
    wtr: _Array
    base_coeffs: _Array
    pixel_scale_arcsec: float
    shutter_scale: float
    frame: int
    shutters: StuckShutters | None
    applied: tuple[AppliedCorrections, ...]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """True = valid."""
        return np.asarray(self.flags == 0)

    @property
    def ypix(self) -> _Array:
        """Row of each pixel of the common cutout, shape (ny, nx) [pix]."""
        return np.asarray(np.indices(self.slit_y.shape, dtype=np.float64)[0])

    @property
    def xslit(self) -> _Array:
        """Column of each pixel of the common cutout, shape (ny, nx) [pix]."""
        return np.asarray(np.indices(self.slit_y.shape, dtype=np.float64)[1])
