"""Reference files of slit spectra."""

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.io import (
    build_pack,
    read_bad_pixels,
    read_bar_shadow,
    read_dispersion,
    read_psf_fwhm,
    read_sensitivity,
    read_sky_spectrum,
    read_slit_flat,
    read_slit_normalization,
    read_slit_profile,
    read_slit_tables,
)


@pytest.fixture
def calib(shared_data):
    return shared_data / "spectra/nirspec/calib"


def put(path, tree):
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return path


def test_tables_come_back_as_they_were_written(tmp_path):
    bar = read_bar_shadow(put(tmp_path / "b", {"minmax": [-1, 1], "coeffs": [[1, 2]] * 5, "wavelengths": [1.0, 2.0]}))
    assert (bar.limits, bar.coefficients.shape, bar.wavelengths.tolist()) == ((-1.0, 1.0), (5, 2), [1.0, 2.0])
    norm = {"coeffs": np.ones((6, 4, 3)).tolist(), "df": 6, "reference_wavelengths": [1.0, 2.0]}
    assert read_slit_normalization(put(tmp_path / "n", norm)).coefficients.shape == (6, 4, 3)
    bad = {"shape": [4, 5], "pixel_index": [0, 7], "pixel_value": [2, 8], "flags": {"COLD": 2, "HOT": 8}}
    table = read_bad_pixels(put(tmp_path / "p", bad))
    assert np.argwhere(table.frame()).tolist() == [[0, 0], [1, 2]]
    assert dict(table.bits) == {"COLD": 2, "HOT": 8}
    waves = np.linspace(1.0, 2.0, 3)
    Table({"wavelength": waves, "sensitivity": waves * 2, "q2": waves * 3}).write(tmp_path / "s.fits")
    sensitivity = read_sensitivity(tmp_path / "s.fits")
    assert sensitivity.nrs1_nrs2 is None
    np.testing.assert_array_equal(sensitivity.quadrants[2], waves * 3)
    flat = Table({"wave": waves, "coeffs": np.ones((3, 20))}, meta={"DFX": 5, "DFY": 4})
    flat.meta |= {"XMIN": 0, "XMAX": 370, "YMIN": 0, "YMAX": 180, "SM_SCALE": 0.25}
    flat.write(tmp_path / "f.fits")
    assert read_slit_flat(tmp_path / "f.fits").smooth_scale == 0.25


@pytest.mark.parametrize(
    ("read", "tree", "word"),
    [
        (read_bar_shadow, {"coeffs": [1, 2]}, "minmax is missing"),
        (read_bar_shadow, {"minmax": [1, -1], "coeffs": [1, 2]}, "must rise"),
        (read_bar_shadow, {"minmax": [-1, 1], "coeffs": ["a"]}, "no array of numbers"),
        (read_bar_shadow, {"minmax": [-1, 1], "coeffs": [[1, 2]], "wavelengths": [1.0]}, "coefficients"),
        (read_bar_shadow, "[1, 2]", "it must be a mapping"),
        (read_bar_shadow, "a: [", "not YAML"),
        (read_slit_normalization, {"coeffs": [[[1, 2, 3]] * 4], "df": 2}, "df is 2"),
        (read_bad_pixels, {"shape": [4, 5], "pixel_index": [20], "pixel_value": [1]}, r"must be in \[0, 20\)"),
        (read_bad_pixels, {"shape": [4, 5], "pixel_index": [2], "pixel_value": []}, "value"),
        (read_bad_pixels, {"shape": 4}, "shape has shape"),
        (read_sky_spectrum, "wave,flow\n1,2\n", "columns .'flux'. are missing"),
        (read_sky_spectrum, "wave,flux\n2,2\n1,2\n", "does not rise"),
        (read_psf_fwhm, "wave,fwhm_pix\na,b\n", "not a table of numbers"),
        (read_sensitivity, "not fits", "not a readable FITS file"),
    ],
)
def test_files_of_another_kind_are_errors_that_name_the_file(tmp_path, read, tree, word):
    path = put(tmp_path / "file.x", tree)
    with pytest.raises(FormatError, match=rf"file\.x.*{word}"):
        read(path)
    with pytest.raises(NotFoundError, match="no such file"):
        read(tmp_path / "none")


def test_tables_without_their_columns_keywords_or_extensions_are_errors(tmp_path):
    Table({"wave": [1.0], "coeffs": [[1.0]]}).write(tmp_path / "f.fits")
    with pytest.raises(FormatError, match="'DFX'"):
        read_slit_flat(tmp_path / "f.fits")
    with pytest.raises(FormatError, match="sensitivity"):
        read_sensitivity(tmp_path / "f.fits")
    with pytest.raises(FormatError, match="PROF"):
        read_slit_profile(tmp_path / "f.fits")
    fits.PrimaryHDU().writeto(tmp_path / "e.fits")
    with pytest.raises(FormatError, match="holds no table"):
        read_dispersion(tmp_path / "e.fits")


def test_the_real_tables_are_read(calib):
    for n in (1, 2, 3):
        table = read_bar_shadow(calib / f"prism_{n}_bar_coeffs_wave.yaml")
        assert table.coefficients.shape[1] == len(table.wavelengths)
        assert 0.9 < read_bar_shadow(calib / f"prism_{n}_bar_coeffs.yaml").coefficients.max() < 1.1
    assert read_slit_normalization(calib / "prism_slit_renormalize.yaml").coefficients.shape == (31, 4, 3)
    assert [len(read_bad_pixels(calib / f"msaexp_badpix_nrs{n}.yaml").index) for n in (1, 2)] == [26699, 371]
    assert sorted(read_sensitivity(calib / "msaexp_sensitivity_g395m_f290lp_001.fits").quadrants) == [1, 2, 3, 4]
    assert read_sensitivity(calib / "msaexp_sensitivity_prism_clear_001.fits").nrs1_s200a1 is not None
    assert read_slit_flat(calib / "sflat_spl_coeffs_prism_q3.fits").n_x == 7
    assert read_dispersion(calib / "jwst_nirspec_prism_disp.fits").columns == ["wavelength", "step", "resolution"]
    assert read_psf_fwhm(calib / "nirspec_psf_fwhm.csv")["fwhm_pix"].is_between(1.2, 2.0).all()
    assert read_sky_spectrum(calib / "jw01345062001_sky.csv")["wave"][0] == pytest.approx(0.603108)
    profile = read_slit_profile(calib / "nirspec_merged_s200a1_exp_psf_lookup_001.fits")
    assert (profile.profile.shape, profile.loss.shape) == ((768, 38, 28), (38, 28, 16))


def test_a_pack_gives_the_tables_of_a_grating_and_its_own_sum(calib):
    pack = build_pack(calib, name="nirspec", version="0.9.19")
    prism = read_slit_tables(
        pack,
        grating="PRISM",
        filter_name="CLEAR",
        detector="NRS2",
        parts=("bars", "normalization", "bad_pixels", "sensitivity", "flats"),
    )
    assert (sorted(prism.bars), sorted(prism.wave_bars), sorted(prism.flats)) == ([1, 2, 3], [1, 2, 3], [1, 2, 3, 4])
    assert prism.normalization is not None
    assert prism.sensitivity is not None
    assert (prism.pack, prism.digest) == ("nirspec-0.9.19", pack.digest)
    grating = read_slit_tables(pack, grating="G395M", filter_name="F290LP", detector="NRS1")
    assert grating.normalization is None
    assert sorted(grating.bad_pixels) == ["NRS1"]


def test_a_file_that_the_pack_lacks_is_named(tmp_path):
    put(tmp_path / "prism_1_bar_coeffs.yaml", {"minmax": [-1, 1], "coeffs": [1.0] * 5})
    pack = build_pack(tmp_path, name="small")
    with pytest.raises(NotFoundError, match=r"prism_2_bar_coeffs.yaml: not in the pack small-1"):
        read_slit_tables(pack, grating="PRISM", filter_name="CLEAR", detector="NRS1")
    with pytest.raises(InvalidInputError, match="'sky'"):
        read_slit_tables(pack, grating="PRISM", filter_name="CLEAR", detector="NRS1", parts=("sky",))
