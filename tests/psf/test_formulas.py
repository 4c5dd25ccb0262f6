"""Formulas drawn as images, and fitted to them."""

from itertools import pairwise

import galsim
import numpy as np
import pytest

from skymere.errors import InvalidInputError, NoDataError
from skymere.psf import (
    GaussianMixturePsf,
    GaussianPsf,
    MoffatPsf,
    Psf,
    fit_gaussian_mixture,
    fit_moffat,
    read_psf,
    sample_psf,
)

SCALE = 0.06
MIXTURE = GaussianMixturePsf(
    components=(
        GaussianPsf(fwhm_arcsec=0.12, axis_ratio=0.8, pa_deg=20.0),
        GaussianPsf(fwhm_arcsec=0.4, axis_ratio=0.6, pa_deg=100.0),
    ),
    fractions=(0.7, 0.3),
)
MODELS = [
    MoffatPsf(fwhm_arcsec=0.15, beta=2.5, axis_ratio=0.7, pa_deg=30.0),
    MoffatPsf(fwhm_arcsec=0.03, beta=3.5),
    GaussianPsf(fwhm_arcsec=0.03),
    GaussianPsf(fwhm_arcsec=0.12, axis_ratio=0.4, pa_deg=-50.0),
    MIXTURE,
]


def profile_of(model: object) -> galsim.GSObject:
    if isinstance(model, GaussianMixturePsf):
        parts = zip(model.fractions, model.components, strict=True)
        return galsim.Sum([f * profile_of(one) for f, one in parts])
    if isinstance(model, MoffatPsf):
        profile = galsim.Moffat(beta=model.beta, fwhm=model.fwhm_arcsec)
    else:
        profile = galsim.Gaussian(fwhm=model.fwhm_arcsec)
    # Image axes: x to the west, so that angles from north through east run from +y to -x.
    return profile.shear(q=model.axis_ratio, beta=(90.0 + model.pa_deg) * galsim.degrees)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize(("oversampling", "has_pixel"), [(1, True), (3, True), (2.5, True), (5, False)])
def test_images_of_formulas_are_those_of_galsim(model, oversampling, has_pixel) -> None:
    """With an even and an odd side. GalSim's transforms are told to be good to 1e-6."""
    profile = profile_of(model)
    if has_pixel:
        exact = galsim.GSParams(folding_threshold=1e-5, maxk_threshold=1e-6, maximum_fft_size=32768)
        profile = galsim.Convolve(profile, galsim.Pixel(SCALE), gsparams=exact)
    shape = (60, 61)
    step = SCALE / oversampling
    wanted = profile.drawImage(nx=61, ny=60, scale=step, method="no_pixel").array
    psf = sample_psf(
        model, scale_arcsec=SCALE, oversampling=oversampling, shape=shape, has_pixel=has_pixel, renormalise=False
    )
    assert (psf.x, psf.y, psf.oversampling, psf.has_pixel) == (30.0, 29.5, oversampling, has_pixel)
    np.testing.assert_allclose(psf.data, wanted, rtol=0, atol=1e-5 * wanted.max())
    assert psf.enclosed == pytest.approx(min(wanted.sum(dtype=float), 1.0), abs=2e-5)


def test_what_falls_off_is_lost_or_not_enclosed() -> None:
    """The part of a Moffat profile beyond R is (1 + R^2 / alpha^2)^(1 - beta); a square holds a little more."""
    model = MoffatPsf(fwhm_arcsec=0.3, beta=2.0)
    kept = sample_psf(model, scale_arcsec=SCALE, shape=(41, 41))
    cut = sample_psf(model, scale_arcsec=SCALE, shape=(41, 41), renormalise=False)
    assert (kept.enclosed, cut.lost) == (1.0, 0.0)
    assert kept.data.sum(dtype=float) == pytest.approx(1.0, abs=1e-6)
    assert cut.data.sum(dtype=float) == pytest.approx(cut.enclosed, abs=1e-6)
    assert 1 - kept.lost == pytest.approx(cut.enclosed)
    alpha = 0.15 / np.sqrt(2**0.5 - 1)
    circle, around = (1 / (1 + (r * SCALE / alpha) ** 2) for r in (20.5, 20.5 * np.sqrt(2)))
    assert around < kept.lost < circle


@pytest.mark.parametrize(("pa_deg", "is_flipped"), [(0.0, False), (37.0, False), (-20.0, True)])
@pytest.mark.parametrize(("oversampling", "has_pixel"), [(1, True), (3, True), (3, False)])
def test_fits_find_the_formula_again_with_the_pixel_and_without(pa_deg, is_flipped, oversampling, has_pixel) -> None:
    sky = {"scale_arcsec": SCALE, "pa_deg": pa_deg, "is_flipped": is_flipped}
    n = 60 * oversampling
    truth = MODELS[0]
    psf = sample_psf(truth, shape=(n, n + 1), oversampling=oversampling, has_pixel=has_pixel, renormalise=False, **sky)
    fit = fit_moffat(psf, **sky)
    assert fit.model.fwhm_arcsec == pytest.approx(truth.fwhm_arcsec, rel=1e-4)
    assert fit.model.beta == pytest.approx(truth.beta, rel=1e-4)
    assert fit.model.axis_ratio == pytest.approx(truth.axis_ratio, rel=1e-4)
    assert fit.model.pa_deg == pytest.approx(truth.pa_deg, abs=0.01)
    assert (fit.x, fit.y) == pytest.approx((psf.x, psf.y), abs=1e-3)
    assert fit.flux == pytest.approx(1.0, abs=1e-4)
    assert fit.max_residual < 1e-5


@pytest.mark.parametrize("oversampling", [1, 2])
def test_mixtures_are_found_again(oversampling) -> None:
    psf = sample_psf(MIXTURE, scale_arcsec=SCALE, shape=(61, 61), oversampling=oversampling)
    fit = fit_gaussian_mixture(psf, 2, scale_arcsec=SCALE)
    assert fit.model.fractions == pytest.approx(MIXTURE.fractions, abs=1e-4)
    for found, true in zip(fit.model.components, MIXTURE.components, strict=True):
        assert found.fwhm_arcsec == pytest.approx(true.fwhm_arcsec, rel=1e-4)
        assert found.axis_ratio == pytest.approx(true.axis_ratio, rel=1e-3)
        assert found.pa_deg == pytest.approx(true.pa_deg, abs=0.1)
    assert fit.max_residual < 1e-5


@pytest.mark.parametrize("oversampling", [1, 2, 4])
@pytest.mark.parametrize("has_pixel", [True, False])
def test_a_gaussian_is_the_steepest_moffat_and_one_gaussian_of_many(oversampling, has_pixel) -> None:
    """Both are limits of what is fitted: they are found, and said."""
    truth = GaussianPsf(fwhm_arcsec=0.2)
    psf = sample_psf(truth, scale_arcsec=0.05, shape=(61, 61), oversampling=oversampling, has_pixel=has_pixel)
    moffat = fit_moffat(psf, scale_arcsec=0.05)
    # A Moffat profile of beta 101 is a Gaussian within 0.3 % of its peak, and narrower by 0.3 %.
    assert moffat.model.beta == pytest.approx(101.0)
    assert moffat.model.fwhm_arcsec == pytest.approx(0.2, rel=5e-3)
    assert moffat.max_residual < 3e-3
    assert moffat.problems == ("beta: 101 is at its bound, a Gaussian",)
    for n in (1, 2, 3):
        fit = fit_gaussian_mixture(psf, n, scale_arcsec=0.05)
        assert fit.model.fractions == (1.0,)
        assert fit.model.components[0].fwhm_arcsec == pytest.approx(0.2, rel=1e-5)
        assert fit.max_residual < 1e-5
        assert [problem.split(" are ")[0] for problem in fit.problems] == [f"n: 1 of {n} Gaussians"] * (n > 1)


def test_fits_within_their_bounds_have_no_problems_and_others_name_them() -> None:
    psf = sample_psf(MIXTURE, scale_arcsec=SCALE, shape=(61, 61))
    assert fit_gaussian_mixture(psf, 2, scale_arcsec=SCALE).problems == ()
    assert fit_moffat(sample_psf(MODELS[0], scale_arcsec=SCALE, shape=(61, 61)), scale_arcsec=SCALE).problems == ()
    yy, xx = np.indices((61, 61)) - 30.0
    needle = Psf(data=np.exp(-0.5 * ((xx / 12.0) ** 2 + (yy / 0.8) ** 2)))
    found = fit_gaussian_mixture(needle, 1, scale_arcsec=1.0)
    # The bounds of both terms of the ellipticity leave 0.1 along diagonals and 0.2 along the axes.
    assert found.model.components[0].axis_ratio == pytest.approx(0.1 ** (1 / np.sqrt(2)))
    assert found.problems == ("axis_ratio: 0.196 is at its bound",)


def test_more_gaussians_are_closer_to_a_moffat_and_the_stated_residual_is_that_of_the_drawn_model() -> None:
    psf = sample_psf(MODELS[0], scale_arcsec=SCALE, shape=(61, 61))
    fits = [fit_gaussian_mixture(psf, n, scale_arcsec=SCALE) for n in (1, 2, 3, 4)]
    worst = [fit.max_residual for fit in fits]
    print(
        "Gaussians for a Moffat of beta 2.5: residual over peak", worst, "over light", [f.residual_light for f in fits]
    )
    assert all(b < 0.5 * a for a, b in pairwise(worst))
    assert worst[3] < 1e-3
    for fit in fits:
        drawn = sample_psf(fit.model, scale_arcsec=SCALE, shape=(61, 61), renormalise=False).data * fit.flux
        assert np.abs(drawn - psf.data).max() / psf.data.max() == pytest.approx(fit.max_residual, abs=1e-5)


def test_errors_of_the_psf_weigh_the_fit() -> None:
    """Half of the image is spoilt and said to be so."""
    rng = np.random.default_rng(3)
    psf = sample_psf(MODELS[0], scale_arcsec=SCALE, shape=(61, 61))
    error = np.full(psf.shape, 1e-5, np.float32)
    error[:, :26] = 1e-2
    data = psf.data + rng.normal(size=psf.shape).astype(np.float32) * error
    weighted = fit_moffat(Psf(data=data, error=error), scale_arcsec=SCALE).model
    plain = fit_moffat(Psf(data=data), scale_arcsec=SCALE).model
    assert weighted.fwhm_arcsec == pytest.approx(0.15, rel=2e-3)
    assert abs(plain.fwhm_arcsec / 0.15 - 1) > 10 * abs(weighted.fwhm_arcsec / 0.15 - 1)


def test_real_psfs_are_not_quite_formulas(shared_data) -> None:
    path = shared_data / "imaging" / "sersic" / "ceers_psf_pointing_6414_6978_8021.fits"
    if not path.exists():
        pytest.skip("no PSFs of CEERS")
    psf = read_psf(path, extension="PSF_F444W")
    moffat = fit_moffat(psf, scale_arcsec=0.04)
    mixture = fit_gaussian_mixture(psf, 3, scale_arcsec=0.04)
    print("F444W: Moffat", moffat, "three Gaussians", mixture.max_residual, mixture.residual_light)
    assert mixture.residual_light < moffat.residual_light < 0.35
    assert mixture.max_residual < moffat.max_residual < 0.06


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: GaussianMixturePsf(components=(), fractions=()), InvalidInputError, "0 and 0 are not allowed"),
        (lambda: GaussianMixturePsf(components=MIXTURE.components, fractions=(1.0,)), InvalidInputError, "2 and 1"),
        (
            lambda: GaussianMixturePsf(components=MIXTURE.components, fractions=(0.5, 0.4)),
            InvalidInputError,
            "sum must be 1",
        ),
        (lambda: sample_psf(MIXTURE, scale_arcsec=0.0, shape=(9, 9)), InvalidInputError, "scale_arcsec: 0.0"),
        (lambda: sample_psf(MIXTURE, scale_arcsec=1.0, shape=(0, 9)), InvalidInputError, r"shape: \(0, 9\)"),
        (
            lambda: sample_psf(MIXTURE, scale_arcsec=1.0, shape=(9, 9), oversampling=0),
            InvalidInputError,
            "oversampling: 0",
        ),
        (
            lambda: sample_psf(MIXTURE, scale_arcsec=0.06, shape=(9, 9), has_pixel=False),
            InvalidInputError,
            "oversampling: 1 is not allowed without the pixel",
        ),
        (
            lambda: fit_gaussian_mixture(Psf(data=np.eye(9)), 0, scale_arcsec=1.0),
            InvalidInputError,
            "n: 0 is not allowed",
        ),
        (
            lambda: fit_moffat(Psf(data=np.full((9, 9), np.nan)), scale_arcsec=1.0),
            InvalidInputError,
            "81 of 81 pixels are not finite",
        ),
        (lambda: fit_moffat(Psf(data=np.zeros((9, 9))), scale_arcsec=1.0), NoDataError, "sum of 0"),
        (lambda: Psf(data=np.ones((3, 3)), lost=1.0), InvalidInputError, "lost: 1.0"),
        (lambda: Psf(data=np.ones((3, 3)), enclosed=0), InvalidInputError, "enclosed: 0 is not allowed"),
        (lambda: Psf(data=np.ones((3, 3)), enclosed=np.nan), InvalidInputError, "enclosed: nan is not allowed"),
    ],
)
def test_wrong_arguments_are_named(make, error, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
