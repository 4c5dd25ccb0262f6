"""`skymere lake init | ls | show | schema | query | get | release | diff | export | import`."""

import io
import json

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from astropy.table import Table

from skymere.lake import Lake, load_schema, write_ragged
from skymere.wcs import Grid

COMMANDS = (
    "init ls show schema query get release diff runs export import gc fsck compact hash".split()  # noqa: SIM905
)


@pytest.fixture
def lake(survey, tmp_path):
    return survey.create(tmp_path / "lake")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example_and_the_lake_comes_first(call, command):
    done = call("lake", command, "--help")
    assert done.exit_code == 0
    # Some versions of typer put arguments into braces.
    words = " ".join(done.stdout.translate(dict.fromkeys(map(ord, "{}`"))).split())
    assert f"Example: skymere lake {command} " in words
    assert f"skymere lake {command} [OPTIONS] LAKE" in words


def test_init_makes_a_lake_of_named_tiles(call, tmp_path):
    done = call("lake", "init", tmp_path / "new", "--tile", "field=150.1,2.2,400,300", "--scale", "0.1")
    assert done.exit_code == 0, done.output
    tile = Lake.open(tmp_path / "new").tiles["field"]
    assert tile.grid.shape == (300, 400)
    assert np.allclose(tile.grid.sky(199.5, 149.5), (150.1, 2.2), rtol=0, atol=1e-9)
    assert call("lake", "ls", tmp_path / "new").stdout.count("nothing was published yet") == 1


def test_init_takes_the_grid_of_an_image(call, tmp_path):
    grid = Grid.tangent(10.0, -5.0, shape=(30, 40), scale_arcsec=0.2)
    header = fits.Header(grid.cards())
    plane = np.ones((30, 40), np.float32)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(plane, header, name="SCI"), fits.ImageHDU(plane, header, name="WHT")]
    fits.HDUList(hdus).writeto(tmp_path / "image.fits")
    done = call("lake", "init", tmp_path / "new", "--tile", f"field={tmp_path}/image.fits")
    assert done.exit_code == 0, done.output
    tile = Lake.open(tmp_path / "new").tiles["field"]
    assert tile.grid.shape == (30, 40)
    assert np.allclose(tile.grid.sky(3.0, 4.0), grid.sky(3.0, 4.0), rtol=0, atol=1e-12)


def test_init_makes_a_lake_of_the_whole_sky(call, tmp_path):
    done = call("lake", "init", tmp_path / "new", "--scale", "0.06")
    assert done.exit_code == 0, done.output
    assert "HEALPix cells of order" in done.stdout


def test_ls_lists_what_there_is(call, full):
    done = call("lake", "ls", full.path)
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.stdout.splitlines() if "│ source " in line]
    assert [part.strip() for part in line.split("│")[1:4]] == ["source", "2", "16"]
    assert "tiles: east, west; releases: DR1, DR2" in done.stdout
    assert "slitlet" not in done.stdout
    assert "slitlet" in call("lake", "ls", full.path, "--all").stdout
    old = call("lake", "ls", full.path, "--release", "DR1").stdout
    (line,) = [line for line in old.splitlines() if "│ source " in line]
    assert [part.strip() for part in line.split("│")[1:4]] == ["source", "2", "18"]


def test_show_gives_versions_tiles_and_rows(call, full):
    done = call("lake", "show", full.path, "source")
    assert done.exit_code == 0, done.output
    for words in ("Versions of source", "source/1.1.0", "east", "west", full.live_run("source", "west"), "source_id"):
        assert words in done.stdout


def test_show_of_a_row_is_its_provenance(call, full):
    source = full.table("source").collect()["source_id"][0]
    done = call("lake", "show", full.path, "source", source)
    assert done.exit_code == 0, done.output
    tree = full.provenance("source", source)
    assert str(tree) in done.stdout
    assert tree.inputs[0].run in done.stdout


def test_schema_says_every_column_and_array(call, full):
    done = call("lake", "schema", full.path, "cutout")
    assert done.exit_code == 0, done.output
    for column in load_schema("cutout").columns:
        assert column.name in done.stdout
    assert "qexp" in done.stdout
    assert "Arrays" not in call("lake", "schema", full.path, "run").stdout


QUERY = "select source_id, ra, dec, tile from source order by source_id"


def test_query_prints_and_writes_equal_answers(call, full, tmp_path):
    expected = full.sql(QUERY).collect()
    assert str(expected["source_id"][0]) in call("lake", "query", full.path, QUERY).stdout
    done = call("lake", "query", full.path, QUERY, "--format", "csv")
    assert pl.read_csv(io.StringIO(done.stdout)).equals(expected)
    done = call("lake", "query", full.path, QUERY, "--format", "json")
    assert json.loads(done.stdout) == expected.to_dicts()
    for name, read in (("a.csv", pl.read_csv), ("a.json", pl.read_json), ("a.parquet", pl.read_parquet)):
        done = call("lake", "query", full.path, QUERY, "-o", tmp_path / name)
        assert done.exit_code == 0, done.output
        assert f"{expected.height} rows" in done.stdout
        assert read(tmp_path / name).equals(expected)
    done = call("lake", "query", full.path, QUERY, "-o", tmp_path / "noending", "--format", "csv")
    assert pl.read_csv(tmp_path / "noending").equals(expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.json", "a.parquet", "noending"]


def test_query_asks_a_release(call, full):
    asked = ("lake", "query", full.path, "select count(*) as n from source", "--format", "csv")
    assert call(*asked, "--release", "DR1").stdout == "n\n18\n"
    assert call(*asked).stdout == "n\n16\n"


def test_a_long_answer_is_cut_short_on_the_screen(call, lake, tmp_path):
    n = 500
    table = Table({"id": np.arange(n), "ra": np.linspace(10, 20, n), "dec": np.zeros(n)})
    table["ra"].unit = table["dec"].unit = "deg"
    table.write(tmp_path / "cat.ecsv")
    assert call("lake", "import", lake.path, tmp_path / "cat.ecsv", "theirs", "--key", "id").exit_code == 0
    done = call("lake", "query", lake.path, "select id from theirs")
    assert "the first 200 of 500 rows" in done.stdout


def test_get_writes_cutouts_as_fits_and_png(call, full, tmp_path):
    ids = full.table("source").sort("source_id").collect()["source_id"].to_list()[:2]
    done = call("lake", "get", full.path, *ids, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [str(tmp_path / "out" / f"{i}.fits") for i in ids]
    with fits.open(tmp_path / "out" / f"{ids[0]}.fits") as hdus:
        assert len(hdus) == 11
    done = call("lake", "get", full.path, ids[0], "-o", tmp_path / "small", "--band", "f140w", "--size", "20")
    with fits.open(tmp_path / "small" / f"{ids[0]}.fits") as hdus:
        assert hdus["SCI"].data.shape == (20, 20)
        assert hdus["SCI"].header["FILTER"] == "F140W"
    done = call("lake", "get", full.path, *ids, "-o", tmp_path / "png", "--format", "png")
    assert done.exit_code == 0, done.output
    for i in ids:
        assert (tmp_path / "png" / f"{i}.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def spectral(survey, tmp_path_factory):
    """A lake with two spectra of one source and one of another, and what went in."""
    made = survey.create(tmp_path_factory.mktemp("spectral") / "lake")
    rng = np.random.default_rng(3)
    planes = {}
    for spec in load_schema("spectrum").arrays:
        if spec.offset:
            values = [np.linspace(1, 2, n) if spec.path == "wavelength" else rng.normal(5, 1, n) for n in (50, 70, 60)]
            planes[spec.path] = [v.astype(spec.dtype) for v in values]
    rows = [
        survey.empty_row("spectrum", source_id=source, spectrum_id=k, spectrum_row=k, ra=150.0017, dec=0.0)
        | {"status": "ok", "grating": grating, "exptime": 100.0 + k}
        for k, (source, grating) in enumerate([(7, "g141"), (7, "g102"), (8, "g141")])
    ]
    with made.run(stage="extract", tile="east", product="spectrum", inputs=[], params={}) as run:
        write_ragged(run, planes, unit="electron / s")
        run.write("spectrum_id", np.arange(3))
        run.write("source_id", np.array([7, 7, 8]))
        run.publish(survey.frame("spectrum", rows))
    return made, planes


def test_get_writes_spectra_as_fits_and_png(call, spectral, tmp_path):
    lake, planes = spectral
    done = call("lake", "get", lake.path, 7, 8, "--what", "spectra", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    seen = 0
    for source in (7, 8):
        with fits.open(tmp_path / f"{source}_spectra.fits") as hdus:
            hdus.verify("exception")
            for hdu in hdus[1:]:
                k = hdu.header["SPECID"]
                for name, values in planes.items():
                    assert np.array_equal(hdu.data[name], values[k]), name
                assert hdu.columns["wavelength"].unit == "um"
                assert hdu.columns["flux"].unit == "erg Angstrom-1 s-1 cm-2"
                assert hdu.columns["flat"].unit == "electron / s"
                assert hdu.header["EXPTIME"] == 100.0 + k
                seen += 1
    assert seen == 3
    done = call("lake", "get", lake.path, 7, "--what", "spectra", "--format", "png", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "7_spectra.png").read_bytes().startswith(b"\x89PNG")


def test_release_gives_a_name_and_lists_them(call, lake, survey):
    assert "no releases" in call("lake", "release", lake.path).stdout
    survey.publish(lake, "segmentation")
    done = call("lake", "release", lake.path, "DR1")
    assert done.exit_code == 0, done.output
    assert "segmentation/v1" in done.stdout
    assert call("lake", "release", lake.path).stdout == "DR1\n"
    again = call("lake", "release", lake.path, "DR1")
    assert again.exit_code == 1
    assert "releases never change" in again.stderr


def test_diff_counts_and_lists_rows_between_versions_and_releases(call, full):
    pins = {name: full.released(name)["source/v1"] for name in ("DR1", "DR2")}
    expected = full.diff("source", pins["DR1"], pins["DR2"])
    for ends in (("DR1", "DR2"), ("DR1",), (pins["DR1"], pins["DR2"])):
        done = call("lake", "diff", full.path, "source", *ends)
        assert done.exit_code == 0, done.output
        for change, n in expected["change"].value_counts().iter_rows():
            assert f"{n} {change}" in done.stdout.splitlines()[-1]
        assert str(expected["source_id"][0]) in done.stdout
    same = call("lake", "diff", full.path, "source", "DR2", "DR2")
    assert "have the same rows" in same.stdout


def test_runs_are_listed_and_compared(call, full):
    runs = full.table("run").filter(product="source").sort("finished").collect()
    listed = call("lake", "runs", full.path)
    assert listed.exit_code == 0, listed.output
    old, new = runs["run_id"][0], runs["run_id"][-1]
    done = call("lake", "runs", full.path, old, new)
    assert done.exit_code == 0, done.output
    assert full.diff_runs(old, new).height
    for name in full.diff_runs(old, new)["name"]:
        assert name.split("/")[0] in done.stdout
    assert "same code" in call("lake", "runs", full.path, old, old).stdout
    assert "second run" in call("lake", "runs", full.path, old).stderr


def test_a_release_with_other_columns_is_not_compared(call, lake, tmp_path):
    rows = pl.DataFrame({"id": [1, 2], "ra": [150.0, 150.001], "dec": [0.0, 0.001]})
    place = ["--key", "id", "--unit", "ra=deg", "--unit", "dec=deg"]
    for k, frame in enumerate((rows, rows.with_columns(f=pl.lit(1.0)))):
        frame.write_parquet(tmp_path / f"{k}.parquet")
        done = call("lake", "import", lake.path, tmp_path / f"{k}.parquet", "theirs", *place)
        assert done.exit_code == 0, done.output
        lake.release(f"DR{k}")
    done = call("lake", "diff", lake.path, "theirs", "DR0")
    assert done.exit_code == 1
    assert "release 'DR0' has only table theirs/v1, there is nothing to compare with theirs/v2" in done.stderr


def test_export_writes_what_other_tools_open(call, full, tmp_path):
    n = full.table("source").collect().height
    for name in ("cat.fits", "cat.vot"):
        done = call("lake", "export", full.path, "source", tmp_path / name)
        assert done.exit_code == 0, done.output
    assert len(Table.read(tmp_path / "cat.fits", hdu="source")) == n
    assert len(Table.read(tmp_path / "cat.vot")) == n
    done = call("lake", "export", full.path, "source", tmp_path / "hats", "--format", "hats", "--margin", "5")
    assert done.exit_code == 0, done.output
    assert "hats_margin_threshold=5.0" in (tmp_path / "hats/source_margin/hats.properties").read_text()


def test_import_takes_a_catalogue_that_can_be_asked(call, lake, tmp_path):
    rows = pl.DataFrame({"ID": [1, 2], "RA": [150.0, 150.001], "DEC": [0.0, 0.001], "f": [1.0, 2.0], "g": [1, 2]})
    rows.write_parquet(tmp_path / "cat.parquet")
    place = ["--key", "ID", "--ra", "RA", "--dec", "DEC", "--unit", "RA=deg", "--unit", "DEC=deg"]
    done = call(
        "lake", "import", lake.path, tmp_path / "cat.parquet", "theirs", *place, "--column", "f", "--unit", "f=uJy"
    )
    assert done.exit_code == 0, done.output
    assert "theirs: 2 rows" in done.stdout
    assert "published" in done.stdout
    done = call("lake", "query", lake.path, 'select "ID", f from theirs order by "ID"', "--format", "csv")
    assert done.stdout == "ID,f\n1,1.0\n2,2.0\n"
    assert "uJy" in call("lake", "schema", lake.path, "theirs").stdout
    assert "theirs" in call("lake", "ls", lake.path).stdout


def test_upkeep_knows_the_lake(call, full):
    assert "nothing is wrong" in call("lake", "fsck", full.path, "--hashes").stdout
    assert "could be removed" in call("lake", "gc", full.path).stdout


def test_hashes_of_products_and_of_the_whole_are_printed(call, full):
    lines = dict(reversed(line.split()) for line in call("lake", "hash", full.path).stdout.splitlines())
    assert lines[str(full.path)] == full.content_hash()
    assert {"mask", "run", "run_item", "source"} <= set(lines)
    assert lines["source"] == full.content_hash("source")
    assert call("lake", "hash", full.path, "source").stdout == f"{lines['source']}  source\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("init", "LAKE", "--scale", "0.1"), "ConflictError"),
        (("init", "NEW"), "--scale: HEALPix tiles need"),
        (("init", "NEW", "--tile", "field=1,2,3"), "must be NAME=IMAGE.fits or NAME=RA,DEC,NX,NY"),
        (("init", "NEW", "--tile", "field=1,2,3,4"), "--scale: tile 'field' needs"),
        (("init", "NEW", "--tile", "field=1,2,x,4", "--scale", "1"), "NX and NY whole ones"),
        (("init", "NEW", "--tile", "field=nothing.fits"), "nothing.fits"),
        (("ls", "nowhere"), "there is no such folder"),
        (("ls", "LAKE", "--release", "DR9"), "'DR9' does not exist"),
        (("show", "LAKE", "nothing"), "product 'nothing' has no schema"),
        (("show", "LAKE", "source", "5"), "no row with {'source_id': 5}"),
        (("schema", "LAKE", "nothing"), "product 'nothing' has no schema"),
        (("query", "LAKE", "select * from read_csv('/etc/passwd')"), "only the lake's tables"),
        (("query", "LAKE", "select nothing from source"), "nothing"),
        (("query", "LAKE", "select 1", "--format", "parquet"), "--format: parquet needs a file"),
        (("query", "LAKE", "select 1", "-o", "x.txt"), "-o: 'x.txt' does not say a format"),
        (("get", "LAKE", "5"), "sources have no cutout"),
        (("get", "LAKE", "5", "--format", "png"), "sources have no cutout"),
        (("get", "LAKE", "5", "--what", "spectra"), "spectra: 1 of 1 sources have no spectrum"),
        (("release", "LAKE", "../x"), "release: '../x' is not allowed"),
        (("diff", "LAKE", "source", "DR9"), "'DR9' does not exist"),
        (("diff", "LAKE", "beam"), "there is nothing to compare"),
        (("diff", "LAKE", "source", "99", "100"), "no version"),
        (("export", "LAKE", "source", "x.txt"), "does not say a format"),
        (("export", "LAKE", "run", "x", "--format", "hats"), "table 'run' has no index of positions"),
        (("import", "LAKE", "nothing.fits", "a", "--key", "id"), "nothing.fits: there is no such file"),
        (("import", "LAKE", "nothing.fits", "a", "--key", "id", "--unit", "x"), "--unit: 'x' is not allowed"),
    ],
)
def test_an_error_is_one_line_without_a_traceback(call, full, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    done = call("lake", *[{"LAKE": full.path, "NEW": tmp_path / "new"}.get(a, a) for a in arguments])
    assert done.exit_code == 1
    assert done.stderr.startswith("skymere: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_call_says_how_to_call(call, full):
    done = call("lake", "query", full.path)
    assert done.exit_code == 2
    assert "missing argument 'sql'" in done.stderr.lower()
    done = call("lake", "get", full.path, "abc")
    assert done.exit_code == 2
    assert "'ids'" in done.stderr.lower()


def test_an_interruption_is_one_line_and_130(call, full, monkeypatch):
    def interrupted(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(Lake, "open", interrupted)
    done = call("lake", "ls", full.path)
    assert done.exit_code == 130
    assert done.stderr == "skymere: interrupted; the same command goes on from here\n"
