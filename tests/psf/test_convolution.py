"""Images convolved with PSFs and kernels."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from skymere import set_num_threads
from skymere.errors import InvalidInputError
from skymere.psf import GaussianPsf, Kernel, MoffatPsf, Psf, convolve, convolve_error, measure_shape, sample_psf


def gauss(shape: tuple[int, int], fwhm: float, **more: object) -> Psf:
    return sample_psf(GaussianPsf(fwhm_arcsec=fwhm), scale_arcsec=1.0, shape=shape, **more)


@pytest.mark.parametrize(
    ("shape", "side"), [((2300, 1500), (61, 41)), ((50, 40), (61, 41)), ((33, 2100), (5, 7)), ((1, 9), (3, 3))]
)
def test_blocks_and_margins_give_the_plain_sum_and_nothing_wraps_around(shape, side) -> None:
    rng = np.random.default_rng(1)
    image, kernel = rng.normal(size=shape), rng.normal(size=side)
    full = fftconvolve(image, kernel, mode="full")
    (ky, kx), (ny, nx) = side, shape
    wanted = full[ky // 2 : ky // 2 + ny, kx // 2 : kx // 2 + nx]
    found = convolve(image, kernel)
    # Rounding of transforms: 1e-16 of the largest partial sums.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max() + 1e-11)
    np.testing.assert_array_equal(found, convolve(image, Kernel(data=kernel)))


def test_threads_do_not_change_a_bit() -> None:
    image = np.random.default_rng(2).normal(size=(2100, 1100)).astype(np.float32)
    psf = gauss((31, 31), 4.0)
    found = []
    for n in (1, 2):
        set_num_threads(n)
        found.append(convolve(image, psf))
    assert found[0].dtype == np.float32
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("shape", [(41, 41), (40, 40), (40, 41), (41, 40)])
@pytest.mark.parametrize("as_array", [False, True])
def test_even_psfs_do_not_move_what_they_blur(shape, as_array) -> None:
    """F27: half a pixel would be 0.5."""
    psf = sample_psf(MoffatPsf(fwhm_arcsec=3.2, beta=3.0), scale_arcsec=1.0, shape=shape)
    image = np.zeros((101, 101))
    image[47, 52] = 7.0
    seen = convolve(image, psf.data if as_array else psf)
    found = measure_shape(seen)
    assert (found.x, found.y) == pytest.approx((52.0, 47.0), abs=1e-3)
    assert seen.sum() == pytest.approx(7.0, rel=1e-6)
    # The width is that of the profile with odd sides; means of neighbours would make it 6 % wider.
    odd = convolve(image, sample_psf(MoffatPsf(fwhm_arcsec=3.2, beta=3.0), scale_arcsec=1.0, shape=(41, 41)))
    assert found.fwhm == pytest.approx(measure_shape(odd).fwhm, rel=5e-3)


def test_widths_of_gaussians_add_in_squares() -> None:
    yy, xx = np.mgrid[-60:61, -60:61]
    image = np.exp(-0.5 * (xx**2 + yy**2) / 3.0**2)
    psf = gauss((101, 101), 4.0 * 2.35482, has_pixel=False)
    wanted = np.exp(-0.5 * (xx**2 + yy**2) / 25.0) * 9.0 / 25.0
    np.testing.assert_allclose(convolve(image, psf), wanted, atol=2e-6)
    # The same at three pixels per pixel of the band, with a PSF of 1 and of 3.
    for s in (1, 3):
        fine = gauss((101 * s, 101 * s), 4.0 / 3 * 2.35482, has_pixel=False, oversampling=s)
        np.testing.assert_allclose(convolve(image, fine, oversampling=3.0), wanted, atol=5e-4 if s == 1 else 2e-6)


def test_masked_pixels_and_nan_are_made_up_for_and_the_border_is_nothing() -> None:
    psf = gauss((21, 21), 4.0)
    flat = np.full((80, 90), 3.0)
    plain = convolve(flat, psf)
    holed = flat.copy()
    holed[30:33, 40] = np.nan
    mask = np.zeros(flat.shape, bool)
    mask[50, 10:14] = True
    holed[50, 10:14] = 1e9
    found = convolve(holed, psf, mask=mask)
    np.testing.assert_allclose(found, plain, rtol=1e-9)
    assert plain[40, 45] == pytest.approx(3.0, rel=1e-5)
    # Half of the light of a pixel at the border falls off.
    assert 1.5 < plain[0, 45] < 2.0
    wide = np.zeros(flat.shape, bool)
    wide[:, 40:60] = True
    found = convolve(flat, psf, mask=wide)
    assert np.isnan(found[40, 50])
    assert found[40, 37] == pytest.approx(3.0)
    assert np.isnan(convolve(np.full((5, 5), np.nan), psf)).all()


@pytest.mark.parametrize("n_huge", [1, 900])
@pytest.mark.parametrize("huge", [1e9, 1e15, 1e150])
def test_huge_errors_leave_those_alone_that_do_not_see_them(n_huge, huge) -> None:
    """Rounding of the transform of a variance of 1e30 would be 1e14 everywhere."""
    rng = np.random.default_rng(4)
    sigma = rng.uniform(0.5, 2.0, (60, 70))
    kernel = rng.random((7, 9))
    kernel[0, :3] = 0.0
    spoilt = sigma.copy()
    side = int(np.sqrt(n_huge))
    spoilt[20 : 20 + side, 30 : 30 + side] = huge
    found = convolve_error(spoilt, kernel)
    variance = np.zeros(sigma.shape)
    for i, j in np.ndindex(*kernel.shape):
        moved = np.zeros(sigma.shape)
        y, x = i - 3, j - 4
        rows, columns = slice(max(y, 0), 60 + min(y, 0)), slice(max(x, 0), 70 + min(x, 0))
        moved[rows, columns] = spoilt[max(-y, 0) : 60 - max(y, 0), max(-x, 0) : 70 - max(x, 0)] ** 2
        variance += kernel[i, j] ** 2 * moved
    np.testing.assert_allclose(found, np.sqrt(variance), rtol=1e-6)
    # Beside the box of the kernel, and in its corner that is 0.
    assert found[18, 25] < 50
    assert np.median(found) < 1e3 or n_huge > 1


def test_many_huge_errors_are_transformed_apart_and_stay_where_they_are(monkeypatch) -> None:
    """Three levels of variances, 1, 1e20 and 1e40, each a third of the image, with no budget for single sums."""
    sigma = np.random.default_rng(8).uniform(0.5, 2.0, (120, 90))
    sigma[40:80] *= 1e10
    sigma[80:] *= 1e20
    kernel = np.random.default_rng(9).uniform(0.5, 1.0, (7, 9))
    wanted = convolve_error(sigma, kernel)
    monkeypatch.setattr("skymere.psf.convolution._MOST", 0)
    np.testing.assert_allclose(convolve_error(sigma, kernel), wanted, rtol=1e-6)
    assert wanted[36].max() < 30
    assert 1e9 < wanted[37].max() < wanted[76].max() < 1e12


def test_errors_whose_square_is_no_number_are_masked() -> None:
    sigma = np.ones((30, 30))
    sigma[15, 15] = 1e200
    mask = sigma > 1
    np.testing.assert_array_equal(
        convolve_error(sigma, np.ones((3, 3))), convolve_error(np.ones((30, 30)), np.ones((3, 3)), mask=mask)
    )


def test_one_huge_value_of_an_image_spoils_only_what_it_reaches() -> None:
    rng = np.random.default_rng(6)
    image, kernel = rng.normal(size=(200, 210)), rng.normal(size=(11, 11))
    wanted = convolve(image, kernel)
    image[100, 100] = 1e30
    found = convolve(image, kernel)
    reached = np.zeros(image.shape, bool)
    reached[95:106, 95:106] = True
    np.testing.assert_allclose(found[~reached], wanted[~reached], rtol=0, atol=1e-10)
    np.testing.assert_allclose(found[reached], 1e30 * kernel.ravel(), rtol=1e-12)


def test_kernels_with_the_sum_0_are_not_rescaled() -> None:
    """A Laplacian has no mean that a bad pixel could count as."""
    laplacian = np.array([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]])
    image = np.random.default_rng(3).normal(size=(40, 50))
    image[20, 30] = np.nan
    found = convolve(image, laplacian)
    wanted = fftconvolve(np.nan_to_num(image), laplacian, mode="same")
    sees = np.zeros(image.shape, bool)
    sees[19:22, 30] = sees[20, 29:32] = True
    assert np.isnan(found[sees]).all()
    np.testing.assert_allclose(found[~sees], wanted[~sees], atol=1e-12)
    # A kernel of both signs with a sum keeps a flat image flat.
    sharpened = laplacian.copy()
    sharpened[1, 1] = 5.0
    flat = np.full((40, 50), 2.0)
    flat[20, 30] = np.nan
    inside = convolve(flat, sharpened)[2:-2, 2:-2]
    assert np.isnan(inside[18, 28]) or inside[18, 28] == pytest.approx(2.0)
    np.testing.assert_allclose(np.delete(inside.ravel(), 18 * 46 + 28), 2.0)
    np.testing.assert_allclose(
        convolve_error(np.ones((9, 9)), laplacian)[2:-2, 2:-2], np.sqrt((laplacian**2).sum()), rtol=1e-12
    )


@pytest.mark.parametrize("shape", [(8, 8), (8, 9)])
def test_even_kernels_with_the_sum_0_keep_their_size(shape) -> None:
    """A step across the middle, whose sums before and after the move of half a pixel are both rounding."""
    rng = np.random.default_rng(12)
    for _ in range(20):
        y = np.arange(8.0) - 3.5
        kernel = np.outer(y * np.exp(-(y**2) / 4), rng.uniform(0.5, 1.0, shape[1]))
        kernel -= kernel.mean()
        image = np.add.outer(np.arange(40.0), np.zeros(50))
        inside = convolve(image, kernel)[10:-10, 10:-10]
        # Of a slope along y it makes minus the first moment, of which the interpolation misses some at the edges.
        np.testing.assert_allclose(inside, -(kernel * y[:, None]).sum(), rtol=0.05)


def test_errors_of_convolved_noise_are_its_scatter() -> None:
    """64 x 64 pixels x 200 draws: every scatter is good to 5 %, the mean of those inside to 0.5 % (correlated)."""
    rng = np.random.default_rng(5)
    sigma = 1.0 + np.arange(64)[None, :] / 32.0 + np.zeros((64, 1))
    mask = rng.random(sigma.shape) < 0.1
    psf = gauss((15, 15), 3.0)
    said = convolve_error(sigma, psf, mask=mask)
    draws = np.stack([convolve(rng.normal(size=sigma.shape) * sigma, psf, mask=mask) for _ in range(200)])
    pull = draws / said
    assert pull.std() == pytest.approx(1.0, abs=0.01)
    assert np.sqrt((pull**2).mean(axis=0)) == pytest.approx(np.ones_like(sigma), abs=0.3)
    assert np.abs(pull.mean(axis=0)).max() < 5 / np.sqrt(200)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: convolve(np.ones(4), np.ones((3, 3))), "image: shape"),
        (lambda: convolve(np.ones((0, 4)), np.ones((3, 3))), r"image: shape \(0, 4\) is empty"),
        (lambda: convolve(np.ones((4, 4)), np.ones((3, 3)), mask=np.ones((3, 3))), "mask: "),
        (lambda: convolve(np.ones((4, 4)), np.full((3, 3), np.nan)), "kernel: shape .* 9 values that are not finite"),
        (
            lambda: convolve(np.ones((4, 4)), Psf(data=np.full((3, 3), np.nan))),
            "kernel: 9 of 9 pixels are not finite",
        ),
        (lambda: convolve(np.ones((4, 4)), np.ones((3, 3)), min_weight=2.0), "min_weight: 2.0"),
        (lambda: convolve_error(-np.ones((4, 4)), np.ones((3, 3))), "error: -1.0"),
        (lambda: Kernel(data=np.ones((4, 3))), "both sides of a kernel must be odd"),
        (lambda: Kernel(data=np.full((3, 3), np.inf)), "9 of 9 values are not finite"),
    ],
)
def test_wrong_arguments_are_named(make, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()
