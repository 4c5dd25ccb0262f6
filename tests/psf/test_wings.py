"""Wings that a PSF's image does not hold come from a star, and make light of others whole."""

import numpy as np
import pytest

from skymere.errors import InvalidInputError, NoDataError
from skymere.psf import MoffatPsf, Psf, cropped, sample_psf, with_wings

SCALE, SIDE = 0.1, 121
# Light of this PSF beyond 16 pixels is 4 % of it, as in real images that end there.
FORMULA = MoffatPsf(fwhm_arcsec=0.4, beta=2.0)


def tapered(psf: Psf) -> Psf:
    """A PSF that goes to nothing at the edge of its image, and has the sum 1 there."""
    y, x = np.indices(psf.shape)
    r = np.hypot(x - psf.x, y - psf.y) / (psf.shape[0] // 2)
    return Psf(data=(psf.data * np.clip(2.5 * (1 - r), 0, 1)).astype(np.float32)).normalised()


def star(x: float, y: float, flux: float, noise: float, seed: int) -> np.ndarray:
    yy, xx = np.indices((SIDE, SIDE))
    whole = sample_psf(FORMULA, scale_arcsec=SCALE, shape=(241, 241), renormalise=False)
    return flux * whole.density(xx - x, yy - y) + np.random.default_rng(seed).normal(0, noise, (SIDE, SIDE))


def fitted(image: np.ndarray, psf: Psf, x: float, y: float) -> tuple[float, np.ndarray]:
    """Flux by least squares without a sky, and the residual."""
    yy, xx = np.indices(image.shape)
    model = psf.density(xx - x, yy - y)
    flux = float((model * image).sum() / (model**2).sum())
    return flux, image - flux * model


def test_a_second_star_has_the_light_of_its_wings() -> None:
    whole = sample_psf(FORMULA, scale_arcsec=SCALE, shape=(241, 241), renormalise=False)
    short = tapered(cropped(whole, (33, 33)))
    x, y = 60.3, 59.6
    flux, residual = fitted(star(x, y, 3e4, 0.5, 1), short, x, y)
    wide = with_wings(short, residual, x=x, y=y, flux=flux, from_pix=6, to_pix=40)
    assert wide.enclosed == 1.0
    assert wide.data.sum(dtype=float) == pytest.approx(1.0, abs=1e-5)
    # Another star, with its own noise and place in the pixel.
    x, y, truth = 58.9, 61.2, 2e4
    image = star(x, y, truth, 0.5, 2)
    yy, xx = np.indices(image.shape)
    r = np.hypot(xx - x, yy - y)
    of_image = image[r < 18].sum() / truth
    found = {}
    for name, psf in (("short", short), ("wide", wide)):
        flux, _ = fitted(image, psf, x, y)
        in_aperture = flux * psf.density(xx - x, yy - y)[r < 18].sum() / truth
        found[name] = of_image / in_aperture - 1, flux / truth - 1
        print(f"{name}: aperture of 18 pixels over the fit {found[name][0]:+.4f}, flux {found[name][1]:+.4f}")
    assert abs(found["short"][0]) > 0.02
    # Light beyond 40 pixels is 1.6 % of all.
    assert abs(found["wide"][0]) < 0.005
    assert found["wide"][1] == pytest.approx(-0.006, abs=0.012)
    # The core stays as it is but for its part of the light.
    ratio = wide.density(np.arange(5.0), np.zeros(5)) / short.density(np.arange(5.0), np.zeros(5))
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def test_oversampled_psfs_get_the_same_wings() -> None:
    fine = sample_psf(FORMULA, scale_arcsec=SCALE, shape=(99, 99), oversampling=3)
    x, y = 60.0, 60.0
    flux, residual = fitted(star(x, y, 3e4, 0.2, 3), fine, x, y)
    wide = with_wings(fine, residual, x=x, y=y, flux=flux, from_pix=6, to_pix=30)
    whole = sample_psf(FORMULA, scale_arcsec=SCALE, shape=(241, 241), renormalise=False)
    r = np.array([8.0, 12.0, 18.0, 22.0])
    np.testing.assert_allclose(wide.density(r, 0 * r), whole.density(r, 0 * r), rtol=0.1)


def test_masked_pixels_do_not_count() -> None:
    psf = tapered(sample_psf(FORMULA, scale_arcsec=SCALE, shape=(33, 33)))
    _, residual = fitted(star(60.0, 60.0, 3e4, 0.5, 4), psf, 60.0, 60.0)
    spoilt, mask = residual.copy(), np.zeros(residual.shape, bool)
    mask[60:, :] = True
    spoilt[mask] = 1e6
    given = {"x": 60.0, "y": 60.0, "flux": 3e4, "from_pix": 6.0, "to_pix": 30.0}
    one, other = with_wings(psf, spoilt, mask=mask, **given), with_wings(psf, residual, **given)
    np.testing.assert_allclose(one.data, other.data, atol=3e-5)


def test_what_is_not_allowed_is_named() -> None:
    psf, image = sample_psf(FORMULA, scale_arcsec=SCALE, shape=(33, 33)), np.zeros((SIDE, SIDE), np.float32)
    given = {"x": 60.0, "y": 60.0, "flux": 1.0, "from_pix": 6.0, "to_pix": 30.0}
    wrong = {"flux": (0.0, "flux: 0.0"), "x": (np.nan, "x: nan"), "to_pix": (5.0, "from_pix, to_pix: 6.0, 5.0")}
    for name, (value, message) in wrong.items():
        with pytest.raises(InvalidInputError, match=message):
            with_wings(psf, image, **{**given, name: value})
    with pytest.raises(InvalidInputError, match="mask"):
        with_wings(psf, image, mask=np.zeros((3, 3), bool), **given)
    with pytest.raises(NoDataError, match="too few for its wings"):
        with_wings(psf, image, **{**given, "x": 500.0})
