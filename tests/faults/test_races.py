"""Several publishers of the same tiles at once."""

import subprocess
import sys
from pathlib import Path

RACER = Path(__file__).with_name("racer.py")


def race(lake, versions, go):
    command = [sys.executable, "-W", "error", str(RACER), str(lake.path)]
    racers = [subprocess.Popen([*command, str(v), str(go)], stdout=subprocess.PIPE, text=True) for v in versions]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    go.touch()
    outcomes = [racer.communicate()[0].split() for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * len(racers)
    return [dict(zip(words[::2], words[1::2], strict=True)) for words in outcomes]


def test_equal_publishers_publish_each_tile_once(survey, tmp_path):
    lake = survey.create(tmp_path / "lake")
    outcomes = race(lake, [1, 1, 1], tmp_path / "go")
    for tile in survey.TILES:
        assert sorted(outcome[tile] for outcome in outcomes) == ["already", "already", "published"]
    assert lake.table("segmentation").collect()["tile"].sort().to_list() == ["east", "west"]
    assert lake.table("run").collect().height == 2
    assert not any((lake.path / "arrays/.staging").iterdir())


def test_different_publishers_leave_one_run_on_each_tile(survey, tmp_path):
    lake = survey.create(tmp_path / "lake")
    outcomes = race(lake, [1, 2, 3], tmp_path / "go")
    rows = lake.table("segmentation").collect()
    assert rows["tile"].sort().to_list() == ["east", "west"]
    published = [(tile, o[tile]) for o in outcomes for tile in o]
    assert {what for _, what in published} <= {"published", "conflict"}
    # Every acknowledged publication is in the history, whether or not a later one replaced it.
    runs = {entry["run"] for entry in lake.history("segmentation") if entry["run"]}
    assert len(runs) == sum(what == "published" for _, what in published)
    for tile, run in lake.live_runs("segmentation").items():
        assert run in runs
        assert lake.arrays("segmentation", tile)["label"][...].any()
