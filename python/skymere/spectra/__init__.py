"""Spectra in one dimension: redshifts, continua and emission lines of combined spectra."""

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
from skymere.spectra.redshift import fit_lines, fit_redshift
from skymere.spectra.results import RedshiftFit
from skymere.spectra.template_set import LineList, TemplateSet
from skymere.spectra.templates import LineComplex, SplineContinuum, TabulatedTemplate, Template

__all__ = [
    "COMPLEXES",
    "DEFAULT_LINES",
    "LINES",
    "MSAEXP_PARAMS",
    "IgmTransmission",
    "LineComplex",
    "LineList",
    "RedshiftFit",
    "RedshiftParams",
    "SplineContinuum",
    "TabulatedTemplate",
    "Template",
    "TemplateSet",
    "find_line",
    "fit_lines",
    "fit_redshift",
    "grating_templates",
    "msaexp_prism_templates",
    "prism_templates",
]
