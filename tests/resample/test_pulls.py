"""Aperture fluxes: (noisy - noise-free) / sigma on blank sky and on bright sources, and fluxes over a distorted field."""

import numpy as np
import pytest
from drizzle.resample import Drizzle
from scipy.special import erf

from skymere.datamodels import Exposure
from skymere.resample import DrizzleParams, Drizzler, NoiseParams, drizzle, predict_sums
from skymere.wcs import Grid

RADII = (2.0, 4.0, 7.0, 12.0, 20.0)
NATIVE_ARCSEC, SKY, READ_NOISE = 0.128, 0.8, 12.0
EXPTIMES = (250.0, 400.0, 300.0, 600.0)
N_SIDE = 10
SPACING_PIX = 46
MORE_PIX = 20


def pixel_integrals(shape, y, x, fwhm, flux):
    """Gaussian stars integrated over square pixels."""
    width = np.sqrt(2) * fwhm / 2.3548

    def along(n, at):
        edges = erf((np.arange(n + 1) - 0.5 - np.asarray(at)[:, np.newaxis]) / width)
        return 0.5 * np.diff(edges, axis=1)

    return np.einsum("s,sy,sx->yx", flux, along(shape[0], y), along(shape[1], x), optimize=True)


class Scene:
    """100 bright stars and 100 places of blank sky, on as many output pixels at any scale."""

    def __init__(self, scale_arcsec, seed=1):
        rng = np.random.default_rng(seed)
        ratio = scale_arcsec / NATIVE_ARCSEC
        size = np.array([N_SIDE, 2 * N_SIDE]) * (SPACING_PIX + MORE_PIX)
        self.grid = Grid.tangent(150.0, 2.0, shape=tuple(size + 60), scale_arcsec=scale_arcsec)
        # On a lattice all places could have the same phase of the pattern that turned grids make with one another.
        rows, columns = (
            30 + np.cumsum(SPACING_PIX + rng.uniform(0, MORE_PIX, n), axis=-1) - SPACING_PIX / 2
            for n in (N_SIDE, (N_SIDE, 2 * N_SIDE))
        )
        places = np.column_stack([np.repeat(rows, 2 * N_SIDE), columns.ravel()])
        is_star = np.tile(np.arange(2 * N_SIDE) < N_SIDE, N_SIDE)
        self.centres = {"source": places[is_star], "blank": places[~is_star]}
        stars = self.centres["source"]
        sky = self.grid.sky(stars[:, 1], stars[:, 0])
        flux = rng.uniform(400.0, 1500.0, len(stars))
        shape = tuple((ratio * (size + 60) + 40).astype(int))
        self.rates, self.wcs = [], []
        for _ in EXPTIMES:
            shift = rng.uniform(-1, 1, 2) * NATIVE_ARCSEC / 3600
            detector = Grid.tangent(
                150.0 + shift[0],
                2.0 + shift[1],
                shape=shape,
                scale_arcsec=NATIVE_ARCSEC,
                rotation_deg=rng.uniform(-3, 3),
            )
            x, y = detector.pixels(*sky)
            self.rates.append(pixel_integrals(shape, y, x, 1.3, flux) + SKY)
            self.wcs.append(detector.wcs)
        self.bad = [(rng.random(shape) < 0.01).astype(np.uint32) for _ in EXPTIMES]

    def exposures(self, rng=None):
        """Noisy exposures with the errors that their own counts say, or those without noise."""
        out = []
        for k, (rate, exptime) in enumerate(zip(self.rates, EXPTIMES, strict=True)):
            counts = rate * exptime
            if rng is not None:
                counts = rng.poisson(counts) + rng.normal(0.0, READ_NOISE, counts.shape)
            error = np.sqrt(np.maximum(counts, 0.0) + READ_NOISE**2)
            out.append(
                Exposure(
                    exposure_id=f"e{k}",
                    data=(counts / exptime).astype(np.float32),
                    error=(error / exptime).astype(np.float32),
                    dq=self.bad[k],
                    wcs=self.wcs[k],
                    exptime=exptime,
                    band="f140w",
                    native_scale_arcsec=NATIVE_ARCSEC,
                    read_noise=READ_NOISE,
                    sky=SKY,
                )
            )
        return out


def pulls_of(places, scale_arcsec, weight, *, n_realisations, with_kernels):
    """Pulls with the exact sigma, and with that of the class kernels; and the S/N of the stars' apertures."""
    scene = Scene(scale_arcsec)
    params = DrizzleParams(pixfrac=0.8)
    truth = drizzle(scene.exposures(), scene.grid, params=params, weight=weight, noise=NoiseParams(measure=False))
    cells = [(what, radius) for what in ("source", "blank") for radius in RADII]
    stamps = [places.circle(y, x, radius) for what, radius in cells for y, x in scene.centres[what]]
    expected = np.array([places.sum_in(truth.data, stamp) for stamp in stamps])
    sigma = np.sqrt(predict_sums(scene.exposures(), truth, stamps))
    rng = np.random.default_rng([7, round(1000 * scale_arcsec)])
    pulls = {"exact": []} | ({"class": []} if with_kernels else {})
    for _ in range(n_realisations):
        exposures = scene.exposures(rng)
        mosaic = drizzle(exposures, scene.grid, params=params, weight=weight)
        assert np.array_equal(mosaic.weight, truth.weight)
        offset = np.array([places.sum_in(mosaic.data, stamp) for stamp in stamps]) - expected
        pulls["exact"].append(offset / np.sqrt(predict_sums(exposures, mosaic, stamps)))
        if with_kernels:
            by_class = [
                truth.noise.sum_variance(u, mosaic.variance[at], y0=y0, x0=x0, weight=mosaic.weight[at])
                for y0, x0, u in stamps
                for at in [np.s_[y0 : y0 + len(u), x0 : x0 + len(u)]]
            ]
            pulls["class"].append(offset / np.sqrt(by_class))
    shape = (n_realisations, len(cells), N_SIDE**2)
    by_cell = {
        (kind, *cell): np.array(found).reshape(shape)[:, k]
        for kind, found in pulls.items()
        for k, cell in enumerate(cells)
    }
    ratio = (expected / sigma).reshape(shape[1:])
    return by_cell, {cell: ratio[k] for k, cell in enumerate(cells)}


def check(places, scale_arcsec, weight, **settings):
    pulls, signal_to_noise = pulls_of(places, scale_arcsec, weight, **settings)
    for (kind, what, radius), values in pulls.items():
        print(
            f"{scale_arcsec} arcsec, {weight}, {what}, r = {radius:g}, {kind} sigma: pull {values.mean():+.3f} "
            f"+- {values.std():.3f} of {values.size}"
        )
    for (kind, what, radius), values in pulls.items():
        cell = (kind, what, radius)
        assert values.size >= 2000
        assert values.std() == pytest.approx(1.0, abs=0.05), cell
        assert abs(values.mean()) < 0.08, cell
        if what == "source":
            assert signal_to_noise[what, radius].min() > 100


@pytest.mark.validate
@pytest.mark.parametrize("weight", ["exposure_time", "inverse_variance"])
@pytest.mark.parametrize("scale_arcsec", [0.05, 0.08, 0.128])
def test_pulls_of_aperture_fluxes_are_one_at_every_scale(places, scale_arcsec, weight):
    check(places, scale_arcsec, weight, n_realisations=40, with_kernels=weight == "exposure_time")


def test_pulls_of_aperture_fluxes_are_one_on_sky_and_on_sources(places):
    check(places, 0.06, "exposure_time", n_realisations=20, with_kernels=False)


def on_output(y, x, shift=(0.0, 0.0)):
    """A map with 12 % between the smallest and the largest pixel; positions x, y of the output."""
    u, v = x - 59.5 + shift[0], y - 59.5 + shift[1]
    return 130.0 + 2.0 * (u + 2e-4 * u * v + 3e-4 * u * u), 125.0 + 2.0 * (v + 4e-4 * v * v - 2e-4 * u * v)


def drizzled_fluxes(stars, shifts, pixfrac):
    """Fluxes of stars of flux 1, from skymere and from PyPI drizzle.

    The data are flat-fielded: a pixel holds the mean surface brightness in it.
    """
    shape, fine, sigma = (120, 120), 5, 2.5
    y, x = np.indices(shape, dtype=float)
    at = (np.arange(fine) + 0.5) / fine - 0.5
    drizzler = Drizzler((260, 300), params=DrizzleParams(pixfrac=pixfrac, fillval=0.0))
    peer = Drizzle(kernel="square", out_shape=(260, 300), fillval=0.0)
    places = [on_output(np.array(j), np.array(i)) for j, i in stars]
    for shift in shifts:
        image = np.zeros(shape)
        for dy in at:
            for dx in at:
                sx, sy = on_output(y + dy, x + dx, shift)
                for x0, y0 in places:
                    image += np.exp(-0.5 * ((sx - x0) ** 2 + (sy - y0) ** 2) / sigma**2) / fine**2
        pixmap = np.stack(on_output(y, x, shift), axis=-1)
        image = (image / (2 * np.pi * sigma**2)).astype(np.float32)
        drizzler.add(image, pixmap, pixel_scale_ratio=0.5)
        peer.add_image(image, exptime=1.0, pixmap=pixmap, pixfrac=pixfrac, pixel_scale_ratio=0.5, in_units="cps")
    v, u = np.indices(peer.out_img.shape)
    return [
        np.array([found[np.hypot(v - y0, u - x0) < 18].sum(dtype=float) for x0, y0 in places])
        for found in (drizzler.finish().data, peer.out_img)
    ]


def test_fluxes_of_stars_are_the_same_over_a_distorted_field():
    stars = [(j, i) for j in (20.3, 60.2, 99.6) for i in (19.7, 59.9, 100.4)]
    dithers = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)]
    for shifts in (dithers[:1], dithers):
        assert drizzled_fluxes(stars, shifts, 1.0)[0] == pytest.approx(np.ones(9), abs=1e-3)
    # Gaps between small drops give some pixels of the detector more room on the output than others, in drizzle too.
    small, peer = drizzled_fluxes(stars, dithers, 0.8)
    assert small == pytest.approx(peer, rel=1e-6)
    print(f"pixfrac 0.8, 4 dithers: fluxes {small.min():.4f} to {small.max():.4f} of those with pixfrac 1")
    assert small == pytest.approx(np.ones(9), abs=0.03)
