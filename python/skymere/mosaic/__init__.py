"""Exposures to mosaics: AstroDrizzle's steps as functions and in one call, their quality, and cutouts."""

from skymere.mosaic.bad_regions import RegionFileMask, mask_from_files, region_files_beside
from skymere.mosaic.detection_image import (
    DetectionImage,
    band_depth,
    enough_exposures,
    measured_stack,
    n_exposures,
    plane_of,
    stack_of,
    subtract_background,
    without_pixels,
)
from skymere.mosaic.drizzle_exposures import MosaicParams, drizzle_exposures, drizzle_stream
from skymere.mosaic.exposure_list import ExposureList
from skymere.mosaic.files import ExposureFiles, OverrideParams
from skymere.mosaic.find_blocks import FoundBlocks, StoredBand, find_sources_blocks, stored_band
from skymere.mosaic.find_sources import FindParams, FoundSources, band_to_measure, find_sources
from skymere.mosaic.flagging import Flagged, FlagParams, flag_exposures, flag_static, iter_flagged
from skymere.mosaic.footprints import footprint_area
from skymere.mosaic.grids import GridParams, make_grid
from skymere.mosaic.groups import read_groups
from skymere.mosaic.overlaps import overlap_groups
from skymere.mosaic.presets import PRESETS, DrizzlePlan, Resolved, preset_values, resolve
from skymere.mosaic.quality import MosaicQuality, QualityParams, QualitySums, measure_quality
from skymere.mosaic.rejection import Reasons, RejectionMap
from skymere.mosaic.sky import SkyParams, SkySolution, require_connected, solve_sky, subtractable_sky
from skymere.mosaic.sky_match import SkyPair
from skymere.mosaic.stamps import BandCutout, Cutout, cut_window, cutouts
from skymere.mosaic.thumbnail_filters import alike_filters
from skymere.mosaic.thumbnail_params import ThumbnailParams
from skymere.mosaic.thumbnail_psf import named_psf, named_psf_file
from skymere.mosaic.thumbnail_sizes import source_sizes
from skymere.mosaic.thumbnails import Thumbnails, thumbnails
from skymere.segmentation import labels_on_grid

__all__ = [
    "PRESETS",
    "BandCutout",
    "Cutout",
    "DetectionImage",
    "DrizzlePlan",
    "ExposureFiles",
    "ExposureList",
    "FindParams",
    "FlagParams",
    "Flagged",
    "FoundBlocks",
    "FoundSources",
    "GridParams",
    "MosaicParams",
    "MosaicQuality",
    "OverrideParams",
    "QualityParams",
    "QualitySums",
    "Reasons",
    "RegionFileMask",
    "RejectionMap",
    "Resolved",
    "SkyPair",
    "SkyParams",
    "SkySolution",
    "StoredBand",
    "ThumbnailParams",
    "Thumbnails",
    "alike_filters",
    "band_depth",
    "band_to_measure",
    "cut_window",
    "cutouts",
    "drizzle_exposures",
    "drizzle_stream",
    "enough_exposures",
    "find_sources",
    "find_sources_blocks",
    "flag_exposures",
    "flag_static",
    "footprint_area",
    "iter_flagged",
    "labels_on_grid",
    "make_grid",
    "mask_from_files",
    "measure_quality",
    "measured_stack",
    "n_exposures",
    "named_psf",
    "named_psf_file",
    "overlap_groups",
    "plane_of",
    "preset_values",
    "read_groups",
    "region_files_beside",
    "require_connected",
    "resolve",
    "solve_sky",
    "source_sizes",
    "stack_of",
    "stored_band",
    "subtract_background",
    "subtractable_sky",
    "thumbnails",
    "without_pixels",
]
