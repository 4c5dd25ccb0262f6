"""The real beams and their configurations; tests are skipped where they are absent."""

import json
from pathlib import Path

import pytest

from skymere.grism import GRIZLI_BEAMS, MultiBeam, read_beams, read_config


@pytest.fixture(scope="session")
def folder(shared_data: Path) -> Path:
    return shared_data / "spectra"


@pytest.fixture(scope="session")
def conf(folder: Path) -> Path:
    return folder / "grizli" / "CONF"


@pytest.fixture(scope="session")
def g141(conf: Path):
    return read_config(conf / "G141.F140W.V4.32.conf")


@pytest.fixture(scope="session")
def ers_path(folder: Path) -> Path:
    return folder / "wfc3" / "j033216m2743_00152.beams.fits"


@pytest.fixture(scope="session")
def ers(ers_path: Path, conf: Path) -> MultiBeam:
    return read_beams(ers_path, conf_path=conf, params=GRIZLI_BEAMS)


@pytest.fixture(scope="session")
def summary(folder: Path):
    return json.loads((folder / "reference" / "grizli" / "ers_summary.json").read_text())
