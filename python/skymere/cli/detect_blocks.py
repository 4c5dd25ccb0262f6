"""``skymere detect`` on images larger than memory."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.cli._print import console, print_frame
from skymere.errors import InvalidInputError, SkymereError

if TYPE_CHECKING:
    from skymere.datamodels import StoredMosaic
    from skymere.mosaic import FindParams

__all__ = ["detect_in_blocks", "is_large"]


def is_large(path: Path, side: int) -> bool:
    """Return whether an image has more pixels than four blocks; False for what cannot be read."""
    from skymere.io import image_shape

    try:
        shape = image_shape(path)
    except SkymereError:
        return False
    return shape[0] * shape[1] > 4 * side**2


def detect_in_blocks(
    files: Sequence[Path],
    given: Sequence[dict[str, Any]],
    params: "FindParams",
    output: Path,
    *,
    side: int,
    skip: bool,
    masks: "Callable[[list[tuple[Path, StoredMosaic]]], tuple[dict[str, NDArray[np.bool_]], dict[str, str]]]",
) -> None:
    """Find and measure the sources of images that are read block by block, and write what `detect` writes.

    Raises
    ------
    InvalidInputError
        When a file cannot be used and is not to be skipped, or none can be used.
    """
    from skymere.io import open_band, write_image_rows, write_sources, write_table
    from skymere.lake import write_whole
    from skymere.mosaic import find_sources_blocks

    opened: list[tuple[Path, StoredMosaic]] = []
    skipped = {}
    for path, about in zip(files, given, strict=True):
        try:
            opened.append((path, open_band(path, **about)))
        except SkymereError as error:
            if not skip:
                raise
            skipped[str(path)] = str(error)
    if not opened:
        msg = f"files: none can be used: {skipped}"
        raise InvalidInputError(msg)
    mosaics = [mosaic for _, mosaic in opened]
    bad, told = masks(opened)
    found = find_sources_blocks(mosaics, side=side, params=params, mask=bad)
    catalog = found.measure()
    ny, nx = found.grid.shape

    def rows(of: Callable[[slice, slice], NDArray[Any]]) -> Iterator[NDArray[Any]]:
        # As many pixels as a block has.
        step = max(1, side * side // nx)
        for y0 in range(0, ny, step):
            yield of(slice(y0, min(y0 + step, ny)), slice(0, nx))

    output.mkdir(parents=True, exist_ok=True)
    judge = params.flux_band or found.bands[-1]
    is_known = bool(np.isfinite(next(m.zero_point_ab for m in mosaics if m.band == judge)))
    unit = "uJy" if is_known else ""
    planes: list[tuple[str, Callable[[slice, slice], NDArray[Any]], str, dict[str, Any]]] = [
        ("seg", found.segmentation.labels, "int32", {"name": "SEG"}),
        ("stack", lambda y, x: found.stack(y, x).data, "float32", {"keywords": {"BUNIT": unit}}),
        ("snr", found.snr, "float32", {}),
    ]
    for name, of, dtype, more in planes:
        write_image_rows(
            rows(of), output / f"det_{name}.fits", shape=found.grid.shape, dtype=dtype, wcs=found.grid.wcs, **more
        )
    of_band = {f"flux_iso_{judge}": "flux", f"flux_iso_err_{judge}": "flux_err"}
    write_sources(catalog.table.rename(of_band), output / "det_cat.fits", flux_unit=unit)
    with write_whole(output / "sources.parquet") as staged:
        catalog.table.write_parquet(staged)
    write_table(catalog.table, output / "sources.fits")
    for name, why in (skipped | dict(found.excluded)).items():
        console.print(f"not used: {name}: {why}", soft_wrap=True, markup=False)
    coverage = [
        {"band": b, "coverage": c, "role": "searched" if b in found.bands else "not used", "masked": told.get(b, "")}
        for b, c in found.coverage.items()
    ]
    print_frame(pl.DataFrame(coverage))
    n = found.segmentation.n_sources
    console.print(f"{output}: {n} sources in {nx} x {ny} pixels, in blocks of {side}", soft_wrap=True)
