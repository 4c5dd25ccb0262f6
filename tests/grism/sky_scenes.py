"""Beams of simulated objects with coordinates of the sky, at several angles."""

from dataclasses import replace

import numpy as np
import polars as pl

from skymere.datamodels import Beam
from skymere.grism import BeamModel, BeamParams, GrismConfig, GrismOrder, MultiBeam
from skymere.testing import GrismSceneParams, simulate_grism
from skymere.wcs import Grid, fits_cards

WAVE = np.linspace(1.0, 1.8, 16001)
RA, DEC = 150.1, 2.2
SCALE = 0.128
PLAIN = BeamParams(sys_err=0.0, fcontam=0.0, mask_resid=False)


def config(slope: float = 0.3) -> GrismConfig:
    """The first order of a grism like G141, more sensitive to the red by a part of the whole."""
    wave = np.linspace(10500.0, 17000.0, 400)
    edge = np.clip((wave - 10500) / 500, 0, 1) * np.clip((17000 - wave) / 500, 0, 1)
    order = GrismOrder(
        name="A",
        form="polynomial",
        terms={
            "reference": [0.0, 0.0],
            "x_offset": [0.0],
            "y_offset": [0.0],
            "dydx": [[2.08, -2e-4, -2.2e-3], [0.0102, -6e-6, -3e-6]],
            "dldp": [[8951.0, 0.08, -0.009], [44.97, 5e-4, 3.6e-3]],
            "degree": 1,
            "wheel": None,
        },
        first=15,
        end=196,
        wavelength=wave,
        sensitivity=1e15 * edge * (1 - slope + slope * (wave - 10500) / 6500),
    )
    return GrismConfig(name="G141", orders={"A": order})


def line(middle: float, flux: float, fwhm_km_s: float = 400.0) -> np.ndarray:
    """A line at an observed wavelength [um]."""
    sigma = middle * fwhm_km_s / 2.99792458e5 / 2.3548
    return flux * np.exp(-0.5 * ((WAVE - middle) / sigma) ** 2) / (sigma * 1e4 * np.sqrt(2 * np.pi))


def camera(angle: float, x: float, y: float, shape: tuple[int, int]) -> Grid:
    """A detector whose pixel (x, y) looks at the object."""
    grid = Grid.tangent(RA, DEC, shape=shape, scale_arcsec=SCALE, rotation_deg=angle)
    wcs = grid.wcs.deepcopy()
    wcs.wcs.crpix = [x + 1, y + 1]
    wcs.wcs.set()
    return Grid(wcs=wcs, shape=shape)


def sources(x: float, y: float, radius: float = 1.5, n: float = 1.0) -> pl.DataFrame:
    """The object."""
    return pl.DataFrame(
        {
            "id": [1],
            "x": [x],
            "y": [y],
            "flux": [20.0],
            "radius_pix": [radius],
            "sersic_n": [n],
            "q": [0.8],
            "pa_deg": [30.0],
        }
    )


def with_sky(beam: Beam, grid: Grid) -> Beam:
    """A beam with the coordinates of its frame, as files have them."""
    part = grid.cutout(beam.origin[0], beam.origin[1], beam.direct.shape)
    cards = "\n".join(str(card) for card in _cards(fits_cards(part.wcs)))
    primary = "\n".join(str(card) for card in _cards({"RA": RA, "DEC": DEC}))
    return replace(beam, headers={"direct": cards, "primary": primary}, direct_filter="F140W", parent="made")


def _cards(values):
    from astropy.io import fits

    header = fits.Header()
    header.update(values)
    return header.cards


def beams(
    angles,
    spectrum,
    *,
    seed: int = 1,
    radius: float = 1.5,
    params: BeamParams = PLAIN,
    noise: float = 1.0,
    extra=None,
    scene: GrismSceneParams | None = None,
    size: int = 28,
) -> MultiBeam:
    """Beams of one object; ``extra(angle, x, y, scene, config)`` adds light to a frame of spectra."""
    rng, conf, models = np.random.default_rng(seed), config(), []
    scene = scene or GrismSceneParams(segment_level=0.002, shape=(110, 330))
    for i, angle in enumerate(angles):
        x, y = 62 + rng.uniform(-0.5, 0.5), 52 + rng.uniform(-0.5, 0.5)
        made = simulate_grism(sources(x, y, radius), {1: (WAVE, spectrum)}, conf, params=scene, seed=seed * 100 + i)
        clean = made.truth[1].copy()
        if extra is not None:
            clean += extra(angle, x, y, scene, conf)
        noisy = clean + noise * made.err * rng.standard_normal(clean.shape)
        frame = replace(made, sci=noisy.astype(np.float32))
        beam = with_sky(frame.beam(1, size=size), camera(angle, x, y, scene.shape))
        # Every angle is an exposure of its own.
        beam = replace(beam, parent=f"made_{i}")
        models.append(BeamModel(beam, conf.orders["A"], params=params))
    return MultiBeam(models)
