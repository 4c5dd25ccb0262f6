"""The products: what the stages hand to each other and the lake stores."""

from skymere.datamodels.beams import Beam
from skymere.datamodels.exposure import FLAG_BITS, Exposure
from skymere.datamodels.grism_spectra import GrismSpectrum, GrismStack
from skymere.datamodels.grisms import ANGSTROM, GrismConfig, GrismOrder
from skymere.datamodels.line_maps import BEAM_COLUMNS, LINE_UNIT, SKIPPED_COLUMNS, LineMap, LineMaps, LineMapWeight
from skymere.datamodels.mosaic import Mosaic, WeightKind
from skymere.datamodels.noise import NO_CLASS, NoiseCovariance
from skymere.datamodels.segmentation import SegmentationMap
from skymere.datamodels.slit_tables import (
    BadPixelTable,
    BarShadowTable,
    NormalizationTable,
    SensitivityTable,
    SlitFlatTable,
    SlitTables,
)
from skymere.datamodels.slitlets import SlitExposure, SlitGeometry, Slitlet, SlitPlace, SlitSource
from skymere.datamodels.sources import SourceCatalog
from skymere.datamodels.spectra import Spectrum1D
from skymere.datamodels.stored import Sliceable, StoredMosaic
from skymere.datamodels.thumbnails import EXPOSURE_COLUMNS, FLAM, BandThumbnail, Thumbnail, ThumbnailWeight
from skymere.datamodels.windows import WINDOW_PIX, ScratchPlane, ScratchPlanes, Window, windows_of

__all__ = [
    "ANGSTROM",
    "BEAM_COLUMNS",
    "EXPOSURE_COLUMNS",
    "FLAG_BITS",
    "FLAM",
    "LINE_UNIT",
    "NO_CLASS",
    "SKIPPED_COLUMNS",
    "WINDOW_PIX",
    "BadPixelTable",
    "BandThumbnail",
    "BarShadowTable",
    "Beam",
    "Exposure",
    "GrismConfig",
    "GrismOrder",
    "GrismSpectrum",
    "GrismStack",
    "LineMap",
    "LineMapWeight",
    "LineMaps",
    "Mosaic",
    "NoiseCovariance",
    "NormalizationTable",
    "ScratchPlane",
    "ScratchPlanes",
    "SegmentationMap",
    "SensitivityTable",
    "Sliceable",
    "SlitExposure",
    "SlitFlatTable",
    "SlitGeometry",
    "SlitPlace",
    "SlitSource",
    "SlitTables",
    "Slitlet",
    "SourceCatalog",
    "Spectrum1D",
    "StoredMosaic",
    "Thumbnail",
    "ThumbnailWeight",
    "WeightKind",
    "Window",
    "windows_of",
]
