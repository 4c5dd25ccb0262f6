"""Files to products and back."""

from skymere.io.exposures import exposure_id, file_digest, read_exposure
from skymere.io.images import read_grid, read_image, read_mask, write_image, write_with_data, write_with_wcs
from skymere.io.mosaics import read_mosaic, write_mosaic
from skymere.io.psf_libraries import PsfLibrary, read_psf_library

__all__ = [
    "PsfLibrary",
    "exposure_id",
    "file_digest",
    "read_exposure",
    "read_grid",
    "read_image",
    "read_mask",
    "read_mosaic",
    "read_psf_library",
    "write_image",
    "write_mosaic",
    "write_with_data",
    "write_with_wcs",
]
