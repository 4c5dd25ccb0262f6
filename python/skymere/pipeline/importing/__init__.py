"""Products of DrizzlePac, qdeblend, grizli and msaexp into a lake."""

from skymere.pipeline.importing.files import import_files

__all__ = ["import_files"]
