"""The three real slitlets, with numbers of msaexp 0.9.19."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.slit import GaussianProfile, SlitFrames


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
