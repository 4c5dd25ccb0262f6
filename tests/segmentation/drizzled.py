"""Noise realisations of one field through the whole drizzle."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from skymere.datamodels import Exposure, Mosaic
from skymere.resample import DrizzleParams, NoiseParams, drizzle
from skymere.testing import CameraParams, SceneParams, dithers, draw_scene
from skymere.testing.exposures import SCALE_ARCSEC, camera_wcs, noise_free_image
from skymere.wcs import Grid

BAND = "f160w"
ZERO_POINT = 25.946
RA, DEC = 53.16, -27.78


@dataclass(frozen=True)
class Field:
    """A scene, its noise-free exposures and the mosaic of those, with the covariance of its noise."""

    scene: pl.DataFrame
    rates: list[np.ndarray]
    wcs: list
    camera: CameraParams
    grid: Grid
    truth: Mosaic

    def noisy(self, rng: np.random.Generator) -> Mosaic:
        return replace(_drizzled(self.rates, self.wcs, self.camera, self.grid, rng), noise=self.truth.noise)


def make_field(
    *, side_pix: int, params: SceneParams, exptime: float, n_dithers: int = 4, seed: int = 1, scale_arcsec: float = 0.08
) -> Field:
    camera = CameraParams(shape=(side_pix, side_pix), exptime=exptime)
    scene = draw_scene(RA, DEC, params=params, seed=seed)
    pointings = dithers(RA, DEC, bands=[BAND], n_dithers=n_dithers, step_arcsec=1.0, seed=seed)
    wcs = [camera_wcs(p, camera.shape) for p in pointings]
    rates = [noise_free_image(scene, p, w, camera) for p, w in zip(pointings, wcs, strict=True)]
    side = int(2.0 * params.radius_arcsec / scale_arcsec) + 40
    grid = Grid.tangent(RA, DEC, shape=(side, side), scale_arcsec=scale_arcsec)
    truth = _drizzled(rates, wcs, camera, grid, None)
    return Field(scene, rates, wcs, camera, grid, truth)


def _drizzled(rates, wcs, camera, grid, rng) -> Mosaic:
    exposures = []
    for k, (rate, solution) in enumerate(zip(rates, wcs, strict=True)):
        counts = (rate + camera.sky) * camera.exptime
        if rng is not None:
            counts = rng.poisson(counts) + rng.normal(0.0, camera.read_noise, counts.shape)
        error = np.sqrt(np.maximum(counts, 0.0) + camera.read_noise**2)
        exposures.append(
            Exposure(
                exposure_id=f"e{k}",
                data=(counts / camera.exptime).astype(np.float32),
                error=(error / camera.exptime).astype(np.float32),
                dq=np.zeros(camera.shape, np.uint32),
                wcs=solution,
                exptime=camera.exptime,
                band=BAND,
                native_scale_arcsec=SCALE_ARCSEC,
                read_noise=camera.read_noise,
                sky=camera.sky,
                zero_point_ab=ZERO_POINT,
            )
        )
    noise = NoiseParams(measure=False) if rng is None else None
    return drizzle(exposures, grid, params=DrizzleParams(pixfrac=0.8), noise=noise)
