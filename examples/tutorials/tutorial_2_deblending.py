"""
Deblend an image of low resolution
==================================

The *deblending walk-through*: segments and profiles from a sharp image, then the fluxes of all sources in an image that blends them, with
errors from empty places and a shift that is found on the way.

==================================== ======================================================================
in the walk-through                  here
==================================== ======================================================================
``make_detect``                      ``skymere detect --method peaks``, `skymere.segmentation.detect_peaks`
``merged_segments.reg``              `skymere.segmentation.read_edits` with ``"merge"``, ``skymere edit import``
``det_manual.reg``                   the same with ``"draw"``
``go_imfit``                         ``skymere profiles``, `skymere.profiles.fit_scene`
``imfit_config_{ID}.dat``            ``skymere refit``, `skymere.profiles.RefitEdit`
``extract.sh`` and its 15 arguments  ``skymere photometry`` and a table of bands
``{IMG}-sim.reg``                    found by itself, or that very file beside the image
``best shift: -0.05 0.03``           ``photometry.shift.method``: all sources together, or anchors
==================================== ======================================================================
"""

import contextlib
import os
import shlex
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from astropy.io import fits
from astropy.wcs import WCS

from skymere.cli import app
from skymere.datamodels import SegmentationMap
from skymere.io import read_exposure, read_image, read_labels, read_mosaic, write_image
from skymere.psf import MoffatPsf, drizzle_psf
from skymere.segmentation import apply_edits, read_edits
from skymere.testing import (
    CameraParams,
    LowResolutionParams,
    SceneParams,
    SurveyParams,
    low_resolution_fluxes,
    simulate_low_resolution,
    simulate_survey,
)
from skymere.viewer import plot_labels, plot_models

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)


def run(command: str) -> None:
    """Run a command of skymere in the folder, as a shell would; an error ends the tutorial."""
    print("$", command)
    with contextlib.chdir(folder):
        code = app(shlex.split(command)[1:], standalone_mode=False)
    assert not code, f"{command}: exit code {code}"


# %%
# A field, sharp and blurred
# --------------------------
#
# Galaxies and stars in four dithered exposures of F160W, and the same sky as IRAC would see it: pixels of 0.6 arcsec, turned by 25 degrees, a PSF of
# 1.7 arcsec, and coordinates that are off by 0.08 and -0.05 arcsec.

SURVEY = SurveyParams(
    bands=("f160w",),
    n_dithers=4,
    scene=SceneParams(n_galaxies=50, n_stars=6, bright_mag=20.0, faint_mag=26.5, radius_arcsec=14.0),
    camera=CameraParams(shape=(330, 330), n_cosmic_rays=40, n_bad_pixels=200, n_dead_pixels=8),
)
LOW = LowResolutionParams(size_pix=80)

simulate_survey(folder, params=SURVEY, n_workers=1)
truth = pl.read_parquet(folder / "truth" / "sources.parquet")
simulate_low_resolution(truth, folder, ra=SURVEY.ra, dec=SURVEY.dec, params=LOW)
names = " ".join(f"exposures/sim0000{i}q_f160w_flt.fits" for i in range(4))
run(f"skymere drizzle {names} -o f160w.fits --scale 0.1 --rotation 0")

# %%
# The PSF of the mosaic is a star that is drawn into every exposure and drizzled as they were, here in the middle of a pixel.

mosaic = read_mosaic(folder / "f160w.fits")
exposures = [read_exposure(path) for path in sorted((folder / "exposures").iterdir())]
x, y = mosaic.grid.pixels(np.array([SURVEY.ra]), np.array([SURVEY.dec]))
(ra,), (dec,) = mosaic.grid.sky(x.round(), y.round())
star = MoffatPsf(fwhm_arcsec=0.17)
psf = drizzle_psf(exposures, mosaic.grid, ra, dec, source=star, size_pix=51, use_masks=False)
write_image(psf.data, folder / "f160w_psf.fits")

# %%
# Segments
# --------
#
# ``--method peaks`` has the rules of ``make_detect``. ``det_seg.fits`` and ``det_cat.fits`` have its names, too.

run("skymere detect f160w.fits --method peaks -o detection --no-pictures")
labels, grid = read_labels(folder / "detection" / "det_seg.fits")
segments = SegmentationMap(labels=labels, grid=grid)

# %%
# A person looks at them, and merges or draws segments with region files. Here a galaxy that was not detected gets a circle: it may well be seen in
# other images. In a lake such edits are rows with an author, a reason and an undo (``skymere edit``), and are done again with every later detection.

x, y = (pixels.round().astype(int) for pixels in grid.pixels(truth["ra"].to_numpy(), truth["dec"].to_numpy()))
missed = truth.filter(pl.Series(labels[y, x] == 0)).sort("mag_f160w")[0]
place = f"{missed['ra'][0]:.6f},{missed['dec'][0]:.6f}"
(folder / "det_manual.reg").write_text(f'# Region file format: DS9 version 4.1\nicrs\ncircle({place},0.5")\n')

edited, outcomes = apply_edits(segments, read_edits(folder / "det_manual.reg", "draw"))
print(f"{missed['mag_f160w'][0]:.2f} mag:", outcomes[0].status, outcomes[0].after)
write_image(edited.labels, folder / "det_seg.fits", wcs=grid.wcs)
plot_labels(edited.labels, folder / "segments.png")

# %%
# Profiles
# --------
#
# A profile for each segment, neighbours together, all behind the PSF.

run("skymere profiles f160w.fits --seg det_seg.fits --psf f160w_psf.fits -o imfit --no-picture")
profiles = pl.read_parquet(folder / "imfit" / "profiles.parquet")
print(profiles.select("label", "flux", "flux_err", "r_eff", "sersic_index", "ellipticity", "status").head(8))
residual, _ = read_image(folder / "imfit" / "det_stack-sub.fits")
plot_models(mosaic.data, residual, folder / "profiles.png")

# %%
# A fit that is wrong is fitted again with other start values, bounds or components: in a plan by ``skymere refit PLAN ID``, where every later run
# does the same.
#
# Fluxes where sources blend
# --------------------------
#
# A line of a table for each image instead of fifteen arguments. The shift is found with all sources together, and the image of each source is
# fitted again with the noise of empty places around it.

(folder / "bands.csv").write_text(
    "band,image,psf,psf_oversampling,photometry.shift.method,photometry.noise.n_positions,photometry.has_shape_errors\n"
    "irac1,irac1.fits,irac1_psf.fits,3,joint,20,true\n"
)
run("skymere photometry bands.csv --models imfit/profiles.parquet -o fluxes")

# %%
# Against the truth: what all true sources in the segment give, and how many these are. A star and a galaxy beside it that share a segment
# have one profile, and one flux.

true = truth.select(source_id=pl.Series(edited.labels[y, x]), true=pl.Series(low_resolution_fluxes(truth, LOW)))
true = true.group_by("source_id").agg(pl.col("true").sum(), n=pl.len())
fluxes = pl.read_parquet(folder / "fluxes" / "fluxes.parquet").with_columns(pl.col("source_id").cast(pl.Int32))
table = fluxes.join(true, on="source_id").sort("true", descending=True)
print(table.select("source_id", "n", "true", "flux", "flux_err", "err_sim", "err_shape").head(12))

# %%
# Real images
# -----------
#
# A lens of Euclid's Q1: profiles on VIS (0.1 arcsec), fluxes in NISP's H.

data = os.environ.get("SKYMERE_DATA")
if data is None:
    print("SKYMERE_DATA is not set, so there are no real images here")
else:
    with fits.open(Path(data, "imaging/lowres/euclid_q1_J174517_vis_yjh_ugrz.fits")) as hdus:
        for band in ("VIS", "NIR_H"):
            wcs = WCS(hdus[f"{band}_FLUX"].header)
            for kind in ("FLUX", "RMS", "PSF"):
                pixels = hdus[f"{band}_{kind}"].data.astype(np.float32)
                name = f"{band}.fits" if kind == "FLUX" else f"{band}_{kind.lower()}.fits"
                write_image(pixels, folder / name, wcs=None if kind == "PSF" else wcs)
    run("skymere detect VIS.fits --rms VIS_rms.fits --zero-point 23.9 -o vis --no-pictures")
    run(
        "skymere profiles VIS.fits --seg vis/det_seg.fits --psf VIS_psf.fits --rms VIS_rms.fits --zero-point 23.9 -o vis_fits"
    )
    (folder / "nisp.csv").write_text(
        "band,image,psf,rms,zero_point_ab\nnir_h,NIR_H.fits,NIR_H_psf.fits,NIR_H_rms.fits,23.9\n"
    )
    run("skymere photometry nisp.csv --models vis_fits/profiles.parquet -o nisp")

temporary.cleanup()
