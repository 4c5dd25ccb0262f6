"""Gates hold products of tiles; what is held waits, whole and unseen, for somebody who accepts it."""

import dataclasses
import shutil

import numpy as np
import polars as pl
import pytest

from skymere.errors import ConflictError, InvalidInputError, NotFoundError, StorageError
from skymere.lake import Gate, Lake, examine

SHALLOW = Gate(product="mosaic", hold="n_exposures < 2 or status != 'ok'", reason="too shallow")
BRIGHT = Gate(product="mosaic", hold="exptime > 100", reason="too bright")


def work(lake, tile="t0", *, version=1, gates=(SHALLOW,), product="mosaic", **more):
    params = {"version": version}
    return lake.run(
        stage="mosaic", tile=tile, product=product, inputs=[], params=params, defer=True, gates=gates, **more
    )


def make(lake, tile="t0", *, depth=(1, 4), version=1, gates=(SHALLOW,), survey):
    """A mosaic of two bands, of so many exposures; what is to be committed, or why nothing was done."""
    with work(lake, tile, version=version, gates=gates) as run:
        if run.already or run.held:
            return run.held or "already"
        rows = []
        for band, n in zip(survey.BANDS, depth, strict=True):
            run.write(f"{band}/sci", np.full((8, 8), version, np.float32), unit="s")
            rows.append(survey.empty_row("mosaic", band=band, status="ok", n_exposures=n, exptime=10.0 * n))
        run.publish(survey.frame("mosaic", rows))
    return run.pendings


def make_both(lake, tile="t0", *, depth=1, gates=(SHALLOW,), survey, version=1):
    """A task whose segmentation comes before its mosaic."""
    with work(lake, tile, version=version, gates=gates) as run:
        if run.already or run.held:
            return run.held or "already"
        with run.beside("segmentation") as its:
            its.write("label", np.full((8, 8), version, np.int32))
            its.publish(its.frame([{"status": "ok", "n_sources": version, "n_pixels": 64, "ny": 8, "nx": 8}]))
        run.write("f140w/sci", np.ones((8, 8), np.float32), unit="s")
        run.publish(survey.frame("mosaic", [survey.empty_row("mosaic", band="f140w", status="ok", n_exposures=depth)]))
    return run.pendings


def test_a_product_with_a_row_that_matches_is_held_with_the_reason_and_the_row(lake, survey):
    pendings = make(lake, survey=survey)
    assert lake.commit(pendings) == ["held"]
    assert lake.table("mosaic").collect().is_empty()
    assert lake.table("run").collect().is_empty()
    (held,) = lake.held().iter_rows(named=True)
    assert (held["stage"], held["tile"], held["product"], held["run_id"]) == ("mosaic", "t0", "mosaic", pendings[0].run)
    assert held["message"] == ("too shallow: n_exposures < 2 or status != 'ok': 1 of 2 rows (band f125w)")
    (row,) = lake.table("run_item").collect().iter_rows(named=True)
    assert (row["status"], row["message"]) == ("held", held["message"])
    assert lake.fsck(hashes=True) == []
    assert not [finding for finding in examine(lake.path) if "published no rows" in finding.message]


def test_a_product_that_passes_is_published(lake, survey):
    assert lake.commit(make(lake, depth=(2, 4), survey=survey)) == ["published"]
    assert lake.held().is_empty()
    # A gate of another product looks at nothing here.
    other = Gate(product="source", hold="flags > 0", reason="flagged")
    assert lake.commit(make(lake, "t1", gates=(other,), survey=survey)) == ["published"]


def test_some_tiles_of_a_batch_are_held_and_the_others_published(lake, survey):
    pendings = [
        one
        for tile, depth in (("a", 1), ("b", 2), ("c", 1))
        for one in make(lake, tile, depth=(depth, 4), survey=survey)
    ]
    assert lake.commit(pendings) == ["held", "published", "held"]
    assert lake.live_runs("mosaic").keys() == {"b"}
    assert lake.held()["tile"].to_list() == ["a", "c"]
    assert lake.tasks().select("tile", "status").rows() == [("a", "held"), ("b", "published"), ("c", "held")]


def test_exactly_the_bytes_that_were_held_are_accepted(lake, survey):
    pendings = make(lake, survey=survey)
    lake.commit(pendings)
    folder = lake.path / "arrays/mosaic/t0" / f"{pendings[0].run}.zarr"
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    dataset = lake.path / "tables/mosaic/v1/dataset"
    rows = (dataset / pendings[0].rows.files[0].path).read_bytes()
    assert Lake.open(lake.path).accept(pendings[0].run[:8]) == ["published"]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files
    assert lake.live_run("mosaic", "t0") == pendings[0].run
    (live,) = [path for path in dataset.rglob("t0.*.parquet") if "_delta_log" not in str(path)]
    assert live.read_bytes() == rows
    assert lake.held().is_empty()
    assert lake.tasks()["status"].to_list() == ["published"]
    assert lake.table("run").collect()["run_id"].to_list() == [pendings[0].run]
    assert make(lake, survey=survey) == "already"
    assert lake.fsck(hashes=True) == []


def test_an_accepted_lake_has_the_content_of_one_without_gates(lake, survey, tmp_path):
    other = survey.create(tmp_path / "other")
    other.commit(make(other, gates=(), survey=survey))
    lake.commit(make(lake, survey=survey))
    assert lake.content_hash() != other.content_hash()
    lake.accept(lake.held()["run_id"][0])
    assert lake.content_hash() == other.content_hash()


def test_what_is_held_is_not_made_again_until_its_gate_or_its_inputs_change(lake, survey):
    lake.commit(make(lake, survey=survey))
    assert make(lake, survey=survey).startswith("too shallow")
    reworded = Gate(product="mosaic", hold=SHALLOW.hold, reason="look at it")
    assert make(lake, gates=(reworded,), survey=survey).startswith("too shallow")
    assert lake.table("run_item").collect().height == 1
    # Another input is another run, another gate another look.
    assert lake.commit(make(lake, version=2, survey=survey)) == ["held"]
    assert lake.commit(make(lake, gates=(SHALLOW, BRIGHT), survey=survey)) == ["held"]
    assert lake.commit(make(lake, gates=(BRIGHT,), survey=survey)) == ["published"]
    assert lake.held().is_empty()
    assert lake.fsck(hashes=True) == []


def test_the_newest_of_two_held_runs_counts_and_the_older_one_is_garbage(lake, survey):
    first, second = make(lake, survey=survey), make(lake, version=2, survey=survey)
    assert lake.commit(first) == ["held"]
    assert lake.commit(second) == ["held"]
    assert lake.held()["run_id"].to_list() == [second[0].run]
    with pytest.raises(NotFoundError, match=f"run '{first[0].run}'.*held is {second[0].run} "):
        lake.accept(first[0].run)
    removed = lake.gc(dry_run=False, grace_days=1e-9)
    assert [group.stem for group in removed.groups] == [first[0].run]
    assert lake.accept(second[0].run) == ["published"]
    assert lake.fsck(hashes=True) == []


def test_garbage_collection_keeps_what_is_held_with_everything_beside_it(lake, survey):
    pendings = make_both(lake, survey=survey)
    lake.commit(pendings)
    before = sorted(path for path in lake.path.rglob("*") if path.is_file())
    assert lake.gc(dry_run=False, grace_days=1e-9).n_bytes == 0
    assert sorted(path for path in lake.path.rglob("*") if path.is_file()) == before
    assert lake.accept(pendings[1].run) == ["published", "published"]
    assert lake.table("run").collect().height == 2
    assert lake.fsck(hashes=True) == []


def test_all_products_of_a_task_are_held_and_accepted_together(lake, survey):
    pendings = make_both(lake, survey=survey)
    assert [one.product for one in pendings] == ["segmentation", "mosaic"]
    assert lake.commit(pendings) == ["held", "held"]
    assert lake.live_runs("segmentation") == {}
    assert lake.held()["product"].to_list() == ["mosaic", "segmentation"]
    assert set(lake.held()["message"]) == {"too shallow: n_exposures < 2 or status != 'ok': 1 of 1 rows (band f140w)"}
    assert make_both(lake, survey=survey).startswith("too shallow")
    # Either run names the task.
    assert lake.accept(pendings[0].run) == ["published", "published"]
    assert lake.live_runs("segmentation").keys() == lake.live_runs("mosaic").keys() == {"t0"}


def test_a_gate_of_the_first_product_holds_the_second(lake, survey):
    gate = Gate(product="segmentation", hold="n_sources < 5", reason="empty")
    assert lake.commit(make_both(lake, gates=(gate,), survey=survey)) == ["held", "held"]
    assert make_both(lake, gates=(gate,), survey=survey).startswith("empty: n_sources < 5: 1 of 1 rows")
    assert set(lake.held()["product"]) == {"mosaic", "segmentation"}


def test_what_was_published_meanwhile_forbids_to_accept(lake, survey):
    pendings = make(lake, survey=survey)
    other = make(lake, version=2, gates=(), survey=survey)
    lake.commit(pendings)
    assert lake.commit(other) == ["published"]
    with pytest.raises(NotFoundError, match="held is nothing"):
        lake.accept(pendings[0].run)
    (answer,) = lake.commit([dataclasses.replace(pendings[0], hold="")])
    assert isinstance(answer, ConflictError)
    assert "published by another run meanwhile" in str(answer)
    # The tile has got further: it is made anew.
    assert isinstance(make(lake, survey=survey), list)
    assert lake.live_run("mosaic", "t0") == other[0].run


def test_a_held_product_leaves_the_older_one_in_place(lake, survey):
    lake.commit(make(lake, depth=(3, 3), survey=survey))
    before = lake.live_run("mosaic", "t0")
    assert lake.commit(make(lake, version=2, survey=survey)) == ["held"]
    assert lake.live_run("mosaic", "t0") == before
    assert lake.arrays("mosaic", "t0")["f140w/sci"][0, 0] == 1.0
    lake.accept(lake.held()["run_id"][0])
    assert lake.arrays("mosaic", "t0")["f140w/sci"][0, 0] == 2.0


@pytest.mark.parametrize("what", ["arrays", "rows"])
def test_what_has_vanished_is_found_and_not_accepted(lake, survey, what):
    (one,) = make(lake, survey=survey)
    lake.commit([one])
    if what == "arrays":
        gone = lake.path / "arrays/mosaic/t0" / f"{one.run}.zarr"
        shutil.rmtree(gone)
    else:
        gone = lake.path / "tables/mosaic/v1/dataset" / one.rows.files[0].path
        gone.unlink()
    assert [(fault.kind, fault.path) for fault in lake.fsck()] == [("missing", gone)]
    with pytest.raises(StorageError, match="vanished"):
        lake.accept(one.run)
    assert lake.table("mosaic").collect().is_empty()
    if what == "rows":
        assert lake.commit(make(lake, gates=(BRIGHT,), survey=survey)) == ["published"]


def test_damage_of_what_is_held_is_found(lake, survey):
    (one,) = make(lake, survey=survey)
    lake.commit([one])
    path = lake.path / "tables/mosaic/v1/dataset" / one.rows.files[0].path
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert lake.fsck() == []
    assert [fault.path for fault in lake.fsck(hashes=True)] == [path]


def test_a_missing_value_and_a_missing_band_do_not_match(lake, survey):
    gate = Gate(product="source", hold="flux_auto_f999w > 1 or flux_auto_f140w < -1e9", reason="never")
    survey.publish(lake, "segmentation")
    rows = survey.rows_of("source")
    with lake.run(stage="s", tile="east", product="source", inputs=[], params={}, defer=True, gates=[gate]) as run:
        run.publish(rows)
    assert run.pendings[0].hold == ""
    hit = Gate(product="source", hold="flux_auto_f999w is null", reason="no band")
    with lake.run(stage="s", tile="east", product="source", inputs=[], params={"n": 2}, defer=True, gates=[hit]) as run:
        run.publish(rows)
    assert "3 of 3 rows (source_id 0; source_id 1; source_id 2)" in run.pendings[0].hold


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ({"product": "mosaics"}, "product: 'mosaics' is not allowed, it must be one of .*mosaic"),
        ({"product": "run"}, "product: 'run' is not allowed"),
        (
            {"hold": "n_exposure < 2"},
            "gate of 'mosaic', hold = 'n_exposure < 2': column 'n_exposure' is not .*n_exposures",
        ),
        ({"hold": "status > 3"}, r"gate of 'mosaic'.*status \(text\) with 3 \(number\)"),
        ({"hold": "n_exposures <"}, "gate of 'mosaic'.*there must be a column, a number or a text"),
        ({"reason": " "}, "reason: ' ' is not allowed"),
    ],
)
def test_gates_that_cannot_be_are_refused(gate, message):
    with pytest.raises(InvalidInputError, match=message):
        Gate(**{"product": "mosaic", "hold": "n_exposures < 2", "reason": "too shallow"} | gate)


def test_gates_need_a_deferred_commit(lake):
    with pytest.raises(InvalidInputError, match="gates: they are not allowed without defer=True"):
        lake.run(stage="s", tile="t", product="mosaic", inputs=[], params={}, gates=[SHALLOW])


def test_a_failure_of_a_task_that_is_held_is_told_and_a_second_look_mends_it(lake, survey):
    lake.commit(make(lake, survey=survey))
    lake.record_failure(
        stage="mosaic", tile="t0", product="mosaic", inputs=[], params={"version": 1}, error=OSError("disk full")
    )
    assert lake.tasks().select("status", "error_class").rows() == [("failed", "OSError")]
    lake.commit(make(lake, gates=(), survey=survey))
    assert lake.tasks()["status"].to_list() == ["published"]
    assert lake.table("run_item").select(pl.len()).collect().item() == 2


def test_what_is_held_in_an_object_store_is_accepted_there(survey, s3):
    lake = survey.create(f"{s3()}/lake")
    pendings = [one for tile in ("a", "b") for one in make_both(lake, tile, survey=survey)]
    pendings += make_both(lake, "c", depth=5, survey=survey)
    assert lake.commit(pendings) == ["held"] * 4 + ["published"] * 2
    assert lake.fsck(hashes=True) == []
    assert lake.accept(pendings[0].run) == ["published", "published"]
    assert lake.live_runs("segmentation").keys() == {"a", "c"}
    assert lake.table("run").collect().height == 4
    assert lake.held()["tile"].unique().to_list() == ["b"]
    assert lake.fsck(hashes=True) == []
