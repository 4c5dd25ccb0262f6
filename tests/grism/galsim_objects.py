"""Emission-line objects that GalSim drew through two grisms, with free line ratios and a noisy direct image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from skymere.datamodels import Beam
from skymere.grism import BeamModel, BeamParams, FitParams, GrismConfig, GrismOrder, MultiBeam, fit_templates
from skymere.spectra import LineComplex, TemplateSet
from skymere.testing import GrismSceneParams, simulate_grism

WAVE = np.arange(0.7, 1.8, 1e-4)
PARAMS = BeamParams(sys_err=0.0, fcontam=0.0)
# Lines that sources have, with fluxes over that of [OIII] around which theirs scatter: within complexes those of T0.
LINES = {"OIII": 1.0, "Hb": 0.17, "Hg": 0.078, "Hd": 0.044, "Ha": 0.9, "SII": 0.18, "OII": 0.5, "NeIII-3867": 0.1}
SIZE = 20
EXPOSURES = 4
# First and last wavelength [Angstrom], first and last column from the source, dispersion [Angstrom].
GRISMS = {
    "G102": ((8000.0, 11500.0), (41, 248), (6344.0, 24.4)),
    "G141": ((10700.0, 16900.0), (15, 196), (8951.0, 44.97)),
}
# Constant noise of a pixel of the spectra [e/s].
NOISE = 0.02


def config(name: str) -> GrismConfig:
    """The first order of a grism like the real one, whose traces and wavelengths depend on the place."""
    (blue, red), (first, end), (zero, step) = GRISMS[name]
    wave = np.linspace(blue - 300, red + 300, 500)
    shape = np.clip((wave - blue + 200) / 400, 0, 1) * np.clip((red + 200 - wave) / 400, 0, 1)
    order = GrismOrder(
        name="A",
        form="polynomial",
        terms={
            "reference": [0.0, 0.0],
            "x_offset": [0.0],
            "y_offset": [0.0],
            "dydx": [[2.08, -2e-4, -2.2e-3], [0.0102, -6e-6, -3e-6]],
            "dldp": [[zero, 0.08, -0.009], [step, 5e-4, 3.6e-3]],
            "degree": 1,
            "wheel": None,
        },
        first=first,
        end=end,
        wavelength=wave,
        sensitivity=2e16 * shape,
    )
    return GrismConfig(name=name, orders={"A": order})


CONFIGS = {name: config(name) for name in GRISMS}


@dataclass(frozen=True, kw_only=True, eq=False)
class Object:
    """A source with its truth."""

    z: float
    radius: float
    snr: float
    fluxes: dict[str, float]
    errors: dict[str, float]
    beams: list[Beam]

    @property
    def n_lines(self) -> int:
        """Lines above 4 sigma of a fit at the true redshift."""
        return sum(flux > 4 * self.errors.get(name, np.inf) for name, flux in self.fluxes.items())

    def multibeam(self, params: BeamParams = PARAMS) -> MultiBeam:
        """The beams of the object."""
        return MultiBeam([BeamModel(one, CONFIGS[one.grism].orders["A"], params=params) for one in self.beams])


def _line(line: LineComplex, z: float) -> np.ndarray:
    total = np.zeros(WAVE.size)
    for rest, part in zip(line.wave, line.parts, strict=True):
        centre = rest * (1 + z)
        sigma = centre * line.velocity_sigma / 299792.458
        total += part * np.exp(-0.5 * ((WAVE - centre) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma * 1e4)
    return total


def make_object(
    rng: np.random.Generator,
    templates: TemplateSet,
    *,
    radii: Sequence[float] = (1.0, 1.5, 2.0, 3.0),
    snr: tuple[float, float] = (5.0, 60.0),
    z_range: tuple[float, float] = (1.25, 2.2),
    scatter: float = 0.5,
    direct_noise: float = 0.005,
    segment_level: float = 0.001,
    names: Sequence[str] = tuple(GRISMS),
) -> Object:
    """A source whose strongest line is ``snr`` errors bright (uniform in the logarithm), with free line ratios."""
    z, radius = float(rng.uniform(*z_range)), float(rng.choice(radii))
    wanted = float(np.exp(rng.uniform(*np.log(snr))))
    ratios = {name: r * np.exp(scatter * rng.standard_normal()) for name, r in LINES.items()}
    lines = {one.name: one for one in templates.lines}
    shape = sum(ratio * _line(lines[name], z) for name, ratio in ratios.items())
    source = {"sersic_n": 1.0, "q": rng.uniform(0.4, 1.0), "pa_deg": rng.uniform(0, 180), "radius_pix": radius}
    direct_flux = float(np.exp(rng.uniform(np.log(20), np.log(80))))
    # A mean of two templates: what no template has, as below a break, would count as light of lines there.
    continuum = np.zeros(WAVE.size)
    for i in rng.choice(len(templates.continua), 2):
        stars = templates.continua[int(i)]
        drawn = np.interp(WAVE / (1 + z), stars.wave, stars.flux)
        continuum += 2e-19 * drawn / np.interp(1.4, WAVE, drawn)
    beams, units = [], []
    for number in range(EXPOSURES):
        name = names[number % len(names)]
        x, y = SIZE + 5 + rng.uniform(-0.5, 0.5), SIZE + 5 + rng.uniform(-0.5, 0.5)
        turned = source | {"pa_deg": source["pa_deg"] + 40.0 * (number // len(names))}
        table = pl.DataFrame(
            {"id": [1], "x": [x], "y": [y], "flux": [direct_flux]} | {k: [v] for k, v in turned.items()}
        )
        params = GrismSceneParams(
            shape=(2 * SIZE + 10, 2 * SIZE + 20 + GRISMS[name][1][1]),
            oversampling=5,
            segment_level=segment_level,
            direct_noise=direct_noise,
        )
        seed = int(rng.integers(2**31))
        scene = simulate_grism(table, {1: (WAVE, continuum)}, CONFIGS[name], params=params, seed=seed)
        emission = simulate_grism(table, {1: (WAVE, shape)}, CONFIGS[name], params=params, seed=seed)
        flat = replace(
            scene,
            sci=(scene.truth[1] + NOISE * rng.standard_normal(params.shape)).astype(np.float32),
            err=np.full(params.shape, NOISE, np.float32),
        )
        beam = flat.beam(1, size=SIZE)
        y0, x0 = beam.grism_origin
        ny, nx = beam.sci.shape
        beams.append(replace(beam, parent=f"made_{number}"))
        units.append(emission.truth[1][y0 : y0 + ny, x0 : x0 + nx])
    empty = Object(z=z, radius=radius, snr=wanted, fluxes={}, errors={}, beams=beams)
    fit = fit_templates(empty.multibeam(), z, templates=templates, params=FitParams(fitter="lstsq"))
    n = fit.n_continua
    errors = {one[5:]: float(np.sqrt(fit.covariance[n + i, n + i])) for i, one in enumerate(fit.names[n:])}
    errors = {name: error for name, error in errors.items() if error > 0}
    total = wanted / max(ratio / errors.get(name, np.inf) for name, ratio in ratios.items())
    lit = [
        replace(one, sci=(one.sci + total * unit).astype(np.float32)) for one, unit in zip(beams, units, strict=True)
    ]
    fluxes = {name: float(total * ratio) for name, ratio in ratios.items()}
    return replace(empty, fluxes=fluxes, errors=errors, beams=lit)
