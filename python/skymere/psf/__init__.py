"""Point-spread functions: from stars, from grids, from models, drizzled as the data were, and matched to each other."""

from skymere.psf.axes import PixelAxes
from skymere.psf.build import BuildParams, StarFit, build_psf, select_stars
from skymere.psf.convolution import Kernel, convolve, convolve_error
from skymere.psf.drizzled import PsfSource, drizzle_psf, render_psf, render_psf_at
from skymere.psf.fit import PsfFit, fit_gaussian_mixture, fit_moffat
from skymere.psf.given import PsfCheck, PsfLimits, check_psf, read_psf, require_psf
from skymere.psf.grid import PsfGrid, read_psf_grid
from skymere.psf.matching import KernelCheck, MatchingKernel, MatchParams, matching_kernel
from skymere.psf.models import GaussianMixturePsf, GaussianPsf, MoffatPsf
from skymere.psf.resampling import cropped, recentred, resampled, with_pixel
from skymere.psf.sample import sample_psf
from skymere.psf.sampled import Psf, measure_shape
from skymere.psf.wings import with_wings

__all__ = [
    "BuildParams",
    "GaussianMixturePsf",
    "GaussianPsf",
    "Kernel",
    "KernelCheck",
    "MatchParams",
    "MatchingKernel",
    "MoffatPsf",
    "PixelAxes",
    "Psf",
    "PsfCheck",
    "PsfFit",
    "PsfGrid",
    "PsfLimits",
    "PsfSource",
    "StarFit",
    "build_psf",
    "check_psf",
    "convolve",
    "convolve_error",
    "cropped",
    "drizzle_psf",
    "fit_gaussian_mixture",
    "fit_moffat",
    "matching_kernel",
    "measure_shape",
    "read_psf",
    "read_psf_grid",
    "recentred",
    "render_psf",
    "render_psf_at",
    "require_psf",
    "resampled",
    "sample_psf",
    "select_stars",
    "with_pixel",
    "with_wings",
]
