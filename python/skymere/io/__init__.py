"""Files to products and back."""

from skymere.io._open import open_fits
from skymere.io.coordinates import DistortionFiles, read_gwcs
from skymere.io.exposures import ReadParams, exposure_id, file_digest, read_exposure, read_exposures
from skymere.io.mosaics import read_mosaic, write_mosaic
from skymere.io.solutions import read_headerlet, write_headerlet, write_shifts, write_with_wcs

__all__ = [
    "DistortionFiles",
    "ReadParams",
    "exposure_id",
    "file_digest",
    "open_fits",
    "read_exposure",
    "read_exposures",
    "read_gwcs",
    "read_headerlet",
    "read_mosaic",
    "write_headerlet",
    "write_mosaic",
    "write_shifts",
    "write_with_wcs",
]
