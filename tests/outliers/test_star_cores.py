"""Cores of bright undersampled stars are not taken for cosmic rays, and cosmic rays are found all the same.

Stars are Gaussians integrated over the pixels in the test itself. Every exposure lies 0.1 pixel away from where its WCS
says, in a random direction.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.special import erf

from skymere.datamodels import Exposure
from skymere.outliers import CosmicRayParams, SecondPassParams, flag_cosmic_rays
from skymere.wcs import Grid, pixel_map

from .stcal_scheme import stcal_masks

SCALE_ARCSEC = 0.1283
SKY, READ_NOISE, EXPTIME = 1.0, 14.0, 500.0
MISALIGNED_PIX = 0.1


@dataclass
class Field:
    exposures: list[Exposure]
    hit: list[NDArray[np.bool_]]
    brightest: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
    """Row and column of the brightest pixel of each star."""


def profile(at: NDArray[np.float64], fwhm: float, side: int) -> NDArray[np.float64]:
    """Shares of the pixels around the nearest one along an axis, ``(n, side)``."""
    sigma = fwhm / 2.3548
    edges = np.arange(side + 1) - side / 2 - (at - np.rint(at))[:, None]
    return np.diff(0.5 * erf(edges / (np.sqrt(2) * sigma)), axis=1)


def star_field(seed: int, *, fwhm: float, n_exposures: int, n_side: int, spacing: int = 13) -> Field:
    """``n_side`` squared stars of 50 to 1000 sigma; some of the exposures' pixels are hit."""
    rng = np.random.default_rng(seed)
    size = n_side * spacing + 12
    node = 6.0 + spacing * (np.arange(n_side) + 0.5)
    y0, x0 = (v.ravel() + rng.uniform(-1.5, 1.5, n_side**2) for v in np.meshgrid(node, node, indexing="ij"))
    noise = np.sqrt(SKY * EXPTIME + READ_NOISE**2) / EXPTIME
    # S/N in the aperture of the PSF: sigma_aperture = noise sqrt(4 pi sigma^2).
    flux = 10 ** rng.uniform(np.log10(60), 3, n_side**2) * noise * np.sqrt(4 * np.pi) * max(fwhm / 2.3548, 0.6)
    field = Field([], [], [])
    for k in range(n_exposures):
        dither = rng.uniform(-3, 3, 2)
        angle = rng.uniform(0, 2 * np.pi)
        off = MISALIGNED_PIX * np.array([np.sin(angle), np.cos(angle)])
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150.0, 2.0]
        wcs.wcs.cdelt, wcs.wcs.crpix = np.array([-1, 1]) * SCALE_ARCSEC / 3600, size / 2 + dither[::-1]
        wcs.wcs.set()
        y, x = y0 + dither[0] + off[0], x0 + dither[1] + off[1]
        rate = np.full((size, size), SKY)
        iy, ix = np.rint(y).astype(int), np.rint(x).astype(int)
        stamps = flux[:, None, None] * profile(y, fwhm, 11)[:, :, None] * profile(x, fwhm, 11)[:, None, :]
        steps = np.arange(11) - 5
        np.add.at(rate, (iy[:, None, None] + steps[:, None], ix[:, None, None] + steps), stamps)
        peak = stamps.reshape(len(stamps), -1).argmax(axis=1)
        field.brightest.append((iy + peak // 11 - 5, ix + peak % 11 - 5))
        electrons = rng.poisson(rate * EXPTIME) + rng.normal(0, READ_NOISE, rate.shape)
        hit = np.zeros(rate.shape, bool)
        for _ in range(size * size // 1500):
            # A short track that deposits more in its first pixels.
            u, v, direction = *rng.uniform(3, size - 4, 2), rng.uniform(0, 2 * np.pi)
            for step in np.arange(rng.integers(1, 4)):
                a, b = int(u + step * np.sin(direction)), int(v + step * np.cos(direction))
                electrons[a, b] += rng.exponential(400.0) + 150.0
                hit[a, b] = True
        field.exposures.append(
            Exposure(
                exposure_id=f"e{k}",
                data=(electrons / EXPTIME).astype(np.float32),
                error=(np.sqrt(np.maximum(electrons, 0) + READ_NOISE**2) / EXPTIME).astype(np.float32),
                dq=np.zeros(rate.shape, np.uint32),
                wcs=wcs,
                exptime=EXPTIME,
                band="f140w",
                sky=SKY,
                read_noise=READ_NOISE,
                native_scale_arcsec=SCALE_ARCSEC,
            )
        )
        field.hit.append(hit)
    return field


def lost_and_found(field: Field, masks: list[NDArray[np.bool_]]) -> tuple[float, float, float]:
    """Share of brightest pixels of stars that were taken for hits, share of hits found, and false pixels of all."""
    lost, found, false = [], [], []
    for hit, mask, (y, x) in zip(field.hit, masks, field.brightest, strict=True):
        clean = ~hit[y, x]
        lost.append(mask[y, x][clean])
        inner = np.s_[6:-6, 6:-6]
        found.append(mask[inner][hit[inner]])
        false.append((mask & ~hit)[inner].ravel())
    return tuple(float(np.concatenate(each).mean()) for each in (lost, found, false))


@pytest.mark.parametrize("fwhm", [1.1, 1.3, 1.5])
def test_cores_of_stars_are_not_rejected(fwhm):
    field = star_field(1, fwhm=fwhm, n_exposures=4, n_side=20)
    lost, found, false = lost_and_found(field, flag_cosmic_rays(field.exposures))
    assert lost <= 1e-3
    assert found > 0.84
    assert false < 1e-4


def peer_scheme(field: Field, factor: float) -> list[NDArray[np.bool_]]:
    """Masks of drizzle + bottleneck + the test of stcal, limits times ``factor``."""
    exposures = field.exposures
    grid = Grid.covering(((e.wcs, e.shape) for e in exposures), scale_arcsec=SCALE_ARCSEC)
    maps = [pixel_map(e.wcs, grid.wcs, e.shape) for e in exposures]
    return stcal_masks(exposures, maps, grid.shape, kernel="turbo", factor=factor)


def last_limits(factor: float) -> CosmicRayParams:
    """The defaults with other limits in the last comparison."""
    second = SecondPassParams()
    snr, scale = (tuple(factor * v for v in pair) for pair in (second.snr, second.scale))
    return CosmicRayParams(second=replace(second, snr=snr, scale=scale))


def at_equal_false(curve: list[tuple[float, float, float]], false: float) -> float:
    """Share of hits found at a share of false pixels."""
    _, found, all_false = np.array(curve).T
    assert all_false.min() < false < all_false.max(), (false, all_false)
    order = np.argsort(all_false)
    # Some limits leave no false pixel at all.
    return float(np.interp(np.log(false + 1e-7), np.log(all_false[order] + 1e-7), found[order]))


@pytest.mark.parametrize("n_exposures", [4, pytest.param(6, marks=pytest.mark.validate)])
def test_as_many_hits_are_found_as_by_drizzle_bottleneck_and_stcal(n_exposures):
    fields = [
        star_field(seed, fwhm=1.8, n_exposures=n_exposures, n_side=8, spacing=40) for seed in range(12 - n_exposures)
    ]
    n_hits = sum(int(hit[6:-6, 6:-6].sum()) for field in fields for hit in field.hit)
    theirs = np.mean([lost_and_found(field, peer_scheme(field, 0.8)) for field in fields], axis=0)
    factors = (0.8, 0.9, 1.0, 1.1, 1.2, 1.35)
    ours = [
        tuple(
            np.mean([lost_and_found(f, flag_cosmic_rays(f.exposures, params=last_limits(k))) for f in fields], axis=0)
        )
        for k in factors
    ]
    found = at_equal_false(ours, theirs[2])
    sigma = float(np.sqrt(theirs[1] * (1 - theirs[1]) / n_hits))
    print(f"\n{n_exposures} exposures, {n_hits} hits: {found:.4f}, peers {theirs[1]:.4f} at {theirs[2]:.1e} false")
    assert found >= theirs[1] - sigma


@pytest.mark.validate
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_exposures", [4, 6, 8])
@pytest.mark.parametrize("fwhm", [1.1, 1.3, 1.5])
def test_cores_of_two_thousand_stars_are_not_rejected_with_any_dither(fwhm, n_exposures):
    schemes = {"default": CosmicRayParams(), "AstroDrizzle": CosmicRayParams(core_scale=0.0, second=None)}
    seen = {name: [] for name in (*schemes, "drizzle, bottleneck, stcal")}
    for seed in range(5):
        field = star_field(seed, fwhm=fwhm, n_exposures=n_exposures, n_side=45)
        for name, params in schemes.items():
            seen[name].append(lost_and_found(field, flag_cosmic_rays(field.exposures, params=params)))
        seen["drizzle, bottleneck, stcal"].append(lost_and_found(field, peer_scheme(field, 1.0)))
    for name, each in seen.items():
        lost, found, false = np.median(each, axis=0)
        print(f"FWHM {fwhm}, {n_exposures} exposures, {name}: lost {lost:.2e}, found {found:.4f}, false {false:.1e}")
    lost, found = ([row[k] for row in seen["default"]] for k in (0, 1))
    assert np.median(lost) <= 1e-3
    assert np.median(found) >= np.median([row[1] for row in seen["drizzle, bottleneck, stcal"]]) - 0.015
