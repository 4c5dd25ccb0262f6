"""An image of the same field with a much broader PSF and larger pixels, such as IRAC's."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from astropy.io import fits
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.io import write_image
from skymere.testing.exposures import blurred_profile, draw_sources
from skymere.testing.scene import BANDS
from skymere.wcs import Grid

__all__ = ["LowResolutionParams", "low_resolution_fluxes", "simulate_low_resolution"]


@dataclass(frozen=True, kw_only=True)
class LowResolutionParams:
    """An image of low resolution.

    Parameters
    ----------
    band : str
        Its name.
    wavelength_um : float
        Its pivot wavelength [um].
    fwhm_arcsec : float
        Width of its Moffat PSF [arcsec].
    scale_arcsec : float
        Pixel [arcsec].
    rotation_deg : float
        Position angle of its y axis [deg].
    size_pix : int
        Side of the image [pix].
    shift_arcsec : tuple of float
        How far its sources lie from their places, to the east and to the north [arcsec].
    rms : float
        Noise of a pixel [uJy].
    sky : float
        Level of the sky [uJy / pix].
    psf_oversampling : int
        Pixels of the image of the PSF per pixel.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    band: str = "irac1"
    wavelength_um: float = 3.55
    fwhm_arcsec: float = 1.7
    scale_arcsec: float = 0.6
    rotation_deg: float = 25.0
    size_pix: int = 320
    shift_arcsec: tuple[float, float] = (0.08, -0.05)
    rms: float = 0.02
    sky: float = 0.5
    psf_oversampling: int = 3

    def __post_init__(self) -> None:
        for name in ("wavelength_um", "fwhm_arcsec", "scale_arcsec", "rms", "size_pix", "psf_oversampling"):
            if not getattr(self, name) > 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)


def low_resolution_fluxes(scene: pl.DataFrame, params: LowResolutionParams) -> NDArray[np.float64]:
    """Return the true fluxes in the band: power laws through the bluest and the reddest filter of the scene [uJy].

    Parameters
    ----------
    scene : polars.DataFrame
        From `draw_scene`.
    params : LowResolutionParams
        The band.
    """
    blue, red = (pick(BANDS, key=lambda band: BANDS[band][1]) for pick in (min, max))
    first, last = BANDS[blue][1], BANDS[red][1]
    ratio = scene[f"flux_{red}"].to_numpy() / scene[f"flux_{blue}"].to_numpy()
    slope = np.log(ratio) / np.log(last / first)
    return np.asarray(scene[f"flux_{red}"].to_numpy() * (params.wavelength_um / last) ** slope)


def simulate_low_resolution(
    scene: pl.DataFrame,
    folder: str | Path,
    *,
    ra: float,
    dec: float,
    params: LowResolutionParams | None = None,
    seed: int = 1,
) -> tuple[Path, Path]:
    """Write ``{band}.fits`` and its PSF ``{band}_psf.fits``; files that exist already are kept.

    Parameters
    ----------
    scene : polars.DataFrame
        From `draw_scene`.
    folder : path-like
        Where to.
    ra, dec : float
        Middle of the image [deg].
    params : LowResolutionParams, optional
        The image.
    seed : int, optional
        Seed of the noise.

    Returns
    -------
    tuple of Path
        The image, in uJy (``ZPAB`` 23.9), and its PSF, which holds the pixel's response.
    """
    p = params or LowResolutionParams()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    image, psf = folder / f"{p.band}.fits", folder / f"{p.band}_psf.fits"
    if not psf.exists():
        hdu = fits.ImageHDU(_psf_image(p), name="PSF")
        hdu.header["OVERSAMP"] = p.psf_oversampling
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(psf)
    if not image.exists():
        grid = Grid.tangent(
            ra, dec, shape=(p.size_pix, p.size_pix), scale_arcsec=p.scale_arcsec, rotation_deg=p.rotation_deg
        )
        data = _drawn(scene, grid, p) + np.random.default_rng([seed, 7]).normal(p.sky, p.rms, grid.shape)
        keywords = {"BUNIT": "uJy", "ZPAB": 23.9, "FILTER": p.band}
        write_image(data.astype(np.float32), image, wcs=grid.wcs, keywords=keywords)
    return image, psf


def _drawn(scene: pl.DataFrame, grid: Grid, p: LowResolutionParams) -> NDArray[np.float64]:
    """Return the noise-free image [uJy / pix]."""
    flux = dict(zip(scene["truth_id"].to_list(), low_resolution_fluxes(scene, p).tolist(), strict=True))
    east, north = (value / 3600.0 for value in p.shift_arcsec)
    moved = scene.with_columns(ra=pl.col("ra") + east / pl.col("dec").radians().cos(), dec=pl.col("dec") + north)
    return draw_sources(
        moved,
        grid.wcs,
        grid.shape,
        flux=lambda source: flux[source["truth_id"]],
        profile=lambda source: blurred_profile(source, p.fwhm_arcsec),
        scale_arcsec=p.scale_arcsec,
    )


def _psf_image(p: LowResolutionParams) -> NDArray[np.float32]:
    """Return the PSF with the response of the pixel."""
    import galsim

    point = blurred_profile({"kind": "star"}, p.fwhm_arcsec)
    seen = galsim.Convolve([point, galsim.Pixel(p.scale_arcsec)])
    side = 2 * int(12 * p.fwhm_arcsec / p.scale_arcsec * p.psf_oversampling / 2) + 1
    stamp = seen.drawImage(nx=side, ny=side, scale=p.scale_arcsec / p.psf_oversampling, method="no_pixel", dtype=float)
    return np.asarray(stamp.array, np.float32)
