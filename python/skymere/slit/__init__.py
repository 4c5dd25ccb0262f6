"""Slit spectra: corrected exposures, sky, differences of nods, profile and trace, combination, extraction."""

from skymere.slit.all_traces import (
    AllTracesParams,
    FitChoice,
    SlitTraces,
    fit_all_traces,
    fit_params_by_sn,
    get_trace_sn,
    reference_position,
)
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
from skymere.slit.combine import CombineParams, Resampled, SlitImage, combine_pixels, overlap_drizzle, pseudo_drizzle
from skymere.slit.compat import compat_group, compat_nods, compat_pixels, compat_traces
from skymere.slit.cutouts import check_group, common_cutout
from skymere.slit.diagnostics import plot_outliers, plot_shutter_offset, plot_sky
from skymere.slit.drivers import (
    SlitExtraction,
    combine_grating_group,
    drizzle_grating_group,
    extract_spectra,
)
from skymere.slit.extended import sersic_profile
from skymere.slit.extract import ExtractParams, SlitSpectrum, extract_spectrum, pixel_table_to_1d
from skymere.slit.flags import SLIT_FLAG_BITS
from skymere.slit.frames import SlitFrames, set_trace_coeffs, update_trace_from_coeffs
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
from skymere.slit.grids import bin_edges, pixfrac_steps, resolving_power, slit_edges, standard_grid, wavelength_grid
from skymere.slit.group import SlitGroup
from skymere.slit.group_params import SlitGroupParams
from skymere.slit.group_state import PositionGroups
from skymere.slit.hot_pixels import HotPixelParams, HotPixels, find_hot_pixels
from skymere.slit.lookup import lookup_file, lookup_profile
from skymere.slit.metadata import applied_table, slit_info, slit_metadata
from skymere.slit.nods import NodDifference, NodParams, make_diff_image
from skymere.slit.normalization import ExtendedCalibration, extended_calibration, shutter_flat, slit_normalization
from skymere.slit.params import PrepareParams
from skymere.slit.path_loss import PathLoss, flux_factor, path_loss_factor
from skymere.slit.pixel_table import PixelTableParams, RawNoise, get_flat_diff_arrays, raw_noise
from skymere.slit.preparation import prepare_slitlets, reference_index
from skymere.slit.profile import GaussianProfile, Profile, TableProfile, evaluate_profile
from skymere.slit.section import SectionParams, cross_section
from skymere.slit.shutter_offset import ShutterOffset, ShutterOffsetParams, fit_shutter_offset
from skymere.slit.sky import SkyFit, SkyParams, SkySpectrum, estimate_sky, global_sky
from skymere.slit.sky_noise import SkyNoise, sky_covariance
from skymere.slit.sources import SourceSpectra, extract_sources
from skymere.slit.spectrum import CombinedSpectrum, read_slit_spectrum, write_slit_spectrum
from skymere.slit.stuck_shutters import StuckShutters, find_stuck_shutters, shutter_mask
from skymere.slit.summary import plot_summary
from skymere.slit.trace import TraceFit, TraceParams, TracePriors, fit_frames, fit_single_trace
from skymere.slit.transmission import slit_transmission
from skymere.slit.visits import VisitRule, split_visit_groups, visit_rules
from skymere.slit.weights import limited_variance, model_variance, pixel_weights

__all__ = [
    "SLIT_FLAG_BITS",
    "AllTracesParams",
    "AppliedCorrections",
    "BackgroundSky",
    "BackgroundSkyParams",
    "BadPixelParams",
    "BadPixels",
    "BarShadow",
    "CombineParams",
    "CombinedSpectrum",
    "ExtendedCalibration",
    "ExtractParams",
    "FitChoice",
    "GaussianProfile",
    "HotPixelParams",
    "HotPixels",
    "NodDifference",
    "NodParams",
    "PathLoss",
    "PixelTableParams",
    "PositionGroups",
    "PrepareParams",
    "Profile",
    "RawNoise",
    "Resampled",
    "SectionParams",
    "ShutterOffset",
    "ShutterOffsetParams",
    "SkyFit",
    "SkyNoise",
    "SkyParams",
    "SkySpectrum",
    "SlitArrays",
    "SlitExtraction",
    "SlitFrames",
    "SlitGroup",
    "SlitGroupParams",
    "SlitImage",
    "SlitSpectrum",
    "SlitTrace",
    "SlitTraces",
    "SourceSpectra",
    "StuckShutters",
    "TableProfile",
    "TraceFit",
    "TraceParams",
    "TracePriors",
    "VisitRule",
    "applied_table",
    "bad_bits",
    "bar_shutter_offset",
    "bar_table_number",
    "bar_throughput",
    "bin_edges",
    "bspline_basis",
    "check_group",
    "combine_grating_group",
    "combine_pixels",
    "common_cutout",
    "compat_group",
    "compat_nods",
    "compat_pixels",
    "compat_traces",
    "cross_section",
    "dispersion",
    "drizzle_grating_group",
    "estimate_sky",
    "evaluate_profile",
    "extended_calibration",
    "extra_bad_pixels",
    "extract_sources",
    "extract_spectra",
    "extract_spectrum",
    "find_bad_pixels",
    "find_hot_pixels",
    "find_stuck_shutters",
    "fit_all_traces",
    "fit_frames",
    "fit_params_by_sn",
    "fit_shutter_offset",
    "fit_single_trace",
    "fit_traces",
    "flux_factor",
    "get_flat_diff_arrays",
    "get_trace_sn",
    "global_sky",
    "grow_mask",
    "limited_variance",
    "lookup_file",
    "lookup_profile",
    "make_diff_image",
    "model_variance",
    "multiple_exposure_mask",
    "nod_index",
    "overlap_drizzle",
    "path_loss_factor",
    "pixel_table_to_1d",
    "pixel_weights",
    "pixfrac_steps",
    "plot_outliers",
    "plot_shutter_offset",
    "plot_sky",
    "plot_summary",
    "prepare_slitlets",
    "pseudo_drizzle",
    "raw_noise",
    "read_slit_spectrum",
    "reference_index",
    "reference_position",
    "relative_nod_offsets",
    "resolving_power",
    "sersic_profile",
    "set_background_spectra",
    "set_trace_coeffs",
    "shift_wavelength",
    "shifted_traces",
    "shutter_coordinate",
    "shutter_flat",
    "shutter_is_outside",
    "shutter_mask",
    "sky_covariance",
    "slit_edges",
    "slit_info",
    "slit_metadata",
    "slit_normalization",
    "slit_trace",
    "slit_transmission",
    "split_visit_groups",
    "standard_grid",
    "trace_distance",
    "trace_phase",
    "update_trace_from_coeffs",
    "visit_rules",
    "wavelength_grid",
    "write_slit_spectrum",
]
