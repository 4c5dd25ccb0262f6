"""A lake in an object store says and does what one on a disk does."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from skymere.errors import ConflictError, FormatError, InvalidInputError, NotFoundError, StorageError
from skymere.lake import Lake, examine


@pytest.fixture(scope="module")
def remote(survey, s3):
    """The full survey in an object store."""
    lake = survey.create(f"{s3()}/surveys/one")
    survey.publish_all(lake)
    return lake


def test_content_is_that_of_a_lake_on_a_disk(remote, full):
    assert remote.content_hash() == full.content_hash()
    again = Lake.open(Path(str(remote.path)))
    assert again.path == remote.path
    assert again.tiles.to_json() == full.tiles.to_json()
    assert again.fsck(hashes=True) == []
    assert again.gc().n_bytes == 0


def test_stamps_in_any_order_are_those_of_a_lake_on_a_disk(remote, full):
    for lake in (remote, full):
        assert lake.table("cutout").collect().height == 18
    ids = np.random.default_rng(1).permutation(full.table("cutout").collect()["source_id"].to_numpy())
    asked = {"bands": ["f125w", "f140w"], "planes": ["sci", "wht", "seg"], "size_pix": 96}
    here, there = full.cutouts(ids, **asked), remote.cutouts(ids, **asked)
    for key in here.data:
        assert here[key].tobytes() == there[key].tobytes()
    assert there.grid(3, "f140w").cards() == here.grid(3, "f140w").cards()


def test_windows_read_what_zarr_reads(remote):
    group = remote.arrays("mosaic", "east")
    theirs = group.zarr["f140w/sci"]
    assert group["f140w/sci"][3:50, 100:120].tobytes() == theirs[3:50, 100:120].tobytes()
    assert group["f140w/sci"][...].tobytes() == theirs[...].tobytes()


def test_a_query_of_the_sky_reads_the_store(remote, full):
    place = full.table("source").collect().row(4, named=True)
    found = remote.cone("source", place["ra"], place["dec"], radius_arcsec=5.0).collect()
    wanted = full.cone("source", place["ra"], place["dec"], radius_arcsec=5.0).collect()
    assert found["source_id"].sort().to_list() == wanted["source_id"].sort().to_list() != []


def test_versions_releases_and_compaction_work_in_the_store(survey, s3):
    lake = survey.create(f"{s3()}/lake")
    for product in ("exposure", "segmentation"):
        survey.publish(lake, product)
    lake.release("DR1")
    with pytest.raises(ConflictError, match="DR1"):
        lake.release("DR1")
    before = lake.content_hash()
    assert survey.publish(lake, "exposure") == "already"
    survey.publish(lake, "segmentation", version=2)
    assert lake.compact("run").after == 1
    pinned = Lake.open(str(lake.path), "DR1")
    assert pinned.content_hash() == before != lake.content_hash()
    assert lake.table("run").collect().height == 3
    assert lake.fsck(hashes=True) == []


def test_garbage_is_removed_and_what_is_needed_stays(survey, s3):
    lake = survey.create(f"{s3()}/lake")
    for version in (1, 2):
        survey.publish(lake, "segmentation", "east", version)
    stray = lake.arrays("segmentation", "east").folder.parent / "0123456789abcdef/label/zarr.json"
    stray.put(b"left by an attempt that was killed")
    assert lake.fsck() == []
    before = lake.content_hash()
    removed = lake.gc(dry_run=False, grace_days=1e-9)
    # The objects have times in whole seconds.
    assert (len(removed.groups), len(removed.files)) == (1, 1)
    assert removed.staging == (stray.parent.parent,)
    assert not removed.groups[0].exists()
    assert not stray.exists()
    assert lake.content_hash() == before
    assert lake.fsck(hashes=True) == []
    assert survey.publish(lake, "segmentation", "east", 1) == "published"


def test_a_manifest_that_was_written_unnoticed_keeps_its_arrays(survey, s3, monkeypatch):
    from skymere.lake import stores

    lake = survey.create(f"{s3()}/lake")
    once = stores.ObjectPath.put_if_absent

    def twice(place, content):
        """Lose the first answer, as a network may, and ask again."""
        once(place, content)
        once(place, content)

    with monkeypatch.context() as patch:
        patch.setattr(
            stores.ObjectPath, "put_if_absent", lambda p, c: (twice if p.name == "manifest.json" else once)(p, c)
        )
        assert survey.publish(lake, "segmentation") == "published"
    assert lake.arrays("segmentation", "east")["label"][...].any()
    assert lake.fsck(hashes=True) == []


def test_a_sealed_group_is_taken_up_again(survey, s3):
    lake = survey.create(f"{s3()}/lake")

    def stop(step):
        if step == "sealed":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        survey.publish(lake, "segmentation", on_event=stop)
    group = next(iter(lake.path.glob("arrays/segmentation/east/*")))
    sealed = json.loads((group / "manifest.json").read_bytes())
    assert survey.publish(lake, "segmentation") == "published"
    taken_up = json.loads((group / "manifest.json").read_bytes())
    assert taken_up.pop("renewed")
    assert taken_up == sealed
    assert len(list(group.iterdir())) == 2


def test_damage_in_the_store_is_found_and_named(survey, s3):
    lake = survey.create(f"{s3()}/lake")
    survey.publish(lake, "segmentation")
    group = lake.arrays("segmentation", "east")
    shard = group.folder / "label/c/0/0"
    whole = shard.read_bytes()
    shard.put(whole[:100])
    assert [fault.path for fault in lake.fsck()] == [shard]
    with pytest.raises(FormatError, match="label/c/0/0"):
        lake.arrays("segmentation", "east")["label"][...]
    shard.put(bytes([whole[0] ^ 1]) + whole[1:])
    assert lake.fsck() == []
    assert [fault.kind for fault in lake.fsck(hashes=True)] == ["damaged"]
    shard.unlink()
    assert [fault.kind for fault in lake.fsck()] == ["missing"]


def test_places_that_are_not_lakes_are_refused(survey, s3):
    bucket = s3()
    with pytest.raises(NotFoundError, match="nothing"):
        Lake.open(f"{bucket}/nothing")
    foreign = survey.create(f"{bucket}/lake").path.parent / "foreign" / "object"
    foreign.put(b"1")
    with pytest.raises(FormatError, match="not a lake"):
        Lake.open(f"{bucket}/foreign")
    with pytest.raises(InvalidInputError, match="not an empty folder"):
        survey.create(f"{bucket}/foreign")
    with pytest.raises(ConflictError, match="lake already"):
        survey.create(f"{bucket}/lake")
    with pytest.raises(InvalidInputError, match="gs://bucket/lake"):
        Lake.open("gs://bucket/lake")
    with pytest.raises(StorageError, match="nowhere"):
        Lake.open("s3://nowhere/lake")


def test_options_reach_the_store_and_the_tables(survey, s3, monkeypatch):
    import os

    path = survey.create(f"{s3()}/lake").path
    survey.publish(Lake.open(str(path)), "segmentation")
    options = {"aws_endpoint_url": os.environ["AWS_ENDPOINT_URL"], "aws_allow_http": "true"}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    lake = Lake.open(str(path), storage_options=options)
    assert lake.table("segmentation").select(pl.len()).collect().item() == 1
    assert lake.arrays("segmentation", "east")["label"][...].any()
    survey.publish(lake, "segmentation", version=2)
    assert lake.fsck(hashes=True) == []
    with pytest.raises(InvalidInputError, match=r"storage_options: 'region'.*aws_"):
        Lake.open(str(path), storage_options={"region": "x"})


def test_a_store_without_put_if_absent_is_refused(survey, s3, monkeypatch):
    from skymere.lake import stores

    path = survey.create(f"{s3()}/lake").path
    monkeypatch.setattr(stores.ObjectPath, "put_if_absent", stores.ObjectPath.put)
    with pytest.raises(StorageError, match="no put-if-absent"):
        Lake.open(str(path))


def test_exports_and_the_doctor_read_the_store(remote, full, tmp_path):
    out = remote.export_hats("source", tmp_path / "hats", margin_arcsec=5.0)
    wanted = full.export_hats("source", tmp_path / "local", margin_arcsec=5.0)
    rows = [
        pl.concat(pl.read_parquet(path, hive_partitioning=False) for path in sorted(folder.rglob("Npix=*/*.parquet")))
        for folder in (out, wanted)
    ]
    assert rows[0].height == rows[1].height > 0
    assert rows[0]["source_id"].sort().equals(rows[1]["source_id"].sort())
    asked = "select source_id from source order by source_id"
    assert remote.sql(asked).collect().equals(full.sql(asked).collect())
    assert [finding for finding in examine(str(remote.path)) if finding.state == "broken"] == []


@pytest.fixture
def unneeded(survey, s3):
    """A lake whose version 1 nothing needs, and the group of that version."""
    lake = survey.create(f"{s3()}/lake")
    survey.publish(lake, "segmentation", "east", 1)
    group = lake.arrays("segmentation", "east").folder.parent
    survey.publish(lake, "segmentation", "east", 2)
    return lake, group


def beside_the_collection(monkeypatch, before, action):
    """Do something once, just before the collection writes (``put_if_same``) or removes (``unlink``) a manifest."""
    from skymere.lake import stores

    once, todo = getattr(stores.ObjectPath, before), [action]

    def call(place, *args, **more):
        if place.name == "manifest.json" and todo:
            todo.pop()()
        return once(place, *args, **more)

    monkeypatch.setattr(stores.ObjectPath, before, call)


def test_arrays_that_a_run_takes_up_while_they_are_collected_stay(survey, unneeded, monkeypatch):
    lake, group = unneeded
    outcomes = []
    beside_the_collection(
        monkeypatch, "put_if_same", lambda: outcomes.append(survey.publish(lake, "segmentation", "east", 1))
    )
    assert lake.gc(dry_run=False, grace_days=1e-9).groups == ()
    assert outcomes == ["published"]
    assert lake.arrays("segmentation", "east").folder.parent == group
    assert lake.fsck(hashes=True) == []


def test_a_run_does_not_rely_on_arrays_that_are_being_removed(survey, unneeded, monkeypatch):
    lake, group = unneeded

    def publish():
        with pytest.raises(ConflictError, match="being removed by the garbage collection; run the task again"):
            survey.publish(lake, "segmentation", "east", 1)

    beside_the_collection(monkeypatch, "unlink", publish)
    assert lake.gc(dry_run=False, grace_days=1e-9).groups == (group,)
    assert survey.publish(lake, "segmentation", "east", 1) == "published"
    assert lake.fsck(hashes=True) == []


def test_arrays_whose_collection_was_killed_are_written_anew(survey, unneeded, monkeypatch):
    lake, group = unneeded

    def kill():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        beside_the_collection(patch, "unlink", kill)
        with pytest.raises(KeyboardInterrupt):
            lake.gc(dry_run=False, grace_days=1e-9)
    with pytest.raises(NotFoundError, match="no sealed group"):
        lake.arrays("segmentation", "east", group.stem)
    assert lake.gc(dry_run=False, grace_days=1e-9).groups == (group,)
    assert not group.exists()
    assert survey.publish(lake, "segmentation", "east", 1) == "published"
    assert lake.fsck(hashes=True) == []
