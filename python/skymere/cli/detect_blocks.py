"""``skymere detect`` on images larger than memory."""

from collections.abc import Callable, Sequence
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
    from skymere.io import open_band, write_detection_rows
    from skymere.mosaic import find_sources_blocks

    opened, skipped = read_each(open_band, files, given, skip=skip)
    mosaics = [mosaic for _, mosaic in opened]
    bad, told = masks(opened)
    found = find_sources_blocks(mosaics, side=side, params=params, mask=bad)
    catalog = found.measure()
    judge = params.flux_band or found.bands[-1]
    write_detection_rows(
        output,
        found.segmentation.labels,
        with_flux_of(catalog, judge),
        stack=lambda y, x: found.stack(y, x).data,
        snr=found.snr,
        shape=found.grid.shape,
        wcs=found.grid.wcs,
        flux_unit=found.flux_unit,
        block_pix=side,
    )
    write_catalog(catalog, output)
    print_bands(found.coverage, searched=found.bands, masked=told, excluded=skipped | dict(found.excluded))
    n, (ny, nx) = found.segmentation.n_sources, found.grid.shape
    console.print(f"{output}: {n} sources in {nx} x {ny} pixels, in blocks of {side}", soft_wrap=True)
