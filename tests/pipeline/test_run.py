"""The main line on a small survey: what it makes, that it is made once, and what bad input does."""

import gzip
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from skymere.cli import app
from skymere.datamodels import NO_CLASS
from skymere.errors import ConflictError, FormatError, InvalidInputError, NoDataError, StorageError
from skymere.lake import Lake
from skymere.pipeline import RunPlan, read_plan, run_plan
from skymere.pipeline.products import load_mosaics
from skymere.pipeline.stages import detect
from skymere.testing import score_detections, score_sources


def run(folder: Path):
    return run_plan(read_plan(folder / "plan.toml"))


def test_the_lake_holds_every_product_and_the_truth_is_found(finished: Path) -> None:
    lake = Lake.open(finished / "lake", release="DR1")
    counts = {
        name: lake.table(name).select(pl.len()).collect().item()
        for name in ("exposure", "sky", "mask", "mosaic", "cutout")
    }
    sources = lake.table("source").collect()
    assert counts["exposure"] == counts["sky"] == counts["mask"] == 8
    assert counts["mosaic"] == 2
    assert counts["cutout"] == sources.height > 20
    truth = pl.read_parquet(finished / "truth" / "sources.parquet").filter(
        (pl.col("ra") - 53.16).abs() * 3600 * 0.88 < 10, (pl.col("dec") + 27.78).abs() * 3600 < 10
    )
    assert score_detections(pl.read_parquet(finished / "truth" / "sources.parquet"), sources)["n_false"] <= 1
    table = score_sources(truth, sources, band="f160w", edges=(20.0, 24.5))
    assert table["completeness"][0] > 0.85
    assert abs(table["bias"][0]) < 0.05
    assert sorted(path.name for path in (finished / "pictures").iterdir()) == [
        f"field_{what}.png" for what in ("counts", "cutouts", "rejected", "rgb", "weight")
    ]


def test_the_noise_covariance_is_stored_with_the_mosaic(finished: Path) -> None:
    (mosaic,) = load_mosaics(Lake.open(finished / "lake"), "field", ["f160w"])
    noise = mosaic.noise
    assert noise.classes == ("interior", "edge", "hole", "edge_rim", "hole_rim")
    assert np.array_equal(noise.class_map == NO_CLASS, ~mosaic.covered)
    middle = noise.reach_pix
    assert noise.kernels[0, middle, middle] == pytest.approx(1.0, abs=1e-4)
    assert noise.kernels[0, middle, middle + 1] == pytest.approx(noise.measured[0, middle, middle + 1], abs=0.1)
    assert 1.0 < noise.large_area_factors["interior"] < 1.2 * mosaic.noise_correlation
    assert noise.params["noise"]["n_cells"] == 256


def test_cutouts_are_those_of_the_mosaic(finished: Path) -> None:
    lake = Lake.open(finished / "lake")
    rows = lake.table("source").sort("flux_auto_f160w", descending=True, nulls_last=True).head(5).collect()
    stamps = lake.cutouts(rows["source_id"].to_numpy(), bands=["f160w"], planes=("sci", "wht", "seg"), size_pix=64)
    mosaic = lake.arrays("mosaic", "field")["f160w/sci"][...]
    for i, row in enumerate(rows.iter_rows(named=True)):
        x, y = stamps.wcs(i, "f160w").wcs_world2pix(row["ra"], row["dec"], 0)
        y0, x0 = stamps.origin["f160w"][i]
        assert (x + x0, y + y0) == pytest.approx((row["x"], row["y"]), abs=1e-6)
        inside = mosaic[max(y0, 0) : y0 + 64, max(x0, 0) : x0 + 64]
        stamp = stamps["f160w", "sci"][i][max(-y0, 0) :, max(-x0, 0) :][: inside.shape[0], : inside.shape[1]]
        sigma = 1.4826 * np.nanmedian(np.abs(inside - np.nanmedian(inside)))
        np.testing.assert_allclose(stamp, inside, rtol=0, atol=sigma / 16)
        assert stamps["f160w", "seg"][i][round(row["y"]) - y0, round(row["x"]) - x0] == row["label"]


def test_every_row_joins_to_the_run_that_made_it(finished: Path) -> None:
    lake = Lake.open(finished / "lake")
    runs = lake.table("run").select("run_id", "stage", "params").collect()
    for product, stage in (("source", "measure"), ("mosaic", "mosaic"), ("mask", "outliers"), ("exposure", "ingest")):
        joined = lake.table(product).collect().join(runs, on="run_id", how="left", suffix="_run")
        assert joined["stage"].unique().to_list() == [stage]


def test_the_ten_lines_of_the_readme_run(finished: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    code = readme.split("```python\n")[1].split("```")[0]
    told: dict = {}
    exec(code.replace("skymere-demo/lake", str(finished / "lake")).replace("f105w", "f125w"), told)
    assert told["image"].shape == (64, 64)
    assert told["wcs"].has_celestial
    assert told["made_by"].height == told["near"].height > 5
    assert told["red"].height < told["near"].height


def test_a_second_run_does_nothing(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(finished, folder)
    before = {p: p.stat().st_mtime_ns for p in (folder / "lake").rglob("*") if p.is_file()}
    report = run(folder)
    assert sum(stage.n_done for stage in report.stages) == 0
    assert {p: p.stat().st_mtime_ns for p in (folder / "lake").rglob("*") if p.is_file()} == before


def test_inputs_are_untouched(survey: Path, finished: Path) -> None:
    for path in (survey / "exposures").iterdir():
        assert (finished / "exposures" / path.name).read_bytes() == path.read_bytes()


def test_the_content_does_not_depend_on_place_or_time(finished: Path, fresh: Path) -> None:
    run(fresh)
    assert Lake.open(fresh / "lake").content_hash() == Lake.open(finished / "lake").content_hash()


def test_another_parameter_redoes_what_depends_on_it_and_ids_stay(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(finished, folder)
    plan = folder / "plan.toml"
    plan.write_text(plan.read_text() + '[detect.sources]\nthreshold = 25.0\n[release]\nname = "DR2"\n')
    report = run(folder)
    done = {stage.name: stage.n_done for stage in report.stages}
    todo = {"detect": 1, "measure": 1, "cutouts": 1, "release": 1}
    unasked = ("align", "psf", "profiles", "models", "photometry", "slits", "contam", "beams", "redshifts", "maps")
    not_asked = dict.fromkeys(unasked, 0)
    assert done == {"ingest": 0, "background": 0, "outliers": 0, "mosaic": 0} | not_asked | todo
    new, old = (Lake.open(folder / "lake", release=name).table("source").collect() for name in ("DR2", "DR1"))
    assert new.height < old.height
    assert set(new["source_id"]) <= set(old["source_id"])
    alias = Lake.open(folder / "lake").table("alias").collect()
    assert alias.height >= old.height - new.height


def test_a_release_keeps_its_name_for_one_state(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(finished, folder)
    plan = folder / "plan.toml"
    plan.write_text(plan.read_text() + "[detect.sources]\nthreshold = 25.0\n")
    with pytest.raises(ConflictError, match="'DR1' exists and holds an older state"):
        run(folder)


def damage(folder: Path) -> dict[str, str]:
    """Damage four of eight exposures, each in another way; returns what each row must say."""
    truncated, plain, blind, nowhere = sorted((folder / "exposures").glob("sim*"))[:4]
    content = truncated.read_bytes()
    truncated.write_bytes(content[: len(content) // 2])
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((5, 5)), name="IMAGE")]).writeto(plain, overwrite=True)
    for path, change in ((blind, "dq"), (nowhere, "wcs")):
        with fits.open(path, memmap=False) as hdus:
            images = []
            for hdu in hdus[1:4]:
                data = np.full_like(hdu.data, 4) if change == "dq" and hdu.name == "DQ" else hdu.data
                image = fits.ImageHDU(data, name=hdu.name)
                if hdu.name == "SCI":
                    keep = [
                        card
                        for card in hdu.header.cards
                        if change == "dq" or not card.keyword.startswith(("CTYPE", "CD"))
                    ]
                    image.header.extend(keep, unique=True, strip=True)
                images.append(image)
            fits.HDUList([fits.PrimaryHDU(header=hdus[0].header), *images]).writeto(path, overwrite=True)
    return {
        truncated.name.removesuffix("_flt.fits"): "truncated|damaged",
        plain.name.removesuffix("_flt.fits"): "detector: none is not known|no SCI extension",
        blind.name.removesuffix("_flt.fits"): "all pixels are bad",
        nowhere.name.removesuffix("_flt.fits"): "no celestial WCS|WCS of SCI cannot be read",
    }


def test_bad_exposures_are_statuses_and_the_rest_goes_on(fresh: Path) -> None:
    # Copies of those that will be damaged stay good, so that both bands have exposures.
    for i, path in enumerate(sorted((fresh / "exposures").iterdir())[:4]):
        good = path.with_name(f"good{i}_flt.fits")
        good.write_bytes(path.read_bytes())
    expected = damage(fresh)
    report = run(fresh)
    problems = report.problems.filter(pl.col("product") == "exposure")
    assert set(problems["item"]) == set(expected)
    for row in problems.iter_rows(named=True):
        assert str(fresh) in row["message"]
        assert re.search(expected[row["item"]], row["message"])
    lake = Lake.open(fresh / "lake")
    assert lake.table("mosaic").select("n_exposures").collect()["n_exposures"].sum() == 8
    assert lake.table("source").select(pl.len()).collect().item() > 20


def test_a_mended_file_is_taken_in_by_the_next_run(fresh: Path) -> None:
    path = min((fresh / "exposures").iterdir())
    content = path.read_bytes()
    path.write_bytes(content[:1000])
    assert run(fresh).problems.height == 1
    path.write_bytes(content)
    plan = fresh / "plan.toml"
    plan.write_text(plan.read_text() + '[release]\nname = "DR2"\n')
    assert run(fresh).problems.is_empty()
    assert Lake.open(fresh / "lake").table("mosaic").collect()["n_exposures"].to_list() == [4, 4]


def test_without_any_usable_exposure_the_error_names_the_files(fresh: Path) -> None:
    for path in (fresh / "exposures").iterdir():
        path.write_bytes(gzip.compress(b"nothing"))
    with pytest.raises(NoDataError, match=r"none can be read: .*sim00000q_f125w_flt\.fits"):
        run(fresh)
    assert not (fresh / "lake").exists()


def test_two_files_of_one_name_are_refused(fresh: Path) -> None:
    (fresh / "more").mkdir()
    shutil.copy(fresh / "exposures" / "sim00000q_f125w_flt.fits", fresh / "more")
    plan = fresh / "plan.toml"
    plan.write_text(plan.read_text().replace('"]', '", "more/*.fits"]', 1))
    with pytest.raises(InvalidInputError, match="are both named sim00000q_f125w"):
        run(fresh)


def test_a_foreign_folder_is_not_taken_for_a_lake(fresh: Path) -> None:
    (fresh / "lake").mkdir()
    (fresh / "lake" / "thesis.tex").write_text("mine")
    with pytest.raises((ConflictError, FormatError, InvalidInputError), match="lake"):
        run(fresh)
    assert [p.name for p in (fresh / "lake").iterdir()] == ["thesis.tex"]


def test_a_place_that_cannot_be_written_is_named(fresh: Path) -> None:
    (fresh / "file").write_text("not a folder")
    plan = fresh / "plan.toml"
    plan.write_text(plan.read_text().replace("[survey]\n", '[survey]\nlake = "file/lake"\n'))
    with pytest.raises((StorageError, FormatError), match="file"):
        run(fresh)


def no_disk(*_) -> None:
    msg = "no room is left"
    raise StorageError(msg)


def test_a_task_that_fails_holds_the_release_back_until_it_is_mended(fresh: Path, monkeypatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(detect, "_work", no_disk)
        report = run(fresh)
        (failed,) = report.problems.iter_rows(named=True)
        assert (failed["product"], failed["item"], failed["status"]) == ("detect", "field", "failed")
        assert "no room is left" in failed["message"]
        assert f"(log: {fresh / 'logs' / 'detect' / 'field.log'})" in failed["message"]
        assert Lake.open(fresh / "lake").releases() == []
        with pytest.raises(StorageError, match="stage detect, tile field: no room is left"):
            run_plan(replace(read_plan(fresh / "plan.toml"), run=RunPlan(keep_going=False)))
    mended = run(fresh)
    assert mended.failures == []
    assert {stage.name: stage.n_done for stage in mended.stages}["mosaic"] == 0
    assert Lake.open(fresh / "lake").releases() == ["DR1"]


def test_json_is_one_line_for_each_event_and_problem_and_exit_codes_tell(
    finished: Path, tmp_path: Path, monkeypatch
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(finished, folder)
    done = CliRunner().invoke(app, ["run", str(folder / "plan.toml"), "--json"])
    assert done.exit_code == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (lines[0]["name"], lines[-1]["name"]) == ("run_started", "run_done")
    told = [line for line in lines if line["name"] == "task_already"]
    stages = {"ingest", "background", "outliers", "mosaic", "detect", "measure", "cutouts"}
    assert stages == {line["stage"] for line in told}
    assert all(line["memory_sum"] > 2**20 for line in told)
    plan = folder / "plan.toml"
    plan.write_text(plan.read_text() + '[detect]\nbands = ["f160w"]\n[release]\nname = "DR2"\n')
    monkeypatch.setattr(detect, "_work", no_disk)
    failed = CliRunner().invoke(app, ["run", str(plan), "--json"])
    assert failed.exit_code == 1
    lines = [json.loads(line) for line in failed.stdout.splitlines()]
    (problem,) = [line for line in lines if line["name"] == "problem"]
    assert (problem["product"], problem["item"]) == ("detect", "field")
    assert [line["stage"] for line in lines if line["name"] == "stage_skipped"] == ["release"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--executor", "ray"), "run.executor: 'ray' is not allowed"),
        (("--workers", "4"), "n_workers: 4 is not allowed with executor 'serial'"),
        (("--executor", "processes", "--memory", "much"), "memory: 'much' is not allowed"),
    ],
)
def test_options_that_are_not_allowed_end_a_run_before_it_begins(
    fresh: Path, options: tuple[str, ...], message: str
) -> None:
    done = CliRunner().invoke(app, ["run", str(fresh / "plan.toml"), *options])
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (fresh / "lake").exists()


def test_a_band_that_was_not_observed_is_refused(fresh: Path) -> None:
    plan = fresh / "plan.toml"
    plan.write_text(plan.read_text() + '[detect]\nbands = ["f814w"]\n')
    with pytest.raises(InvalidInputError, match=r"detect\.bands: 'f814w' is in no exposure, it must be one of"):
        run(fresh)


def test_every_step_is_in_the_event_log(finished: Path) -> None:
    events = [json.loads(line) for line in (finished / "events.jsonl").read_text().splitlines()]
    assert events[0]["name"] == "run_started"
    assert events[-1]["name"] == "run_done"
    for stage in ("ingest", "background", "outliers", "mosaic", "detect", "measure", "cutouts"):
        names = [event["name"] for event in events if event["stage"] == stage]
        assert names[0] == "stage_started"
        assert names[-1] == "stage_done"
        for name in ("task_started", "rows_written", "committed", "recorded"):
            assert name in names
