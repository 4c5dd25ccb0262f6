"""Files to products and back."""

from skymere.io._open import open_fits
from skymere.io.exposures import exposure_id, file_digest, read_exposure
from skymere.io.mosaics import read_mosaic, write_mosaic

__all__ = ["exposure_id", "file_digest", "open_fits", "read_exposure", "read_mosaic", "write_mosaic"]
