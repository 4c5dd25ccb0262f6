"""Catalogues of others in the lake: FITS, VOTable, ECSV and Parquet, under their own names (row E15)."""

import json

import numpy as np
import polars as pl
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.time import Time

from skymere.errors import ConflictError, FormatError, InvalidInputError, NotFoundError, SchemaError
from skymere.lake import Lake
from skymere.lake.tables import Table as Table_

N = 12
FORMATS = {"fits": "fits", "vot": "votable", "ecsv": "ascii.ecsv", "parquet": None}


def catalogue(n=N):
    """Eastern sources with numbers, a flux in mJy, a masked redshift and a name."""
    number = np.arange(101, 101 + n, dtype=np.int32)
    table = Table({"NUMBER": number, "ALPHA_J2000": 150.001 + 1e-4 * np.arange(n), "DELTA_J2000": 1e-4 * np.arange(n)})
    table["ALPHA_J2000"].unit = table["DELTA_J2000"].unit = "deg"
    table["flux"] = np.linspace(0.1, 2.0, N)[:n].astype(np.float32)
    table["flux"].unit = "mJy"
    table["flux"].description = "Total flux"
    table["z_spec"] = MaskedColumn(np.linspace(0, 3, N)[:n], mask=np.arange(n) % 3 == 0)
    table["name"] = [f"HUDF-{i}" for i in number]
    table["used"] = np.arange(n) % 2 == 0
    return table


def write(table, path):
    if path.suffix == ".parquet":
        pl.DataFrame({name: np.asarray(table[name]) for name in table.colnames}).write_parquet(path)
    else:
        table.write(path, format=FORMATS[path.suffix[1:]])
    return path


def take(lake, path, name="hudf", **more):
    places = {"ra": "ALPHA_J2000", "dec": "DELTA_J2000"}
    if path.suffix == ".parquet":
        places["units"] = {"ALPHA_J2000": "deg", "DELTA_J2000": "deg", "flux": "mJy"}
    return lake.import_catalogue(path, name, **({"key": "NUMBER"} | places | more))


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_equal_rows_under_their_own_names(lake, tmp_path, ending):
    given = catalogue()
    assert take(lake, write(given, tmp_path / f"cat.{ending}")) == "published"
    rows = lake.table("hudf").sort("NUMBER").collect()
    for name in ("NUMBER", "ALPHA_J2000", "DELTA_J2000", "flux", "used", "name"):
        assert rows[name].to_list() == given[name].tolist(), name
    assert np.array_equal(rows["ra"], given["ALPHA_J2000"])
    assert np.array_equal(rows["dec"], given["DELTA_J2000"])
    if ending != "parquet":  # numpy has no missing values to write there
        assert rows["z_spec"].is_null().to_list() == given["z_spec"].mask.tolist()
    columns = {column.name: column for column in lake.schema("hudf").columns}
    assert columns["flux"].unit == "mJy"
    assert lake.to_astropy("hudf")["flux"].unit == u.mJy


def test_an_import_is_a_table_like_every_other(full, survey, tmp_path):
    lake = survey.create(tmp_path / "lake")
    survey.publish_all(lake)
    sources = lake.table("source").sort("source_id").collect()
    theirs = Table({"ID": np.arange(sources.height), "RA": sources["ra"].to_numpy() + 2e-5, "DEC": sources["dec"]})
    theirs["RA"].unit = theirs["DEC"].unit = "deg"
    theirs.write(tmp_path / "theirs.fits")
    lake.import_catalogue(tmp_path / "theirs.fits", "theirs", key="ID", ra="RA", dec="DEC")
    pairs = lake.crossmatch("source", "theirs", radius_arcsec=0.3, keep="nearest").collect()
    assert pairs.sort("ID")["source_id"].equals(sources["source_id"])
    ra, dec = sources["ra"][0], sources["dec"][0]
    assert lake.cone("theirs", ra, dec, radius_arcsec=0.5).collect()["ID"].to_list() == [0]
    assert lake.box("theirs", ra=(0, 360), dec=(-1, 1)).collect().height == sources.height
    asked = 'select count(*) as n from theirs join source on source.source_id >= 0 and theirs."ID" = source.label'
    assert lake.sql(asked).collect().height == 1
    assert lake.names()[-1] == "theirs"
    assert lake.versions()["theirs/v1"] == 1


def test_positions_are_converted_from_their_frame_and_unit(lake, tmp_path):
    place = SkyCoord([150.0, 10.0], [2.0, -45.0], unit="deg")
    table = Table({"id": [1, 2], "l": place.galactic.l.rad, "b": place.galactic.b.arcmin})
    table["l"].unit, table["b"].unit = "rad", "arcmin"
    table.write(tmp_path / "gal.ecsv")
    lake.import_catalogue(tmp_path / "gal.ecsv", "gal", key="id", ra="l", dec="b", frame="galactic")
    rows = lake.table("gal").sort("id").collect()
    found = SkyCoord(rows["ra"].to_numpy(), rows["dec"].to_numpy(), unit="deg")
    assert found.separation(place).arcsec.max() < 1e-6


def test_the_same_file_is_taken_once_and_a_later_one_replaces_its_rows(lake, tmp_path):
    first = write(catalogue(), tmp_path / "one.fits")
    assert take(lake, first) == "published"
    assert take(lake, first) == "already"
    release = lake.release("DR1")
    assert release["hudf/v1"] == 1
    second = write(catalogue(5), tmp_path / "two.fits")
    assert take(lake, second) == "published"
    assert lake.table("hudf").collect().height == 5
    assert lake.table("hudf", version=1).collect().height == N
    found = lake.diff("hudf", 1, 2)
    assert found["change"].unique().to_list() == ["removed"]
    assert found["NUMBER"].to_list() == list(range(106, 113))
    assert Lake.open(lake.path, release="DR1").table("hudf").collect().height == N


def test_other_columns_are_a_new_major_version_and_releases_keep_theirs(lake, tmp_path):
    take(lake, write(catalogue(), tmp_path / "one.fits"))
    lake.release("DR1")
    wider = catalogue(4)
    wider["mass"] = np.ones(4)
    take(lake, write(wider, tmp_path / "two.fits"))
    assert lake.schema("hudf").version_text == "2.0.0"
    assert "mass" in lake.table("hudf").collect_schema()
    assert lake.table("hudf").collect().height == 4
    old = Lake.open(lake.path, release="DR1")
    assert "mass" not in old.table("hudf").collect_schema()
    assert old.table("hudf").collect().height == N
    assert lake.release("DR2")["hudf/v2"] == 1
    assert lake.fsck(hashes=True) == []


def killed(patch, target, when):
    """End a step of the protocol with an error, before or after it did its work."""
    owner, name = target
    real = getattr(owner, name)

    def ends(*args, **more):
        if when == "after":
            real(*args, **more)
        raise KeyboardInterrupt

    patch.setattr(owner, name, ends)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("target", [(Table_, "write"), (Table_, "commit"), (Table_, "append")], ids=lambda t: t[1])
@pytest.mark.parametrize("wider", [False, True], ids=["same columns", "more columns"])
def test_an_import_that_ended_at_any_step_is_finished_by_the_next(
    lake, survey, tmp_path, monkeypatch, target, when, wider
):
    table = catalogue(4)
    if wider:
        table["mass"] = np.ones(4)
    first, second = write(catalogue(), tmp_path / "one.fits"), write(table, tmp_path / "two.fits")
    whole = survey.create(tmp_path / "whole")
    for path in (first, second):
        take(whole, path)
    take(lake, first)
    with monkeypatch.context() as patch:
        killed(patch, target, when)
        with pytest.raises(KeyboardInterrupt):
            take(lake, second)
    # What is recorded beside the rows comes after them.
    is_there = target[1] == "append" or (target[1], when) == ("commit", "after")
    assert lake.table("hudf").collect().height == (4 if is_there else N)
    assert take(lake, second) == ("already" if is_there else "published")
    assert lake.content_hash() == whole.content_hash()
    assert lake.fsck(hashes=True) == []


def test_of_two_imports_at_once_one_is_a_conflict(lake, tmp_path, monkeypatch):
    take(lake, write(catalogue(), tmp_path / "one.fits"))
    mine, theirs = write(catalogue(5), tmp_path / "mine.fits"), write(catalogue(6), tmp_path / "theirs.fits")
    real = Table_.write

    def slow(*args, **more):
        monkeypatch.setattr(Table_, "write", real)
        assert take(Lake.open(lake.path), theirs) == "published"
        return real(*args, **more)

    monkeypatch.setattr(Table_, "write", slow)
    with pytest.raises(ConflictError, match="'hudf'"):
        take(lake, mine)
    assert lake.table("hudf").collect().height == 6


def test_gc_and_fsck_know_imported_catalogues(lake, tmp_path):
    take(lake, write(catalogue(), tmp_path / "one.fits"))
    take(lake, write(catalogue(5), tmp_path / "two.fits"))
    files = sorted((lake.path / "tables/hudf").rglob("*.parquet"))
    assert len(files) == 2
    kept = next(path for path in files if pl.read_parquet(path).height == 5)
    assert lake.gc(dry_run=False, grace_days=1e-9).files
    assert sorted((lake.path / "tables/hudf").rglob("*.parquet")) == [kept]
    assert lake.fsck(hashes=True) == []
    assert lake.table("hudf").collect().height == 5
    kept.write_bytes(kept.read_bytes()[:-1])
    assert [fault.kind for fault in lake.fsck()] == ["damaged"]


def test_a_column_that_ends_in_run_is_only_a_column(lake, tmp_path):
    table = catalogue()
    table["mosaic_run"] = ["x"] * N
    take(lake, write(table, tmp_path / "one.fits"))
    assert lake.fsck(hashes=True) == []
    assert lake.gc().files == ()


def test_compaction_leaves_the_rows_of_an_import(lake, tmp_path):
    take(lake, write(catalogue(), tmp_path / "one.fits"))
    assert lake.compact("hudf").after == 1
    assert lake.table("hudf").collect().height == N


def test_the_content_hash_knows_imported_catalogues(lake, survey, tmp_path):
    other = survey.create(tmp_path / "other")
    assert lake.content_hash() == other.content_hash()
    take(lake, write(catalogue(), tmp_path / "one.fits"))
    assert lake.content_hash() != other.content_hash()
    take(other, write(catalogue(), tmp_path / "same.fits"))
    assert lake.content_hash() == other.content_hash()


def test_provenance_of_an_imported_row_ends_at_its_file(lake, tmp_path):
    path = write(catalogue(), tmp_path / "one.fits")
    take(lake, path)
    tree = lake.provenance("hudf", 103)
    assert tree.stage == "import"
    assert tree.row["name"] == "HUDF-103"
    assert tree.params["ra"] == "ALPHA_J2000"
    assert [(file.uri, len(file.sha256)) for file in tree.files] == [("one.fits", 64)]
    assert "one.fits" in str(tree)
    inputs = lake.table("run").filter(pl.col("product") == "hudf").collect()["inputs"]
    assert json.loads(inputs[0])[0]["sha256"] == tree.files[0].sha256


def test_only_the_columns_that_are_asked_for_are_taken(lake, tmp_path):
    table = catalogue()
    table["pair"] = np.ones((N, 2))
    path = write(table, tmp_path / "one.fits")
    take(lake, path, columns=["flux"])
    assert set(lake.table("hudf").collect_schema()) >= {"NUMBER", "ALPHA_J2000", "flux", "ra"}
    assert "name" not in lake.table("hudf").collect_schema()
    with pytest.raises(InvalidInputError, match="'pair' is not one number or text"):
        take(lake, path)


def changed(**columns):
    table = catalogue()
    for name, values in columns.items():
        table[name] = values
    return table


@pytest.mark.parametrize(
    ("table", "more", "error", "words"),
    [
        (catalogue(), {"key": "id"}, InvalidInputError, "key: column 'id' is missing"),
        (catalogue(), {"ra": "RA"}, InvalidInputError, "ra: column 'RA' is missing"),
        (catalogue(), {"dec": "DEC"}, InvalidInputError, "dec: column 'DEC' is missing"),
        (catalogue(), {"columns": ["nothing"]}, InvalidInputError, "columns: column 'nothing' is missing"),
        (catalogue(), {"units": {"nothing": "Jy"}}, InvalidInputError, "units: column 'nothing' is missing"),
        (catalogue(), {"units": {"flux": "bogus"}}, InvalidInputError, "units: 'bogus' of column 'flux'"),
        (catalogue(), {"units": {"ALPHA_J2000": ""}}, InvalidInputError, "units: column 'ALPHA_J2000' has no unit"),
        (catalogue(), {"units": {"ALPHA_J2000": "Jy"}}, InvalidInputError, "ra, dec: columns 'ALPHA_J2000'"),
        (catalogue(), {"frame": "atlantis"}, InvalidInputError, "atlantis"),
        (catalogue(), {"ra": "name"}, InvalidInputError, "ra: column 'name' must be numbers"),
        (catalogue(), {"name": "source"}, InvalidInputError, "name: 'source' is not allowed"),
        (catalogue(), {"name": "../x"}, InvalidInputError, r"name: '\.\./x' is not allowed"),
        (catalogue(), {"name": "x" * 33}, InvalidInputError, "name: "),
        (changed(NUMBER=[1] * N), {}, SchemaError, "NUMBER: expected a unique key"),
        (catalogue(), {"key": "z_spec"}, SchemaError, "z_spec: expected no null"),
        (changed(ALPHA_J2000=[np.nan] * N), {"units": {"ALPHA_J2000": "deg"}}, InvalidInputError, "12 of 12 rows"),
        (changed(DELTA_J2000=[95.0] * N), {"units": {"DELTA_J2000": "deg"}}, InvalidInputError, "dec"),
        (changed(tile=["a"] * N), {}, InvalidInputError, "'tile' is a name that the lake fills in itself"),
        (changed(ra=[1.0] * N), {}, InvalidInputError, "another column named 'ra'"),
        (changed(RA=[1.0] * N), {}, InvalidInputError, "another column named 'RA'"),
        (changed(FLUX=[1.0] * N), {}, InvalidInputError, "size of letters"),
    ],
)
def test_bad_input_names_the_argument_and_leaves_the_lake(lake, tmp_path, table, more, error, words):
    path = write(table, tmp_path / "cat.ecsv")
    with pytest.raises(error, match=words):
        take(lake, path, **more)
    assert not (lake.path / "tables").exists()
    assert lake.fsck() == []


def test_files_that_cannot_be_read_are_named(lake, tmp_path):
    for name in ("bad.fits", "bad.vot", "bad.ecsv", "bad.parquet"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(FormatError, match=name):
            take(lake, tmp_path / name)
    with pytest.raises(NotFoundError, match=r"gone\.fits"):
        take(lake, tmp_path / "gone.fits")
    with pytest.raises(InvalidInputError, match="ending is not allowed"):
        take(lake, write(catalogue(), tmp_path / "cat.ecsv").rename(tmp_path / "cat.txt"))


def test_a_release_takes_nothing_in(lake, tmp_path):
    lake.release("DR1")
    path = write(catalogue(), tmp_path / "one.fits")
    with pytest.raises(InvalidInputError, match="'DR1'"):
        take(Lake.open(lake.path, release="DR1"), path)


def test_a_reopened_lake_knows_its_catalogues(lake, tmp_path):
    take(lake, write(catalogue(), tmp_path / "one.fits"))
    again = Lake.open(lake.path)
    assert again.table("hudf").collect().height == N
    with pytest.raises(ConflictError):
        again.create(lake.path, tiles="healpix", scale_arcsec=0.1)


def test_columns_that_are_no_numbers_or_texts_are_named_and_can_be_left_out(lake, tmp_path):
    for name, values in (
        ("when", Time(np.full(N, 60000.0), format="mjd")),
        ("place", SkyCoord(np.ones(N), np.ones(N), unit="deg")),
    ):
        path = write(changed(**{name: values}), tmp_path / f"{name}.ecsv")
        with pytest.raises(InvalidInputError, match=f"column '{name}' is not one number or text"):
            take(lake, path)
        assert take(lake, path, name=name, columns=["flux"]) == "published"
    changed(wave=np.ones(N, complex)).write(tmp_path / "complex.fits")
    with pytest.raises(InvalidInputError, match="column 'wave' is not one number or text"):
        take(lake, tmp_path / "complex.fits")


def test_missing_numbers_are_null_also_those_that_a_file_marks_with_nan(lake, tmp_path):
    take(lake, write(changed(flux=np.where(np.arange(N) < 3, np.nan, 1.0)), tmp_path / "cat.fits"))
    assert lake.table("hudf").sort("NUMBER").collect()["flux"].to_list() == [None] * 3 + [1.0] * (N - 3)


def test_the_sources_of_a_sextractor_ldac_file_are_found(lake, tmp_path):
    header = Table({"Field Header Card": ["SIMPLE = T"]})
    hdus = [fits.PrimaryHDU(), fits.table_to_hdu(header), fits.table_to_hdu(catalogue())]
    fits.HDUList(hdus).writeto(tmp_path / "ldac.fits")
    assert take(lake, tmp_path / "ldac.fits") == "published"
    assert lake.table("hudf").collect().height == N
    fits.HDUList(hdus[:1]).writeto(tmp_path / "image.fits")
    with pytest.raises(FormatError, match=r"image\.fits: .*it has no table"):
        take(lake, tmp_path / "image.fits")


def test_an_import_can_be_exported_with_its_units(lake, tmp_path):
    take(lake, write(catalogue(), tmp_path / "cat.fits"))
    lake.export_fits(tmp_path / "out.fits", table="hudf")
    back = Table.read(tmp_path / "out.fits", hdu="hudf")
    given = catalogue()
    assert back["flux"].unit == u.mJy
    assert back["flux"].description is None or back["flux"].description == "Total flux"
    for name in ("NUMBER", "ALPHA_J2000", "flux", "name"):
        assert back[name].tolist() == given[name].tolist()
    assert back["z_spec"].mask.tolist() == given["z_spec"].mask.tolist()
    lake.export_votable("hudf", tmp_path / "out.vot")
    assert len(Table.read(tmp_path / "out.vot")) == N
    assert (lake.export_hats("hudf", tmp_path / "hats") / "collection.properties").is_file()
