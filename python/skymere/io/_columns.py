"""Columns of FITS tables as NumPy and Polars take them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skymere.errors import FormatError

__all__ = ["native_columns"]


def native_columns(hdu: fits.BinTableHDU, path: Path, *, names: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return columns of a table, text as str and numbers in the order of bytes of this machine.

    Parameters
    ----------
    hdu : astropy.io.fits.BinTableHDU
        The table.
    path : Path
        Its file.
    names : iterable of str, optional
        Which columns; all when not given.

    Raises
    ------
    FormatError
        When text is not ASCII.
    """
    data = hdu.data
    return {name: _native(np.asarray(data[name]), name, path) for name in (data.names if names is None else names)}


def _native(values: NDArray[Any], name: str, path: Path) -> NDArray[Any]:
    if values.dtype.kind not in "SU":
        return values.astype(values.dtype.newbyteorder("="))
    try:
        return values.astype(str)
    except UnicodeDecodeError as error:
        msg = f"{path}: column {name!r} holds characters that are not ASCII, which text of a FITS table has to be"
        raise FormatError(msg) from error
