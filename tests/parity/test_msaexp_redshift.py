"""The redshift of a real prism spectrum against msaexp 0.9.19; `pytest -s` prints the table."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from skymere.datamodels import Spectrum1D
from skymere.io import read_dispersion
from skymere.spectra import LINES, MSAEXP_PARAMS, SplineContinuum, fit_redshift, msaexp_prism_templates

# msaexp.spectrum.fit_redshift_grid on combine_bare_ivm, z 0.2 to 10, steps 0.002 and 0.0001, 27 splines, scale_disp 1.3,
# vel_width 100, sys_err 0.02: best redshift and its chi square, with Ha+NII and with halpha_prism=["Ha"].
MSAEXP_Z, MSAEXP_CHI2 = 4.23365, 675.37
MSAEXP_Z_HA, MSAEXP_CHI2_HA = 4.23574, 589.17


@pytest.fixture(scope="module")
def spectrum(shared_data):
    folder = shared_data / "spectra"
    table = fits.getdata(folder / "reference" / "msaexp" / "combine_bare_ivm.spec.fits.gz", "SPEC1D")
    wave, flux, err = (np.array(table[name], np.float64) for name in ("wave", "flux", "err"))
    dispersion = read_dispersion(folder / "nirspec" / "calib" / "jwst_nirspec_prism_disp.fits")
    resolution = np.interp(wave, dispersion["wavelength"], dispersion["resolution"])
    return Spectrum1D(wave=wave, flux=flux, err=err, resolution=resolution, mask=flux == 0, source_id="1345_933")


def _shown(name, fit):
    print(f"{name}: z {fit.z:.5f} +- {fit.z_err:.5f} ({fit.status}), chi2 {fit.chi2:.2f}")
    return fit


def test_the_redshift_of_msaexp_comes_out_with_its_parameters(spectrum):
    fit = _shown("msaexp preset", fit_redshift(spectrum, templates=msaexp_prism_templates(), params=MSAEXP_PARAMS))
    assert fit.status == "ok"
    assert fit.n_pixels == 345
    assert fit.z == pytest.approx(MSAEXP_Z, abs=0.001)
    # msaexp draws lines in float32, on pixels that overlap by what their widths change.
    assert fit.chi2 == pytest.approx(MSAEXP_CHI2, abs=1.0)


def test_other_parameters_move_it_as_they_move_that_of_msaexp(spectrum):
    fit = fit_redshift(spectrum, templates=msaexp_prism_templates(halpha="Ha"), params=MSAEXP_PARAMS)
    _shown("Ha without [NII]", fit)
    assert fit.z == pytest.approx(MSAEXP_Z_HA, abs=0.001)
    assert fit.chi2 == pytest.approx(MSAEXP_CHI2_HA, abs=1.0)
    # Over the whole range msaexp and this prefer z = 1.8916 without a systematic error: its lines of [SIII] are free.
    exact = replace(MSAEXP_PARAMS, sys_err=0.0)
    near = fit_redshift(spectrum, templates=msaexp_prism_templates(), params=exact, z_range=(4.0, 4.5))
    assert _shown("sys_err 0", near).z == pytest.approx(4.2348, abs=0.001)
    far = fit_redshift(spectrum, templates=msaexp_prism_templates(), params=exact)
    assert _shown("sys_err 0, z 0.2 to 10", far).z == pytest.approx(1.8916, abs=0.001)
    lines = [SplineContinuum(), LINES["OIII-4959"], LINES["OIII-5007"]]
    alone = fit_redshift(spectrum, templates=lines, params=MSAEXP_PARAMS, z_range=(4.0, 4.5))
    assert _shown("[OIII] alone", alone).z == pytest.approx(4.241, abs=0.001)


def test_the_default_finds_it_too_and_says_how(spectrum):
    fit = _shown("default", fit_redshift(spectrum))
    print(fit.describe())
    assert fit.status == "ok"
    assert fit.z == pytest.approx(4.2337, abs=0.005)
    assert "systematic error: 0.02 of the model's flux" in fit.describe()
    table = {row["line"]: row for row in fit.lines.iter_rows(named=True)}
    for name in ("OIII", "Ha+NII"):
        print(
            f"{name}: {table[name]['flux']:.3e} +- {table[name]['flux_err']:.1e} erg/s/cm2, "
            f"EW {table[name]['ew']:.0f} +- {table[name]['ew_err']:.0f} A"
        )
        assert table[name]["snr"] > 20
