"""A field of dithered exposures with apertures in its interior, at its edge and beside holes."""

from dataclasses import dataclass

import numpy as np

from skymere.datamodels import Exposure, Mosaic
from skymere.resample import DrizzleParams, NoiseParams, drizzle
from skymere.wcs import Grid

PLACES = ("interior", "edge", "hole")
RADII = (2.0, 4.0, 7.0, 12.0)
SIDE = 112
NATIVE_ARCSEC, SCALE_ARCSEC = 0.128, 0.05
RATIO = SCALE_ARCSEC / NATIVE_ARCSEC
_SUBPIXELS = 8


def circle(y, x, radius):
    """Row and column of a stamp, and the overlaps of its pixels with a circle."""
    half = int(np.ceil(radius)) + 1
    y0, x0 = int(np.rint(y)) - half, int(np.rint(x)) - half
    at = (np.arange((2 * half + 1) * _SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5
    inside = np.hypot((y0 + at - y)[:, np.newaxis], x0 + at - x) < radius
    return y0, x0, inside.reshape(2 * half + 1, _SUBPIXELS, -1, _SUBPIXELS).mean(axis=(1, 3))


def sum_in(image, aperture):
    y0, x0, u = aperture
    return (u * np.where(u == 0, 0, image[y0 : y0 + u.shape[0], x0 : x0 + u.shape[1]])).sum(dtype=float)


@dataclass(frozen=True)
class Field:
    """The exposures, the output, and the centres of the 25 apertures of each place."""

    exposures: list[Exposure]
    grid: Grid
    centres: dict[str, list[tuple[float, float]]]

    def mosaic(self, exposures, *, noise: NoiseParams | None = None, **params) -> Mosaic:
        return drizzle(exposures, self.grid, params=DrizzleParams(**params), noise=noise)

    def apertures(self, mosaic, place, radius):
        """The apertures of a place; pixels without weight do not count."""
        out = []
        for y, x in self.centres[place]:
            y0, x0, u = circle(y, x, radius)
            out.append((y0, x0, u * mosaic.covered[y0 : y0 + u.shape[0], x0 : x0 + u.shape[1]]))
        return out

    def noisy(self, rng):
        """The same exposures with noise of the variance that they state."""
        return [
            Exposure(**{**vars(e), "data": (rng.normal(size=e.shape) * e.error).astype(np.float32)})
            for e in self.exposures
        ]


def make_field(seed: int = 1, *, n: int = 6) -> Field:
    rng = np.random.default_rng(seed)
    cells = 17 + 11 * np.stack(np.meshgrid(np.arange(8), np.arange(8), indexing="ij"), axis=-1).reshape(-1, 2)
    is_hole = np.indices((8, 8)).sum(axis=0).ravel() % 2 == 0
    holes, free = cells[is_hole][:25], cells[~is_hole][:25]
    exposures = []
    for k in range(n):
        shift = rng.uniform(-1.5, 1.5, 2) * NATIVE_ARCSEC / 3600
        detector = Grid.tangent(
            150.0 + shift[0],
            2.0 + shift[1],
            shape=(SIDE, SIDE),
            scale_arcsec=NATIVE_ARCSEC,
            rotation_deg=25.0 + rng.uniform(-1, 1),
        )
        exptime = 100.0 * (1 + 0.3 * k)
        dq = (rng.random((SIDE, SIDE)) < 0.01).astype(np.uint32)
        for j, i in holes:
            dq[j - 2 : j + 2, i - 2 : i + 2] = 1
        exposures.append(
            Exposure(
                exposure_id=f"e{k}",
                data=np.zeros((SIDE, SIDE), np.float32),
                error=np.sqrt(rng.uniform(0.7, 1.3, (SIDE, SIDE)) / exptime).astype(np.float32),
                dq=dq,
                wcs=detector.wcs,
                exptime=exptime,
                band="f140w",
                native_scale_arcsec=NATIVE_ARCSEC,
            )
        )
    side = 2 * int(0.7 * SIDE / RATIO) + 40
    grid = Grid.tangent(150.0, 2.0, shape=(side, side), scale_arcsec=SCALE_ARCSEC)
    turn = np.arange(25) * 2.4
    around = np.linspace(0, 4, 25, endpoint=False) + 0.08
    along, where = (around % 1) * (SIDE - 1), around.astype(int)
    inset = 2.0
    border = np.stack(
        [
            np.choose(where, [np.full(25, inset), along, np.full(25, SIDE - 1 - inset), SIDE - 1 - along]),
            np.choose(where, [along, np.full(25, SIDE - 1 - inset), SIDE - 1 - along, np.full(25, inset)]),
        ],
        axis=-1,
    )
    detector_positions = {
        "interior": free + rng.uniform(-0.5, 0.5, (25, 2)),
        "edge": border,
        "hole": holes - 0.5 + 3.0 * np.stack([np.sin(turn), np.cos(turn)], axis=-1),
    }
    centres = {}
    for place, at in detector_positions.items():
        sky = exposures[0].wcs.pixel_to_world_values(at[:, 1], at[:, 0])
        x, y = grid.pixels(*sky)
        centres[place] = list(zip(y.tolist(), x.tolist(), strict=True))
    return Field(exposures, grid, centres)
