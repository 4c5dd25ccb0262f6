"""A field of stars in two filters, with truth, for tests of thumbnails."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from skymere.datamodels import Exposure
from skymere.resample import Geometry
from skymere.testing import BANDS, CameraParams, Pointing, SceneParams, draw_scene, render_exposure
from skymere.testing.exposures import SCALE_ARCSEC

RA, DEC = 40.0, 5.0
SKY, EXPTIME, READ_NOISE = 0.6, 600.0, 14.0
CAMERA = CameraParams(
    shape=(230, 240), exptime=EXPTIME, sky=SKY, read_noise=READ_NOISE, n_cosmic_rays=0, n_bad_pixels=0, n_dead_pixels=0
)


@dataclass(frozen=True)
class Scene:
    """Noise-free exposures, whose errors are those that noise would have, and where the stars are."""

    exposures: list[Exposure]
    stars: pl.DataFrame

    def noisy(self, rng: np.random.Generator) -> list[Exposure]:
        """The same exposures with counts drawn, and errors from these counts as calibrated files have them."""
        out = []
        for one in self.exposures:
            counts = rng.poisson(one.data * EXPTIME) + rng.normal(0.0, READ_NOISE, one.shape)
            error = np.sqrt(np.maximum(counts, 0.0) + READ_NOISE**2) / EXPTIME
            out.append(replace(one, data=(counts / EXPTIME).astype(np.float32), error=error.astype(np.float32)))
        return out

    def flux(self, band: str) -> np.ndarray:
        """True flux of each star [electron / s]."""
        return 10.0 ** (-0.4 * (self.stars[f"mag_{band}"].to_numpy() - BANDS[band][0]))


def make_scene(*, n_dithers: int = 6, n_stars: int = 6, mag: float = 21.0, seed: int = 3) -> Scene:
    params = SceneParams(n_galaxies=0, n_stars=n_stars, radius_arcsec=6.0, bright_mag=20.0, faint_mag=21.0)
    stars = draw_scene(RA, DEC, params=params, seed=seed)
    stars = stars.with_columns(*(pl.lit(mag).alias(f"mag_{band}") for band in ("f125w", "f160w")))
    rng = np.random.default_rng(seed)
    exposures = []
    for band, pa in (("f125w", 20.0), ("f160w", 31.0)):
        for i in range(n_dithers):
            east, north = rng.uniform(-1.0, 1.0, 2) / 3600.0
            where = {"ra": RA + east, "dec": DEC + north, "pa_deg": pa + rng.normal(0.0, 0.5)}
            pointing = Pointing(name=f"{band}{i}", band=band, **where)
            rendered = render_exposure(stars, pointing, params=CAMERA)
            data = (rendered["truth"] + SKY).astype(np.float32)
            error = np.sqrt(data * EXPTIME + READ_NOISE**2) / EXPTIME
            exposures.append(
                Exposure(
                    exposure_id=pointing.name,
                    data=data,
                    error=error.astype(np.float32),
                    dq=np.zeros(data.shape, np.uint32),
                    dq_bits={"hot": 1},
                    wcs=rendered["wcs"],
                    exptime=EXPTIME,
                    band=band,
                    instrument="WFC3",
                    detector="IR",
                    read_noise=READ_NOISE,
                    zero_point_ab=BANDS[band][0],
                    photplam=BANDS[band][1] * 1e4,
                    native_scale_arcsec=SCALE_ARCSEC,
                    sky=SKY,
                )
            )
    return Scene(exposures=exposures, stars=stars)


SQUARE = Geometry(kernel="square", pixfrac=0.8, pixscale=0.07695, size=4.0)
FWHM = CameraParams().psf_fwhm_arcsec
LONGEST = max(pivot for _, pivot in BANDS.values())


def fwhm(band):
    """The simulator's PSF is a Moffat of beta 3 whose width goes with wavelength."""
    return FWHM * BANDS[band][1] / LONGEST


def positions(scene):
    return scene.stars.select(pl.int_range(11, 11 + pl.len()).alias("id"), "ra", "dec")


def centroid(image):
    """First moments after the flux outside of 1 arcsec was left out."""
    y, x = np.indices(image.shape)
    return float((image * x).sum() / image.sum()), float((image * y).sum() / image.sum())


def in_circle(image, x, y, radius):
    yy, xx = np.indices(image.shape)
    return float(image[np.hypot(xx - x, yy - y) < radius].sum(dtype=float))


def alone(scene, least_arcsec):
    """Stars without a neighbour."""
    ra, dec = scene.stars["ra"].to_numpy(), scene.stars["dec"].to_numpy()
    apart = np.hypot((ra[:, None] - ra) * np.cos(np.deg2rad(DEC)), dec[:, None] - dec) * 3600.0
    return [k for k in range(len(ra)) if (np.sort(apart[k])[1:] > least_arcsec).all()]
