"""Files to products and back."""

from skymere.io.exposures import read_exposure
from skymere.io.mosaics import read_mosaic, write_mosaic

__all__ = ["read_exposure", "read_mosaic", "write_mosaic"]
