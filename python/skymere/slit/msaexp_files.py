"""``spec.fits`` of msaexp as combined spectra, also those of old versions, which say less."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import FormatError
from skymere.io import read_extensions, read_spectrum
from skymere.slit.combine import SlitImage
from skymere.slit.spectrum import CombinedSpectrum

__all__ = ["read_msaexp_spectrum"]

_COLUMNS = ("sky", "path_corr", "npix", "norm_corr", "flux_sum", "profile_sum", "var_sum", "resolution")
_STRUCTURE = ("XTENSION", "BITPIX", "PCOUNT", "GCOUNT", "TFIELDS", "EXTNAME")


def read_msaexp_spectrum(path: str | Path) -> CombinedSpectrum:
    """Read a combined spectrum of msaexp or of skymere.

    Parameters
    ----------
    path : path-like
        A ``.spec.fits`` with the table SPEC1D and the images SCI, WHT and PROFILE.

    Returns
    -------
    CombinedSpectrum
        Without pixels of exposures. What the file does not say is NaN, but ``path_corr`` and ``norm_corr``, which are
        1; without COVAR pixels are taken as independent.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When it cannot be read, or is something else.
    """
    path = Path(path)
    one = read_spectrum(path)
    found, cards = read_extensions(path)
    n = one.wave.size
    images = {name: found.get(name) for name in ("SCI", "WHT", "PROFILE")}
    for name, image in images.items():
        if not isinstance(image, np.ndarray) or image.ndim != 2 or image.shape[1] != n:
            shape = getattr(image, "shape", None)
            msg = f"{path}: the image {name} of shape {shape} is not allowed, it must be (rows, {n})"
            raise FormatError(msg)
    sci, wht, profile = (np.asarray(image, np.float64) for image in images.values())
    if wht.shape != sci.shape or profile.shape != sci.shape:
        msg = f"{path}: SCI, WHT and PROFILE have shapes {sci.shape}, {wht.shape} and {profile.shape}, not one"
        raise FormatError(msg)
    given: Any = found["SPEC1D"]
    wave = given["wave"].to_numpy().astype(np.float64) if "wave_mean" in given.columns else one.wave
    flux, err = one.flux.copy(), one.err.copy()
    # Bins without data are 0 in files of msaexp.
    flux[one.mask], err[one.mask] = np.nan, np.nan
    table = {"wave": wave, "flux": flux, "err": err}
    table |= {name: given[name].to_numpy().astype(np.float64) for name in _COLUMNS if name in given.columns}
    table.setdefault("npix", (wht > 0).sum(axis=0).astype(np.float64))
    if "wave_mean" in given.columns:
        table["wave_mean"] = one.wave
    if one.spread is not None:
        table["wave_spread"] = one.spread
    order = [*(name for name in given.columns if name in table), *(name for name in table if name not in given.columns)]
    covariance = err[:, None] ** 2 if one.covariance is None else one.covariance
    section: Any = found.get("PROF1D")
    background, slits = found.get("BACKGROUND"), found.get("SLITS")
    return CombinedSpectrum(
        wave=wave,
        wave_mean=one.wave,
        wave_spread=one.spread,
        flux=flux,
        covariance=covariance,
        n_pixels=table["npix"],
        table=pl.DataFrame({name: table[name] for name in order}),
        image=SlitImage(
            wave=wave,
            y_edges=_edges(found, section, sci.shape[0]),
            sci=np.where(wht > 0, sci, np.nan),
            sky=np.where(wht > 0, 0.0, np.nan) if background is None else np.asarray(background, np.float64),
            wht=wht,
            profile=profile,
            n_pixels=np.asarray(found.get("NPIX2D", (wht > 0).astype(np.float64)), np.float64),
        ),
        slits=slits if isinstance(slits, pl.DataFrame) else pl.DataFrame(),
        pixels=pl.DataFrame(),
        meta={
            key: (value, "")
            for key, value in cards.items()
            if key not in _STRUCTURE and not key.startswith(("NAXIS", "TTYPE", "TFORM", "TUNIT", "TDIM", "TNULL"))
        },
        section=section
        if isinstance(section, pl.DataFrame) and {"pix", "profile", "pfit"} <= set(section.columns)
        else pl.DataFrame(),
    )


def _edges(found: Any, section: Any, n_rows: int) -> NDArray[np.float64]:
    """Return the edges of rows [pix]: of the file, else of the cross section, else about the middle."""
    if "YEDGES" in found:
        return np.asarray(found["YEDGES"], np.float64)
    if isinstance(section, pl.DataFrame) and "pix" in section.columns and section.height == n_rows > 1:
        pix = section["pix"].to_numpy().astype(np.float64)
        step = (pix[-1] - pix[0]) / (n_rows - 1)
        return np.asarray(pix[0] + step * (np.arange(n_rows + 1) - 0.5), np.float64)
    return np.asarray(np.arange(n_rows + 1) - n_rows / 2, np.float64)
