"""Fake sources through the pipeline: what is found, and how right it is."""

from skymere.pipeline.injection.experiment import inject
from skymere.pipeline.injection.of_lake import plan_of
from skymere.pipeline.injection.params import STRETCHES, InjectParams, Stretch
from skymere.pipeline.injection.result import InjectionResult

__all__ = ["STRETCHES", "InjectParams", "InjectionResult", "Stretch", "inject", "plan_of"]
