"""Products of many tiles that become visible together, and what happens when one of them cannot."""

import contextlib
import json
import pickle
import shutil

import numpy as np
import polars as pl
import pytest

from skymere.errors import ConflictError, InvalidInputError, StorageError
from skymere.lake import Lake, Pending

TILES = [f"t{k}" for k in range(6)]


def row(run, n=1):
    return run.frame([{"status": "ok", "n_sources": n, "n_pixels": 64, "ny": 8, "nx": 8}])


def work(lake, tile, *, n=1, product="segmentation", defer=True, **more):
    return lake.run(stage="detect", tile=tile, product=product, inputs=[], params={"n": n}, defer=defer, **more)


def make(lake, tile, *, n=1, items=None, **more):
    """What a worker hands over for a tile."""
    with work(lake, tile, n=n, **more) as run:
        run.write("label", np.full((8, 8), n, np.int32))
        run.publish(row(run, n), items=items)
    return run.pendings


def make_both(lake, tile, *, n=1, **more):
    """A task with two products: a mask that its segmentation follows."""
    with work(lake, tile, n=n, **more) as run:
        with run.beside("mask") as its:
            if not its.already:
                publish_mask(its, n)
        run.write("label", np.full((8, 8), n, np.int32))
        run.publish(row(run, n))
    return run.pendings


def publish_mask(run, n):
    run.write(f"{run.tile}/mask", np.full((8, 8), n, np.uint32))
    one = {"exposure_id": run.tile, "status": "ok", "n_cosmic_rays": n}
    return run.publish(run.frame([one]))


def items_of(survey, *names):
    return survey.frame("run_item", [survey.empty_row("run_item", item=name, status="ok") for name in names]).drop(
        "stage"
    )


def entries(lake, product):
    return [entry for entry in lake.history(product) if entry["run"]]


def test_nothing_is_visible_before_the_commit_and_everything_after_it(lake, survey):
    pendings = [one for tile in TILES for one in make(lake, tile, items=items_of(survey, "x", "y"))]
    assert lake.versions() == {}
    assert lake.commit(pendings) == ["published"] * 6
    assert lake.table("segmentation").collect()["tile"].sort().to_list() == TILES
    assert lake.table("run").collect()["tile"].sort().to_list() == TILES
    assert lake.table("run_item").collect().height == 12
    # One entry for each table, whatever the number of tiles.
    assert [len(entries(lake, name)) for name in ("segmentation", "run", "run_item")] == [1, 1, 1]
    assert lake.fsck(hashes=True) == []


def test_a_batch_says_what_single_commits_say(lake, survey, tmp_path):
    other = survey.create(tmp_path / "other")
    for tile in TILES:
        make(other, tile, items=items_of(survey, "x"), defer=False)
    lake.commit([one for tile in TILES for one in make(lake, tile, items=items_of(survey, "x"))])
    assert lake.content_hash() == other.content_hash()
    assert lake.live_runs("segmentation") == other.live_runs("segmentation")


def test_what_waits_can_be_pickled_and_written_as_text(lake):
    (one,) = make(lake, "t0")
    assert pickle.loads(pickle.dumps(one)) == one == Pending.from_json(one.to_json())
    assert Lake.open(lake.path).commit([pickle.loads(pickle.dumps(one))]) == ["published"]


def test_handing_in_the_same_twice_publishes_once(lake):
    pendings = [one for tile in TILES[:2] for one in make(lake, tile)]
    assert lake.commit([*pendings, *pendings]) == ["published"] * 2 + ["already"] * 2
    assert lake.commit(pendings) == ["already"] * 2
    assert lake.table("run").collect().height == 2
    assert len(entries(lake, "segmentation")) == 1
    assert lake.commit([]) == []


def test_a_conflict_of_one_tile_does_not_stop_the_others(lake):
    pendings = [one for tile in TILES[:3] for one in make(lake, tile)]
    make(lake, "t1", n=2, defer=False)
    first, second, third = lake.commit(pendings)
    assert (first, third) == ("published", "published")
    assert isinstance(second, ConflictError)
    assert "'t1'" in str(second)
    assert lake.table("segmentation").sort("tile").collect()["n_sources"].to_list() == [1, 2, 1]
    assert lake.table("run").filter(tile="t1").collect().height == 1
    assert lake.fsck(hashes=True) == []


def test_of_two_runs_of_a_tile_in_one_batch_the_first_wins(lake):
    pendings = [*make(lake, "t0", n=1), *make(lake, "t0", n=2)]
    first, second = lake.commit(pendings)
    assert first == "published"
    assert isinstance(second, ConflictError)
    assert lake.table("segmentation").collect()["n_sources"].to_list() == [1]


def test_products_of_a_task_are_committed_in_their_order_and_in_one_entry_each(lake, monkeypatch):
    from skymere.lake.tables import Table

    committed = []
    once = Table.commit
    monkeypatch.setattr(Table, "commit", lambda t, *a: committed.append(t.schema.product) or once(t, *a))
    pendings = [one for tile in TILES for one in make_both(lake, tile)]
    assert [one.product for one in pendings[:2]] == ["mask", "segmentation"]
    # A task whose first product is there already hands over the second alone.
    alone = [one for one in make_both(lake, "t9") if one.product == "segmentation"]
    assert lake.commit([*alone, *pendings]) == ["published"] * 13
    assert committed == ["mask", "segmentation", "run"]
    assert lake.fsck(hashes=True) == []


def test_tasks_with_opposite_orders_are_committed_each_in_its_own(lake):
    with work(lake, "other", product="mask") as run:
        with run.beside("segmentation") as its:
            its.write("label", np.ones((8, 8), np.int32))
            its.publish(row(its))
        publish_mask(run, 1)
    assert lake.commit([*make_both(lake, "t0"), *run.pendings]) == ["published"] * 4
    assert lake.table("run").collect().height == 4


def test_a_task_stops_at_its_first_conflict(lake):
    pendings = [*make_both(lake, "t0"), *make_both(lake, "t1")]
    with lake.run(stage="by-hand", tile="t0", product="mask", inputs=[], params={}) as other:
        publish_mask(other, 7)
    answers = lake.commit(pendings)
    assert [isinstance(answer, ConflictError) for answer in answers] == [True, True, False, False]
    assert "not committed, since its task was not whole" in str(answers[1])
    assert lake.live_runs("segmentation").keys() == {"t1"}


def test_vanished_arrays_and_rows_stop_their_task_alone(lake):
    pendings = [one for tile in TILES[:3] for one in make(lake, tile)]
    shutil.rmtree(lake.path / "arrays/segmentation/t0")
    (lake.path / "tables/segmentation/v1/dataset" / pendings[1].rows.files[0].path).unlink()
    answers = lake.commit(pendings)
    assert [type(answer) for answer in answers] == [StorageError, StorageError, str]
    assert "arrays have vanished; run the task again" in str(answers[0])
    assert "rows have vanished" in str(answers[1])
    assert lake.fsck(hashes=True) == []


def test_tiles_of_merged_files_are_replaced_together(lake):
    lake.commit([one for tile in TILES for one in make(lake, tile)])
    assert lake.compact("segmentation").after == 1
    assert lake.compact("run").before == 6
    assert lake.commit([one for tile in TILES[:4] for one in make(lake, tile, n=2)]) == ["published"] * 4
    assert lake.table("segmentation").sort("tile").collect()["n_sources"].to_list() == [2, 2, 2, 2, 1, 1]
    assert lake.table("run").collect().height == 10
    assert lake.fsck(hashes=True) == []


def test_tiles_with_different_bands_share_an_entry(lake, survey):
    for tile in survey.TILES:
        survey.publish(lake, "segmentation", tile)
    pendings = []
    for tile, version in (("east", 1), ("west", 2)):
        bands = survey.BANDS[: 1 + version % 2]
        names, _, _, ra, dec = survey.centres(tile, 1)
        shown = lake.live_run("segmentation", tile)
        with work(lake, tile, product="source") as run:
            rows = [
                survey.empty_row(
                    "source", bands, source_id=int(k) + 100 * version, ra=a, dec=d, label=int(k), segmentation_run=shown
                )
                for k, a, d in zip(names, ra, dec, strict=True)
            ]
            run.publish(survey.frame("source", rows, bands))
        pendings += run.pendings
    assert lake.commit(pendings) == ["published", "published"]
    table = lake.table("source").collect()
    assert table.filter(tile="west")["flux_auto_f140w"].is_null().all()
    assert table.filter(tile="east")["flux_auto_f140w"].is_not_null().all()
    assert lake.fsck(hashes=True) == []


class CrashError(Exception):
    pass


@pytest.mark.parametrize("n_entries", [1, 2, 3])
def test_what_a_crash_leaves_out_of_a_batch_is_mended_for_all_products(lake, survey, monkeypatch, n_entries):
    from skymere.lake.tables import Table

    once, done = Table.commit, []

    def commit(table, *rest):
        if len(done) == n_entries:
            raise CrashError
        done.append(table.schema.product)
        return once(table, *rest)

    pendings = [one for tile in TILES for one in make_both(lake, tile)]
    with monkeypatch.context() as patch:
        patch.setattr(Table, "commit", commit)
        with pytest.raises(CrashError) if n_entries < 3 else contextlib.nullcontext():
            lake.commit(pendings)
    assert done == ["mask", "segmentation", "run"][:n_entries]
    assert {fault.kind for fault in lake.fsck()} == ({"unrecorded"} if n_entries < 3 else set())
    fresh = [one for tile in TILES for one in make_both_unless_there(lake, tile)]
    assert set(lake.commit(fresh)) <= {"published"}
    assert len(fresh) == (6 if n_entries == 1 else 0)
    lake.mend()
    assert lake.fsck(hashes=True) == []
    assert lake.table("run").collect().height == 12


def make_both_unless_there(lake, tile):
    with work(lake, tile) as run:
        if run.already:
            return []
    return make_both(lake, tile)


def test_opening_one_run_mends_all_products_of_its_tile(lake, monkeypatch):
    def crash(layout, done):
        raise CrashError

    from skymere.lake import committing

    pendings = make_both(lake, "t0")
    with monkeypatch.context() as patch:
        patch.setattr(committing, "_record_all", crash)
        with pytest.raises(CrashError):
            lake.commit(pendings)
    assert [fault.kind for fault in lake.fsck()] == ["unrecorded"] * 2
    with work(lake, "t0") as run:
        assert run.already
    assert lake.fsck() == []


def test_the_row_of_a_run_says_what_it_cost(lake, survey):
    with work(lake, "t0", defer=False) as run:
        run.write("label", np.zeros((50, 40), np.int32))
        sum(k * k for k in range(300_000))
        run.publish(row(run), items=items_of(survey, "x", "y", "z"))
    cost = lake.table("run").collect().row(0, named=True)
    folder = lake.arrays("segmentation", "t0").folder
    arrays = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json")
    tables = [
        p
        for name in ("segmentation", "run_item")
        for p in (lake.path / "tables" / name).rglob("*.parquet")
        if "_delta_log" not in str(p)
    ]
    assert cost["bytes_written"] == arrays + sum(p.stat().st_size for p in tables)
    assert (cost["n_items"], cost["n_pixels"], cost["n_rows"]) == (3, 2000, 1)
    assert 0.0 < cost["cpu_seconds"] < 60.0
    assert 20.0 < cost["peak_memory"] < 1e5
    assert cost["bytes_read"] >= 0
    with work(lake, "t1", defer=False) as run:
        run.count(n_items=7, n_pixels=11)
        run.write("label", np.zeros((8, 8), np.int32))
        run.publish(row(run))
    assert lake.table("run").filter(tile="t1").select("n_items", "n_pixels").collect().row(0) == (7, 11)


def test_a_failed_task_is_a_row_until_it_succeeds(lake):
    task = {"stage": "detect", "tile": "t0", "product": "segmentation", "inputs": [], "params": {"n": 1}}
    for text in ("first", "second"):
        lake.record_failure(**task, error=ValueError(text), seconds=1.5, peak_memory=100.0)
    (now,) = lake.failures().iter_rows(named=True)
    assert (now["status"], now["error_class"], now["message"], now["seconds"]) == (
        "failed",
        "ValueError",
        "second",
        1.5,
    )
    rows = lake.table("run_item").sort("recorded").collect()
    assert rows["message"].to_list() == ["first", "second"]
    assert json.loads(rows["detail"][0])["params"] == {"n": 1}
    assert now["run_id"] == make(lake, "t0", defer=False)[0].run
    assert lake.failures().is_empty()
    assert lake.tasks().select("tile", "status").rows() == [("t0", "published")]
    # What happened stays.
    assert lake.table("run_item").collect().height == 2
    assert lake.fsck(hashes=True) == []


def test_a_failure_after_a_success_counts_and_one_of_another_tile_is_its_own(lake):
    make(lake, "t0", defer=False)
    make(lake, "t1", defer=False)
    lake.record_failure(
        stage="detect", tile="t0", product="segmentation", inputs=[], params={"n": 2}, error=MemoryError("no more")
    )
    assert lake.failures().select("tile", "error_class").rows() == [("t0", "MemoryError")]
    # The tile still shows what it had; going back to that is a success without a new row.
    make(lake, "t0", n=3, defer=False)
    assert lake.failures().is_empty()


def test_a_run_that_shows_again_is_no_failure(lake):
    make(lake, "t0", n=1, defer=False)
    make(lake, "t0", n=2, defer=False)
    lake.record_failure(
        stage="detect", tile="t0", product="segmentation", inputs=[], params={"n": 1}, error=OSError("full")
    )
    assert lake.failures().height == 1
    make(lake, "t0", n=1, defer=False)
    assert lake.failures().is_empty()


def test_failures_are_recorded_together_and_are_no_content(lake, survey):
    from skymere.lake import Failure

    make(lake, "t0", items=items_of(survey, "x"), defer=False)
    before = lake.content_hash()
    lake.record_failures(
        [
            Failure(stage="detect", tile=t, product="segmentation", inputs=[], params={}, error_class="E", message="m")
            for t in TILES
        ]
    )
    assert lake.failures().height == 6
    assert len(entries(lake, "run_item")) == 2
    assert lake.content_hash() == before
    assert lake.compact("run_item").after == 1
    assert lake.failures().height == 6
    with pytest.raises(InvalidInputError, match=r"tile: 'a/b'"):
        lake.record_failure(stage="s", tile="a/b", product="mask", inputs=[], params={}, error=ValueError())


def test_outcomes_of_edits_are_read_beside_failures_of_the_same_run(lake):
    from skymere.lake import about_objects, replay_outcomes

    run = make(lake, "t0", defer=False)[0]
    lake.record_failure(
        stage="detect", tile="t0", product="segmentation", inputs=[], params={"n": 1}, error=ValueError("not JSON")
    )
    assert lake.table("run_item").collect()["run_id"].to_list() == [run.run]
    assert replay_outcomes(lake, "t0") == []
    assert about_objects(lake.table("run_item")).collect().is_empty()


def test_the_content_hash_of_a_product_is_its_own(lake, survey):
    survey.publish(lake, "segmentation", "east")
    survey.publish(lake, "mask", "east")
    before = {name: lake.content_hash(name) for name in ("segmentation", "mask")}
    survey.publish(lake, "mask", "east", version=2)
    assert lake.content_hash("segmentation") == before["segmentation"] != lake.content_hash("mask")
    assert lake.content_hash("mask") != before["mask"]


def test_a_lake_at_a_release_takes_no_commits(lake):
    pendings = make(lake, "t0")
    lake.release("DR1")
    with pytest.raises(InvalidInputError, match=r"'DR1'.*only be read"):
        Lake.open(lake.path, "DR1").commit(pendings)


def test_a_batch_is_found_in_the_history_of_each_of_its_runs(lake):
    old = [one for tile in TILES for one in make(lake, tile, n=1)]
    lake.commit(old)
    lake.commit([one for tile in TILES for one in make(lake, tile, n=2)])
    from skymere.lake.history import rows_of_run

    (found,) = rows_of_run(lake, "segmentation", "t3", old[3].run)
    assert found["n_sources"] == 1
    assert pl.Series([len(e["run"].split()) for e in entries(lake, "segmentation")]).to_list() == [6, 6]
