"""The files that `make_detect` writes."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from astropy.wcs import WCS
from numpy.typing import NDArray

from skymere.errors import InvalidInputError, StorageError
from skymere.io.catalogues import write_tables
from skymere.io.images import write_image, write_image_rows

__all__ = ["write_detection", "write_detection_rows", "write_sources", "write_table"]

_UNITS = {"area": "pix", "x": "pix", "y": "pix", "ra": "deg", "dec": "deg", "flux": "uJy", "flux_err": "uJy"}
_COLUMNS = ("id", "area", "x", "y", "ra", "dec", "flux", "flux_err")


def write_detection(
    folder: str | Path,
    labels: NDArray[np.int32],
    table: pl.DataFrame,
    *,
    stack: NDArray[np.float32],
    snr: NDArray[np.float32],
    wcs: WCS,
    flux_unit: str = "uJy",
) -> list[Path]:
    """Write ``det_seg.fits``, ``det_cat.fits``, ``det_stack.fits`` and ``det_snr.fits``; returns their paths.

    Parameters
    ----------
    folder : path-like
        Where; files of these names are replaced.
    labels : ndarray, int32, shape (ny, nx)
        Label of every pixel; 0 is sky.
    table : polars.DataFrame
        A row for every label: ``label``, ``area``, ``x``, ``y``, ``ra``, ``dec``, ``flux``, ``flux_err``; others are
        not written.
    stack : ndarray, float32, shape (ny, nx) [uJy]
        Stack of the bands.
    snr : ndarray, float32, shape (ny, nx)
        The image that was searched.
    wcs : astropy.wcs.WCS
        Coordinates of all of them.
    flux_unit : str, optional
        FITS unit of the fluxes and the stack; empty = unknown.

    Raises
    ------
    InvalidInputError
        When the labels of the table are not those of the map, or a column is missing.
    StorageError
        When the folder cannot be made, or a file cannot be written.

    Notes
    -----
    ``x`` and ``y`` are 0-based. The table has a row for each source, where `make_detect` has one row of arrays.
    """
    folder = _made(folder)
    missing = [name for name in _COLUMNS if name not in (*table.columns, "id")]
    found = np.unique(labels)
    if missing or not np.array_equal(np.sort(table["label"].to_numpy()), found[found > 0]):
        msg = f"table: {table.height} labels for {np.count_nonzero(found > 0)} in the map; missing columns {missing}"
        raise InvalidInputError(msg)
    paths = [folder / f"det_{name}.fits" for name in ("seg", "cat", "stack", "snr")]
    write_image(labels, paths[0], name="SEG", wcs=wcs)
    write_sources(table, paths[1], flux_unit=flux_unit)
    write_image(stack, paths[2], wcs=wcs, keywords={"BUNIT": flux_unit})
    write_image(snr, paths[3], wcs=wcs)
    return paths


def write_detection_rows(
    folder: str | Path,
    labels: Callable[[slice, slice], NDArray[np.int32]],
    table: pl.DataFrame,
    *,
    stack: Callable[[slice, slice], NDArray[np.float32]],
    snr: Callable[[slice, slice], NDArray[np.float32]],
    shape: tuple[int, int],
    wcs: WCS,
    flux_unit: str = "uJy",
    block_pix: int = 4096,
) -> None:
    """Write what `write_detection` writes of images that do not fit into memory.

    Parameters
    ----------
    folder, table, wcs, flux_unit
        As in `write_detection`.
    labels, stack, snr : callable
        Windows of the images, by rows and columns.
    shape : tuple of int
        ``(ny, nx)``.
    block_pix : int, optional
        As many pixels as a square of this side are in memory.

    Raises
    ------
    StorageError
        When the folder cannot be made, or a file cannot be written.
    """
    folder = _made(folder)
    ny, nx = shape
    step = max(1, block_pix**2 // nx)

    def rows(of: Callable[[slice, slice], NDArray[Any]]) -> Iterator[NDArray[Any]]:
        for y0 in range(0, ny, step):
            yield of(slice(y0, min(y0 + step, ny)), slice(0, nx))

    planes: list[tuple[str, Callable[[slice, slice], NDArray[Any]], str, dict[str, Any]]] = [
        ("seg", labels, "int32", {"name": "SEG"}),
        ("stack", stack, "float32", {"keywords": {"BUNIT": flux_unit}}),
        ("snr", snr, "float32", {}),
    ]
    for name, of, dtype, more in planes:
        write_image_rows(rows(of), folder / f"det_{name}.fits", shape=shape, dtype=dtype, wcs=wcs, **more)
    write_sources(table, folder / "det_cat.fits", flux_unit=flux_unit)


def _made(folder: str | Path) -> Path:
    """Return a folder that is there."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{folder}: cannot be made: {error.strerror}"
        raise StorageError(msg) from error
    return folder


def write_sources(table: pl.DataFrame, path: str | Path, *, flux_unit: str = "uJy") -> None:
    """Write ``det_cat.fits``: the columns of `write_detection`'s table that it has.

    Parameters
    ----------
    table : polars.DataFrame
        As in `write_detection`.
    path : path-like
        The file.
    flux_unit : str, optional
        FITS unit of the fluxes; empty = unknown.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    units = _UNITS | {"flux": flux_unit, "flux_err": flux_unit}
    write_table(table.rename({"label": "id"}).select(_COLUMNS), path, units=units)


def write_table(table: pl.DataFrame, path: str | Path, *, units: Mapping[str, str] | None = None) -> None:
    """Write a data frame as a FITS table.

    Parameters
    ----------
    table : polars.DataFrame
        Numbers, booleans and texts; null numbers become NaN.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.
    units : mapping of str to str, optional
        FITS units of columns.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    write_tables({"SOURCES": table}, path, units=units)
