"""The log of a table is kept for ever, and stays quick to read (releases pin old versions)."""

import os
import time

import polars as pl
import pytest
from deltalake import DeltaTable

from skymere.lake import Lake
from skymere.lake.layout import TableFile
from skymere.lake.tables import Replacement, Table

N_COMMITS = 210


def commit(table, survey, n):
    """Publish version ``n`` of a tile's notes as `Run.publish` does, without what lies beside them."""
    tile, run = ("east", "west")[n % 2], f"{n:016x}"
    file = TableFile("", tile, run, f"{n:08x}")
    rows = survey.rows_of("note", 1).with_columns(tile=pl.lit(tile), run_id=pl.lit(run), comment=pl.lit(str(n)))
    columns = table.schema.expand()
    written = table.write(rows.select(column.name for column in columns), columns, file, empty_at=0)
    assert table.replace([Replacement(file, written, table.sequence(tile))]) == ["published"]


def date_back(log, days):
    then = time.time() - days * 86400
    for path in log.iterdir():
        os.utime(path, (then, then))


@pytest.fixture(scope="module")
def long(survey, tmp_path_factory):
    """A lake with many commits to one table, releases in between, and a log that is 60 days old all the time."""
    lake = survey.create(tmp_path_factory.mktemp("long") / "lake")
    table = Table(lake._layout, "note")
    log = table.dataset / "_delta_log"
    expected = {}
    for n in range(N_COMMITS):
        commit(table, survey, n)
        if n in (3, 97, 150, 205):
            lake.release(f"R{n}")
            expected[f"R{n}"] = lake.table("note").sort("tile").collect()
        date_back(log, 60)
    return lake, log, expected


def test_every_release_opens_after_checkpoints_over_an_old_log(long, survey):
    lake, log, expected = long
    DeltaTable(log.parent).create_checkpoint()
    commit(Table(lake._layout, "note"), survey, N_COMMITS)
    for name, rows in expected.items():
        assert Lake.open(lake.path, name).table("note").sort("tile").collect().equals(rows)
        assert rows["comment"].cast(int).max() == int(name[1:])


def test_no_version_is_ever_lost(long):
    lake, log, _ = long
    newest = lake.history("note")[0]["version"]
    assert newest >= N_COMMITS
    assert {int(path.stem) for path in log.glob("*.json") if path.stem.isdigit()} == set(range(newest + 1))
    for version in range(1, newest + 1, 7):
        seen = lake.table("note", version=version).collect()
        assert seen["comment"].cast(int).max() == version - 1
        assert seen.height == min(version, 2)
    assert len(lake.history("note")) == newest + 1


def test_a_checkpoint_is_made_every_100_commits(long):
    _, log, _ = long
    versions = {int(path.name.split(".")[0]) for path in log.glob("*.checkpoint.parquet")}
    assert {99, 199} <= versions
    assert len(versions) <= 3
    assert DeltaTable(log.parent).metadata().configuration["delta.enableExpiredLogCleanup"] == "false"
