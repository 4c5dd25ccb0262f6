"""Products of a lake as files that users of DrizzlePac, qdeblend, grizli and msaexp know."""

from skymere.pipeline.exporting.files import EXPORTS, export_files

__all__ = ["EXPORTS", "export_files"]
