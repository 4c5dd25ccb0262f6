"""``skymere detect`` on images larger than memory."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skymere.cli._print import console
from skymere.cli.detect_files import read_each
from skymere.cli.detect_output import print_bands, with_flux_of, write_catalog
from skymere.errors import SkymereError

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
    from skymere.io import open_band, write_image_rows, write_sources
    from skymere.mosaic import find_sources_blocks

    opened, skipped = read_each(open_band, files, given, skip=skip)
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
    write_sources(with_flux_of(catalog, judge), output / "det_cat.fits", flux_unit=unit)
    write_catalog(catalog, output)
    print_bands(found.coverage, searched=found.bands, masked=told, excluded=skipped | dict(found.excluded))
    n = found.segmentation.n_sources
    console.print(f"{output}: {n} sources in {nx} x {ny} pixels, in blocks of {side}", soft_wrap=True)
