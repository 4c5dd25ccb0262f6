"""Point-spread functions: from stars, from grids, from models, and drizzled as the data were."""

from skymere.psf.build import BuildParams, StarFit, build_psf, select_stars
from skymere.psf.drizzled import drizzle_psf, render_psf
from skymere.psf.given import PsfCheck, PsfLimits, check_psf, read_psf
from skymere.psf.grid import PsfGrid, read_psf_grid
from skymere.psf.models import GaussianPsf, MoffatPsf
from skymere.psf.sampled import Psf, measure_shape

__all__ = [
    "BuildParams",
    "GaussianPsf",
    "MoffatPsf",
    "Psf",
    "PsfCheck",
    "PsfGrid",
    "PsfLimits",
    "StarFit",
    "build_psf",
    "check_psf",
    "drizzle_psf",
    "measure_shape",
    "read_psf",
    "read_psf_grid",
    "render_psf",
    "select_stars",
]
