"""A survey with everything in it, killed at a random moment and resumed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import runs
import simulated_survey

from skymere.lake import Lake


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The survey, run without a disturbance; not to be changed."""
    folder = tmp_path_factory.mktemp("small") / "survey"
    simulated_survey.simulate(folder, simulated_survey.SMALL)
    runs.run(folder)
    return folder


def test_the_survey_has_two_tiles_and_every_product(finished: Path) -> None:
    lake = Lake.open(finished / "lake")
    assert len(lake.live_runs("mosaic")) == 2
    filled = {name for name in lake.names() if lake.table(name).collect().height}
    assert filled >= simulated_survey.PRODUCTS


def test_a_survey_killed_at_a_random_moment_and_resumed_is_that_of_a_run_without_a_kill(
    finished: Path, tmp_path: Path
) -> None:
    folder = runs.copy_of(finished, tmp_path / "killed")
    ((n_tasks, delay),) = runs.random_moments(runs.n_done(finished), 1, seed=8)
    runs.kill_after(folder, n_tasks, delay)
    lake, whole = runs.run(folder), Lake.open(finished / "lake")
    runs.expect_whole(lake, whole)
    runs.expect_same(lake, whole)


@pytest.mark.faults
@pytest.mark.parametrize("size", ["6m", "12m"])
def test_a_run_that_fills_its_disk_says_so_and_goes_on_when_there_is_room(
    finished: Path, tmp_path: Path, size: str
) -> None:
    folder, small = runs.copy_of(finished, tmp_path / "survey"), tmp_path / "disk"
    with runs.disk(small, size):
        (folder / "lake").symlink_to(small / "lake")
        process = runs.start(folder, runs.PROCESSES)
        _, errors = process.communicate(timeout=runs.PATIENCE)
        assert process.returncode == 1, errors.decode()
        assert "No space left" in errors.decode() + (folder / "events.jsonl").read_text()
        assert [str(one) for one in Lake.open(small / "lake").fsck(hashes=True)] == []
        runs.enlarge(small, "1g")
        lake, whole = runs.run(folder), Lake.open(finished / "lake")
        runs.expect_whole(lake, whole)
        runs.expect_same(lake, whole)
