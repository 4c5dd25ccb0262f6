"""Single images, grids of images, and copies of exposures with other coordinates."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import DTypeLike, NDArray

from skymere.errors import FormatError, InvalidInputError, StorageError
from skymere.io._open import open_fits, write_whole
from skymere.io.coordinates import is_singular
from skymere.io.exposures import ReadParams, rate_factors
from skymere.wcs import Grid, fits_cards, wcs_from_cards

__all__ = [
    "grid_of",
    "image_shape",
    "images_of",
    "physical_cards",
    "read_grid",
    "read_image",
    "read_labels",
    "read_mask",
    "write_image",
    "write_image_rows",
    "write_images",
    "write_with_data",
]

_FITS_BLOCK = 2880


def read_grid(path: str | Path) -> Grid:
    """Return the pixel grid of an image, without its pixels: of its SCI extension, or else of the first 2-D one.

    Parameters
    ----------
    path : path-like
        FITS file.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing, unreadable or holds no two-dimensional image.
    InvalidInputError
        When that has no celestial WCS.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        return grid_of(hdus, path)[1]


def image_shape(path: str | Path) -> tuple[int, int]:
    """Return ``(ny, nx)`` of the image that `read_image` reads, without its pixels.

    Parameters
    ----------
    path : path-like
        FITS file.

    Raises
    ------
    NotFoundError, StorageError, FormatError, InvalidInputError
        As `read_image`.
    """
    return read_grid(path).shape


def read_image(path: str | Path) -> tuple[NDArray[np.float32], Grid]:
    """Return an image and its grid: the SCI extension, or else the first two-dimensional one.

    Parameters
    ----------
    path : path-like
        FITS file.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing, unreadable or holds no two-dimensional image.
    InvalidInputError
        When that has no celestial WCS, or a singular one.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        hdu, grid = grid_of(hdus, path)
        return np.asarray(hdu.data, np.float32), grid


def grid_of(hdus: fits.HDUList, path: Path) -> tuple[Any, Grid]:
    """Return the SCI extension of an open file, or else the first two-dimensional one, and its grid.

    Raises
    ------
    FormatError
        When there is none.
    InvalidInputError
        When it has no celestial WCS, or a singular one.
    """
    hdu = _science(hdus, path)
    header = hdu.header
    cards = {key: header[key] for key in header if key and not isinstance(header[key], fits.card.Undefined)}
    try:
        wcs = wcs_from_cards(cards)
    except InvalidInputError as error:
        msg = f"{path}: extension {hdu.name or 0}: {error}"
        raise InvalidInputError(msg) from None
    if not wcs.has_celestial or is_singular(wcs):
        msg = f"{path}: extension {hdu.name or 0} has no celestial WCS, or a singular one"
        raise InvalidInputError(msg)
    return hdu, Grid(wcs=wcs, shape=hdu.shape)


def images_of(hdus: fits.HDUList, path: Path) -> list[Any]:
    """Return the extensions of an open file with a two-dimensional image, of which there is at least one.

    Raises
    ------
    FormatError
        When there is none.
    """
    images = [hdu for hdu in hdus if hdu.is_image and len(hdu.shape) == 2]
    if not images:
        msg = f"{path}: none of its extensions {[hdu.name for hdu in hdus]} is a two-dimensional image"
        raise FormatError(msg)
    return images


def _science(hdus: fits.HDUList, path: Path) -> Any:
    images = images_of(hdus, path)
    return next((image for image in images if image.name == "SCI"), images[0])


def physical_cards(path: str | Path) -> dict[str, Any]:
    """Return the LTV and LTM cards of an image, which say where the ``physical`` coordinates of DS9 are.

    They are those of the extension that `read_grid` reads, or those of the primary header where it has none.

    Parameters
    ----------
    path : path-like
        FITS file.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing, unreadable or holds no two-dimensional image.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        headers = _science(hdus, path).header, hdus[0].header
        found = ({key: header[key] for key in header if key.startswith(("LTV", "LTM"))} for header in headers)
        return next((cards for cards in found if cards), {})


def read_labels(path: str | Path) -> tuple[NDArray[np.int32], Grid]:
    """Read a segmentation: the first two-dimensional image of a file, whose values are labels, and its grid.

    Parameters
    ----------
    path : path-like
        FITS file, such as `det_seg.fits`.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing, unreadable, or holds no two-dimensional image of whole numbers from 0 on.
    InvalidInputError
        When that has no celestial WCS.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        hdu, grid = grid_of(hdus, path)
        data = np.asarray(hdu.data)
        labels = data.astype(np.int32)
        if not np.array_equal(labels, data) or labels.min() < 0:
            msg = f"{path}: is no segmentation, its values must be whole numbers from 0 on"
            raise FormatError(msg)
        return labels, grid


def read_mask(path: str | Path) -> NDArray[np.bool_]:
    """Return the mask in a file: pixels of its first two-dimensional image that are not 0.

    Parameters
    ----------
    path : path-like
        FITS file, such as `write_image` makes of a mask.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing, unreadable or holds no two-dimensional image.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        return np.asarray(images_of(hdus, path)[0].data != 0)


def write_image(
    data: NDArray[np.generic],
    path: str | Path,
    *,
    name: str = "SCI",
    wcs: WCS | None = None,
    keywords: Mapping[str, Any] | None = None,
) -> None:
    """Write one image as a FITS file with one extension.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        The image; a mask is written as bytes.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.
    name : str, optional
        Name of the extension.
    wcs : astropy.wcs.WCS, optional
        Its coordinates.
    keywords : mapping, optional
        More header keywords.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    hdu = fits.ImageHDU(data.astype(np.uint8) if data.dtype == bool else data, name=name)
    if wcs is not None:
        hdu.header.update(fits_cards(wcs))
    hdu.header.update(dict(keywords or {}))
    write_whole(fits.HDUList([fits.PrimaryHDU(), hdu]), path)


def write_images(
    images: Iterable[tuple[str, NDArray[np.generic], WCS | None]],
    path: str | Path,
    *,
    keywords: Mapping[str, Any] | None = None,
) -> None:
    """Write several images as the extensions of one FITS file.

    Parameters
    ----------
    images : iterable of (str, ndarray, astropy.wcs.WCS)
        Name of the extension, the image, and its coordinates, if it has any.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.
    keywords : mapping, optional
        Keywords of the primary header.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    hdus = fits.HDUList([fits.PrimaryHDU()])
    hdus[0].header.update(dict(keywords or {}))
    for name, data, wcs in images:
        hdu = fits.ImageHDU(data, name=name)
        if wcs is not None:
            hdu.header.update(fits_cards(wcs))
        hdus.append(hdu)
    write_whole(hdus, Path(path))


def write_image_rows(
    parts: Iterable[NDArray[np.generic]],
    path: str | Path,
    *,
    shape: tuple[int, int],
    dtype: DTypeLike,
    name: str = "SCI",
    wcs: WCS | None = None,
    keywords: Mapping[str, Any] | None = None,
) -> None:
    """Write one image that comes in parts of whole rows, from the first one on; otherwise as `write_image`.

    Parameters
    ----------
    parts : iterable of ndarray, shape (n, nx)
        The rows.
    path, name, wcs, keywords
        As in `write_image`.
    shape : tuple of int
        ``(ny, nx)`` of the whole.
    dtype : dtype
        Of all parts.

    Raises
    ------
    InvalidInputError
        When the parts have other rows than the whole.
    StorageError
        When the file cannot be written.
    """
    path = Path(path)
    kind = np.dtype(dtype).newbyteorder(">")
    hdu = fits.ImageHDU(np.zeros((1, 1), kind), name=name)
    hdu.header["NAXIS2"], hdu.header["NAXIS1"] = shape
    if wcs is not None:
        hdu.header.update(fits_cards(wcs))
    hdu.header.update(dict(keywords or {}))
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with staged.open("wb") as file:
            for header in (fits.PrimaryHDU().header, hdu.header):
                file.write(header.tostring().encode("ascii"))
            n_rows = 0
            for part in parts:
                file.write(np.ascontiguousarray(part, kind).tobytes())
                n_rows += len(part)
            if n_rows != shape[0]:
                msg = f"parts: {n_rows} rows are not allowed, there must be {shape[0]}"
                raise InvalidInputError(msg)
            file.write(bytes(-(n_rows * shape[1] * kind.itemsize) % _FITS_BLOCK))
        staged.replace(path)
    except OSError as error:
        msg = f"{path}: cannot be written: {error.strerror or error}"
        raise StorageError(msg) from error
    finally:
        with suppress(OSError):
            staged.unlink()


def write_with_data(
    source: str | Path,
    path: str | Path,
    data: Sequence[NDArray[np.float32]],
    *,
    params: ReadParams | None = None,
) -> None:
    """Copy an exposure with other pixels in SCI.

    Parameters
    ----------
    source : path-like
        FLT-like file, which is not changed.
    path : path-like
        The copy; it appears whole or not at all.
    data : sequence of ndarray, float32, shape (ny, nx) [electron / s]
        New pixels of every chip, in the order of the file; written in its unit.
    params : ReadParams, optional
        Those that the exposure was read with.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing, unreadable or has no SCI extension, or the copy cannot be written.
    InvalidInputError
        When the copy would replace the file itself, or the number of chips or a shape is another.
    """
    with _copied(source, path) as hdus:
        images = [hdu for hdu in hdus if hdu.name == "SCI"][: len(data)]
        factors = rate_factors(hdus, Path(source), params)
        shapes, wanted = [pixels.shape for pixels in data], [hdu.shape for hdu in images]
        if shapes != wanted or len(data) != len(factors):
            msg = f"data: shapes {shapes} are not allowed, SCI of {source} has {wanted} in {len(factors)} chips"
            raise InvalidInputError(msg)
        for hdu, pixels, factor in zip(images, data, factors, strict=True):
            hdu.data = np.asarray(pixels / factor, np.float32)


@contextmanager
def _copied(source: str | Path, path: str | Path) -> Iterator[fits.HDUList]:
    """Open a file, let it be changed in memory, and write it elsewhere."""
    source, path = Path(source), Path(path)
    if path.resolve() == source.resolve():
        msg = f"path: {path} is the exposure itself, which is never changed"
        raise InvalidInputError(msg)
    with open_fits(source) as hdus:
        if "SCI" not in [hdu.name for hdu in hdus]:
            msg = f"{source}: no SCI extension; it has {[hdu.name for hdu in hdus]}"
            raise FormatError(msg)
        yield hdus
        write_whole(hdus, path)
