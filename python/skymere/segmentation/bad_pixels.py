"""The pixels that people called bad, by band."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from skymere.regions import mask_from_regions
from skymere.segmentation.edit import Edit
from skymere.wcs import Grid

__all__ = ["bad_pixels"]


def bad_pixels(
    edits: Iterable[Edit], grid: Grid | tuple[int, int], bands: Sequence[str]
) -> dict[str, NDArray[np.bool_]]:
    """Return the pixels that must not be used, for each band that has any.

    Parameters
    ----------
    edits : iterable of Edit
        Those of the kind ``mask`` count: in the band that they were made on, without a band in all.
    grid : Grid or tuple of int
        The image; its shape ``(ny, nx)`` alone is enough for regions in pixels.
    bands : sequence of str
        The bands of the image.

    Returns
    -------
    dict of str to ndarray, bool, shape (ny, nx)
        True = do not use.

    Raises
    ------
    InvalidInputError
        When a region is one of the sky and the image has no WCS.

    Examples
    --------
    >>> from skymere.regions import Circle
    >>> from skymere.segmentation import Edit, bad_pixels
    >>> streak = Edit(kind="mask", regions=(Circle(centre=(5.0, 5.0), radius=1.5, frame="image"),), band="r")
    >>> {band: int(mask.sum()) for band, mask in bad_pixels([streak], (20, 20), ["g", "r"]).items()}
    {'r': 9}
    """
    found: dict[str, NDArray[np.bool_]] = {}
    for edit in edits:
        if edit.kind != "mask" or edit.band not in ("", *bands):
            continue
        inside = mask_from_regions(edit.regions, grid).mask
        for band in bands:
            if edit.band in ("", band):
                found[band] = inside | found[band] if band in found else inside
    return found
