"""Templates on pixels against numpy and scipy."""

import json

import numpy as np
import pytest
from scipy.interpolate import splev
from scipy.special import ndtr

from skymere.errors import InvalidInputError
from skymere.spectra import LINES, LineComplex, SplineContinuum, TabulatedTemplate, find_line
from skymere.spectra.params import RedshiftParams
from skymere.spectra.problem import Parts, as_spectrum, build_problem, flambda_per_ujy


def _design(wave, resolution, templates, z, **params):
    spectrum = as_spectrum((wave, np.ones_like(wave), np.ones_like(wave), resolution))
    parts = Parts.of(templates)
    p = RedshiftParams(**params)
    problem = build_problem(spectrum, spectrum.is_valid, np.ones_like(wave), parts, p)
    return problem.fit(z)[4], spectrum.edges


def test_splines_are_those_of_scipy():
    wave = np.geomspace(0.6, 5.3, 301)
    for along, x in (("pixel", np.arange(301.0)), ("wavelength", wave), ("log_wavelength", np.log(wave))):
        drawn = SplineContinuum(n_functions=13, along=along).draw(wave)
        knots = np.r_[[x[0]] * 3, np.linspace(x[0], x[-1], 11), [x[-1]] * 3]
        true = np.array(splev(x, (knots, np.eye(13), 3)))
        np.testing.assert_allclose(drawn, true, atol=1e-12)


def test_lines_are_gaussians_of_their_width_integrated_over_the_pixels():
    wave = np.linspace(2.0, 4.0, 201)
    power = np.linspace(60.0, 200.0, 201)
    line = LineComplex(name="two", wave=(0.5, 0.53), ratio=(3.0, 1.0))
    design, edges = _design(wave, power, [SplineContinuum(n_functions=4), line], 5.1, scale_disp=1.2, vel_width=700.0)
    true = np.zeros_like(wave)
    for rest, part in ((0.5, 0.75), (0.53, 0.25)):
        at = rest * 6.1
        fwhm = at / (1.2 * np.interp(at, wave, power))
        sigma = np.hypot(fwhm / np.sqrt(8 * np.log(2)), at * 700 / 299792.458)
        true += part * np.diff(ndtr((edges - at) / sigma)) / np.diff(edges)
    np.testing.assert_allclose(design[-1], true, atol=1e-12 * true.max())


def test_tabulated_templates_are_smeared_and_keep_what_is_narrower_than_a_pixel():
    wave = np.linspace(2.0, 4.0, 201)
    power = np.full(201, 80.0)
    rest = np.linspace(0.2, 1.2, 20001)
    rng = np.random.default_rng(4)
    table = 1 + 0.5 * np.sin(40 * rest) + 0.2 * rng.normal(size=rest.size)
    peak = np.abs(table).max()
    design, edges = _design(wave, power, [TabulatedTemplate(name="t", wave=rest, flux=table)], 3.0, vel_width=0.0)
    # A sum over cells a hundredth of a pixel wide, each smeared into every pixel.
    fine = np.linspace(0.8, 4.79, 399001)
    flux = np.interp(fine / 4.0, rest, table) / peak
    for k in (3, 57, 100, 198):
        sigma = wave[k] / (1.3 * 80.0 * np.sqrt(8 * np.log(2)))
        kernel = ndtr((edges[k + 1] - fine) / sigma) - ndtr((edges[k] - fine) / sigma)
        true = np.sum(flux * kernel) * (fine[1] - fine[0]) / (edges[k + 1] - edges[k])
        # The Gaussian is steps of a third of a sigma: 1e-3 of what varies from point to point.
        assert design[0, k] == pytest.approx(true, abs=1e-3 * 0.2 / peak)


def test_a_microjansky_is_as_many_ergs_as_the_definition_says():
    # 1 uJy = 1e-29 erg/s/cm2/Hz; at 1 um the frequency changes by c / um^2 per um.
    assert flambda_per_ujy(1.0) * 1e-18 == pytest.approx(1e-29 * 2.99792458e14, rel=1e-12, abs=0)
    assert flambda_per_ujy(2.0) == pytest.approx(flambda_per_ujy(1.0) / 4, rel=1e-12, abs=0)


def test_lines_are_those_of_the_list_of_grizli(shared_data):
    listed = json.loads((shared_data / "spectra" / "grizli" / "lines.json").read_text())["lines"]
    for name, line in LINES.items():
        np.testing.assert_allclose(np.multiply(line.wave, 1e4), listed[name]["wave"], rtol=1e-9)
        ratio = np.array(listed[name]["ratio"])[: len(line.wave)]
        np.testing.assert_allclose(line.parts, ratio / ratio.sum(), rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: find_line("Hx"), "name: 'Hx' is not known"),
        (lambda: LineComplex(name="a", wave=(1.0, 2.0)), "ratio: 1 values of a are not allowed for 2 lines"),
        (lambda: LineComplex(name="a", wave=(-1.0,)), "wave: .* must be positive"),
        (lambda: LineComplex(name="a", wave=(1.0,), z_range=(2.0, 1.0)), "z_range: .* must rise"),
        (lambda: SplineContinuum(n_functions=3), "n_functions: 3 is not allowed, it must be at least 4"),
        (lambda: SplineContinuum(along="time"), "along: 'time' is not allowed"),
        (lambda: TabulatedTemplate(name="t", wave=np.array([2.0, 1.0]), flux=np.ones(2)), "wave: .* rise"),
        (lambda: TabulatedTemplate(name="t", wave=np.array([1.0, 2.0]), flux=np.array([1, np.nan])), "flux: .* finite"),
    ],
)
def test_templates_that_are_not_allowed_are_named(make, words):
    with pytest.raises(InvalidInputError, match=words):
        make()
