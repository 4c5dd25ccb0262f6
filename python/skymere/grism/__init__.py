"""Slitless spectra: configurations of grisms, beams and their models, contamination of whole frames."""

from skymere.datamodels import Beam, GrismConfig, GrismOrder
from skymere.grism.beam import BeamModel, ColumnOperator
from skymere.grism.contamination import contamination_model
from skymere.grism.extract import GRIZLI_EXTRACTION, ExtractParams, extract_images, oned_spectrum
from skymere.grism.forward import Component, ComponentFit, fit_components, forward_images, forward_spectrum
from skymere.grism.line_maps import GRIZLI_LINE_MAPS, LineMapParams, line_maps
from skymere.grism.multibeam import MultiBeam
from skymere.grism.on_sky import drizzle_direct, drizzle_segmentation
from skymere.grism.params import GRIZLI_CONTAMINATION, BeamParams, ContaminationParams
from skymere.grism.reading import read_beams
from skymere.grism.stacks import GRIZLI_STACKS, StackParams, drizzle_stacks
from skymere.grism.template_fit import ModelSpectra, TemplateFit
from skymere.io import read_beam_file, read_config, write_beam_file

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
    "GrismConfig",
    "GrismOrder",
    "LineMapParams",
    "ModelSpectra",
    "MultiBeam",
    "StackParams",
    "TemplateFit",
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
    "read_beam_file",
    "read_beams",
    "read_config",
    "write_beam_file",
]
