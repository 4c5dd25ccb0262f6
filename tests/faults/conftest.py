import importlib.util
import sys
from pathlib import Path

import pytest

SURVEY = Path(__file__).parents[1] / "lake" / "survey.py"


@pytest.fixture(scope="session")
def survey():
    """The module that makes a small survey; its file is also a program."""
    if "survey" not in sys.modules:
        spec = importlib.util.spec_from_file_location("survey", SURVEY)
        sys.modules["survey"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["survey"])
    return sys.modules["survey"]


@pytest.fixture(scope="session")
def states(survey, tmp_path_factory):
    """Copies of one lake before each product of a second version, and the content hash after all of them."""
    import shutil

    folder = tmp_path_factory.mktemp("states")
    lake = survey.create(folder / "lake")
    survey.publish_all(lake, 1, tiles=survey.TILES[:1])
    found = {}
    for product in survey.PRODUCTS:
        shutil.copytree(lake.path, folder / product)
        found[product] = folder / product
        survey.publish(lake, product, version=2)
    return found, lake.content_hash()
