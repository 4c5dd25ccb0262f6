"""Kernels from one PSF to another."""

import tracemalloc
from dataclasses import replace

import galsim
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from photutils.psf_matching import make_wiener_kernel
from scipy.signal import fftconvolve

from skymere.errors import InvalidInputError
from skymere.psf import (
    GaussianPsf,
    MatchParams,
    MoffatPsf,
    PixelAxes,
    Psf,
    PsfLimits,
    convolve,
    convolve_error,
    matching_kernel,
    measure_shape,
    read_psf,
    recentred,
    sample_psf,
)

SCALE = 0.03


def gauss(fwhm: float, *, oversampling: int = 1, side: int = 61, **more: object) -> Psf:
    n = side * oversampling + 1 - oversampling % 2
    return sample_psf(
        GaussianPsf(fwhm_arcsec=fwhm, **more), scale_arcsec=SCALE, shape=(n, n), oversampling=oversampling
    )


def drawn(profile: galsim.GSObject, side: int, scale: float) -> Psf:
    """What GalSim draws, with the pixel."""
    return Psf(data=profile.drawImage(nx=side, ny=side, scale=scale, method="auto").array)


@pytest.mark.parametrize("oversampling", [1, 2, 3])
def test_the_kernel_between_gaussians_is_a_gaussian(oversampling: int) -> None:
    kernel = matching_kernel(gauss(0.1, oversampling=oversampling), gauss(0.2))
    sigma = np.sqrt(0.2**2 - 0.1**2) / 2.35482 / SCALE
    yy, xx = np.indices(kernel.data.shape) - kernel.data.shape[0] // 2
    wanted = np.exp(-0.5 * (xx**2 + yy**2) / sigma**2) / (2 * np.pi * sigma**2)
    # The regularisation holds down waves of which the target has 1e-4.
    np.testing.assert_allclose(kernel.data, wanted, atol=1e-4 * wanted.max())
    assert kernel.data.sum() == pytest.approx(1.0, abs=1e-12)
    assert kernel.check.sum == pytest.approx(1.0, abs=1e-4)
    assert kernel.check.max_residual < 1e-4
    assert kernel.check.max_enclosed_error < 1e-4
    assert kernel.check.power_above_band < 1e-12
    assert kernel.check.noise_factor == pytest.approx(1 / np.sqrt(4 * np.pi * sigma**2), rel=1e-3)


def test_an_ellipse_that_is_turned_gives_the_difference_of_the_covariances() -> None:
    kernel = matching_kernel(gauss(0.1, axis_ratio=0.8, pa_deg=20.0), gauss(0.25, axis_ratio=0.7, pa_deg=80.0))

    def covariance(fwhm: float, q: float, pa: float) -> np.ndarray:
        along = np.array([-np.sin(np.deg2rad(pa)), np.cos(np.deg2rad(pa))])
        across = np.array([along[1], -along[0]])
        s2 = (fwhm / 2.35482 / SCALE) ** 2
        return s2 / q * np.outer(along, along) + s2 * q * np.outer(across, across)

    wanted = covariance(0.25, 0.7, 80.0) - covariance(0.1, 0.8, 20.0)
    yy, xx = np.indices(kernel.data.shape) - kernel.data.shape[0] // 2
    inverse = np.linalg.inv(wanted)
    shape = np.exp(-0.5 * (inverse[0, 0] * xx**2 + 2 * inverse[0, 1] * xx * yy + inverse[1, 1] * yy**2))
    shape /= 2 * np.pi * np.sqrt(np.linalg.det(wanted))
    np.testing.assert_allclose(kernel.data, shape, atol=1e-3 * shape.max())


@pytest.mark.parametrize("place", [(0.0, 0.0), (0.4, -0.3)])
def test_moffats_of_galsim_become_each_other_also_between_pixels(place) -> None:
    """What is blurred is a star that the kernel was not made from."""
    sharp, broad = galsim.Moffat(beta=3.5, fwhm=0.10), galsim.Moffat(beta=2.8, fwhm=0.19).shear(g1=0.05, g2=0.02)
    kernel = matching_kernel(drawn(sharp, 101, SCALE), drawn(broad, 101, SCALE))
    x, y = place
    star = sharp.shift(x * SCALE, y * SCALE).drawImage(nx=151, ny=151, scale=SCALE).array
    wanted = broad.shift(x * SCALE, y * SCALE).drawImage(nx=151, ny=151, scale=SCALE).array
    made = convolve(star, kernel)
    print("psf * kernel - target over peak", np.abs(made - wanted).max() / wanted.max(), kernel.check)
    assert np.abs(made - wanted).max() < 2e-3 * wanted.max()
    assert kernel.check.max_residual < 2e-3
    assert kernel.check.max_enclosed_error < 2e-3
    yy, xx = np.indices(made.shape) - 75
    for radius in (3, 6, 12, 25):
        inside = np.hypot(xx - x, yy - y) < radius
        assert made[inside].sum() == pytest.approx(wanted[inside].sum(), rel=2e-3)


def test_it_is_no_worse_than_the_filter_of_pypher_in_photutils() -> None:
    sharp = drawn(galsim.Moffat(beta=3.0, fwhm=0.10), 101, SCALE)
    broad = drawn(galsim.Moffat(beta=3.0, fwhm=0.16), 101, SCALE)
    p, t = (np.asarray(one.data, float) / one.data.sum(dtype=float) for one in (sharp, broad))
    theirs = make_wiener_kernel(p, t, regularization=1e-5, penalty="laplacian")
    mine = matching_kernel(sharp, broad, params=MatchParams(regularisation=1e-5, taper=0.0))
    np.testing.assert_allclose(mine.data, theirs, atol=2e-3 * theirs.max())
    off = np.abs(fftconvolve(p, theirs, mode="same") - t).max() / t.max()
    default = matching_kernel(sharp, broad)
    print("residual of photutils", off, "without and with the cosine bell", mine.check, default.check)
    assert mine.check.max_residual < 1.05 * off
    assert default.check.max_residual < 1.05 * off
    assert default.check.power_above_band < 1e-6


@pytest.mark.parametrize(
    ("pa_deg", "is_flipped", "ratio"), [(0.0, False, 1.0), (37.0, False, 2.0), (-110.0, True, 1.7)]
)
def test_bands_may_be_turned_flipped_and_of_other_pixels(pa_deg, is_flipped, ratio) -> None:
    """One sky, drawn for both: east and north as each band has them."""
    sharp, broad = (
        MoffatPsf(fwhm_arcsec=0.10, beta=3.5),
        MoffatPsf(fwhm_arcsec=0.22, beta=3.0, axis_ratio=0.7, pa_deg=25),
    )
    axes = PixelAxes(scale_arcsec=SCALE)
    other = PixelAxes(scale_arcsec=SCALE * ratio, pa_deg=pa_deg, is_flipped=is_flipped)
    side = 2 * int(60 / ratio) + 1
    psf = sample_psf(sharp, scale_arcsec=SCALE, shape=(101, 101))
    target = sample_psf(
        broad, scale_arcsec=other.scale_arcsec, pa_deg=pa_deg, is_flipped=is_flipped, shape=(side, side)
    )
    kernel = matching_kernel(psf, target, axes=axes, target_axes=other)
    # The broad PSF through its own pixels, on the pixels of the sharp band.
    steps = (np.arange(11) + 0.5) / 11 - 0.5
    yy, xx = np.mgrid[-40:41, -40:41] * SCALE
    wanted = np.zeros(xx.shape)
    for a in steps:
        for b in steps:
            east, north = other.matrix @ [a, b]
            wanted += broad.sky_density(-xx + east, yy + north) * SCALE**2 / steps.size**2
    star = np.zeros((221, 221))
    star[60:161, 60:161] = psf.data
    made = convolve(star, kernel)[70:151, 70:151]
    print(ratio, np.abs(made - wanted).max() / wanted.max(), kernel.check.max_residual)
    assert np.abs(made - wanted).max() < 1e-3 * wanted.max()


def test_axes_are_those_of_the_coordinates() -> None:
    for axes in (PixelAxes(scale_arcsec=0.06, pa_deg=37.0), PixelAxes(scale_arcsec=0.5, pa_deg=-80.0, is_flipped=True)):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval, wcs.wcs.crpix = [150.0, 2.0], [50.0, 50.0]
        wcs.wcs.cd = axes.matrix / 3600.0
        found = PixelAxes.from_wcs(wcs, 49.0, 49.0)
        assert found.scale_arcsec == pytest.approx(axes.scale_arcsec, rel=1e-6)
        assert found.pa_deg == pytest.approx(axes.pa_deg, abs=1e-4)
        assert found.is_flipped == axes.is_flipped
        np.testing.assert_allclose(found.matrix, axes.matrix, atol=1e-6)


def test_noise_after_the_kernel_is_what_the_check_says() -> None:
    kernel = matching_kernel(gauss(0.1), gauss(0.2))
    noise = np.random.default_rng(1).normal(size=(600, 600))
    inside = convolve(noise, kernel)[40:-40, 40:-40]
    # About 270000 / 40 independent pixels.
    assert inside.std() == pytest.approx(kernel.check.noise_factor, rel=0.03)
    assert convolve_error(np.ones((200, 200)), kernel)[100, 100] == pytest.approx(kernel.check.noise_factor)


def test_sharper_targets_and_wrong_arguments_are_errors() -> None:
    sharp, broad = gauss(0.1), gauss(0.2)
    with pytest.raises(InvalidInputError, match=r"target: its FWHM of 3\.\d+ pixels .*, psf has 6\.\d+; exchange"):
        matching_kernel(broad, sharp)
    # As broad as the PSF in the mean, but not along every axis.
    with pytest.raises(InvalidInputError, match=r"amplifies a wave \d+\.\d+ times, at most 1.5 are allowed"):
        matching_kernel(gauss(0.2, axis_ratio=0.6), gauss(0.205, axis_ratio=0.6, pa_deg=90.0))
    axes = PixelAxes(scale_arcsec=SCALE)
    with pytest.raises(InvalidInputError, match="only one of them is given"):
        matching_kernel(sharp, broad, axes=axes)
    with pytest.raises(InvalidInputError, match="target: its FWHM"):
        matching_kernel(sharp, broad, axes=axes, target_axes=PixelAxes(scale_arcsec=0.3 * SCALE))
    hole = sharp.data.copy()
    hole[3, 3] = np.nan
    with pytest.raises(InvalidInputError, match="psf: 1 of 3721 pixels are not finite"):
        matching_kernel(replace(sharp, data=hole), broad)
    with pytest.raises(InvalidInputError, match="target: a sum of 0 is not allowed"):
        matching_kernel(sharp, replace(broad, data=0 * broad.data))
    with pytest.raises(InvalidInputError, match="size_pix: 301 is not allowed, PSFs of 61"):
        matching_kernel(sharp, broad, params=MatchParams(size_pix=301))
    for wrong in ({"regularisation": -1.0}, {"cutoff": 0.0}, {"taper": 2.0}, {"max_gain": 0.5}, {"size_pix": 10}):
        with pytest.raises(InvalidInputError, match="is not allowed"):
            MatchParams(**wrong)
    for wrong in ({"scale_arcsec": 0.0}, {"scale_arcsec": 1.0, "pa_deg": np.nan}):
        with pytest.raises(InvalidInputError, match="is not allowed"):
            PixelAxes(**wrong)


def test_small_kernels_say_what_they_lost() -> None:
    whole = matching_kernel(gauss(0.1), gauss(0.2))
    small = matching_kernel(gauss(0.1), gauss(0.2), params=MatchParams(size_pix=9))
    assert small.data.shape == (9, 9)
    assert small.data.sum() == pytest.approx(1.0)
    assert small.check.sum < 0.97 < whole.check.sum
    assert small.check.max_residual > 10 * whole.check.max_residual


def moffat(fwhm_pix: float, n: int) -> Psf:
    y, x = np.ogrid[:n, :n]
    r2 = (x - (n - 1) / 2) ** 2 + (y - (n - 1) / 2) ** 2
    data = (1 + 4 * (2 ** (1 / 3.0) - 1) * r2 / fwhm_pix**2) ** -3.0
    return Psf(data=(data / data.sum()).astype(np.float32))


def test_memory_is_that_of_the_kernel_and_not_of_the_target() -> None:
    """Transforms of all of the target took 3 GiB. Its pixels are half as large as those of the sharp band."""
    fine, coarse = PixelAxes(scale_arcsec=0.02), PixelAxes(scale_arcsec=0.03, pa_deg=20.0)
    sharp, params = moffat(4.0, 401), MatchParams(size_pix=101)
    targets = [moffat(12.0, n) for n in (1001, 3001)]
    found = []
    for target in targets:
        tracemalloc.start()
        found.append(matching_kernel(sharp, target, axes=fine, target_axes=coarse, params=params))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(target.shape, "peak", peak / 2**20, "MiB", found[-1].check)
        assert peak < 300 * 2**20
    # PSFs are float32.
    np.testing.assert_allclose(found[1].data, found[0].data, atol=2e-5 * found[0].data.max())
    # Nothing was cut off of PSFs this small; wings beyond them are what differs.
    whole = matching_kernel(moffat(4.0, 401), moffat(12.0, 401), axes=fine, target_axes=coarse, params=params)
    np.testing.assert_allclose(found[1].data, whole.data, atol=2e-3 * whole.data.max())
    assert found[1].check.max_residual < 2 * whole.check.max_residual
    assert found[1].check.sum == pytest.approx(whole.check.sum, abs=2e-3)


def test_kernels_of_large_psfs_are_limited_unless_a_size_is_asked_for() -> None:
    sharp, broad = moffat(4.0, 61), moffat(9.0, 1301)
    limited = matching_kernel(sharp, broad)
    assert limited.data.shape == (1023, 1023)
    assert limited.check.max_residual < 2e-3
    assert matching_kernel(sharp, broad, params=MatchParams(size_pix=1101)).data.shape == (1101, 1101)


@pytest.mark.parametrize(("n", "m"), [(100, 101), (101, 100), (100, 100)])
def test_even_sides_do_not_move_a_kernel(n, m) -> None:
    """F27: half a pixel of centroid would be 0.5."""
    drawn_by = {"scale_arcsec": SCALE}
    models = MoffatPsf(fwhm_arcsec=0.12, beta=3.5), MoffatPsf(fwhm_arcsec=0.25, beta=3.0)
    odd = matching_kernel(*(sample_psf(one, shape=(101, 101), **drawn_by) for one in models))
    even = matching_kernel(*(sample_psf(one, shape=(k, k), **drawn_by) for one, k in zip(models, (n, m), strict=True)))
    half = [one.data.shape[0] // 2 for one in (odd, even)]
    cores = [one.data[h - 25 : h + 26, h - 25 : h + 26] for one, h in zip((odd, even), half, strict=True)]
    np.testing.assert_allclose(cores[1], cores[0], atol=2e-3 * cores[0].max())
    shape = measure_shape(even.data)
    assert (shape.x, shape.y) == pytest.approx((half[1], half[1]), abs=1e-3)


def test_f200w_of_ceers_becomes_f444w(shared_data) -> None:
    """Pixels of 0.02 and 0.04 arcsec, as the images of the galaxies say."""
    folder = shared_data / "imaging" / "sersic"
    path = folder / "ceers_psf_pointing_6414_6978_8021.fits"
    if not path.exists():
        pytest.skip("no PSFs of CEERS")
    sharp, broad = (read_psf(path, extension=f"PSF_{band}") for band in ("F200W", "F444W"))
    with fits.open(folder / "ceers_nircam_6414.fits") as hdus:
        scales = [PixelAxes.from_wcs(WCS(hdus[f"SCI_{band}"].header), 50, 50) for band in ("F200W", "F444W")]
    assert [axes.scale_arcsec for axes in scales] == pytest.approx([0.02, 0.04], rel=1e-4)
    fine, coarse = PixelAxes(scale_arcsec=0.02), PixelAxes(scale_arcsec=0.04)
    kernel = matching_kernel(sharp, broad, axes=fine, target_axes=coarse)
    print("F200W to F444W", kernel.check)
    assert kernel.check.max_residual < 2e-3
    assert kernel.check.max_enclosed_error < 2e-3
    assert kernel.check.power_above_band < 1e-6
    star = np.zeros((301, 301))
    star[75:226, 75:226] = sharp.data
    made = measure_shape(convolve(star, kernel), x=150.0, y=150.0)
    assert made.fwhm / 2 == pytest.approx(measure_shape(broad.data).fwhm, rel=0.01)
    with pytest.raises(InvalidInputError, match="target: its FWHM"):
        matching_kernel(broad, sharp, axes=coarse, target_axes=fine)


def test_psfs_of_smacs_and_irac_are_matched_as_well_as_their_noise_allows(shared_data) -> None:
    """The PSFs of SMACS 0723 have noise from pixel to pixel, which no kernel makes out of a smooth PSF."""
    folder = shared_data / "imaging" / "psf"
    if not folder.is_dir():
        pytest.skip("no PSFs")
    sharp, broad = (read_psf(folder / "nircam_smacs0723_20mas.fits", extension=band) for band in ("F200W", "F444W"))
    found = matching_kernel(sharp, broad).check
    print("F200W to F444W of SMACS", found)
    assert found.max_enclosed_error < 5e-3
    # That noise is what is left, and the check says so.
    waves = np.abs(np.fft.fft2(broad.data)) / broad.data.sum(dtype=float)
    assert 0.02 < found.max_residual < 0.1
    assert waves[0, 78] > 5e-3
    # Images of 0.1 arcsec for pixels of 0.6.
    irac = recentred(
        read_psf(folder / "irac_ch1_warm_0p1arcsec.fits", oversampling=6, limits=PsfLimits(max_offset_pix=0.5))
    )
    axes = {"axes": PixelAxes(scale_arcsec=0.02), "target_axes": PixelAxes(scale_arcsec=0.6, pa_deg=37.0)}
    kernel = matching_kernel(broad, irac, **axes)
    print("F444W to IRAC", kernel.data.shape, kernel.check)
    assert kernel.check.max_residual < 2.5e-3
    assert kernel.check.max_enclosed_error < 2.5e-3
