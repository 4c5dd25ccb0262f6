"""Spectra behind slits: the exposures of a slit as corrected arrays."""

from skymere.slit.arrays import AppliedCorrections, SlitArrays
from skymere.slit.background_spectra import BackgroundSky, BackgroundSkyParams, set_background_spectra
from skymere.slit.bad_pixels import (
    BadPixelParams,
    BadPixels,
    bad_bits,
    extra_bad_pixels,
    find_bad_pixels,
    grow_mask,
    multiple_exposure_mask,
)
from skymere.slit.bar_shadow import BarShadow, bar_shutter_offset, bar_table_number, bar_throughput, shutter_is_outside
from skymere.slit.bsplines import bspline_basis
from skymere.slit.cutouts import check_group, common_cutout
from skymere.slit.flags import SLIT_FLAG_BITS
from skymere.slit.geometry import (
    SlitTrace,
    dispersion,
    fit_traces,
    nod_index,
    relative_nod_offsets,
    shift_wavelength,
    shifted_traces,
    shutter_coordinate,
    slit_trace,
    trace_distance,
    trace_phase,
)
from skymere.slit.hot_pixels import HotPixelParams, HotPixels, find_hot_pixels
from skymere.slit.metadata import applied_table, slit_info, slit_metadata
from skymere.slit.normalization import ExtendedCalibration, extended_calibration, shutter_flat, slit_normalization
from skymere.slit.params import PrepareParams
from skymere.slit.path_loss import PathLoss, flux_factor, path_loss_factor
from skymere.slit.preparation import prepare_slitlets, reference_index
from skymere.slit.shutter_offset import ShutterOffset, ShutterOffsetParams, fit_shutter_offset
from skymere.slit.sky import SkyFit, SkyParams, SkySpectrum, estimate_sky, global_sky
from skymere.slit.stuck_shutters import StuckShutters, find_stuck_shutters, shutter_mask

__all__ = [
    "SLIT_FLAG_BITS",
    "AppliedCorrections",
    "BackgroundSky",
    "BackgroundSkyParams",
    "BadPixelParams",
    "BadPixels",
    "BarShadow",
    "ExtendedCalibration",
    "HotPixelParams",
    "HotPixels",
    "PathLoss",
    "PrepareParams",
    "ShutterOffset",
    "ShutterOffsetParams",
    "SkyFit",
    "SkyParams",
    "SkySpectrum",
    "SlitArrays",
    "SlitTrace",
    "StuckShutters",
    "applied_table",
    "bad_bits",
    "bar_shutter_offset",
    "bar_table_number",
    "bar_throughput",
    "bspline_basis",
    "check_group",
    "common_cutout",
    "dispersion",
    "estimate_sky",
    "extended_calibration",
    "extra_bad_pixels",
    "find_bad_pixels",
    "find_hot_pixels",
    "find_stuck_shutters",
    "fit_shutter_offset",
    "fit_traces",
    "flux_factor",
    "global_sky",
    "grow_mask",
    "multiple_exposure_mask",
    "nod_index",
    "path_loss_factor",
    "prepare_slitlets",
    "reference_index",
    "relative_nod_offsets",
    "set_background_spectra",
    "shift_wavelength",
    "shifted_traces",
    "shutter_coordinate",
    "shutter_flat",
    "shutter_is_outside",
    "shutter_mask",
    "slit_info",
    "slit_metadata",
    "slit_normalization",
    "slit_trace",
    "trace_distance",
    "trace_phase",
]
