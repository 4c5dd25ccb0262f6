"""Spectra of the background of whole exposures, which a slit's sky is scaled from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skymere.errors import FormatError
from skymere.io._open import open_fits

__all__ = ["BackgroundSpectrum", "find_background_spectra", "read_background_spectrum"]

_Array = NDArray[np.float64]
_REFERENCE_AREA_SR = 4.88e-13  # of files that do not say it
_COLUMNS = ("wave", "p50", "perr")


@dataclass(frozen=True, kw_only=True, eq=False)
class BackgroundSpectrum:
    """The background of an exposure.

    Parameters
    ----------
    wavelength : ndarray, float64, shape (n,) [um]
        Wavelengths, rising.
    flux, error : ndarray, float64, shape (n,) [MJy/sr]
        Background and 1 sigma, of a pixel of the area ``pixel_area_sr``.
    pixel_area_sr : float
        The area [sr].
    file : str
        Where it is from.
    """

    wavelength: _Array
    flux: _Array
    error: _Array
    pixel_area_sr: float
    file: str


def read_background_spectrum(path: str | Path) -> BackgroundSpectrum:
    """Read the background of an exposure.

    Parameters
    ----------
    path : path-like
        A FITS table ``wave`` [um], ``p50`` and ``perr`` [MJy/sr] with the card REFPAREA [sr] (4.88e-13 without it).

    Raises
    ------
    NotFoundError
        When there is no such file.
    FormatError
        When it is no such table.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        table = next((hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)), None)
        names = {} if table is None else {name.lower(): name for name in table.data.names}
        if table is None or any(name not in names for name in _COLUMNS):
            msg = f"{path}: has the columns {sorted(names)}, it must have {', '.join(_COLUMNS)}"
            raise FormatError(msg)
        wave, flux, error = (np.array(table.data[names[name]], np.float64).ravel() for name in _COLUMNS)
        area = float(table.header.get("REFPAREA", _REFERENCE_AREA_SR))
    if wave.size < 2 or not (np.diff(wave) > 0).all() or not area > 0:
        msg = f"{path}: wave must rise and REFPAREA ({area}) must be positive"
        raise FormatError(msg)
    return BackgroundSpectrum(wavelength=wave, flux=flux, error=error, pixel_area_sr=area, file=str(path))


def find_background_spectra(
    exposures: list[str] | tuple[str, ...], folder: str | Path
) -> tuple[BackgroundSpectrum, ...] | None:
    """Read the backgrounds of some exposures, None when any of them has no file.

    Parameters
    ----------
    exposures : list of str
        Names that begin with visit, group, number and detector of the exposure:
        ``jw01345062001_03101_00001_nrs2``. The file is ``{name}_gbkg.fits``.
    folder : path-like
        Where the files are.

    Raises
    ------
    FormatError
        When a file is no such table.
    """
    paths = [Path(folder) / f"{'_'.join(Path(name).name.split('_')[:4])}_gbkg.fits" for name in exposures]
    if not paths or not all(path.is_file() for path in paths):
        return None
    return tuple(read_background_spectrum(path) for path in paths)
