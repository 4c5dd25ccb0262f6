import json
import os
import time

import pytest
from deltalake import DeltaTable

from skymere.errors import ConflictError, InvalidInputError, NotFoundError
from skymere.lake import EVENTS, Lake, run_id


def test_a_product_is_published_once(lake, survey):
    assert survey.publish(lake, "segmentation") == "published"
    before = lake.content_hash()
    assert survey.publish(lake, "segmentation") == "already"
    assert lake.content_hash() == before
    assert lake.table("run").collect().height == 1


def test_every_step_is_reported_in_order(lake, survey):
    seen = []
    survey.publish(lake, "segmentation", on_event=seen.append)
    assert tuple(seen) == EVENTS


def test_equal_work_has_an_equal_id_and_other_work_another():
    work = {"stage": "s", "tile": "t", "inputs": [{"uri": "a"}], "params": {"a": 1, "b": 2}, "code_version": "1"}
    assert run_id(**work) == run_id(**work | {"params": {"b": 2, "a": 1}})
    others = [{"stage": "x"}, {"tile": "x"}, {"inputs": []}, {"params": {"a": 1}}, {"code_version": "2"}]
    assert len({run_id(**work | other) for other in others} | {run_id(**work)}) == 6


def test_publishing_replaces_the_rows_of_its_tile_only(lake, survey):
    survey.publish(lake, "segmentation", "east", 1)
    survey.publish(lake, "segmentation", "west", 1)
    west = lake.live_run("segmentation", "west")
    survey.publish(lake, "segmentation", "east", 2)
    rows = lake.table("segmentation").collect()
    assert sorted(rows["tile"]) == ["east", "west"]
    assert lake.live_run("segmentation", "west") == west
    assert rows.filter(tile="east")["run_id"].item() == lake.live_run("segmentation", "east")


def test_old_versions_stay_readable_with_their_arrays(lake, survey):
    survey.publish(lake, "segmentation", version=1)
    version = lake.history("segmentation")[0]["version"]
    survey.publish(lake, "segmentation", version=2)
    (old,) = lake.table("segmentation", version=version).collect()["run_id"]
    assert old != lake.live_run("segmentation", "east")
    assert (lake.arrays("segmentation", "east", old)["label"][...] == survey.labels("east", 1)).all()
    assert [entry["run"] for entry in lake.history("segmentation")][:2] == [lake.live_run("segmentation", "east"), old]
    with pytest.raises(NotFoundError, match=r"no version 99, the newest is 2"):
        lake.table("segmentation", version=99)


def test_a_table_without_rows_is_published_too(lake, survey):
    survey.publish(lake, "segmentation")
    survey.publish(lake, "source")
    empty = lake.table("source").collect().clear().drop("tile", "run_id", "_healpix_29")
    work = {"stage": "s", "tile": "east", "product": "source", "inputs": [], "params": {}}
    with lake.run(**work) as run:
        assert run.publish(empty) == "published"
    assert lake.table("source").collect().is_empty()
    with lake.run(**work) as run:
        assert run.already


def test_two_runs_on_one_tile_conflict(lake, survey):
    def work(n):
        return lake.run(stage="s", tile="east", product="segmentation", inputs=[], params={"n": n})

    row = survey.frame("segmentation", [survey.empty_row("segmentation")])
    with work(1) as first, work(2) as second:
        for run in (first, second):
            run.write("label", survey.labels("east", 1))
        assert first.publish(row) == "published"
        with pytest.raises(ConflictError, match=r"'east'.*run the task again"):
            second.publish(row)
    assert lake.live_run("segmentation", "east") == first.id
    with work(2) as again:
        assert again.sealed
        assert again.publish(row) == "published"
    assert lake.live_run("segmentation", "east") == again.id


def test_two_attempts_of_one_run_publish_once(lake, survey):
    def work():
        return lake.run(stage="s", tile="east", product="segmentation", inputs=[], params={})

    row = survey.frame("segmentation", [survey.empty_row("segmentation")])
    with work() as first, work() as second:
        for run in (first, second):
            run.write("label", survey.labels("east", 1))
        assert [first.publish(row), second.publish(row)] == ["published", "already"]
    assert lake.table("segmentation").collect().height == 1
    assert lake.table("run").collect().height == 1
    assert not any((lake.path / "arrays/.staging").iterdir())


def test_a_lost_row_of_the_run_is_repaired_with_what_came_beside_it(lake, survey):
    class CrashError(Exception):
        pass

    def crash(step):
        if step == "committed":
            raise CrashError

    with pytest.raises(CrashError):
        survey.publish(lake, "mask", on_event=crash)
    assert lake.table("mask").collect().height == 1
    assert lake.table("run").collect().is_empty()
    assert survey.publish(lake, "mask") == "already"
    (run,) = lake.table("run").collect().iter_rows(named=True)
    assert run["run_id"] == lake.live_run("mask", "east")
    assert lake.table("run_item").collect()["item"].to_list() == ["east-exp"]


def test_the_row_of_a_run_says_what_went_in(lake, survey):
    survey.publish(lake, "segmentation")
    survey.publish(lake, "source")
    row = lake.table("run").filter(stage="make-source").collect().row(0, named=True)
    assert json.loads(row["inputs"]) == [{"uri": "segmentation/east", "run": lake.live_run("segmentation", "east")}]
    assert json.loads(row["params"]) == {"version": 1}
    assert row["product"] == "source"
    assert row["schema"] == "source/1.1.0"


def test_a_failed_stage_leaves_nothing_behind(lake, survey):
    def fail():
        with lake.run(stage="s", tile="east", product="segmentation", inputs=[], params={}) as run:
            run.write("label", survey.labels("east", 1))
            return 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not any((lake.path / "arrays/.staging").iterdir())
    assert lake.table("segmentation").collect().is_empty()


def test_a_release_never_changes(lake, survey):
    survey.publish_all(lake, 1)
    lake.release("DR1")
    before = lake.content_hash()
    survey.publish_all(lake, 2)
    pinned = Lake.open(lake.path, "DR1")
    assert pinned.content_hash() == before != lake.content_hash()
    assert pinned.table("source").collect().height == 18
    assert lake.table("source").collect().height == 16
    assert lake.releases() == ["DR1"]
    with pytest.raises(ConflictError, match="'DR1' exists already"):
        lake.release("DR1")
    with pytest.raises(InvalidInputError, match=r"'DR1'.*only be read"):
        pinned.run(stage="s", tile="east", product="source", inputs=[], params={})
    with pytest.raises(NotFoundError, match=r"'DR9'.*\['DR1'\]"):
        Lake.open(lake.path, "DR9")


def test_products_newer_than_a_release_are_empty_in_it(lake, survey):
    survey.publish(lake, "mask")
    lake.release("early")
    survey.publish(lake, "segmentation")
    assert Lake.open(lake.path, "early").table("segmentation").collect().is_empty()


def test_the_log_never_trims_itself(lake, survey):
    survey.publish(lake, "segmentation", version=1)
    lake.release("DR1")
    before = Lake.open(lake.path, "DR1").table("segmentation").collect()
    old = time.time() - 60 * 86400
    for path in (lake.path / "tables").rglob("_delta_log/*"):
        os.utime(path, (old, old))
    DeltaTable(lake.path / "tables/segmentation/v1/dataset").create_checkpoint()
    for version in (2, 3):
        survey.publish(lake, "segmentation", version=version)
    DeltaTable(lake.path / "tables/segmentation/v1/dataset").create_checkpoint()
    assert Lake.open(lake.path, "DR1").table("segmentation").collect().equals(before)


def test_the_content_hash_forgets_runs_and_times_but_no_value(survey, tmp_path):
    lakes = [survey.create(tmp_path / name) for name in "abc"]
    for lake in lakes[:2]:
        survey.publish_all(lake, 1)
    assert lakes[0].content_hash() == lakes[1].content_hash()
    survey.publish_all(lakes[2], 2)
    assert lakes[2].content_hash() != lakes[0].content_hash()


def test_files_are_skipped_by_their_statistics(lake, survey):
    survey.publish(lake, "segmentation", "east")
    survey.publish(lake, "segmentation", "west")
    survey.publish(lake, "source", "east")
    survey.publish(lake, "source", "west")
    plan = lake.table("source").filter(tile="east").explain()
    assert "east." in plan
    assert "west." not in plan
