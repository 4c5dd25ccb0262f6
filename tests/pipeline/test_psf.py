"""Quality and PSF of the mosaics of a run."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.errors import InvalidInputError
from skymere.lake import Lake
from skymere.pipeline import read_plan, run_plan
from skymere.pipeline.stages.psf import STAGE


def test_the_verdict_on_rejected_sources_is_stored_with_every_mosaic(finished: Path) -> None:
    arrays = Lake.open(finished / "lake").arrays("mosaic", "field")
    for band in ("f125w", "f160w"):
        quality = arrays.attributes(band)["quality"]
        assert quality["verdict"] in ("ok", "not tested")
        assert 0 < quality["weight_scatter"] < 2
        assert quality["reasons"]["cosmic_ray"] > 0
        assert quality["n_covered"] > 10000


@pytest.fixture(scope="module")
def with_psf(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("psf") / "survey"
    shutil.copytree(finished, folder)
    plan = folder / "plan.toml"
    more = '\n[psf]\nsource = "moffat"\nfwhm_arcsec = 0.17\nsize_pix = 41\nn_positions = 2\n\n[release]\nname = "DR2"\n'
    plan.write_text(plan.read_text() + more)
    report = run_plan(read_plan(plan))
    stages = {stage.name: stage for stage in report.stages}
    assert stages["psf"].n_done == 1
    assert stages["mosaic"].n_done == 0
    return folder


def test_the_psfs_of_mosaics_are_products(with_psf: Path) -> None:
    lake = Lake.open(with_psf / "lake")
    rows = lake.table("psf").sort("psf_row").collect()
    assert rows["message"].to_list() == [""] * 8
    assert rows["status"].to_list() == ["ok"] * 8
    assert set(rows["band"]) == {"f125w", "f160w"}
    arrays = lake.arrays("psf", "field")
    assert arrays.attributes()["flags"] == {"has_pixel": 1}
    flat, offset = arrays["data"][...], arrays["offset"][...]
    for row in rows.iter_rows(named=True):
        start, stop = offset[row["psf_row"]], offset[row["psf_row"] + 1]
        stamp = flat[start:stop].reshape(41, 41)
        assert stamp.sum(dtype=float) == pytest.approx(row["sum"], rel=1e-5)
        assert row["sum"] == pytest.approx(row["enclosed"], rel=1e-5)
        assert json.loads(row["params"])["psf_has_pixel"] is True
        # The source is in the middle; weights that are uneven around it may move the light by a fraction of a pixel.
        assert (row["x_centroid"], row["y_centroid"]) == pytest.approx((20.0, 20.0), abs=0.5)
        assert 0.17 < row["fwhm"] < 0.4
        assert 0.8 < row["enclosed"] <= 1.0
    place = rows.row(0, named=True)
    mosaic = lake.arrays("mosaic", "field").grid(f"{place['band']}/sci")
    assert [float(v[0]) for v in mosaic.pixels(np.array([place["ra"]]), np.array([place["dec"]]))] == pytest.approx(
        [place["x"], place["y"]], abs=1e-6
    )


def test_images_of_psfs_are_checked_and_stored_band_by_band(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "survey"
    shutil.copytree(finished, folder)
    y, x = np.indices((81, 81))
    images = {
        "f125w": np.exp(-((x - 40) ** 2 + (y - 40) ** 2) / 50),
        "f160w": np.exp(-((x - 44) ** 2 + (y - 40) ** 2) / 50),
    }
    for band, data in images.items():
        fits.PrimaryHDU(data.astype(np.float32), fits.Header({"OVERSAMP": 3})).writeto(folder / f"psf_{band}.fits")
    plan = folder / "plan.toml"
    more = '\n[psf]\nsource = "image"\npath = "psf_{band}.fits"\n\n[release]\nname = "DR2"\n'
    plan.write_text(plan.read_text() + more)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skymere.pipeline.runner.draw_pictures", lambda *_, **__: [])
        run_plan(read_plan(plan))
    lake = Lake.open(folder / "lake")
    good, off = lake.table("psf").sort("band").collect().rows(named=True)
    assert (good["status"], good["kind"], good["oversampling"], good["x"]) == ("ok", "image", 3.0, None)
    assert good["sum"] == pytest.approx(1.0, abs=1e-3)
    assert (good["x_centroid"], good["y_centroid"]) == pytest.approx((40.0, 40.0), abs=0.01)
    scale = lake.tiles["field"].grid.scale_arcsec
    assert good["fwhm"] == pytest.approx(2.3548 * 5 / 3 * scale, rel=0.01)
    assert json.loads(good["params"])["source_at"] == [40.0, 40.0]
    assert lake.arrays("psf", "field")["data"][...].sum() == pytest.approx(good["sum"], rel=1e-4)
    assert off["status"] == "failed"
    assert "psf_f160w.fits: the PSF cannot be used: its centroid" in off["message"]
    (task,) = STAGE.tasks(read_plan(plan), lake)
    assert [one["uri"] for one in task.inputs[1:]] == ["psf_f125w.fits", "psf_f160w.fits"]


def test_psfs_from_too_few_stars_are_a_status(with_psf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "survey"
    shutil.copytree(with_psf, folder)
    plan = folder / "plan.toml"
    text = plan.read_text().replace('source = "moffat"', 'source = "stars"').replace("DR2", "DR3")
    plan.write_text(text + "\n[psf.build]\nmin_stars = 5000\n")
    run_plan(read_plan(plan))
    rows = Lake.open(folder / "lake").table("psf").collect()
    assert rows["status"].to_list() == ["failed"] * 2
    assert "too few for a PSF" in rows["message"][0]
    assert rows.select(pl.col("psf_row").is_null().all()).item()


def test_a_grid_without_a_file_and_even_sizes_are_refused(tmp_path: Path) -> None:
    for line, words in (
        ('source = "grid"', "path: is missing"),
        ('source = "image"', "the source 'image' needs a file"),
        ("oversampling = -1.0", "oversampling: -1"),
        ("size_pix = 40", "n_positions, size_pix: 1, 40"),
    ):
        plan = tmp_path / "plan.toml"
        plan.write_text(f'[survey]\nexposures = ["*.fits"]\n[psf]\n{line}\n')
        with pytest.raises(InvalidInputError, match=words):
            read_plan(plan)


def test_another_library_of_psfs_is_other_work(with_psf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "survey"
    shutil.copytree(with_psf, folder)
    plan = folder / "plan.toml"
    plan.write_text(plan.read_text().replace('source = "moffat"', 'source = "grid"\npath = "library.fits"'))
    lake, seen = Lake.open(folder / "lake"), []
    for content in (b"one", b"two"):
        (folder / "library.fits").write_bytes(content)
        (task,) = STAGE.tasks(read_plan(plan), lake)
        seen.append(task.inputs)
    assert seen[0][0] == seen[1][0]
    assert seen[0][1]["uri"] == seen[1][1]["uri"] == "library.fits"
    assert seen[0][1]["sha256"] != seen[1][1]["sha256"]
