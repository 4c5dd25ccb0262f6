"""Simulated beams of emitters, GalSim scenes through the real configurations of G102 and G141, as files for both sides."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from astropy.io import fits
from tests.grism.emitters import WAVE, spectrum, truth

from skymere.datamodels import Beam
from skymere.io import beam_position, read_beam_file, read_config, write_beam_file
from skymere.spectra import TemplateSet
from skymere.testing import GrismSceneParams, simulate_grism

CONFIGS = ("G102.F098M.V4.32.conf", "G141.F140W.V4.32.conf")
REAL = Path("wfc3") / "j033216m2743_00152.beams.fits"
# Where the source is in every frame, before its dither [pix], and half a cutout.
X, Y, SIZE = 40.0, 50.0, 20


def _turned(header: str, angle: float, at: tuple[float, float], sky: tuple[float, float]) -> str:
    """Return a header whose coordinates are turned around a pixel (from 1) at a place of the sky [deg]."""
    cards = fits.Header.fromstring(header, sep="\n")
    for key in [key for key in cards if key[:2] in ("A_", "B_") and key[2:3].isdigit()]:
        del cards[key]
    cards.update({"A_ORDER": 0, "B_ORDER": 0, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    for key in ("A_ORDER", "B_ORDER"):
        del cards[key]
    cos, sin = np.cos(angle), np.sin(angle)
    cd = np.array([[cards[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)]) @ [[cos, -sin], [sin, cos]]
    for i in (1, 2):
        cards[f"CRPIX{i}"], cards[f"CRVAL{i}"] = at[i - 1], sky[i - 1]
        for j in (1, 2):
            cards[f"CD{i}_{j}"] = cd[i - 1, j - 1]
    return cards.tostring(sep="\n", padding=False, endcard=False)


def simulated_beams(
    folder: Path, path: Path, templates: TemplateSet, *, n_exposures: int, n_angles: int, z: float = 1.6, seed: int = 1
) -> Path:
    """Write the beams of one emitter in exposures of both grisms, each with a sub-pixel place of its own."""
    real = read_beam_file(folder / REAL)
    rng = np.random.default_rng(seed)
    lines = {"OIII+Hb+Hg+Hd": 3e-16, "OII+Ne": 1e-16}
    known = {one.name for one in templates.lines}
    flux = spectrum(templates, z, truth(templates, z, lines={k: v for k, v in lines.items() if k in known}))
    made: list[Beam] = []
    for i in range(n_exposures):
        turn = np.pi * (i % n_angles) / (1.5 * n_angles)
        for like, name in zip(real, CONFIGS, strict=True):
            x, y = X + rng.uniform(-4, 4), Y + rng.uniform(-4, 4)
            row = {"id": 1, "x": x, "y": y, "flux": 20.0, "radius_pix": 2.0, "sersic_n": 1.0, "q": 0.6}
            source = pl.DataFrame([row | {"pa_deg": 30.0 - np.rad2deg(turn)}])
            config = read_config(folder / "grizli" / "CONF" / name)
            params = GrismSceneParams(shape=(100, 340), oversampling=5)
            scene = simulate_grism(source, {1: (WAVE, flux)}, config, params=params, seed=seed + len(made))
            beam = scene.beam(1, size=SIZE)
            at = (beam.center_offset[0] + SIZE, beam.center_offset[1] + SIZE)
            headers, sky = dict(like.headers), beam_position(like)
            assert sky is not None
            for kind in ("direct", "grism"):
                headers[kind] = _turned(headers[kind], turn, at, sky)
            made.append(
                replace(
                    like,
                    **{key: getattr(beam, key) for key in ("source_id", "direct", "segmentation", "sci", "err", "dq")},
                    **{key: getattr(beam, key) for key in ("contam", "origin", "grism_origin", "center_offset")},
                    pad=(0, 0),
                    direct_planes={},
                    headers=headers,
                    parent=f"sim{i:02d}_flt.fits",
                )
            )
    write_beam_file(path, made)
    return path
