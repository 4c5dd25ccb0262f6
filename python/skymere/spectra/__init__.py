"""Spectra in one dimension and photometric redshifts: templates, fits, lines, filters."""

from skymere.spectra.bands import Band, match_photometry, read_translate, read_zeropoints
from skymere.spectra.extinction import milky_way_extinction
from skymere.spectra.filters import Filter, FilterSet, read_filters
from skymere.spectra.igm import IgmTransmission
from skymere.spectra.line_list import (
    COMPLEXES,
    DEFAULT_LINES,
    LINES,
    find_line,
    grating_templates,
    msaexp_prism_templates,
    prism_templates,
)
from skymere.spectra.params import MSAEXP_PARAMS, RedshiftParams
from skymere.spectra.photometry_scale import (
    PhotometryScale,
    SmoothSpectrum,
    scale_photometry,
    scale_smooth_spectrum,
)
from skymere.spectra.photoz import fit_photoz, iter_photoz
from skymere.spectra.photoz_params import PhotozParams, TemplateError
from skymere.spectra.photoz_prior import MagnitudePrior
from skymere.spectra.photoz_results import PhotozFit
from skymere.spectra.redshift import fit_lines, fit_redshift
from skymere.spectra.results import RedshiftFit
from skymere.spectra.template_fluxes import template_fluxes
from skymere.spectra.template_set import LineList, TemplateSet
from skymere.spectra.templates import LineComplex, SplineContinuum, TabulatedTemplate, Template

__all__ = [
    "COMPLEXES",
    "DEFAULT_LINES",
    "LINES",
    "MSAEXP_PARAMS",
    "Band",
    "Filter",
    "FilterSet",
    "IgmTransmission",
    "LineComplex",
    "LineList",
    "MagnitudePrior",
    "PhotometryScale",
    "PhotozFit",
    "PhotozParams",
    "RedshiftFit",
    "RedshiftParams",
    "SmoothSpectrum",
    "SplineContinuum",
    "TabulatedTemplate",
    "Template",
    "TemplateError",
    "TemplateSet",
    "find_line",
    "fit_lines",
    "fit_photoz",
    "fit_redshift",
    "grating_templates",
    "iter_photoz",
    "match_photometry",
    "milky_way_extinction",
    "msaexp_prism_templates",
    "prism_templates",
    "read_filters",
    "read_translate",
    "read_zeropoints",
    "scale_photometry",
    "scale_smooth_spectrum",
    "template_fluxes",
]
