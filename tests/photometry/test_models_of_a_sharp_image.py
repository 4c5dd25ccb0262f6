"""Models fitted on a sharp image, measured in an IRAC-like band: bias, scatter and pulls of the whole chain.

GalSim draws the same galaxies twice: on pixels of 0.06 arcsec with a FWHM of 2.5 of them, and on rotated ones of 0.6
arcsec with a FWHM of 1.7 arcsec and an unknown shift.
"""

import galsim
import numpy as np
import polars as pl
import pytest

from skymere.photometry import PhotometryParams, ShiftParams, forced_photometry
from skymere.profiles import fit_sersic
from skymere.segmentation import MeasureImage
from skymere.wcs import Grid

from . import scenes

SHARP, HALF, SHIFT = 0.06, 40, (0.09, -0.06)
PARAMS = PhotometryParams(shift=ShiftParams(method="joint"), has_shape_errors=True)


def galaxies(rng: np.random.Generator, grid: Grid, n: int) -> pl.DataFrame:
    """Places no closer to each other than a stamp of the sharp image, in the blurred band they overlap."""
    places: list[tuple[float, float]] = []
    while len(places) < n:
        one = tuple(rng.uniform(7, grid.shape[0] - 8, 2))
        if all(np.hypot(one[0] - x, one[1] - y) > 4.0 for x, y in places):
            places.append(one)
    ra, dec = grid.sky(*np.array(places).T)
    return pl.DataFrame(
        {
            "source_id": np.arange(n),
            "ra": ra,
            "dec": dec,
            "kind": ["sersic"] * n,
            "r_eff": 10 ** rng.uniform(-0.85, -0.4, n),
            "sersic_index": rng.choice([0.7, 1.0, 1.5, 2.5], n),
            "ellipticity": rng.uniform(0.1, 0.6, n),
            "pa_sky": rng.uniform(0.0, 180.0, n),
        }
    )


class Sky:
    """Galaxies in both images without noise, and what fits on the sharp one need."""

    def __init__(self, n: int, side: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.grid = scenes.make_grid("rotated", side)
        self.models = galaxies(rng, self.grid, n)
        self.flux = 10 ** rng.uniform(1.9, 3.2, n)
        band_psf = galsim.Convolve(galsim.Moffat(beta=3.5, fwhm=1.7 / 0.6, trunc=25), galsim.Pixel(1.0))
        self.truth = scenes.draw_truth(self.grid, self.models, self.flux, band_psf, SHIFT)
        self.psf = band_psf.drawImage(nx=61, ny=61, scale=1.0, method="no_pixel", dtype=float).array
        sharp_psf = galsim.Convolve(galsim.Moffat(beta=3.0, fwhm=2.5, trunc=18), galsim.Pixel(1.0))
        self.sharp_psf = sharp_psf.drawImage(nx=61, ny=61, scale=1.0, method="no_pixel", dtype=float).array
        self.sharp = Grid.tangent(scenes.RA, scenes.DEC, shape=(side * 10, side * 10), scale_arcsec=SHARP)
        x, y = self.sharp.pixels(self.models["ra"].to_numpy(), self.models["dec"].to_numpy())
        self.corner = np.stack([np.round(x) - HALF, np.round(y) - HALF], axis=-1)
        small = (2 * HALF + 1, 2 * HALF + 1)
        self.stamps = np.array(
            [
                scenes.draw_truth(
                    self.sharp.cutout(int(self.corner[k, 1]), int(self.corner[k, 0]), small),
                    self.models[k],
                    self.flux[k : k + 1],
                    sharp_psf,
                    (0.0, 0.0),
                    half=HALF + 2,
                )
                for k in range(n)
            ]
        )

    def fitted(self, rng: np.random.Generator, sigma: float) -> pl.DataFrame:
        """The table that the fits on the sharp image hand over."""
        noisy = self.stamps + sigma * rng.normal(size=self.stamps.shape)
        fits = fit_sersic(noisy, sigma, psf=self.sharp_psf)
        ra, dec = self.sharp.sky(fits["x"].to_numpy() + self.corner[:, 0], fits["y"].to_numpy() + self.corner[:, 1])
        # North is up and east is left: the angle from +y towards -x is that from north through east.
        return pl.DataFrame(
            {
                "source_id": self.models["source_id"],
                "ra": ra,
                "dec": dec,
                "r_eff": fits["r_eff_pix"] * SHARP,
                "r_eff_err": fits["r_eff_pix_err"].fill_nan(None) * SHARP,
                "sersic_index": fits["sersic_index"],
                "sersic_index_err": fits["sersic_index_err"].fill_nan(None),
                "ellipticity": fits["ellipticity"],
                "ellipticity_err": fits["ellipticity_err"].fill_nan(None),
                "pa_sky": fits["pa"],
                "pa_sky_err": fits["pa_err"].fill_nan(None),
            }
        )


def plain_solution(found, data: np.ndarray) -> np.ndarray:
    """Least squares with the same templates and a constant, errors of 1."""
    columns = []
    for source_id in found.table["source_id"]:
        plane = np.zeros(data.shape)
        stamp, y0, x0 = found.template(source_id)
        plane[y0 : y0 + stamp.shape[0], x0 : x0 + stamp.shape[1]] = stamp
        columns.append(plane.ravel())
    a = np.stack([*columns, np.ones(data.size)], axis=1)
    return np.linalg.solve(a.T @ a, a.T @ data.ravel())[:-1]


def check(*, n: int, side: int, n_noise: int, seed: int) -> None:
    sky = Sky(n, side, seed)
    rng = np.random.default_rng(seed + 1)
    ratios, peers, pulls = [], [], []
    for _ in range(n_noise):
        models = sky.fitted(rng, sigma=0.15)
        data = sky.truth + rng.normal(size=sky.truth.shape)
        image = MeasureImage(data=data, error=1.0, grid=sky.grid)
        found = forced_photometry(image, models=models, psf=sky.psf, params=PARAMS)
        assert (found.table["status"] == "ok").all()
        assert found.shift.arcsec == pytest.approx(SHIFT, abs=5 * max(found.shift.error_arcsec) + 0.003)
        flux, error = found.table["flux"].to_numpy(), found.table["flux_err"].to_numpy()
        counts = sky.flux > 10 * found.table["err_formal"].to_numpy()
        ratios.append((flux / sky.flux - 1)[counts])
        peers.append((plain_solution(found, data) / sky.flux - 1)[counts])
        pulls.append(((flux - sky.flux) / error)[counts])
    ratio, peer, pull = (np.concatenate(values) for values in (ratios, peers, pulls))
    spread = [float(1.4826 * np.median(np.abs(v - np.median(v)))) for v in (ratio, peer, pull)]
    print(
        f"{ratio.size} fluxes: bias {100 * np.median(ratio):.2f} % (mean {100 * ratio.mean():.2f} %), scatter "
        f"{100 * spread[0]:.2f} %, of the plain solution {100 * spread[1]:.2f} %, pull {spread[2]:.2f}"
    )
    assert ratio.size > 0.7 * n * n_noise
    assert abs(np.median(ratio)) <= 0.01
    assert abs(ratio.mean()) <= 0.01 + 3 * ratio.std() / np.sqrt(ratio.size)
    # The plain solution knows the shift already; a free one adds next to nothing with so many sources.
    assert spread[0] <= 1.02 * spread[1]
    assert spread[2] <= 1.2


def test_fluxes_with_models_of_a_sharp_image() -> None:
    check(n=40, side=80, n_noise=5, seed=31)


@pytest.mark.validate
@pytest.mark.parametrize("seed", [41, 51])
def test_many_fluxes_with_models_of_a_sharp_image(seed: int) -> None:
    check(n=150, side=150, n_noise=20, seed=seed)
