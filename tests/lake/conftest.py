import importlib.util
import sys
from pathlib import Path

import pytest


def load_survey():
    if "survey" not in sys.modules:
        spec = importlib.util.spec_from_file_location("survey", Path(__file__).with_name("survey.py"))
        sys.modules["survey"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["survey"])
    return sys.modules["survey"]


@pytest.fixture(scope="session")
def survey():
    """The module that makes a small survey."""
    return load_survey()


@pytest.fixture
def lake(survey, tmp_path):
    """An empty lake of two tiles."""
    return survey.create(tmp_path / "lake")


@pytest.fixture(scope="session")
def full(survey, tmp_path_factory):
    """A lake with every product of both tiles, for reading only."""
    made = survey.create(tmp_path_factory.mktemp("full") / "lake")
    survey.publish_all(made)
    return made
