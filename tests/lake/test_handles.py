"""Tables that stay open show what others have committed since, and nothing of a lake that is gone."""

import shutil
from pathlib import Path

from skymere.lake import Lake, NamedTile, Run
from skymere.wcs import Grid


def new_lake(path: Path) -> Lake:
    return Lake.create(path, tiles=[NamedTile("field", Grid.tangent(150.0, 2.0, scale_arcsec=0.1, shape=(8, 8)))])


def begin(lake: Lake, value: int) -> Run:
    return lake.run(stage="outliers", tile="field", product="mask", inputs=[], params={"value": value})


def publish(lake: Lake, value: int) -> str:
    with begin(lake, value) as run:
        run.publish(run.frame([{"exposure_id": "a", "status": "ok", "message": "", "band": "f160w"}]))
    return run.id


def test_a_run_sees_what_another_has_published_since_its_table_was_opened(tmp_path: Path) -> None:
    lake, other = new_lake(tmp_path / "lake"), Lake.open(tmp_path / "lake")
    first = publish(lake, 1)
    with begin(other, 2) as run:
        assert run.live == first
    second = publish(other, 2)
    with begin(lake, 2) as run:
        assert (run.live, run.already) == (second, True)


def test_a_lake_that_was_made_anew_in_the_same_folder_knows_nothing_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "lake"
    for _ in range(3):
        lake = new_lake(path)
        with begin(lake, 1) as run:
            assert (run.live, run.already) == (None, False)
        first = publish(lake, 1)
        with begin(lake, 1) as run:
            assert run.live == first
        shutil.rmtree(path)
