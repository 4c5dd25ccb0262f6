"""Files of one object, and the catalogue of many."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from tests.grism.sky_scenes import beams, line

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.grism import (
    FittedModel,
    catalogue_lines,
    catalogue_wide,
    drizzle_direct,
    line_maps,
    read_full_file,
    read_grism_spectra,
    read_grism_stacks,
    redshift_cdf,
    write_full,
    write_grism_spectra,
    write_grism_stacks,
    write_row,
)
from skymere.io import read_table
from skymere.resample import Geometry
from skymere.spectra import LineComplex, TabulatedTemplate, TemplateSet

FLAT = TabulatedTemplate(name="flat", wave=np.array([0.1, 2.0]), flux=np.ones(2))
LINES = (
    LineComplex(name="Ha", wave=(0.70,), fwhm_km_s=400.0),
    LineComplex(name="OIII", wave=(0.66, 0.6537), ratio=(2.98, 1.0), fwhm_km_s=400.0),
)
GEOMETRY = Geometry(kernel="square", pixfrac=0.8, pixscale=0.1, size=4.1)


@pytest.fixture(scope="module")
def mb():
    return beams((0.0, 75.0), 2e-19 + line(1.4, 3e-16) + line(1.32, 1e-16))


@pytest.fixture(scope="module")
def fit():
    return FittedModel(
        z=1.0,
        templates=TemplateSet(continua=(FLAT,), lines=LINES),
        coefficients={"flat": 4e-19, "Ha": 3e-16, "OIII": 1.3e-16},
        errors={"flat": 1e-20, "Ha": 5e-18, "OIII": 6e-18},
        covariance=np.diag([1e-40, 25e-36, 36e-36]),
        covariance_names=("flat", "Ha", "OIII"),
        backgrounds=(0.001, -0.002),
    )


@pytest.fixture(scope="module")
def redshift():
    z = np.linspace(0.5, 1.5, 2001)
    chi2 = 900 + ((z - 1.0) / 0.002) ** 2
    pdf = np.exp(-0.5 * (chi2 - 900)) / (0.002 * np.sqrt(2 * np.pi))
    return SimpleNamespace(
        zgrid=z,
        chi2=chi2,
        pdf=pdf,
        z_map=1.0,
        z_percentiles=(0.99608, 0.998, 1.0, 1.002, 1.00392),
        dof=950,
        min_risk=1e-4,
        bic_poly=1000.0,
        bic_template=940.0,
    )


@pytest.fixture(scope="module")
def written(mb, fit, redshift, tmp_path_factory):
    path = tmp_path_factory.mktemp("full") / "made_00001.full.fits"
    maps = line_maps(mb, fit, geometry=GEOMETRY)
    direct = drizzle_direct(mb, geometry=GEOMETRY)
    star = np.zeros(direct.grid.shape, np.float32)
    star[20, 20] = 1.0
    lines = pl.DataFrame(
        {
            "line": ["Ha", "OIII", "SII"],
            "flux": [3e-16, 1.3e-16, None],
            "flux_err": [5e-18, 6e-18, None],
            "ew16": [740.0, 300.0, None],
            "ew50": [750.0, 325.0, None],
            "ew84": [762.0, 350.0, None],
            "ewhw": [11.0, 25.0, None],
        }
    )
    full = write_full(path, maps=maps, thumbnails=direct, psf={"F140W": star}, fit=fit, redshift=redshift, lines=lines)
    return path, full


def test_a_full_file_is_read_back_the_same(written):
    path, full = written
    found = read_full_file(path)
    assert found.maps.names == full.maps.names == ("Ha", "OIII")
    for one, other in zip(found.maps.lines, full.maps.lines, strict=True):
        for plane in ("data", "continuum", "contam", "weight"):
            np.testing.assert_array_equal(getattr(one, plane), getattr(other, plane))
        np.testing.assert_array_equal(one.variance, other.variance)
        for name in ("wave", "wave_rest", "flux", "flux_err", "share", "coverage", "footprint", "noise_correlation"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-12)
        for name in ("contam_unit", "weight_kind", "n_beams", "subtracted"):
            assert getattr(one, name) == getattr(other, name)
    np.testing.assert_array_equal(found.maps.segmentation, full.maps.segmentation)
    cards, wanted = found.maps.grid.cards(), full.maps.grid.cards()
    # A number of a FITS header has 20 characters.
    numbers = {key: value for key, value in wanted.items() if not isinstance(value, str)}
    assert {key: cards[key] for key in numbers} == pytest.approx(numbers, rel=1e-12)
    assert all(cards[key] == value for key, value in wanted.items() if isinstance(value, str))
    assert (found.maps.geometry_sha256, found.maps.z) == (GEOMETRY.digest, 1.0)
    assert found.thumbnail["f140w"].weight_kind == "coverage"
    assert found.thumbnail["f140w"].psf[20, 20] == 1.0
    np.testing.assert_allclose(found.covariance, full.covariance)
    np.testing.assert_allclose(found.redshifts["pdf"], full.redshifts["pdf"])
    np.testing.assert_allclose(found.template["full"], full.template["full"])
    assert found.coefficients["name"].to_list() == ["bg 000", "bg 001", "flat", "line Ha", "line OIII"]


def test_headers_become_typed_columns(written):
    columns = read_full_file(written[0]).columns
    assert (columns["id"], columns["ninput"], columns["numlines"], columns["haslines"]) == (1, 2, 2, "Ha OIII")
    assert columns["t_g141"] == pytest.approx(2200.0)
    assert (columns["n_g141"], columns["p_g141"]) == (2, 2)
    assert isinstance(columns["dof"], int)
    assert columns["chinu"] == pytest.approx(900 / 950)
    assert columns["bic_diff"] == pytest.approx(60.0)
    assert columns["z_risk"] is None
    assert columns["d4000"] is None


def test_all_planes_share_size_and_coordinates(written):
    with fits.open(written[0]) as hdus:
        planes = [hdu for hdu in hdus if hdu.is_image and hdu.name not in ("PRIMARY", "COVAR")]
        assert len(planes) == 1 + 3 + 2 * 5
        assert {hdu.shape for hdu in planes} == {(41, 41)}
        assert len({tuple(hdu.header[k] for k in ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2")) for hdu in planes}) == 1
        one = hdus["LINE", "Ha"].header
        assert one["BUNIT"] == "10**-17 erg/(s cm2)"
        assert one["WAVELEN"] == pytest.approx(14000.0)
        assert one["RESTWAVE"] == pytest.approx(7000.0)
        assert (one["REDSHIFT"], one["DRIZKRNL"], one["PIXFRAC"]) == (1.0, "square", 0.8)
        assert one["PIXASEC"] * one["NAXIS1"] == pytest.approx(4.1)
        assert hdus["CONTAM", "Ha"].header["BUNIT"] == one["BUNIT"]
        assert hdus["LINEWHT", "Ha"].header["WHTTYPE"] == "inverse_variance"
        assert not any(np.isnan(hdu.data).any() for hdu in planes)
        assert {hdu.data.dtype.byteorder for hdu in planes} <= {">", "="}
    assert Geometry.from_fits(written[0]).grid(0, 0).shape == GEOMETRY.shape


def test_lines_of_a_catalogue_belong_to_their_names(written, mb, fit, redshift, tmp_path):
    other = FittedModel(
        z=1.0,
        templates=TemplateSet(continua=(FLAT,), lines=LINES[1:]),
        coefficients={"flat": 4e-19, "OIII": 1.3e-16},
        errors={"OIII": 6e-18},
    )
    second = write_full(
        tmp_path / "second.fits",
        maps=replace(line_maps(mb, other, geometry=GEOMETRY), source_id=2),
        fit=other,
    )
    from_file = catalogue_wide([second, written[0]])
    assert from_file["flux_Ha"].to_list() == [None, pytest.approx(3e-16, abs=0)]
    table = catalogue_wide([second, written[1]])
    assert table["id"].to_list() == [2, 1]
    assert table["flux_Ha"].to_list() == [None, pytest.approx(3e-16, abs=0)]
    assert table["flux_OIII"].to_list() == [pytest.approx(1.3e-16, abs=0), pytest.approx(1.3e-16, abs=0)]
    assert table["ew50_Ha"].to_list() == [None, 750.0]
    assert table["ewhw_OIII"].to_list() == [None, 25.0]
    assert table["sn_Ha"].to_list() == [None, pytest.approx(60.0)]
    assert table["sn_SII"].to_list() == [None, None]
    assert table["zq"].to_list()[1] == pytest.approx(-4 - np.log10(1 / (0.002 * np.sqrt(2 * np.pi))), abs=1e-6)
    assert table["cdf_z"].to_list()[1][25] == pytest.approx(1.0, abs=1e-6)
    assert table["cdf_z"].to_list()[1][30] - 1 == pytest.approx(0.002, rel=0.02)
    long = catalogue_lines([second, written[1]])
    assert long.filter(pl.col("source_id") == 2)["line"].to_list() == ["OIII"]
    assert long.height == 4
    with pytest.raises(InvalidInputError, match="twice"):
        catalogue_wide([second, second])
    write_row(written[1], tmp_path / "row.fits")
    row = read_table(tmp_path / "row.fits")
    assert row.height == 1
    assert row["ew50_Ha"][0] == 750.0
    assert "z_risk" not in row.columns


def test_an_exposure_with_beams_of_two_orders_counts_once(written, tmp_path):
    full = written[1]
    beams = full.maps.beams.with_columns(file=pl.Series(["e0", "e1"]), exptime=pl.lit(500.0))
    both = pl.concat([beams, beams.with_columns(order=pl.lit("C"))])
    twice = replace(full, maps=replace(full.maps, beams=both))
    (row,) = catalogue_wide([twice]).select("t_g141", "n_g141", "p_g141").rows()
    assert row == (1000.0, 2, 2)
    write_full(tmp_path / "two.full.fits", maps=twice.maps)
    (row,) = catalogue_wide([tmp_path / "two.full.fits"]).select("t_g141", "n_g141", "p_g141").rows()
    assert row == (1000.0, 2, 2)


def test_quantiles_of_a_redshift_are_those_of_p():
    z = np.linspace(0, 2, 4001)
    pdf = np.exp(-0.5 * ((z - 1) / 0.1) ** 2)
    found = redshift_cdf(z, pdf, sigmas=[-2.0, 0.0, 1.0])
    np.testing.assert_allclose(found, [0.8, 1.0, 1.1], atol=1e-4)
    assert np.isnan(redshift_cdf([], [])).all()
    assert np.isnan(redshift_cdf([0, 1], [0, 0])).all()


def test_spectra_and_stacks_are_read_back_the_same(mb, fit, tmp_path):
    spectra = mb.oned_spectrum(fit=fit)
    write_grism_spectra(spectra, tmp_path / "1D.fits", source_id=1, ra=1.0, dec=2.0, target="made")
    found = read_grism_spectra(tmp_path / "1D.fits")["G141"]
    one = spectra["G141"]
    for name in ("wave", "flux", "err", "flat", "line", "cont", "contam", "flam"):
        np.testing.assert_allclose(
            found.table[name].to_numpy().astype(float), one.table[name].to_numpy().astype(float), rtol=1e-12
        )
    assert (found.n_exposures, found.n_angles, found.exptime, found.files) == (2, 2, one.exptime, one.files)
    with fits.open(tmp_path / "1D.fits") as hdus:
        assert hdus[0].header["N_G141"] == 2
        assert hdus["G141"].columns["wave"].unit == "Angstrom"
    stacks = mb.drizzle_stacks(fit=fit)
    write_grism_stacks(stacks, tmp_path / "stack.fits", source_id=1, ra=1.0, dec=2.0)
    for a, b in zip(read_grism_stacks(tmp_path / "stack.fits"), stacks, strict=True):
        for name in ("sci", "weight", "contam", "model", "kernel"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        np.testing.assert_allclose(a.wave, b.wave, rtol=1e-12)
        assert (a.grism, a.angle, a.middle, a.z, a.files) == (b.grism, b.angle, b.middle, b.z, b.files)


def test_bad_input_is_named(written, mb, fit, tmp_path):
    maps = written[1].maps
    small = drizzle_direct(mb, geometry=replace(GEOMETRY, size=3.0))
    with pytest.raises(InvalidInputError, match="one geometry"):
        write_full(tmp_path / "a.fits", maps=maps, thumbnails=small)
    with pytest.raises(InvalidInputError, match="psf"):
        write_full(tmp_path / "a.fits", maps=maps, psf={"F160W": np.zeros((41, 41), np.float32)})
    with pytest.raises(InvalidInputError, match="lines"):
        write_full(tmp_path / "a.fits", maps=maps, lines=pl.DataFrame({"line": ["Ha"]}))
    with pytest.raises(InvalidInputError, match="fit"):
        write_full(tmp_path / "a.fits", maps=maps, fit=SimpleNamespace(z=1.0))  # type: ignore[arg-type]
    assert not (tmp_path / "a.fits").exists()
    with pytest.raises(NotFoundError, match="absent"):
        read_full_file(tmp_path / "absent.fits")
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    for read in (read_full_file, read_grism_spectra, read_grism_stacks):
        with pytest.raises(FormatError, match="empty"):
            read(tmp_path / "empty.fits")


def test_the_summary_figure_has_its_panels(written, mb, fit, redshift):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from skymere.grism import plot_summary

    figure = plot_summary(
        mb, fit=fit, maps=written[1].maps, redshift=redshift, thumbnails=written[1].thumbnail, lines=("Ha", "OIII")
    )
    # Data and residual of one grism, spectrum, p(z), direct image and two maps.
    assert len(figure.get_axes()) == 2 + 2 + 3
    titles = [axes.get_title() for axes in figure.get_axes()]
    assert titles[-3:] == ["F140W", "Ha 30.0 $\\pm$ 0.5", "OIII 13.0 $\\pm$ 0.6"]
    figure.canvas.draw()
    plt.close(figure)
    with pytest.raises(InvalidInputError, match="nothing"):
        plot_summary(mb, fit=fit, lines=["nothing"])
    # What cannot be drawn leaves nothing behind.
    assert plt.get_fignums() == []
    bare = plot_summary(mb, fit=fit)
    assert len(bare.get_axes()) == 4
    bare.canvas.draw()
    plt.close(bare)
