"""Spectra of one object through one grism: in one dimension, and drizzled in two."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere._arrays import as_array, as_image
from skymere.errors import InvalidInputError

__all__ = ["GrismSpectrum", "GrismStack"]


@dataclass(frozen=True, kw_only=True, eq=False)
class GrismSpectrum:
    """An extracted spectrum.

    Parameters
    ----------
    grism : str
        Name by which beams are grouped.
    table : polars.DataFrame
        A row for each bin of wavelength: ``wave, wave_low, wave_high`` [um], ``flux, err, flat, contam`` [e/s; of
        ``flat`` per erg/s/cm2/A], ``npix``, ``flam, flam_err`` [erg/s/cm2/A], and with a fit ``line`` (the whole model)
        and ``cont`` [e/s]. Bins without pixels are null but for ``npix``.
    exptime : float [s]
        Of all exposures.
    n_exposures, n_angles : int
        Exposures, and position angles of the dispersion.
    files : tuple of str
        The exposures.

    Raises
    ------
    InvalidInputError
        When a column is missing.
    """

    grism: str
    table: pl.DataFrame
    exptime: float = float("nan")
    n_exposures: int = 0
    n_angles: int = 0
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        missing = [name for name in ("wave", "flux", "err", "flat", "npix") if name not in self.table.columns]
        if missing:
            msg = f"table: columns {missing} are missing, it has {self.table.columns}"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class GrismStack:
    """Spectra in two dimensions, drizzled to straight wavelengths.

    Parameters
    ----------
    grism : str
        Name by which beams are grouped.
    angle : float or None [deg]
        Position angle of the dispersion; None for all beams of the grism together.
    sci, weight, contam, model : ndarray, float32, shape (ny, nx) [e/s]
        Data without contamination and background, inverse variance, light of other sources, and the model; all per
        pixel of the detector.
    kernel : ndarray, float32, shape (ny, ny) [e/s]
        A line of 1 erg/s/cm2, one pixel wide, in the middle.
    wave : ndarray, float64, shape (nx,) [um]
        Wavelengths of columns.
    middle : float
        Row of the source, 0-based [pix].
    pixel_rows : float
        Rows of the detector in a row.
    exptime : float [s]
        Of all exposures.
    files : tuple of str
        The exposures.
    z : float
        Redshift of the model; NaN when it is a flat spectrum.
    pixfrac : float
        Side of the drop [input pix].
    drizzle_kernel : str
        Kernel of the drizzle.
    fcontam : float
        Exponent of the weight beside contamination.
    config : str
        Name of the configuration of the grism.
    native_step : float [um]
        Wavelengths in a pixel of the detector.

    Raises
    ------
    InvalidInputError
        When planes differ in shape.
    """

    grism: str
    sci: NDArray[np.float32]
    weight: NDArray[np.float32]
    contam: NDArray[np.float32]
    model: NDArray[np.float32]
    kernel: NDArray[np.float32]
    wave: NDArray[np.float64]
    middle: float
    angle: float | None = None
    pixel_rows: float = 1.0
    exptime: float = float("nan")
    files: tuple[str, ...] = ()
    z: float = float("nan")
    pixfrac: float = float("nan")
    drizzle_kernel: str = ""
    fcontam: float = 0.0
    config: str = ""
    native_step: float = float("nan")

    def __post_init__(self) -> None:
        sci = as_image(self.sci, "sci")
        object.__setattr__(self, "sci", sci)
        for name in ("weight", "contam", "model"):
            object.__setattr__(self, name, as_image(getattr(self, name), name, shape=(sci.shape[0], sci.shape[1])))
        object.__setattr__(self, "kernel", as_image(self.kernel, "kernel"))
        object.__setattr__(self, "wave", as_array(self.wave, "wave", np.float64, shape=(sci.shape[1],)))
