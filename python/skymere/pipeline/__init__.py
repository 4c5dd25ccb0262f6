"""From exposures to a released lake: plan, stages and the runner that joins them."""

from skymere.pipeline.demo import DemoReport, run_demo
from skymere.pipeline.events import Event
from skymere.pipeline.plan import Plan, read_plan
from skymere.pipeline.runner import RunReport, StageReport, run_plan

__all__ = ["DemoReport", "Event", "Plan", "RunReport", "StageReport", "read_plan", "run_demo", "run_plan"]
