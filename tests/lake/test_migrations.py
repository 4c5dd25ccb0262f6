"""Lakes that outlive the schemas they were made with: minor versions both ways, major ones by migration (S2)."""

import shutil

import polars as pl
import pytest
from astropy.table import Table

from skymere.errors import ConflictError, FormatError, NotFoundError, SchemaError
from skymere.lake import Lake, load_schema, migration
from skymere.lake.tables import Table as LakeTable

V1 = load_schema("source").text


def column(name, datatype="float", *, nullable=True, unit="arcsec"):
    length = "length: 16, " if datatype == "string" else ""
    return (
        f'  - {{name: "{name}", "@id": "#source.{name}", datatype: {datatype}, {length}nullable: {str(nullable).lower()}, '
        f'ivoa:unit: "{unit}", ivoa:ucd: "meta", description: "Made up"}}\n'
    )


def with_version(text, version):
    return text.replace('current: "1.1.0"', f'current: "{version}"')


def changed(text, old, new):
    assert old in text
    return text.replace(old, new)


# A minor version has more columns, also of each band.
MORE = column("z_spec", unit="") + column("kind", "string", unit="") + column("colour_{band}", unit="")
MINOR = {"source-1.2.0.yaml": with_version(V1, "1.2.0") + MORE}
# A major one has another name and unit for one of them, a new one without null, and other fluxes.
R_HALF = '{name: r_half, "@id": "#source.r_half", datatype: float, nullable: true, ivoa:unit: "pix"'
R_EFF = '{name: r_eff, "@id": "#source.r_eff", datatype: float, nullable: true, ivoa:unit: "arcsec"'
FLUX = '{name: "flux_auto_{band}", "@id": "#source.flux_auto_{band}", datatype: float, nullable: true, ivoa:unit: "uJy"'
FLUX_NJY = FLUX.replace('"uJy"', '"nJy"')
TEXT2 = changed(changed(with_version(V1, "2.0.0"), R_HALF, R_EFF), FLUX, FLUX_NJY)
MAJOR = {"source-2.0.0.yaml": TEXT2 + column("rank", "int", nullable=False, unit="") + column("z_spec", unit="")}


def in_arcsec_and_njy(rows):
    fluxes = pl.col("^flux_auto_f[0-9]+w$")
    return rows.with_columns(fluxes * 1000, r_eff=pl.col("r_half") * 0.125, rank=pl.col("label")).drop("r_half")


@pytest.fixture(scope="module")
def made(survey, tmp_path_factory):
    """A lake of version 1.1.0 with sources and their cutouts in both tiles, a second version of one, and a release."""
    lake = survey.create(tmp_path_factory.mktemp("made") / "lake")
    for tile in ("east", "west"):
        for product in ("mosaic", "segmentation", "source", "cutout"):
            survey.publish(lake, product, tile)
    lake.release("DR1")
    survey.publish(lake, "segmentation", "east", 2)
    survey.publish(lake, "source", "east", 2)
    return lake


@pytest.fixture
def old(made, tmp_path):
    """A copy of it."""
    return Lake.open(shutil.copytree(made.path, tmp_path / "lake"))


def rows(lake, **which):
    return lake.table("source", **which).sort("tile", "source_id").collect()


def test_a_later_minor_version_reads_and_continues_an_old_lake(old, survey, ship):
    before, total = rows(old), old.content_hash()
    ship(MINOR)
    lake = Lake.open(old.path)
    seen = rows(lake)
    assert seen.select(before.columns).equals(before)
    assert seen["z_spec"].is_null().all()
    assert seen.schema["z_spec"] == pl.Float32
    assert (seen["kind"] == "").all()
    assert {"colour_f125w", "colour_f140w"} <= set(seen.columns)
    assert lake.content_hash() == total
    assert lake.migrate("source") == "already"

    survey.publish(lake, "segmentation", "west", 3)
    survey.publish(lake, "source", "west", 3)
    now = rows(lake)
    assert now.filter(tile="east").select(before.columns).equals(before.filter(tile="east"))
    assert now.filter(tile="east")["z_spec"].is_null().all()
    assert (now.filter(tile="west")["z_spec"] == 2.5).all()
    assert (now.filter(tile="east")["kind"] == "").all()
    pinned = rows(Lake.open(old.path, "DR1"))
    assert pinned.filter(tile="west").select(before.columns).equals(before.filter(tile="west"))
    assert pinned.columns == seen.columns
    assert lake.fsck(hashes=True) == []


def test_an_earlier_minor_version_reads_and_continues_a_newer_lake(old, survey, ship):
    names = rows(old).columns
    ship(MINOR)
    survey.publish(old, "segmentation", "west", 3)
    survey.publish(old, "source", "west", 3)
    newer = rows(old)
    ship({})
    lake = Lake.open(old.path)
    seen = rows(lake)
    assert seen.columns[: len(names)] == names
    assert set(seen.columns) == set(newer.columns)
    assert seen.select(newer.columns).equals(newer)

    survey.publish(lake, "segmentation", "east", 4)
    survey.publish(lake, "source", "east", 4)
    assert rows(lake).filter(tile="east")["z_spec"].is_null().all()
    assert rows(lake).filter(tile="west").equals(seen.filter(tile="west"))
    assert lake.fsck(hashes=True) == []
    lake.compact("source")
    for path in (lake.path / "tables/source").rglob("merged.*.parquet"):
        assert set(Table.read(path, format="parquet.votable")["kind"]) == {""}
    ship(MINOR)
    assert rows(lake).filter(tile="west").equals(newer.filter(tile="west"))
    assert lake.fsck(hashes=True) == []


def test_a_crash_before_the_new_columns_are_there_leaves_the_table_readable(old, survey, ship):
    before = rows(old)
    ship(MINOR)
    LakeTable(old._layout, "source")._keep_schema()
    assert rows(old).select(before.columns).equals(before)
    ship({})
    assert rows(old).equals(before)
    survey.publish(old, "source", "west", 3)
    assert rows(old).filter(tile="east").equals(before.filter(tile="east"))


@pytest.fixture
def new(old, ship):
    """The same lake, opened by a skymere with version 2.0.0."""
    ship(MAJOR)
    migration("source", to=2)(in_arcsec_and_njy)
    return Lake.open(old.path)


def back(frame):
    """What version 2 says in the words of version 1."""
    fluxes = pl.col("^flux_auto_f[0-9]+w$")
    return frame.with_columns(fluxes / 1000, r_half=pl.col("r_eff") / 0.125)


def test_rows_of_a_major_version_become_those_of_the_next_and_back(new):
    first = rows(new, schema=1)
    unwritten, total = rows(new), new.content_hash()
    assert unwritten["r_eff"].to_list() == [2.5 * 0.125] * unwritten.height
    assert unwritten["flux_auto_f125w"].drop_nulls().to_list()[0] == 2500.0
    assert unwritten["z_spec"].is_null().all()
    assert "r_half" not in unwritten.columns
    assert new.migrate("source") == "published"
    assert rows(new).equals(unwritten)
    assert new.content_hash() == total
    assert rows(new, schema=1).equals(first)
    assert rows(new, schema=2).equals(unwritten)
    assert back(rows(new)).select(first.columns).equals(first)
    assert new.migrate("source") == "already"
    assert new.fsck(hashes=True) == []


def test_rows_in_an_object_store_are_migrated_too(survey, s3, ship):
    lake = survey.create(f"{s3()}/lake")
    for product in ("segmentation", "source"):
        survey.publish(lake, product)
    lake.release("DR1")
    first = rows(lake)
    ship(MAJOR)
    migration("source", to=2)(in_arcsec_and_njy)
    with pytest.raises(ConflictError, match=r"'source' of version 1; call lake\.migrate\('source'\)"):
        survey.publish(lake, "source", version=2)
    assert lake.migrate("source") == "published"
    assert lake.migrate("source") == "already"
    assert back(rows(lake)).select(first.columns).equals(first)
    assert rows(Lake.open(str(lake.path), "DR1"), schema=1).equals(first)
    survey.publish(lake, "segmentation", version=2)
    assert survey.publish(lake, "source", version=2) == "published"
    assert rows(lake).height == 8
    assert lake.fsck(hashes=True) == []


def test_what_hangs_on_the_rows_still_hangs_on_them(new):
    before = new.live_runs("source")
    new.migrate("source")
    assert new.live_runs("source") == before
    west = rows(new).filter(tile="west")
    assert len(new.cutouts(west["source_id"], bands=["f140w"])) == west.height
    ra, dec, name = west.select("ra", "dec", "source_id").row(0)
    assert new.cone("source", ra, dec, radius_arcsec=0.01).collect()["source_id"].to_list() == [name]
    assert new.history("source")[0]["schema"] == "source/2.0.0"
    new.compact("source")
    assert rows(new).height == 17
    assert new.fsck(hashes=True) == []


def test_files_of_several_tiles_are_migrated_too(new, ship):
    before = rows(new)
    assert as_of(ship, MAJOR, lambda: new.compact("source")).after == 1
    assert new.migrate("source") == "published"
    assert rows(new).equals(before)
    assert new.fsck(hashes=True) == []


def test_releases_of_both_times_stay_as_they_are(new, survey):
    early = rows(Lake.open(new.path, "DR1"))
    new.migrate("source")
    middle = rows(new)
    new.release("DR2")
    survey.publish(new, "segmentation", "east", 3)
    assert survey.publish(new, "source", "east", 3) == "published"
    assert new.gc(dry_run=False, grace_days=1e-9).removed
    assert rows(Lake.open(new.path, "DR1")).equals(early)
    assert "r_half" in rows(Lake.open(new.path, "DR1"), schema=1).columns
    assert rows(Lake.open(new.path, "DR2")).equals(middle)
    assert rows(Lake.open(new.path, "DR2"), schema=1).height == middle.height
    assert rows(new).height == 16
    assert new.fsck(hashes=True) == []


def test_nobody_publishes_to_one_version_while_the_rows_are_in_another(new, survey, ship):
    with pytest.raises(ConflictError, match=r"'source' of version 1; call lake\.migrate\('source'\)"):
        survey.publish(new, "source", "east", 3)
    new.migrate("source")
    assert survey.publish(new, "source", "east", 2) == "already"
    assert survey.publish(new, "source", "west", 2) == "published"
    total = new.content_hash()
    ship({})
    lake = Lake.open(new.path)
    with pytest.raises(FormatError, match=r"source/v2: this skymere knows 'source' up to version 1; update"):
        lake.table("source")
    assert rows(lake, schema=1).height == 17
    with pytest.raises(FormatError, match="update skymere"):
        lake.run(stage="s", tile="east", product="source", inputs=[], params={})
    ship(MAJOR)
    assert new.content_hash() == total


def test_unknown_versions_are_errors_that_name_the_known_ones(new, ship):
    with pytest.raises(NotFoundError, match=r"no version 3 here.*\[1, 2\]"):
        new.table("source", schema=3)
    ship({name.replace("2.0.0", "3.0.0"): text.replace('"2.0.0"', '"3.0.0"') for name, text in MAJOR.items()})
    with pytest.raises(NotFoundError, match=r"source/v1: no migration of 'source' to version 2"):
        new.table("source")
    assert rows(new, schema=1).height == 17


def test_a_lake_that_begins_with_a_version_knows_nothing_of_those_before(survey, tmp_path, ship):
    ship(MAJOR)
    lake = survey.create(tmp_path / "young")
    assert "r_eff" in lake.table("source").collect_schema()
    survey.publish(lake, "segmentation")
    survey.publish(lake, "source")
    assert rows(lake).height == 9
    with pytest.raises(NotFoundError, match=r"no version 1 here.*\[2\]"):
        lake.table("source", schema=1)


def test_files_of_an_older_version_that_nobody_committed_hold_no_rows(lake, survey, ship):
    def end(step):
        if step == "rows_written":
            raise CrashError

    survey.publish(lake, "segmentation")
    with pytest.raises(CrashError):
        survey.publish(lake, "source", on_event=end)
    assert list((lake.path / "tables/source/v1").rglob("*.parquet"))
    ship(MAJOR)
    assert survey.publish(lake, "source") == "published"
    assert rows(lake).height == 9
    assert "r_eff" in rows(lake).columns


def test_an_empty_table_is_migrated_too(lake, survey, ship, monkeypatch):
    survey.publish(lake, "segmentation")
    with monkeypatch.context() as patch:
        patch.setattr(LakeTable, "commit", crash)
        with pytest.raises(CrashError):
            survey.publish(lake, "source")
    ship(MAJOR)
    migration("source", to=2)(in_arcsec_and_njy)
    assert lake.migrate("source") == "published"
    assert survey.publish(lake, "source") == "published"
    assert rows(lake).height == 9


def test_two_steps_are_taken_one_after_the_other(new, ship):
    third = changed(MAJOR["source-2.0.0.yaml"].replace('"2.0.0"', '"3.0.0"'), '{name: "rank"', '{name: "place"')
    ship(MAJOR | {"source-3.0.0.yaml": third})
    migration("source", to=3)(lambda rows: rows.rename({"rank": "place"}))
    expected = rows(new)
    assert expected["place"].to_list() == expected["label"].to_list()
    new.migrate("source")
    assert rows(new).equals(expected)
    assert {path.name for path in (new.path / "tables/source").iterdir()} == {"v1", "v3"}


BAD = {
    "column r_eff: expected Float32 from the migration, found Float64": lambda f: f.with_columns(
        pl.col("r_eff").cast(pl.Float64)
    ),
    "column rank: expected Int32 from the migration, found nothing": lambda f: f.drop("rank"),
    "column rank: expected no null": lambda f: f.with_columns(rank=pl.lit(None, pl.Int32)),
    "column r_half: the migration leaves it": lambda f: f.with_columns(r_half=pl.lit(1.0)),
    "column source_id: expected a unique key": lambda f: f.with_columns(source_id=pl.lit(5, pl.Int64)),
    "column _healpix_29": lambda f: f.with_columns(dec=pl.col("dec") + 0.001),
    "column tile: expected": lambda f: f.with_columns(tile=pl.lit("north")),
}


@pytest.mark.parametrize("message", BAD)
def test_a_faulty_migration_changes_nothing(old, survey, ship, message):
    before, log = rows(old), old.history("source")
    ship(MAJOR)
    migration("source", to=2)(lambda rows: BAD[message](in_arcsec_and_njy(rows)))
    with pytest.raises(SchemaError, match=message):
        old.migrate("source")
    ship({})
    assert rows(old).equals(before)
    assert old.history("source") == log
    assert survey.publish(old, "source", "west", 3) == "published"


def test_a_migration_is_registered_once(ship):
    ship({})
    migration("source", to=2)(in_arcsec_and_njy)
    with pytest.raises(ConflictError, match="'source' has one to version 2 already"):
        migration("source", to=2)(in_arcsec_and_njy)


class CrashError(Exception):
    pass


def crash(*_, **__):
    raise CrashError


@pytest.mark.parametrize("step", ["write", "close", "adopt", "commit"])
def test_a_migration_that_ended_half_way_is_finished_by_the_next(new, monkeypatch, step):
    expected, total = rows(new), new.content_hash()
    with monkeypatch.context() as patch:
        patch.setattr(LakeTable, step, crash)
        with pytest.raises(CrashError):
            new.migrate("source")
    assert rows(new).equals(expected)
    assert (new.content_hash(), new.versions().keys() & {"source/v2"}) == (total, set())
    new.release("between")
    assert new.migrate("source") == "published"
    assert rows(new).equals(expected)
    assert rows(Lake.open(new.path, "between")).equals(expected)
    assert new.content_hash() == total
    assert new.fsck(hashes=True) == []


def test_a_lost_row_of_the_run_is_recorded_before_the_migration(old, survey, ship):
    def end(step):
        if step == "committed":
            raise CrashError

    survey.publish(old, "segmentation", "west", 3)
    with pytest.raises(CrashError):
        survey.publish(old, "source", "west", 3, on_event=end)
    assert [fault.kind for fault in old.fsck()] == ["unrecorded"]
    ship(MAJOR)
    migration("source", to=2)(in_arcsec_and_njy)
    old.migrate("source")
    assert old.fsck(hashes=True) == []


def as_of(ship, release, task):
    """Do something as an earlier release of skymere would."""
    ship({})
    try:
        return task()
    finally:
        ship(release)


def test_what_is_published_while_a_migration_runs_is_not_lost(new, survey, ship, monkeypatch):
    close = LakeTable.close

    def slow(table, delta):
        as_of(ship, MAJOR, lambda: survey.publish(new, "source", "west", 3))
        close(table, delta)

    survey.publish(new, "segmentation", "west", 3)
    monkeypatch.setattr(LakeTable, "close", slow)
    with pytest.raises(ConflictError, match="migrate again"):
        new.migrate("source")
    monkeypatch.undo()
    assert rows(new).filter(tile="west").height == 7
    assert new.migrate("source") == "published"
    assert rows(new).filter(tile="west").height == 7


def test_a_run_of_the_old_version_that_comes_too_late_is_refused(new, ship):
    ship({})
    frame = rows(new).filter(tile="west").drop("tile", "run_id", "_healpix_29")
    with new.run(stage="s", tile="west", product="source", inputs=[], params={}) as run:
        ship(MAJOR)
        new.migrate("source")
        ship({})
        with pytest.raises(ConflictError, match="source/v1 is closed"):
            run.publish(frame)
    ship(MAJOR)
    assert new.fsck(hashes=True) == []


def test_two_that_migrate_at_once_migrate_once(new, monkeypatch):
    expected = rows(new)
    adopt = LakeTable.adopt
    outcomes = []

    def late(table, *args, **kwargs):
        monkeypatch.undo()
        outcomes.append(new.migrate("source"))
        return adopt(table, *args, **kwargs)

    monkeypatch.setattr(LakeTable, "adopt", late)
    outcomes.append(new.migrate("source"))
    assert outcomes == ["published", "already"]
    assert rows(new).equals(expected)
    assert new.fsck(hashes=True) == []
