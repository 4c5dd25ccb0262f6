"""What a run would do, compared with what it then does: what is fresh stays, what is stale or new is done."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from astropy.io import fits

from skymere.lake import Lake, add_regions
from skymere.pipeline import Event, PlanExplanation, explain_plan, read_plan, run_plan
from skymere.regions import Circle

HEALPIX = (
    '[survey]\nexposures = ["exposures/*_flt.fits"]\n\n[tile]\nkind = "healpix"\nscale_arcsec = 0.08\nwidth_pix = 512\n'
)


def states(told: PlanExplanation) -> dict[tuple[str, str], str]:
    return {(stage, tile): state for stage, tile, state in told.tasks.select("stage", "tile", "state").iter_rows()}


IMAGING = {"ingest", "background", "outliers", "mosaic", "detect", "measure", "cutouts"}


def what_a_run_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """Whether each task was done or had been done before."""
    monkeypatch.setattr("skymere.pipeline.runner.draw_pictures", lambda *_, **__: [])
    seen: dict[tuple[str, str], str] = {}

    def watch(event: Event) -> None:
        if event.name in ("task_done", "task_already"):
            seen[event.stage, event.tile] = event.name.removeprefix("task_")

    run_plan(read_plan(folder / "plan.toml"), observer=watch)
    return seen


def check(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """Compare what is told with what is done then; returns what was told."""
    before = {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    told = explain_plan(read_plan(folder / "plan.toml"))
    assert {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    assert all(told.tasks.filter(pl.col("state").is_in(["stale", "new"]))["reason"].str.len_chars() > 0)
    said = {key: state for key, state in states(told).items() if key[0] != "release"}
    done = what_a_run_does(folder, monkeypatch)
    assert {key: {"fresh": "already"}.get(state, "done") for key, state in said.items()} == done
    assert set(said.values()) <= {"fresh", "stale", "new"}
    return said


def stages_of(said: dict[tuple[str, str], str], state: str) -> set[str]:
    return {stage for (stage, _), what in said.items() if what == state}


def replan(folder: Path, text: str, release: str) -> None:
    path = folder / "plan.toml"
    path.write_text(f'{path.read_text().partition("# more")[0]}# more\n{text}\n[release]\nname = "{release}"\n')


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Path:
    """A survey that was run, to be changed."""
    folder = tmp_path / "done"
    shutil.copytree(finished, folder)
    return folder


def reason(told: PlanExplanation, stage: str, tile: str = "field") -> str:
    return told.only(stage=stage, tile=tile)["reason"].item()


def test_without_a_lake_everything_is_new(fresh: Path, monkeypatch) -> None:
    said = check(fresh, monkeypatch)
    assert set(said.values()) == {"new"}
    assert stages_of(said, "new") == IMAGING
    told = explain_plan(read_plan(fresh / "plan.toml"))
    assert set(told.tasks["state"]) == {"fresh"}
    assert told.only(stage="release")["reason"].item() == "the release DR1 holds what the lake holds now"


def test_stages_tell_what_they_read_and_write_and_why_they_are_not_asked_for(finished: Path) -> None:
    told = explain_plan(read_plan(finished / "plan.toml")).stages
    rows = {row["stage"]: row for row in told.iter_rows(named=True)}
    assert rows["mosaic"]["reads"] == ["exposure", "wcs_solution", "mask"]
    assert rows["mosaic"]["writes"] == ["mosaic"]
    assert (rows["ingest"]["is_asked"], rows["ingest"]["n_fresh"], rows["ingest"]["n_stale"]) == (True, 8, 0)
    for stage, why in {
        "psf": "psf.source is 'none'",
        "profiles": "profiles.band names no band",
        "photometry": "photometry names neither",
        "slits": "slits.files names no file",
        "contam": "contam.files names no file",
        "beams": "the lake has no frames",
        "redshifts": "the lake has no spectra",
        "maps": "the lake has no beams",
    }.items():
        assert not rows[stage]["is_asked"]
        assert why in rows[stage]["why"]


def test_a_new_exposure_makes_exactly_what_is_told_stale(done: Path, monkeypatch) -> None:
    last = max((done / "exposures").glob("*_flt.fits"))
    shutil.copy(last, last.with_name("late_flt.fits"))
    replan(done, "", "DR2")
    told = explain_plan(read_plan(done / "plan.toml"))
    assert reason(told, "ingest", "late") == "nothing was published"
    assert reason(told, "background", "field.f160w").startswith("ingest of late will be made and was not read")
    assert "outliers of field.f160w will be made anew" in reason(told, "mosaic")
    assert reason(told, "detect") == "mosaic of field will be made anew"
    said = check(done, monkeypatch)
    assert {key for key, state in said.items() if state == "new"} == {("ingest", "late")}
    assert said["outliers", "field.f125w"] == "fresh"
    assert said["outliers", "field.f160w"] == "stale"
    assert stages_of(said, "stale") == IMAGING - {"ingest"}


def test_an_edited_mask_makes_detection_stale_and_nothing_before(done: Path, monkeypatch) -> None:
    lake = Lake.open(done / "lake")
    ra, dec = lake.table("source").select("ra", "dec").head(1).collect().row(0)
    add_regions(lake, "bad", [[Circle(centre=(ra, dec), radius=1.0)]], author="Ada", reason="a ghost")
    replan(done, "", "DR2")
    told = explain_plan(read_plan(done / "plan.toml"))
    assert reason(told, "detect") == "what people said about field (region) has changed"
    assert "detect of field will be made anew" in reason(told, "measure")
    said = check(done, monkeypatch)
    assert stages_of(said, "stale") == {"detect", "measure", "cutouts"}
    assert stages_of(said, "fresh") == {"ingest", "background", "outliers", "mosaic"}


def test_one_parameter_of_the_detection_is_told_with_its_old_and_new_value(done: Path, monkeypatch) -> None:
    before = read_plan(done / "plan.toml").detect.sources.min_area
    replan(done, f"[detect.sources]\nmin_area = {before + 2}\n", "DR1")
    told = explain_plan(read_plan(done / "plan.toml"))
    assert reason(told, "detect") == f"sources.min_area {before} -> {before + 2}"
    assert reason(told, "cutouts") == "detect of field will be made anew; measure of field will be made anew"
    assert "exists and holds an older state: the run will stop here" in reason(told, "release", "DR1")
    replan(done, f"[detect.sources]\nmin_area = {before + 2}\n", "DR2")
    said = check(done, monkeypatch)
    assert stages_of(said, "stale") == {"detect", "measure", "cutouts"}


def test_a_changed_file_and_a_broken_one_are_told(done: Path, monkeypatch) -> None:
    first, second, *_ = sorted((done / "exposures").glob("*_flt.fits"))
    first.write_bytes(first.read_bytes()[:20000])
    with fits.open(second, mode="update") as hdus:
        hdus[0].header["OBSERVER"] = "Bo"
    replan(done, "", "DR2")
    told = explain_plan(read_plan(done / "plan.toml"))
    broken, changed = (path.name.removesuffix("_flt.fits") for path in (first, second))
    band = Lake.open(done / "lake").table("exposure").filter(pl.col("exposure_id") == broken).collect()["band"].item()
    assert reason(told, "ingest", broken) == f"the file {first.name} has changed"
    assert f"exposure/{broken} is not read any more" in reason(told, "background", f"field.{band}")
    assert f"ingest of {changed} will be made anew" in reason(told, "background", f"field.{band}")
    said = check(done, monkeypatch)
    assert said["ingest", broken] == said["ingest", changed] == "stale"


def test_profiles_and_fluxes_follow_what_they_are_made_of(copied: Path, monkeypatch) -> None:
    path = copied / "plan.toml"
    text = path.read_text()
    path.write_text(text.replace("size_pix = 41", "size_pix = 43").replace('"DR2"', '"DR3"'))
    told = explain_plan(read_plan(path))
    assert reason(told, "psf") == "psf.size_pix 41 -> 43"
    assert set(told.only(stage="measure")["state"]) == {"fresh"}
    stale = told.tasks.filter(pl.col("state") == "stale")["stage"].to_list()
    assert stale == ["psf", "profiles", "models", "photometry"]
    said = check(copied, monkeypatch)
    assert stages_of(said, "stale") == {"psf", "profiles", "models", "photometry"}


@pytest.mark.validate
def test_a_new_exposure_of_a_survey_of_many_tiles_is_told_tile_by_tile(fresh: Path, monkeypatch) -> None:
    (fresh / "plan.toml").write_text(HEALPIX)
    *others, first, second, third = sorted((fresh / "exposures").glob("*_flt.fits"))
    for path in others:
        path.unlink()
    files = [first, second, third]
    held_back = fresh / "held_back.fits"
    files[0].rename(held_back)
    what_a_run_does(fresh, monkeypatch)
    held_back.rename(files[0])
    replan(fresh, "", "DR2")
    check(fresh, monkeypatch)


def test_an_exposure_that_a_mosaic_leaves_out_is_told(done: Path) -> None:
    told = explain_plan(read_plan(done / "plan.toml"))
    assert reason(told, "mosaic") == ""
    lake = Lake.open(done / "lake")
    row = lake.table("exposure").filter(pl.col("band") == "f160w").head(1).collect().row(0, named=True)
    with lake.run(stage="ingest", tile="late", product="exposure", inputs=[], params={}) as run:
        for name in ("sci", "err", "dq"):
            run.write(name, lake.arrays("exposure", row["tile"])[name][...], unit=row["unit"] if name != "dq" else None)
        drop = ("tile", "run_id")
        run.publish(run.frame([{k: v for k, v in row.items() if k not in drop} | {"exposure_id": "late"}]))
    told = explain_plan(read_plan(done / "plan.toml"))
    assert "leaves out late of f160w (the mosaic was made without it)" in reason(told, "mosaic")


def test_the_explanation_of_a_plan_goes_to_json_and_back(finished: Path) -> None:
    told = explain_plan(read_plan(finished / "plan.toml"))
    assert json.loads(told.tasks.write_json())[0]["stage"] == "ingest"
    assert told.only(stage="mosaic", tile="field").height == 1
    assert told.only(stage="mosaic", tile="elsewhere").is_empty()
