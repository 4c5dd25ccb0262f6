"""What nobody needs is found and removed, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from skymere.errors import InvalidInputError
from skymere.lake import Lake

RACER = Path(__file__).with_name("racer.py")


def date_back(lake, days):
    """Make everything in a lake older, as the disk and the logs say."""
    shift = days * 86400
    for path in lake.path.rglob("*"):
        if path.parent.name == "_delta_log" and path.suffix == ".json":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            for line in lines:
                if "commitInfo" in line:
                    line["commitInfo"]["timestamp"] -= int(shift * 1000)
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for path in lake.path.rglob("*"):
        stat = path.stat()
        os.utime(path, (stat.st_atime - shift, stat.st_mtime - shift))


@pytest.fixture(scope="session")
def aged(survey, tmp_path_factory):
    """Version 1 is thirty days old, version 2 twenty: nothing needs version 1 any more."""
    lake = survey.create(tmp_path_factory.mktemp("aged") / "lake")
    survey.publish_all(lake, 1)
    date_back(lake, 10)
    survey.publish_all(lake, 2)
    date_back(lake, 20)
    return lake.path


@pytest.fixture
def two_versions(aged, tmp_path):
    return Lake.open(shutil.copytree(aged, tmp_path / "lake"))


def test_old_versions_are_garbage_unless_a_release_pins_them(survey, two_versions):
    before = two_versions.content_hash()
    found = two_versions.gc()
    assert not found.removed
    with_arrays = [p for p in survey.PRODUCTS if p != "source"]
    assert len(found.groups) == 2 * len(with_arrays)
    assert len(found.files) == 2 * len(survey.PRODUCTS)
    assert found.n_bytes == sum(p.stat().st_size for g in found.groups for p in g.rglob("*") if p.is_file()) + sum(
        p.stat().st_size for p in found.files
    )
    assert all(path.exists() for path in (*found.groups, *found.files))
    removed = two_versions.gc(dry_run=False)
    assert (removed.groups, removed.files, removed.removed) == (found.groups, found.files, True)
    assert not any(path.exists() for path in (*found.groups, *found.files))
    assert two_versions.content_hash() == before
    assert two_versions.fsck(hashes=True) == []
    assert two_versions.gc().n_bytes == 0


def test_what_a_release_pins_is_kept(survey, tmp_path):
    lake = survey.create(tmp_path / "lake")
    survey.publish_all(lake, 1, tiles=["east"])
    lake.release("DR1")
    before = lake.content_hash()
    for version in (2, 3):
        date_back(lake, 10)
        survey.publish_all(lake, version, tiles=["east"])
    date_back(lake, 20)
    found = lake.gc(dry_run=False)
    assert len(found.files) == len(survey.PRODUCTS)
    assert Lake.open(lake.path, "DR1").content_hash() == before
    assert lake.fsck(hashes=True) == []


def test_what_was_live_during_the_grace_is_kept(survey, tmp_path):
    lake = survey.create(tmp_path / "lake")
    survey.publish_all(lake, 1, tiles=["east"])
    date_back(lake, 30)
    survey.publish_all(lake, 2, tiles=["east"])
    assert lake.gc().n_bytes == 0
    date_back(lake, 8)
    assert len(lake.gc().files) == len(survey.PRODUCTS)


def test_the_segmentation_that_live_sources_name_is_kept(survey, two_versions):
    for tile in survey.TILES:
        survey.publish(two_versions, "segmentation", tile, version=3)
    date_back(two_versions, 20)
    named = two_versions.table("source").select("tile", "segmentation_run").unique().collect()
    assert not set(named["segmentation_run"]) & set(two_versions.live_runs("segmentation").values())
    two_versions.gc(dry_run=False)
    for tile, run in named.iter_rows():
        assert two_versions.arrays("segmentation", tile, run)["label"][...].any()
    assert len(list((two_versions.path / "arrays/segmentation").glob("*/*.zarr"))) == 4


def test_files_of_a_commit_that_a_crash_left_out_are_kept(survey, tmp_path):
    lake = survey.create(tmp_path / "lake")

    class CrashError(Exception):
        pass

    def crash(step):
        if step == "committed":
            raise CrashError

    with pytest.raises(CrashError):
        survey.publish(lake, "segmentation", "east", on_event=crash)
    with pytest.raises(CrashError):
        survey.publish(lake, "mask", "east", on_event=lambda step: crash("committed" if step == "sealed" else step))
    date_back(lake, 20)
    assert [(fault.kind, "segmentation" in str(fault.path)) for fault in lake.fsck()] == [("unrecorded", True)]
    found = lake.gc(dry_run=False)
    assert [group.parts[-3] for group in found.groups] == ["mask"]
    assert found.files == ()
    assert survey.publish(lake, "segmentation", "east") == "already"
    assert lake.table("run").collect().height == 1
    assert lake.fsck() == []


def test_arrays_that_a_run_takes_up_again_stay(survey, two_versions):
    group = two_versions.gc().groups[0]
    product, tile, run = group.parts[-3], group.parts[-2], group.stem
    row = two_versions.table("run").filter(pl.col("run_id") == run).collect().row(0, named=True)
    work = {"stage": row["stage"], "tile": tile, "product": product}
    inputs, params = json.loads(row["inputs"]), json.loads(row["params"])
    with two_versions.run(**work, inputs=inputs, params=params) as again:
        assert (again.id, again.sealed) == (run, True)
        assert group not in two_versions.gc(dry_run=False).groups
        assert again.sealed


def test_what_is_left_of_attempts_is_removed_when_it_is_old(survey, two_versions):
    left = two_versions.path / "arrays/.staging/0123"
    left.mkdir(parents=True)
    (left / "c").write_bytes(b"12345")
    assert left not in two_versions.gc().staging
    date_back(two_versions, 8)
    assert left in two_versions.gc(dry_run=False).staging
    assert not left.exists()


def test_a_grace_that_is_not_positive_is_refused(two_versions):
    with pytest.raises(InvalidInputError, match=r"grace_days: 0.*positive"):
        two_versions.gc(grace_days=0)


def collect_beside_publishers(survey, path, go, grace_seconds):
    """Publishers of new versions, a reader of the release, and a collector with a grace of a few seconds."""
    lake = survey.create(path)
    survey.publish_all(lake, 1)
    lake.release("DR1")
    released = Lake.open(lake.path, "DR1")
    wanted = released.content_hash()
    command = [sys.executable, "-W", "error", str(RACER), str(lake.path)]
    racers = [subprocess.Popen([*command, v, str(go)], stdout=subprocess.PIPE, text=True) for v in ("2-4", "5-7")]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    go.touch()
    removed = 0
    grace = grace_seconds / 86400
    while any(racer.poll() is None for racer in racers):
        removed += len(lake.gc(dry_run=False, grace_days=grace).groups)
        assert released.content_hash() == wanted
        assert [fault for fault in lake.fsck() if fault.kind != "unrecorded"] == []
    for racer in racers:
        racer.communicate()
        assert racer.returncode == 0
    time.sleep(grace_seconds + 1.1)
    removed += len(lake.gc(dry_run=False, grace_days=grace).groups)
    assert removed > 0
    assert lake.fsck(hashes=True) == []
    assert released.content_hash() == wanted


def test_collecting_beside_publishers_and_readers_of_a_release_is_safe(survey, tmp_path):
    collect_beside_publishers(survey, tmp_path / "lake", tmp_path / "go", 2.0)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_collecting_in_an_object_store_beside_publishers_and_readers_is_safe(survey, s3, tmp_path):
    collect_beside_publishers(survey, f"{s3()}/lake", tmp_path / "go", 10.0)
