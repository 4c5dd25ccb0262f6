"""From exposures to a released lake: plan, stages and the runner that joins them."""

from skymere.pipeline.band_images import (
    BandImage,
    BandRegions,
    image_to_measure,
    read_band_image,
    read_band_table,
    regions_beside,
)
from skymere.pipeline.demo import DemoReport, run_demo
from skymere.pipeline.events import Event
from skymere.pipeline.grism_fits import FitTemplates, fit_sets
from skymere.pipeline.grism_objects import (
    GrismObject,
    beam_paths,
    draw_object,
    fit_beams,
    map_beams,
    map_exposures,
    object_of_file,
    object_of_lake,
    plot_beams,
    plot_object,
    store_beams,
    write_products,
)
from skymere.pipeline.grism_plan import BeamsPlan, ContamPlan, GrismFitPlan, MapsPlan
from skymere.pipeline.grism_settings import fit_settings
from skymere.pipeline.injection import InjectionResult, InjectParams, inject
from skymere.pipeline.map_psfs import MapPsfs
from skymere.pipeline.plan import Plan, read_plan
from skymere.pipeline.proposals import PROPOSED_ROLES, Proposal, propose_regions
from skymere.pipeline.refitting import attempts_of, refit_source, undo_refits
from skymere.pipeline.runner import RunReport, StageReport, run_plan
from skymere.pipeline.slit_combining import combine_slits
from skymere.pipeline.slit_plan import RedshiftsPlan, SlitCombinePlan, SlitFitPlan, SlitGroupPlan, SlitsPlan
from skymere.pipeline.thumbnails import lake_exposures, lake_sizes, lake_thumbnails

__all__ = [
    "PROPOSED_ROLES",
    "BandImage",
    "BandRegions",
    "BeamsPlan",
    "ContamPlan",
    "DemoReport",
    "Event",
    "FitTemplates",
    "GrismFitPlan",
    "GrismObject",
    "InjectParams",
    "InjectionResult",
    "MapPsfs",
    "MapsPlan",
    "Plan",
    "Proposal",
    "RedshiftsPlan",
    "RunReport",
    "SlitCombinePlan",
    "SlitFitPlan",
    "SlitGroupPlan",
    "SlitsPlan",
    "StageReport",
    "attempts_of",
    "beam_paths",
    "combine_slits",
    "draw_object",
    "fit_beams",
    "fit_sets",
    "fit_settings",
    "image_to_measure",
    "inject",
    "lake_exposures",
    "lake_sizes",
    "lake_thumbnails",
    "map_beams",
    "map_exposures",
    "object_of_file",
    "object_of_lake",
    "plot_beams",
    "plot_object",
    "propose_regions",
    "read_band_image",
    "read_band_table",
    "read_plan",
    "refit_source",
    "regions_beside",
    "run_demo",
    "run_plan",
    "store_beams",
    "undo_refits",
    "write_products",
]
