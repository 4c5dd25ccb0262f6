"""Exposures of a large tile, written cheaply: noise that repeats itself, and stars on a grid of the sky."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from skymere.testing.exposures import BANDS, SCALE_ARCSEC, Pointing, camera_wcs
from skymere.wcs import wcs_cards

RA, DEC = 150.0, 2.0
EXPTIME, SKY, READ_NOISE = 800.0, 0.8, 12.0
# Half the side of the stamp of a star, and its width [pix].
HALF, SIGMA = 6, 0.9


@dataclass(frozen=True)
class LargeTile:
    """A square of the sky that is covered by dithered exposures.

    Parameters
    ----------
    width_pix : int
        Side of the tile [pix].
    scale_arcsec : float
        Side of its pixels [arcsec].
    bands : tuple of str
        Filters.
    n_dithers : int
        Exposures of each place and band.
    detector_pix : int
        Side of the detector, whose pixels are 0.13 arcsec.
    step_arcsec : float
        Distance of the stars [arcsec].
    """

    width_pix: int
    scale_arcsec: float = 0.03
    bands: tuple[str, ...] = ("f160w",)
    n_dithers: int = 2
    detector_pix: int = 1000
    step_arcsec: float = 6.0

    @property
    def side_arcsec(self) -> float:
        return self.width_pix * self.scale_arcsec

    def write(self, folder: Path) -> int:
        """Write the exposures into ``exposures``; returns how many there are."""
        (folder / "exposures").mkdir(parents=True)
        rng = np.random.default_rng(11)
        noise = rng.normal(size=(self.detector_pix + 50, self.detector_pix + 50)).astype(np.float32)
        # Places overlap by a tenth.
        n_places = int(np.ceil(self.side_arcsec / (0.9 * self.detector_pix * SCALE_ARCSEC)))
        offsets = (np.arange(n_places) + 0.5) / n_places * self.side_arcsec - self.side_arcsec / 2
        n = 0
        for band in self.bands:
            for east in offsets:
                for north in offsets:
                    for _ in range(self.n_dithers):
                        shift = rng.uniform(-2.0, 2.0, 2)
                        pointing = Pointing(
                            name=f"big{n:05d}q",
                            band=band,
                            ra=RA + (east + shift[0]) / 3600 / np.cos(np.deg2rad(DEC)),
                            dec=DEC + (north + shift[1]) / 3600,
                            pa_deg=0.0,
                        )
                        at = rng.integers(0, 50, 2)
                        self._write(folder / "exposures" / f"{pointing.name}_flt.fits", pointing, noise, at)
                        n += 1
        return n

    def _write(self, path: Path, pointing: Pointing, noise: np.ndarray, at: np.ndarray) -> None:
        shape = (self.detector_pix, self.detector_pix)
        wcs = camera_wcs(pointing, shape)
        light = np.zeros((shape[0] + 2 * HALF + 1, shape[1] + 2 * HALF + 1), np.float32)
        for x, y, flux in self._stars(wcs, shape):
            i, j = int(np.floor(x)), int(np.floor(y))
            along = [np.exp(-((np.arange(-HALF, HALF + 1) - v) ** 2) / (2 * SIGMA**2)) for v in (y - j, x - i)]
            stamp = np.outer(*along)
            light[j : j + 2 * HALF + 1, i : i + 2 * HALF + 1] += flux / stamp.sum() * stamp
        light = light[HALF : HALF + shape[0], HALF : HALF + shape[1]]
        sigma = np.sqrt((light + SKY) * EXPTIME + READ_NOISE**2) / EXPTIME
        data = light + SKY + sigma * noise[at[0] : at[0] + shape[0], at[1] : at[1] + shape[1]]
        zero_point, pivot = BANDS[pointing.band]
        flam = 10.0 ** (-0.4 * (zero_point + 5.0 * np.log10(pivot * 1e4) + 2.408))
        primary = fits.PrimaryHDU()
        words = {"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "IR", "FILTER": pointing.band.upper()}
        words |= {"ROOTNAME": pointing.name, "EXPTIME": EXPTIME, "PHOTFLAM": flam, "PHOTPLAM": pivot * 1e4}
        words |= {f"READNSE{amp}": READ_NOISE for amp in "ABCD"} | {"SIMULATE": True}
        primary.header.update(words)
        planes = {"SCI": data.astype(np.float32), "ERR": sigma.astype(np.float32), "DQ": np.zeros(shape, np.int16)}
        hdus = [fits.ImageHDU(plane, name=name) for name, plane in planes.items()]
        hdus[0].header.update(wcs_cards(wcs))
        hdus[0].header["BUNIT"] = "ELECTRONS/S"
        hdus[0].header["IDCSCALE"] = SCALE_ARCSEC
        fits.HDUList([primary, *hdus]).writeto(path)

    def _stars(self, wcs, shape: tuple[int, int]):
        """Yield place and flux of the stars on a detector."""
        n = int(self.side_arcsec / self.step_arcsec)
        k = (np.arange(n) - (n - 1) / 2) * self.step_arcsec / 3600
        ra, dec = (v.ravel() for v in np.meshgrid(RA + k / np.cos(np.deg2rad(DEC)), DEC + k))
        # Places and fluxes are those of the star, whatever looks at it.
        rng = np.random.default_rng(5)
        jitter = rng.uniform(-1.0, 1.0, (2, n * n)) / 3600
        flux = 10.0 ** rng.uniform(0.3, 2.0, n * n)
        x, y = wcs.all_world2pix(ra + jitter[0], dec + jitter[1], 0)
        near = (x > 0) & (x < shape[1] - 1) & (y > 0) & (y < shape[0] - 1)
        yield from zip(x[near], y[near], flux[near], strict=True)
