"""Files to products and back."""

from skymere.io.exposures import exposure_id, file_digest, read_exposure
from skymere.io.mosaics import read_mosaic, write_mosaic

__all__ = ["exposure_id", "file_digest", "read_exposure", "read_mosaic", "write_mosaic"]
