"""Slitless spectra: configurations of grisms, beams and their models, contamination of whole frames."""

from skymere.datamodels import Beam, GrismConfig, GrismOrder
from skymere.grism.beam import BeamModel, ColumnOperator
from skymere.grism.breaks import BreakStrength, fit_break
from skymere.grism.contamination import contamination_model
from skymere.grism.fit_params import GRIZLI_LINES, GRIZLI_REDSHIFT, FitParams
from skymere.grism.lines import fit_lines, line_deviations, line_table
from skymere.grism.multibeam import MultiBeam
from skymere.grism.orientations import drop_bad_angles
from skymere.grism.params import GRIZLI_CONTAMINATION, BeamParams, ContaminationParams
from skymere.grism.photometry import PhotometryInput
from skymere.grism.reading import read_beams
from skymere.grism.redshift import RedshiftFit, fit_redshift
from skymere.grism.template_fit import TemplateFit, fit_templates
from skymere.io import read_beam_file, read_config, write_beam_file

__all__ = [
    "GRIZLI_CONTAMINATION",
    "GRIZLI_LINES",
    "GRIZLI_REDSHIFT",
    "Beam",
    "BeamModel",
    "BeamParams",
    "BreakStrength",
    "ColumnOperator",
    "ContaminationParams",
    "FitParams",
    "GrismConfig",
    "GrismOrder",
    "MultiBeam",
    "PhotometryInput",
    "RedshiftFit",
    "TemplateFit",
    "contamination_model",
    "drop_bad_angles",
    "fit_break",
    "fit_lines",
    "fit_redshift",
    "fit_templates",
    "line_deviations",
    "line_table",
    "read_beam_file",
    "read_beams",
    "read_config",
    "write_beam_file",
]
