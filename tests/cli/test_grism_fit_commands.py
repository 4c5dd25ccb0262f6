"""``skymere grism fit | maps | plot`` of files and of a lake, with simulated beams."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from tests.pipeline.grism_survey import multibeams, simulated
from typer.testing import CliRunner

from skymere.cli import app
from skymere.cli._print import console
from skymere.grism import GRIZLI_BAD_PA, read_full_file, write_beam_file
from skymere.io import read_beam_file
from skymere.lake import Lake
from skymere.pipeline import GrismFitPlan, fit_sets, object_of_lake
from skymere.testing import write_grism_templates
from skymere.viewer.beams import beam_pictures
from skymere.viewer.source_rows import SourceRows

SMALL = ("--z-range", "0.6", "1.4", "--dz", "0.01", "0.001")


def run(*words):
    return CliRunner().invoke(app, ["grism", *map(str, words)])


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Three files of beams with their configurations and templates, and one that is none."""
    folder = tmp_path_factory.mktemp("field")
    survey = simulated(folder)
    found = multibeams(survey)
    (folder / "beams").mkdir()
    for label in (2, 4, 5):
        beams = [one.beam for one in found[label].beams]
        write_beam_file(folder / "beams" / f"sim_{label:05d}.beams.fits", beams)
    (folder / "beams" / "sim_00009.beams.fits").write_bytes(b"nothing of FITS")
    write_grism_templates(folder / "templates")
    return folder, survey


@pytest.fixture
def words(field, monkeypatch):
    monkeypatch.setattr(console, "width", 200)
    folder, survey = field
    return ("--templates", f"{folder / 'templates'}/", "--conf", survey.conf)


def test_fit_writes_tables_and_the_files_that_are_asked_for(field, words, tmp_path):
    folder, survey = field
    (tmp_path / "actions.csv").write_text("source_id,exposure_id,action\n4,gsim001g,omit\n")
    made = run(
        "fit", folder / "beams", *words, *SMALL, "-o", tmp_path, "--actions", tmp_path / "actions.csv",
        "--write", "row", "--write", "1D",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    table = pl.read_csv(tmp_path / "redshifts.csv").sort("file")
    assert table["status"].to_list() == ["ok", "ok", "ok", "failed"]
    assert "FormatError" in table["message"][3]
    n_beams = dict(table.head(3).select("id", "n_beams").iter_rows())
    truth = dict(survey.sources.select("id", "z").iter_rows())
    for label, z in table.head(3).select("id", "z_map").iter_rows():
        assert abs(z - truth[label]) < 0.002 * (1 + truth[label])
    assert n_beams[4] == 1
    lines = pl.read_csv(tmp_path / "lines.csv")
    assert set(lines["id"]) == {2, 4, 5}
    assert lines.filter(pl.col("id") == 2, pl.col("line") == "Ha")["snr"][0] > 10
    assert {path.name for path in tmp_path.glob("*.fits")} == {
        f"sim_{label:05d}.{kind}.fits" for label in (2, 4, 5) for kind in ("row", "1D")
    }
    with fits.open(tmp_path / "sim_00002.1D.fits") as hdus:
        assert "G141" in {hdu.name for hdu in hdus}


def test_maps_write_full_files_of_one_geometry_and_catalogues(field, words, tmp_path):
    folder, _ = field
    shape = tmp_path / "shape.toml"
    shape.write_text('[pline]\nkernel = "square"\npixfrac = 0.8\npixscale = 0.13\nsize = 3.0\n')
    made = run(
        "maps", folder / "beams", *words, *SMALL, "-o", tmp_path / "maps", "--geometry", shape,
        "--write", "full", "--write", "stack",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    full = read_full_file(tmp_path / "maps" / "sim_00002.full.fits")
    assert full.maps.kernel == "square"
    assert full.maps.grid.shape == (23, 23)
    assert full.thumbnail.grid.shape == full.maps.grid.shape
    assert "Ha" in full.maps.names
    wide = pl.read_csv(tmp_path / "maps" / "wide.csv")
    assert sorted(wide["id"]) == [2, 4, 5]
    assert {"flux_Ha", "err_Ha", "ew50_Ha", "ewhw_Ha", "z_map", "chinu", "t_g141"} <= set(wide.columns)
    long = pl.read_csv(tmp_path / "maps" / "lines.csv")
    assert long.filter(pl.col("line") == "Ha").height == 3
    assets = pl.read_csv(tmp_path / "maps" / "assets.csv")
    assert assets.group_by("kind").len().sort("kind").rows() == [("full", 3), ("stack", 3)]
    for path, digest in assets.select("path", "sha256").iter_rows():
        assert hashlib.sha256((tmp_path / "maps" / path).read_bytes()).hexdigest() == digest
    # Pictures stand in the same table, and none in a cell of the catalogue.
    drawn = run("plot", folder / "beams" / "sim_00002.beams.fits", *words, *SMALL, "-o", tmp_path / "maps")
    assert drawn.exit_code == 0, drawn.output
    assert (tmp_path / "maps" / "sim_00002.png").stat().st_size > 50_000
    assert set(pl.read_csv(tmp_path / "maps" / "assets.csv")["kind"]) == {"full", "stack", "summary"}
    assert not any("<img" in str(value) for value in wide.rows())


def test_objects_of_two_fields_with_the_same_number_are_two_rows(field, words, tmp_path):
    folder, _ = field
    for name in ("north", "south"):
        (tmp_path / f"{name}_00002.beams.fits").write_bytes((folder / "beams" / "sim_00002.beams.fits").read_bytes())
    made = run("maps", tmp_path, *words, *SMALL, "-o", tmp_path / "maps", "--write", "row")
    assert made.exit_code == 0, made.output
    wide = pl.read_csv(tmp_path / "maps" / "wide.csv")
    assert wide.select("name", "id").rows() == [("north_00002", 2), ("south_00002", 2)]
    lines = pl.read_csv(tmp_path / "maps" / "lines.csv")
    assert set(lines["name"]) == {"north_00002", "south_00002"}


def test_maps_write_the_psf_of_each_filter_on_the_pixels_of_the_lines(field, words, tmp_path):
    folder, _ = field
    path = folder / "beams" / "sim_00002.beams.fits"
    psf = ("--psf", "--psf-source", "moffat:0.15:3")
    made = run("maps", path, *words, *SMALL, "-o", tmp_path, *psf)
    assert made.exit_code == 0, made.output
    with fits.open(tmp_path / "sim_00002.full.fits") as hdus:
        line = hdus["LINE", "Ha"].header
        direct = [hdu.header["EXTVER"] for hdu in hdus if hdu.name == "DSCI"]
        planes = [hdu for hdu in hdus if hdu.name == "DPSF"]
        assert [hdu.header["EXTVER"] for hdu in planes] == direct == ["F140W"]
        for hdu in planes:
            assert hdu.shape == hdus["LINE", "Ha"].shape
            shared = "CRPIX1 CRPIX2 CRVAL1 CRVAL2 CD1_1 CD2_2 CTYPE1 CTYPE2 DRIZKRNL PIXFRAC"
            for key in shared.split():
                assert hdu.header[key] == line[key], key
            y, x = np.indices(hdu.shape)
            near = np.hypot(x + 1 - line["CRPIX1"], y + 1 - line["CRPIX2"]) * line["PIXASEC"] < 3
            assert hdu.data[near].sum() == pytest.approx(1.0, abs=0.01)
    # What has no PSF is said, and the maps are written.
    made = run("maps", path, *words, *SMALL, "-o", tmp_path / "stars", "--psf")
    assert made.exit_code == 0, made.output
    assert "f140w: no PSF: psf: 'stars' is not allowed here" in made.output
    with fits.open(tmp_path / "stars" / "sim_00002.full.fits") as hdus:
        assert "DPSF" not in [hdu.name for hdu in hdus]
    made = run("maps", path, *words, *SMALL, "-o", tmp_path / "bad", "--psf", "--psf-source", "airy:3")
    assert made.exit_code == 1
    assert "psf: 'airy:3' is not allowed" in made.output


def test_a_lake_takes_files_fits_them_and_gives_the_same_files_back(field, words, tmp_path):
    folder, _ = field
    files = [folder / "beams" / f"sim_0000{label}.beams.fits" for label in (2, 4)]
    made = run("fit", files[0], folder / "beams" / "sim_00009.beams.fits", *words, *SMALL, "--lake", tmp_path / "lake")
    assert made.exit_code == 0, made.output
    assert "sim_00009" in made.output
    made = run("fit", files[1], *words, *SMALL, "--lake", tmp_path / "lake")
    assert made.exit_code == 0, made.output
    # The first source is still there.
    lake = Lake.open(tmp_path / "lake")
    rows = lake.table("redshift").collect()
    assert rows["status"].to_list() == ["ok", "ok"]
    by_label = dict(lake.table("beam").select("label", "source_id").unique().collect().iter_rows())
    templates = words[:2]
    made = run(
        "maps", "--lake", tmp_path / "lake", *templates, "--source", by_label[2], "-o", tmp_path / "maps",
        "--write", "full", "--write", "stack", "--write", "1D", "--write", "row",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert lake.table("line_map").collect()["source_id"].n_unique() == 2
    name = f"grism_{by_label[2]}"
    assert {path.name for path in (tmp_path / "maps").glob("*.fits")} == {
        f"{name}.{kind}.fits" for kind in ("full", "stack", "1D", "row")
    }
    made = run("maps", files[0], *words, *SMALL, "-o", tmp_path / "own")
    assert made.exit_code == 0, made.output
    own, stored = (read_full_file(tmp_path / part) for part in ("own/sim_00002.full.fits", f"maps/{name}.full.fits"))
    assert own.maps["Ha"].data.tobytes() == stored.maps["Ha"].data.tobytes()
    assert own.maps["Ha"].weight.tobytes() == stored.maps["Ha"].weight.tobytes()
    assert own.columns["z_map"] == stored.columns["z_map"]
    assert pl.read_csv(tmp_path / "maps" / "wide.csv")["id"].to_list() == [by_label[2]]
    drawn = run("plot", "--lake", tmp_path / "lake", *templates, "--source", by_label[4], "-o", tmp_path / "maps")
    assert drawn.exit_code == 0, drawn.output
    assert (tmp_path / "maps" / f"grism_{by_label[4]}.png").stat().st_size > 50_000
    # `skymere plot` draws both without templates; the model of a beam is that of the fit.
    of_lake = (tmp_path / "lake", str(by_label[2]))
    for words_of_it in (
        ("beam", files[0]),
        ("beam", *of_lake),
        ("redshift", *of_lake),
        ("redshift", tmp_path / "maps" / f"{name}.full.fits"),
    ):
        drawn = CliRunner().invoke(app, ["plot", *map(str, words_of_it), "-o", str(tmp_path / "picture.png")])
        assert drawn.exit_code == 0, drawn.output
        assert (tmp_path / "picture.png").stat().st_size > 10_000
        (tmp_path / "picture.png").unlink()
    for one in beam_pictures(SourceRows(lake, [by_label[2]]), by_label[2]):
        # The flat model of the others has no lines.
        usable = (one.err > 0) & (np.abs(one.contam) < one.err)
        before, after = ((one.sci - one.contam - model)[usable] / one.err[usable] for model in (0.0, one.model))
        assert np.mean(after**2) < 1.3
        assert np.mean(before**2) > 1.5 * np.mean(after**2)
    # What is left out of beams asks for another fit before anything is drawn.
    parent = lake.beams(by_label[2]).beams[0].beam.parent
    (tmp_path / "actions.csv").write_text(f"source_id,exposure_id,action\n{by_label[2]},{parent},omit\n")
    made = run(
        "maps", "--lake", tmp_path / "lake", *templates, "--source", by_label[2], "--actions", tmp_path / "actions.csv"
    )
    assert made.exit_code == 1
    assert "fit it again" in made.output
    made = run("fit", "--lake", tmp_path / "lake", *templates, *SMALL)
    assert made.exit_code == 0, made.output
    made = run("plot", "--lake", tmp_path / "lake", *templates, "--source", by_label[2], "-o", tmp_path / "maps")
    assert made.exit_code == 0, made.output


def test_bad_input_is_one_line(field, words, tmp_path):
    folder, survey = field
    file = folder / "beams" / "sim_00002.beams.fits"
    for command, told in (
        (("fit", file), "--templates: is missing"),
        (("fit", *words), "BEAMS: missing"),
        (("fit", tmp_path, *words), "no *.beams.fits"),
        (("fit", "--lake", tmp_path / "none", *words), "is no lake"),
        (("maps", file, "--templates", "nowhere/"), "no such folder"),
        (("maps", file, *words, "--geometry", "round"), "--geometry: 'round'"),
        (("fit", file, *words, *SMALL, "--write", "html", "-o", tmp_path / "o"), "['html'] are not allowed"),
        (("fit", folder / "beams" / "sim_00009.beams.fits", *words, "-o", tmp_path / "o"), "FormatError"),
    ):
        made = run(*command)
        assert made.exit_code == 1, (command, made.output)
        assert told in made.output.replace("\n", " "), (command, made.output)
    made = run("fit", file, *words, *SMALL, "--lake", tmp_path / "lake")
    assert made.exit_code == 0, made.output
    made = run("plot", "--lake", tmp_path / "lake", *words[:2])
    assert made.exit_code == 1
    assert "--source: is missing" in made.output
    made = CliRunner().invoke(app, ["thumbnails", str(survey.direct[0]), "--at", "150.1 2.2", "--with-beams"])
    assert made.exit_code == 1
    assert "--with-beams: is not allowed here" in made.output.replace("\n", " ")
    made = run("plot", "--lake", tmp_path / "lake", *words[:2], "--source", 77)
    assert made.exit_code == 1
    assert "77" in made.output


@pytest.fixture
def one_bad(field, tmp_path):
    """A file of beams one orientation of which has the light of a source that no model knows."""
    folder, _ = field
    beams = read_beam_file(folder / "beams" / "sim_00002.beams.fits")
    one = beams[1]
    bump = np.where(np.arange(one.sci.shape[1]) % 40 < 20, 12 * float(np.median(one.err[one.err > 0])), 0.0)
    write_beam_file(tmp_path / "bad_00002.beams.fits", [beams[0], replace(one, sci=one.sci + bump.astype(np.float32))])
    return tmp_path / "bad_00002.beams.fits"


def test_orientations_that_do_not_fit_are_left_out_when_asked_and_the_row_says_which(one_bad, words, tmp_path):
    for threshold, n_beams in ((0.0, 2), (GRIZLI_BAD_PA, 1)):
        made = run("fit", one_bad, *words, *SMALL, "-o", tmp_path / "out", "--bad-pa-threshold", threshold)
        assert made.exit_code == 0, made.output
        (row,) = pl.read_csv(tmp_path / "out" / "redshifts.csv").iter_rows(named=True)
        assert (row["n_beams"], row["has_bad_pa"]) == (n_beams, n_beams == 1)
        dropped = json.loads(row["bad_pa"])
        assert [one["grism"] for one in dropped] == ["G141"] * (2 - n_beams)
        assert all(one["ratio"] > GRIZLI_BAD_PA for one in dropped)


def test_a_lake_keeps_which_orientations_were_left_out_and_draws_without_them(one_bad, words, tmp_path):
    place = tmp_path / "lake"
    made = run("maps", one_bad, *words, "--lake", place)
    assert made.exit_code == 0, made.output
    made = run("fit", *words[:2], *SMALL, "--lake", place, "--bad-pa-threshold", GRIZLI_BAD_PA)
    assert made.exit_code == 0, made.output
    lake = Lake.open(place)
    (row,) = lake.table("redshift").collect().iter_rows(named=True)
    (dropped,) = json.loads(row["bad_pa"])
    assert (row["has_bad_pa"], row["n_beams"], row["n_pa_g141"]) == (True, 1, 1)
    whole = lake.beams(row["source_id"])
    assert dropped["angle"] in whole.PA["G141"]
    plan = GrismFitPlan(templates=words[1])
    one = object_of_lake(lake, row["source_id"], fit_sets(plan, tmp_path))
    assert (whole.N, one.multibeam.N) == (2, 1)
    assert dropped["angle"] not in one.multibeam.PA["G141"]
    made = run("maps", *words[:2], "--lake", place, "--source", row["source_id"], "-o", tmp_path / "maps")
    assert made.exit_code == 0, made.output
    (map_row,) = lake.table("line_map").select("source_id").unique().collect().iter_rows(named=True)
    assert map_row["source_id"] == row["source_id"]
    with fits.open(next((tmp_path / "maps").glob("*.full.fits"))) as hdus:
        assert hdus[0].header["NINPUT"] == 1


def test_beams_are_drawn_against_each_other_without_a_fit(one_bad, field, words, tmp_path):
    made = run("plot", one_bad, *words[2:], "--beams", "-o", tmp_path / "out")
    assert made.exit_code == 0, made.output
    picture = tmp_path / "out" / "bad_00002.beams.png"
    assert picture.stat().st_size > 15_000
    assets = pl.read_csv(tmp_path / "out" / "assets.csv")
    assert assets.select("name", "kind", "path").rows() == [("bad_00002", "beams", picture.name)]
    # Of two beams the one with more light is named.
    assert "mask" in made.output
    assert "gsim" in made.output.replace("\n", "")
    made = run("plot", "--beams")
    assert made.exit_code == 1
    assert "BEAMS: missing" in made.output


def test_widths_of_lines_are_fitted_when_asked(field, words, tmp_path):
    folder, _ = field
    file = folder / "beams" / "sim_00002.beams.fits"
    made = run("fit", file, *words, *SMALL, "-o", tmp_path / "out", "--widths")
    assert made.exit_code == 0, made.output
    lines = pl.read_csv(tmp_path / "out" / "lines.csv")
    assert {"width", "width_err", "width_reason"} <= set(lines.columns)
    # A line has a width or a reason.
    assert (lines["width"].is_null() == lines["width_reason"].is_not_null()).all()
    made = run("fit", file, *words, *SMALL, "--lake", tmp_path / "lake", "--widths")
    assert made.exit_code == 0, made.output
    kept = Lake.open(tmp_path / "lake").table("line").select("line", "width", "width_reason").collect()
    told = dict(lines.select("line", "width").iter_rows())
    for name, width, reason in kept.iter_rows():
        assert (width is None) == (reason != "")
        assert width == pytest.approx(told[name], rel=1e-6) if width is not None else told[name] is None


def test_a_dry_run_prints_everything_a_fit_would_be_done_with_and_does_nothing(field, words, tmp_path):
    folder, _ = field
    file = folder / "beams" / "sim_00002.beams.fits"
    made = run("fit", file, *words, *SMALL, "-o", tmp_path / "out", "--bad-pa-threshold", 1.6, "--dry-run")
    assert made.exit_code == 0, made.output
    found = json.loads(made.output)
    assert not (tmp_path / "out").exists()
    assert found["files"] == [str(file)]
    assert found["fit"]["z_range"] == [0.6, 1.4]
    assert found["fit"]["bad_pa_threshold"] == 1.6
    assert found["fit"]["params"]["huber_delta"] == 4.0
    assert found["beam"]["fcontam"] == 0.2
    assert "OIII+Hb+Hg+Hd" in found["templates"]["search"]["lines"]
    assert "OIII" in found["templates"]["lines"]["lines"]
    assert found["geometry"]["size"] == 8.0
    # What is wrong is found without a fit.
    for wrong, name in (
        (("--bad-pa-threshold", "0.5"), "bad_pa_threshold"),
        (("--geometry", "nothing.toml"), "nothing.toml"),
        (("--operator", "none"), "operator"),
    ):
        made = run("fit", file, *words, *SMALL, *wrong, "--dry-run")
        assert made.exit_code != 0
        assert name in made.output
    made = run("fit", tmp_path / "no.beams.fits", *words, "--dry-run")
    assert made.exit_code != 0
    assert "no such file" in made.output
