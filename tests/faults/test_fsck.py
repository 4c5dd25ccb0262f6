"""Damage of every kind is found and named; a lake that is well has none."""

import shutil

import polars as pl
import pytest

from skymere.lake import Lake


@pytest.fixture
def lake(states, tmp_path):
    paths, _ = states
    return Lake.open(shutil.copytree(paths["cutout"], tmp_path / "lake"))


def found(lake, **how):
    return [(fault.kind, fault.path) for fault in lake.fsck(**how)]


def a_file(lake, product):
    file = next(iter(lake.table(product).select(pl.col("tile"), "run_id").collect().iter_rows()))
    return next((lake.path / "tables" / product).rglob(f"{file[0]}.{file[1]}.*.parquet"))


def a_shard(lake, product):
    files = sorted(path for path in lake.arrays(product, "east").folder.rglob("*") if path.is_file())
    return next(path for path in files if path.suffix != ".json")


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_lake_that_is_well_has_no_faults(lake):
    lake.release("DR1")
    assert lake.fsck(hashes=True) == []


def test_a_lost_and_a_cut_table_file_are_found(lake):
    lost, cut = a_file(lake, "source"), a_file(lake, "mosaic")
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:-7])
    assert set(found(lake)) == {("damaged", cut), ("missing", lost)}


def test_a_flipped_bit_is_found_by_its_hash(lake):
    shard = a_shard(lake, "cutout")
    flip(shard, 3)
    assert found(lake) == []
    assert found(lake, hashes=True) == [("damaged", shard)]
    table = a_file(lake, "source")
    flip(table, 200)
    assert ("damaged", table) in found(lake, hashes=True)


def test_lost_strange_and_unsealed_arrays_are_found(lake):
    shard = a_shard(lake, "mosaic")
    shard.unlink()
    strange = lake.arrays("mask", "east").folder / "strange"
    strange.write_bytes(b"")
    unsealed = lake.arrays("segmentation", "east").folder
    (unsealed / "manifest.json").unlink()
    wanted = {("missing", shard), ("damaged", strange), ("missing", unsealed)}
    assert set(found(lake)) == wanted


def test_the_segmentation_of_live_sources_is_looked_for(survey, lake):
    shutil.rmtree(lake.arrays("segmentation", "east", lake.table("source").collect()["segmentation_run"][0]).folder)
    assert [kind for kind, _ in found(lake)] == ["missing"]


def test_what_a_release_pins_is_looked_for(survey, lake):
    lake.release("DR1")
    old = a_file(lake, "segmentation")
    survey.publish(lake, "segmentation", version=5)
    old.unlink()
    assert found(lake) == [("missing", old)]
    shutil.rmtree(lake.path / "tables/mask")
    assert ("missing", lake.path / "releases/DR1.json") in found(lake)


def test_doubled_keys_are_found(lake):
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction

    dataset = lake.path / "tables/source/v1/dataset"
    path = a_file(lake, "source")
    again = path.with_name(path.name.replace(".parquet", "")[:-8] + "00000000.parquet")
    shutil.copy(path, again)
    delta = DeltaTable(dataset)
    rows = lake.table("source").collect().height
    add = AddAction(str(again.relative_to(dataset)), again.stat().st_size, {}, 0, True, f'{{"numRecords": {rows}}}')
    delta.create_write_transaction([add], "append", delta.schema())
    assert found(lake) == [("duplicate", dataset)]


def test_the_commands_list_faults_and_garbage(lake):
    from typer.testing import CliRunner

    from skymere.cli import app

    def run(*words):
        done = CliRunner().invoke(app, ["lake", *words])
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done.exit_code, done.output

    assert run("fsck", str(lake.path), "--hashes") == (0, "nothing is wrong\n")
    code, text = run("gc", str(lake.path))
    assert (code, "0 files and folders, 0.0 MB could be removed" in text) == (0, True)
    assert run("compact", str(lake.path), "run")[0] == 0
    assert lake.fsck() == []
    a_shard(lake, "cutout").unlink()
    code, text = run("fsck", str(lake.path))
    assert (code, "1 faults" in text) == (1, True)
