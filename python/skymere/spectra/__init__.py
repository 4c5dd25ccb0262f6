"""Spectra in one dimension: redshifts, continua and emission lines of combined spectra."""

from skymere.spectra.line_list import LINES, find_line, grating_templates, msaexp_prism_templates, prism_templates
from skymere.spectra.params import MSAEXP_PARAMS, RedshiftParams
from skymere.spectra.redshift import fit_lines, fit_redshift
from skymere.spectra.results import RedshiftFit
from skymere.spectra.templates import LineComplex, SplineContinuum, TabulatedTemplate, Template

__all__ = [
    "LINES",
    "MSAEXP_PARAMS",
    "LineComplex",
    "RedshiftFit",
    "RedshiftParams",
    "SplineContinuum",
    "TabulatedTemplate",
    "Template",
    "find_line",
    "fit_lines",
    "fit_redshift",
    "grating_templates",
    "msaexp_prism_templates",
    "prism_templates",
]
