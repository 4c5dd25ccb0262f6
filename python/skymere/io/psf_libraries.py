"""Files with the effective PSFs of a detector."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skymere.errors import FormatError, InvalidInputError
from skymere.io._open import open_fits
from skymere.io.images import images_of

__all__ = ["PsfLibrary", "read_psf_image", "read_psf_library"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PsfLibrary:
    """The PSFs of one filter.

    Parameters
    ----------
    x, y : tuple of float
        Positions of the columns and rows of nodes, 0-based [detector pix].
    oversampling : int
        Pixels of the PSFs per detector pixel.
    data : ndarray, float32, shape (n, ny, nx)
        As in the file, row of nodes after row of nodes.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    oversampling: int
    data: NDArray[np.float32]


def read_psf_image(path: str | Path, *, extension: str = "") -> tuple[NDArray[np.float32], float | None]:
    """Read the two-dimensional image of a file, and its oversampling where it says it.

    Parameters
    ----------
    path : path-like
        FITS file; OVERSAMP or DET_SAMP are pixels of the image per pixel of the detector.
    extension : str, optional
        Name of the extension, in any case of letters; needed when there are several images.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing, unreadable or holds no image.
    InvalidInputError
        When there is no such extension, or several of that name, or several and none is named.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        images = images_of(hdus, path)
        found = [hdu for hdu in images if not extension or hdu.name == extension.upper()]
        if len(found) != 1:
            names = [hdu.name for hdu in images]
            own = [name for name in names if name and names.count(name) == 1]
            msg = f"extension: {extension!r} is not allowed for {path}, it must be one of {own}"
            raise InvalidInputError(msg if own == names else f"{msg}, the other images of {names} have no own name")
        (hdu,) = found
        said = hdu.header.get("OVERSAMP", hdu.header.get("DET_SAMP"))
        return np.asarray(hdu.data, np.float32), None if said is None else float(said)


def read_psf_library(path: str | Path, band: str) -> PsfLibrary:
    """Read the PSFs of a filter from a STDPSF file.

    Parameters
    ----------
    path : path-like
        FITS file with a cube for each filter.
    band : str
        Filter; case does not matter.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing, unreadable or not such a file.
    InvalidInputError
        When it does not have the filter.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        cubes = [hdu for hdu in hdus if hdu.is_image and len(hdu.shape) == 3]
        named = [str(hdu.header.get("FILTER", hdu.name)).strip().upper() for hdu in cubes]
        if band.upper() not in named:
            msg = f"band: {band!r} is not in {path}, which has {named}"
            raise InvalidInputError(msg)
        hdu = cubes[named.index(band.upper())]
        header = hdu.header
        try:
            # Node positions are FITS pixels, 1-based.
            x = tuple(float(header[f"IPSFX{i + 1:02d}"]) - 1.0 for i in range(int(header["NXPSFS"])))
            y = tuple(float(header[f"JPSFY{i + 1:02d}"]) - 1.0 for i in range(int(header["NYPSFS"])))
            oversampling = int(header.get("OVERSAMP", 4))
        except KeyError as error:
            msg = f"{path}: extension {hdu.name} has no keyword {error}"
            raise FormatError(msg) from error
        if len(x) * len(y) != hdu.shape[0]:
            msg = f"{path}: extension {hdu.name} has {hdu.shape[0]} PSFs, and {len(x)} x {len(y)} nodes"
            raise FormatError(msg)
        return PsfLibrary(x=x, y=y, oversampling=oversampling, data=np.asarray(hdu.data, np.float32))
