"""Files of other tools into a lake, and a lake into their files."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

sys.path.insert(0, str(Path(__file__).parent))
import foreign_files as ff

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.io import file_digest, read_full_file
from skymere.lake import Lake
from skymere.pipeline.exporting import export_files
from skymere.pipeline.importing import import_files
from skymere.pipeline.products import load_mosaics
from skymere.slit import read_slit_spectrum


def files_in(folder: Path) -> list[Path]:
    folder.mkdir()
    return [
        ff.write_drz(folder / "f125w_drz.fits"),
        ff.write_pair(folder),
        folder / "field_f160w_drz_wht.fits",
        ff.write_segmentation(folder / "det_seg.fits"),
        ff.write_full(folder / "f_00012.full.fits"),
        ff.write_1d(folder / "f_00012.1D.fits"),
        ff.write_spec(folder / "prism-clear_1345_933.spec.fits"),
    ]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, pl.DataFrame]:
    folder = tmp_path_factory.mktemp("imported")
    told = import_files(folder / "lake", files_in(folder / "files"))
    return Lake.open(folder / "lake"), told


def test_every_file_is_taken_for_what_it_is(imported: tuple[Lake, pl.DataFrame]) -> None:
    lake, told = imported
    assert (told["status"] == "ok").all(), told.to_dicts()
    assert told["product"].to_list() == ["mosaic", "mosaic", "segmentation", "full", "1D", "spec"]
    assert lake.fsck(hashes=True) == []


def test_mosaics_have_the_pixels_and_the_zero_points_of_their_files(imported: tuple[Lake, pl.DataFrame]) -> None:
    lake, _ = imported
    f125w, f160w = load_mosaics(lake, "field")
    assert (f125w.band, f160w.band) == ("f125w", "f160w")
    seen = f125w.weight > 0
    np.testing.assert_array_equal(f125w.data[seen], ff.scene()[seen])
    np.testing.assert_array_equal(f160w.data, ff.scene(2))
    # Sirianni et al. 2005: AB magnitude of one electron / s.
    expected = -2.5 * np.log10(ff.PHOTFLAM) - 21.1 - 5 * np.log10(ff.PHOTPLAM) + 18.6921
    assert f125w.zero_point_ab == pytest.approx(expected, abs=1e-3)
    assert f125w.weight_kind == "exposure_time"
    assert f160w.weight_kind == "inverse_variance"
    # Casertano et al. 2000, A19: the drop is larger than a pixel.
    r = 0.8 * 0.13 / 0.1
    assert f125w.noise_correlation == pytest.approx(r / (1 - 1 / (3 * r)))
    assert f160w.noise_correlation == 1.0
    np.testing.assert_allclose(f160w.variance, 0.05**2, rtol=0.1)
    assert f125w.exposure_ids == ("ib6o23rsq_flt.fits[sci,1]",)


def test_sources_of_a_segmentation_are_measured_in_all_bands(imported: tuple[Lake, pl.DataFrame]) -> None:
    lake, _ = imported
    rows = lake.table("source").sort("label").collect()
    assert rows["label"].to_list() == [3, 7]
    np.testing.assert_allclose(rows["x"], [25.0, 55.0], atol=0.05)
    np.testing.assert_allclose(rows["y"], [30.0, 20.0], atol=0.05)
    zero_point = -2.5 * np.log10(ff.PHOTFLAM) - 21.1 - 5 * np.log10(ff.PHOTPLAM) + 18.6921
    expected = np.array([1000.0, 300.0]) * 10 ** (-0.4 * (zero_point - 23.9))
    np.testing.assert_allclose(rows["flux_iso_f125w"], expected, rtol=0.02)


def test_a_fit_of_grizli_says_in_the_lake_what_its_file_says(imported: tuple[Lake, pl.DataFrame]) -> None:
    lake, _ = imported
    (row,) = lake.table("redshift").collect().to_dicts()
    assert (row["redshift"], row["z16"], row["z84"]) == (1.5, 1.496, 1.504)
    assert row["redshift_err"] == pytest.approx(0.004)
    assert (row["chi2"], row["dof"], row["bic_diff"]) == (500.0, 480, 90.0)
    assert (row["exptime_g141"], row["n_exposures_g141"], row["n_pa_g141"]) == (4000.0, 2, 1)
    (line,) = lake.table("line").collect().to_dicts()
    assert (line["line"], line["flux"], line["flux_err"]) == ("Ha", 3e-17, 2e-18)
    assert (line["ew16"], line["ew50"], line["ew84"]) == (90.0, 100.0, 110.0)
    assert line["wavelength"] == pytest.approx(0.656461 * 2.5)
    assert line["snr"] == pytest.approx(15.0)
    assert set(lake.table("line_map").collect()["kind"]) == {"line", "direct", "seg"}
    one = lake.table("spectrum").collect().row(0, named=True)
    assert (one["grating"], one["exptime"], one["n_wavelength"]) == ("g141", 4000.0, 120)
    assert one["snr"] == pytest.approx(5.0)
    assert one["source_id"] == row["source_id"]


def test_a_slit_spectrum_has_no_flux_where_msaexp_writes_zeros(imported: tuple[Lake, pl.DataFrame]) -> None:
    lake, _ = imported
    (row,) = lake.table("slit_spectrum").collect().to_dicts()
    assert (row["grating"], row["band"], row["n_slitlets"], row["exptime"]) == ("prism", "clear", 3, 4377.0)
    assert row["snr"] == pytest.approx(20.0)
    (spectrum,) = lake.slit_spectra([row["spectrum_id"]])
    assert np.isnan(spectrum.flux[:3]).all()
    np.testing.assert_array_equal(spectrum.flux[3:], 2.0)
    np.testing.assert_allclose(spectrum.covariance[3:, 0], 0.01)
    np.testing.assert_allclose(spectrum.image.y_edges[[0, -1]], [-10.5, 10.5])


def test_what_goes_out_comes_in_as_it_was(imported: tuple[Lake, pl.DataFrame], tmp_path: Path) -> None:
    lake, _ = imported
    told = export_files(lake, tmp_path / "out")
    paths = [Path(one) for one in told["file"] if not one.endswith("det_cat.fits")]
    again = import_files(tmp_path / "again", paths)
    assert (again["status"] == "ok").all(), again.to_dicts()
    other = Lake.open(tmp_path / "again")
    for product in ("redshift", "line", "line_map", "spectrum", "mosaic", "segmentation", "slit_spectrum", "source"):
        skipped = ("run_id", "template_set", "params", "meta", "segmentation_run", "footprint", "wcs")
        one, two = (
            each.table(product).collect().drop(skipped, strict=False).sort(pl.all().exclude("tile"))
            for each in (lake, other)
        )
        assert one.columns == two.columns, product
        for name in one.columns:
            if one[name].dtype.is_float():
                np.testing.assert_allclose(one[name].to_numpy(), two[name].to_numpy(), rtol=1e-9, err_msg=name)
            elif name not in ("n_exposures", "exposure_ids", "n_slitlets", "weight_kind"):
                assert one[name].to_list() == two[name].to_list(), (product, name)


def test_files_that_go_out_are_those_of_the_tools(imported: tuple[Lake, pl.DataFrame], tmp_path: Path) -> None:
    lake, _ = imported
    told = export_files(lake, tmp_path)
    names = {Path(one).relative_to(tmp_path).as_posix() for one in told["file"]}
    number = lake.table("redshift").collect()["source_id"][0]
    assert {"field-f125w_drz.fits", "field-f160w_drz.fits", "field/det_seg.fits", "field/det_cat.fits"} <= names
    assert {f"field_{number}.full.fits", f"field_{number}.1D.fits", "prism-clear_1345_933.spec.fits"} <= names
    np.testing.assert_array_equal(fits.getdata(tmp_path / "field/det_seg.fits", "SEG"), ff.labels())
    with fits.open(tmp_path / f"field_{number}.full.fits") as hdus:
        assert hdus["ZFIT_STACK"].header["Z_MAP"] == 1.5
        assert hdus["COVAR"].header["FLUX_000"] == 3e-17
        np.testing.assert_allclose(hdus["TEMPL"].data["wave"][[0, -1]], [9000.0, 18000.0])
        assert ("LINE", "Ha") in {(hdu.name, hdu.header.get("EXTVER")) for hdu in hdus}
    full = read_full_file(tmp_path / f"field_{number}.full.fits")
    assert full.maps.z == 1.5
    assert read_slit_spectrum(tmp_path / "prism-clear_1345_933.spec.fits").flux[5] == 2.0


def test_an_object_that_comes_later_leaves_the_others(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    first, second = (
        ff.write_full(tmp_path / "a.full.fits"),
        ff.write_full(tmp_path / "b.full.fits", number=13, ra=ff.RA + 0.001, z=0.9),
    )
    import_files(lake, [first])
    import_files(lake, [second])
    opened = Lake.open(lake)
    assert sorted(opened.table("redshift").collect()["redshift"]) == [0.9, 1.5]
    assert opened.table("line").collect().height == 2
    assert opened.table("line_map").collect().height == 6
    runs = opened.live_runs("redshift")
    told = import_files(lake, [second])
    assert told["status"].to_list() == ["ok"]
    assert sorted(opened.table("redshift").collect()["redshift"]) == [0.9, 1.5]
    # A newer file of an object takes the place of the older one.
    newer = ff.write_full(tmp_path / "c.full.fits", z=2.0)
    import_files(lake, [newer])
    assert sorted(opened.table("redshift").collect()["redshift"]) == [0.9, 2.0]
    assert opened.live_runs("redshift") != runs
    assert opened.fsck(hashes=True) == []
    numbers = opened.table("pz").collect().sort("pz_row")
    assert numbers["pz_row"].to_list() == [0, 1]


def test_a_band_that_comes_later_leaves_the_others(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    import_files(lake, [ff.write_drz(tmp_path / "a_drz.fits")])
    before = load_mosaics(Lake.open(lake), "field")[0]
    import_files(lake, [ff.write_drz(tmp_path / "b_drz.fits", "F814W")], bands=["f775w"])
    after = load_mosaics(Lake.open(lake), "field")
    assert [one.band for one in after] == ["f125w", "f775w"]
    for name in ("data", "weight", "variance", "context"):
        np.testing.assert_array_equal(getattr(after[0], name), getattr(before, name))
    assert Lake.open(lake).fsck(hashes=True) == []


def test_a_source_of_the_lake_lends_its_identifier(tmp_path: Path) -> None:
    lake, wcs = tmp_path / "lake", ff.image_wcs()
    import_files(lake, [ff.write_drz(tmp_path / "a_drz.fits"), ff.write_segmentation(tmp_path / "det_seg.fits")])
    sources = Lake.open(lake).table("source").sort("label").collect()
    ra = float(wcs.all_pix2world(25.0, 30.0, 0)[0])
    place = sources.row(0, named=True)
    full = tmp_path / "x.full.fits"
    ff.write_full(full, number=3, ra=ra)
    with fits.open(full, mode="update", output_verify="silentfix") as hdus:
        hdus[0].header["DEC"] = place["dec"]
    import_files(lake, [full])
    assert Lake.open(lake).table("redshift").collect()["source_id"].to_list() == [place["source_id"]]
    told = export_files(Lake.open(lake), tmp_path / "out", kinds=["full"], sources=[place["source_id"]])
    # Files are called by the label of the segmentation.
    assert [Path(one).name for one in told["file"]] == ["field_00003.full.fits"]


def test_a_bad_file_does_not_hold_up_the_others(tmp_path: Path) -> None:
    good, bad = ff.write_full(tmp_path / "a.full.fits"), ff.write_full(tmp_path / "b.full.fits", number=13)
    with fits.open(bad, mode="update", output_verify="silentfix") as hdus:
        del hdus[0].header["RA"]
    digests = [file_digest(one) for one in (good, bad)]
    told = import_files(tmp_path / "lake", [bad, good])
    assert told["status"].to_list() == ["failed", "ok"]
    assert "b.full.fits" in told["message"][0]
    assert "RA" in told["message"][0]
    assert [file_digest(one) for one in (good, bad)] == digests


def test_two_files_of_one_object_are_told(tmp_path: Path) -> None:
    told = import_files(
        tmp_path / "lake", [ff.write_full(tmp_path / "a.full.fits"), ff.write_full(tmp_path / "b.full.fits")]
    )
    assert told["status"].to_list() == ["ok", "failed"]
    assert "another file is of source" in told["message"][1]


def test_an_image_on_other_pixels_is_refused_with_the_tiles(tmp_path: Path) -> None:
    import_files(tmp_path / "lake", [ff.write_drz(tmp_path / "a_drz.fits")])
    other = ff.write_drz(tmp_path / "b_drz.fits", "F160W")
    with fits.open(other, mode="update") as hdus:
        for name in ("SCI", "WHT", "CTX"):
            hdus[name].header["CRPIX1"] += 0.5
    told = import_files(tmp_path / "lake", [other])
    assert told["status"].to_list() == ["failed"]
    assert "b_drz.fits" in told["message"][0]
    assert "field" in told["message"][0]
    assert [one.band for one in load_mosaics(Lake.open(tmp_path / "lake"), "field")] == ["f125w"]


def test_unknown_files_and_arguments_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    table = tmp_path / "cat.fits"
    fits.BinTableHDU.from_columns([fits.Column("id", "J", array=[1])]).writeto(table)
    good = ff.write_drz(tmp_path / "a_drz.fits")
    with pytest.raises(FormatError, match=r"cat\.fits.*skymere lake import"):
        import_files(tmp_path / "lake", [good, table])
    with pytest.raises(NotFoundError, match=r"nope\.fits"):
        import_files(tmp_path / "lake", [tmp_path / "nope.fits"])
    with pytest.raises(InvalidInputError, match="bands"):
        import_files(tmp_path / "lake", [good], bands=["a", "b"])
    with pytest.raises(InvalidInputError, match="files"):
        import_files(tmp_path / "lake", [])
    with pytest.raises(InvalidInputError, match="match_radius_arcsec"):
        import_files(tmp_path / "lake", [good], match_radius_arcsec=-1.0)
    assert not (tmp_path / "lake").exists()


def test_what_a_lake_has_not_is_not_written(imported: tuple[Lake, pl.DataFrame], tmp_path: Path) -> None:
    lake, _ = imported
    with pytest.raises(NotFoundError, match="stack"):
        export_files(lake, tmp_path / "out", kinds=["stack"])
    with pytest.raises(InvalidInputError, match=r"kinds.*pdf.*full"):
        export_files(lake, tmp_path / "out", kinds=["pdf"])
    with pytest.raises(NotFoundError, match="nowhere"):
        export_files(lake, tmp_path / "out", tiles=["nowhere"])
    assert not (tmp_path / "out").exists()


def test_files_of_the_tools_themselves_are_taken_in(tmp_path: Path, shared_data: Path) -> None:
    spectra = shared_data / "spectra"
    paths = [
        spectra / "nirspec/static-test-driz-center-bkg_933.spec.fits",
        spectra / "reference/grizli/ers_stack_G102.fits.gz",
        spectra / "wfc3/j033216m2743_00152.beams.fits",
    ]
    told = import_files(tmp_path / "lake", paths, conf=str(spectra / "grizli/CONF"))
    assert (told["status"] == "ok").all(), told.to_dicts()
    lake = Lake.open(tmp_path / "lake")
    stacks = lake.table("stack").collect()
    assert stacks.height == 2
    assert stacks["source_id"].unique().to_list() == lake.table("beam").collect()["source_id"].unique().to_list()
    export_files(lake, tmp_path / "out", kinds=["stack", "beams", "spec"])
    (path,) = (tmp_path / "out").glob("*.stack.fits")
    with fits.open(path) as ours, fits.open(paths[1]) as theirs:
        # The file has no CONTAM of all angles together, which is 0 here.
        pairs = {(hdu.name, hdu.header.get("EXTVER")): hdu.data for hdu in ours[1:]}
        for hdu in theirs[1:]:
            np.testing.assert_array_equal(pairs[hdu.name, hdu.header["EXTVER"]], hdu.data)
