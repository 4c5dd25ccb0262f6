"""A small lake of which everything can be drawn."""

import importlib.util
import sys
from pathlib import Path

import pytest

from skymere.lake import Lake


@pytest.fixture(scope="session")
def small():
    """The module that makes the lake."""
    name = "lake_of_pictures"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("small_lake.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def lake(small, tmp_path_factory) -> Lake:
    """A lake with everything that pictures show and two releases, for reading only."""
    return small.make(tmp_path_factory.mktemp("pictures") / "lake")


@pytest.fixture(scope="session")
def bare(small, tmp_path_factory) -> Lake:
    """A lake with nothing but an exposure, for reading only."""
    made = small.survey.create(tmp_path_factory.mktemp("bare") / "lake")
    small.survey.publish(made, "exposure", "east")
    return made
