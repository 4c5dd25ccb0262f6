"""Spectra in one and two dimensions, and forward models, of simulated objects."""

from dataclasses import replace

import numpy as np
import pytest
from tests.grism.sky_scenes import PLAIN, RA, WAVE, beams, camera, config, line, sources, with_sky

from skymere.errors import FitError, InvalidInputError
from skymere.grism import (
    BeamModel,
    BeamParams,
    Component,
    ExtractParams,
    FittedModel,
    MultiBeam,
    StackParams,
    drizzle_stacks,
    extract_images,
    fit_components,
    fit_redshift,
    forward_images,
    forward_spectrum,
    line_maps,
    oned_spectrum,
)
from skymere.resample import Geometry
from skymere.spectra import LineComplex, TabulatedTemplate, TemplateSet
from skymere.testing import GrismSceneParams, simulate_grism

ANGLES = (0.0, 75.0)
FLAT = TabulatedTemplate(name="flat", wave=np.array([0.1, 2.0]), flux=np.ones(2))


def test_a_constant_flux_density_is_extracted_to_one_per_cent():
    mb = beams(ANGLES, np.full(WAVE.size, 3e-19), noise=0.0)
    spectrum = mb.oned_spectrum()["G141"]
    table = spectrum.table.drop_nulls()
    inside = table.filter((table["wave"] > 1.12) & (table["wave"] < 1.64))
    assert inside.height > 80
    ratio = inside["flam"].to_numpy() / 3e-19
    print(f"extracted over true: {ratio.mean():.4f} +- {ratio.std():.4f}, {ratio.min():.4f} to {ratio.max():.4f}")
    # What is beyond the segment, 0.5 %, is missing from the model that is divided out.
    assert np.abs(ratio - 1).max() < 0.01
    assert (spectrum.n_exposures, spectrum.n_angles) == (2, 2)
    np.testing.assert_allclose(table["flux"] / table["flat"], table["flam"], rtol=1e-12)


def test_errors_of_extracted_spectra_hold():
    pulls = []
    for seed in range(1, 13):
        mb = beams(ANGLES, np.full(WAVE.size, 3e-19), seed=seed)
        clean = beams(ANGLES, np.full(WAVE.size, 3e-19), seed=seed, noise=0.0)
        truth = extract_images(mb, [one.cleaned for one in clean.beams])["G141"]
        table = mb.oned_spectrum()["G141"].table
        good = np.isfinite(truth)
        pulls.append(((table["flux"].to_numpy() - truth) / table["err"].to_numpy())[good])
    pulls = np.concatenate(pulls)
    print(f"pull {pulls.mean():.3f} +- {pulls.std():.3f} of {pulls.size}")
    # More than 1000 numbers: 2.2 %, three times of it.
    assert pulls.size > 1000
    assert pulls.std() == pytest.approx(1.0, abs=0.07)
    assert abs(pulls.mean()) < 0.1


def test_errors_beside_contamination_hold_and_those_of_the_weights_are_too_large():
    pulls = {"propagated": [], "weights": []}
    for seed in range(1, 7):
        mb = beams(ANGLES[:1], np.full(WAVE.size, 3e-19), seed=seed)
        one = mb.beams[0]
        contam = np.full(one.shape, 5.0, np.float32) * one.err
        dirty = replace(one.beam, contam=contam, sci=one.sci + contam)
        params = replace(PLAIN, fcontam=0.2)
        model = MultiBeam([BeamModel(dirty, one.order, params=params)])
        clean = beams(ANGLES[:1], np.full(WAVE.size, 3e-19), seed=seed, noise=0.0)
        truth = extract_images(model, [clean.beams[0].cleaned])["G141"]
        good = np.isfinite(truth)
        for errors, found in pulls.items():
            table = oned_spectrum(model, params=ExtractParams(errors=errors))["G141"].table
            found.append(((table["flux"].to_numpy() - truth) / table["err"].to_numpy())[good])
    spread = {name: float(np.concatenate(found).std()) for name, found in pulls.items()}
    print(spread)
    assert spread["propagated"] == pytest.approx(1.0, abs=0.1)
    # exp(-0.2 x 5) of the weight: its root.
    assert spread["weights"] == pytest.approx(np.exp(-0.5), abs=0.08)


@pytest.mark.parametrize("off", [-0.45, 0.0, 0.4])
def test_lines_are_extracted_at_their_wavelength_wherever_the_source_is_in_its_pixel(off):
    scene = simulate_grism(
        sources(62 + off, 52.0),
        {1: (WAVE, line(1.4, 3e-16))},
        config(),
        params=GrismSceneParams(segment_level=0.002, shape=(110, 330)),
    )
    conf = config()
    beam = scene.beam(1, size=28)
    frame = scene.truth[1][
        beam.origin[0] : beam.origin[0] + 56, beam.grism_origin[1] : beam.grism_origin[1] + beam.sci.shape[1]
    ]
    one = BeamModel(beam, conf.orders["A"], params=PLAIN)
    as_grizli = BeamModel(beam, conf.orders["A"], params=replace(PLAIN, wavelengths="grizli"))
    np.testing.assert_array_equal(one.wave, one.wave_of_light)
    np.testing.assert_array_equal(as_grizli.flat, one.flat)
    light = frame.sum(axis=0)
    found = {
        name: 1e4 * ((light * wave).sum() / light.sum() - 1.4)
        for name, wave in (("light", one.wave), ("grizli", as_grizli.wave))
    }
    print(f"source {off} from the middle: {found} Angstrom off")
    # A fifteenth of a pixel of 47 Angstrom.
    assert abs(found["light"]) < 3.0
    if off:
        assert abs(found["grizli"]) > 30.0
    y = np.arange(56) @ frame.sum(axis=1) / frame.sum()
    at = np.interp(1.4, one.wave_of_light, one.trace_of_light)
    assert y == pytest.approx(at, abs=0.05)
    # What users see: the extracted spectrum, the stack, the map and the fit.
    clean = replace(beam, sci=frame.astype(np.float32), err=np.full(frame.shape, 1e-3, np.float32))
    model = BeamModel(with_sky(clean, camera(0.0, 62 + off, 52.0, (110, 330))), conf.orders["A"], params=PLAIN)
    mb = MultiBeam([model])
    table = mb.oned_spectrum()["G141"].table.drop_nulls()
    weighted = table["flux"].to_numpy() * table["npix"].to_numpy()
    extracted = float((weighted * table["wave"].to_numpy()).sum() / weighted.sum())
    (stack, _) = drizzle_stacks(mb, params=StackParams(size=20, kernel="square", pixfrac=1.0))
    stacked = float((stack.sci * stack.wave).sum() / stack.sci.sum())
    ha = LineComplex(name="Ha", wave=(0.65646,), fwhm_km_s=400.0)
    lines = TemplateSet(continua=(FLAT,), lines=(ha,))
    fit = fit_redshift(mb, templates=lines, z_range=(1.0, 1.3), dz=(0.002, 0.00005))
    model_fit = FittedModel(z=1.4 / 0.65646 - 1, templates=lines, coefficients={"Ha": 3e-16}, errors={"Ha": 1e-18})
    geometry = Geometry(kernel="square", pixfrac=1.0, pixscale=0.1, size=5.0)
    image = line_maps(mb, model_fit, geometry=geometry)["Ha"].data.astype(float)
    middle = float((image * np.arange(image.shape[1])).sum() / image.sum())
    print(
        f"extracted {1e4 * (extracted - 1.4):+.1f}, stacked {1e4 * (stacked - 1.4):+.1f}, fitted "
        f"{1e4 * (0.65646 * (1 + fit.z_map) - 1.4):+.2f} Angstrom; map {middle - 24.5:+.2f} pixels of 0.1 arcsec"
    )
    # A pixel counts for the bin in which its middle is, half a bin of 47 Angstrom off at most.
    assert abs(1e4 * (extracted - 1.4)) < 23.5
    assert abs(1e4 * (stacked - 1.4)) < 3.0
    assert abs(1e4 * (0.65646 * (1 + fit.z_map) - 1.4)) < 1.0
    assert abs(middle - 24.5) < 0.1


def test_exposures_are_counted_once_whatever_their_orders():
    mb = beams(ANGLES, np.full(WAVE.size, 3e-19), noise=0.0)
    named = [one.with_beam(replace(one.beam, parent=f"e{i}", exptime=500.0)) for i, one in enumerate(mb.beams)]
    both = MultiBeam([*named, *(one.with_beam(replace(one.beam, order="C")) for one in named)])
    spectrum = both.oned_spectrum()["G141"]
    assert (spectrum.n_exposures, spectrum.exptime, spectrum.files) == (2, 1000.0, ("e0", "e1"))
    *angles, stack = drizzle_stacks(both)
    assert (stack.exptime, stack.files) == (1000.0, ("e0", "e1"))
    assert [one.exptime for one in angles] == [500.0, 500.0]


def test_columns_of_an_extracted_beam_have_the_wavelength_of_its_light():
    one = beams(ANGLES[:1], np.full(WAVE.size, 3e-19), noise=0.0).beams[0]
    as_grizli = BeamModel(one.beam, one.bare_order, params=replace(PLAIN, wavelengths="grizli"))
    wave, _, _ = as_grizli.optimal_extract()
    np.testing.assert_array_equal(wave, one.wave_of_light)
    assert not np.array_equal(wave, as_grizli.wave)


def test_a_beam_is_extracted_column_by_column():
    mb = beams(ANGLES[:1], np.full(WAVE.size, 3e-19), noise=0.0)
    one = mb.beams[0]
    wave, flux, err = one.optimal_extract()
    assert wave.shape == flux.shape == err.shape == (one.shape[1],)
    good = (wave > 1.12) & (wave < 1.64)
    np.testing.assert_allclose(flux[good], 3e-19 * one.flat.sum(axis=0)[good], rtol=0.015)
    _, twice, _ = one.optimal_extract(2 * one.cleaned)
    np.testing.assert_allclose(twice[good], 2 * flux[good], rtol=1e-6)
    with pytest.raises(InvalidInputError, match="data"):
        one.optimal_extract(np.zeros((2, 2)))


def test_stacks_have_lines_at_their_wavelength_and_light_on_the_middle_row():
    mb = beams((0.0, 75.0, 75.0), line(1.4, 3e-16), noise=0.0)
    line_template = LineComplex(name="Ha", wave=(0.7,), fwhm_km_s=400.0)
    fit = FittedModel(
        z=1.0,
        templates=TemplateSet(continua=(FLAT,), lines=(line_template,)),
        coefficients={"Ha": 3e-16},
        errors={"Ha": 1e-18},
    )
    # ``point`` puts a row to the nearest one, half a row off at most.
    stacks = drizzle_stacks(mb, fit=fit, params=StackParams(size=20, kernel="square", pixfrac=1.0))
    assert [(one.grism, one.angle is None) for one in stacks] == [("G141", False), ("G141", False), ("G141", True)]
    for one in stacks:
        light = np.maximum(one.sci, 0)
        wave = (light * one.wave).sum() / light.sum()
        row = (light * np.arange(40)[:, None]).sum() / light.sum()
        print(f"{one.angle}: {1e4 * (wave - 1.4):.1f} Angstrom and {row - one.middle:.2f} rows off")
        assert wave == pytest.approx(1.4, abs=12e-4)
        assert row == pytest.approx(one.middle, abs=0.3)
        used = one.weight > 0
        assert np.abs(one.sci - one.model)[used].max() < 0.1 * one.model.max()
        # The kernel is a line in the middle column.
        kernel = one.kernel
        assert (kernel * np.arange(40)).sum() / kernel.sum() == pytest.approx(20.0, abs=0.5)


def test_rms_of_stacks_times_the_root_of_the_weight_is_one():
    mb = beams((0.0, 40.0, 75.0), np.zeros(WAVE.size))
    for one in drizzle_stacks(mb, params=StackParams(size=24)):
        used = one.weight > 0
        rms = float(np.std((one.sci * np.sqrt(one.weight))[used]))
        # Some thousand pixels that do not share inputs.
        assert rms == pytest.approx(1.0, abs=0.05)


def _components(shift=0.0):
    return [
        Component(name="continuum", wavelength=WAVE, flux=np.full(WAVE.size, 3e-19)),
        Component(name="line", wavelength=WAVE, flux=line(1.4 + shift, 1e-16)),
    ]


@pytest.mark.parametrize("extracted", [False, True])
def test_factors_of_spectra_have_errors_that_hold(extracted):
    """Noise of the beams themselves is drawn on the model: what is tested is the fit."""
    mb = beams(ANGLES, 3e-19 + line(1.4, 1e-16))
    rng = np.random.default_rng(2)
    truth = [a + b for a, b in zip(*(forward_images(mb, one) for one in _components()), strict=True)]
    inside, pulls = [], []
    for _ in range(500):
        noisy = [
            BeamModel(
                replace(one.beam, sci=(image + one.err * rng.standard_normal(one.shape)).astype(np.float32)),
                one.order,
                params=PLAIN,
            )
            for one, image in zip(mb.beams, truth, strict=True)
        ]
        fit = fit_components(MultiBeam(noisy), _components(), extracted=extracted)
        pulls.append((fit.coefficients - 1) / fit.errors)
        inside.append(np.abs(pulls[-1]) < 1)
    fraction, pulls = np.mean(inside, axis=0), np.array(pulls)
    print(f"extracted={extracted}: within 1 sigma {fraction}, pull {pulls.mean(axis=0)} +- {pulls.std(axis=0)}")
    # 68 +- 3 %; sigma of 500 draws is 2.1 %.
    assert np.abs(fraction - 0.683).max() < 0.05
    assert np.abs(fraction.mean() - 0.683) < 0.03
    assert np.abs(pulls.mean(axis=0)).max() < 0.15


def test_a_masked_beam_has_no_background_and_the_others_are_fitted():
    mb = beams(ANGLES, 3e-19 + line(1.4, 1e-16))
    masked = mb.beams[0].with_beam(replace(mb.beams[0].beam, dq=np.ones(mb.beams[0].shape, np.uint32)))
    alone = fit_components(MultiBeam(mb.beams[1:]), _components(), background=True)
    fit = fit_components(MultiBeam([masked, *mb.beams[1:]]), _components(), background=True)
    # The same numbers, in sums of another shape.
    np.testing.assert_allclose(fit.coefficients, alone.coefficients, rtol=1e-9)
    np.testing.assert_allclose(fit.covariance, alone.covariance, rtol=1e-9)
    np.testing.assert_allclose(fit.backgrounds, [np.nan, *alone.backgrounds], rtol=1e-9)


def test_another_image_is_where_the_light_comes_from():
    mb = beams(ANGLES, np.full(WAVE.size, 3e-19), noise=0.0)
    shifted = [np.roll(one.beam.direct, 3, axis=0) for one in mb.beams]
    moved = Component(name="moved", wavelength=WAVE, flux=np.full(WAVE.size, 3e-19), images=shifted)
    plain = forward_images(mb, _components()[0])
    for one, other, beam in zip(plain, forward_images(mb, moved), mb.beams, strict=True):
        rows = np.arange(one.shape[0])
        centre = [(rows @ image.sum(axis=1)) / image.sum() for image in (one, other)]
        labels = beam.beam.segmentation == 1
        before, after = (
            (image * labels).astype(float) for image in (beam.beam.direct, np.roll(beam.beam.direct, 3, 0))
        )
        wanted = [(rows @ image.sum(axis=1)) / image.sum() for image in (before, after)]
        # Only the part within the segment is dispersed.
        assert centre[1] - centre[0] == pytest.approx(wanted[1] - wanted[0], abs=0.05)
    with pytest.raises(InvalidInputError, match="images"):
        forward_images(mb, Component(name="one", wavelength=WAVE, flux=WAVE, images=shifted[:1]))


def test_forward_spectra_are_what_would_be_extracted():
    mb = beams(ANGLES, np.full(WAVE.size, 3e-19), noise=0.0)
    one = _components()[1]
    found = forward_spectrum(mb, one)["G141"]
    wanted = extract_images(mb, forward_images(mb, one))["G141"]
    np.testing.assert_array_equal(found, wanted)
    wave = mb.oned_spectrum()["G141"].table["wave"].to_numpy()
    good = np.isfinite(found)
    assert wave[good][np.argmax(found[good])] == pytest.approx(1.4, abs=50e-4)


def test_a_template_that_ends_before_a_beam_begins_gives_nothing():
    mb = beams(ANGLES[:1], np.full(WAVE.size, 3e-19), noise=0.0)
    blue = TabulatedTemplate(name="blue", wave=np.array([0.1, 0.2, 0.4]), flux=np.ones(3))
    lines = (LineComplex(name="Ha", wave=(0.7,), fwhm_km_s=400.0),)
    fit = FittedModel(z=1.0, templates=TemplateSet(continua=(blue,), lines=lines), coefficients={"blue": 1e-18})
    table = mb.oned_spectrum(fit=fit)["G141"].table
    assert table["cont"].drop_nulls().abs().max() == 0


def test_bad_input_is_named():
    mb = beams(ANGLES[:1], np.full(WAVE.size, 3e-19), noise=0.0)
    with pytest.raises(InvalidInputError, match="bin_factor"):
        ExtractParams(bin_factor=0.0)
    with pytest.raises(InvalidInputError, match="limits"):
        ExtractParams(limits=(1.7, 1.1, 0.01))
    with pytest.raises(InvalidInputError, match="errors"):
        ExtractParams(errors="none")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="size"):
        StackParams(size=0)
    with pytest.raises(InvalidInputError, match="limits"):
        StackParams(limits=(1.1, 1.7, 0.0))
    with pytest.raises(InvalidInputError, match="model"):
        StackParams(model="lines")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="images"):
        extract_images(mb, [])
    with pytest.raises(InvalidInputError, match="components"):
        fit_components(mb, [])
    with pytest.raises(InvalidInputError, match="background"):
        fit_components(mb, _components(), extracted=True, background=True)
    with pytest.raises(FitError, match="told apart"):
        fit_components(mb, [_components()[0], Component(name="again", wavelength=WAVE, flux=np.full(WAVE.size, 1e-19))])
    with pytest.raises(FitError, match="dark"):
        fit_components(mb, [Component(name="dark", wavelength=WAVE, flux=np.zeros(WAVE.size))])
    assert BeamParams().operator == "spline"
    assert RA > 0
