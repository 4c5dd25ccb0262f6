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
from skymere.pipeline.plan import Plan, read_plan
from skymere.pipeline.proposals import PROPOSED_ROLES, Proposal, propose_regions
from skymere.pipeline.refitting import attempts_of, refit_source, undo_refits
from skymere.pipeline.runner import RunReport, StageReport, run_plan
from skymere.pipeline.slit_combining import combine_slits
from skymere.pipeline.slit_plan import SlitCombinePlan, SlitFitPlan, SlitGroupPlan, SlitsPlan
from skymere.pipeline.thumbnails import lake_exposures, lake_thumbnails

__all__ = [
    "PROPOSED_ROLES",
    "BandImage",
    "BandRegions",
    "DemoReport",
    "Event",
    "Plan",
    "Proposal",
    "RunReport",
    "SlitCombinePlan",
    "SlitFitPlan",
    "SlitGroupPlan",
    "SlitsPlan",
    "StageReport",
    "attempts_of",
    "combine_slits",
    "image_to_measure",
    "lake_exposures",
    "lake_thumbnails",
    "propose_regions",
    "read_band_image",
    "read_band_table",
    "read_plan",
    "refit_source",
    "regions_beside",
    "run_demo",
    "run_plan",
    "undo_refits",
]
