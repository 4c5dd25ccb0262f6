"""``skymere thumbnails``: what it makes, lists, leaves and refuses."""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.io import read_thumbnail, write_image
from skymere.mosaic import ExposureList
from skymere.testing import CameraParams, Pointing, SceneParams, draw_scene, render_exposure
from skymere.testing.exposures import write_exposure
from skymere.wcs import Grid

CAMERA = CameraParams(shape=(150, 150), exptime=600.0, n_cosmic_rays=0, n_bad_pixels=10, n_dead_pixels=0)
RA, DEC = 40.0, 5.0


@pytest.fixture(scope="module")
def visit(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("visit")
    params = SceneParams(n_galaxies=0, n_stars=8, radius_arcsec=5.0, bright_mag=19.0, faint_mag=20.0)
    scene = draw_scene(RA, DEC, params=params, seed=2)
    rng = np.random.default_rng(1)
    for band in ("f125w", "f160w"):
        for i in range(3):
            x, y = rng.uniform(-0.5, 0.5, 2) / 3600
            pointing = Pointing(name=f"{band}{i}q", band=band, ra=RA + x, dec=DEC + y, pa_deg=20.0)
            rendered = render_exposure(scene, pointing, params=CAMERA)
            write_exposure(rendered, pointing, folder / f"{band}{i}q_flt.fits", params=CAMERA)
    table = pl.DataFrame(
        {"NUMBER": [3, 5, 8], "RA": [RA, RA + 1.0, RA + 1e-4], "DEC": [DEC] * 3, "mag": [20.0, 21.0, 25.0]}
    )
    table.write_csv(folder / "cat.csv")
    grid = Grid.tangent(RA, DEC, shape=(100, 100), scale_arcsec=0.06)
    labels = np.zeros(grid.shape, np.int32)
    labels[40:60, 40:60], labels[10:20, 10:20] = 3, 8
    write_image(labels, folder / "seg.fits", name="SEG", wcs=grid.wcs)
    (folder / "g.toml").write_text('[pline]\nkernel = "square"\npixfrac = 0.8\npixscale = 0.1\nsize = 3.0\n')
    return folder


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*"))}


def test_thumbnails_of_a_catalogue_with_labels_and_psf(visit, tmp_path, call):
    before = digests(visit)
    options = ("--positions", visit / "cat.csv", "--geometry", visit / "g.toml", "--segmentation", visit / "seg.fits")
    more = ("--psf", "--psf-source", "moffat:0.16:3", "--root", "sim", "--pictures")
    done = call("thumbnails", visit, *options, *more, "-o", tmp_path)
    assert done.exit_code == 0, done.stderr
    assert digests(visit) == before
    names = sorted(path.name for path in tmp_path.glob("*"))
    assert names == ["sim_3.thumb.fits", "sim_3.thumb.png", "sim_8.thumb.fits", "sim_8.thumb.png", "thumbnails.parquet"]
    assert (tmp_path / "sim_3.thumb.png").read_bytes().startswith(b"\x89PNG")
    one = read_thumbnail(tmp_path / "sim_3.thumb.fits")
    assert [band.band for band in one.bands] == ["f125w", "f160w"]
    assert one.grid.shape == (30, 30)
    assert set(np.unique(one.segmentation)) <= {0, 3, 8}
    assert one.segmentation[15, 15] == 3
    for band in one.bands:
        assert band.weight_kind == "inverse_variance_with_sources"
        # Light of a Moffat profile of beta 3 that falls outside of 3 arcsec is 2e-4.
        assert band.psf.sum() == pytest.approx(1.0, abs=0.01)
    table = pl.read_parquet(tmp_path / "thumbnails.parquet")
    assert dict(table.select("source_id", "status").unique().iter_rows()) == {3: "ok", 5: "no_overlap", 8: "ok"}
    assert table.filter(pl.col("source_id") == 3)["n_exposures"].to_list() == [3, 3]


def test_files_of_the_same_inputs_stay_and_others_are_not_replaced_unasked(visit, tmp_path, call):
    options = ["thumbnails", visit, "--positions", visit / "cat.csv", "--ids", "3", "-o", tmp_path]
    assert call(*options, "--geometry", visit / "g.toml").exit_code == 0
    path = tmp_path / "skymere_3.thumb.fits"
    first = path.stat().st_mtime_ns
    done = call(*options, "--geometry", visit / "g.toml")
    assert done.exit_code == 0, done.stderr
    assert "1 unchanged" in done.stdout
    assert path.stat().st_mtime_ns == first
    done = call(*options)
    assert done.exit_code == 1
    assert "is there already; --overwrite replaces it" in done.stderr
    done = call(*options, "--overwrite")
    assert done.exit_code == 0, done.stderr
    assert read_thumbnail(path).kernel == "point"


def test_a_dry_run_lists_the_exposures_that_overlap_and_writes_nothing(visit, tmp_path, call):
    out = tmp_path / "new"
    done = call("thumbnails", visit, "--positions", visit / "cat.csv", "--filters", "F160W", "-o", out, "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert not out.exists()
    assert "3 exposures would be used" in done.stdout
    lines = [line for line in done.stdout.splitlines() if "f160w" in line]
    assert len(lines) == 6
    assert all("True" in line for line in lines)
    assert "its filter was not asked for" in done.stdout


def test_a_geometry_of_a_full_file_is_kept_to_the_bit_and_rows_are_chosen_with_sql(visit, shared_data, tmp_path, call):
    full = shared_data / "spectra" / "reference" / "grizli" / "ers_line_maps.fits.gz"
    with fits.open(full) as hdus:
        header = hdus["LINE", "OIII"].header
    table = pl.DataFrame({"id": [152], "ra": [header["CRVAL1"]], "dec": [header["CRVAL2"]]})
    table.write_csv(tmp_path / "one.csv")
    scene = draw_scene(header["CRVAL1"], header["CRVAL2"], params=SceneParams(n_galaxies=0, n_stars=1), seed=1)
    for band in ("f125w", "f814w"):
        pointing = Pointing(name=f"{band}q", band=band, ra=header["CRVAL1"], dec=header["CRVAL2"], pa_deg=5.0)
        if band == "f125w":
            write_exposure(
                render_exposure(scene, pointing, params=CAMERA), pointing, tmp_path / "a_flt.fits", params=CAMERA
            )
    # An optical filter gets the same pixels, not half of them.
    with fits.open(tmp_path / "a_flt.fits") as hdus:
        hdus[0].header["FILTER"] = "F814W"
        hdus.writeto(tmp_path / "b_flt.fits")
    more = ("--geometry", full, "--flam", "-o", tmp_path / "out", "--where", "id > 100")
    done = call("thumbnails", tmp_path, "--positions", tmp_path / "one.csv", *more)
    assert done.exit_code == 0, done.stderr
    with fits.open(tmp_path / "out" / "skymere_152.thumb.fits") as hdus:
        for band in ("F125W", "F814W"):
            made = hdus["SCI", band].header
            for key in ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2", "CTYPE1", "CTYPE2"):
                assert made[key] == header[key]
            assert (made["DRIZKRNL"], made["PIXFRAC"]) == ("point", 0.2)
            assert made["BUNIT"] == "10**-20 erg/(s cm2 Angstrom)"


def test_lists_and_groups_stand_for_folders(visit, tmp_path, call):
    ExposureList.from_files(visit).write(tmp_path / "list.parquet")
    names = [path.name for path in sorted(visit.glob("f160w*_flt.fits"))]
    (visit / "groups.yaml").write_text(f"f160w: {{filter: F160W, files: [{', '.join(names)}]}}\n")
    try:
        for given, n in ((tmp_path / "list.parquet", 6), (visit / "groups.yaml", 3)):
            done = call("thumbnails", given, "--positions", visit / "cat.csv", "--dry-run")
            assert done.exit_code == 0, done.stderr
            assert f"{n} exposures would be used" in done.stdout
    finally:
        (visit / "groups.yaml").unlink()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--geometry", "lines-9"], "--geometry: 'lines-9' is no file and no preset"),
        (["--filters", "f999w"], r"filters: \['f999w'\]"),
        (["--ids", "3,77"], r"--ids: \[77\] are not in the catalogue"),
        (["--ids", "three"], "--ids: 'three'"),
        (["--where", "size > 3"], "--where: 'size > 3'"),
        (["--where", "NUMBER > 99"], "no row is left"),
        (["--psf", "--psf-source", "airy:3"], "--psf-source: 'airy:3'"),
        (["--sky", "mean"], "sky: 'mean'"),
        (["--merge", "wide"], "--merge: 'wide'"),
        (["--merge", "ir=f125w,f200w"], "--merge: 'ir=f125w,f200w' is not allowed, .* filters of f125w, f160w"),
        (["--rgb", "f200w"], "--rgb: 'f200w' is not allowed, it must be one to three of f125w, f160w"),
        (["--rgb", "f160w", "--rgb-scale", "0"], "--rgb-scale: 0"),
        (["--psf-oversample", "0"], "psf_oversample: 0"),
        (["--auto-size"], "positions: no bounding boxes"),
        (["--workers", "0"], "n_workers: 0"),
        (["--from-lake", "lake"], "--from-lake"),
    ],
)
def test_bad_options_are_named(visit, tmp_path, call, options, message):
    import re

    done = call("thumbnails", visit, "--positions", visit / "cat.csv", "-o", tmp_path / "out", *options)
    assert done.exit_code == 1
    assert re.search(message, done.stderr)
    assert not list(tmp_path.glob("out/*.fits"))


def test_without_exposures_or_positions_it_says_what_is_missing(visit, call):
    assert "EXPOSURES" in call("thumbnails", "--positions", visit / "cat.csv").stderr
    assert "--positions" in call("thumbnails", visit).stderr


def test_positions_may_be_said_in_degrees_or_sexagesimal_and_name_the_files(visit, tmp_path, call):
    base = ("thumbnails", visit, "--geometry", visit / "g.toml", "--filters", "f160w", "-o", tmp_path)
    done = call(*base, "--at", "40.0 5.0", "--at", "2:40:00.05 +5:00:00.5")
    assert done.exit_code == 0, done.stderr
    names = sorted(path.name for path in tmp_path.glob("*.thumb.fits"))
    assert names == ["skymere_40.000000+5.000000.thumb.fits", "skymere_40.000208+5.000139.thumb.fits"]
    assert "--at: 'here'" in call(*base, "--at", "here").stderr
    assert "only one of the two" in call(*base, "--at", "40 5", "--positions", visit / "cat.csv").stderr


def test_sizes_come_from_boxes_or_segments_within_limits(visit, tmp_path, call):
    base = ("thumbnails", visit, "--positions", visit / "cat.csv", "--geometry", visit / "g.toml", "--ids", "3,8")
    sized = ("--auto-size", "--size-limits", "1.0", "3.4", "--segmentation", visit / "seg.fits")
    done = call(*base, *sized, "-o", tmp_path / "a")
    assert done.exit_code == 0, done.stderr
    # The segment of 3 reaches 0.6 arcsec to both sides and, half a pixel more, to the others; that of 8 lies far off.
    large, small = (read_thumbnail(tmp_path / "a" / f"skymere_{k}.thumb.fits") for k in (8, 3))
    assert small.grid.shape == (12, 12)
    assert large.grid.shape == (34, 34)
    assert (small.kernel, small.pixfrac, small.grid.scale_arcsec) == (
        large.kernel,
        large.pixfrac,
        large.grid.scale_arcsec,
    )
    assert small.geometry_sha256 != large.geometry_sha256
    # Another size is another product, and the same one is not made again.
    assert "2 unchanged" in call(*base, *sized, "-o", tmp_path / "a").stdout
    assert "is there already" in call(*base, "-o", tmp_path / "a").stderr
    table = pl.read_csv(visit / "cat.csv").with_columns(x_min=0, x_max=19, y_min=0, y_max=9)
    table.write_csv(tmp_path / "boxes.csv")
    boxes = ("thumbnails", visit, "--positions", tmp_path / "boxes.csv", "--geometry", visit / "g.toml", "--ids", "3")
    done = call(*boxes, "--auto-size", "--size-limits", "1", "9", "--box-scale", "0.1", "-o", tmp_path / "b")
    assert done.exit_code == 0, done.stderr
    assert read_thumbnail(tmp_path / "b" / "skymere_3.thumb.fits").grid.shape == (20, 20)


def test_merged_filters_colours_and_an_oversampled_psf_in_two_processes(visit, tmp_path, call):
    base = ("thumbnails", visit, "--positions", visit / "cat.csv", "--geometry", visit / "g.toml")
    psf = ("--psf", "--psf-source", "moffat:0.16:3", "--psf-oversample", "2")
    more = ("--merge", "ir=F125W,f160w", "--rgb", "ir", "--rgb-scale", "2", "--rgb-height", "300")
    for workers in (1, 2):
        done = call(*base, *psf, *more, "--workers", workers, "-o", tmp_path / str(workers))
        assert done.exit_code == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "1").glob("*.thumb.*"))
    assert names == ["skymere_3.thumb.fits", "skymere_3.thumb.png", "skymere_8.thumb.fits", "skymere_8.thumb.png"]
    for name in names[::2]:
        one, other = ((tmp_path / folder / name).read_bytes() for folder in ("1", "2"))
        assert one == other
    one = read_thumbnail(tmp_path / "1" / "skymere_3.thumb.fits")
    (band,) = one.bands
    assert (band.band, band.filters, band.psf_oversample) == ("ir", ("f125w", "f160w"), 2)
    assert band.fine_psf.sum() == pytest.approx(band.psf.sum(), rel=1e-4)
    with fits.open(tmp_path / "1" / "skymere_3.thumb.fits") as hdus:
        assert hdus["SCI", "IR"].header["MERGED"] == "F125W,F160W"
        assert set(hdus["EXPOSURES"].data["band"]) == {"f125w", "f160w"}
    from matplotlib.image import imread

    picture = imread(tmp_path / "1" / "skymere_3.thumb.png")
    assert picture.shape[0] == pytest.approx(300, abs=2)
    # Twice as bright: no pixel is darker than in the picture without a factor, and most of the star is brighter.
    done = call(*base, "--merge", "0.3", "--rgb", "f125w+f160w", "--rgb-height", "300", "-o", tmp_path / "dim")
    assert done.exit_code == 0, done.stderr
    dim = imread(tmp_path / "dim" / "skymere_3.thumb.png")
    assert picture.mean() > dim.mean()
    assert [one.band for one in read_thumbnail(tmp_path / "dim" / "skymere_3.thumb.fits").bands] == ["f125w+f160w"]
