"""Profiles on pixels against adaptive quadrature in float64."""

from itertools import pairwise

import galsim
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gamma, gammainc, gammaincinv

from skymere.errors import InvalidInputError
from skymere.profiles import render_sersic
from skymere.psf import Psf


def light_in_pixel(px: int, py: int, x: float, y: float, re: float, n: float, q: float, pa: float) -> float:
    """Light of a source of unit flux in a pixel, by nested adaptive quadrature that splits at the centre."""
    b = gammaincinv(2 * n, 0.5)
    peak = b ** (2 * n) / (2 * np.pi * n * re**2 * q * gamma(2 * n))
    sin, cos = np.sin(np.deg2rad(pa)), np.cos(np.deg2rad(pa))

    def surface(dx: float, dy: float) -> float:
        along, across = -dx * sin + dy * cos, dx * cos + dy * sin
        return peak * np.exp(-b * (np.hypot(along, across / q) / re) ** (1 / n))

    def row(dy: float) -> float:
        # The ridge of the ellipse in this row, where a thin source is steep.
        ridge = -dy * sin * cos * (1 - 1 / q**2) / (sin**2 + (cos / q) ** 2)
        low, high = px - 0.5 - x, px + 0.5 - x
        breaks = sorted({low, high, *(v for v in (0.0, ridge) if low < v < high)})
        return sum(
            quad(surface, a, c, args=(dy,), epsabs=1e-11, epsrel=1e-9, limit=200)[0] for a, c in pairwise(breaks)
        )

    low, high = py - 0.5 - y, py + 0.5 - y
    breaks = [low, 0.0, high] if low < 0 < high else [low, high]
    return sum(quad(row, a, c, epsabs=1e-10, epsrel=1e-8, limit=200)[0] for a, c in pairwise(breaks))


@pytest.mark.parametrize("n", [0.5, 1.0, 2.5, 4.0, 6.2])
@pytest.mark.parametrize(("re", "q"), [(0.3, 1.0), (0.3, 0.1), (2.0, 0.4), (8.0, 0.1)])
def test_pixels_hold_the_light_of_adaptive_quadrature(n: float, re: float, q: float) -> None:
    place = {"x": 10.37, "y": 11.81, "re": re, "n": n, "q": q, "pa": 33.0}
    image = render_sersic((24, 24), flux=1.0, **place)
    pixels = [(10, 12), (11, 12), (10, 11), (9, 13), (8, 14), (12, 9), (15, 12), (20, 3)]
    expected = np.array([light_in_pixel(px, py, **place) for px, py in pixels])
    found = np.array([image[py, px] for px, py in pixels])
    off = np.abs(found - expected).max() / image.max()
    print(f"n {n}, re {re}, q {q}: {off:.1e} of the peak")
    assert off < 1e-5


@pytest.mark.parametrize("n", [0.5, 1.0, 2.5, 4.0, 6.2])
@pytest.mark.parametrize("re", [0.3, 3.0, 30.0])
def test_the_light_on_a_stamp_is_that_within_it(n: float, re: float) -> None:
    """The light in a round stamp of pixels of a round source, which has a closed form."""
    side, radius = 121, 50.0
    image = render_sersic((side, side), x=60.0, y=60.0, flux=1.0, re=re, n=n)
    y, x = np.indices(image.shape) - 60.0
    # Pixels that the circle cuts are left out on both sides: rings between 49 and 51 pixels hold little.
    within = np.hypot(x, y)
    low, high = (gammainc(2 * n, gammaincinv(2 * n, 0.5) * (r / re) ** (1 / n)) for r in (radius - 0.8, radius + 0.8))
    assert low - 1e-6 <= image[within < radius].sum() <= high + 1e-6


SETTINGS = galsim.GSParams(folding_threshold=1e-4, maxk_threshold=1e-4, maximum_fft_size=1 << 15)


def by_galsim(psf: galsim.GSObject, *, side: int, x: float, y: float, re: float, n: float, q: float, pa: float):
    profile = galsim.Sersic(n, half_light_radius=re * np.sqrt(q), gsparams=SETTINGS)
    profile = profile.shear(q=q, beta=(pa + 90.0) * galsim.degrees)
    offset = x - (side - 1) / 2, y - (side - 1) / 2
    image = galsim.Convolve(profile, psf, gsparams=SETTINGS).drawImage(
        nx=side, ny=side, scale=1.0, method="no_pixel", offset=offset, dtype=np.float64
    )
    return image.array


def stamp_of(psf: galsim.GSObject, side: int) -> np.ndarray:
    return psf.drawImage(nx=side, ny=side, scale=1.0, method="no_pixel", dtype=np.float64).array


PLACES = [(31.3, 32.8), (31.0, 31.0), (30.5, 31.5)]


@pytest.mark.parametrize(("fwhm", "allowed"), [(3.0, 2e-4), (2.6, 1e-3)])
@pytest.mark.parametrize("n", [0.5, 1.0, 2.5, 4.0, 6.2])
def test_convolved_profiles_are_those_of_galsim(n: float, fwhm: float, allowed: float) -> None:
    psf = galsim.Gaussian(fwhm=fwhm, gsparams=SETTINGS)
    worst, leak = 0.0, 0.0
    for re, q in [(0.3, 0.9), (0.3, 0.1), (1.0, 0.8), (5.0, 0.7), (10.0, 0.1), (20.0, 0.3)]:
        for x, y in PLACES:
            place = {"x": x, "y": y, "re": re, "n": n, "q": q, "pa": 33.0}
            expected = by_galsim(psf, side=64, **place)
            found = render_sersic((64, 64), flux=1.0, psf=stamp_of(psf, 61), **place)
            worst = max(worst, float(np.abs(found - expected).max() / expected.max()))
            leak = max(leak, abs(float(found.sum() / expected.sum()) - 1.0))
    print(f"n {n}, FWHM {fwhm}: {worst:.1e} of the peak, {leak:.1e} of the flux")
    assert worst < allowed
    assert leak < 1e-4


@pytest.mark.parametrize("side", [61, 62])
def test_a_psf_without_the_pixel_gets_it_once(side: int) -> None:
    place = {"x": 31.3, "y": 32.8, "re": 2.0, "n": 1.0, "q": 0.6, "pa": 20.0}
    psf = galsim.Moffat(beta=3.5, fwhm=3.0, trunc=28, gsparams=SETTINGS)
    pixel = galsim.Convolve(psf, galsim.Pixel(1.0), gsparams=SETTINGS)
    expected = by_galsim(pixel, side=64, **place)
    without = render_sersic((64, 64), flux=1.0, psf=stamp_of(psf, side), psf_has_pixel=False, **place)
    within = render_sersic((64, 64), flux=1.0, psf=stamp_of(pixel, side), **place)
    product = Psf(data=stamp_of(psf, side).astype(np.float32), has_pixel=False)
    for name, found in {
        "without": without,
        "within": within,
        "Psf": render_sersic((64, 64), flux=1.0, psf=product, **place),
    }.items():
        off = float(np.abs(found - expected).max() / expected.max())
        print(f"{name}, side {side}: {off:.1e} of the peak")
        assert off < 5e-4
    bare = render_sersic((64, 64), flux=1.0, psf=stamp_of(psf, side), **place)
    # Without the pixel the peak is higher by more than a percent.
    assert bare.max() > 1.01 * expected.max()


def test_an_oversampled_psf_is_that_of_the_pixels() -> None:
    place = {"x": 31.3, "y": 32.8, "re": 2.0, "n": 2.0, "q": 0.6, "pa": 20.0}
    psf = galsim.Gaussian(fwhm=3.0, gsparams=SETTINGS)
    fine = psf.drawImage(nx=165, ny=165, scale=1 / 3, method="no_pixel", dtype=np.float64).array
    expected = render_sersic((64, 64), flux=1.0, psf=stamp_of(psf, 61), **place)
    found = render_sersic((64, 64), flux=1.0, psf=Psf(data=fine.astype(np.float32), oversampling=3.0), **place)
    assert np.abs(found - expected).max() < 2e-4 * expected.max()


def test_angles_run_from_y_counter_clockwise_and_fluxes_add() -> None:
    one = render_sersic((41, 41), x=20.0, y=20.0, flux=2.0, re=6.0, n=1.0, q=0.2, pa=30.0)
    # 30 degrees from +y towards -x.
    assert one[20 + 7, 20 - 4] > 10 * one[20 + 7, 20 + 4]
    other = {"x": 5.5, "y": 30.0, "flux": -1.0, "re": 2.0, "n": 4.0, "q": 1.0, "pa": 0.0}
    both = render_sersic(
        (41, 41),
        x=[20.0, 5.5],
        y=[20.0, 30.0],
        flux=[2.0, -1.0],
        re=[6.0, 2.0],
        n=[1.0, 4.0],
        q=[0.2, 1.0],
        pa=[30.0, 0.0],
    )
    np.testing.assert_allclose(both, one + render_sersic((41, 41), **other), rtol=0, atol=1e-15)


def test_values_that_no_profile_has_are_named() -> None:
    good = {"x": 5.0, "y": 5.0, "flux": 1.0, "re": 2.0, "n": 1.0}
    for name, value, message in (
        ("re", 0.0, "r_e: 0 of source 0 is not allowed"),
        ("n", [1.0, 11.0], "n: 11 of source 1 is not allowed"),
        ("q", 1.5, "q: 1.5 of source 0"),
        ("x", np.nan, "x: NaN of source 0"),
        ("flux", [[1.0]], "shapes"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            render_sersic((9, 9), **(good | {name: value}))
    for psf in (np.zeros((5, 5)), np.full((5, 5), np.nan), np.ones(5)):
        with pytest.raises(InvalidInputError, match="psf: shape"):
            render_sersic((9, 9), psf=psf, **good)
    with pytest.raises(InvalidInputError, match=r"shape: \(0, 5\)"):
        render_sersic((0, 5), **good)
