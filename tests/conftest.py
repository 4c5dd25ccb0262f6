"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data and reference results; the test is skipped where it is absent."""
    path = Path(os.environ.get("SKYMERE_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real data are not in {path}; name their folder in SKYMERE_DATA")
    return path
