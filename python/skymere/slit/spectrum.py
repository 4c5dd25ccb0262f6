"""Combined spectra: one dimension with its covariance, two dimensions, and what they were made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import FormatError
from skymere.io import read_extensions, write_extensions
from skymere.slit.combine import SlitImage
from skymere.slit.extract import SlitSpectrum
from skymere.slit.section import cross_section

__all__ = ["CombinedSpectrum", "read_slit_spectrum", "write_slit_spectrum"]

_UNITS = {
    **dict.fromkeys(("wave", "wave_mean", "wave_spread", "dwave_dx"), "um"),
    **dict.fromkeys(("flux", "err", "sky", "flux_sum", "sci", "profile_flux", "SCI", "BACKGROUND"), "uJy"),
    **dict.fromkeys(("var_sum", "var_total", "var_rnoise"), "uJy2"),
    **dict.fromkeys(("yslit", "pix"), "pix"),
    "WHT": "uJy-2",
    "exptime": "s",
}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CombinedSpectrum(SlitSpectrum):
    """The spectrum of a source in one grating out of all its exposures.

    Parameters
    ----------
    wave, flux, covariance, n_pixels, wave_mean, wave_spread
        See `SlitSpectrum`.
    table : polars.DataFrame
        ``wave`` [um], ``flux``, ``err``, ``sky`` [uJy], ``path_corr``, ``npix``, ``norm_corr``, ``flux_sum`` [uJy],
        ``profile_sum``, ``var_sum`` [uJy2], ``wave_mean``, ``wave_spread`` [um]; ``resolution`` where the reference
        files have it.
    image : SlitImage
        Two dimensions.
    section : polars.DataFrame, optional
        Mean flux along the slit; that of `cross_section` when not given.
    slits : polars.DataFrame
        A row for each exposure.
    pixels : polars.DataFrame
        The table of pixels.
    meta : mapping of str to (value, comment)
        What was done, with comments.
    """

    table: pl.DataFrame = field(repr=False)
    image: SlitImage = field(repr=False)
    slits: pl.DataFrame = field(repr=False)
    pixels: pl.DataFrame = field(repr=False)
    meta: Mapping[str, tuple[Any, str]] = field(default_factory=dict, repr=False)
    section: pl.DataFrame = field(default_factory=pl.DataFrame, repr=False)

    def __post_init__(self) -> None:
        if self.section.is_empty():
            object.__setattr__(self, "section", cross_section(self.image))

    def __repr__(self) -> str:
        """Return source, grating and size."""
        words = [str(self.meta[key][0]) for key in ("SRCNAME", "GRATING", "FILTER") if key in self.meta]
        n = int(np.isfinite(self.flux).sum())
        return f"CombinedSpectrum({' '.join(words)}, {n} of {self.flux.size} points)"

    @property
    def sky(self) -> NDArray[np.float64]:
        """What was subtracted, float64, shape (n,) [uJy]."""
        return np.asarray(self.table["sky"].to_numpy(), np.float64)

    @property
    def path_corr(self) -> NDArray[np.float64]:
        """Factor of the path loss in ``flux``, float64, shape (n,)."""
        return np.asarray(self.table["path_corr"].to_numpy(), np.float64)

    @property
    def resolution(self) -> NDArray[np.float64] | None:
        """Resolving power, float64, shape (n,); None where the reference files lack it."""
        return (
            np.asarray(self.table["resolution"].to_numpy(), np.float64) if "resolution" in self.table.columns else None
        )

    @property
    def npix(self) -> NDArray[np.float64]:
        """Pixels in the bin, float64, shape (n,)."""
        return self.n_pixels

    @property
    def sci(self) -> NDArray[np.float64]:
        """Fluxes in two dimensions, float64, shape (ny, n) [uJy]."""
        return self.image.sci

    @property
    def wht(self) -> NDArray[np.float64]:
        """Inverse variances in two dimensions, float64, shape (ny, n) [1/uJy2]."""
        return self.image.wht

    @property
    def profile(self) -> NDArray[np.float64]:
        """The profile in two dimensions, float64, shape (ny, n)."""
        return self.image.profile


def write_slit_spectrum(spectrum: CombinedSpectrum, path: str | Path, *, with_pixels: bool | None = None) -> None:
    """Write a combined spectrum as a FITS file.

    Parameters
    ----------
    spectrum : CombinedSpectrum
        The spectrum.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.
    with_pixels : bool, optional
        Write the table of pixels; for the prism alone when not given.

    Raises
    ------
    StorageError
        When it cannot be written.

    Notes
    -----
    Extensions: SPEC1D (table), COVAR (n, k), SCI, WHT, PROFILE (ny, n), PROF1D (table), BACKGROUND where something was
    subtracted, PIXTAB and SLITS (tables). Pixels without data are NaN in SCI, PROFILE and BACKGROUND, and 0 in WHT.
    """
    image = spectrum.image
    extensions: dict[str, Any] = {
        "SPEC1D": spectrum.table,
        "SCI": image.sci,
        "WHT": image.wht,
        "PROFILE": image.profile,
        "PROF1D": spectrum.section,
    }
    if np.nan_to_num(image.sky).any():
        extensions["BACKGROUND"] = image.sky
    is_prism = str(spectrum.meta.get("GRATING", ("", ""))[0]).upper() == "PRISM"
    if is_prism if with_pixels is None else with_pixels:
        extensions["PIXTAB"] = spectrum.pixels
    extensions["SLITS"] = spectrum.slits
    extensions["COVAR"] = spectrum.covariance
    extensions["YEDGES"] = image.y_edges
    extensions["NPIX2D"] = image.n_pixels
    cards = tuple((key, value, comment) for key, (value, comment) in spectrum.meta.items())
    write_extensions(extensions, path, cards=cards, units=_UNITS)


def read_slit_spectrum(path: str | Path) -> CombinedSpectrum:
    """Read what `write_slit_spectrum` wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When it cannot be read, or is something else.
    """
    found, cards = read_extensions(path)
    needed = ("SPEC1D", "SCI", "WHT", "PROFILE", "SLITS", "COVAR", "YEDGES", "NPIX2D")
    if missing := [name for name in needed if name not in found]:
        msg = f"{path}: extensions {missing} are missing, it holds {list(found)}"
        raise FormatError(msg)
    table: Any = found["SPEC1D"]
    wave = table["wave"].to_numpy()
    sci: Any = found["SCI"]
    image = SlitImage(
        wave=wave,
        y_edges=np.asarray(found["YEDGES"]),
        sci=sci,
        sky=np.asarray(found.get("BACKGROUND", np.where(np.isfinite(sci), 0.0, np.nan))),
        wht=np.asarray(found["WHT"]),
        profile=np.asarray(found["PROFILE"]),
        n_pixels=np.asarray(found["NPIX2D"]),
    )
    slits: Any = found["SLITS"]
    pixels: Any = found.get("PIXTAB", pl.DataFrame())
    section: Any = found.get("PROF1D", pl.DataFrame())
    structure = ("XTENSION", "BITPIX", "PCOUNT", "GCOUNT", "TFIELDS", "EXTNAME")
    return CombinedSpectrum(
        wave=wave,
        wave_mean=table["wave_mean" if "wave_mean" in table.columns else "wave"].to_numpy(),
        wave_spread=table["wave_spread"].to_numpy() if "wave_spread" in table.columns else None,
        flux=table["flux"].to_numpy(),
        covariance=np.asarray(found["COVAR"]),
        n_pixels=table["npix"].to_numpy(),
        table=table,
        image=image,
        slits=slits,
        pixels=pixels,
        section=section,
        meta={
            key: (value, "")
            for key, value in cards.items()
            if key not in structure and not key.startswith(("NAXIS", "TTYPE", "TFORM", "TUNIT"))
        },
    )
