"""Exposures to mosaics: AstroDrizzle's steps as functions and in one call, and cutouts."""

from skymere.mosaic.cutouts import Cutout, cut_window
from skymere.mosaic.detection_image import DetectionImage, detection_image, n_exposures, subtract_background
from skymere.mosaic.drizzle_exposures import MosaicParams, drizzle_exposures
from skymere.mosaic.flagging import FlagParams, flag_exposures
from skymere.mosaic.sky import SkyParams, subtractable_sky

__all__ = [
    "Cutout",
    "DetectionImage",
    "FlagParams",
    "MosaicParams",
    "SkyParams",
    "cut_window",
    "detection_image",
    "drizzle_exposures",
    "flag_exposures",
    "n_exposures",
    "subtract_background",
    "subtractable_sky",
]
