"""Files to products and back."""

from skymere.io._open import open_fits
from skymere.io.coordinates import DistortionFiles, read_gwcs
from skymere.io.exposures import ReadParams, exposure_id, file_digest, read_exposure, read_exposures
from skymere.io.mosaics import read_mosaic, write_mosaic

__all__ = [
    "DistortionFiles",
    "ReadParams",
    "exposure_id",
    "file_digest",
    "open_fits",
    "read_exposure",
    "read_exposures",
    "read_gwcs",
    "read_mosaic",
    "write_mosaic",
]
