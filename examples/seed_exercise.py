"""The exercise of the drizzle course on simulated data: two visits, one of them misaligned by ten pixels.

    python examples/seed_exercise.py FOLDER

Twelve exposures, six in each of two filters, are simulated; the second visit's coordinates are wrong by ten pixels. They
are aligned (``shifts.csv``), drizzled with default and with optimised parameters, the second filter on the first one's
grid, and compared: FWHM and fluxes of stars, and the three pictures to look at (default against optimised on one grid,
cores of stars, weights). Needs the extra ``skymere[demo]``.
"""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl

from skymere.align import AlignParams, align
from skymere.datamodels import Mosaic
from skymere.io import read_exposure, write_mosaic
from skymere.mosaic import ExposureFiles, cut_window, drizzle_stream, make_grid, resolve
from skymere.psf import measure_shape
from skymere.resample import blot
from skymere.testing import CameraParams, Pointing, SceneParams, draw_scene, render_exposure
from skymere.testing.exposures import SCALE_ARCSEC, write_exposure
from skymere.viewer import plot_comparison, plot_sheet, plot_weight
from skymere.wcs import pixel_map

CENTRE = (53.1, -27.8)
BANDS = ("f160w", "f125w")
MISALIGNED_PIX = (8.0, 6.0)
CAMERA = CameraParams(shape=(250, 250), n_cosmic_rays=60, n_bad_pixels=250, n_dead_pixels=8)
SCENE = SceneParams(n_galaxies=15, n_stars=45, radius_arcsec=16.0, bright_mag=19.0, faint_mag=25.0)
OPTIMISED = {
    "grid": {"scale_arcsec": 0.06, "rotation_deg": 0.0},
    "mosaic": {"drizzle": {"pixfrac": 0.6}, "flag": {"sky": {"method": "globalmin+match"}}},
}


def simulate(folder: Path) -> tuple[dict[str, list[Path]], pl.DataFrame]:
    """Write the exposures of both visits; return their files by band, and the true scene."""
    folder.mkdir(parents=True, exist_ok=True)
    scene = draw_scene(*CENTRE, params=SCENE, seed=21)
    rng = np.random.default_rng(5)
    files: dict[str, list[Path]] = {band: [] for band in BANDS}
    for visit, band, i in np.ndindex(2, len(BANDS), 3):
        east, north = rng.uniform(-1.0, 1.0, 2) / 3600.0
        pointing = Pointing(
            name=f"v{visit + 1}{BANDS[band]}{i}",
            band=BANDS[band],
            ra=CENTRE[0] + east / np.cos(np.deg2rad(CENTRE[1])),
            dec=CENTRE[1] + north,
            pa_deg=30.0 + 2.0 * visit,
        )
        rendered = render_exposure(scene, pointing, params=CAMERA)
        if visit == 1:
            rendered["wcs"].wcs.crpix = np.add(rendered["wcs"].wcs.crpix, MISALIGNED_PIX)
        path = folder / f"{pointing.name}_flt.fits"
        write_exposure(rendered, pointing, path, params=CAMERA)
        files[BANDS[band]].append(path)
    return files, scene


def run(folder: Path) -> dict[str, float]:
    """Do the exercise; return what was measured."""
    files, scene = simulate(folder / "exposures")
    everything = [path for band in BANDS for path in files[band]]
    params = AlignParams(search_radius_arcsec=3.0, min_matches=10, fitgeom="rshift")
    solutions = {a.exposure_id: a for a in align([read_exposure(path) for path in everything], params=params)}
    pl.DataFrame([a.row() for a in solutions.values()]).write_csv(folder / "shifts.csv")

    def correct(exposure):
        return solutions[exposure.exposure_id].apply(exposure)

    def make(band: str, given: dict, *, grid=None, aligned: bool = True) -> Mosaic:
        exposures = ExposureFiles(files[band], prepare=correct if aligned else None)
        plan = resolve(given, preset="generic" if given else None, n_exposures=len(exposures)).plan
        return drizzle_stream(exposures, grid or make_grid(exposures, params=plan.grid), params=plan.mosaic)

    first, second = BANDS
    products = {
        "unaligned": make(first, {}, aligned=False),
        "default": make(first, {"mosaic": {"drizzle": {"pixfrac": 1.0}}}),
        "optimised": make(first, OPTIMISED),
    }
    products["second"] = make(second, OPTIMISED, grid=products["optimised"].grid)
    for name, mosaic in products.items():
        write_mosaic(mosaic, folder / f"{name}_drz.fits")
    # Nothing can be measured where two visits lie side by side.
    measured = {name: measure(mosaic, scene) for name, mosaic in products.items() if name != "unaligned"}
    draw(products, scene, folder)
    numbers = summary(products, measured, solutions)
    (folder / "log.json").write_text(json.dumps(numbers, indent=1))
    return numbers


def stars_of(mosaic: Mosaic, scene: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of bright stars without neighbours [pix]."""
    x, y = mosaic.grid.pixels(scene["ra"].to_numpy(), scene["dec"].to_numpy())
    mag = scene[f"mag_{mosaic.band}"].to_numpy()
    apart = np.hypot(x[:, None] - x, y[:, None] - y) * mosaic.grid.scale_arcsec
    np.fill_diagonal(apart, np.inf)
    crowded = ((apart < 2.8) & (mag[None, :] < mag[:, None] + 4.0)).any(axis=1)
    away = np.hypot(scene["dec"].to_numpy() - CENTRE[1], (scene["ra"].to_numpy() - CENTRE[0]) * 0.88) * 3600 < 12.5
    chosen = (scene["kind"].to_numpy() == "star") & (mag < 23.0) & ~crowded & away
    return x[chosen], y[chosen]


def measure(mosaic: Mosaic, scene: pl.DataFrame) -> pl.DataFrame:
    """Return FWHM [arcsec] and flux within 1.2 arcsec of the stars."""
    scale, rows = mosaic.grid.scale_arcsec, []
    side = 2 * int(2.4 / scale) + 1
    for x, y in zip(*stars_of(mosaic, scene), strict=True):
        cut = cut_window(mosaic.data, x, y, size_pix=side)
        sx, sy = x - cut.origin[1], y - cut.origin[0]
        yy, xx = np.indices(cut.data.shape)
        radius = np.hypot(xx - sx, yy - sy) * scale
        sky = np.nanmedian(cut.data[(radius > 1.6) & (radius < 2.3)])
        # Pixels on the rim of the aperture count with the part that is within.
        share = np.clip((1.2 - radius) / scale + 0.5, 0.0, 1.0)
        flux = float(np.nansum((cut.data - sky) * share))
        rows.append({"fwhm": measure_shape(cut.data - sky, x=sx, y=sy).fwhm * scale, "flux": flux})
    return pl.DataFrame(rows)


def summary(products: dict[str, Mosaic], measured: dict[str, pl.DataFrame], solutions: dict) -> dict[str, float]:
    """Return the numbers that decide."""
    grid = products["optimised"].grid
    # North is up at the reference point; a tangent plane turns away from it.
    x, y = np.array(grid.wcs.wcs.crpix) - 1.0
    ra, dec = grid.sky(np.array([x, x]), np.array([y, y + 1.0]))
    moved = [np.hypot(*a.shift_arcsec) / SCALE_ARCSEC for name, a in solutions.items() if name.startswith("v2")]
    ratio = measured["optimised"]["flux"].to_numpy() / measured["default"]["flux"].to_numpy()
    numbers = {f"fwhm_{name}": float(table["fwhm"].median()) for name, table in measured.items()}
    return numbers | {
        "n_stars": float(len(ratio)),
        "shift_of_visit_2_pix": float(np.median(moved)),
        "n_aligned": float(sum(a.is_aligned for a in solutions.values())),
        "flux_ratio": float(np.median(ratio)),
        "scale_arcsec": grid.scale_arcsec,
        "rotation_deg": float(np.rad2deg(np.arctan2((ra[1] - ra[0]) * np.cos(np.deg2rad(dec[0])), dec[1] - dec[0]))),
    }


def draw(products: dict[str, Mosaic], scene: pl.DataFrame, folder: Path) -> None:
    """Draw the three comparisons."""
    best = products["optimised"]
    on_one_grid = []
    for name in ("unaligned", "default"):
        other = products[name]
        ratio = np.float32((best.grid.scale_arcsec / other.grid.scale_arcsec) ** 2)
        on_one_grid.append(blot(other.data, pixel_map(best.grid.wcs, other.grid.wcs, best.shape)) * ratio)
    names = ("unaligned", "default", "optimised")
    plot_comparison([*on_one_grid, best.data], names, folder / "comparison.png")
    x, y = stars_of(best, scene)
    cores = []
    for image in (*on_one_grid, best.data):
        cores += [[cut_window(image, a, b, size_pix=41).data] for a, b in zip(x[:6], y[:6], strict=True)]
    captions = [f"{name} {i + 1}" for name in names for i in range(len(x[:6]))]
    plot_sheet(cores, captions, folder / "cores.png", n_columns=len(x[:6]))
    plot_weight({name: products[name].weight for name in ("default", "optimised")}, folder / "weights.png")


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else "seed-exercise")
    for key, value in run(where).items():
        sys.stdout.write(f"{key:24} {value:.5g}\n")
