import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from skymere.lake import migrations, schemas

SCHEMAS = Path(schemas.__file__).parents[1] / "_schemas"


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


@pytest.fixture
def ship(tmp_path_factory):
    """``ship({name: text})``: from now on skymere has these schema files besides its own, as another release would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "_REGISTERED", {})

        def release(more):
            folder = tmp_path_factory.mktemp("schemas")
            for path in SCHEMAS.iterdir():
                shutil.copy(path, folder)
            for name, text in more.items():
                (folder / name).write_text(text)
            patch.setattr(schemas, "_folder", lambda: folder)
            forget()
            return folder

        yield release
    forget()


def forget():
    schemas._released.cache_clear()
    schemas.load_schema.cache_clear()
