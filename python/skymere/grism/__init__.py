"""Slitless spectra: configurations of grisms, beams and their models, contamination of whole frames."""

from skymere.datamodels import Beam, GrismConfig, GrismOrder
from skymere.grism.beam import BeamModel, ColumnOperator
from skymere.grism.contamination import contamination_model
from skymere.grism.multibeam import MultiBeam
from skymere.grism.params import GRIZLI_CONTAMINATION, BeamParams, ContaminationParams
from skymere.grism.reading import read_beams
from skymere.io import read_beam_file, read_config, write_beam_file

__all__ = [
    "GRIZLI_CONTAMINATION",
    "Beam",
    "BeamModel",
    "BeamParams",
    "ColumnOperator",
    "ContaminationParams",
    "GrismConfig",
    "GrismOrder",
    "MultiBeam",
    "contamination_model",
    "read_beam_file",
    "read_beams",
    "read_config",
    "write_beam_file",
]
