"""Plans of cameras with chips, look-up tables and gwcs: from files to sources in the lake."""

import io
import json
import warnings
from pathlib import Path

import asdf
import gwcs
import numpy as np
import polars as pl
import pytest
from astropy import units as u
from astropy.coordinates import ICRS
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.modeling import models
from gwcs import coordinate_frames as cf
from typer.testing import CliRunner

from skymere.cli import app
from skymere.instruments import find_detector
from skymere.io import read_exposure
from skymere.lake import Lake
from skymere.pipeline import Plan, read_plan, run_plan
from skymere.pipeline.exposures import load_exposure
from skymere.pipeline.products import load_mosaics
from skymere.pipeline.runner import open_or_create_lake
from skymere.pipeline.stages.ingest import STAGE
from skymere.testing import (
    ACS_BANDS,
    AcsParams,
    AcsPointing,
    CameraParams,
    Pointing,
    SceneParams,
    acs_distortion,
    draw_scene,
    render_exposure,
    score_sources,
    simulate_acs,
)
from skymere.testing.scene import BANDS
from skymere.wcs import Grid, wcs_cards

RA, DEC = 150.117, 2.2055
STEPS = [(0.0, 0.0), (0.53, 3.72), (-0.61, -3.18), (1.17, 1.94)]


def run(folder: Path):
    return run_plan(read_plan(folder / "plan.toml"))


def fluxes(lake: Lake, truth: pl.DataFrame, band: str, edges: tuple[float, float]) -> dict[str, float]:
    """How the sources of the lake compare with those true ones that lie well inside the mosaic."""
    (mosaic,) = load_mosaics(lake, "field", [band])
    x, y = mosaic.grid.pixels(truth["ra"].to_numpy(), truth["dec"].to_numpy())
    deep = mosaic.weight > 0.45 * mosaic.weight.max()
    ix, iy = np.rint(x).astype(int), np.rint(y).astype(int)
    inside = (ix > 20) & (iy > 20) & (ix < mosaic.shape[1] - 20) & (iy < mosaic.shape[0] - 20)
    inside[inside] = [deep[j - 15 : j + 16, i - 15 : i + 16].all() for i, j in zip(ix[inside], iy[inside], strict=True)]
    table = score_sources(truth.filter(pl.Series(inside)), lake.table("source").collect(), band=band, edges=edges)
    found = table.row(0, named=True)
    print(f"{band}: {found}")
    return found


@pytest.fixture(scope="module")
def acs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pl.DataFrame]:
    """Four two-chip FLC files with linear coordinates, whose headers name the tables of the archive, and a plan."""
    folder = tmp_path_factory.mktemp("acs")
    (folder / "exposures").mkdir()
    reference = shared_data / "imaging" / "wcs"
    camera = CameraParams(
        shape=(200, 300),
        exptime=600.0,
        sky=0.08,
        read_noise=5.2,
        psf_fwhm_arcsec=0.1,
        n_cosmic_rays=60,
        n_bad_pixels=80,
        n_dead_pixels=5,
    )
    scene = draw_scene(
        RA,
        DEC,
        params=SceneParams(n_galaxies=25, n_stars=35, radius_arcsec=11.0, bright_mag=20.0, faint_mag=25.5),
        seed=3,
        bands=ACS_BANDS,
    )
    pointings = [
        AcsPointing(name=f"j606{k:02d}q", band="f606w", ra=RA + dx / 3600, dec=DEC + dy / 3600)
        for k, (dx, dy) in enumerate(STEPS)
    ]
    tables = {"f606w": acs_distortion(reference, "f606w")}
    simulate_acs(folder / "exposures", scene, pointings, tables=tables, params=AcsParams(camera=camera), seed=7)
    (folder / "plan.toml").write_text(
        '[survey]\nexposures = ["exposures/*_flc.fits"]\n'
        f'[tile]\nscale_arcsec = 0.05\n[ingest]\nreference_files = "{reference}"\n'
    )
    return folder, scene


def test_two_chip_files_become_exposures_mosaic_and_sources(acs: tuple[Path, pl.DataFrame]) -> None:
    folder, scene = acs
    assert run(folder).problems.is_empty()
    lake = Lake.open(folder / "lake")
    rows = lake.table("exposure").sort("exposure_id").collect()
    assert rows["exposure_id"].to_list() == [f"j606{k:02d}q_chip{chip}" for k in range(4) for chip in (1, 2)]
    assert rows["detector"].to_list() == ["WFC1", "WFC2"] * 4
    assert rows["wcs_sha256"].n_unique() == 8
    (mosaic,) = load_mosaics(lake, "field")
    assert sorted(mosaic.exposure_ids) == rows["exposure_id"].to_list()
    ny, nx = mosaic.shape
    # Nothing is left of the gap, which the dithers move by 140 pixels.
    assert (mosaic.weight[2 * ny // 5 : 3 * ny // 5, 2 * nx // 5 : 3 * nx // 5] > 0).mean() > 0.999
    one = load_exposure(lake, "j60600q_chip1")
    assert one.group == "j60600q"
    assert one.wcs.cpdis1 is not None
    assert load_exposure(lake, "j60600q_chip2").group == one.group
    # One sky for the chips of a camera.
    skies = lake.table("mask").sort("exposure_id").collect()["sky"].to_numpy().reshape(4, 2)
    np.testing.assert_array_equal(skies[:, 0], skies[:, 1])
    found = fluxes(lake, scene, "f606w", (20.0, 23.5))
    assert found["n_true"] >= 5
    assert found["completeness"] > 0.85
    assert abs(found["bias"]) < 0.06


def ingest(plan: Plan) -> dict[str, tuple[str, str]]:
    """Run the first stage alone; return status and message of every exposure, and what was done anew."""
    lake = open_or_create_lake(plan)
    for task in STAGE.tasks(plan, lake):
        with lake.run(
            stage="ingest", tile=task.tile, product="exposure", inputs=task.inputs, params=task.params
        ) as one:
            if not one.already:
                task.work(one)
    return {
        name: (status, message)
        for name, status, message in lake.table("exposure")
        .select("exposure_id", "status", "message")
        .collect()
        .iter_rows()
    }


def test_a_damaged_file_is_one_row_until_its_chips_can_be_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        hdus = [fits.PrimaryHDU()]
        hdus[0].header.update(
            TELESCOP="HST", INSTRUME="ACS", DETECTOR="WFC", FILTER1="F606W", FILTER2="CLEAR2L", EXPTIME=10.0
        )
        for version, chip in enumerate((2, 1), start=1):
            cards = wcs_cards(Grid.tangent(10.0, 5.0 + version / 3600, shape=(30, 40), scale_arcsec=0.05).wcs)
            for plane, level in (("SCI", 100.0), ("ERR", 10.0), ("DQ", 0)):
                data = np.full((30, 40), level, np.int32 if plane == "DQ" else np.float32)
                hdus.append(fits.ImageHDU(data, name=plane, ver=version))
                hdus[-1].header.update(cards | {"CCDCHIP": chip, "BUNIT": "ELECTRONS"})
        fits.HDUList(hdus).writeto(tmp_path / f"{name}_flc.fits")
    (tmp_path / "plan.toml").write_text('[survey]\nexposures = ["*_flc.fits"]\n[tile]\nscale_arcsec = 0.05\n')
    plan, damaged = read_plan(tmp_path / "plan.toml"), tmp_path / "b_flc.fits"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-5000])
    found = ingest(plan)
    assert {name: status for name, (status, _) in found.items()} == {"a_chip1": "ok", "a_chip2": "ok", "b": "failed"}
    assert str(damaged) in found["b"][1]
    damaged.write_bytes(content)
    chips = {"a_chip1", "a_chip2", "b_chip1", "b_chip2"}
    assert ingest(plan) == dict.fromkeys(chips, ("ok", ""))
    version = Lake.open(tmp_path / "lake").content_hash()
    assert ingest(plan) == dict.fromkeys(chips, ("ok", ""))
    assert Lake.open(tmp_path / "lake").content_hash() == version


def sip_gwcs(wcs):
    """The TAN-SIP coordinates of a rendered exposure as a gwcs."""
    terms = [
        models.Polynomial2D(
            len(table) - 1, **{f"c{p}_{q}": float(table[p, q]) for p, q in zip(*np.nonzero(table), strict=True)}
        )
        for table in (wcs.sip.a, wcs.sip.b)
    ]
    identity = (models.Polynomial2D(1, c1_0=1.0), models.Polynomial2D(1, c0_1=1.0))
    bent = [straight + term for straight, term in zip(identity, terms, strict=True)]
    origin = [models.Shift(1.0 - float(value)) for value in wcs.wcs.crpix]
    sky = models.Pix2Sky_TAN() | models.RotateNative2Celestial(*(float(value) for value in wcs.wcs.crval), 180.0)
    linear = models.AffineTransformation2D(matrix=wcs.pixel_scale_matrix)
    forward = origin[0] & origin[1] | models.Mapping((0, 1, 0, 1)) | bent[0] & bent[1] | linear | sky
    detector = cf.Frame2D(name="detector", axes_names=("x", "y"), unit=(u.pix, u.pix))
    world = cf.CelestialFrame(reference_frame=ICRS(), unit=(u.deg, u.deg), name="world")
    return gwcs.WCS([(detector, forward), (world, None)])


def write_cal(path: Path, rendered: dict, pointing: Pointing, camera: CameraParams, offset_deg: float = 0.0) -> None:
    """Write a rendered exposure as a MIRI ``_cal`` file, whose headers have no celestial coordinates and whose gwcs
    may be off in declination."""
    gain = find_detector("JWST", "MIRI", "MIRIMAGE").gain
    area_sr, per_rate = 3.87e-13, 1.0 / (1e6 * 3.87e-13) * gain * 10 ** (-0.4 * (BANDS[pointing.band][0] - 8.9))
    primary = fits.PrimaryHDU()
    primary.header.update(TELESCOP="JWST", INSTRUME="MIRI", DETECTOR="MIRIMAGE", FILTER="F770W")
    primary.header.update(XPOSURE=camera.exptime, EXPTIME=1.0)
    factor = per_rate / gain
    jumps = np.random.default_rng([9, *pointing.name.encode()]).random(camera.shape) < 0.05
    dq = np.where(rendered["dq"] > 0, 1 | 1024, 0) | np.where(jumps, 4, 0)
    noise = np.full(camera.shape, (factor * camera.read_noise / camera.exptime) ** 2, np.float32)
    planes = {
        "SCI": rendered["sci"] * factor,
        "ERR": rendered["err"] * factor,
        "DQ": dq.astype(np.uint32),
        "VAR_RNOISE": noise,
    }
    hdus = [primary]
    for name, data in planes.items():
        hdus.append(fits.ImageHDU(data.astype(data.dtype if name == "DQ" else np.float32), name=name))
        hdus[-1].header["BUNIT"] = "MJy/sr"
    hdus[1].header.update(PHOTMJSR=per_rate, PIXAR_SR=area_sr, PIXAR_A2=0.12825**2)
    content = io.BytesIO()
    wcs = rendered["wcs"].deepcopy()
    wcs.wcs.crval = wcs.wcs.crval + np.array([0.0, offset_deg])
    asdf.AsdfFile({"meta": {"wcs": sip_gwcs(wcs), "observer": "somebody"}}).write_to(content)
    bytes_ = np.frombuffer(content.getvalue(), np.uint8)
    hdus.append(fits.BinTableHDU.from_columns([fits.Column("ASDF_METADATA", f"{bytes_.size}B", array=bytes_[None])]))
    hdus[-1].name = "ASDF"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerifyWarning)
        fits.HDUList(hdus).writeto(path)


def test_cal_files_with_gwcs_become_mosaic_and_sources(tmp_path: Path) -> None:
    camera = CameraParams(shape=(170, 180), n_cosmic_rays=15, n_bad_pixels=100, n_dead_pixels=5, read_noise=11.0)
    scene = draw_scene(
        RA, DEC, params=SceneParams(n_galaxies=25, n_stars=8, radius_arcsec=10.0, faint_mag=25.0), seed=4
    )
    (tmp_path / "exposures").mkdir()
    truth = {}
    for k, (dx, dy) in enumerate(STEPS):
        pointing = Pointing(name=f"jw{k}", band="f160w", ra=RA + dx / 7200, dec=DEC + dy / 7200, pa_deg=30.0)
        rendered = render_exposure(scene, pointing, params=camera)
        write_cal(tmp_path / "exposures" / f"jw{k}_cal.fits", rendered, pointing, camera)
        truth[f"jw{k}"] = rendered["wcs"]
    plan = tmp_path / "plan.toml"
    plan.write_text('[survey]\nexposures = ["exposures/*_cal.fits"]\n[tile]\nscale_arcsec = 0.08\n')
    assert run(tmp_path).problems.is_empty()
    lake = Lake.open(tmp_path / "lake")
    for row in lake.table("exposure").collect().iter_rows(named=True):
        stored = json.loads(row["wcs"])
        assert list(stored) == ["gwcs"]
        exposure = load_exposure(lake, row["exposure_id"])
        assert wcs_cards(exposure.wcs) == stored
        x, y = np.array([3.0, 150.0]), np.array([160.0, 20.0])
        away = np.subtract(exposure.wcs(x, y), truth[row["exposure_id"]].all_pix2world(x, y, 0))
        assert np.abs(away).max() < 1e-11
        # The read noise is that of the variances, not the nominal one, and jumps do not make a pixel bad.
        assert exposure.read_noise == pytest.approx(11.0, rel=1e-4)
        assert exposure.mask().mean() < 0.01 < (exposure.dq > 0).mean()
    known = scene.rename({"mag_f160w": "mag_f770w", "flux_f160w": "flux_f770w"})
    found = fluxes(lake, known, "f770w", (20.0, 24.0))
    assert found["n_true"] >= 5
    assert found["completeness"] > 0.85
    assert abs(found["bias"]) < 0.05


def test_cal_files_are_aligned_by_the_command_and_drizzled(tmp_path: Path) -> None:
    camera = CameraParams(shape=(170, 180), n_cosmic_rays=0, n_bad_pixels=0, n_dead_pixels=0, read_noise=11.0)
    scene = draw_scene(RA, DEC, params=SceneParams(n_galaxies=0, n_stars=150, radius_arcsec=14.0), seed=4)
    files, truth = [], []
    for k, (dx, dy) in enumerate(STEPS[:2]):
        pointing = Pointing(name=f"jw{k}", band="f160w", ra=RA + dx / 7200, dec=DEC + dy / 7200, pa_deg=30.0)
        rendered = render_exposure(scene, pointing, params=camera)
        files.append(tmp_path / f"jw{k}_cal.fits")
        write_cal(files[-1], rendered, pointing, camera, offset_deg=k * 0.3 / 3600)
        truth.append(rendered["wcs"])
    before = [path.read_bytes() for path in files]
    done = CliRunner().invoke(app, ["align", *map(str, files), "-o", str(tmp_path / "aligned")])
    assert done.exit_code == 0, done.output
    assert [path.read_bytes() for path in files] == before
    x, y = np.array([30.0, 90.0, 150.0]), np.array([160.0, 80.0, 20.0])
    for k, wcs in enumerate(truth):
        exposure = read_exposure(tmp_path / "aligned" / f"jw{k}_cal.fits")
        away = np.subtract(exposure.wcs(x, y), wcs.all_pix2world(x, y, 0))
        assert np.abs(away[1] * 3600).max() < 0.01
        assert np.abs(away[0] * 3600 * np.cos(np.deg2rad(DEC))).max() < 0.01
    with fits.open(tmp_path / "aligned" / "jw1_cal.fits") as hdus:
        content = io.BytesIO(hdus["ASDF"].data["ASDF_METADATA"].tobytes())
        with asdf.open(content) as file:
            assert file["meta"]["observer"] == "somebody"
    out = tmp_path / "drz.fits"
    aligned = [str(tmp_path / "aligned" / path.name) for path in files]
    done = CliRunner().invoke(app, ["drizzle", *aligned, "-o", str(out), "--scale", "0.08"])
    assert done.exit_code == 0, done.output
    with fits.open(out) as hdus:
        both = hdus["CTX"].data == 3
        assert both.mean() > 0.2
        # The time of a pixel is that of its share of the detector's pixels.
        assert hdus["WHT"].data[both].mean() == pytest.approx(2 * camera.exptime * (0.08 / 0.12825) ** 2, rel=0.05)
