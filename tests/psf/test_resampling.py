"""PSFs cropped, moved and resampled, and the fluxes that they give."""

from dataclasses import replace

import galsim
import numpy as np
import pytest

from skymere.errors import InvalidInputError
from skymere.psf import MoffatPsf, Psf, check_psf, cropped, measure_shape, recentred, resampled, sample_psf, with_pixel

MODEL = MoffatPsf(fwhm_arcsec=2.6, beta=3.0, axis_ratio=0.85, pa_deg=25.0)


def image(oversampling: float, side: int, *, model: MoffatPsf = MODEL, **more: object) -> Psf:
    return sample_psf(model, scale_arcsec=1.0, shape=(side, side), oversampling=oversampling, **more)


def profile(model: MoffatPsf = MODEL) -> galsim.GSObject:
    moffat = galsim.Moffat(beta=model.beta, fwhm=model.fwhm_arcsec)
    return moffat.shear(q=model.axis_ratio, beta=(90.0 + model.pa_deg) * galsim.degrees)


def fluxes_of(psf: Psf, data: np.ndarray, places: list[tuple[float, float]]) -> np.ndarray:
    """Least squares of all sources and a level."""
    yy, xx = np.indices(data.shape)
    columns = [psf.pixels(xx - x, yy - y).ravel() for x, y in places] + [np.ones(data.size)]
    return np.linalg.lstsq(np.stack(columns, axis=1), data.ravel(), rcond=None)[0][:-1]


@pytest.mark.parametrize("has_pixel", [True, False])
def test_a_psf_given_at_1_and_at_3_pixels_per_pixel_gives_the_same_fluxes(has_pixel) -> None:
    """B6, argument 3: to 1 %. Blends at random places, drawn by GalSim without noise."""
    rng = np.random.default_rng(8)
    places = [
        (30 + 25 * i + dx, 30 + 25 * j + dy)
        for i in range(3)
        for j in range(3)
        for dx, dy in rng.uniform(-4, 4, (2, 2))
    ]
    true = rng.uniform(1.0, 5.0, len(places))
    data = np.zeros((110, 110))
    for (x, y), flux in zip(places, true, strict=True):
        star = profile().withFlux(flux).shift(x - 54.5, y - 54.5)
        data += star.drawImage(nx=110, ny=110, scale=1.0, dtype=float).array
    one, three = (image(s, 61 * s, has_pixel=has_pixel, renormalise=False) for s in (1, 3))
    given = {
        "1": one,
        "3": three,
        "1 as 3": resampled(one, 3),
        "1 as 2.5": resampled(one, 2.5),
        "3 as 2": resampled(three, 2),
        "3 as 1 as 4": resampled(resampled(three, 1), 4),
    }
    found = {name: fluxes_of(psf, data, places) for name, psf in given.items()}
    for name, fluxes in found.items():
        print(name, "flux over truth", (fluxes / true).min(), (fluxes / true).max())
        np.testing.assert_allclose(fluxes, true, rtol=0.01)
    np.testing.assert_allclose(found["1 as 3"], found["3"], rtol=0.01)


@pytest.mark.parametrize(
    ("fwhm", "on", "between"),
    [(1.6, 2.5e-2, 0.13), (2.0, 1e-2, 0.06), (2.5, 4e-3, 2.5e-2), (3.5, 4e-4, 4e-3), (5.0, 1e-4, 2e-4)],
)
def test_finer_images_are_those_of_the_formula(fwhm, on, between) -> None:
    """With the source on a pixel, and between four: tolerances are 1.2 to 2 times what `resampled` says."""
    model = MoffatPsf(fwhm_arcsec=fwhm, beta=2.5, axis_ratio=0.9, pa_deg=20.0)
    for side, within in ((81, on), (80, between)):
        fine = resampled(image(1, side, model=model, renormalise=False), 3)
        wanted = image(3, fine.shape[0], model=model, renormalise=False)
        assert (fine.oversampling, fine.has_pixel) == (3.0, True)
        inner = (slice(15, -15), slice(15, -15))
        print(fwhm, side, np.abs(fine.data - wanted.data)[inner].max() / wanted.data.max())
        np.testing.assert_allclose(fine.data[inner], wanted.data[inner], atol=within * wanted.data.max())
        assert fine.data.sum(dtype=float) == pytest.approx(fine.enclosed, rel=1e-5)


@pytest.mark.parametrize("side", [180, 183])
def test_coarser_images_take_values_and_add_nothing_up(side) -> None:
    fine = image(3, side, renormalise=False)
    coarse = resampled(fine, 1)
    n = coarse.shape[0]
    assert n % 2 == 1
    assert (coarse.x, coarse.y) == (n // 2, n // 2)
    wanted = image(1, n, renormalise=False)
    np.testing.assert_allclose(coarse.data, wanted.data, atol=1e-4 * wanted.data.max())
    assert coarse.enclosed == pytest.approx(wanted.enclosed, abs=2e-4)


def test_the_pixel_is_put_in_once() -> None:
    bare, held = (image(3, 121, has_pixel=has, renormalise=False) for has in (False, True))
    made = with_pixel(bare)
    assert made.has_pixel
    inner = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(made.data[inner], held.data[inner], atol=1e-4 * held.data.max())
    assert with_pixel(made) is made


@pytest.mark.parametrize("shape", [(31, 31), (30, 31), (31, 24), (500, 25)])
def test_crops_keep_the_sum_and_say_what_was_lost(shape) -> None:
    psf = replace(image(1, 101), position=(7, 5), error=np.ones((101, 101), np.float32))
    small = cropped(psf, shape)
    assert small.shape == tuple(min(n, 101) for n in shape)
    assert small.data.sum(dtype=float) == pytest.approx(1.0, abs=1e-5)
    # The source is on the same pixel of the mosaic.
    assert (small.x + small.position[0], small.y + small.position[1]) == (57.0, 55.0)
    y0, x0 = small.position[1] - 5, small.position[0] - 7
    part = psf.data[y0 : y0 + small.shape[0], x0 : x0 + small.shape[1]].sum(dtype=float)
    assert 1 - small.lost == pytest.approx((1 - psf.lost) * part, rel=1e-5)
    assert small.error.shape == small.shape
    assert small.error[0, 0] == pytest.approx(1 / part, rel=1e-4)
    cut = cropped(psf, shape, renormalise=False)
    assert (cut.lost, cut.enclosed) == (psf.lost, pytest.approx(part, rel=1e-5))
    assert cut.data.sum(dtype=float) == pytest.approx(cut.enclosed, rel=1e-5)
    # Off by half a pixel at most.
    assert max(abs(small.x - (small.shape[1] - 1) / 2), abs(small.y - (small.shape[0] - 1) / 2)) <= 0.5


@pytest.mark.parametrize("off", [(0.3, -0.2), (0.02, 0.0), (-0.45, 0.1)])
def test_small_offsets_are_repaired(off) -> None:
    star = profile().shift(*off).drawImage(nx=61, ny=61, scale=1.0).array
    psf = Psf(data=star)
    moved = recentred(psf)
    found = measure_shape(moved.data)
    assert (found.x, found.y) == pytest.approx((30.0, 30.0), abs=2e-3)
    assert moved.data.sum(dtype=float) == pytest.approx(star.sum(dtype=float), rel=1e-6)
    wanted = profile().drawImage(nx=61, ny=61, scale=1.0).array
    print(off, np.abs(moved.data - wanted).max() / wanted.max())
    # A profile of 2.6 pixels between pixels; see `resampled`.
    np.testing.assert_allclose(moved.data, wanted, atol=1.2e-2 * wanted.max())
    assert check_psf(moved).problems == ()


def test_what_cannot_be_repaired_is_refused() -> None:
    star = profile().shift(3.0, 0.0).drawImage(nx=61, ny=61, scale=1.0).array
    with pytest.raises(
        InvalidInputError, match=r"centroid x, y = 33\.00, 30\.00 is 3\.00 pixels .* beyond repair: at most 0.5"
    ):
        recentred(Psf(data=star))
    assert measure_shape(recentred(Psf(data=star), max_offset_pix=4.0).data).x == pytest.approx(30.0, abs=2e-3)
    # On an image of 6 pixels per pixel of the band it is half of one.
    assert measure_shape(recentred(Psf(data=star, oversampling=6)).data).x == pytest.approx(30.0, abs=2e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda psf: cropped(psf, (2, 9)), r"shape: \(2, 9\)"),
        (lambda psf: cropped(replace(psf, data=-psf.data), (9, 9)), "of the light"),
        (lambda psf: recentred(psf, max_offset_pix=0.0), "max_offset_pix: 0.0"),
        (lambda psf: resampled(psf, 0.0), "oversampling: 0.0 is not allowed, it must be positive"),
        (lambda psf: resampled(psf, 0.02), "leaves fewer than 3 x 3 pixels of 61 x 61"),
    ],
)
def test_wrong_arguments_are_named(make, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make(image(1, 61))
