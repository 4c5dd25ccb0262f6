"""
Align and drizzle
=================

The exercise of the *DrizzlePac training*: two visits to one field in two filters, the second of them off by ten pixels. Align them, drizzle
them with default and with better parameters, put the second filter on the grid of the first, and look at the weights.

========================================= ============================================================================
in the training                           here
========================================= ============================================================================
``TweakReg(files, refimage=...)``         `skymere.align.align`, ``skymere align``
``shifts.txt``                            `skymere.align.Alignment.row`, `skymere.io.write_shifts`
``AstroDrizzle(files, ...)``              `skymere.mosaic.drizzle_exposures`, ``skymere drizzle``
``final_scale, final_rot, final_pixfrac`` ``GridParams(scale_arcsec=, rotation_deg=)``, ``DrizzleParams(pixfrac=)``
``final_refimage``                        ``grid=``
cosmic-ray masks left on disk             flags with reasons, and the quality of the mosaic
========================================= ============================================================================

Exposures are never changed: a solution is a row beside them, and `skymere.align.Alignment.apply` makes a new exposure of it.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from skymere.align import AlignParams, align
from skymere.io import read_exposure, write_mosaic, write_shifts
from skymere.mosaic import (
    FlagParams,
    GridParams,
    MosaicParams,
    SkyParams,
    drizzle_exposures,
    make_grid,
)
from skymere.psf import measure_shape
from skymere.resample import DrizzleParams
from skymere.testing import CameraParams, Pointing, SceneParams, draw_scene, render_exposure
from skymere.testing.exposures import write_exposure
from skymere.viewer import plot_alignment, plot_rgb, plot_sheet, plot_weight

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)

# %%
# Two visits
# ----------
#
# Stars and galaxies, three dithers in each filter and visit. The coordinates of the second visit are wrong by (8, 6) pixels, which nobody
# knows from the headers.

CENTRE = (53.1, -27.8)
BANDS = ("f160w", "f125w")
SCENE = SceneParams(n_galaxies=15, n_stars=45, radius_arcsec=16.0, bright_mag=19.0, faint_mag=25.0)
CAMERA = CameraParams(shape=(250, 250), n_cosmic_rays=60, n_bad_pixels=250, n_dead_pixels=8)

scene = draw_scene(*CENTRE, params=SCENE, seed=21)
random = np.random.default_rng(5)
files = {band: [] for band in BANDS}
for visit, i, j in np.ndindex(2, len(BANDS), 3):
    east, north = random.uniform(-1.0, 1.0, 2) / 3600.0
    pointing = Pointing(
        name=f"v{visit + 1}{BANDS[i]}{j}",
        band=BANDS[i],
        ra=CENTRE[0] + east / np.cos(np.deg2rad(CENTRE[1])),
        dec=CENTRE[1] + north,
        pa_deg=30.0 + 2.0 * visit,
    )
    rendered = render_exposure(scene, pointing, params=CAMERA)
    if visit == 1:
        rendered["wcs"].wcs.crpix = np.add(rendered["wcs"].wcs.crpix, (8.0, 6.0))
    path = folder / f"{pointing.name}_flt.fits"
    write_exposure(rendered, pointing, path, params=CAMERA)
    files[BANDS[i]].append(path)

exposures = {band: [read_exposure(path) for path in files[band]] for band in BANDS}
first = exposures["f160w"][0]
print(f"{first.exposure_id}: {first.detector}, {first.band}, {first.exptime} s, {first.unit}, {first.shape} pixels")

# %%
# Align
# -----
#
# All twelve at once, with shifts and a rotation. The brightest exposure is the reference, sources that it does not have join its list
# (``expand_reference``), and an exposure that cannot be aligned says why and stays as it is.

everything = [exposure for band in BANDS for exposure in exposures[band]]
solutions = align(everything, params=AlignParams(search_radius_arcsec=3.0, min_matches=10, fitgeom="rshift"))
shifts = pl.DataFrame([one.row() for one in solutions])
print(shifts.select("exposure_id", "status", "n_matches", "shift_x", "shift_y", "rms_x", "rms_y"))

# %%
# An offset of ten pixels is 1.28 arcsec. It stands out in the histogram of all differences between two lists; the residuals are what to
# look at: no trend with position.

plot_alignment(next(one for one in solutions if one.exposure_id == "v2f160w0"), folder / "residuals.png")

# %%
# Those who need TweakReg's file get it.

solution = {one.exposure_id: one for one in solutions}
aligned = {band: [solution[e.exposure_id].apply(e) for e in exposures[band]] for band in BANDS}
grid = make_grid(aligned["f160w"], params=GridParams(scale_arcsec=0.08, rotation_deg=0.0))
write_shifts(folder / "shifts.txt", [one.row() for one in solutions], grid=grid)
print((folder / "shifts.txt").read_text())

# %%
# Drizzle, first as it comes
# --------------------------
#
# The seven steps are one call: static mask, sky, drizzles of single exposures, their median, blot, cosmic rays, the final drizzle.

PLAIN = MosaicParams(drizzle=DrizzleParams(kernel="square", pixfrac=1.0))
plain, flagged = drizzle_exposures(aligned["f160w"], make_grid(aligned["f160w"]), params=PLAIN)
print(plain.shape, f"{plain.grid.scale_arcsec:.4f} arcsec", plain.unit)

# %%
# Then better
# -----------
#
# Smaller pixels (0.08 instead of 0.128 arcsec), smaller drops, north up, skies that are matched to each other. The second filter takes the
# grid of the first, pixel by pixel.

BETTER = MosaicParams(
    flag=FlagParams(sky=SkyParams(method="globalmin+match")), drizzle=DrizzleParams(kernel="square", pixfrac=0.6)
)
better = {band: drizzle_exposures(aligned[band], grid, params=BETTER)[0] for band in BANDS}
unaligned, _ = drizzle_exposures(exposures["f160w"], grid, params=BETTER)
write_mosaic(
    better["f160w"],
    folder / "f160w_drz.fits",
)

# %%
# The core of a star without alignment, as it comes, and better:

star = scene.filter(kind="star").sort("mag_f160w")[3]


def cut(mosaic, half_arcsec=1.6):
    """Return the pixels around the star, and its place in them."""
    (x,), (y,) = mosaic.grid.pixels(star["ra"].to_numpy(), star["dec"].to_numpy())
    half = round(half_arcsec / mosaic.grid.scale_arcsec)
    x0, y0 = round(x) - half, round(y) - half
    return mosaic.data[y0 : y0 + 2 * half + 1, x0 : x0 + 2 * half + 1], x - x0, y - y0


names = {"not aligned": unaligned, "as it comes": plain, "better": better["f160w"]}
plot_sheet([[cut(mosaic)[0]] for mosaic in names.values()], list(names), folder / "cores.png", n_columns=3)

# %%
# In numbers, the width of the star [arcsec]:

for name in ("as it comes", "better"):
    stamp, x, y = cut(names[name])
    shape = measure_shape(stamp - np.nanmedian(stamp), x=x, y=y)
    print(f"{name:12} FWHM {shape.fwhm * names[name].grid.scale_arcsec:.3f}")

# %%
# Weights
# -------
#
# A source that can be seen in the weights was taken for cosmic rays. There is no need to judge that by eye: the rejected part of the weight at
# sources is compared with that of the sky.

plot_weight({band: better[band].weight for band in BANDS}, folder / "weights.png")

# %%
quality = better["f160w"].params["quality"]
for name in ("verdict", "weight_scatter", "n_holes", "n_sources", "excess", "excess_err", "coincidence"):
    print(f"{name:15} {quality[name]}")

# %%
# Real exposures
# --------------
#
# Four exposures of WFC3/IR in F140W (Early Release Science), aligned and drizzled to 0.08 arcsec.

data = os.environ.get("SKYMERE_DATA")
if data is None:
    print("SKYMERE_DATA is not set, so there are no real exposures here")
else:
    paths = sorted(Path(data, "imaging/wfc3ir_ers/semireal").glob("*_f140w_flt.fits"))
    real = [read_exposure(path) for path in paths]
    found = align(real, params=AlignParams(fitgeom="shift"))
    table = pl.DataFrame([one.row() for one in found])
    print(table.select("exposure_id", "status", "n_matches", "shift_x", "shift_y", "rms_x", "rms_y"))
    real = [one.apply(exposure) for one, exposure in zip(found, real, strict=True)]
    ers, _ = drizzle_exposures(real, make_grid(real, params=GridParams(scale_arcsec=0.08)))
    plot_rgb([ers.data], folder / "ers.png", title="F140W")
    print(ers.params["quality"]["verdict"], ers.shape)

# %%
# From a shell, ``skymere align`` writes copies with corrected coordinates and ``skymere drizzle`` makes mosaics of files; both show every parameter with
# ``--dry-run``. In a survey these are the stages ``align``, ``outliers`` and ``mosaic`` of a plan, with a lake that keeps what was done: :doc:`/start`.

temporary.cleanup()
