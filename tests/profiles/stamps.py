"""Stamps of Sersic sources that GalSim draws, in noise."""

from dataclasses import dataclass

import galsim
import numpy as np

INDICES = (0.6, 1.0, 1.5, 2.5, 4.0, 5.5)
_GALSIM = galsim.GSParams(folding_threshold=1e-4, maxk_threshold=1e-4, maximum_fft_size=16384)


@dataclass(frozen=True)
class Stamps:
    """Noise-free sources of unit flux, and what they are."""

    images: np.ndarray
    truth: dict[str, np.ndarray]
    psf: np.ndarray

    def repeated(self, times: int) -> "Stamps":
        """Return every source so many times."""
        truth = {name: np.tile(values, times) for name, values in self.truth.items()}
        return Stamps(images=np.tile(self.images, (times, 1, 1)), truth=truth, psf=self.psf)

    def at(self, s_n: float, *, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return stamps with noise of 1 and S/N = sqrt(sum model^2 / variance), and their parameters."""
        flux = s_n / np.sqrt((self.images**2).sum(axis=(1, 2)))
        noise = np.random.default_rng(seed).normal(size=self.images.shape)
        data = self.images * flux[:, None, None] + noise
        return data.astype(np.float32), self.truth | {"flux": flux, "sky": np.zeros_like(flux)}


def effective_psf(fwhm: float) -> galsim.GSObject:
    """A Moffat PSF with the response of a pixel."""
    moffat = galsim.Moffat(beta=3.5, fwhm=fwhm, gsparams=_GALSIM)
    return galsim.Convolve(moffat, galsim.Pixel(1.0), gsparams=_GALSIM)


def draw(profile: galsim.GSObject, shape: tuple[int, int]) -> np.ndarray:
    image = profile.drawImage(nx=shape[1], ny=shape[0], scale=1.0, method="no_pixel", dtype=float)
    return image.array


def stamps(n_stamps: int, *, re: float, side: int, seed: int, fwhm: float = 3.0) -> Stamps:
    """Draw sources of random index, size (within 35 %), shape, angle and place in the middle pixel."""
    rng = np.random.default_rng(seed)
    truth = {
        "x": (side - 1) / 2 + rng.uniform(-0.5, 0.5, n_stamps),
        "y": (side - 1) / 2 + rng.uniform(-0.5, 0.5, n_stamps),
        "r_eff_pix": re * np.exp(rng.uniform(-0.3, 0.3, n_stamps)),
        "sersic_index": rng.choice(INDICES, n_stamps),
        "ellipticity": rng.uniform(0.02, 0.75, n_stamps),
        "pa": rng.uniform(-90, 90, n_stamps),
    }
    psf = effective_psf(fwhm)
    images = []
    for i in range(n_stamps):
        x, y, radius, index, ellipticity, pa = (values[i] for values in truth.values())
        q = 1 - ellipticity
        source = galsim.Sersic(n=index, half_light_radius=radius * np.sqrt(q), gsparams=_GALSIM)
        seen = galsim.Convolve(source.shear(q=q, beta=(pa + 90) * galsim.degrees), psf, gsparams=_GALSIM)
        images.append(draw(seen.shift(x - (side - 1) / 2, y - (side - 1) / 2), (side, side)))
    return Stamps(images=np.array(images), truth=truth, psf=draw(psf, (61, 61)))
