"""``skymere align | crmask | drizzle | blot`` on files: what they make, show, and refuse."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.errors import NoOverlapError, SkymereError
from skymere.io import read_exposure, read_mask, read_mosaic
from skymere.mosaic import ExposureFiles, drizzle_exposures, make_grid
from skymere.testing import CameraParams, Pointing, SceneParams, draw_scene, render_exposure
from skymere.testing.exposures import write_exposure
from skymere.wcs import Grid

CAMERA = CameraParams(shape=(180, 190), exptime=600.0, n_cosmic_rays=40, n_bad_pixels=60, n_dead_pixels=4)
SCENE = SceneParams(n_galaxies=0, n_stars=60, radius_arcsec=11.0, bright_mag=19.0, faint_mag=24.0)
OFFSETS = ((0.0, 0.0), (0.4, 0.21), (-0.3, 0.37), (0.2, -0.44))


@pytest.fixture(scope="module")
def visit(tmp_path_factory) -> list[Path]:
    """Four exposures; the coordinates of the last are wrong by half an arcsec."""
    folder = tmp_path_factory.mktemp("visit")
    scene = draw_scene(40.0, 5.0, params=SCENE, seed=2)
    paths = []
    for i, (x, y) in enumerate(OFFSETS):
        pointing = Pointing(name=f"sim{i}q", band="f160w", ra=40.0 + x / 3600, dec=5.0 + y / 3600, pa_deg=20.0)
        rendered = render_exposure(scene, pointing, params=CAMERA)
        if i == 3:
            rendered["wcs"].wcs.crval = np.add(rendered["wcs"].wcs.crval, [0.4 / 3600, -0.3 / 3600])
        paths.append(folder / f"sim{i}q_flt.fits")
        write_exposure(rendered, pointing, paths[-1], params=CAMERA)
    return paths


@pytest.fixture(scope="module")
def aligned(visit, tmp_path_factory) -> list[Path]:
    from typer.testing import CliRunner

    from skymere.cli import app

    folder = tmp_path_factory.mktemp("aligned")
    command = ["align", *map(str, visit), "-o", str(folder), "--fitgeom", "shift", "--min-matches", "10"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    return sorted(folder.glob("*_flt.fits"))


def test_align_writes_copies_with_corrected_coordinates_and_a_table(visit, aligned) -> None:
    assert [p.name for p in aligned] == [p.name for p in visit]
    table = pl.read_csv(aligned[0].parent / "alignment.csv")
    assert table["status"].to_list() == ["ok"] * 4
    moved = table.row(3, named=True)
    cos = np.cos(np.deg2rad(5.0))
    assert (moved["shift_x"], moved["shift_y"]) == pytest.approx((-0.4 * cos, 0.3), abs=0.02)
    with fits.open(visit[3]) as before, fits.open(aligned[3]) as after:
        np.testing.assert_array_equal(before["SCI"].data, after["SCI"].data)
        assert after["SCI"].header["CRVAL1A"] == before["SCI"].header["CRVAL1"]
        assert after["SCI"].header["CRVAL1"] != before["SCI"].header["CRVAL1"]
        assert after["SCI"].header["A_1_1"] == before["SCI"].header["A_1_1"]


def test_drizzle_makes_a_mosaic_that_blot_takes_back(aligned, tmp_path, call) -> None:
    out = tmp_path / "f160w_drz.fits"
    done = call(
        "drizzle",
        *aligned,
        "-o",
        out,
        "--scale",
        "0.08",
        "--pixfrac",
        "0.9",
        "--sky",
        "globalmin+match",
        "--picture",
        tmp_path / "q.png",
    )
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "q.png").read_bytes().startswith(b"\x89PNG")
    assert "over-rejection: ok" in done.stdout
    mosaic = read_mosaic(out)
    assert mosaic.grid.scale_arcsec == pytest.approx(0.08, rel=1e-9)
    assert mosaic.params["quality"]["verdict"] == "ok"
    second = tmp_path / "second_drz.fits"
    done = call("drizzle", *aligned[:2], "-o", second, "--reference-image", out)
    assert done.exit_code == 0, done.stderr
    assert read_mosaic(second).shape == mosaic.shape
    done = call("blot", out, aligned[0], "-o", tmp_path / "blt.fits")
    assert done.exit_code == 0, done.stderr
    exposure = read_exposure(aligned[0])
    blotted = fits.getdata(tmp_path / "blt.fits")
    good = ~exposure.mask()
    good[:12], good[-12:], good[:, :12], good[:, -12:] = False, False, False, False
    assert np.median((exposure.data - blotted)[good]) == pytest.approx(CAMERA.sky, abs=0.02)
    assert np.corrcoef(exposure.data[good], blotted[good])[0, 1] > 0.5


def test_stored_masks_give_the_mosaic_that_finding_them_gives(aligned, tmp_path, call) -> None:
    done = call("crmask", *aligned, "-o", tmp_path / "masks", "--clean")
    assert done.exit_code == 0, done.stderr
    masks = sorted((tmp_path / "masks").glob("*_crmask.fits"))
    assert [p.name for p in masks] == [f"sim{i}q_crmask.fits" for i in range(4)]
    hits = read_mask(masks[0])
    assert 50 < hits.sum() < 2000
    cleaned, before = read_exposure(tmp_path / "masks" / "sim0q_crclean.fits"), read_exposure(aligned[0])
    np.testing.assert_array_equal(cleaned.data[~hits], before.data[~hits])
    assert (cleaned.data[hits] != before.data[hits]).all()
    made = []
    for name, more in (("found", ()), ("stored", ("--masks", tmp_path / "masks"))):
        done = call("drizzle", *aligned, "-o", tmp_path / f"{name}_drz.fits", "--scale", 0.1, *more)
        assert done.exit_code == 0, done.stderr
        made.append(read_mosaic(tmp_path / f"{name}_drz.fits"))
    # Without the pixels that were hit the skies are a little better known.
    np.testing.assert_allclose(made[0].data, made[1].data, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(made[0].weight, made[1].weight)


def test_a_dry_run_shows_values_with_their_sources_and_writes_nothing(visit, tmp_path, call) -> None:
    plan = tmp_path / "params.toml"
    plan.write_text("[mosaic.flag.cosmic_rays]\nsnr = [5, 4]\ngrow = 3\n")
    out = tmp_path / "new" / "x_drz.fits"
    more = ("--params", plan, "--set", "mosaic.flag.cosmic_rays.grow=1", "--set", "mosaic.flag.static=false")
    done = call("drizzle", *visit, "-o", out, "--preset", "wfc3-ir", "--pixfrac", 0.7, *more, "--dry-run")
    assert done.exit_code == 0, done.stderr
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in done.stdout.splitlines()}
    assert lines["mosaic.drizzle.pixfrac"] == "0.7 (given)"
    assert lines["grid.scale_arcsec"] == "0.08 (preset wfc3-ir)"
    assert lines["mosaic.drizzle.kernel"] == "square (default)"
    assert lines["mosaic.flag.cosmic_rays.snr"] == "[5.0, 4.0] (given)"
    assert lines["mosaic.flag.cosmic_rays.grow"] == "1 (given)"
    assert lines["mosaic.flag.static"] == "false (given)"
    assert not out.parent.exists()
    for command in (("align", *visit), ("crmask", *visit), ("blot", visit[0], visit[0])):
        done = call(*command, "-o", tmp_path / "new", "--dry-run")
        assert done.exit_code == 0, done.stderr
        assert "(default)" in done.stdout
    assert not (tmp_path / "new").exists()


def damage(source: Path, path: Path, *, header=None, plane=None, drop=None) -> Path:
    with fits.open(source, memmap=False) as hdus:
        if header:
            header(hdus)
        if plane:
            name, change = plane
            data = hdus[name].data.copy()
            change(data)
            hdus[name].data = data
        kept = fits.HDUList([hdu for hdu in hdus if hdu.name != drop])
        kept.writeto(path, output_verify="silentfix")
    return path


def no_wcs(hdus):
    for key in [k for k in hdus["SCI"].header if k.startswith(("CTYPE", "CRVAL", "CD", "CRPIX", "A_", "B_"))]:
        del hdus["SCI"].header[key]


def singular(hdus):
    for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        hdus["SCI"].header[key] = 1e-5


def far_away(hdus):
    hdus["SCI"].header["CRVAL1"] = 140.0


def other_unit(hdus):
    hdus["SCI"].header["BUNIT"] = "MJY/SR"


def no_time(hdus):
    hdus[0].header["EXPTIME"] = 0.0


BAD = {
    "no_wcs": ({"header": no_wcs}, "InvalidInputError", "no celestial WCS"),
    "singular_wcs": ({"header": singular}, "InvalidInputError", "singular"),
    "mixed_units": ({"header": other_unit}, "InvalidInputError", "BUNIT 'MJY/SR'"),
    "zero_exposure_time": ({"header": no_time}, "InvalidInputError", "EXPTIME 0.0"),
    "all_masked": ({"plane": ("DQ", lambda d: d.fill(4))}, "NoDataError", "no good pixel"),
    "all_nan": ({"plane": ("SCI", lambda d: d.fill(np.nan))}, "NoDataError", "no good pixel"),
    "all_infinite": ({"plane": ("SCI", lambda d: d.fill(np.inf))}, "NoDataError", "no good pixel"),
    "wrong_extension": ({"drop": "SCI"}, "FormatError", "no SCI extension"),
}


# A blot needs no pixel of the exposure.
def bad_file(visit, tmp_path, what):
    """A bad file, and what is said of it."""
    bad = tmp_path / "bad_flt.fits"
    if what in BAD:
        how, error, words = BAD[what]
        damage(visit[0], bad, **how)
        return bad, error, words
    if what == "truncated":
        bad.write_bytes(visit[0].read_bytes()[:40000])
        return bad, "FormatError", "truncated"
    return bad, "NotFoundError", "no such file"


FAULTS = [
    (command, what)
    for command in ("align", "crmask", "drizzle", "blot")
    for what in (*BAD, "truncated", "missing")
    if not (command == "blot" and what.startswith("all_"))
]


@pytest.mark.parametrize(("command", "what"), FAULTS)
def test_bad_exposures_are_named_and_nothing_is_half_written(visit, tmp_path, call, command: str, what: str) -> None:
    bad, error, words = bad_file(visit, tmp_path, what)
    folder = tmp_path / "out"
    target = folder if command in ("align", "crmask") else folder / "x.fits"
    if command == "blot":
        image = tmp_path / "image.fits"
        fits.PrimaryHDU(np.ones((50, 50), np.float32), fits.getheader(visit[0], "SCI")).writeto(image)
        done = call("blot", image, bad, "-o", target)
    else:
        done = call(command, *visit[:2], bad, "-o", target)
    assert done.exit_code == 1
    if command == "align" and what.startswith("all_"):
        # The others are aligned; this one is not, and its row says why.
        row = pl.read_csv(folder / "alignment.csv").filter(pl.col("exposure_id") == "bad").row(0, named=True)
        assert row["status"] == "rejected"
        assert row["message"] == "no source was found"
        assert not (folder / "bad_flt.fits").exists()
        return
    assert f"{error}: " in done.stderr
    assert words in done.stderr
    assert "bad" in done.stderr
    assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize("what", [*BAD, "truncated", "missing"])
def test_the_functions_name_them_too(visit, tmp_path, what: str) -> None:
    bad, error, words = bad_file(visit, tmp_path, what)
    grid = Grid.tangent(40.0, 5.0, shape=(200, 200), scale_arcsec=0.13)
    with pytest.raises(SkymereError, match=words) as raised:
        drizzle_exposures(ExposureFiles([*visit[:2], bad]), grid)
    assert type(raised.value).__name__ == error
    assert "bad" in str(raised.value)


def test_pixels_that_are_not_finite_leave_no_trace(visit, tmp_path, call) -> None:
    def spoil(data):
        data[10:20, 10:20], data[40:50, 40:50], data[60, 60] = np.nan, np.inf, -np.inf

    for name in ("SCI", "ERR"):
        bad = damage(visit[0], tmp_path / f"{name.lower()}_flt.fits", plane=(name, spoil))
        done = call("drizzle", bad, *visit[1:3], "-o", tmp_path / "x.fits", "--scale", 0.13, "--overwrite")
        assert done.exit_code == 0, done.stderr
        mosaic = read_mosaic(tmp_path / "x.fits")
        assert np.isfinite(mosaic.data[mosaic.covered]).all()
        assert np.isfinite(mosaic.variance[mosaic.covered]).all()
        assert np.isfinite(mosaic.weight).all()


def test_the_header_of_a_mosaic_tells_of_its_exposures(visit, tmp_path, call) -> None:
    files = []
    for i, path in enumerate(visit[:3]):

        def date(hdus, i=i):
            hdus[0].header.update(PROPOSID=7, TARGNAME=f"field {i}", EXPSTART=60000.0 + i / 8, EXPEND=60000.01 + i / 8)
            hdus[0].header["DATE-OBS"], hdus[0].header["TIME-OBS"] = "2023-02-25", f"0{3 * i}:00:00"

        files.append(damage(path, tmp_path / path.name, header=date))
    rules = tmp_path / "my.rules"
    rules.write_text("EXPSTART EXPMEAN mean\n<delete> READNSED\n")
    done = call("drizzle", *files[::-1], "-o", tmp_path / "x_drz.fits", "--scale", 0.13, "--rules", rules)
    assert done.exit_code == 0, done.stderr
    with fits.open(tmp_path / "x_drz.fits") as hdus:
        header, sci, table = hdus[0].header, hdus["SCI"].header, hdus["HDRTAB"].data
    assert (header["NDRIZIM"], header["EXPTIME"], header["TEXPTIME"]) == (3, 1800.0, 1800.0)
    assert (header["TELESCOP"], header["PROPOSID"], header["TARGNAME"]) == ("HST", 7, "MULTIPLE")
    assert (header["DATE-OBS"], header["TIME-OBS"]) == ("2023-02-25", "00:00:00")
    assert header["DATE-END"].startswith("2023-02-25T06:14:24")
    assert header["EXPMEAN"] == pytest.approx(60000.125)
    assert not {"EXPSTART", "READNSED"} & set(header)
    assert [header[f"D00{i}DATA"] for i in (1, 2, 3)] == [f"sim{i}q_flt.fits[SCI,1]" for i in (2, 1, 0)]
    assert (header["D001DEXP"], header["D001KERN"], header["D001PIXF"], header["D001OUUN"]) == (
        600.0,
        "square",
        0.8,
        "cps",
    )
    assert (sci["BUNIT"], sci["PHOTPLAM"]) == ("ELECTRONS/S", 15369.0)
    assert -2.5 * np.log10(sci["PHOTFNU"]) + 8.9 == pytest.approx(header["ZPAB"])
    assert list(table["EXPOSURE"]) == ["sim2q", "sim1q", "sim0q"]
    assert list(table["TARGNAME"]) == ["field 2", "field 1", "field 0"]
    assert table["SKY"] == pytest.approx(CAMERA.sky, abs=0.05)
    assert table["SKY"][0] == header["D001SKY"]


def test_disjoint_footprints_are_refused(visit, tmp_path, call) -> None:
    far = damage(visit[0], tmp_path / "far_flt.fits", header=far_away)
    reference = tmp_path / "ref_drz.fits"
    assert call("drizzle", *visit[:2], "-o", reference, "--scale", 0.1).exit_code == 0
    for command in (
        ("drizzle", far, "-o", tmp_path / "x.fits", "--reference-image", reference),
        ("blot", reference, far, "-o", tmp_path / "x.fits"),
    ):
        done = call(*command)
        assert done.exit_code == 1
        assert "NoOverlapError" in done.stderr
    done = call("drizzle", visit[0], far, "-o", tmp_path / "x.fits", "--sky", "globalmin+match")
    assert done.exit_code == 1
    assert "2 groups without common sky" in done.stderr or "covers" in done.stderr
    done = call("drizzle", visit[0], far, "-o", tmp_path / "x.fits", "--scale", 0.13)
    assert done.exit_code == 1
    assert "NoOverlapError: exposures: sim0q, far have " in done.stderr
    assert not (tmp_path / "x.fits").exists()
    with pytest.raises(NoOverlapError, match="sim0q, far"):
        make_grid(ExposureFiles([visit[0], far]))
    with pytest.raises(NoOverlapError, match="lies on the grid"):
        drizzle_exposures(ExposureFiles([far]), read_mosaic(reference).grid)


def test_outputs_that_cannot_be_written_or_are_there_are_refused_before_any_work(visit, tmp_path, call) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    for command in (
        ("drizzle", *visit, "-o", blocked / "x.fits"),
        ("align", *visit, "-o", blocked),
        ("crmask", *visit, "-o", blocked),
        ("blot", visit[0], visit[0], "-o", blocked / "x.fits"),
    ):
        done = call(*command)
        assert done.exit_code == 1
        assert "StorageError" in done.stderr
        assert str(blocked) in done.stderr
    done = call("drizzle", *visit, "-o", tmp_path, "--overwrite")
    assert done.exit_code == 1
    assert f"StorageError: {tmp_path}: is a folder" in done.stderr
    there = tmp_path / "x.fits"
    there.write_text("precious")
    done = call("drizzle", *visit, "-o", there)
    assert "is there already" in done.stderr
    assert there.read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "x.fits"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--preset", "hubble"), "preset: 'hubble' is not known"),
        (("--set", "mosaic.drizzle.pixfrac"), "KEY=VALUE"),
        (("--set", "mosaic.pixfrac=1"), "unknown key mosaic.pixfrac"),
        (("--kernel", "tophat"), "must be 'square' or 'turbo'"),
        (("--sky", "match"), "use 'globalmin+match'"),
        (("--combine", "median", "--masks", "m"), "is not allowed beside"),
        (("--params", "absent.toml"), "no such file"),
        (("--rules", "absent.rules"), "absent.rules: no such file"),
        (("--set", "override.detectors=absent.toml"), "absent.toml: no such file"),
        (("--set", "override.reference_files=absent"), "IDCTAB: is missing"),
    ],
)
def test_wrong_parameters_are_named(visit, tmp_path, call, more, words) -> None:
    done = call("drizzle", *visit, "-o", tmp_path / "x.fits", *more)
    assert done.exit_code == 1
    assert words in done.stderr
    assert not list(tmp_path.iterdir())


def test_exposures_are_never_changed(visit, aligned, tmp_path, call) -> None:
    copy = tmp_path / visit[0].name
    shutil.copy(visit[0], copy)
    before = copy.read_bytes()
    done = call("align", copy, visit[1], "-o", tmp_path, "--overwrite")
    assert done.exit_code == 1
    assert "the exposure itself" in done.stderr
    assert copy.read_bytes() == before
