"""Slit spectra of several nods: differences, profile and trace, combination and extraction."""

from skymere.slit.all_traces import (
    AllTracesParams,
    FitChoice,
    SlitTraces,
    fit_all_traces,
    fit_params_by_sn,
    get_trace_sn,
    reference_position,
)
from skymere.slit.combine import CombineParams, Resampled, SlitImage, combine_pixels, overlap_drizzle, pseudo_drizzle
from skymere.slit.compat import compat_nods, compat_pixels, compat_traces
from skymere.slit.extract import ExtractParams, SlitSpectrum, extract_spectrum, pixel_table_to_1d
from skymere.slit.frames import SlitFrames, set_trace_coeffs, update_trace_from_coeffs
from skymere.slit.grids import bin_edges, pixfrac_steps, slit_edges, wavelength_grid
from skymere.slit.nods import NodDifference, NodParams, make_diff_image
from skymere.slit.pixel_table import PixelTableParams, RawNoise, get_flat_diff_arrays, raw_noise
from skymere.slit.profile import GaussianProfile, Profile, TableProfile, evaluate_profile, sersic_profile
from skymere.slit.trace import TraceFit, TraceParams, TracePriors, fit_frames, fit_single_trace
from skymere.slit.transmission import slit_transmission
from skymere.slit.weights import model_variance, pixel_weights

__all__ = [
    "AllTracesParams",
    "CombineParams",
    "ExtractParams",
    "FitChoice",
    "GaussianProfile",
    "NodDifference",
    "NodParams",
    "PixelTableParams",
    "Profile",
    "RawNoise",
    "Resampled",
    "SlitFrames",
    "SlitImage",
    "SlitSpectrum",
    "SlitTraces",
    "TableProfile",
    "TraceFit",
    "TraceParams",
    "TracePriors",
    "bin_edges",
    "combine_pixels",
    "compat_nods",
    "compat_pixels",
    "compat_traces",
    "evaluate_profile",
    "extract_spectrum",
    "fit_all_traces",
    "fit_frames",
    "fit_params_by_sn",
    "fit_single_trace",
    "get_flat_diff_arrays",
    "get_trace_sn",
    "make_diff_image",
    "model_variance",
    "overlap_drizzle",
    "pixel_table_to_1d",
    "pixel_weights",
    "pixfrac_steps",
    "pseudo_drizzle",
    "raw_noise",
    "reference_position",
    "sersic_profile",
    "set_trace_coeffs",
    "slit_edges",
    "slit_transmission",
    "update_trace_from_coeffs",
    "wavelength_grid",
]
