"""From exposures to a released lake: plan, stages and the runner that joins them."""

from skymere.pipeline.demo import DemoReport, run_demo
from skymere.pipeline.events import Event
from skymere.pipeline.plan import Plan, read_plan
from skymere.pipeline.proposals import PROPOSED_ROLES, Proposal, propose_regions
from skymere.pipeline.runner import RunReport, StageReport, run_plan

__all__ = [
    "PROPOSED_ROLES",
    "DemoReport",
    "Event",
    "Plan",
    "Proposal",
    "RunReport",
    "StageReport",
    "propose_regions",
    "read_plan",
    "run_demo",
    "run_plan",
]
