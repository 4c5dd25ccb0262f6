"""Slitless spectra: configurations of grisms, beams and their models, contamination of whole frames."""

from skymere.datamodels import Beam, GrismConfig, GrismOrder
from skymere.grism.beam import BeamModel, ColumnOperator
from skymere.grism.catalogue import catalogue_lines, catalogue_wide, redshift_cdf, write_row
from skymere.grism.contamination import contamination_model
from skymere.grism.extract import GRIZLI_EXTRACTION, ExtractParams, extract_images, oned_spectrum
from skymere.grism.forward import Component, ComponentFit, fit_components, forward_images, forward_spectrum
from skymere.grism.full import RedshiftCurve, redshift_row, write_full
from skymere.grism.line_maps import GRIZLI_LINE_MAPS, LineMapParams, line_maps
from skymere.grism.model_spectra import FittedModel, ModelSpectra, TemplateFactors, as_model
from skymere.grism.multibeam import MultiBeam
from skymere.grism.on_sky import drizzle_direct, drizzle_segmentation
from skymere.grism.params import GRIZLI_CONTAMINATION, BeamParams, ContaminationParams
from skymere.grism.plots import plot_summary
from skymere.grism.reading import read_beams
from skymere.grism.stacks import GRIZLI_STACKS, StackParams, drizzle_stacks
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
    "GRIZLI_LINE_MAPS",
    "GRIZLI_STACKS",
    "Beam",
    "BeamModel",
    "BeamParams",
    "ColumnOperator",
    "Component",
    "ComponentFit",
    "ContaminationParams",
    "ExtractParams",
    "FittedModel",
    "FullFile",
    "GrismConfig",
    "GrismOrder",
    "LineMapParams",
    "ModelSpectra",
    "MultiBeam",
    "RedshiftCurve",
    "StackParams",
    "TemplateFactors",
    "as_model",
    "catalogue_lines",
    "catalogue_wide",
    "contamination_model",
    "drizzle_direct",
    "drizzle_segmentation",
    "drizzle_stacks",
    "extract_images",
    "fit_components",
    "forward_images",
    "forward_spectrum",
    "line_maps",
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
