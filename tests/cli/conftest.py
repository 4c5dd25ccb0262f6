"""Commands called in this process, and a lake to call them on."""

import importlib.util
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skymere.lake import Lake


@pytest.fixture(scope="session")
def survey():
    """The module of tests/lake that makes a small survey."""
    if "survey" not in sys.modules:
        spec = importlib.util.spec_from_file_location("survey", Path(__file__).parents[1] / "lake" / "survey.py")
        sys.modules["survey"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["survey"])
    return sys.modules["survey"]


@pytest.fixture(scope="session")
def full(survey, tmp_path_factory) -> Lake:
    """A lake with two publications of every product and two releases, for reading only."""
    made = survey.create(tmp_path_factory.mktemp("full") / "lake")
    survey.publish_all(made)
    made.release("DR1")
    survey.publish_all(made, 2)
    made.release("DR2")
    return made


@pytest.fixture
def call(monkeypatch):
    """Call ``skymere`` with arguments; the result has exit_code, stdout and stderr."""
    from skymere.cli import _print, app

    # The console keeps the stream that it began with; undoing `width` would leave it the screen's width of now for good.
    monkeypatch.setattr(_print.console, "_width", 200)

    def call(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return call
