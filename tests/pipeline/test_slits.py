"""The stages of slits: simulated masks, the three real slitlets, and files that cannot be used."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from skymere.errors import InvalidInputError, NotFoundError
from skymere.io import find_pack, list_slits, read_slitlets, write_slitlets
from skymere.lake import Lake
from skymere.pipeline import explain_plan, read_plan, run_plan
from skymere.pipeline.plan import Plan, SurveyPlan
from skymere.pipeline.slit_plan import SlitsPlan
from skymere.pipeline.slit_units import batches, find_units
from skymere.slit import SlitGroup, bin_edges, combine_grating_group, extract_spectra, pixel_table_to_1d
from skymere.spectra import LINES
from skymere.testing import SlitFilesParams, SlitSceneParams, simulate_slit_files, write_slit_pack

DATA = Path(__file__).parents[1] / "data"
PARAMS = SlitFilesParams(scene=SlitSceneParams(shape=(25, 240), n_hot=2, outlier_fraction=0.001))
TRUTH = pl.DataFrame(
    {
        "name": [f"9998_{k}" for k in range(1, 6)],
        "ra": [150.0 + 0.002 * k for k in range(5)],
        "dec": [2.0] * 5,
        "redshift": [1.2, 2.1, 3.3, 4.6, 6.2],
        "continuum": [0.2] * 5,
        "line_flux": [3.0] * 5,
    }
)
PLAN = """
[survey]
exposures = []

[tile]
kind = "healpix"

[slits]
files = ["slits"]
batch = 2

[redshifts]
z_range = [1.0, 7.0]
params.coarse_step = 0.004
"""


def run(folder: Path):
    return run_plan(read_plan(folder / "plan.toml"))


def ids(lake: Lake) -> dict[str, int]:
    return dict(lake.table("slitlet").select("source_name", "source_id").unique().collect().iter_rows())


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs")
    write_slit_pack(folder, params=PARAMS)
    return folder


@pytest.fixture(autouse=True)
def only_these_packs(packs, monkeypatch, tmp_path):
    monkeypatch.setenv("SKYMERE_PACKS", str(packs))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def finished(packs, tmp_path_factory):
    """A mask of five sources that was run; not to be changed."""
    folder = tmp_path_factory.mktemp("slits") / "survey"
    simulate_slit_files(TRUTH, folder / "slits", seed=3, params=PARAMS)
    (folder / "plan.toml").write_text(PLAN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKYMERE_PACKS", str(packs))
        run(folder)
    return folder


@pytest.fixture
def fresh(finished, tmp_path):
    """A copy that a test may change."""
    shutil.copytree(finished, tmp_path / "survey")
    return tmp_path / "survey"


@pytest.fixture
def no_files(monkeypatch):
    """Whoever reads pixels or coordinates of a file fails."""

    def read(*args, **kwargs):
        pytest.fail(f"opened {args}")

    monkeypatch.setattr("skymere.pipeline.slit_work.read_slitlets", read)
    monkeypatch.setattr("skymere.io.slit_models.open_asdf_tree", read)


def test_every_source_has_its_redshift_and_its_flux(finished):
    lake = Lake.open(finished / "lake", release="DR1")
    names = ids(lake)
    found = lake.table("redshift").collect()
    assert found["status"].to_list() == ["ok"] * 5
    z = dict(found.select("source_id", "redshift").iter_rows())
    pulls, offsets = [], []
    for row in TRUTH.iter_rows(named=True):
        # A tenth of a pixel of 0.02 um is 0.0007 of the wavelength at 3 um.
        offsets.append((z[names[row["name"]]] - row["redshift"]) / (1 + row["redshift"]))
        assert abs(offsets[-1]) < 0.002, row
        (spectrum,) = lake.slit_spectra(source_id=[names[row["name"]]])
        far = np.ones(spectrum.wave.shape, bool)
        for line in ("OII", "Hb", "OIII-4959", "OIII-5007", "Ha"):
            far &= np.abs(spectrum.wave - LINES[line].main * (1 + row["redshift"])) > 0.08
        inside = far & (spectrum.wave > 1.0) & (spectrum.wave < 5.0) & np.isfinite(spectrum.flux)
        # The simulated slits cut nothing off.
        flux, factor = spectrum.flux[inside] / spectrum.path_corr[inside], spectrum.path_corr[inside]
        pulls.append(np.median((flux - 0.2) / (spectrum.err[inside] / factor)))
        print(f"{row['name']}: z {z[names[row['name']]]:.4f}, pull of the continuum {pulls[-1]:.2f} of {inside.sum()}")
    print(f"redshifts are off by {np.mean(offsets):.5f} +- {np.std(offsets):.5f} of 1 + z")
    # Medians of 5 times about 200 values of unit scatter: their mean is known to 0.04; five of that.
    assert abs(np.mean(pulls)) < 0.2
    lines = lake.table("line").collect()
    assert lines.filter(pl.col("line") == "OIII")["snr"].min() > 10
    pz = lake.table("pz").collect()
    assert pz["pdf_sum"].to_numpy() == pytest.approx(1.0, abs=1e-6)
    row = pz.row(0, named=True)
    arrays = lake.arrays("pz", row["tile"])
    low, high = arrays["offset"][row["pz_row"] : row["pz_row"] + 2]
    grid, pdf = arrays["z"][low:high], arrays["pdf"][low:high]
    assert grid.size == row["n_z"]
    assert z[row["source_id"]] == pytest.approx(grid[np.argmax(pdf)], abs=0.003)


def test_pixels_and_spectra_from_the_lake_are_those_of_the_files_to_the_last_bit(finished):
    lake, pack = Lake.open(finished / "lake"), find_pack("nirspec")
    source = ids(lake)["9998_2"]
    files = sorted((finished / "slits").glob("*.9998_2.fits"))
    raw = lake.raw_slitlets(source_id=[source])
    read = [one for path in files for one in read_slitlets(path)]
    assert [one.path for one in raw] == [str(path) for path in files]
    for a, b in zip(raw, read, strict=True):
        for name in ("source", "place", "exposure", "sha256", "unit", "pixel_area_sr"):
            # What is not known is NaN, which equals nothing.
            assert repr(getattr(a, name)) == repr(getattr(b, name))
        assert dict(a.dq_bits) == dict(b.dq_bits)
        for name in ("sci", "var_rnoise", "var_poisson", "dq", "wavelength", "bar"):
            assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name
        assert a.pathloss_ps is a.pathloss_un is a.var_flat is None
        assert a.geometry.slit_y.tobytes() == b.geometry.slit_y.tobytes()
    words = SlitsPlan().arguments()
    (made,) = extract_spectra(read, pack=pack, **words).spectra.values()
    (again,) = extract_spectra(raw, pack=pack, **words).spectra.values()
    assert made.flux.tobytes() == again.flux.tobytes()
    assert made.covariance.tobytes() == again.covariance.tobytes()
    (stored,) = lake.slit_spectra(source_id=[source], grating="prism")
    assert stored.wave.tobytes() == made.wave.tobytes()
    assert stored.covariance.tobytes() == made.covariance.tobytes()
    for name in ("flux", "sky", "path_corr"):
        rounded = np.asarray(getattr(made, name), np.float32).astype(np.float64)
        assert np.array_equal(getattr(stored, name), rounded, equal_nan=True), name
    for name in ("sci", "wht", "profile", "sky", "n_pixels"):
        rounded = getattr(made.image, name).astype(np.float32).astype(np.float64)
        assert np.array_equal(getattr(stored.image, name), rounded, equal_nan=True), name
    assert stored.image.y_edges.tobytes() == made.image.y_edges.tobytes()
    assert_frame_equal(stored.slits, made.slits, check_exact=True)
    assert stored.pixels.height == made.pixels.height


def test_a_group_out_of_the_lake_is_that_of_the_files(finished):
    lake = Lake.open(finished / "lake")
    slits = lake.raw_slitlets(source_id=[ids(lake)["9998_4"]], grating="prism")
    files = sorted((finished / "slits").glob("*.9998_4.fits"))
    made = []
    for given in (slits, files):
        group = SlitGroup(given, "one", undo_barshadow=0)
        group.fit_all_traces(degree=0)
        made.append(combine_grating_group(group))
    assert made[0].flux.tobytes() == made[1].flux.tobytes()
    arrays = lake.slitlets(source_id=[ids(lake)["9998_4"]], planes=["sci", "mask", "wavelength", "yslit"])
    assert len(arrays) == 3
    inside = arrays[0]["mask"] == 1
    assert np.isfinite(arrays[0]["sci"][inside]).all()
    assert np.abs(arrays[0]["yslit"][inside]).min() < 1


def test_polars_aggregates_the_table_of_pixels_to_the_spectrum(finished):
    lake = Lake.open(finished / "lake")
    source_id = ids(lake)["9998_3"]
    (stored,) = lake.slit_spectra(source_id=[source_id])
    edges = bin_edges(stored.wave)
    bins = pl.LazyFrame({"wave": stored.wave, "low": edges[:-1], "high": edges[1:]})
    w, p, t = 1 / pl.col("var_rnoise"), pl.col("profile"), pl.col("path_loss")
    spectrum = (
        lake.table("pixel_table")
        .filter(pl.col("source_id") == source_id, pl.col("grating") == "prism", pl.col("yslit").is_between(-3, 3))
        .with_columns(pl.selectors.float().cast(pl.Float64))
        .sort("wavelength")
        .join_asof(bins, left_on="wavelength", right_on="low")
        .filter(pl.col("wavelength") < pl.col("high"))
        .group_by("wave")
        .agg(
            flux=(pl.col("sci") / t * w * p).sum() / (w * p**2).sum(),
            err=(pl.col("var_total") / t**2 * w**2 * p**2).sum().sqrt() / (w * p**2).sum(),
            npix=pl.len(),
        )
        .sort("wave")
        .collect()
    )
    table = pixel_table_to_1d(stored.pixels, stored.wave).filter(pl.col("npix") > 0)
    assert spectrum["wave"].to_list() == table["wave"].to_list()
    assert spectrum["npix"].to_list() == table["npix"].to_list()
    # Sums of at most a few dozen terms in another order.
    for name in ("flux", "err"):
        np.testing.assert_allclose(spectrum[name].to_numpy(), table[name].to_numpy(), rtol=1e-9, atol=1e-12)
    # And the spectrum of the product: the same fluxes from pixels in single precision.
    known = stored.npix > 0
    np.testing.assert_allclose(spectrum["flux"].to_numpy(), stored.flux[known], rtol=1e-4, atol=1e-5)


def test_every_row_names_the_files_and_the_pack_it_came_from(finished):
    lake, pack = Lake.open(finished / "lake"), find_pack("nirspec")
    runs = lake.table("run").collect()
    for product in ("slitlet", "pixel_table", "slit_spectrum", "redshift", "pz", "line"):
        rows = lake.table(product).select("run_id").unique().collect()
        made = rows.join(runs.filter(pl.col("product") == product), on="run_id", how="left")
        assert made["inputs"].null_count() == 0
        assert all(pack.digest in text for text in made["inputs"]), product
    tree = lake.provenance("slit_spectrum", {"source_id": ids(lake)["9998_1"]} | key(lake, "9998_1"))
    assert {file.uri for file in tree.files} >= {path.name for path in (finished / "slits").glob("*.9998_1.fits")}
    params = json.loads(runs.filter(pl.col("product") == "slit_spectrum")["params"][0])
    assert params["slits"]["combine"]["pixfrac"] == 0.8
    assert params["slits"]["group"]["min_bar"] == 0.4
    items = lake.table("run_item").filter(pl.col("stage") == "slits").collect()
    assert sorted(items["item"]) == [f"{name}-prism-clear" for name in TRUTH["name"]]
    assert items["seconds"].min() > 0


def key(lake: Lake, name: str):
    rows = lake.table("slit_spectrum").filter(pl.col("source_id") == ids(lake)[name]).collect()
    return {"grating": rows["grating"][0], "spectrum_id": rows["spectrum_id"][0]}


def test_a_second_run_does_nothing(fresh, no_files):
    assert sum(stage.n_done for stage in run(fresh).stages) == 0


def test_other_parameters_of_the_combination_need_no_file(fresh, no_files):
    before = Lake.open(fresh / "lake").slit_spectra(source_id=[ids(Lake.open(fresh / "lake"))["9998_1"]])[0]
    plan = fresh / "plan.toml"
    plan.write_text(PLAN + '\n[slits.combine]\nmethod = "drizzle"\nny = 9\n[release]\nname = "DR2"\n')
    report = {stage.name: stage.n_done for stage in run(fresh).stages}
    lake = Lake.open(fresh / "lake")
    assert report["slits"] == len(lake.live_runs("slit_spectrum")) > 1
    assert report["redshifts"] >= 1
    after = lake.slit_spectra(source_id=[ids(lake)["9998_1"]])[0]
    assert after.image.sci.shape == (19, after.wave.size)
    assert after.meta["METHOD"][0] == "drizzle"
    assert np.array_equal(after.flux, before.flux, equal_nan=True)


def test_a_new_source_leaves_other_batches_and_another_division_empties_the_old_ones(fresh):
    lake = Lake.open(fresh / "lake")
    before = lake.live_runs("slit_spectrum")
    more = TRUTH.head(1).with_columns(name=pl.lit("9998_6"), ra=pl.lit(150.02))
    many = pl.concat([TRUTH, more])
    simulate_slit_files(many, fresh / "slits", seed=3, params=PARAMS)
    plan = fresh / "plan.toml"
    plan.write_text(PLAN + '[release]\nname = "DR2"\n')
    run(fresh)
    after = lake.live_runs("slit_spectrum")
    assert sum(after.get(name) != live for name, live in before.items()) <= 1
    assert set(ids(lake)) == set(many["name"])
    plan.write_text(PLAN.replace("batch = 2", "batch = 8") + '[release]\nname = "DR3"\n')
    run(fresh)
    for product in ("slitlet", "slit_spectrum", "pixel_table"):
        assert lake.table(product).select("tile").unique().collect()["tile"].to_list() == ["slits-1-0"]
    assert lake.table("slit_spectrum").collect()["source_id"].is_unique().all()
    assert lake.fsck() == []


def test_processes_make_the_same_lake(finished, tmp_path):
    folder = tmp_path / "survey"
    shutil.copytree(finished / "slits", folder / "slits")
    (folder / "plan.toml").write_text(PLAN.replace("batch = 2", "batch = 2\nn_workers = 2"))
    run(folder)
    assert Lake.open(folder / "lake").content_hash() == Lake.open(finished / "lake").content_hash()


def test_bad_files_are_rows_with_the_reason_and_the_others_go_on(finished, tmp_path):
    folder = tmp_path / "survey"
    shutil.copytree(finished / "slits", folder / "slits")
    files = {name: sorted((folder / "slits").glob(f"*.{name}.fits")) for name in TRUTH["name"]}
    # A truncated exposure of three, a header without anything, one exposure alone, and a slit without valid pixels.
    content = files["9998_1"][1].read_bytes()
    files["9998_1"][1].write_bytes(content[: len(content) // 2])
    files["9998_2"][0].write_bytes(b"nothing of FITS")
    for path in files["9998_3"][1:]:
        path.unlink()
    for path in files["9998_4"]:
        (one,) = read_slitlets(path)
        one.dq[:] = 1
        write_slitlets(one, path)
    (folder / "plan.toml").write_text(PLAN)
    report = run(folder)
    lake = Lake.open(folder / "lake")
    spectra = lake.table("slit_spectrum").collect()
    status = dict(spectra.select("group_id", "status").iter_rows())
    assert status["9998_5-prism-clear"] == "ok"
    assert status["9998_2-prism-clear"] == "ok"
    assert status[files["9998_2"][0].name] == "failed"
    assert status[files["9998_1"][1].name] == "failed"
    assert status["9998_3-prism-clear"] == status["9998_4-prism-clear"] == "rejected"
    told = dict(spectra.select("group_id", "message").iter_rows())
    assert "one position" in told["9998_3-prism-clear"]
    assert "valid pixels" in told["9998_4-prism-clear"]
    assert "truncated" in told[files["9998_1"][1].name]
    assert set(report.problems["item"]) == {name for name, one in status.items() if one != "ok"}
    redshifts = lake.table("redshift").collect()
    # Three sources are left: with two exposures, with two, and with three.
    assert redshifts.height == 3
    items = lake.table("run_item").filter(pl.col("stage") == "slits").collect()
    assert items.filter(pl.col("status") != "ok")["error_class"].str.len_chars().min() > 0


def test_sources_have_the_identifiers_of_the_catalogue(finished, packs):
    lake = Lake.open(finished / "lake")
    plan = SlitsPlan(files=("slits",))
    units = find_units(plan, finished, lake)
    assert {unit.source_id for unit in units} == set(ids(lake).values())
    assert all(unit.source_id > 0 for unit in units)
    made = batches(units, 2)
    assert sum(map(len, made.values())) == len(units)
    assert all(name.startswith("slits-4-") for name in made)


def test_a_pattern_without_a_file_and_a_missing_pack_are_errors(tmp_path, monkeypatch):
    lake = Lake.create(tmp_path / "lake", tiles="healpix", scale_arcsec=0.1)
    with pytest.raises(NotFoundError, match=r"slits.files: 'none/\*.fits' matches no file"):
        find_units(SlitsPlan(files=("none/*.fits",)), tmp_path, lake)
    with pytest.raises(InvalidInputError, match="batch, n_workers: 0, 1"):
        SlitsPlan(batch=0)
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "empty"))
    plan = Plan(
        survey=SurveyPlan(exposures=(), lake=str(tmp_path / "lake")),
        slits=SlitsPlan(files=(str(DATA / "jw09999001001_02101_00002_nrs1_cal.fits.gz"),)),
        folder=tmp_path,
    )
    with pytest.raises(InvalidInputError, match="pack nirspec: not found"):
        run_plan(plan)


def test_slits_of_a_file_with_many_are_kept_and_what_cannot_be_combined_is_told(tmp_path):
    pytest.importorskip("gwcs")
    pytest.importorskip("stdatamodels")
    many = DATA / "jw09999001001_02101_00002_nrs1_cal.fits.gz"
    assert [one.source_name for one in list_slits(many)] == ["9999_77", "9999_BKG12", "9999_78"]
    assert [one.is_background for one in list_slits(many)] == [False, True, False]
    (tmp_path / "plan.toml").write_text(
        f'[survey]\nexposures = []\n[tile]\nkind = "healpix"\n[slits]\nfiles = ["{many}"]\ngroup.with_sflat_correction = false\n'
    )
    run(tmp_path)
    lake = Lake.open(tmp_path / "lake")
    spectra = lake.table("slit_spectrum").collect()
    assert spectra.height == 3
    assert "ok" not in spectra["status"].to_list()
    assert lake.table("redshift").collect().is_empty()
    slitlets = lake.table("slitlet").collect()
    print(slitlets.select("source_name", "status", "message"))
    sky = slitlets.filter(pl.col("is_background"))
    assert sky["source_id"].to_list()[0] < 0
    assert sky["ra"].null_count() == 1


def test_the_real_slitlets_are_evaluated_once(shared_data, tmp_path, monkeypatch):
    folder = shared_data / "spectra" / "nirspec"
    if not folder.is_dir():
        pytest.skip(f"real slitlets are not in {folder}")
    calib = tmp_path / "packs" / "calib"
    calib.mkdir(parents=True)
    for pattern in ("prism_*", "*badpix_nrs2*", "*prism_disp*", "*.csv"):
        for path in (folder / "calib").glob(pattern):
            shutil.copyfile(path, calib / path.name)
    from skymere.io import add_pack

    add_pack(calib, name="nirspec", version="0.9.19", into=tmp_path / "packs")
    shutil.rmtree(calib)
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "packs"))
    text = f'[survey]\nexposures = []\n[tile]\nkind = "healpix"\n[slits]\nfiles = ["{folder}/*_phot.*.fits"]\n'
    plan = tmp_path / "plan.toml"
    plan.write_text(text)
    run(tmp_path)
    lake = Lake.open(tmp_path / "lake")
    row = lake.table("redshift").collect().row(0, named=True)
    print(f"z {row['redshift']:.4f} +- {row['z_width1']:.4f}, {row['lines']}")
    # The redshift of msaexp is 4.2337; without its settings 0.005 is allowed.
    assert row["redshift"] == pytest.approx(4.2337, abs=0.005)
    slitlets = lake.table("slitlet").collect()
    assert slitlets["status"].to_list() == ["ok"] * 3
    assert slitlets["is_reference"].sum() == 1

    def read(*args, **kwargs):
        pytest.fail("a gwcs was opened")

    monkeypatch.setattr("skymere.io.slit_models.open_asdf_tree", read)
    plan.write_text(text + '[slits.combine]\nextraction = "boxcar"\n[release]\nname = "DR2"\n')
    assert {stage.name: stage.n_done for stage in run(tmp_path).stages}["slits"] == 1


def test_the_same_slit_in_two_files_counts_once(finished, tmp_path):
    folder = tmp_path / "survey"
    shutil.copytree(finished / "slits", folder / "slits")
    first = min((folder / "slits").glob("*.9998_1.fits"))
    bad = [folder / "slits" / name / "broken.fits" for name in ("a", "b")]
    for path in (folder / "slits" / "a" / first.name, *bad):
        path.parent.mkdir(exist_ok=True)
    shutil.copy(first, folder / "slits" / "a")
    for path in bad:
        path.write_bytes(b"nothing of FITS")
    (folder / "plan.toml").write_text(PLAN.replace('["slits"]', '["slits", "slits/a", "slits/b"]'))
    run(folder)
    lake = Lake.open(folder / "lake")
    rows = lake.table("slitlet").collect()
    assert rows["slitlet_id"].is_unique().all()
    assert rows.filter(pl.col("status") == "failed").height == 3
    # The first by path counts.
    (left_out,) = rows.filter(pl.col("message").str.contains("same slit"))["path"]
    assert left_out == str(first.resolve())
    here, there = (
        one.table("slit_spectrum").filter(pl.col("group_id") == "9998_1-prism-clear").collect()
        for one in (lake, Lake.open(finished / "lake"))
    )
    assert here["n_slitlets"].item() == there["n_slitlets"].item() == 3
    assert here["snr"].item() == there["snr"].item()


def test_a_combination_without_a_flux_is_a_row_and_the_others_go_on(finished, tmp_path):
    folder = tmp_path / "survey"
    shutil.copytree(finished / "slits", folder / "slits")
    (folder / "plan.toml").write_text(PLAN.replace("batch = 2", "batch = 2\ncombine.y_range = [20.0, 25.0]"))
    run(folder)
    spectra = Lake.open(folder / "lake").table("slit_spectrum").collect()
    assert spectra["status"].to_list() == ["failed"] * 5
    assert spectra["message"].str.contains("y_range: no pixel").all()


def test_what_a_run_of_slits_would_do_is_told_before(fresh):
    plan = fresh / "plan.toml"
    told = explain_plan(read_plan(plan))
    assert set(told.tasks["stage"]) == {"slits", "redshifts", "release"}
    assert set(told.tasks["state"]) == {"fresh"}
    plan.write_text(PLAN.replace("coarse_step = 0.004", "coarse_step = 0.005") + '[release]\nname = "DR2"\n')
    told = explain_plan(read_plan(plan))
    assert set(told.only(stage="slits")["state"]) == {"fresh"}
    assert set(told.only(stage="redshifts")["state"]) == {"stale"}
    assert set(told.only(stage="redshifts")["reason"]) == {"redshifts.params.coarse_step 0.004 -> 0.005"}
    done = {stage.name: (stage.n_done, stage.n_already) for stage in run(fresh).stages}
    assert done["slits"] == (0, told.only(stage="slits").height)
    assert done["redshifts"] == (told.only(stage="redshifts").height, 0)


def test_redshifts_of_spectra_that_are_not_there_yet_are_unknown(fresh):
    shutil.rmtree(fresh / "lake")
    told = explain_plan(read_plan(fresh / "plan.toml"))
    assert set(told.only(stage="slits")["state"]) == {"new"}
    (row,) = told.only(stage="redshifts").to_dicts()
    assert (row["tile"], row["state"]) == ("", "unknown")
    assert row["reason"].startswith("what slit_spectrum of slits-")
    assert not (fresh / "lake").exists()
