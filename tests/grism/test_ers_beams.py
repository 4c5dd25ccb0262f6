"""The real beams of an ERS galaxy against grizli 1.14.3."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from skymere.errors import InvalidInputError
from skymere.grism import BeamModel, BeamParams, MultiBeam


@pytest.fixture(scope="module")
def reference(folder):
    with fits.open(folder / "reference" / "grizli" / "ers_beam_models.fits.gz", memmap=False) as hdus:
        names = ("FLAT", "FITMASK", "IVAR", "TRACE2D", "TRACE")
        return [{name: np.array(hdus[name, i].data) for name in names} for i in (1, 2)]


def test_traces_and_wavelengths_are_those_of_grizli_to_the_last_bit(ers, reference):
    for one, ref in zip(ers.beams, reference, strict=True):
        dx = np.arange(one.order.first, one.order.end, dtype=float)
        dy, wave = one.order.compiled.trace(one.place, dx)
        np.testing.assert_array_equal(dy, ref["TRACE"]["ytrace_beam"])
        np.testing.assert_array_equal(wave, ref["TRACE"]["lam_beam"])
        np.testing.assert_array_equal(one.trace, ref["TRACE2D"]["ytrace"])
        np.testing.assert_array_equal(one.wave, ref["TRACE2D"]["lam"] * 1e-4)


def test_sensitivities_are_integrated_over_pixels(ers, reference):
    for one, ref in zip(ers.beams, reference, strict=True):
        for found, wanted in (
            (one.light(), ref["TRACE"]["sensitivity_beam"]),
            (one.sensitivity, ref["TRACE2D"]["sensitivity"]),
        ):
            # The tolerance of the data's README.
            assert np.abs(found - wanted).max() <= 1e-11 * wanted.max()


def test_models_masks_and_inverse_variances_are_those_of_grizli(ers, reference, summary):
    for one, ref, words in zip(ers.beams, reference, summary["beams"], strict=True):
        difference = np.abs(one.flat - ref["FLAT"]).max() / ref["FLAT"].max()
        print(f"{one.beam.label}: model differs by {difference:.1e} of its peak")
        # grizli adds in single precision.
        assert difference < 2e-7
        np.testing.assert_array_equal(one.fit_mask, ref["FITMASK"] != 0)
        good = ref["IVAR"] > 0
        np.testing.assert_allclose(one.ivar[good], ref["IVAR"][good], rtol=3e-7)
        assert not one.ivar[~good].any()
        assert one.total_flux == words["total_flux"]
        assert int(one.mask.sum()) == words["n_mask"]


def test_the_masks_do_not_depend_on_the_operator(ers):
    for one in ers.beams:
        other = BeamModel(one.beam, one.order, params=BeamParams(operator="spline"))
        np.testing.assert_array_equal(other.fit_mask, one.fit_mask)
        assert np.abs(other.flat - one.flat).max() > 1e-3 * one.flat.max()


def test_the_attributes_of_a_multibeam_fit_together(ers, summary):
    assert (ers.N, ers.Ntot, ers.DoF) == (summary["N"], summary["Ntot"], summary["DoF"])
    assert int(ers.fit_mask.sum()) == summary["Nmask"]
    assert sum(ers.Ngrism.values()) == ers.N
    assert {g: {str(a): i for a, i in part.items()} for g, part in ers.PA.items()} == summary["PA"]
    assert sorted(i for part in ers.PA.values() for indices in part.values() for i in indices) == [0, 1]
    np.testing.assert_allclose(ers.angles, [b["PA"] for b in summary["beams"]], atol=1e-3)
    for flat in (ers.scif, ers.ivarf, ers.weightf, ers.wavef, ers.contamf, ers.flat_flam):
        assert flat.shape == (ers.Ntot,)
    assert ers.A_bg.sum(axis=1).tolist() == [one.beam.sci.size for one in ers.beams]
    parts = ers.split()
    joined = parts["G102"].extend(parts["G141"])
    np.testing.assert_array_equal(joined.fit_mask, ers.fit_mask)
    with pytest.raises(InvalidInputError, match="beams"):
        MultiBeam([])


@pytest.mark.parametrize("operator", ["grizli", "spline"])
def test_models_are_the_column_operator_times_the_light(ers, operator):
    wave = np.linspace(0.7, 1.8, 3001)
    flux = 1e-18 * (1 + np.exp(-0.5 * ((wave - 1.37) / 0.002) ** 2))
    for one in ers.beams:
        model = BeamModel(one.beam, one.order, params=BeamParams(operator=operator))
        image = model.compute_model(wave, flux)
        columns = model.column_operator()
        assert columns.shape[0] == int(model.fit_mask.sum())
        # Both are sums in double precision.
        found = columns.dot(model.light(wave, flux))
        np.testing.assert_allclose(found, image[model.fit_mask], rtol=0, atol=1e-13 * image.max())
        few = columns.toarray()
        np.testing.assert_allclose(few @ model.light(wave, flux), found, rtol=0, atol=1e-13 * image.max())


def test_a_model_holds_the_light_of_the_spectrum(ers):
    """Every pixel of the image gives f S dl, apart from what falls off the cutout."""
    wave = np.linspace(1.0, 1.8, 4001)
    flux = 1e-18 * (2 - wave) * (1 + 3 * np.exp(-0.5 * ((wave - 1.45) / 0.003) ** 2))
    one = ers.beams[1]
    model = BeamModel(one.beam, one.order, params=BeamParams(operator="spline"))
    at = np.linspace(1.0, 1.8, 400001)
    product = np.interp(at, wave, flux) * np.interp(at * 1e4, one.order.wavelength, one.order.sensitivity, 0, 0)
    wanted = np.trapezoid(product, at * 1e4)
    # The specification asks for 1e-4; the order ends where the sensitivity is 3e-5 of its peak.
    assert model.compute_model(wave, flux).sum() == pytest.approx(wanted, rel=1e-4)


def test_another_image_gives_another_model_with_the_same_light(ers):
    one = ers.beams[0]
    image = np.ones_like(one.beam.direct)
    wider = one.compute_model(image=image)
    assert wider.sum() == pytest.approx(one.flat.sum(), rel=1e-6)
    assert wider.max() < one.flat.max()
    with pytest.raises(InvalidInputError, match="image"):
        one.compute_model(image=image[1:])
    with pytest.raises(InvalidInputError, match="image"):
        one.compute_model(image=0 * image)


def test_a_pixel_whose_contamination_is_not_known_is_not_fitted(ers):
    one = ers.beams[0]
    y, x = np.argwhere(one.fit_mask)[50]
    contam = one.beam.contam.copy()
    contam[y, x] = np.nan
    holed = one.with_beam(replace(one.beam, contam=contam))
    differs = np.argwhere(holed.fit_mask != one.fit_mask)
    assert differs.tolist() == [[y, x]]
    for name in ("cleaned", "ivar", "weight", "contam"):
        assert np.isfinite(getattr(holed, name)).all()
    both = MultiBeam([holed, ers.beams[1]])
    assert both.DoF in (ers.DoF - 1, ers.DoF)
    # What was read is what is written.
    assert np.isnan(holed.beam.contam[y, x])


def test_a_direct_pixel_without_a_value_has_no_light_and_the_beam_stays(ers):
    one = ers.beams[0]
    y, x = np.argwhere(one.beam.segmentation == ers.source_id)[3]
    images = [one.beam.direct.copy() for _ in range(2)]
    images[0][y, x], images[1][y, x] = np.nan, 0.0
    holed, dark = (one.with_beam(replace(one.beam, direct=image)) for image in images)
    assert holed.total_flux == dark.total_flux
    np.testing.assert_array_equal(holed.flat, dark.flat)
    np.testing.assert_array_equal(holed.fit_mask, dark.fit_mask)
    assert holed.fit_mask.sum() > 0.9 * one.fit_mask.sum()
    assert holed.centroid == dark.centroid


def test_bad_input_is_named(ers):
    one = ers.beams[0]
    with pytest.raises(InvalidInputError, match="operator"):
        BeamParams(operator="linear")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="fcontam"):
        BeamParams(fcontam=-1)
    with pytest.raises(InvalidInputError, match="spectrum"):
        one.compute_model([1.0, 0.9], [1.0, 1.0])
    with pytest.raises(InvalidInputError, match="flux"):
        one.compute_model([1.0, 1.1], [1.0])
    with pytest.raises(InvalidInputError, match="mask"):
        one.column_operator(np.ones((2, 2), bool))
    sensitivity = one.bare_order.sensitivity.copy()
    sensitivity[sensitivity.size // 2] = np.nan
    with pytest.raises(InvalidInputError, match=r"sensitivity: 1 of .* not finite"):
        replace(one.bare_order, sensitivity=sensitivity)
