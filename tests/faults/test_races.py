"""Several publishers of the same tiles at once."""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

RACER = Path(__file__).with_name("racer.py")
PUBLISHER = Path(__file__).with_name("publisher.py")


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


def publish_together(survey, path, folder, n_processes, n_tiles):
    """Publish tiles from several processes, every fifth tile from two of them; each is there exactly once."""
    lake = survey.create(path)
    tiles = [f"t{k:03d}" for k in range(n_tiles)]
    rng = random.Random(8)
    work = tiles + rng.sample(tiles, n_tiles // 5)
    rng.shuffle(work)
    go = folder / "go"
    command = [sys.executable, "-W", "error", str(PUBLISHER), str(lake.path), str(go)]
    shares = [work[k::n_processes] for k in range(n_processes)]
    publishers = [subprocess.Popen([*command, *share], stdout=subprocess.PIPE, text=True) for share in shares]
    for publisher in publishers:
        assert publisher.stdout.readline() == "ready\n"
    begin = time.perf_counter()
    go.touch()
    lines = [publisher.communicate()[0].splitlines() for publisher in publishers]
    seconds = time.perf_counter() - begin
    assert [publisher.returncode for publisher in publishers] == [0] * n_processes
    answers = Counter(tuple(line.split()) for some in lines for line in some)
    published = Counter(tile for tile, answer in answers.elements() if answer == "published")
    assert published == dict.fromkeys(tiles, 1)
    assert sum(answers.values()) == len(work)
    assert {answer for _, answer in answers} <= {"published", "already", "conflict"}
    assert lake.table("segmentation").collect()["tile"].sort().to_list() == tiles
    assert lake.table("run").collect()["tile"].sort().to_list() == tiles
    for tile in tiles:
        assert (lake.arrays("segmentation", tile)["label"][...] == int(tile[1:]) + 1).all()
    assert lake.fsck(hashes=True) == []
    assert not any(lake.path.glob("arrays/.staging/*"))
    commits = sum(len(lake.history(name)) for name in ("segmentation", "run"))
    print(f"\n{n_processes} processes, {n_tiles} tiles: {commits / seconds:.1f} commits/s")


def test_publishers_with_equal_tiles_lose_none_and_double_none(survey, tmp_path):
    publish_together(survey, tmp_path / "lake", tmp_path, 3, 20)


def test_publishers_in_an_object_store_lose_none_and_double_none(survey, s3, tmp_path):
    publish_together(survey, f"{s3()}/lake", tmp_path, 3, 5)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_eight_processes_publish_two_hundred_tiles_once(survey, tmp_path):
    publish_together(survey, tmp_path / "lake", tmp_path, 8, 200)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_eight_processes_publish_two_hundred_tiles_once_in_an_object_store(survey, s3, tmp_path):
    publish_together(survey, f"{s3()}/lake", tmp_path, 8, 200)
