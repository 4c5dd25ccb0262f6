"""Catalogues and cutouts as FITS files: what TOPCAT, DS9 and GALFIT open."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError
from skymere.lake.arrays import ArrayGroup, StoredArray
from skymere.lake.files import write_whole
from skymere.lake.history import rows_of_run

if TYPE_CHECKING:
    from skymere.lake.cutouts import Cutouts
    from skymere.lake.pixels import LakePixels

__all__ = ["table_hdu", "write_catalogue", "write_cutouts"]

NO_DATA, OTHER_SOURCE = 1, 2
# GALFIT divides by the sigma image even where the mask says not to look.
_SIGMA_OUTSIDE = np.float32(1e10)
_UNITS = {"electron / s": "electron/s"}


def write_catalogue(table: Any, path: Path, *, name: str) -> None:
    """Write an astropy table from `as_astropy` as a binary table with units, UCDs and descriptions.

    Raises
    ------
    StorageError
        When it cannot be written.
    """
    from astropy.io import fits

    hdu = table_hdu(table, name)
    for i, column in enumerate(table.columns.values(), start=1):
        if column.description:
            hdu.header[f"TCOMM{i}"] = column.description[:68]
        if "ucd" in column.meta:
            hdu.header[f"TUCD{i}"] = column.meta["ucd"]
    with write_whole(path) as staged:
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(staged)


def table_hdu(table: Any, name: str) -> Any:
    """Return a binary table with all units of an astropy table, also those that FITS does not know (electron)."""
    from astropy.io import fits

    plain = table.copy(copy_data=False)
    for column in plain.columns.values():
        column.unit = None
        strange = [] if column.dtype.kind != "U" else [text for text in column.tolist() if text and not text.isascii()]
        if strange:
            msg = (
                f"column {column.name!r}: FITS cannot hold {strange[0]!r}, only ASCII; write a VOTable, or leave it out"
            )
            raise InvalidInputError(msg)
    hdu = fits.table_to_hdu(plain)
    hdu.name = name
    for column in table.columns.values():
        if column.unit is not None:
            hdu.columns.change_unit(column.name, _unit_text(column.unit))
    return hdu


def _unit_text(unit: Any) -> str:
    try:
        return str(unit.to_string("fits"))
    except ValueError:
        return str(unit.to_string())


class _Mosaics:
    """What is known of the mosaics that stamps were cut from; each is looked up once."""

    def __init__(self, lake: "LakePixels") -> None:
        self.lake = lake
        self._runs: dict[tuple[str, str], str | None] = {}
        self._rows: dict[tuple[str, str | None], dict[str, Mapping[str, Any]]] = {}
        self._groups: dict[tuple[str, str], ArrayGroup] = {}

    def about(self, row: Mapping[str, Any], band: str) -> dict[str, Any]:
        """Return the row of a stamp's mosaic, as far as it is known, and its ``run``, None when that is not."""
        tile, run = row["tile"], self._run(row["tile"], row["run_id"])
        if (tile, run) not in self._rows:
            found = rows_of_run(self.lake, "mosaic", tile, run) if run else ()
            self._rows[tile, run] = {mosaic["band"]: mosaic for mosaic in found}
        return {**self._rows[tile, run].get(band, {}), "run": run}

    def variance(self, tile: str, run: str, band: str) -> StoredArray:
        """Return the variance of a mosaic."""
        if (tile, run) not in self._groups:
            self._groups[tile, run] = self.lake.arrays("mosaic", tile, run)
        return self._groups[tile, run][f"{band}/var"]

    def _run(self, tile: str, cut: str) -> str | None:
        """Return the run of the mosaic that a run of stamps has read."""
        if (tile, cut) not in self._runs:
            mine = (pl.col("run_id") == cut) & (pl.col("product") == "cutout") & (pl.col("tile") == tile)
            inputs = self.lake.table("run").filter(mine).select("inputs").collect()["inputs"]
            entries = [entry for text in inputs for entry in json.loads(text)]
            named = [entry.get("run") for entry in entries if entry.get("uri") == f"mosaic/{tile}"]
            self._runs[tile, cut] = named[0] if named else self.lake.live_runs("mosaic").get(tile)
        return self._runs[tile, cut]


def write_cutouts(
    lake: "LakePixels", ids: ArrayLike, folder: Path, *, bands: Sequence[str] | None, size_pix: int | None
) -> list[Path]:
    """Write ``<source_id>.fits`` for each source; see `Lake.export_fits`."""
    wanted = np.atleast_1d(np.asarray(ids))
    names = list(bands) if bands is not None else lake.bands(wanted)
    stamps = lake.cutouts(wanted, bands=names, planes=("sci", "wht", "seg"), size_pix=size_pix)
    rows = _rows(lake, stamps.source_id)
    mosaics, paths = _Mosaics(lake), []
    for i, row in enumerate(rows.iter_rows(named=True)):
        paths.append(folder / f"{row['source_id']}.fits")
        hdus = _hdus(mosaics, stamps, i, names, row)
        with write_whole(paths[-1]) as staged:
            hdus.writeto(staged)
    return paths


def _rows(lake: "LakePixels", ids: NDArray[np.int64]) -> pl.DataFrame:
    """Return tile, run and label of each source, in order."""
    order = pl.DataFrame({"source_id": ids})
    some = pl.col("source_id").is_in(order["source_id"].unique().implode())
    cut = lake.table("cutout").filter(some).select("source_id", "ra", "dec", "tile", "run_id")
    labels = lake.table("source").filter(some).select("source_id", "label")
    found = cut.join(labels, on="source_id", how="left").collect()
    return order.join(found, on="source_id", how="left", maintain_order="left")


def _hdus(mosaics: _Mosaics, stamps: "Cutouts", i: int, bands: Iterable[str], row: dict[str, Any]) -> Any:
    from astropy.io import fits

    primary = fits.PrimaryHDU()
    primary.header["OBJECT"] = str(row["source_id"])
    primary.header["RA_TARG"] = (row["ra"], "[deg] ICRS")
    primary.header["DEC_TARG"] = (row["dec"], "[deg] ICRS")
    primary.header["TILE"] = row["tile"]
    primary.header["RUN"] = (row["run_id"], "run that cut the stamp")
    hdus = fits.HDUList([primary])
    for version, band in enumerate((b for b in bands if b in stamps.cards[i]), start=1):
        about = mosaics.about(row, band)
        for name, data, unit in _planes(mosaics, stamps, i, band, row, about):
            hdu = fits.ImageHDU(data, name=name, ver=version)
            hdu.header.update(stamps.grid(i, band).cards())
            hdu.header["FILTER"] = band.upper()
            hdu.header["BUNIT"] = unit
            _exposure_cards(hdu.header, about)
            hdus.append(hdu)
    return hdus


def _planes(
    mosaics: _Mosaics, stamps: "Cutouts", i: int, band: str, row: dict[str, Any], about: dict[str, Any]
) -> list[tuple[str, NDArray[Any], str]]:
    data, weight, labels = (np.array(stamps[band, plane][i]) for plane in ("sci", "wht", "seg"))
    unit = _UNITS.get(stamps.units[band, "sci"], stamps.units[band, "sci"])
    sigma = _sigma(mosaics, stamps, i, band, row["tile"], about)
    blank = ~np.isfinite(data) | (weight <= 0) | ~np.isfinite(sigma)
    other = (labels != 0) & (labels != (row["label"] if row["label"] is not None else -1))
    mask = np.where(blank, NO_DATA, 0) | np.where(other, OTHER_SOURCE, 0)
    return [
        ("SCI", np.where(np.isfinite(data), data, np.float32(0.0)), unit),
        ("SIG", np.where(blank, _SIGMA_OUTSIDE, sigma), unit),
        ("WHT", weight, stamps.units[band, "wht"]),
        ("MSK", mask.astype(np.int16), ""),
        ("SEG", labels, ""),
    ]


def _sigma(
    mosaics: _Mosaics, stamps: "Cutouts", i: int, band: str, tile: str, about: dict[str, Any]
) -> NDArray[np.float32]:
    """Return the root of the mosaic's variance times R, so that sums over many pixels have honest errors."""
    side = int(stamps.size[i])
    sigma = np.full((side, side), np.nan, np.float32)
    if about["run"] is None:
        return sigma
    variance = mosaics.variance(tile, about["run"], band)
    y0, x0 = (int(v) for v in stamps.origin[band][i])
    ny, nx = variance.shape
    a, b = max(y0, 0), min(y0 + side, ny)
    c, d = max(x0, 0), min(x0 + side, nx)
    if a < b and c < d:
        window = variance[a:b, c:d]
        root = np.sqrt(np.where(window > 0, window, np.nan))
        sigma[a - y0 : b - y0, c - x0 : d - x0] = root * (about.get("noise_correlation") or 1.0)
    return sigma


def _exposure_cards(header: Any, about: dict[str, Any]) -> None:
    """Write what GALFIT reads: pixels per second have EXPTIME 1, and a GAIN that makes them electrons."""
    total = about.get("exptime")
    is_rate = "/ s" in (about.get("unit") or "")
    if total is not None:
        header["EXPTIME"] = (1.0 if is_rate else total, "[s] time that one pixel value stands for")
        header["GAIN"] = (total if is_rate else 1.0, "electrons in one unit of SCI")
        header["TEXPTIME"] = (total, "[s] sum of the exposure times")
    header["NCOMBINE"] = (1, "GAIN is that of the sum")
    if about.get("noise_correlation") is not None:
        header["NOISECOR"] = (about["noise_correlation"], "R, is in SIG: noise of large areas over white")
    if about.get("zero_point_ab") is not None:
        header["MAGZPT"] = (about["zero_point_ab"], "[mag] AB magnitude of one SCI unit")
