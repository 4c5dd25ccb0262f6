"""Region files of bad pixels: those beside an image, and those that are given."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skymere.io import physical_cards
from skymere.regions import mask_from_regions, read_regions
from skymere.wcs import Grid

__all__ = ["RegionFileMask", "mask_from_files", "region_files_beside"]


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionFileMask:
    """The pixels of region files.

    Parameters
    ----------
    mask : ndarray, bool, shape (ny, nx)
        True inside of a region of any of the files.
    unused : tuple of str
        The files with regions that hold no pixel of the image, and how many of them.
    """

    mask: NDArray[np.bool_]
    unused: tuple[str, ...]


def region_files_beside(image: str | Path) -> list[Path]:
    """Return the files with the bad regions of an image that lie in its folder.

    Parameters
    ----------
    image : path-like
        The image ``NAME.fits``.

    Returns
    -------
    list of Path
        Those of ``NAME-bad.reg`` and ``NAME_bad.reg`` that exist; ``_bad.reg``, that of all images of a folder, when
        neither does.
    """
    image = Path(image)
    name = image.name.split(".fits")[0]
    own = [path for path in (image.with_name(f"{name}{end}") for end in ("-bad.reg", "_bad.reg")) if path.is_file()]
    common = image.with_name("_bad.reg")
    return own or ([common] if common.is_file() else [])


def mask_from_files(files: Sequence[str | Path], image: str | Path, grid: Grid) -> RegionFileMask:
    """Return the pixels of the regions of files.

    Parameters
    ----------
    files : sequence of path-like
        DS9 files.
    image : path-like
        The image that they were drawn on; its LTV and LTM cards say where ``physical`` coordinates are.
    grid : Grid
        Its pixels.

    Raises
    ------
    NotFoundError, FormatError
        When there is no such file, or a line is none of DS9; see `skymere.regions.read_regions`.
    """
    cards = physical_cards(image) if files else {}
    found = np.zeros(grid.shape, bool)
    unused = []
    for path in files:
        inside = mask_from_regions(read_regions(path, header=cards), grid)
        found |= inside.mask
        if inside.unused:
            unused.append(f"{path}: {len(inside.unused)} of {len(inside.statuses)} regions hold no pixel of {image}")
    return RegionFileMask(mask=found, unused=tuple(unused))
