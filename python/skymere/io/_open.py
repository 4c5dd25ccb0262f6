"""Opening and writing FITS files so that every failure names the file and nothing is half-written."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.utils.exceptions import AstropyUserWarning, AstropyWarning

from skymere.errors import FormatError, NotFoundError, SkymereError, StorageError
from skymere.io._structure import check_structure

__all__ = ["open_fits", "write_whole"]


def _check_length(hdus: fits.HDUList, path: Path) -> None:
    """Raise when the file does not end where its last readable extension does; every header is read for that."""
    len(hdus)
    last = hdus[-1].fileinfo()
    end = last["datLoc"] + last["datSpan"]
    if path.suffix != ".gz" and end != path.stat().st_size:
        msg = f"{path}: truncated or damaged: {path.stat().st_size} bytes, and extension {hdus[-1].name} ends at {end}"
        raise FormatError(msg)


@contextmanager
def open_fits(path: str | Path) -> Iterator[fits.HDUList]:
    """Open a FITS file (plain, gzipped or tile-compressed) read-only.

    Parameters
    ----------
    path : path-like
        The file.

    Raises
    ------
    NotFoundError
        When there is no such file.
    StorageError
        When it may not be read.
    FormatError
        When it is not FITS, or is truncated; also when that shows only while it is read.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise NotFoundError(msg)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            warnings.filterwarnings("error", message=".*truncated.*", category=AstropyUserWarning)
            check_structure(path)
            with fits.open(path, mode="readonly", memmap=False) as hdus:
                _check_length(hdus, path)
                yield hdus
    except PermissionError as error:
        msg = f"{path}: {error.strerror}"
        raise StorageError(msg) from error
    except SkymereError as error:
        if str(path) in str(error):
            raise
        msg = f"{path}: {error}"
        raise type(error)(msg) from error
    # There is no end to what astropy raises for damaged cards and pixels, some of it only when they are asked for.
    except Exception as error:
        msg = f"{path}: not a readable FITS file ({type(error).__name__}: {error}); it may be truncated or damaged"
        raise FormatError(msg) from error


def write_whole(hdus: fits.HDUList, path: str | Path) -> None:
    """Write a FITS file: it appears whole or not at all, and replaces an older one.

    Raises
    ------
    StorageError
        When it cannot be written.
    """
    path = Path(path)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VerifyWarning)
            hdus.writeto(staged, overwrite=True)
        staged.replace(path)
    except OSError as error:
        with suppress(OSError):
            staged.unlink()
        msg = f"{path}: cannot be written: {error.strerror or error}"
        raise StorageError(msg) from error
