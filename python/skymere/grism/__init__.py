"""Slitless spectra: configurations, beams, contamination, redshifts, lines and maps."""

from skymere.datamodels import Beam, GrismConfig, GrismOrder
from skymere.grism.beam import BeamModel, ColumnOperator
from skymere.grism.breaks import BreakStrength, fit_break
from skymere.grism.catalogue import catalogue_lines, catalogue_wide, redshift_cdf, write_row
from skymere.grism.contamination import contamination_model
from skymere.grism.extract import GRIZLI_EXTRACTION, ExtractParams, extract_images, oned_spectrum
from skymere.grism.fit_params import GRIZLI_LINES, GRIZLI_REDSHIFT, FitParams
from skymere.grism.forward import Component, ComponentFit, fit_components, forward_images, forward_spectrum
from skymere.grism.full import RedshiftCurve, redshift_row, write_full
from skymere.grism.line_maps import GRIZLI_LINE_MAPS, LineMapParams, line_maps
from skymere.grism.lines import fit_lines, line_deviations, line_table
from skymere.grism.model_spectra import FittedModel, ModelSpectra, TemplateFactors, as_model
from skymere.grism.multibeam import MultiBeam
from skymere.grism.on_sky import drizzle_direct, drizzle_segmentation
from skymere.grism.orientations import drop_bad_angles
from skymere.grism.params import GRIZLI_CONTAMINATION, BeamParams, ContaminationParams
from skymere.grism.photometry import PhotometryInput
from skymere.grism.plots import plot_summary
from skymere.grism.reading import read_beams
from skymere.grism.redshift import RedshiftFit, fit_redshift
from skymere.grism.stacks import GRIZLI_STACKS, StackParams, drizzle_stacks
from skymere.grism.template_fit import TemplateFit, fit_templates
from skymere.io import (
    FullFile,
    read_beam_file,
    read_config,
    read_full_file,
    read_grism_spectra,
    read_grism_stacks,
    write_beam_file,
    write_grism_spectra,
    write_grism_stacks,
)

__all__ = [
    "GRIZLI_CONTAMINATION",
    "GRIZLI_EXTRACTION",
    "GRIZLI_LINES",
    "GRIZLI_LINE_MAPS",
    "GRIZLI_REDSHIFT",
    "GRIZLI_STACKS",
    "Beam",
    "BeamModel",
    "BeamParams",
    "BreakStrength",
    "ColumnOperator",
    "Component",
    "ComponentFit",
    "ContaminationParams",
    "ExtractParams",
    "FitParams",
    "FittedModel",
    "FullFile",
    "GrismConfig",
    "GrismOrder",
    "LineMapParams",
    "ModelSpectra",
    "MultiBeam",
    "PhotometryInput",
    "RedshiftCurve",
    "RedshiftFit",
    "StackParams",
    "TemplateFactors",
    "TemplateFit",
    "as_model",
    "catalogue_lines",
    "catalogue_wide",
    "contamination_model",
    "drizzle_direct",
    "drizzle_segmentation",
    "drizzle_stacks",
    "drop_bad_angles",
    "extract_images",
    "fit_break",
    "fit_components",
    "fit_lines",
    "fit_redshift",
    "fit_templates",
    "forward_images",
    "forward_spectrum",
    "line_deviations",
    "line_maps",
    "line_table",
    "oned_spectrum",
    "plot_summary",
    "read_beam_file",
    "read_beams",
    "read_config",
    "read_full_file",
    "read_grism_spectra",
    "read_grism_stacks",
    "redshift_cdf",
    "redshift_row",
    "write_beam_file",
    "write_full",
    "write_grism_spectra",
    "write_grism_stacks",
    "write_row",
]
