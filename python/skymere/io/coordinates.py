"""The coordinates in a file of an exposure: FITS headers with their tables, reference files, gwcs in ASDF."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from skymere.errors import InvalidInputError, NotFoundError
from skymere.io._open import open_fits
from skymere.wcs import build_distortion, gwcs_from_asdf

__all__ = [
    "DistortionFiles",
    "celestial_wcs",
    "embedded_gwcs",
    "is_singular",
    "named_distortion",
    "read_gwcs",
    "with_distortion",
]


@dataclass(frozen=True, kw_only=True)
class DistortionFiles:
    """Reference files from which the distortion of an HST exposure is built, see `skymere.wcs.build_distortion`.

    Parameters
    ----------
    idctab : path-like
        IDCTAB of the detector.
    npol, d2im : path-like, optional
        NPOLFILE of the filter and D2IMFILE of the detector.
    """

    idctab: str | Path
    npol: str | Path | None = None
    d2im: str | Path | None = None


def named_distortion(primary: fits.Header, folder: str | Path) -> DistortionFiles:
    """Return the reference files that a header names with IDCTAB, NPOLFILE and D2IMFILE, such as ``jref$x_idc.fits``.

    Parameters
    ----------
    primary : astropy.io.fits.Header
        Primary header.
    folder : path-like
        Where they are, gzipped or not.

    Raises
    ------
    InvalidInputError
        When the header names no IDCTAB.
    NotFoundError
        When one of them is not in the folder.
    """
    idctab, npol, d2im = (_named_file(primary, key, Path(folder)) for key in ("IDCTAB", "NPOLFILE", "D2IMFILE"))
    if idctab is None:
        msg = "IDCTAB: is missing in the header, so that no distortion can be built"
        raise InvalidInputError(msg)
    return DistortionFiles(idctab=idctab, npol=npol, d2im=d2im)


def _named_file(primary: fits.Header, key: str, folder: Path) -> Path | None:
    name = str(primary.get(key, "")).strip().rpartition("$")[2]
    if name.upper() in ("", "N/A"):
        return None
    for place in (folder / name, folder / f"{name}.gz"):
        if place.is_file():
            return place
    msg = f"{folder / name}: no such file, which the header names as {key}"
    raise NotFoundError(msg)


def with_distortion(primary: fits.Header, chips: list[fits.Header], files: DistortionFiles) -> list[WCS]:
    """Return the WCS of every chip with the distortion of the reference files.

    Parameters
    ----------
    primary : astropy.io.fits.Header
        Primary header.
    chips : list of astropy.io.fits.Header
        Headers of all SCI extensions.
    files : DistortionFiles
        The reference files.
    """
    with ExitStack() as stack:
        tables = {
            name: stack.enter_context(open_fits(path))
            for name, path in (("idctab", files.idctab), ("npol", files.npol), ("d2im", files.d2im))
            if path is not None
        }
        return build_distortion(primary, chips, **tables)


def is_singular(wcs: WCS) -> bool:
    """Return whether the linear part of a WCS maps the image to a line or a point, but for rounding."""
    matrix = wcs.pixel_scale_matrix
    return not abs(np.linalg.det(matrix)) > 1e-9 * np.sum(matrix**2)


def celestial_wcs(header: fits.Header, hdus: fits.HDUList, path: Path) -> WCS:
    """Return the WCS of an image with its look-up tables.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Header of the image.
    hdus : astropy.io.fits.HDUList
        The file, with its tables.
    path : Path
        Its name, for messages.

    Raises
    ------
    InvalidInputError
        When it is not a WCS of the sky, or is singular.
    """
    try:
        wcs = WCS(header, hdus)
    except (ValueError, KeyError) as error:
        msg = f"{path}: the WCS of SCI cannot be read: {error}"
        raise InvalidInputError(msg) from error
    if not wcs.has_celestial:
        msg = f"{path}: SCI has no celestial WCS (CTYPE {list(wcs.wcs.ctype)})"
        raise InvalidInputError(msg)
    if is_singular(wcs):
        msg = f"{path}: the WCS of SCI is singular (CD matrix {wcs.pixel_scale_matrix.tolist()})"
        raise InvalidInputError(msg)
    return wcs


def read_gwcs(path: str | Path) -> Any:
    """Return the gwcs of an ASDF file, as it is given beside a JWST ``_rate`` file.

    Parameters
    ----------
    path : path-like
        The file; the gwcs is its entry ``wcs`` or ``meta.wcs``.

    Returns
    -------
    gwcs.WCS
        The coordinate system.

    Raises
    ------
    NotFoundError
        When there is no such file, or the packages asdf and gwcs are missing.
    FormatError
        When the file cannot be read or holds no gwcs.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise NotFoundError(msg)
    return gwcs_from_asdf(path.read_bytes(), str(path))


def embedded_gwcs(hdus: fits.HDUList, path: Path) -> Any | None:
    """Return the gwcs in the ASDF extension of a JWST ``_cal`` file, or None where there is none.

    Parameters
    ----------
    hdus : astropy.io.fits.HDUList
        The file.
    path : Path
        Its name, for messages.
    """
    if "ASDF" not in hdus:
        return None
    content = np.asarray(hdus["ASDF"].data["ASDF_METADATA"]).tobytes()
    return gwcs_from_asdf(content, f"{path}, extension ASDF", needed=False)
