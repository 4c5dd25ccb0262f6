"""Lists of exposures: ingest, areas, the same list again, and lists of others."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.datamodels import Exposure
from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.mosaic import ExposureList, footprint_area, read_groups
from skymere.testing import CameraParams, Pointing, SceneParams, draw_scene, render_exposure
from skymere.testing.exposures import camera_wcs, write_exposure
from skymere.wcs import Grid

CAMERA = CameraParams(shape=(60, 70), n_cosmic_rays=0, n_bad_pixels=3, n_dead_pixels=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("flt")
    scene = draw_scene(40.0, 5.0, params=SceneParams(n_galaxies=0, n_stars=2, radius_arcsec=3.0), seed=1)
    for i, band in enumerate(("f160w", "f125w", "f160w")):
        pointing = Pointing(name=f"sim{i}q", band=band, ra=40.0, dec=5.0, pa_deg=25.0 + i)
        write_exposure(
            render_exposure(scene, pointing, params=CAMERA), pointing, made / f"sim{i}q_flt.fits", params=CAMERA
        )
    (made / "notes.txt").write_text("no exposure")
    return made


def test_a_folder_is_listed_once_with_filters_in_lower_case(folder):
    listed = ExposureList.from_files(folder)
    assert listed.table["exposure_id"].to_list() == ["sim0q", "sim1q", "sim2q"]
    assert listed.table["band"].to_list() == ["f160w", "f125w", "f160w"]
    assert listed.table["detector"].to_list() == ["IR"] * 3
    assert listed.table["pa"].to_list() == pytest.approx([25.0, 26.0, 27.0], abs=1.0)
    assert listed.bands == ("f125w", "f160w")
    assert all(len(text) == 64 for text in listed.table["sha256"])
    assert listed[1].exposure_id == "sim1q"
    assert [one.band for one in listed[:2]] == ["f160w", "f125w"]
    twice = ExposureList.from_files([folder, folder / "sim0q_flt.fits"])
    assert len(twice) == 3
    # Also when somebody gives the filter in capitals.
    loud = ExposureList(listed.table.with_columns(pl.col("band").str.to_uppercase()), lambda _: listed[0])
    assert loud.bands == ("f125w", "f160w")


def test_the_area_is_that_of_the_pixels(folder):
    shape = (1014, 1014)
    wcs = camera_wcs(Pointing(name="a", band="f160w", ra=40.0, dec=65.0, pa_deg=30.0), shape)
    # The derivative of the distorted coordinates at nodes of Gauss and Legendre, which are exact for these polynomials.
    nodes, weights = np.polynomial.legendre.leggauss(12)
    u = (nodes + 1) / 2 * 1014 - 0.5
    x, y = np.meshgrid(u, u)
    step = 0.25
    sky = [
        np.deg2rad(wcs.all_pix2world(x + dx, y + dy, 0)) for dx, dy in ((step, 0), (-step, 0), (0, step), (0, -step))
    ]
    vectors = [np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1) for a, d in sky]
    cells = np.linalg.norm(np.cross(vectors[0] - vectors[1], vectors[2] - vectors[3]), axis=-1) / (2 * step) ** 2
    expected = (cells * np.outer(weights, weights)).sum() * (1014 / 2) ** 2 * (np.rad2deg(1) * 60) ** 2
    assert footprint_area(wcs, shape) == pytest.approx(expected, rel=1e-6)
    areas = ExposureList.from_files(folder).areas()
    assert areas.select("band", "n_files", "n_exposures").rows() == [("f125w", 1, 1), ("f160w", 2, 2)]
    one = footprint_area(
        camera_wcs(Pointing(name="a", band="f160w", ra=40.0, dec=5.0, pa_deg=25.0), (60, 70)), (60, 70)
    )
    assert areas["area_arcmin2"].to_list() == pytest.approx([one, 2 * one], rel=1e-6)


def test_the_area_of_two_chips_is_their_sum_without_what_they_share():
    def chip(name, north, pa=0.0):
        grid = Grid.tangent(10.0, 60.0 + north / 3600.0, shape=(100, 300), scale_arcsec=0.1, rotation_deg=pa)
        plane = np.ones(grid.shape, np.float32)
        return Exposure(
            exposure_id=name,
            group="two",
            data=plane,
            error=plane,
            dq=np.zeros(grid.shape, np.uint32),
            wcs=grid.wcs,
            exptime=1.0,
            band="F606W",
        )

    single = 10.0 * 30.0 / 3600.0
    for north, shared in ((12.0, 0.0), (8.0, 2.0 * 30.0 / 3600.0), (0.0, single)):
        listed = ExposureList.of([chip("one", 0.0), chip("two", north)])
        assert listed.areas()["area_arcmin2"][0] == pytest.approx(2 * single - shared, rel=1e-5)
        assert listed.areas()["n_files"][0] == 1
    turned = ExposureList.of([chip("one", 0.0), chip("two", 0.0, pa=90.0)])
    assert turned.areas()["area_arcmin2"][0] == pytest.approx(2 * single - 100.0 / 3600.0, rel=1e-5)


def test_what_is_the_same_is_not_read_again_and_what_changed_is(folder, tmp_path, monkeypatch):
    import skymere.mosaic.exposure_list as module

    for path in folder.glob("*_flt.fits"):
        shutil.copy(path, tmp_path)
    first = ExposureList.from_files(tmp_path)
    with fits.open(tmp_path / "sim1q_flt.fits", mode="update") as hdus:
        hdus[0].header["FILTER"] = "F140W"
    shutil.copy(tmp_path / "sim0q_flt.fits", tmp_path / "new_flt.fits")
    read = []
    before = module.read_exposure
    monkeypatch.setattr(
        module, "read_exposure", lambda path, **more: read.append(Path(path).name) or before(path, **more)
    )
    second = ExposureList.from_files(tmp_path, known=first)
    assert sorted(read) == ["new_flt.fits", "sim1q_flt.fits"]
    assert dict(second.table.select("exposure_id", "band").iter_rows())["sim1q"] == "f140w"
    assert len(second) == 4
    second.write(tmp_path / "list.parquet")
    back = ExposureList.from_parquet(tmp_path / "list.parquet")
    assert back.table.equals(second.table)
    np.testing.assert_array_equal(back[0].data, second[0].data)


def test_a_file_that_cannot_be_used_is_a_row_with_its_message(folder, tmp_path):
    shutil.copy(folder / "sim0q_flt.fits", tmp_path / "a_flt.fits")
    (tmp_path / "b_flt.fits").write_bytes((folder / "sim1q_flt.fits").read_bytes()[:20000])
    listed = ExposureList.from_files(tmp_path)
    assert listed.table["status"].to_list() == ["ok", "failed"]
    assert "b_flt.fits" in listed.table["message"][1]
    assert listed.bands == ("f160w",)


def test_groups_of_grizli_give_their_files_and_a_pickle_is_refused(folder, tmp_path):
    text = (
        "F160W:\n  filter: F160W\n  files: [a_flt.fits, b_flt.fits]\n  awspath: null\nf125w:\n  files: [c_flt.fits]\n"
    )
    path = tmp_path / "groups.yaml"
    path.write_text(text)
    assert read_groups(path) == {"f160w": ["a_flt.fits", "b_flt.fits"], "f125w": ["c_flt.fits"]}
    # A visits file, a list of products, is taken as well.
    path.write_text(
        "- {product: x-f160w, filter: F160W, files: [a_flt.fits]}\n- {filter: f160w, files: [b_flt.fits]}\n"
    )
    assert read_groups(path) == {"f160w": ["a_flt.fits", "b_flt.fits"]}
    np.save(tmp_path / "groups.npy", [{"f160w": {"files": ["a"]}}])
    with pytest.raises(FormatError, match="pickle"):
        read_groups(tmp_path / "groups.npy")
    for wrong in ("a: 1\n", "[1, 2]\n", "{}\n", "a: [\n", "just text\n", "!!python/object/apply:os.getcwd []\n"):
        path.write_text(wrong)
        with pytest.raises(FormatError, match=r"groups\.yaml"):
            read_groups(path)
    with pytest.raises(NotFoundError, match="nowhere"):
        read_groups(tmp_path / "nowhere.yaml")


def test_bad_lists_are_named(folder, tmp_path):
    with pytest.raises(NotFoundError, match="has no file"):
        ExposureList.from_files(tmp_path)
    with pytest.raises(NotFoundError, match="no such file"):
        ExposureList.from_files(tmp_path / "nothing")
    with pytest.raises(InvalidInputError, match=r"columns \['wcs'\] are missing"):
        ExposureList(pl.DataFrame({"exposure_id": ["a"], "band": ["b"], "ny": [1], "nx": [1]}), lambda _: None)
    pl.DataFrame({"ra": [1.0]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(FormatError, match="it is no list of exposures"):
        ExposureList.from_parquet(tmp_path / "other.parquet")


def test_outlines_beside_a_detector_whose_coordinates_have_bounds_are_found(shared_data):
    from skymere.io import read_gwcs
    from skymere.wcs import pixels_to_sky

    wcs = read_gwcs(shared_data / "imaging" / "wcs" / "jwst_nrcb1_gwcs.asdf")
    plane = np.ones((2048, 2048), np.float32)
    dq = np.zeros(plane.shape, np.uint32)
    one = Exposure(exposure_id="a", data=plane, error=plane, dq=dq, wcs=wcs, exptime=1.0, band="f200w")
    listed = ExposureList.of([one])
    # Corners of squares of 40 pixels whose middles are inside, on the edge, and well outside.
    x0, y0 = np.array([1000.0, -10.0, 2060.0, -90.0]), np.array([1000.0, 700.0, 2055.0, 700.0])
    x = x0[:, None] + np.array([-20.0, 20.0, 20.0, -20.0])
    y = y0[:, None] + np.array([-20.0, -20.0, 20.0, 20.0])
    quads = listed.quads(0, *pixels_to_sky(wcs, x, y))
    np.testing.assert_allclose(quads, np.stack([x, y], axis=-1), atol=0.5)
    assert listed.overlapping(0, quads).tolist() == [True, True, True, False]
