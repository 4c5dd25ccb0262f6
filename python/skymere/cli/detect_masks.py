"""``skymere detect``: which pixels region files call bad."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from skymere.cli._print import console
from skymere.errors import InvalidInputError

if TYPE_CHECKING:
    from skymere.datamodels import Mosaic, StoredMosaic

__all__ = ["bad_pixels_of"]


def bad_pixels_of(
    images: "Sequence[tuple[Path, Mosaic | StoredMosaic]]", *, given: Sequence[str], beside: bool
) -> tuple[dict[str, NDArray[np.bool_]], dict[str, str]]:
    """Return the bad pixels of the bands that have files of them, and the files with their number of pixels.

    Parameters
    ----------
    images : sequence of (Path, Mosaic or StoredMosaic)
        The files of the bands.
    given : sequence of str
        Region files, for one band as ``BAND=FILE``.
    beside : bool
        Whether region files beside the images count, too.

    Raises
    ------
    InvalidInputError
        When a band is none of the images.
    NotFoundError, FormatError
        When there is no such file, or it is none of DS9.
    """
    from skymere.mosaic import mask_from_files, region_files_beside

    paths = {mosaic.band: path for path, mosaic in images}
    files = {band: region_files_beside(path) if beside else [] for band, path in paths.items()}
    for word in given:
        band, is_named, name = word.partition("=")
        if is_named and band not in files and not Path(word).exists():
            msg = f"--mask: {band!r} is not a band, it must be one of {list(files)}"
            raise InvalidInputError(msg)
        if band in files and is_named:
            files[band].append(Path(name))
        else:
            for chosen in files.values():
                chosen.append(Path(word))
    masks, told = {}, {}
    for _, mosaic in images:
        if not files[mosaic.band]:
            continue
        found = mask_from_files(files[mosaic.band], paths[mosaic.band], mosaic.grid)
        masks[mosaic.band] = found.mask
        told[mosaic.band] = f"{np.count_nonzero(found.mask)} pix: {', '.join(p.name for p in files[mosaic.band])}"
        for words in found.unused:
            console.print(words, soft_wrap=True, markup=False)
    return masks, told
