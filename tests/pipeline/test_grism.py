"""The stages of slitless spectra: frames, beams, redshifts, maps and spectra of a simulated field."""

import json
import os
import shutil

import numpy as np
import polars as pl
import pytest
from tests.pipeline.grism_survey import simulated
from typer.testing import CliRunner

from skymere.cli import app
from skymere.datamodels import SegmentationMap
from skymere.errors import InvalidInputError, NoDataError, NotFoundError
from skymere.grism import (
    BeamCutParams,
    FrameParams,
    as_model,
    cut_beams,
    fit_redshift,
    fit_templates,
    make_frames,
    read_beams,
    refine_contamination,
    refine_redshift,
    write_beam_file,
)
from skymere.io import add_pack, read_band, read_exposure, read_labels, read_table, read_thumbnail
from skymere.lake import Lake
from skymere.lake.ragged import read_ragged
from skymere.pipeline import explain_plan, read_plan, run_plan
from skymere.pipeline.grism_fits import fit_sets, stored_curve, stored_model
from skymere.pipeline.grism_frames import known_sources, stored_frames
from skymere.pipeline.grism_plan import GrismFitPlan
from skymere.pipeline.stages.maps import object_maps
from skymere.testing import (
    SlitFilesParams,
    SlitSceneParams,
    simulate_slit_files,
    write_grism_templates,
    write_slit_pack,
)

PLAN = """
[survey]
exposures = []

[tile]
kind = "healpix"

[contam]
files = ["exposures/*g_flt.fits"]
direct = ["exposures/*d_flt.fits", "mosaic_f140w_drz.fits"]
catalogue = "catalogue.csv"
segmentation = "segmentation.fits"
conf = "CONF"
frame.pad = [20, 256]

[redshifts.grism]
templates = "templates/"
z_range = [0.4, 1.9]
dz = [0.01, 0.001]

[maps]
size = 3.0
"""


def run(folder):
    return run_plan(read_plan(folder / "plan.toml"))


def done(folder) -> dict[str, int]:
    return {stage.name: stage.n_done for stage in run(folder).stages}


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """The files of a field."""
    folder = tmp_path_factory.mktemp("field") / "survey"
    survey = simulated(folder)
    write_grism_templates(folder / "templates")
    (folder / "plan.toml").write_text(PLAN)
    return survey


@pytest.fixture(scope="module")
def finished(field):
    """A field that was run; not to be changed."""
    run(field.folder)
    return field


@pytest.fixture
def fresh(finished, tmp_path):
    """A copy that a test may change."""
    shutil.copytree(finished.folder, tmp_path / "survey")
    return tmp_path / "survey"


@pytest.fixture(scope="module")
def lake(finished):
    return Lake.open(finished.folder / "lake")


def ids(lake: Lake) -> dict[int, int]:
    """Sources by label."""
    return dict(known_sources(lake, "grism-frames").select("label", "source_id").iter_rows())


def test_frames_come_back_with_the_same_bits_and_beams_are_those_of_the_functions(finished, lake):
    params = FrameParams(pad=(20, 256))
    labels, grid = read_labels(finished.segmentation)
    frames = list(
        make_frames(
            finished.grism,
            read_table(finished.catalogue),
            SegmentationMap(labels=labels, grid=grid),
            [*(read_exposure(path) for path in finished.direct), read_band(finished.mosaic)],
            configs=finished.conf,
            params=params,
        )
    )
    refined = refine_contamination(frames)
    with stored_frames(lake, "grism-frames") as stored:
        assert [one.name for one in stored] == sorted(one.name for one in frames)
        for one, other in zip(stored, refined.frames, strict=True):
            for name in ("sci", "err", "dq", "direct", "segmentation", "model"):
                assert np.asarray(getattr(one, name)).tobytes() == getattr(other, name).tobytes(), name
            assert set(one.spectra) == set(other.spectra)
            assert one.params == params
    names = ids(lake)
    for label, made in cut_beams(refined.frames, params=BeamCutParams(frame=params)):
        read = lake.beams(names[label])
        for name in ("scif", "ivarf", "weightf", "contamf", "flat_flam", "fit_mask"):
            assert getattr(made, name).tobytes() == getattr(read, name).tobytes(), name


def test_emitters_have_their_redshift_and_every_row_is_of_the_beams(finished, lake):
    names = ids(lake)
    found = lake.table("redshift").collect()
    assert found["status"].to_list() == ["ok"] * len(names)
    assert set(found["method"]) == {"grism"}
    z = dict(found.select("source_id", "redshift").iter_rows())
    # One weak line (5), and the brightest source with templates that are not its spectrum (1), are taken for others.
    for label in (2, 3, 4, 6):
        truth = float(finished.sources.filter(pl.col("id") == label)["z"][0])
        print(f"{label}: z {z[names[label]]:.4f}, truth {truth:.4f}")
        assert abs(z[names[label]] - truth) < 0.002 * (1 + truth)
    assert set(found["n_beams"]) <= {1, 2}
    assert found["exptime_g141"].min() > 0
    assert found["chi2_spline"].null_count() == 0
    pz = lake.table("pz").collect()
    assert pz["pdf_sum"].to_numpy() == pytest.approx(1.0, abs=1e-6)
    row = pz.row(0, named=True)
    arrays = lake.arrays("pz", row["tile"])
    levels = arrays["cdf_z"][row["pz_row"]]
    assert levels.shape == (51,)
    assert np.all(np.diff(levels) >= 0)
    # Level 25 of 51 is the median.
    assert levels[25] == pytest.approx(found.filter(pl.col("source_id") == row["source_id"])["z50"][0], abs=1e-3)


def test_the_fit_out_of_the_lake_is_that_of_the_functions(finished, lake):
    plan = read_plan(finished.folder / "plan.toml")
    sets = fit_sets(plan.redshifts.grism, plan.folder)
    source_id = ids(lake)[2]
    model, curve = stored_model(lake, source_id, sets), stored_curve(lake, source_id)
    grism, beams = plan.redshifts.grism, lake.beams(source_id)
    found = fit_redshift(beams, templates=sets.search, z_range=grism.z_range, dz=grism.dz, params=grism.params)
    assert curve.z_map == found.z_map
    refined = refine_redshift(beams, found, templates=sets.lines, params=grism.params)
    made = as_model(fit_templates(beams, refined.z_map, templates=sets.lines))
    row = lake.table("redshift").filter(pl.col("source_id") == source_id).collect().row(0, named=True)
    assert row["redshift"] == row["beam_z_map"] == refined.z_map
    assert (row["beam_z16"], row["beam_z84"]) == (refined.z_percentiles[1], refined.z_percentiles[3])
    assert row["redshift_err"] == pytest.approx((row["beam_z84"] - row["beam_z16"]) / 2)
    assert model.z == made.z
    assert model.backgrounds == made.backgrounds
    assert dict(model.coefficients) == dict(made.coefficients)
    assert model.covariance.tobytes() == made.covariance.tobytes()
    lines = lake.table("line").filter(pl.col("source_id") == source_id).collect()
    ha = lines.filter(pl.col("line") == "Ha").row(0, named=True)
    assert ha["flux"] == model.line_fluxes["Ha"][0]
    assert ha["snr"] > 10
    assert ha["ew16"] < ha["ew50"] < ha["ew84"]
    assert json.loads(lake.table("redshift").filter(pl.col("source_id") == source_id).collect()["lines"][0])


def test_maps_direct_images_and_labels_share_one_geometry_that_is_in_the_run(finished, lake):
    plan = read_plan(finished.folder / "plan.toml")
    rows = lake.table("line_map").collect()
    digest = plan.maps.geometry.digest
    assert set(rows["geometry_sha256"]) == {digest}
    assert rows.group_by("source_id").agg(pl.col("wcs").n_unique())["wcs"].max() == 1
    assert set(rows["kind"]) == {"line", "direct", "seg"}
    assert rows.select("ny", "nx").unique().row(0) == plan.maps.geometry.shape
    runs = lake.table("run").filter(pl.col("product") == "line_map").collect()
    assert json.loads(runs["params"][0])["geometry"] == digest
    source_id = ids(lake)[2]
    made = object_maps(
        lake.beams(source_id), stored_model(lake, source_id, fit_sets(plan.redshifts.grism, plan.folder)), plan.maps
    )
    mine = rows.filter(pl.col("source_id") == source_id)
    row = mine.filter(pl.col("kind") == "line", pl.col("name") == "Ha").row(0, named=True)
    group = lake.arrays("line_map", row["tile"])
    low, high = group["line/offset"][row["map_row"] : row["map_row"] + 2]
    assert group["line/sci"][low:high].tobytes() == made.maps["Ha"].data.tobytes()
    assert group["line/wht"][low:high].tobytes() == made.maps["Ha"].weight.tobytes()
    seg = mine.filter(pl.col("kind") == "seg").row(0, named=True)
    low, high = group["seg/offset"][seg["map_row"] : seg["map_row"] + 2]
    labels = set(group["seg/label"][low:high].tolist())
    assert source_id in labels
    assert labels <= {0, *ids(lake).values()}
    (spectrum,) = (lake.spectra(source_id=[source_id])[k] for k in range(1))
    table = made.spectra["G141"].table
    assert np.array_equal(spectrum["flux"], table["flam"].to_numpy().astype(np.float32), equal_nan=True)
    stacks = lake.table("stack").filter(pl.col("source_id") == source_id).collect()
    assert stacks.height == len(made.stacks) == 3
    assert stacks["pa"].null_count() == 1


def test_every_row_says_what_it_came_from(finished, lake):
    runs = lake.table("run").collect()
    for product in ("grism_frame", "beam", "redshift", "pz", "line", "line_map", "spectrum", "stack"):
        rows = lake.table(product).select("run_id").unique().collect()
        made = rows.join(runs.filter(pl.col("product") == product), on="run_id", how="left")
        assert made.height
        assert made["inputs"].null_count() == 0, product
    key = {"source_id": ids(lake)[2], "kind": "line", "name": "Ha"}
    tree = lake.provenance("line_map", key)
    assert {path.name for path in finished.grism} <= {file.uri for file in tree.files}
    assert lake.fsck() == []
    items = lake.table("run_item").filter(pl.col("stage") == "beams").collect()
    assert sorted(items["item"]) == sorted(str(one) for one in ids(lake).values())


def test_lines_and_redshifts_say_why_they_have_no_width(lake):
    for product, column in (("line", "width"), ("redshift", "line_width")):
        table = lake.table(product).select(column, f"{column}_reason").collect()
        assert table.height
        assert table[column].null_count() == table.height
        assert set(table[f"{column}_reason"]) == {"not fitted"}


def test_the_best_object_is_drawn(finished):
    picture = finished.folder / "pictures" / "grism.png"
    assert picture.stat().st_size > 50_000


def test_every_beam_has_its_quality(lake):
    rows = lake.table("beam").collect()
    assert rows["contam_fraction"].is_between(0, 1).all()
    assert rows["contam_fraction"].n_unique() > 1
    assert rows["residual_chi2"].min() > 0
    assert rows["n_valid"].min() > 100


def test_a_second_run_does_nothing_and_other_parameters_change_what_follows_alone(fresh):
    # Times of files do not count, what is in them does.
    for path in fresh.rglob("*.fits"):
        os.utime(path, (1, 1))
    assert sum(done(fresh).values()) == 0
    plan = fresh / "plan.toml"
    plan.write_text(PLAN.replace("size = 3.0", "size = 2.0") + '[release]\nname = "DR2"\n')
    again = done(fresh)
    assert {name for name, n in again.items() if n} == {"maps", "release"}
    lake = Lake.open(fresh / "lake")
    assert lake.table("line_map").select("ny").unique().collect()["ny"].to_list() == [20]
    # Nothing of before counts any more.
    lake.fsck()


def test_a_run_that_was_stopped_goes_on_to_the_same_lake(finished, lake, tmp_path, monkeypatch):
    folder = tmp_path / "survey"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns("lake", "*.jsonl", "pictures"))
    calls = []

    def stop(*args, **words):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return object_maps(*args, **words)

    with monkeypatch.context() as patch:
        patch.setattr("skymere.pipeline.stages.maps.object_maps", stop)
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    assert Lake.open(folder / "lake").live_runs("line_map") == {}
    assert {name for name, n in done(folder).items() if n} == {"maps", "release"}
    assert Lake.open(folder / "lake").content_hash() == lake.content_hash()


def test_actions_of_a_file_are_replayed_by_the_next_fit(fresh):
    before = Lake.open(fresh / "lake")
    one, other = (ids(before)[label] for label in (2, 5))
    first = before.beams(one).beams[0].beam.parent
    (fresh / "actions.csv").write_text(
        f"source_id,exposure_id,action,reason\n{one},{first},omit,a ghost\n{other},,omit,all of it\n"
    )
    (fresh / "plan.toml").write_text(PLAN + '[beams]\nactions = "actions.csv"\n[release]\nname = "DR2"\n')
    report = done(fresh)
    assert report["contam"] == 0
    assert report["redshifts"] == report["maps"] == 1
    lake = Lake.open(fresh / "lake")
    assert lake.beams(one).N == 1
    rows = {row["source_id"]: row for row in lake.table("redshift").collect().iter_rows(named=True)}
    assert rows[one]["n_beams"] == 1
    # One object without a beam is a row, and the others go on.
    assert rows[other]["status"] == "failed"
    assert "left out" in rows[other]["message"]
    assert sum(row["status"] == "ok" for row in rows.values()) == len(rows) - 1
    assert other not in set(lake.table("line_map").collect()["source_id"])
    assert sum(done(fresh).values()) == 0


def test_bad_exposures_and_files_are_rows_with_the_reason_and_the_others_go_on(finished, tmp_path):
    folder = tmp_path / "survey"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns("lake", "events.jsonl", "pictures"))
    broken = min((folder / "exposures").glob("*g_flt.fits"))
    broken.write_bytes(broken.read_bytes()[:5000])
    whole = Lake.open(finished.folder / "lake")
    source_id = ids(whole)[3]
    beams = folder / "beams"
    beams.mkdir()
    write_beam_file(beams / "good.beams.fits", [one.beam for one in whole.beams(source_id).beams])
    (beams / "bad.beams.fits").write_bytes(b"nothing of FITS")
    (folder / "plan.toml").write_text(
        PLAN.replace("[redshifts.grism]", '[beams]\nfiles = ["beams"]\n[redshifts.grism]')
    )
    report = run(folder)
    lake = Lake.open(folder / "lake")
    frames = lake.table("grism_frame").collect()
    status = dict(frames.select("exposure_id", "status").iter_rows())
    assert status[broken.name.removesuffix("_flt.fits")] == "failed"
    assert sorted(status.values()) == ["failed", "ok"]
    problems = dict(report.problems.select("item", "message").iter_rows())
    assert any("bad.beams.fits" in text for text in problems.values())
    # The good file is of a source that is on the frames, too: it is told, and the frames win.
    assert "another file" in problems[str(source_id)]
    assert lake.beams(source_id).N == 1
    assert lake.table("redshift").collect().height == lake.table("beam").collect()["source_id"].n_unique()


def test_beams_of_files_alone_make_a_lake(finished, lake, tmp_path):
    folder = tmp_path / "survey"
    shutil.copytree(finished.folder / "templates", folder / "templates")
    (folder / "beams").mkdir()
    for label in (2, 4):
        path = folder / "beams" / f"sim_{label:05d}.beams.fits"
        write_beam_file(path, [one.beam for one in lake.beams(ids(lake)[label]).beams])
    plan = '[survey]\nexposures = []\n[tile]\nkind = "healpix"\n[beams]\nfiles = ["beams/*.fits"]\n'
    plan += f'conf = "{finished.conf}"\n' + PLAN[PLAN.index("[redshifts.grism]") :]
    (folder / "plan.toml").write_text(plan)
    run(folder)
    own = Lake.open(folder / "lake")
    stored = own.table("redshift").sort("source_id").collect()
    expected = lake.table("redshift").filter(pl.col("source_id").is_in(stored["source_id"].to_list()))
    expected = expected.sort("source_id").collect()
    assert stored["source_id"].to_list() == expected["source_id"].to_list()
    np.testing.assert_allclose(stored["redshift"], expected["redshift"], atol=1e-9)
    read = read_beams(folder / "beams" / "sim_00002.beams.fits", conf_path=finished.conf)
    same = own.beams(ids(lake)[2])
    assert read.scif.tobytes() == same.scif.tobytes()
    assert read.flat_flam.tobytes() == same.flat_flam.tobytes()


def test_a_missing_file_is_an_error_that_names_its_key(tmp_path):
    lake = tmp_path / "lake"
    Lake.create(lake, tiles="healpix", scale_arcsec=0.1)

    def plan(text):
        (tmp_path / "plan.toml").write_text(f'[survey]\nexposures = []\n[tile]\nkind = "healpix"\n{text}')
        return tmp_path

    with pytest.raises(InvalidInputError, match=r"contam\.files: 'none"):
        run(plan('[contam]\nfiles = ["none/*.fits"]\n'))
    (tmp_path / "one.fits").write_bytes(b"")
    with pytest.raises(InvalidInputError, match=r"contam\.conf: 'nowhere' is not there"):
        run(plan('[contam]\nfiles = ["one.fits"]\nconf = "nowhere"\n'))
    with pytest.raises(NoDataError, match="segmentation"):
        run(plan('[contam]\nfiles = ["one.fits"]\n[run]\nkeep_going = false\n'))
    with pytest.raises(NoDataError, match="none can be used"):
        run(plan('[beams]\nfiles = ["one.fits"]\n'))
    with pytest.raises(InvalidInputError, match="GRISM=FILE"):
        run(plan('[contam]\nmasters = ["g141"]\n'))


def test_exposures_alone_become_redshifts_and_maps(finished, tmp_path):
    """Direct exposures are ingested, combined and searched, and what is found gives labels, images and names."""
    folder = tmp_path / "survey"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns("lake", "*.jsonl", "pictures", "catalogue*"))
    (folder / "plan.toml").write_text(
        """
[survey]
exposures = ["exposures/*d_flt.fits"]

[tile]
scale_arcsec = 0.1

[contam]
files = ["exposures/*g_flt.fits"]
conf = "CONF"
frame.pad = [20, 256]
"""
        + PLAN[PLAN.index("[redshifts.grism]") :].replace("[0.4, 1.9]", "[0.6, 1.4]")
        + 'psf = "moffat:0.15:3"\n'
    )
    run(folder)
    lake = Lake.open(folder / "lake", release="DR1")
    sources = lake.table("source").collect()
    assert sources.height == finished.sources.height
    truth = lake.crossmatch("source", finished.sources.select("ra", "dec", "id", "z"), radius_arcsec=0.3).collect()
    z = dict(lake.table("redshift").select("source_id", "redshift").collect().iter_rows())
    assert set(z) == set(sources["source_id"])
    for source_id, label, wanted in truth.select("source_id", "id", "z").iter_rows():
        if label in (2, 4, 5):
            print(f"{label}: z {z[source_id]:.4f}, truth {wanted:.4f}")
            assert abs(z[source_id] - wanted) < 0.002 * (1 + wanted)
    rows = lake.table("line_map").collect()
    assert rows.group_by("source_id").agg(pl.col("wcs").n_unique())["wcs"].max() == 1
    direct = rows.filter(pl.col("kind") == "direct")
    assert set(direct["weight_kind"]) == {"inverse_variance_with_sources"}
    assert set(direct["name"]) == {"f140w"}
    # A PSF beside each direct image, with the pixels of the lines and all the light that falls on them.
    stars = rows.filter(pl.col("kind") == "psf")
    assert stars.select("source_id", "name").rows() == direct.select("source_id", "name").rows()
    for one in stars.iter_rows(named=True):
        group = lake.arrays("line_map", one["tile"])
        low, high = group["psf/offset"][one["map_row"] : one["map_row"] + 2]
        psf = group["psf/sci"][low:high].reshape(one["ny"], one["nx"])
        assert psf.sum(dtype=float) == pytest.approx(1.0, abs=0.01)
        x = np.arange(one["nx"])
        # One exposure at each angle and ``point``: the centroid is off as that of the data is.
        assert (psf * x).sum() / psf.sum() == pytest.approx((one["nx"] - 1) / 2, abs=0.5)
    frames = lake.table("grism_frame").collect()
    assert set(frames["direct_kind"]) == {"exposure"}
    # Thumbnails of the sources with beams have the very pixels of the maps, when asked for the same geometry.
    shape = folder / "shape.toml"
    shape.write_text('[pline]\nkernel = "point"\npixfrac = 0.2\npixscale = 0.1\nsize = 3.0\n')
    words = [
        "--from-lake",
        str(folder / "lake"),
        "--with-beams",
        "--geometry",
        str(shape),
        "-o",
        str(folder / "thumbs"),
    ]
    made = CliRunner().invoke(app, ["thumbnails", *words])
    assert made.exit_code == 0, made.output
    assert len(list((folder / "thumbs").glob("*.thumb.fits"))) == lake.table("beam").collect()["source_id"].n_unique()
    row = direct.row(0, named=True)
    group = lake.arrays("line_map", row["tile"])
    low, high = group["direct/offset"][row["map_row"] : row["map_row"] + 2]
    thumbnail = read_thumbnail(folder / "thumbs" / f"skymere_{row['source_id']}.thumb.fits")
    stored = group["direct/sci"][low:high].reshape(row["ny"], row["nx"])
    np.testing.assert_array_equal(np.nan_to_num(thumbnail.bands[0].data), np.nan_to_num(stored))
    assert sum(done(folder).values()) == 0


def test_slits_and_beams_of_a_tile_are_in_the_same_tables(finished, lake, tmp_path, monkeypatch):
    folder = tmp_path / "survey"
    shutil.copytree(finished.folder / "templates", folder / "templates")
    (folder / "beams").mkdir()
    for label in (2, 4):
        path = folder / "beams" / f"sim_{label:05d}.beams.fits"
        write_beam_file(path, [one.beam for one in lake.beams(ids(lake)[label]).beams])
    places = lake.table("beam").filter(pl.col("label") == 2).head(1).collect()
    params = SlitFilesParams(scene=SlitSceneParams(shape=(25, 200)))
    slits = pl.DataFrame(
        {
            "name": ["9998_1", "9998_2"],
            # The first is the source with beams, the second has none.
            "ra": [places["ra"][0], places["ra"][0] + 0.001],
            "dec": [places["dec"][0]] * 2,
            "redshift": [2.0, 3.0],
            "continuum": [0.3, 0.3],
            "line_flux": [2.0, 2.0],
        }
    )
    write_slit_pack(tmp_path / "packs", params=params)
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "packs"))
    simulate_slit_files(slits, folder / "slits", seed=1, params=params)
    (folder / "plan.toml").write_text(
        f"""
[survey]
exposures = []
[tile]
kind = "healpix"
[slits]
files = ["slits"]
[beams]
files = ["beams"]
conf = "{finished.conf}"
[redshifts]
z_range = [1.0, 4.0]
params.coarse_step = 0.004
"""
        + PLAN[PLAN.index("[redshifts.grism]") :]
    )
    run(folder)
    own = Lake.open(folder / "lake")
    rows = own.table("redshift").sort("method", "source_id").collect()
    assert rows["method"].to_list() == ["grism"] * 2 + ["slit"] * 2
    assert rows["status"].to_list() == ["ok"] * 4
    both = rows.filter(pl.col("source_id") == ids(lake)[2])
    assert both.height == 2
    assert own.table("run_item").filter(pl.col("stage") == "redshifts").collect().height == 4
    for method, truth in (("slit", 2.0), ("grism", 0.876429)):
        z = both.filter(pl.col("method") == method)["redshift"][0]
        assert abs(z - truth) < 0.002 * (1 + truth)
    assert own.table("line").select("method").unique().collect().height == 2
    # Arrays belong to their rows: what a fit to slits lacks is empty.
    pz = own.table("pz").collect()
    assert pz["pdf_sum"].to_numpy() == pytest.approx(1.0, abs=1e-6)
    read = read_ragged(own, "redshift", rows, row="redshift_row")
    for i, row in enumerate(rows.iter_rows(named=True)):
        n = len(json.loads(row["coefficients"]))
        assert read[i]["coefficient"].shape == (n,)
        assert (read[i]["covariance"].size == 0) == (row["method"] == "slit")
    assert own.table("line_map").collect()["source_id"].n_unique() == 2
    assert sum(done(folder).values()) == 0


def test_templates_come_from_a_folder_or_a_pack(finished, tmp_path, monkeypatch):
    own = fit_sets(GrismFitPlan(templates="templates/"), finished.folder)
    add_pack(finished.folder / "templates" / "fsps", name="continua", version="1", into=tmp_path)
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path))
    packed = fit_sets(GrismFitPlan(templates="continua"), finished.folder)
    for name in ("search", "lines"):
        a, b = getattr(own, name), getattr(packed, name)
        assert a.names == b.names
        assert all(np.array_equal(x.flux, y.flux) for x, y in zip(a.continua, b.continua, strict=True))
    with pytest.raises(NotFoundError, match="pack nowhere"):
        fit_sets(GrismFitPlan(templates="nowhere"), finished.folder)


def test_what_a_run_of_grisms_would_do_is_told_before(fresh):
    plan = fresh / "plan.toml"
    told = explain_plan(read_plan(plan))
    assert {"contam", "beams", "redshifts", "maps"} <= set(told.tasks["stage"])
    assert set(told.tasks["state"]) == {"fresh"}
    shutil.move(fresh / "lake", fresh / "away")
    told = explain_plan(read_plan(plan))
    assert told.only(stage="contam")["state"].to_list() == ["new"]
    (row,) = told.only(stage="beams").to_dicts()
    assert (row["tile"], row["state"]) == ("", "unknown")
    assert "what grism_frame of grism-frames holds is not known" in row["reason"]
    for stage, product in (("redshifts", "beam"), ("maps", "redshift")):
        (row,) = told.only(stage=stage).to_dicts()
        assert (row["tile"], row["state"]) == ("", "unknown")
        assert row["reason"].startswith("it depends on ")
        assert f"{product}, which" in row["reason"]
