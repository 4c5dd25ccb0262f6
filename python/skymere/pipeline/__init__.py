"""From exposures to a released lake: plan, stages and the runner that joins them."""

from skymere.pipeline.attempts import Record
from skymere.pipeline.band_images import (
    BandImage,
    BandRegions,
    image_to_measure,
    read_band_image,
    read_band_table,
    regions_beside,
)
from skymere.pipeline.costs import CostModel, fit_costs, read_costs
from skymere.pipeline.demo import DemoReport, run_demo
from skymere.pipeline.estimate import CostEstimate, estimate_plan
from skymere.pipeline.events import Event
from skymere.pipeline.exposure_groups import exposure_groups
from skymere.pipeline.gates import check_gates, gates_of
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
from skymere.pipeline.plan_check import PlanFault, check_plan
from skymere.pipeline.plan_explain import PlanExplanation, explain_plan
from skymere.pipeline.plan_template import PLAN_KINDS, plan_template, write_plan_template
from skymere.pipeline.process_memory import tree_memory
from skymere.pipeline.proposals import PROPOSED_ROLES, Proposal, propose_regions
from skymere.pipeline.refitting import attempts_of, refit_source, undo_refits
from skymere.pipeline.run_settings import RunPlan
from skymere.pipeline.runner import RunReport, StageReport, run_plan
from skymere.pipeline.slit_combining import combine_slits
from skymere.pipeline.slit_plan import RedshiftsPlan, SlitCombinePlan, SlitFitPlan, SlitGroupPlan, SlitsPlan
from skymere.pipeline.status import files_to_take_in, run_status, unfinished
from skymere.pipeline.thumbnails import lake_exposures, lake_sizes, lake_thumbnails

__all__ = [
    "PLAN_KINDS",
    "PROPOSED_ROLES",
    "BandImage",
    "BandRegions",
    "BeamsPlan",
    "ContamPlan",
    "CostEstimate",
    "CostModel",
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
    "PlanExplanation",
    "PlanFault",
    "Proposal",
    "Record",
    "RedshiftsPlan",
    "RunPlan",
    "RunReport",
    "SlitCombinePlan",
    "SlitFitPlan",
    "SlitGroupPlan",
    "SlitsPlan",
    "StageReport",
    "attempts_of",
    "beam_paths",
    "check_gates",
    "check_plan",
    "combine_slits",
    "draw_object",
    "estimate_plan",
    "explain_plan",
    "exposure_groups",
    "files_to_take_in",
    "fit_beams",
    "fit_costs",
    "fit_sets",
    "fit_settings",
    "gates_of",
    "image_to_measure",
    "inject",
    "lake_exposures",
    "lake_sizes",
    "lake_thumbnails",
    "map_beams",
    "map_exposures",
    "object_of_file",
    "object_of_lake",
    "plan_template",
    "plot_beams",
    "plot_object",
    "propose_regions",
    "read_band_image",
    "read_band_table",
    "read_costs",
    "read_plan",
    "refit_source",
    "regions_beside",
    "run_demo",
    "run_plan",
    "run_status",
    "store_beams",
    "tree_memory",
    "undo_refits",
    "unfinished",
    "write_plan_template",
    "write_products",
]
