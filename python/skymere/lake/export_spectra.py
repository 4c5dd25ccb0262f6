"""Spectra as FITS tables: one file for each source, one extension for each of its spectra."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere.errors import NotFoundError
from skymere.lake.export_fits import table_hdu
from skymere.lake.files import write_whole
from skymere.lake.schemas import load_schema

if TYPE_CHECKING:
    from skymere.lake.pixels import LakePixels

__all__ = ["PRODUCTS", "spectra_of", "write_spectra"]

PRODUCTS: tuple[Literal["spectrum", "slit_spectrum"], ...] = ("spectrum", "slit_spectrum")
# FITS keyword, column of the row and comment of what a header says about a spectrum.
_CARDS = (
    ("RA_TARG", "ra", "[deg] ICRS"),
    ("DEC_TARG", "dec", "[deg] ICRS"),
    ("GRATING", "grating", "grism or grating"),
    ("SPECID", "spectrum_id", "spectrum_id in the lake"),
    ("EXPTIME", "exptime", "[s] of all exposures"),
    ("PA_DISP", "pa", "[deg] of the dispersion, east of north"),
    ("TILE", "tile", "tile of the lake"),
    ("RUN", "run_id", "run that made the spectrum"),
)


def spectra_of(lake: "LakePixels", ids: ArrayLike) -> list[tuple[str, Mapping[str, Any], Any]]:
    """Return product, row and `astropy.table.Table` of every spectrum of some sources, source after source.

    Parameters
    ----------
    lake : Lake
        The lake.
    ids : array_like, int64, shape (n,)
        Values of ``source_id``.

    Raises
    ------
    NotFoundError
        When a source has none.
    """
    from astropy import units as u
    from astropy.table import Table

    wanted = np.atleast_1d(np.asarray(ids)).astype(np.int64)
    found: dict[int, list[tuple[str, Mapping[str, Any], Any]]] = {int(i): [] for i in wanted}
    for product in PRODUCTS:
        have = _having(lake, product, wanted)
        if not have.size:
            continue
        planes = _points(product)
        read = lake.spectra(source_id=have, product=product)
        for i, row in enumerate(read.rows.iter_rows(named=True)):
            table = Table()
            for name in (plane for plane in planes if plane in read.planes):
                table[name] = read[name][i]
                table[name].unit = u.Unit(read[name].unit) if read[name].unit else None
            found[row["source_id"]].append((product, row, table))
    lost = [i for i, spectra in found.items() if not spectra]
    if lost:
        msg = f"spectra: {len(lost)} of {len(wanted)} sources have no spectrum, the first is {lost[0]}"
        raise NotFoundError(msg)
    return [one for spectra in found.values() for one in spectra]


def write_spectra(lake: "LakePixels", ids: ArrayLike, folder: Path) -> list[Path]:
    """Write ``<source_id>_spectra.fits`` for each source; see `Lake.export_fits`."""
    from astropy.io import fits

    files: dict[int, Any] = {}
    for product, row, table in spectra_of(lake, ids):
        hdus = files.setdefault(row["source_id"], fits.HDUList([_primary(row)]))
        hdu = table_hdu(table, product)
        hdu.ver = 1 + sum(other.name == product.upper() for other in hdus)
        for keyword, column, comment in _CARDS:
            if row.get(column) is not None:
                hdu.header[keyword] = (row[column], comment)
        hdus.append(hdu)
    paths = []
    for source, hdus in files.items():
        paths.append(folder / f"{source}_spectra.fits")
        with write_whole(paths[-1]) as staged:
            hdus.writeto(staged)
    return paths


def _primary(row: Mapping[str, Any]) -> Any:
    from astropy.io import fits

    hdu = fits.PrimaryHDU()
    hdu.header["OBJECT"] = str(row["source_id"])
    return hdu


def _having(lake: "LakePixels", product: str, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sources that have a spectrum of a product."""
    some = pl.col("source_id").is_in(ids.tolist()) & pl.col("spectrum_row").is_not_null()
    found = set(lake.table(product).filter(some).select("source_id").collect()["source_id"])
    return np.array([i for i in dict.fromkeys(ids.tolist()) if i in found], np.int64)


def _points(product: str) -> Sequence[str]:
    """Return the planes with one value for each wavelength, wavelength first."""
    specs = load_schema(product).arrays
    axis = next(spec.offset for spec in specs if spec.path == "wavelength")
    return [spec.path for spec in specs if spec.offset == axis]
