"""Bands that GalSim draws: models on the sky, behind a Moffat PSF, with a shift that nobody knows."""

from dataclasses import dataclass

import galsim
import numpy as np
import polars as pl

from skymere.wcs import Grid

SETTINGS = galsim.GSParams(folding_threshold=2e-3, maxk_threshold=1e-3, maximum_fft_size=1 << 14)
RA, DEC = 150.1, 32.2


@dataclass(frozen=True)
class Scene:
    grid: Grid
    models: pl.DataFrame
    flux: np.ndarray
    truth: np.ndarray
    psf: np.ndarray
    shift: tuple[float, float]


def make_grid(kind: str, side: int) -> Grid:
    """IRAC-like pixels of 0.6 arcsec: plain, rotated or flipped; ground-like ones of no simple ratio to 0.06 arcsec."""
    scale = 0.1687 if kind == "ground" else 0.6
    rotation = {"rotated": 37.0, "ground": 12.0}.get(kind, 0.0)
    grid = Grid.tangent(RA, DEC, shape=(side, side), scale_arcsec=scale, rotation_deg=rotation)
    if kind != "flipped":
        return grid
    wcs = grid.wcs.deepcopy()
    matrix = np.array(wcs.wcs.cd)
    matrix[:, 0] *= -1
    wcs.wcs.cd = matrix
    wcs.wcs.set()
    return Grid(wcs=wcs, shape=grid.shape)


def psf_of(kind: str) -> galsim.GSObject:
    fwhm = 4.3 if kind == "ground" else 2.9
    moffat = galsim.Moffat(beta=3.5, fwhm=fwhm, trunc=9 * fwhm, gsparams=SETTINGS).shear(g1=0.03, g2=-0.02)
    return galsim.Convolve(moffat, galsim.Pixel(1.0), gsparams=SETTINGS)


def make_models(rng: np.random.Generator, grid: Grid, n: int, margin: float = 6.0) -> pl.DataFrame:
    ny, nx = grid.shape
    x, y = rng.uniform(margin, nx - 1 - margin, n), rng.uniform(margin, ny - 1 - margin, n)
    ra, dec = grid.sky(x, y)
    kind = np.where(np.arange(n) % 7 == 6, "point", "sersic")
    return pl.DataFrame(
        {
            "source_id": rng.permutation(n) + 100,
            "ra": ra,
            "dec": dec,
            "kind": kind,
            "r_eff": 10 ** rng.uniform(-0.9, 0.0, n),
            "sersic_index": rng.choice([0.5, 1.0, 1.5, 2.5, 4.0], n, p=[0.15, 0.4, 0.2, 0.15, 0.1]),
            "ellipticity": rng.uniform(0.0, 0.75, n),
            "pa_sky": rng.uniform(0.0, 180.0, n),
        }
    )


def jacobian(grid: Grid, ra: float, dec: float) -> np.ndarray:
    """Derivatives of x, y by east, north, from steps of a tenth of an arcsec."""
    h = 0.1 / 3600
    east = [grid.pixels(np.array([ra + s * h / np.cos(np.deg2rad(dec))]), np.array([dec])) for s in (1, -1)]
    north = [grid.pixels(np.array([ra]), np.array([dec + s * h])) for s in (1, -1)]
    return np.array([[(p[0][k] - p[1][k])[0] / 0.2 for p in (east, north)] for k in (0, 1)])


def profile_of(row: dict, radius: float) -> galsim.GSObject:
    """A round profile with this half-light radius."""
    if row["kind"] == "moffat":
        return galsim.Moffat(row["moffat_beta"], half_light_radius=radius, gsparams=SETTINGS)
    if row["kind"] == "de_vaucouleurs":
        return galsim.DeVaucouleurs(half_light_radius=radius, gsparams=SETTINGS)
    return galsim.Sersic(row["sersic_index"], half_light_radius=radius, gsparams=SETTINGS)


def draw_truth(
    grid: Grid,
    models: pl.DataFrame,
    flux: np.ndarray,
    psf: galsim.GSObject,
    shift: tuple[float, float],
    half: int = 70,
) -> np.ndarray:
    """The image without noise; a shift to the east and north moves the sources on the sky."""
    ny, nx = grid.shape
    image = galsim.ImageD(galsim.BoundsI(0, nx - 1, 0, ny - 1), init_value=0.0)
    for row, f in zip(models.iter_rows(named=True), flux, strict=True):
        dec = row["dec"] + shift[1] / 3600
        ra = row["ra"] + shift[0] / 3600 / np.cos(np.deg2rad(row["dec"]))
        x, y = (float(p[0]) for p in grid.pixels(np.array([ra]), np.array([dec])))
        source = psf
        if row["kind"] != "point":
            q = 1 - row["ellipticity"]
            local = jacobian(grid, ra, dec)
            one = profile_of(row, row["r_eff"] * np.sqrt(q)).shear(q=q, beta=(90.0 - row["pa_sky"]) * galsim.degrees)
            source = galsim.Convolve(one.transform(*local.ravel()).withFlux(1.0), psf, gsparams=SETTINGS)
        cx, cy = round(x), round(y)
        bounds = galsim.BoundsI(cx - half, cx + half, cy - half, cy + half)
        stamp = galsim.ImageD(bounds)
        source.withFlux(float(f)).drawImage(stamp, scale=1.0, method="no_pixel", center=(x, y))
        common = bounds & image.bounds
        if common.isDefined():
            image[common] += stamp[common]
    return image.array


def make_scene(
    kind: str, *, n: int, side: int, seed: int, shift: tuple[float, float] = (0.0, 0.0), faint: float = 2.0
) -> Scene:
    """Sources with fluxes from ``faint`` to 1000, log-uniform."""
    rng = np.random.default_rng(seed)
    grid = make_grid(kind, side)
    models = make_models(rng, grid, n)
    flux = 10 ** rng.uniform(np.log10(faint), 3.0, n)
    psf = psf_of(kind)
    truth = draw_truth(grid, models, flux, psf, shift)
    image = psf.drawImage(nx=81, ny=81, scale=1.0, method="no_pixel", dtype=float).array
    return Scene(grid, models, flux, truth, image, shift)
