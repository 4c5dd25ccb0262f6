"""Filters and eazy's files, and the scale of spectra to photometry."""

import numpy as np
import pytest
from scipy.integrate import quad

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.spectra import (
    Filter,
    FilterSet,
    MagnitudePrior,
    read_filters,
    read_translate,
    read_zeropoints,
    scale_photometry,
)

from .photoz_scene import curve, filters, seen_through


def test_norm_and_pivot_are_the_integrals():
    one = Filter(name="one", wave=[1.0, 1.2, 1.7, 1.8], throughput=[0.0, 0.9, 0.5, 0.0])

    def throughput(wave):
        return np.interp(wave, one.wave, one.throughput)

    norm = quad(lambda w: throughput(w) / w, 1.0, 1.8, points=[1.2, 1.7], epsabs=1e-13)[0]
    first = quad(lambda w: throughput(w) * w, 1.0, 1.8, points=[1.2, 1.7], epsabs=1e-13)[0]
    assert one.norm == pytest.approx(norm, rel=1e-12)
    assert one.pivot == pytest.approx(np.sqrt(first / norm), rel=1e-12)
    half = quad(lambda w: throughput(w) / w, 1.1, 1.5, points=[1.2], epsabs=1e-13)[0]
    assert one.coverage(1.1, 1.5) == pytest.approx(half / norm, rel=1e-3)
    assert one.coverage(0.5, 2.0) == pytest.approx(1.0, rel=1e-12)
    assert one.coverage(2.0, 3.0) == 0.0


def test_a_flat_flux_density_is_itself_and_energy_counts_as_photons_over_wavelength():
    photon = curve("p", 24.0, 6.0, step=0.01)
    energy = Filter(name="e", wave=photon.wave, throughput=photon.throughput, detector="energy")
    wave = np.linspace(10, 40, 30001)
    flat = 2.99792458e18 / (wave * 1e4) ** 2 * 1e-29
    assert photon.flux(wave, flat) == pytest.approx(1.0, rel=1e-6)
    assert energy.flux(wave, flat) == pytest.approx(1.0, rel=1e-6)
    # A blue spectrum is brighter for the energy counter, whose throughput per photon is bluer.
    assert energy.flux(wave, flat * (wave / 24) ** -4) > 1.01 * photon.flux(wave, flat * (wave / 24) ** -4)


def test_the_real_filters_have_their_pivots(shared_data):
    found = read_filters(shared_data / "spectra" / "wfc3" / "filters_f098m_f140w.csv")
    # WFC3 instrument handbook, table 7.1: pivots of F098M and F140W.
    assert found["wfc3_ir_f098m"].pivot == pytest.approx(0.9864, abs=0.001)
    assert found["wfc3_ir_f140w"].pivot == pytest.approx(1.3923, abs=0.002)
    with pytest.raises(NotFoundError, match=r"f160w.*wfc3_ir_f098m"):
        found["f160w"]


def test_files_of_eazy_are_read(tmp_path):
    (tmp_path / "filters.res").write_text(
        "3 hst/a.dat lambda_c= 1.1e4\n1 1e4 0.\n2 1.1e4 1.\n3 1.2e4 0.\n"
        "3 hst/b.dat lambda_c= 2.1e4\n1 2.2e4 0.\n2 2.1e4 1.\n3 2e4 0.\n"
    )
    found = read_filters(tmp_path / "filters.res")
    assert list(found) == ["hst/a.dat", "hst/b.dat"]
    np.testing.assert_allclose(found["hst/b.dat"].wave, [2.0, 2.1, 2.2])
    (tmp_path / "z.translate").write_text("# columns\nfb F2\neb E2 1.5\nfa F1\nea E1\nnumber id\n")
    bands = read_translate(tmp_path / "z.translate", filters=found, ab_zeropoint=25.0)
    assert [(one.name, one.flux, one.flux_err, one.err_scale) for one in bands] == [
        ("hst/b.dat", "fb", "eb", 1.5),
        ("hst/a.dat", "fa", "ea", 1.0),
    ]
    flux, err = bands[0].read({"fb": [1.0, -99.0], "eb": [0.1, -99.0]})
    assert flux[0] == pytest.approx(10 ** (-0.4 * 1.1))
    assert err[0] == pytest.approx(0.15 * 10 ** (-0.4 * 1.1))
    assert np.isnan(flux[1])
    assert np.isinf(err[1])
    (tmp_path / "zp").write_text("F1 1.1\nF2 0.9\n")
    assert read_zeropoints(tmp_path / "zp", filters=found) == {"hst/a.dat": 1.1, "hst/b.dat": 0.9}
    (tmp_path / "prior.dat").write_text("# z 20.0 22.0\n0 1 0\n1 1 1\n2 0 1\n")
    prior = MagnitudePrior.read(tmp_path / "prior.dat", filter="hst/a.dat", floor=0.0)
    np.testing.assert_allclose(prior.mag, [20, 22])


def test_bad_files_and_filters_are_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"nothing\.csv"):
        read_filters(tmp_path / "nothing.csv")
    (tmp_path / "bad.csv").write_text("filter,throughput\na,1\n")
    with pytest.raises(FormatError, match=r"bad\.csv.*wave_A"):
        read_filters(tmp_path / "bad.csv")
    (tmp_path / "bad.txt").write_text("1000 0.1\n1100\n")
    with pytest.raises(FormatError, match=r"bad\.txt"):
        read_filters(tmp_path / "bad.txt")
    one = FilterSet(filters=(curve("a", 1.0, 0.1),))
    (tmp_path / "a.translate").write_text("fa F1\n")
    with pytest.raises(FormatError, match="has no error"):
        read_translate(tmp_path / "a.translate", filters=one)
    (tmp_path / "b.translate").write_text("fa F7\nea E7\n")
    with pytest.raises(NotFoundError, match="number 7"):
        read_translate(tmp_path / "b.translate", filters=one)
    with pytest.raises(InvalidInputError, match="throughput"):
        Filter(name="dark", wave=[1, 2], throughput=[0, 0])
    with pytest.raises(InvalidInputError, match="twice"):
        FilterSet(filters=(curve("a", 1.0, 0.1), curve("a", 1.0, 0.1)))


WAVE = np.linspace(0.95, 1.75, 700)
COVERED = [
    curve("f105w", 1.06, 0.19),
    curve("f125w", 1.25, 0.28),
    curve("f140w", 1.39, 0.30),
    curve("f160w", 1.55, 0.27),
]


def _galaxy(wave):
    """Flux density [uJy] with a break and a line."""
    return 2 * (wave / 1.2) ** 0.8 * (1 + 0.5 * np.tanh((wave - 1.1) / 0.03)) + 3 * np.exp(
        -0.5 * ((wave - 1.4) / 0.006) ** 2
    )


def _photometry():
    def f_lambda(wave):
        return _galaxy(wave) * 1e-29 * 2.99792458e18 / (wave * 1e4) ** 2

    return np.array([seen_through(one, f_lambda) for one in COVERED])


def test_a_spectrum_that_is_too_bright_has_that_scale():
    rng = np.random.default_rng(2)
    phot, err = _photometry(), np.full(WAVE.shape, 0.05)
    flux = 1.3 * _galaxy(WAVE) + err * rng.standard_normal(WAVE.size)
    found = scale_photometry(WAVE, flux, err, filters=COVERED, phot_flux=phot, phot_err=0.01 * phot)
    print(f"\nscale {found.coefficients[0]:.4f} +- {np.sqrt(found.covariance[0, 0]):.4f}")
    assert found.status == "ok"
    np.testing.assert_allclose(found.scale([1.0, 1.5]), 1.3, atol=0.01)
    assert found.grizli_pscale[0] == pytest.approx(13.0, abs=0.1)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_scales_of_every_order_have_pulls_of_one(order):
    rng = np.random.default_rng(order)
    truth = np.array([1.3, 0.03, -0.004])[: order + 1]
    scale = np.polynomial.polynomial.polyval((WAVE - 1) / 0.1, truth)
    phot, err = _photometry(), np.full(WAVE.shape, 0.4)
    pulls = []
    for _ in range(200):
        found = scale_photometry(
            WAVE,
            scale * _galaxy(WAVE) + err * rng.standard_normal(WAVE.size),
            err,
            filters=COVERED,
            phot_flux=phot * (1 + 0.02 * rng.standard_normal(phot.size)),
            phot_err=0.02 * phot,
            order=order,
        )
        assert found.status == "ok"
        pulls.append((found.coefficients - truth) / np.sqrt(np.diagonal(found.covariance)))
    spread, mean = np.std(pulls, axis=0), np.mean(pulls, axis=0)
    print(f"\norder {order}: pulls {np.round(spread, 2)}, means {np.round(mean, 2)}")
    # 200 draws: the standard error of a spread is 0.05, of a mean 0.07.
    assert np.all(np.abs(spread - 1) < 0.2)
    assert np.all(np.abs(mean) < 0.3)


def test_without_a_covered_filter_there_is_no_scale_and_the_status_says_so():
    flux, err = 1.3 * _galaxy(WAVE), np.full(WAVE.shape, 0.05)
    cut = filters()[-4:]
    found = scale_photometry(WAVE, flux, err, filters=cut, phot_flux=np.ones(4), phot_err=np.ones(4))
    assert found.status == "not_covered"
    assert not found.is_scaled
    np.testing.assert_array_equal(found.scale(WAVE), 1.0)
    # Covered by 96 per cent is not enough.
    half = curve("edge", 1.66, 0.2)
    assert 0.5 < half.coverage(WAVE[0], WAVE[-1]) < 0.98
    assert scale_photometry(WAVE, flux, err, filters=[half], phot_flux=[1.0], phot_err=[0.1]).status == "not_covered"
    one = scale_photometry(WAVE, flux, err, filters=COVERED[:1], phot_flux=[1.0], phot_err=[0.1], order=2)
    assert one.status == "too_few_filters"
    masked = scale_photometry(
        WAVE, flux, err, filters=COVERED[:1], phot_flux=[1.0], phot_err=[0.1], mask=np.ones(WAVE.shape, bool)
    )
    assert masked.status == "not_covered"
    marked = scale_photometry(
        WAVE, flux, err, filters=COVERED[:1], phot_flux=_photometry()[:1], phot_err=[0.01], is_synthetic=[True]
    )
    assert marked.table["is_synthetic"].to_list() == [True]
    assert marked.scale([1.0])[0] == pytest.approx(1.3, abs=0.01)
    with pytest.raises(InvalidInputError, match="order: 3"):
        scale_photometry(WAVE, flux, err, filters=COVERED, phot_flux=np.ones(4), phot_err=np.ones(4), order=3)
