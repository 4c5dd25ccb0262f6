"""Slitlets with known numbers, and the three real ones with numbers of msaexp 0.9.19."""

import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.slit import GaussianProfile, SlitFrames, evaluate_profile


@dataclass(frozen=True)
class Real:
    """Frames, PSF and reference."""

    frames: SlitFrames
    profile: GaussianProfile
    extra: dict[str, np.ndarray]
    summary: dict[str, Any]
    folder: Path

    @property
    def fits(self) -> dict[str, Any]:
        return self.summary["flagging"]

    @property
    def all_traces(self) -> dict[str, Any]:
        (key,) = (k for k in self.fits if k.startswith("fit_all_traces(niter=4,degree=0"))
        return self.fits[key]


@pytest.fixture(scope="session")
def real(shared_data: Path) -> Real:
    """Arrays of the bare group; the test is skipped where they are absent."""
    folder = shared_data / "spectra"
    if not (folder / "reference" / "msaexp").is_dir():
        pytest.skip(f"reference spectra are not in {folder}")
    summary = json.loads((folder / "reference" / "msaexp" / "slitgroup_summary.json").read_text())
    with fits.open(folder / "reference" / "msaexp" / "slitgroup_bare.fits.gz") as hdul:
        has = {hdu.name: np.ascontiguousarray(hdu.data, dtype=float) for hdu in hdul if hdu.data is not None}
    frames = SlitFrames(
        data=has["SCI"],
        variance=has["VAR_RNOISE"] + has["VAR_POISSON"],
        read_variance=has["VAR_RNOISE"],
        mask=has["MASK"] == 0,
        counted_mask=has["BKG_MASK"] == 0,
        position=summary["geometry"]["y_index"],
        wavelength=has["WAVE"],
        base_coeffs=summary["geometry"]["base_coeffs"],
    )
    psf = pl.read_csv(folder / "nirspec" / "calib" / "nirspec_psf_fwhm.csv")
    profile = GaussianProfile(wave=psf["wave"].to_numpy(), fwhm_pix=psf["fwhm_pix"].to_numpy())
    return Real(frames=frames, profile=profile, extra=has, summary=summary, folder=folder)


PSF = GaussianProfile(wave=[1.0, 5.0], fwhm_pix=[1.2, 1.8])


@dataclass(frozen=True)
class Simulated:
    """Frames with the variances that a pipeline would give, and the truth."""

    frames: SlitFrames
    dwave_dx: np.ndarray
    flux: np.ndarray
    variance: np.ndarray
    light: np.ndarray


@pytest.fixture(scope="session")
def simulate():
    """Return a function that draws three nods of a source behind a bright sky; wavelengths tilt and shift from nod to nod.

    The noise is that of photons, ``k`` of flux each, and of a read-out; variances are read**2 + k times the noisy data, as
    those of pipelines.
    """

    def draw(
        rng, *, flux, nx=200, sky=40.0, read=4.0, k=1.0, offset=0.2, size=0.5, profile=PSF, bad=0.02, step=0.02
    ) -> Simulated:
        shape, x, rows = (3, 25, nx), np.arange(nx), np.arange(25.0)[:, None]
        wave = np.stack([1.0 + step * (x + 0.03 * (rows - 12) + d) for d in (0.0, 0.21, -0.33)])
        values = {
            "read_variance": np.full(shape, read**2),
            "mask": rng.random(shape) < bad,
            "position": [2, 3, 1],
            "wavelength": wave,
            "base_coeffs": [[0.4, 2.3, 12.7], [0.4, 2.3, 17.8], [0.4, 2.3, 7.6]],
        }
        blank = SlitFrames(data=np.zeros(shape), variance=np.ones(shape), **values)
        light = evaluate_profile(blank.with_trace([offset]), profile, size=size)
        spectrum = np.broadcast_to(flux, nx)
        model = spectrum * light + sky
        data = k * rng.poisson(model / k) + rng.normal(0, read, shape)
        frames = SlitFrames(data=data, variance=read**2 + k * np.maximum(data, 0.0), **values)
        return Simulated(
            frames=frames,
            dwave_dx=np.gradient(wave, axis=2),
            flux=spectrum,
            variance=read**2 + k * model,
            light=light,
        )

    return draw


@pytest.fixture(scope="session")
def made():
    """``tests/slit/slitlets.py``."""
    name = "slit_slitlets"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("slitlets.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
